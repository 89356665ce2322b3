//! How is one HTTP/2 connection served? `h2` keeps frames, windows and HPACK; here are the limits, the life of the
//! connection and its end. Each stream is a small task of its own ([`stream`]).
//!
//! `h2` is used without hyper's server, because that one cannot give up a stream whose window the client never opens:
//! memory would be held for as long as the client likes.

mod body;
mod head;
mod stream;

use super::drain::Drain;
use crate::http::message::Service;
use crate::net::connection::Connection;
use crate::net::deadline::Deadline;
use crate::plan::client::ClientLimits;
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Unread bytes of bodies that a client may have under way on one stream, and on the whole connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of answers that one stream may leave in memory unsent.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that were reset by the client and not yet seen by us: beyond, it is an attack (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams that we reset because of the client's mistakes, over the connection's life.
const OWN_RESETS: usize = 1024;

/// Streams at work, and who wants to know when none is.
#[derive(Default)]
struct Streams {
    open: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// One stream's place among them; given up also by a panic.
struct Open(Rc<Streams>);

impl Open {
    fn new(streams: &Rc<Streams>) -> Open {
        streams.open.set(streams.open.get() + 1);
        Open(streams.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

/// What happens on a connection.
enum Event {
    Stream(Box<(http::Request<h2::RecvStream>, SendResponse<Bytes>)>),
    Draining,
    /// Nothing happened for too long.
    Due,
    Ended,
}

/// Serves `io` until it ends.
pub(super) async fn serve<I, S>(io: I, connection: Rc<Connection>, service: Rc<S>, drain: Rc<Drain>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let Some(bound) = connection.bound() else { return };
    let server = bound.servers.default_server.clone();
    drop(bound);
    let handshake = settings(&server.http2_settings, &server.head).handshake::<_, Bytes>(io);
    let until = connection.accepted + server.head.timeout;
    let Ok(Ok(http2)) = timeout_at(until, handshake).await else { return };
    let terms = Terms::of(&server.root.settings.client, &server.head);
    drop(server);
    Box::pin(drive(http2, terms, connection, service, drain)).await;
}

fn settings(http2: &crate::plan::client::Http2, head: &crate::plan::client::HeadLimits) -> Builder {
    let mut builder = Builder::new();
    let head_room = head.large_buffers.0.saturating_mul(head.large_buffers.1);
    builder
        .max_concurrent_streams(http2.max_concurrent_streams)
        .initial_window_size(http2.body_preread.max(STREAM_WINDOW))
        .initial_connection_window_size(CONNECTION_WINDOW.max(http2.body_preread))
        .max_header_list_size(u32::try_from(head_room).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(OWN_RESETS));
    builder
}

/// What holds for the whole connection; taken from the address's default server.
#[derive(Clone, Copy)]
struct Terms {
    rules: head::Rules,
    header_timeout: Duration,
    body_timeout: Duration,
    keepalive_timeout: Duration,
    keepalive_requests: u64,
    keepalive_time: Duration,
    send_timeout: Duration,
}

impl Terms {
    fn of(client: &ClientLimits, head: &crate::plan::client::HeadLimits) -> Terms {
        Terms {
            rules: head::Rules { ignore_invalid: head.ignore_invalid, underscores: head.underscores },
            header_timeout: head.timeout,
            body_timeout: client.body_timeout,
            keepalive_timeout: client.keepalive_timeout,
            keepalive_requests: client.keepalive_requests,
            keepalive_time: client.keepalive_time,
            send_timeout: client.send_timeout,
        }
    }

    /// Whether a connection has had its requests or its time.
    fn are_used_up(&self, connection: &Connection) -> bool {
        connection.requests.get() >= self.keepalive_requests || connection.accepted.elapsed() > self.keepalive_time
    }

    /// How long a connection without a stream may wait, after so many requests.
    fn patience(&self, leaving: bool, requests: u64) -> Duration {
        match requests {
            // Once we leave, only the last bytes are still to be taken.
            _ if leaving => self.send_timeout,
            0 => self.header_timeout,
            _ => self.keepalive_timeout,
        }
    }
}

// Longer than sixty lines: the one loop of a connection, every event of it side by side.
async fn drive<I, S>(
    mut http2: h2::server::Connection<I, Bytes>,
    terms: Terms,
    connection: Rc<Connection>,
    service: Rc<S>,
    drain: Rc<Drain>,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let streams = Rc::new(Streams::default());
    let mut deadline = Deadline::default();
    let mut leaving = false;
    let leaver = connection.clone();
    let mut draining = pin!(drain.ends(&leaver));
    loop {
        let event = poll_fn(|cx| {
            match http2.poll_accept(cx) {
                Poll::Ready(Some(Ok(stream))) => return Poll::Ready(Event::Stream(Box::new(stream))),
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(Event::Ended),
                Poll::Pending => {}
            }
            if !leaving && draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Draining);
            }
            if streams.open.get() > 0 {
                deadline.clear();
                streams.waker.replace(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            if deadline.due().is_none() {
                deadline.set(Instant::now() + terms.patience(leaving, connection.requests.get()));
            }
            deadline.poll(cx).map(|()| Event::Due)
        });
        match event.await {
            Event::Stream(stream) => {
                let (request, respond) = *stream;
                deadline.clear();
                connection.requests.set(connection.requests.get() + 1);
                let open = Open::new(&streams);
                let (connection, service) = (connection.clone(), service.clone());
                // In a box: a task's future is moved half a dozen times, and this one has some thousand bytes.
                let serving = stream::serve(request, respond, &terms, connection, service);
                tokio::task::spawn_local(Box::pin(async move {
                    serving.await;
                    drop(open);
                }));
            }
            Event::Due if leaving => return,
            Event::Draining | Event::Due => {
                leaving = true;
                deadline.clear();
                http2.graceful_shutdown();
                continue;
            }
            Event::Ended => return,
        }
        if !leaving && terms.are_used_up(&connection) {
            leaving = true;
            http2.graceful_shutdown();
        }
    }
}
