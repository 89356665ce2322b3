//! Which protocol does a connection speak, and who drives it? HTTP/1 is ours ([`crate::h1`]), for HTTP/2 `h2` keeps the
//! frames; both stand behind one seam ([`crate::http::message`]): a stream in, requests to a [`Service`], answers out.
//! Decides nothing about requests.

mod browser;
mod busy;
mod close;
mod drain;
mod head;
mod http1;
mod http2;
mod incoming;
mod outbox;
mod send;
mod wire;

pub use drain::Drain;

use crate::http::message::Service;
use crate::net::connection::Connection;
use bytes::BytesMut;
use std::future::poll_fn;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use wire::{HEAD_ROOM, Upgraded, Wire};

/// How a client that knows that we speak HTTP/2 begins (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one client's connection until it ends. `drain` says when it should. Must run in the worker's `LocalSet`.
///
/// HTTP/2 is what ALPN agreed on; without TLS, what the client begins with, if `http2 on` stands for the address.
pub async fn serve<I, S>(io: I, connection: Rc<Connection>, service: Rc<S>, drain: Rc<Drain>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let Some(bound) = connection.bound() else { return };
    let may_be_http2 = bound.servers.http2 || bound.servers.default_server.http2;
    let until = connection.accepted + bound.servers.default_server.head.timeout;
    drop(bound);
    let _place = drain.enter(&connection);
    // What lives as long as an idle connection of HTTP/1 stands in this future, everything else in a box of its own.
    match &connection.tls {
        Some(tls) if tls.alpn.as_deref() == Some(b"h2") => {
            Box::pin(http2::serve(io, connection, service, drain)).await;
        }
        None if may_be_http2 && !connection.plain_on_tls => {
            let wire = Wire::new(io, BytesMut::new());
            match Box::pin(begins_with_preface(&wire, until, drain.ends(&connection))).await {
                Some(true) => Box::pin(http2::serve(Upgraded(wire), connection, service, drain)).await,
                Some(false) => http1::serve(wire, connection, service, drain).await,
                None => {}
            }
        }
        _ => http1::serve(Wire::new(io, BytesMut::new()), connection, service, drain).await,
    }
}

/// Whether the first bytes are HTTP/2's; none if there will be no first bytes.
async fn begins_with_preface<I>(wire: &Wire<I>, until: Instant, ends: impl Future<Output = ()>) -> Option<bool>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let begins = async {
        tokio::select! {
            biased;
            preface = first_bytes_are_preface(wire) => preface,
            () = ends => None,
        }
    };
    timeout_at(until, begins).await.ok().flatten()
}

async fn first_bytes_are_preface<I: AsyncRead + AsyncWrite + Unpin>(wire: &Wire<I>) -> Option<bool> {
    poll_fn(|cx| wire.poll_first(cx)).await.ok().filter(|count| *count > 0)?;
    loop {
        let seen = wire.unread.borrow().len().min(PREFACE.len());
        if wire.unread.borrow()[..seen] != PREFACE[..seen] {
            return Some(false);
        }
        if seen == PREFACE.len() {
            return Some(true);
        }
        poll_fn(|cx| wire.poll_fill(cx, HEAD_ROOM)).await.ok().filter(|count| *count > 0)?;
    }
}
