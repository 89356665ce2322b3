//! One request and its answer's head on one connection: writes what is to be written, reads what comes, whichever comes
//! first. No policy: who is asked next, and what the client sees, is decided above.

use super::error::ForwardError;
use super::upload::Sender;
use crate::h1::{ResponseError, ResponseHead, ResponseParser};
use crate::net::deadline::Deadline;
use crate::net::dial::Stream;
use crate::net::pool::Connection;
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::Future;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Room for a head and a small body, read with one call.
const FIRST_READ: usize = 16 * 1024;
/// Room beyond what came first, for the rest of a head that came in parts.
const MORE: usize = 64;

thread_local! {
    /// Where the first bytes of answers are read: most answers are short, and get as much memory as they need.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; FIRST_READ].into());
}
/// Interim heads (1xx) that are thrown away before the answer; more are an attack.
const INTERIM: usize = 32;

/// Limits of one exchange.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// `proxy_send_timeout`.
    pub send: Duration,
    /// `proxy_read_timeout`.
    pub read: Duration,
    /// `proxy_buffer_size`: longest head.
    pub head: usize,
}

/// What has passed on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub sent: u64,
    pub received: u64,
    /// The whole request was written.
    pub whole: bool,
}

/// A head that came, and what came behind it.
pub(super) struct Reply {
    pub head: ResponseHead,
    pub rest: BytesMut,
}

/// Asks and waits for the head of the answer. `passed` counts, also when this fails. `now`: the present time.
pub(super) async fn talk(
    connection: &mut Connection,
    sender: Sender<'_>,
    limits: Limits,
    passed: &mut Passed,
    now: Instant,
) -> Result<Reply, ForwardError> {
    let parser = ResponseParser::new(limits.head);
    let Connection { stream, deadline, .. } = connection;
    deadline.set(now + limits.send);
    let (buffer, begun) = (BytesMut::new(), Some(now));
    let mut talk = Talk { stream, sender, limits, passed, parser, buffer, interim: 0, failed: None, begun };
    let head = std::future::poll_fn(|cx| talk.poll(cx, deadline)).await?;
    deadline.clear();
    Ok(Reply { head, rest: talk.buffer })
}

struct Talk<'a> {
    stream: &'a mut Stream,
    sender: Sender<'a>,
    limits: Limits,
    passed: &'a mut Passed,
    parser: ResponseParser,
    buffer: BytesMut,
    interim: usize,
    failed: Option<std::io::Error>,
    /// The present time, as long as this has not waited: most requests are written at once.
    begun: Option<Instant>,
}

/// Why sending does not go on at the moment.
enum Sending {
    /// All is written.
    Done,
    /// The upstream takes no more now.
    Blocked,
    /// The client has not sent more yet; its own timeout watches that.
    Waiting,
}

impl Talk<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, gap: &mut Deadline) -> Poll<Result<ResponseHead, ForwardError>> {
        let before = self.passed.sent;
        let was_whole = self.passed.whole;
        let sending = if self.passed.whole { Sending::Done } else { self.poll_send(cx)? };
        let begun = self.begun.take();
        if self.passed.whole && !was_whole {
            gap.set(begun.unwrap_or_else(Instant::now) + self.limits.read);
        } else if self.passed.sent > before {
            gap.set(Instant::now() + self.limits.send);
        }
        loop {
            match self.poll_read(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Some(head))) => return Poll::Ready(Ok(head)),
                Poll::Ready(Ok(None)) => gap.set(Instant::now() + self.limits.read),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        // The upstream hung up on us and left no answer behind.
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(ForwardError::SendFailed(error)));
        }
        match sending {
            Sending::Waiting => Poll::Pending,
            Sending::Done => gap.poll(cx).map(|()| Err(ForwardError::ReadStalled)),
            Sending::Blocked => gap.poll(cx).map(|()| Err(ForwardError::SendStalled)),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<Sending, ForwardError> {
        if self.failed.is_some() {
            return Ok(Sending::Blocked);
        }
        loop {
            match self.sender.poll_fill(cx) {
                Poll::Pending => {
                    // What TLS holds back must go out before we wait.
                    return Ok(if self.poll_flush(cx).is_pending() { Sending::Blocked } else { Sending::Waiting });
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(false)) => {
                    if self.poll_flush(cx).is_pending() {
                        return Ok(Sending::Blocked);
                    }
                    self.passed.whole = self.failed.is_none();
                    return Ok(Sending::Done);
                }
                Poll::Ready(Ok(true)) => {}
            }
            match write_some(self.stream, &self.sender, cx) {
                Poll::Pending => return Ok(Sending::Blocked),
                Poll::Ready(Ok(written)) => {
                    self.passed.sent += written as u64;
                    self.written(written);
                }
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error);
                    return Ok(Sending::Blocked);
                }
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.is_tls()
            && let Err(error) = ready!(Pin::new(&mut *self.stream).poll_flush(cx))
        {
            self.failed = Some(error);
        }
        Poll::Ready(())
    }

    fn written(&mut self, mut written: usize) {
        let head = written.min(self.sender.head.len());
        self.sender.head.advance(head);
        written -= head;
        while let Some(first) = self.sender.queue.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.sender.queue.pop_front();
        }
    }

    /// Reads once. `Ready(None)`: something came, but no whole head yet.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ResponseHead>, ForwardError>> {
        let read = if self.buffer.is_empty() {
            ready!(self.poll_first(cx))
        } else {
            self.buffer.reserve(FIRST_READ);
            ready!(poll_read_buf(self.stream, &mut self.buffer, cx))
        };
        match read {
            Ok(0) => return Poll::Ready(Err(self.closed())),
            Ok(count) => self.passed.received += count as u64,
            Err(error) if self.failed.is_none() => return Poll::Ready(Err(ForwardError::ReadFailed(error))),
            Err(_) => return Poll::Pending,
        }
        loop {
            match self.parser.parse(&mut self.buffer) {
                Err(error) => return Poll::Ready(Err(error.into())),
                Ok(Some(head)) if head.is_interim() => {
                    self.interim += 1;
                    if self.interim > INTERIM {
                        return Poll::Ready(Err(ResponseError::TooBig.into()));
                    }
                    self.parser.reset();
                }
                Ok(head) => return Poll::Ready(Ok(head)),
            }
        }
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut read))?;
            let bytes = read.filled();
            self.buffer.reserve(bytes.len() + MORE);
            self.buffer.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        })
    }

    fn closed(&mut self) -> ForwardError {
        match self.failed.take() {
            Some(error) => ForwardError::SendFailed(error),
            None => ForwardError::ClosedEarly,
        }
    }
}

/// Reads into the free part of `buffer`; 0: the other side has closed.
pub(super) fn poll_read_buf(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    // Holds nothing between polls, so a new one each time is the same.
    pin!(stream.read_buf(buffer)).poll(cx)
}

fn write_some(stream: &mut Stream, sender: &Sender<'_>, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
    let written = if sender.queue.is_empty() {
        ready!(Pin::new(stream).poll_write(cx, &sender.head))?
    } else {
        let mut slices = [IoSlice::new(&[]); 16];
        let mut count = 0;
        let head = Some(&sender.head).filter(|head| !head.is_empty());
        for (slice, piece) in slices.iter_mut().zip(head.into_iter().chain(&sender.queue)) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        ready!(Pin::new(stream).poll_write_vectored(cx, &slices[..count]))?
    };
    if written == 0 {
        return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
    }
    Poll::Ready(Ok(written))
}
