//! How is one HTTP/1 connection served? Head in, service, answer out, again; idle in between.
//!
//! An idle connection is a small future that holds no buffer. When bytes come, a [`Busy`] is made, which reads into
//! its own buffer, so that a plain request costs one read and one write; it stays for a moment after the last
//! request, so that a busy client finds everything in place, and then gives all memory back.

use super::busy::{Busy, Terms};
use super::close;
use super::drain::Drain;
use super::wire::{Upgraded, Wire};
use crate::http::message::{Finish, Sent, Service, Tunnel};
use crate::net::connection::Connection;
use std::future::poll_fn;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Serves the client behind `wire` until it ends.
pub(super) async fn serve<I, S>(wire: Rc<Wire<I>>, connection: Rc<Connection>, service: Rc<S>, drain: Rc<Drain>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let Some(terms) = Terms::of(&connection) else { return };
    let (mut until, lingering) = (connection.accepted + terms.header_timeout, terms.lingering);
    loop {
        if wire.unread.borrow().is_empty() && !wait(&wire, drain.ends(&connection), until).await {
            // Nobody is waiting for an answer.
            return close::leave(&wire, lingering, connection.tls.is_some()).await;
        }
        let Some(busy) = Busy::new(wire.clone(), connection.clone(), service.clone(), drain.clone()) else { return };
        match Box::pin(busy.run()).await {
            Next::Idle { until: end, .. } => until = end,
            Next::Closed => return,
            Next::Tunnel(tunnel) => {
                connection.unbind();
                return tunnel.run(wire).await;
            }
        }
    }
}

/// Waits for the first bytes of a request; false if there will be none.
async fn wait<I>(wire: &Wire<I>, ends: impl Future<Output = ()>, until: Instant) -> bool
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let first = async {
        tokio::select! {
            biased;
            read = poll_fn(|cx| wire.poll_first(cx)) => matches!(read, Ok(count) if count > 0),
            () = ends => false,
        }
    };
    timeout_at(until, first).await.unwrap_or(false)
}

/// What comes after a [`Busy`].
pub(super) enum Next {
    /// Wait for another request.
    Idle {
        /// When the last answer had been sent.
        since: Instant,
        /// Until then.
        until: Instant,
    },
    /// The connection has ended.
    Closed,
    /// It is no longer HTTP.
    Tunnel(Switched),
}

/// A connection that was upgraded, with what is owed to the log.
pub(super) struct Switched {
    pub(super) tunnel: Box<dyn Tunnel>,
    pub(super) finish: Option<Box<dyn Finish>>,
    pub(super) sent: Sent,
}

impl Switched {
    async fn run<I: AsyncRead + AsyncWrite + Unpin + 'static>(self, wire: Rc<Wire<I>>) {
        let Switched { tunnel, finish, mut sent } = self;
        let (to_client, from_client) = tunnel.run(Box::new(Upgraded(wire))).await;
        sent.bytes += to_client;
        sent.body_bytes += to_client;
        sent.request_length += from_client;
        if let Some(finish) = finish {
            finish.finish(sent);
        }
    }
}
