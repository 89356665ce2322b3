//! After 101: bytes pass between client and upstream until either is done. Holds two sockets and nothing of the plan; an
//! idle tunnel holds no buffers.

use super::held::Ticket;
use crate::http::message::{Duplex, Tunnel};
use crate::http::upstreamed::Upstreamed;
use crate::net::dial::Stream;
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The upstream's half of a tunnel.
pub(super) struct UpstreamTunnel {
    pub stream: Stream,
    /// What the upstream sent behind its 101.
    pub ahead: BytesMut,
    /// `proxy_read_timeout`: how long both may be silent.
    pub timeout: Duration,
    pub ticket: Ticket,
    pub facts: Rc<Upstreamed>,
    pub started: Instant,
}

/// Bytes that are read at once.
const CHUNK: usize = 32 * 1024;

thread_local! {
    /// One for all tunnels of a worker: what is read is written on at once, or waits in a buffer of its own.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// One direction.
#[derive(Default)]
struct Flow {
    waiting: BytesMut,
    passed: u64,
    /// The reader saw the end.
    ended: bool,
    /// The writer was told.
    closed: bool,
}

impl Tunnel for UpstreamTunnel {
    fn run(self: Box<Self>, mut client: Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = (u64, u64)>>> {
        Box::pin(async move {
            let UpstreamTunnel { mut stream, ahead, timeout, ticket, facts, started } = *self;
            let (mut down, mut up) = (Flow { waiting: ahead, ..Flow::default() }, Flow::default());
            let mut idle = pin!(tokio::time::sleep(timeout));
            std::future::poll_fn(|cx| {
                let before = (down.passed, up.passed);
                let down_over = down.poll(&mut stream, &mut *client, cx);
                let up_over = up.poll(&mut *client, &mut stream, cx);
                // nginx closes both as soon as one side has ended and all that it sent was passed on.
                if down_over || up_over {
                    return Poll::Ready(());
                }
                if (down.passed, up.passed) != before {
                    idle.as_mut().reset(Instant::now() + timeout);
                }
                idle.as_mut().poll(cx)
            })
            .await;
            facts.last(|fact| {
                fact.response_time = Some(started.elapsed());
                fact.bytes_received += down.passed;
                fact.response_length = down.passed;
                fact.bytes_sent += up.passed;
            });
            drop(ticket);
            (down.passed, up.passed)
        })
    }
}

impl Flow {
    /// Passes on what it can; tells whether this direction has ended.
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> bool
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        loop {
            while !self.waiting.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, &self.waiting) {
                    Poll::Pending => return false,
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.passed += count as u64;
                        self.waiting.advance(count);
                    }
                    Poll::Ready(_) => return true,
                }
            }
            if self.ended {
                self.closed = self.closed || Pin::new(&mut *to).poll_flush(cx).is_ready();
                return self.closed;
            }
            let (count, rest) = match SCRATCH.with_borrow_mut(|scratch| read_and_write(from, to, scratch, cx)) {
                Poll::Pending => {
                    let _ = Pin::new(&mut *to).poll_flush(cx);
                    self.waiting = BytesMut::new();
                    return false;
                }
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(passed)) => passed,
            };
            self.passed += count;
            match rest {
                Some(rest) => self.waiting = rest,
                None => self.ended = true,
            }
        }
    }
}

/// Reads once and writes what it can: bytes written, and those that must wait; `None`: the end.
fn read_and_write<R, W>(
    from: &mut R,
    to: &mut W,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<(u64, Option<BytesMut>)>>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut read = ReadBuf::new(scratch);
    std::task::ready!(Pin::new(from).poll_read(cx, &mut read))?;
    let filled = read.filled();
    if filled.is_empty() {
        return Poll::Ready(Ok((0, None)));
    }
    let written = match Pin::new(to).poll_write(cx, filled) {
        Poll::Pending => 0,
        Poll::Ready(written) => written?,
    };
    Poll::Ready(Ok((written as u64, Some(BytesMut::from(&filled[written..])))))
}
