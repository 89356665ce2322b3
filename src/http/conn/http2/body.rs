//! How does the body of an HTTP/2 request come in? On demand: the client's window opens as far as we have read.

use crate::http::message::{BodyError, Source};
use crate::net::deadline::Deadline;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The body of one stream.
pub(super) struct Incoming {
    stream: h2::RecvStream,
    timeout: Duration,
    deadline: Deadline,
    read: Rc<Cell<u64>>,
}

impl Incoming {
    /// `read` counts its bytes.
    pub(super) fn new(stream: h2::RecvStream, timeout: Duration, read: Rc<Cell<u64>>) -> Incoming {
        Incoming { stream, timeout, deadline: Deadline::default(), read }
    }
}

impl Source for Incoming {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.deadline.clear();
                    self.read.set(self.read.get() + bytes.len() as u64);
                    if self.stream.flow_control().release_capacity(bytes.len()).is_err() {
                        return Poll::Ready(Some(Err(BodyError::ClientGone)));
                    }
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyError::ClientGone))),
                Poll::Ready(None) => return Poll::Ready(None),
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
