//! The body of an upstream's answer: read from its connection as it is asked for, without a copy. When the last byte has
//! come the connection goes back to its pool at once; when the client goes away, it is closed.

use super::held::{Named, Ticket, WayBack};
use super::leftovers::Leftovers;
use super::talk::poll_read_buf;
use crate::h1::{BodyDecoder, BodyLength, BodyPiece, ChunkRules};
use crate::http::message::{Body, BodyError, Source};
use crate::http::upstreamed::Upstreamed;
use crate::net::pool::Connection;
use crate::plan::log::Level;
use crate::plan::proxy::Proxy;
use crate::words::Fields;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Bytes that are read at once from an upstream that has much to say.
const CHUNK: usize = 64 * 1024;
/// Room beyond what is still to come: a read that does not fill its buffer tells that the socket is empty, which saves
/// the next look at an idle connection.
const SLACK: usize = 64;

/// The body of an answer and all that hangs on it.
pub(super) struct AnswerBody {
    pub decoder: BodyDecoder,
    pub buffer: BytesMut,
    pub connection: Option<Connection>,
    /// `None`: the connection is closed in any case.
    pub way_back: Option<WayBack>,
    pub ticket: Option<Ticket>,
    pub facts: Rc<Upstreamed>,
    /// For the error log.
    pub upstream: Named,
    pub started: Instant,
    pub read_timeout: Duration,
    /// `proxy_limit_rate`; 0: none.
    pub limit_rate: u64,
    /// `proxy_buffering off`.
    pub flush_each: bool,
    /// `proxy_pass_trailers`: whose hidden fields are left out.
    pub trailers_by: Option<Arc<Proxy>>,
    /// `proxy_ignore_client_abort`: who reads on when nobody wants it any more.
    pub leftovers: Option<Leftovers>,
    /// `proxy_limit_rate` makes us wait until then.
    pause: Option<Pin<Box<Sleep>>>,
    received: u64,
    /// Bytes of it that came with the head.
    with_head: u64,
    length: u64,
    over: bool,
    /// Pieces that came with the head.
    ahead: VecDeque<Bytes>,
}

/// What [`AnswerBody::new`] needs.
pub(super) struct Parts {
    pub decoder: BodyDecoder,
    pub buffer: BytesMut,
    pub connection: Connection,
    pub way_back: Option<WayBack>,
    pub ticket: Ticket,
    pub facts: Rc<Upstreamed>,
    pub upstream: Named,
    pub started: Instant,
    pub read_timeout: Duration,
    pub limit_rate: u64,
    pub flush_each: bool,
    pub trailers_by: Option<Arc<Proxy>>,
    pub leftovers: Option<Leftovers>,
}

impl AnswerBody {
    pub(super) fn new(parts: Parts) -> AnswerBody {
        let Parts { decoder, buffer, connection, way_back, ticket, facts, upstream, started, .. } = parts;
        let Parts { read_timeout, limit_rate, flush_each, trailers_by, leftovers, .. } = parts;
        let with_head = buffer.len() as u64;
        AnswerBody {
            decoder,
            buffer,
            connection: Some(connection),
            way_back,
            ticket: Some(ticket),
            facts,
            upstream,
            started,
            read_timeout,
            limit_rate,
            flush_each,
            trailers_by,
            leftovers,
            pause: None,
            received: 0,
            with_head,
            length: 0,
            over: false,
            ahead: VecDeque::new(),
        }
    }

    /// What of the body has come already: all of it, if that is so; else it goes on as a stream.
    pub(super) fn begin(mut self, now: Instant) -> Result<Body, Box<AnswerBody>> {
        if self.decoder.is_done() {
            self.end(None, now);
            return Ok(Body::Empty);
        }
        let counted = self.decoder.remaining();
        if counted.is_some_and(|rest| rest > self.buffer.len() as u64) {
            return Err(Box::new(self));
        }
        loop {
            match self.decoder.decode(&mut self.buffer) {
                Ok(BodyPiece::Data(piece)) => {
                    self.length += piece.len() as u64;
                    if self.decoder.is_done() {
                        self.end(None, now);
                        if self.ahead.is_empty() {
                            return Ok(Body::Full(piece));
                        }
                        self.ahead.push_back(piece);
                        break;
                    }
                    self.ahead.push_back(piece);
                }
                Ok(BodyPiece::End(trailers)) => {
                    self.end(trailers.map(|fields| *fields), now);
                    break;
                }
                // An error comes again when it is asked for.
                Ok(BodyPiece::NeedMore) | Err(_) => return Err(Box::new(self)),
            }
        }
        let all = self.joined_ahead();
        if self.facts.passed_trailers.borrow().is_some() {
            self.ahead.extend(Some(all).filter(|all| !all.is_empty()));
            return Err(Box::new(self));
        }
        Ok(if all.is_empty() { Body::Empty } else { Body::Full(all) })
    }

    /// Whether it is known to be longer than `limit`, or has become so.
    pub(super) fn is_longer_than(&self, limit: u64) -> bool {
        match self.decoder.remaining() {
            Some(rest) => rest > limit,
            None => self.length > limit,
        }
    }

    /// All has come.
    fn end(&mut self, trailers: Option<Fields>, now: Instant) {
        self.over = true;
        if !self.buffer.is_empty() {
            self.complain(Level::Warn, "upstream sent more data than specified in \"Content-Length\" header");
        } else if let (Some(connection), Some(way_back)) = (self.connection.take(), self.way_back.take()) {
            way_back.keep(connection, now);
        }
        self.take_trailers(trailers);
        self.give_back(now);
    }

    /// What is still to come, for somebody else to read; nothing is left of this one then.
    fn rest(&mut self) -> Option<AnswerBody> {
        let connection = self.connection.take()?;
        let ticket = self.ticket.take()?;
        self.over = true;
        let nothing = BodyDecoder::new(BodyLength::Length(0), ChunkRules::RESPONSE);
        let mut rest = AnswerBody::new(Parts {
            decoder: std::mem::replace(&mut self.decoder, nothing),
            buffer: std::mem::take(&mut self.buffer),
            connection,
            way_back: self.way_back.take(),
            ticket,
            facts: self.facts.clone(),
            upstream: self.upstream.clone(),
            started: self.started,
            read_timeout: self.read_timeout,
            limit_rate: self.limit_rate,
            flush_each: false,
            trailers_by: None,
            leftovers: None,
        });
        (rest.received, rest.with_head, rest.length) = (self.received, self.with_head, self.length);
        Some(rest)
    }

    /// The server is free again, and the facts are known.
    fn give_back(&mut self, now: Instant) {
        self.connection = None;
        self.ticket = None;
        let (spent, received) = (now.saturating_duration_since(self.started), self.received);
        // As nginx: with its framing.
        let length = self.with_head + received;
        self.facts.last(|fact| {
            fact.response_time = Some(spent);
            fact.bytes_received += received;
            fact.response_length = length;
        });
    }

    /// Keeps trailers where somebody wants them.
    fn take_trailers(&self, trailers: Option<Fields>) {
        let (Some(proxy), Some(trailers)) = (&self.trailers_by, trailers) else { return };
        let hidden = |name: &[u8]| proxy.hide.iter().any(|hidden| name.eq_ignore_ascii_case(hidden.as_bytes()));
        let mut passed = Fields::default();
        for field in trailers.iter().filter(|field| !hidden(&field.name)) {
            passed.push(field.name.clone(), field.value.clone());
        }
        *self.facts.passed_trailers.borrow_mut() = Some(passed).filter(|passed| !passed.is_empty());
        *self.facts.trailers.borrow_mut() = Some(trailers);
    }

    /// The pieces that came with the head, as one.
    fn joined_ahead(&mut self) -> Bytes {
        match self.ahead.pop_front() {
            None => Bytes::new(),
            Some(only) if self.ahead.is_empty() => only,
            // Several chunks came with one read: they are short.
            Some(first) => {
                let mut all = Vec::with_capacity(usize::try_from(self.length).unwrap_or(0));
                all.extend_from_slice(&first);
                self.ahead.drain(..).for_each(|piece| all.extend_from_slice(&piece));
                all.into()
            }
        }
    }

    fn broken(&mut self, why: &str) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.over = true;
        self.complain(Level::Error, why);
        self.give_back(Instant::now());
        Poll::Ready(Some(Err(BodyError::UpstreamGone)))
    }

    fn complain(&self, level: Level, text: &str) {
        self.facts.complain(level, format!("{text} while reading upstream"), &self.upstream.shown());
    }

    /// Reads once. `false`: the upstream has closed.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(false)) };
        let want = match self.decoder.remaining() {
            Some(rest) => usize::try_from(rest).unwrap_or(CHUNK).saturating_add(SLACK).min(CHUNK),
            None if self.received >= CHUNK as u64 => CHUNK,
            None => CHUNK / 4,
        };
        if self.buffer.capacity() - self.buffer.len() < want.min(CHUNK / 16) || self.buffer.is_empty() {
            self.buffer.reserve(want);
        }
        match poll_read_buf(&mut connection.stream, &mut self.buffer, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(count)) => {
                self.received += count as u64;
                connection.deadline.clear();
                Poll::Ready(Ok(count > 0))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Whether `proxy_limit_rate` lets us read on.
    fn poll_rate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.limit_rate == 0 {
            return Poll::Ready(());
        }
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let allowed = self.limit_rate.saturating_mul(self.started.elapsed().as_secs() + 1);
            if self.length < allowed {
                return Poll::Ready(());
            }
            let wait = Duration::from_millis((self.length - allowed).saturating_mul(1000) / self.limit_rate + 1);
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

impl Source for AnswerBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(piece) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            match self.decoder.decode(&mut self.buffer) {
                Ok(BodyPiece::Data(bytes)) => {
                    self.length += bytes.len() as u64;
                    if self.decoder.is_done() {
                        self.end(None, Instant::now());
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Ok(BodyPiece::End(trailers)) => {
                    self.end(trailers.map(|fields| *fields), Instant::now());
                    return Poll::Ready(None);
                }
                Ok(BodyPiece::NeedMore) => {}
                Err(error) => return self.broken(&format!("upstream {error}")),
            }
            std::task::ready!(self.poll_rate(cx));
            match self.poll_read(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) if self.decoder.close().is_ok() => {
                    self.way_back = None;
                    self.end(None, Instant::now());
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(false)) => return self.broken("upstream prematurely closed connection"),
                Poll::Ready(Err(error)) => {
                    return self.broken(&format!("recv() failed ({})", crate::net::dial::errno(&error)));
                }
                Poll::Pending => {
                    let Some(Connection { deadline: gap, .. }) = &mut self.connection else { return Poll::Pending };
                    if gap.due().is_none() {
                        gap.set(Instant::now() + self.read_timeout);
                    }
                    std::task::ready!(gap.poll(cx));
                    return self.broken("upstream timed out (110: Connection timed out)");
                }
            }
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.facts.passed_trailers.borrow().clone()
    }

    fn flush_each(&self) -> bool {
        self.flush_each
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        match self.leftovers.take().and_then(|leftovers| Some((leftovers, self.rest()?))) {
            Some((leftovers, rest)) => leftovers.read(rest),
            None => self.give_back(Instant::now()),
        }
    }
}
