//! How does a connection end without the client losing the answer, and how is a body that nobody read got rid of?
//! Bounded in time (`lingering_time`, `lingering_timeout`), and in bytes where the connection shall live on.

use super::wire::{BODY_ROOM, HEAD_ROOM, Wire};
use crate::h1::BodyPiece;
use crate::plan::client::{ClientLimits, LingeringClose};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Most bytes of an unread body that are read only to use the connection again; beyond, a new connection is cheaper.
pub(super) const DRAINED: u64 = 16 << 20;

/// How long we linger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lingering {
    close: LingeringClose,
    time: Duration,
    timeout: Duration,
}

impl Lingering {
    pub(super) fn of(limits: &ClientLimits) -> Lingering {
        Lingering { close: limits.lingering_close, time: limits.lingering_time, timeout: limits.lingering_timeout }
    }
}

/// Reads the rest of the present request's body, at most `most` bytes of it; true if it is whole and the connection can
/// go on.
pub(super) async fn drain_body<I>(wire: &Wire<I>, lingering: Lingering, most: u64) -> bool
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let end = Instant::now() + lingering.time;
    loop {
        match wire.next_piece() {
            Ok(BodyPiece::End(_)) => return true,
            Ok(BodyPiece::Data(_)) if wire.body_is_done() => return true,
            Ok(BodyPiece::Data(_)) if wire.body_read() <= most => continue,
            Ok(BodyPiece::NeedMore) if wire.body_read() <= most => {}
            _ => return false,
        }
        let until = end.min(Instant::now() + lingering.timeout);
        match timeout_at(until, poll_fn(|cx| wire.poll_fill(cx, BODY_ROOM))).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => return false,
        }
    }
}

/// Ends a connection on which nobody waits for anything: says goodbye if it is TLS (close_notify).
pub(super) async fn leave<I: AsyncRead + AsyncWrite + Unpin>(wire: &Wire<I>, lingering: Lingering, tls: bool) {
    if tls {
        let until = Instant::now() + lingering.timeout;
        // Whether it was said makes no difference now.
        let _ = timeout_at(until, poll_fn(|cx| wire.poll_shutdown(cx))).await;
    }
}

/// Ends the connection after an answer. What is left of the request's body is read first, as nginx does. `unread`: the client may still be sending; a plain close would make the kernel
/// send a reset, which can overtake our answer, so we end our side and read on for a while.
pub(super) async fn close<I: AsyncRead + AsyncWrite + Unpin>(
    wire: &Wire<I>,
    lingering: Lingering,
    tls: bool,
    unread: bool,
) {
    if !wire.body_is_done() && !drain_body(wire, lingering, u64::MAX).await {
        return leave(wire, lingering, tls).await;
    }
    let waiting = unread || !wire.unread.borrow().is_empty();
    let linger = match lingering.close {
        LingeringClose::Off => false,
        LingeringClose::Always => true,
        LingeringClose::On => waiting,
    };
    if !linger {
        return leave(wire, lingering, tls).await;
    }
    let end = Instant::now() + lingering.time;
    let step = |now: Instant| end.min(now + lingering.timeout);
    let shutdown = poll_fn(|cx| wire.poll_shutdown(cx));
    if !matches!(timeout_at(step(Instant::now()), shutdown).await, Ok(Ok(()))) {
        return;
    }
    wire.unread.borrow_mut().clear();
    wire.let_go_of_buffer();
    loop {
        match timeout_at(step(Instant::now()), poll_fn(|cx| wire.poll_discard(cx))).await {
            Ok(Ok(count)) if count > 0 && Instant::now() < end => {}
            _ => return,
        }
    }
}

/// Whether bytes have come that nobody has asked for.
pub(super) async fn more_has_come<I: AsyncRead + AsyncWrite + Unpin>(wire: &Wire<I>) -> bool {
    poll_fn(|cx| Poll::Ready(matches!(wire.poll_fill(cx, HEAD_ROOM), Poll::Ready(Ok(count)) if count > 0))).await
}
