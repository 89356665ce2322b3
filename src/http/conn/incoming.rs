//! How does a request's body come in? On demand: nothing is read before it is asked for, and then only what fits.

use super::wire::{BODY_ROOM, Wire};
use crate::h1::BodyPiece;
use crate::http::message::{BodyError, Source};
use crate::net::deadline::Deadline;
use bytes::Bytes;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// The body of one HTTP/1 request.
pub(super) struct Incoming<I> {
    wire: Rc<Wire<I>>,
    number: u64,
    timeout: Duration,
    deadline: Deadline,
}

impl<I> Incoming<I> {
    /// The body that has `number` on `wire`; `timeout`: the longest gap between two reads.
    pub(super) fn new(wire: Rc<Wire<I>>, number: u64, timeout: Duration) -> Incoming<I> {
        Incoming { wire, number, timeout, deadline: Deadline::default() }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Source for Incoming<I> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if !self.wire.is_present(self.number) {
            return Poll::Ready(Some(Err(BodyError::ClientGone)));
        }
        loop {
            let read = match self.wire.poll_continue(cx) {
                Poll::Ready(Ok(())) => match self.wire.next_piece() {
                    Ok(BodyPiece::Data(bytes)) => {
                        self.deadline.clear();
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Ok(BodyPiece::End(_)) => return Poll::Ready(None),
                    Ok(BodyPiece::NeedMore) => self.wire.poll_fill(cx, BODY_ROOM),
                    Err(_) => return Poll::Ready(Some(Err(BodyError::Framing))),
                },
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            match read {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Some(Err(BodyError::ClientGone))),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if self.deadline.due().is_none() {
                        self.deadline.set(Instant::now() + self.timeout);
                    }
                    return self.deadline.poll(cx).map(|()| Some(Err(BodyError::ClientTimeout)));
                }
            }
        }
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }
}
