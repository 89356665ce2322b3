//! How does an answer get to the client? Head and what is ready of the body in one write; further pieces as they come,
//! joined where several are ready; never more in memory than a few pieces while the client is slow.

use super::head::Framing;
use super::outbox::Outbox;
use super::wire::Wire;
use crate::h1::{LAST_CHUNK, chunk_size_line};
use crate::http::message::{Body, BodyError};
use crate::net::deadline::Deadline;
use bytes::{BufMut, Bytes};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// Pieces are gathered up to here before they are written.
const GATHERED: usize = 64 * 1024;

/// Why an answer was not sent whole. The connection ends.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client closed or a write failed.
    ClientGone,
    /// Nothing could be written for `send_timeout`.
    TimedOut,
    /// The body ended early, or had not the length that was promised.
    Body(Option<BodyError>),
}

/// An answer's body on its way.
pub(super) struct Sending {
    body: Body,
    framing: Framing,
    /// Bytes of the body still owed, if they were counted.
    owed: u64,
    ended: bool,
    broken: Option<Broken>,
    send_timeout: Duration,
}

impl Sending {
    pub(super) fn new(body: Body, framing: Framing, send_timeout: Duration) -> Sending {
        let owed = if let Framing::Counted(length) = framing { length } else { 0 };
        let ended = matches!(framing, Framing::None | Framing::Counted(0));
        Sending { body, framing, owed, ended, broken: None, send_timeout }
    }

    /// Sends what is in `out` and then the body.
    pub(super) fn poll<I: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        wire: &Wire<I>,
        deadline: &mut Deadline,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let waits_for_body = self.gather(cx, out);
            while !out.is_empty() {
                match out.poll_write(cx, wire) {
                    Poll::Ready(Ok(_)) => deadline.clear(),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::ClientGone)),
                    Poll::Pending => return self.stalled(cx, deadline),
                }
            }
            match wire.poll_flush(cx) {
                Poll::Ready(Ok(())) => deadline.clear(),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::ClientGone)),
                Poll::Pending => return self.stalled(cx, deadline),
            }
            if self.ended {
                return Poll::Ready(self.broken.take().map_or(Ok(()), Err));
            }
            if waits_for_body {
                return wire.poll_gone(cx).map(|()| Err(Broken::ClientGone));
            }
        }
    }

    /// The client takes nothing: only so long.
    fn stalled(&self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<Result<(), Broken>> {
        if deadline.due().is_none() {
            deadline.set(Instant::now() + self.send_timeout);
        }
        deadline.poll(cx).map(|()| Err(Broken::TimedOut))
    }

    /// Puts what is ready of the body into `out`; true if more will come later.
    fn gather(&mut self, cx: &mut Context<'_>, out: &mut Outbox) -> bool {
        while !self.ended && out.len() < GATHERED {
            match self.body.poll_chunk(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(piece))) => {
                    self.add(piece, out);
                    if self.body.flush_each() {
                        return false;
                    }
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    if self.framing == Framing::Chunked {
                        self.last_chunk(out);
                    }
                    if self.owed > 0 {
                        self.broken = Some(Broken::Body(None));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    self.broken = Some(Broken::Body(Some(error)));
                }
            }
        }
        false
    }

    fn add(&mut self, mut piece: Bytes, out: &mut Outbox) {
        match self.framing {
            Framing::Counted(_) => {
                if piece.len() as u64 > self.owed {
                    // More than was promised would be read as the next answer.
                    piece.truncate(usize::try_from(self.owed).unwrap_or(usize::MAX));
                    self.ended = true;
                    self.broken = Some(Broken::Body(None));
                }
                self.owed -= piece.len() as u64;
                self.ended |= self.owed == 0;
                out.push(piece);
            }
            Framing::Chunked if piece.is_empty() => {}
            Framing::Chunked => {
                chunk_size_line(&mut out.tail, piece.len());
                out.push(piece);
                out.tail.put_slice(b"\r\n");
            }
            Framing::UntilClose => out.push(piece),
            Framing::None => {}
        }
    }

    fn last_chunk(&mut self, out: &mut Outbox) {
        match self.body.trailers() {
            None => out.tail.put_slice(LAST_CHUNK),
            Some(trailers) => {
                out.tail.put_slice(b"0\r\n");
                for field in &trailers {
                    if let Err(error) = crate::h1::write_field(&mut out.tail, &field.name, &field.value) {
                        tracing::error!("trailer was not sent: {error}");
                    }
                }
                out.tail.put_slice(b"\r\n");
            }
        }
    }
}
