//! What is still to be written, and how in the fewest writes? Small pieces are joined in one buffer, large ones go out
//! as they are, beside it.

use super::wire::Wire;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// Copying beats a second part of a write up to about here.
const SMALL: usize = 4 * 1024;
/// Parts of one write.
const PARTS: usize = 32;

/// Bytes on their way out, in order: `queue`, then `tail`.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// The end, still growing; heads are written straight into it.
    pub(super) tail: BytesMut,
    written: u64,
}

impl Outbox {
    /// Adds bytes at the end.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= SMALL {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            let head = self.tail.split().freeze();
            self.queued += head.len();
            self.queue.push_back(head);
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Bytes still to be written.
    pub(super) fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes written since the last call of [`Outbox::restart`].
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Counts from 0 again, for the next response.
    pub(super) fn restart(&mut self) {
        self.written = 0;
    }

    /// Writes something; ready with how much. Must not be empty.
    pub(super) fn poll_write<I: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &Wire<I>,
    ) -> Poll<io::Result<usize>> {
        let count = if self.queue.is_empty() {
            ready!(wire.poll_write(cx, &self.tail))?
        } else {
            let mut parts = [IoSlice::new(&[]); PARTS];
            let mut used = 0;
            let all = self.queue.iter().map(|part| &part[..]).chain([&self.tail[..]]);
            for (slot, part) in parts.iter_mut().zip(all.filter(|part| !part.is_empty())) {
                *slot = IoSlice::new(part);
                used += 1;
            }
            ready!(wire.poll_write_vectored(cx, &parts[..used]))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += count as u64;
        self.drop_first(count);
        Poll::Ready(Ok(count))
    }

    fn drop_first(&mut self, mut count: usize) {
        while let Some(first) = self.queue.front_mut() {
            if count < first.len() {
                first.advance(count);
                self.queued -= count;
                return;
            }
            count -= first.len();
            self.queued -= first.len();
            self.queue.pop_front();
        }
        if count == self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(count);
        }
    }
}
