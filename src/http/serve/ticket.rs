//! What follows a request until its log line? A ticket: made when the request comes, handed to the driver with the answer,
//! and whatever happens, also if everything is dropped, logged once.

use super::{Worker, choose, filters, log, outgoing};
use crate::http::answer::Answer;
use crate::http::exchange::Exchange;
use crate::http::message::{Body, Finish, Malformed, Request, Response, Sent};
use crate::net::connection::Connection;
use crate::plan::log::Level;
use crate::route::uri::{Uri, normalize};
use crate::words::Fields;
use crate::zone::stats;
use bytes::Bytes;
use std::rc::Rc;

/// A request that is not logged yet.
pub(super) struct Ticket {
    pub(super) exchange: Exchange,
    /// The connection ends with this request: what was negotiated holds no longer.
    pub(super) closing: bool,
    /// It was handed to the driver.
    answered: bool,
    logged: bool,
}

impl Ticket {
    /// A ticket for `request`, standing at its server. `Err`: it is refused with this status.
    pub(super) fn new(worker: Rc<Worker>, request: Request) -> (Box<Ticket>, Result<(), u16>) {
        let counters = worker.parts.stats.worker(worker.parts.number);
        stats::up(&counters.requests);
        stats::up(&counters.writing);
        let connection = request.connection.clone();
        // A connection that let go of its plan serves no request; a driver that asks anyway gets the newest.
        let standing = choose::standing(&worker, &connection);
        let closing = standing.as_ref().is_none_or(|standing| standing.closing);
        let plan = standing.as_ref().map_or_else(|| worker.plan.borrow().clone(), |s| s.bound.plan.clone());
        let (server, captures) = match &standing {
            Some(standing) => choose::server(&standing.bound.servers, request.host.as_ref()),
            None => (std::sync::Arc::new(crate::plan::server::Server::bare(0, "", None)), None),
        };
        let target = request.target.clone();
        let host = request.host.clone();
        // As nginx: how a URI is read is a matter of the connection's server, not of the one that the host names.
        let merge_slashes = standing.as_ref().is_none_or(|standing| standing.bound.server.head.merge_slashes);
        let uri = normalize(&target, merge_slashes);
        let tls = choose::check_tls(&connection, &server, host.as_ref());
        let broken = Uri { path: Bytes::from_static(b"/"), args: Bytes::new(), escapes: false };
        let bad = uri.is_err();
        let uri = uri.unwrap_or(broken);
        let ticket = Box::new(Ticket {
            exchange: Exchange::new(worker, request, uri, plan, server),
            closing,
            answered: false,
            logged: false,
        });
        if let Some((spans, names)) = captures {
            ticket.exchange.set_captures(&host.unwrap_or_default(), spans, &names);
        }
        let verdict = match tls {
            Err((status, why)) => {
                ticket.exchange.note(Level::Info, why);
                Err(status)
            }
            Ok(()) if bad => {
                ticket.exchange.note(Level::Info, "client sent invalid request while reading client request line");
                Err(400)
            }
            Ok(()) if standing.is_none() => Err(500),
            Ok(()) => Ok(()),
        };
        (ticket, verdict)
    }

    /// A ticket for a head that cannot be served: its URI is not known.
    pub(super) fn refused(worker: Rc<Worker>, malformed: Malformed, connection: Rc<Connection>) -> Box<Ticket> {
        let (mut ticket, _) = Ticket::new(worker, request_of(malformed, connection));
        ticket.exchange.uri = Bytes::new();
        ticket
    }

    /// The answer for the driver, which carries the ticket along.
    pub(super) fn respond(mut self: Box<Ticket>, mut answer: Box<Answer>) -> Response {
        let exchange = &mut self.exchange;
        if answer.status == 444 {
            let status = match exchange.shown.status.get() {
                0 => 444,
                status => status,
            };
            return self.silence(status);
        }
        if answer.tunnel.is_some() {
            exchange.let_go();
        }
        let fields = filters::head(exchange, &mut answer);
        let settings = exchange.settings().clone();
        let asked = |log: &crate::plan::log::AccessLog| {
            filters::asks_for_answer(&log.format.line) || log.condition.as_ref().is_some_and(filters::asks_for_answer)
        };
        if settings.logs.access.iter().any(asked) {
            let mut shown = fields.clone();
            if let Some(length) = answer.content_length {
                shown.push("Content-Length", length.to_string());
            }
            *exchange.shown.fields.borrow_mut() = Some(shown);
        }
        exchange.shown.status.set(answer.status);
        self.answered = true;
        let close = answer.close || self.exchange.ends_connection;
        let Answer { status, reason, tunnel, body, content_length, .. } = *answer;
        let (body, content_length) = outgoing::prepare(&self.exchange, body, content_length);
        Response { status, reason, fields, content_length, body, close, settings, finish: Some(self), tunnel }
    }

    /// No answer at all: the connection is closed, and `status` is logged.
    pub(super) fn silence(mut self: Box<Ticket>, status: u16) -> Response {
        self.exchange.shown.status.set(status);
        self.answered = true;
        let settings = self.exchange.settings().clone();
        let fields = Fields::default();
        let (status, body) = (444, Body::Empty);
        Response {
            status,
            reason: None,
            fields,
            content_length: None,
            body,
            close: true,
            settings,
            finish: Some(self),
            tunnel: None,
        }
    }

    fn log(&mut self) {
        if !std::mem::replace(&mut self.logged, true) {
            crate::http::forward::note_complaints(&self.exchange);
            log::access(&self.exchange);
            let parts = &self.exchange.worker.parts;
            stats::down(&parts.stats.worker(parts.number).writing);
        }
    }
}

impl Finish for Ticket {
    fn finish(mut self: Box<Self>, sent: Sent) {
        // As nginx counts: a body that nobody asked for is no part of the request.
        let request_length =
            if self.exchange.body_taken { sent.request_length } else { self.exchange.head.head_length };
        self.exchange.shown.sent.set(Sent { request_length, ..sent });
        if sent.client_gone && sent.bytes == 0 {
            self.exchange.shown.status.set(499);
        }
        self.log();
    }
}

impl Drop for Ticket {
    /// Dropped without an end: the client has gone while the answer was made (499), or its driver was stopped.
    fn drop(&mut self) {
        if !self.answered {
            self.exchange.shown.status.set(499);
        }
        self.log();
    }
}

/// What is known of a request whose head cannot be served.
fn request_of(malformed: Malformed, connection: Rc<Connection>) -> Request {
    let Malformed { line, version, head_length, host, started, reason, .. } = malformed;
    // As nginx: what was read of a broken request line does not count.
    let head_length = if reason.ends_with("request line") { 0 } else { head_length };
    let mut words = line.split(|b| *b == b' ');
    let method = words.next().map(Bytes::copy_from_slice).unwrap_or_default();
    Request {
        method,
        target: Bytes::new(),
        version,
        host,
        host_port: None,
        fields: Fields::default(),
        line,
        head_length,
        content_length: Some(0),
        body: Body::Empty,
        started,
        connection,
    }
}
