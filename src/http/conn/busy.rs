//! What does a connection do with the requests that come on it? Reads a head, asks the service, sends the answer, and
//! decides whether another request may follow (nginx's keep-alive rules).

use super::browser::Browser;
use super::close::{self, DRAINED, Lingering};
use super::drain::Drain;
use super::head::{self, Asked, Framing};
use super::http1::{Next, Switched};
use super::incoming::Incoming;
use super::outbox::Outbox;
use super::send::{Broken, Sending};
use super::wire::{HEAD_ROOM, Wire};
use crate::h1::{self, BodyLength, BodyPiece, HeadRules, RequestHead, RequestParser};
use crate::http::message::{Body, Malformed, Response, Sent, Service};
use crate::net::connection::Connection;
use crate::net::deadline::Deadline;
use crate::plan::client::ClientLimits;
use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// How long a connection keeps its buffers after a request. To make them again costs less than a tenth of a request.
const WARM: Duration = Duration::from_millis(100);

/// What the address's default server allows before the request's own server and location are known.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    epoch: u64,
    rules: HeadRules,
    pub(super) header_timeout: Duration,
    body_timeout: Duration,
    pub(super) lingering: Lingering,
}

impl Terms {
    /// None once the connection has let go of the plan.
    pub(super) fn of(connection: &Connection) -> Option<Terms> {
        let bound = connection.bound()?;
        let server = &bound.servers.default_server;
        let (large_buffers, large_buffer) = server.head.large_buffers;
        let client = &server.root.settings.client;
        Some(Terms {
            epoch: bound.epoch,
            rules: HeadRules {
                first_buffer: server.head.buffer,
                large_buffers,
                large_buffer,
                ignore_invalid: server.head.ignore_invalid,
                underscores: server.head.underscores,
            },
            header_timeout: server.head.timeout,
            body_timeout: client.body_timeout,
            lingering: Lingering::of(client),
        })
    }
}

/// Why no head came.
enum NoHead {
    Refused(Box<h1::Malformed>),
    TimedOut,
    ClientGone,
}

/// What an answer needs to know of its request.
struct Exchange {
    started: Instant,
    asked: Asked,
    keep_alive: bool,
    head_length: u64,
}

/// A connection at work.
pub(super) struct Busy<I, S> {
    wire: Rc<Wire<I>>,
    connection: Rc<Connection>,
    service: Rc<S>,
    drain: Rc<Drain>,
    parser: RequestParser,
    terms: Terms,
    out: Outbox,
    deadline: Deadline,
}

impl<I, S> Busy<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    /// None once the connection has let go of the plan.
    pub(super) fn new(
        wire: Rc<Wire<I>>,
        connection: Rc<Connection>,
        service: Rc<S>,
        drain: Rc<Drain>,
    ) -> Option<Busy<I, S>> {
        let terms = Terms::of(&connection)?;
        let parser = RequestParser::new(terms.rules);
        let (out, deadline) = (Outbox::default(), Deadline::default());
        Some(Busy { wire, connection, service, drain, parser, terms, out, deadline })
    }

    /// Serves requests until none has come for a while.
    pub(super) async fn run(mut self) -> Next {
        loop {
            let started = Instant::now();
            let next = match self.head(started).await {
                Ok(head) => self.exchange(head, started).await,
                Err(no_head) => self.refuse(no_head, started).await,
            };
            let Next::Idle { since, until } = next else { return next };
            if self.connection.epoch() != Some(self.terms.epoch) {
                let Some(terms) = Terms::of(&self.connection) else { return Next::Closed };
                self.terms = terms;
            }
            self.parser.reset(self.terms.rules);
            if self.wire.unread.borrow().is_empty() {
                match self.next_bytes(since, until).await {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return self.ended().await,
                    Poll::Pending => {
                        self.wire.let_go_of_buffer();
                        return Next::Idle { since, until };
                    }
                }
            }
        }
    }

    /// Reads until a head is whole.
    async fn head(&mut self, started: Instant) -> Result<Box<RequestHead>, NoHead> {
        loop {
            match self.parser.parse(&mut self.wire.unread.borrow_mut()) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => {}
                Err(refused) => return Err(NoHead::Refused(refused)),
            }
            self.deadline.set(started + self.terms.header_timeout);
            let (wire, deadline) = (&self.wire, &mut self.deadline);
            let read = poll_fn(|cx| match wire.poll_fill(cx, HEAD_ROOM) {
                Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Ok(())),
                Poll::Ready(_) => Poll::Ready(Err(NoHead::ClientGone)),
                Poll::Pending => deadline.poll(cx).map(|()| Err(NoHead::TimedOut)),
            });
            read.await?;
            self.deadline.clear();
        }
    }

    /// Waits while warm: bytes came, the client left, or (pending) nothing yet.
    async fn next_bytes(&mut self, since: Instant, until: Instant) -> Poll<bool> {
        self.deadline.set(until.min(since + WARM));
        let (wire, deadline) = (&self.wire, &mut self.deadline);
        let came = poll_fn(|cx| match wire.poll_fill(cx, HEAD_ROOM) {
            Poll::Ready(Ok(count)) => Poll::Ready(Poll::Ready(count > 0)),
            Poll::Ready(Err(_)) => Poll::Ready(Poll::Ready(false)),
            Poll::Pending => deadline.poll(cx).map(|()| Poll::Pending),
        });
        let came = came.await;
        self.deadline.clear();
        came
    }

    async fn ended(&mut self) -> Next {
        close::leave(&self.wire, self.terms.lingering, self.connection.tls.is_some()).await;
        Next::Closed
    }

    async fn exchange(&mut self, head: Box<RequestHead>, started: Instant) -> Next {
        self.connection.requests.set(self.connection.requests.get() + 1);
        for line in &head.dropped {
            tracing::info!("client sent invalid header line: \"{}\"", line.escape_ascii());
        }
        let exchange = Exchange {
            started,
            asked: Asked { version: head.version, head_only: &head.method[..] == b"HEAD" },
            keep_alive: head.keep_alive,
            head_length: head.wire_length,
        };
        let number = self.wire.begin_body(head.body, head.expects_continue);
        // Who waits to be asked is asked when the body is read, even if it came already.
        let body = match head.expects_continue {
            true => self.incoming(number),
            false => self.body(head.body, number),
        };
        let browser = Browser::of(&head);
        let request = head::request(head, body, started, self.connection.clone());
        let wire = &self.wire;
        let response = {
            let mut call = pin!(self.service.call(request));
            poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => wire.poll_gone(cx).map(|()| None),
            })
            .await
        };
        match response {
            Some(response) => {
                let keep_alive = exchange.keep_alive && !browser.is_disabled(&response.settings.client);
                self.respond(response, Exchange { keep_alive, ..exchange }, false).await
            }
            None => Next::Closed,
        }
    }

    /// The request's body: at once if it has been read with the head, else on demand.
    fn body(&self, length: BodyLength, number: u64) -> Body {
        match length {
            BodyLength::Length(0) => return Body::Empty,
            BodyLength::Length(length) if self.wire.unread.borrow().len() as u64 >= length => {
                if let Ok(BodyPiece::Data(bytes)) = self.wire.next_piece() {
                    return Body::Full(bytes);
                }
            }
            _ => {}
        }
        self.incoming(number)
    }

    fn incoming(&self, number: u64) -> Body {
        Body::Stream(Box::new(Incoming::new(self.wire.clone(), number, self.terms.body_timeout)))
    }

    /// The error page and the log line for a head that is none.
    async fn refuse(&mut self, no_head: NoHead, started: Instant) -> Next {
        let begun = self.parser.begun();
        let doing = if self.parser.line_is_whole() { "headers" } else { "line" };
        let (silent, status, reason, head) = match no_head {
            NoHead::Refused(refused) => (false, refused.error.status(), refused.error.to_string(), refused.head),
            // Not a byte of a request: nothing to log.
            _ if !begun => return self.ended().await,
            gone => {
                let head = *self.parser.abandon(&mut self.wire.unread.borrow_mut());
                let (status, what) = match gone {
                    NoHead::TimedOut => (408, "client timed out"),
                    _ => (400, "client prematurely closed connection"),
                };
                (true, status, format!("{what} while reading client request {doing}"), head)
            }
        };
        self.connection.requests.set(self.connection.requests.get() + 1);
        let exchange = Exchange {
            started,
            asked: Asked { version: head.version, head_only: &head.method[..] == b"HEAD" },
            keep_alive: false,
            head_length: head.wire_length,
        };
        let malformed = Malformed {
            status,
            silent,
            reason: Cow::Owned(reason),
            line: head.line,
            version: head::spoken(head.version),
            head_length: head.wire_length,
            host: (!head.host.is_empty()).then_some(head.host),
            started,
        };
        self.wire.end_body();
        let response = self.service.refuse(malformed, self.connection.clone()).await;
        if silent {
            if status == 408 && response.settings.client.reset_timedout {
                self.connection.descriptor.reset_on_close();
            }
            if let Some(finish) = response.finish {
                finish.finish(Sent { request_length: exchange.head_length, ..Sent::default() });
            }
            return Next::Closed;
        }
        let unread = close::more_has_come(&self.wire).await;
        self.respond(response, exchange, unread).await
    }

    async fn respond(&mut self, mut response: Response, exchange: Exchange, unread: bool) -> Next {
        let settings = response.settings.clone();
        let limits = &settings.client;
        let finish = response.finish.take();
        let tunnel = response.tunnel.take().filter(|_| response.status == 101);
        let mut sent = Sent { request_length: exchange.head_length + self.wire.body_read(), ..Sent::default() };
        // As nginx: who breaks off while sending is not answered, only logged.
        if response.status == 444 || self.wire.is_cut_short() {
            if response.status == 444 && limits.reset_timedout {
                self.connection.descriptor.reset_on_close();
            }
            if let Some(finish) = finish {
                finish.finish(sent);
            }
            return Next::Closed;
        }
        let framing = Framing::of(&response, exchange.asked);
        let keep_alive = self.may_keep(&exchange, limits) && !response.close && framing != Framing::UntilClose;
        self.out.restart();
        head::write_head(&mut self.out.tail, &response, framing, keep_alive);
        let head_length = self.out.len() as u64;
        let body = std::mem::take(&mut response.body);
        drop(response);
        let result = {
            let mut sending = Sending::new(body, framing, limits.send_timeout);
            let (out, wire, deadline) = (&mut self.out, &self.wire, &mut self.deadline);
            poll_fn(|cx| sending.poll(cx, out, wire, deadline)).await
        };
        self.deadline.clear();
        self.wire.end_body();
        sent.bytes = self.out.written() + self.wire.continue_written();
        sent.body_bytes = sent.bytes.saturating_sub(head_length);
        sent.request_length = exchange.head_length + self.wire.body_read();
        sent.complete = result.is_ok();
        sent.client_gone = matches!(result, Err(Broken::ClientGone));
        if let (Ok(()), Some(tunnel)) = (&result, tunnel) {
            return Next::Tunnel(Switched { tunnel, finish, sent });
        }
        if let Some(finish) = finish {
            finish.finish(sent);
        }
        self.after(result, keep_alive, limits, unread).await
    }

    /// Another request, or the end.
    async fn after(&self, result: Result<(), Broken>, keep_alive: bool, limits: &ClientLimits, unread: bool) -> Next {
        let lingering = Lingering::of(limits);
        match result {
            Ok(()) => {}
            Err(broken) => {
                match broken {
                    Broken::ClientGone => {}
                    Broken::TimedOut => {
                        tracing::info!("client timed out");
                        if limits.reset_timedout {
                            self.connection.descriptor.reset_on_close();
                        }
                    }
                    Broken::Body(Some(error)) => tracing::error!("{error}"),
                    Broken::Body(None) => tracing::error!("the response has not the length that was announced"),
                }
                // No goodbye: what was cut short must not look whole.
                return Next::Closed;
            }
        }
        if keep_alive && (self.wire.body_is_done() || close::drain_body(&self.wire, lingering, DRAINED).await) {
            let since = Instant::now();
            return Next::Idle { since, until: since + limits.keepalive_timeout };
        }
        close::close(&self.wire, lingering, self.connection.tls.is_some(), unread).await;
        Next::Closed
    }

    /// Whether the connection may live on, as far as it is known when the head of the answer is written.
    fn may_keep(&self, exchange: &Exchange, limits: &ClientLimits) -> bool {
        exchange.keep_alive
            && !self.drain.wants(&self.connection)
            && !limits.keepalive_timeout.is_zero()
            && self.connection.requests.get() < limits.keepalive_requests
            && exchange.started.saturating_duration_since(self.connection.accepted) <= limits.keepalive_time
            && !self.wire.waits_for_continue()
            && self.wire.body_remaining().is_none_or(|rest| rest <= DRAINED)
    }
}
