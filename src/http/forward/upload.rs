//! What is the body of the request to the upstream, and where does it wait? Read to its end first
//! (`proxy_request_buffering on`: in memory, beyond a budget in a file without a name), or passed on as it comes.

use super::error::ForwardError;
use crate::h1;
use crate::http::message::{Body, BodyError};
use bytes::{BufMut, Bytes, BytesMut};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A body of this many bytes is written behind the head, with the same call.
const SMALL: u64 = 16 * 1024;
/// Bytes of a file that are read at once.
const FILE_CHUNK: usize = 64 * 1024;
/// Memory for bodies longer than `client_body_buffer_size` that one worker may hold at a time, before files are used.
const BUDGET: u64 = 64 << 20;

/// A body on its way up.
pub(super) enum Upload {
    /// There is none. `said`: the client said so with a Content-Length of 0.
    None {
        /// `Content-Length: 0` is sent.
        said: bool,
    },
    /// It went into the head's buffer.
    Written,
    /// All of it, in memory.
    Memory {
        /// In order.
        pieces: Vec<Bytes>,
        /// Bytes of all.
        length: u64,
        /// Gives the budget back.
        _held: Option<Held>,
    },
    /// All of it, in a file.
    Spooled {
        /// Unlinked already.
        file: File,
        /// Bytes in it.
        length: u64,
    },
    /// As it comes.
    Live {
        /// The client's.
        body: Body,
        /// `None`: sent in chunks.
        length: Option<u64>,
    },
}

/// A share of a worker's budget.
pub(super) struct Held {
    budget: Rc<Cell<u64>>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() - self.bytes);
    }
}

/// Where a body may wait.
pub(super) struct Room<'a> {
    /// `client_body_buffer_size`.
    pub memory: usize,
    /// `client_body_temp_path`.
    pub directory: &'a Path,
    /// What the worker holds beyond that.
    pub held: &'a Rc<Cell<u64>>,
}

impl Upload {
    /// Reads `body` to its end.
    pub(super) async fn buffered(mut body: Body, room: Room<'_>) -> Result<Upload, ForwardError> {
        let (mut pieces, mut length) = (Vec::new(), 0_u64);
        let mut held = Held { budget: room.held.clone(), bytes: 0 };
        let mut file: Option<File> = None;
        while let Some(piece) = body.chunk().await {
            let piece = piece.map_err(ForwardError::Client)?;
            if let Some(file) = &file {
                file.write_all_at(&piece, length).map_err(spool_failed)?;
            } else {
                let more = piece.len() as u64;
                let beyond = (length + more).saturating_sub(room.memory as u64).saturating_sub(held.bytes);
                if beyond == 0 || room.held.get() + beyond <= BUDGET {
                    room.held.set(room.held.get() + beyond);
                    held.bytes += beyond;
                    pieces.push(piece.clone());
                } else {
                    file = Some(spool(room.directory, &pieces, &piece).map_err(spool_failed)?);
                    pieces.clear();
                    room.held.set(room.held.get() - std::mem::take(&mut held.bytes));
                }
            }
            length += piece.len() as u64;
        }
        Ok(match file {
            Some(file) => Upload::Spooled { file, length },
            None if length == 0 => Upload::None { said: true },
            None => Upload::Memory { pieces, length, _held: (held.bytes > 0).then_some(held) },
        })
    }

    /// What of it is in memory, if it is not longer than `most`.
    pub(super) fn pieces(&self, most: u64) -> Option<&[Bytes]> {
        match self {
            Upload::Memory { pieces, length, .. } if *length <= most => Some(pieces),
            _ => None,
        }
    }

    /// Whether it could not be sent a second time.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Upload::Live { .. })
    }

    /// Whether there is no body.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Upload::None { .. })
    }

    /// Writes the field that frames it.
    pub(super) fn write_framing(&self, out: &mut BytesMut) {
        match self {
            Upload::None { said: false } | Upload::Written => {}
            Upload::None { said: true } => out.put_slice(b"Content-Length: 0\r\n"),
            Upload::Memory { length, .. }
            | Upload::Spooled { length, .. }
            | Upload::Live { length: Some(length), .. } => {
                out.put_slice(b"Content-Length: ");
                h1::write_decimal(out, *length);
                out.put_slice(b"\r\n");
            }
            Upload::Live { length: None, .. } => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
        }
    }

    /// Puts a small body behind the head, so that one write sends both.
    pub(super) fn append_if_small(&mut self, out: &mut BytesMut) {
        let Upload::Memory { pieces, length, .. } = self else { return };
        if *length <= SMALL {
            pieces.iter().for_each(|piece| out.extend_from_slice(piece));
            *self = Upload::Written;
        }
    }

    /// Starts sending from the beginning.
    pub(super) fn sender<'a>(&'a mut self, head: &Bytes) -> Sender<'a> {
        let mut queue = VecDeque::new();
        if let Upload::Memory { pieces, .. } = self {
            queue.extend(pieces.iter().cloned());
        }
        Sender { upload: self, head: head.clone(), queue, offset: 0, ended: false }
    }
}

/// Hands a request out, piece by piece.
pub(super) struct Sender<'a> {
    upload: &'a mut Upload,
    /// What is to be written first.
    pub(super) head: Bytes,
    /// What is to be written then.
    pub(super) queue: VecDeque<Bytes>,
    offset: u64,
    ended: bool,
}

impl Sender<'_> {
    /// Sees to it that something stands in the queue; `Ready(false)`: all has been written.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ForwardError>> {
        if !self.head.is_empty() || !self.queue.is_empty() {
            return Poll::Ready(Ok(true));
        }
        match &mut *self.upload {
            Upload::None { .. } | Upload::Written | Upload::Memory { .. } => Poll::Ready(Ok(false)),
            Upload::Spooled { file, length } => {
                let rest = usize::try_from(*length - self.offset).unwrap_or(usize::MAX);
                if rest == 0 {
                    return Poll::Ready(Ok(false));
                }
                let mut chunk = vec![0; rest.min(FILE_CHUNK)];
                file.read_exact_at(&mut chunk, self.offset).map_err(spool_failed)?;
                self.offset += chunk.len() as u64;
                self.queue.push_back(chunk.into());
                Poll::Ready(Ok(true))
            }
            Upload::Live { body, length } => {
                if self.ended {
                    return Poll::Ready(Ok(false));
                }
                match std::task::ready!(body.poll_chunk(cx)) {
                    Some(Err(error)) => Poll::Ready(Err(ForwardError::Client(error))),
                    Some(Ok(piece)) => {
                        if length.is_none() {
                            let mut size = BytesMut::with_capacity(18);
                            h1::chunk_size_line(&mut size, piece.len());
                            self.queue.push_back(size.freeze());
                            self.queue.push_back(piece);
                            self.queue.push_back(Bytes::from_static(b"\r\n"));
                        } else {
                            self.queue.push_back(piece);
                        }
                        Poll::Ready(Ok(true))
                    }
                    None => {
                        self.ended = true;
                        if length.is_some() {
                            return Poll::Ready(Ok(false));
                        }
                        self.queue.push_back(Bytes::from_static(h1::LAST_CHUNK));
                        Poll::Ready(Ok(true))
                    }
                }
            }
        }
    }
}

/// A file without a name that holds what has come so far.
fn spool(directory: &Path, pieces: &[Bytes], last: &Bytes) -> std::io::Result<File> {
    let file = crate::http::forward::spool::nameless(directory)?;
    let mut offset = 0;
    for piece in pieces.iter().chain([last]) {
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(file)
}

fn spool_failed(error: std::io::Error) -> ForwardError {
    ForwardError::Client(BodyError::Io(error))
}
