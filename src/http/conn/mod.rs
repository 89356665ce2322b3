//! Which protocol does a connection speak, and who drives it? HTTP/1 is ours ([`crate::h1`]), HTTP/2 is hyper's; both
//! stand behind one seam ([`crate::http::message`]): a stream in, requests to a [`Service`], answers out.
//! Decides nothing about requests.

mod busy;
mod close;
mod deadline;
mod drain;
mod head;
mod http1;
mod incoming;
mod outbox;
mod send;
mod wire;

pub use drain::Drain;

use crate::http::message::Service;
use crate::net::connection::Connection;
use bytes::BytesMut;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves one client's connection until it ends. `drain` says when it should. Must run in the worker's `LocalSet`.
pub async fn serve<I, S>(io: I, connection: Rc<Connection>, service: Rc<S>, drain: Rc<Drain>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    http1::serve(io, BytesMut::new(), connection, service, drain).await;
}
