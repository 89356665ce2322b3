//! One server after the other, until one gives an answer or `proxy_next_upstream` says that it is enough.

use super::Forwarder;
use super::destination::Destination;
use super::error::{Cause, ForwardError, SoFar, Verdict};
use super::held::{Named, Ticket, WayBack};
use super::request::Outgoing;
use super::talk::{Limits, Passed, Reply, talk};
use super::upload::Upload;
use crate::balance::{Key, Moment};
use crate::http::upstreamed::Upstreamed;
use crate::net::deadline::Deadline;
use crate::net::dial::{Target, dial};
use crate::net::pool::{Connection, TlsIdentity};
use crate::plan::log::Level;
use crate::plan::proxy::Proxy;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A request that is ready to be sent. Holds nothing of the client, so that it can go on without it
/// (`proxy_ignore_client_abort`).
pub(super) struct Job {
    pub forwarder: Rc<Forwarder>,
    pub proxy: Arc<Proxy>,
    pub destination: Destination,
    pub outgoing: Outgoing,
    pub upload: Upload,
    pub client: Option<IpAddr>,
    pub bind: Option<SocketAddr>,
    pub facts: Rc<Upstreamed>,
}

/// The head of an answer, and the connection on which the rest will come. Boxed, for it passes through many hands.
pub(super) struct Heard {
    pub reply: Reply,
    pub connection: Connection,
    /// When it came.
    pub at: Instant,
}

/// An answer has begun.
pub(super) struct Reached {
    pub heard: Box<Heard>,
    pub ticket: Ticket,
    /// `None`: the connection cannot be used again.
    pub way_back: Option<WayBack>,
    /// When this server was turned to.
    pub started: Instant,
    /// For the error log.
    pub upstream: Named,
    pub to_head: bool,
}

/// A try that failed.
struct Failure {
    error: ForwardError,
    passed: Passed,
    /// On a connection that had been idle.
    reused: bool,
}

impl Job {
    /// Tries servers until one answers.
    pub(super) async fn run(&mut self) -> Result<Reached, ForwardError> {
        let begun = Instant::now();
        let group = self.destination.group.clone();
        let proxy = self.proxy.clone();
        let next = &proxy.next;
        let mut choice = group.choice();
        let mut tries = if next.tries == 0 { group.tries() } else { group.tries().min(next.tries) };
        let mut first = Some(begun);
        loop {
            let now = first.take().unwrap_or_else(Instant::now);
            let moment = self.forwarder.upstreams.moment(now);
            let Some(ticket) = self.pick(&mut choice, moment) else {
                self.facts.begin(group.shown().clone());
                self.facts.last(|fact| fact.status = 502);
                let error = ForwardError::NoLiveUpstreams;
                self.facts.complain(Level::Error, error.to_string(), &self.named(group.shown().clone()).shown());
                return Err(error);
            };
            let member = group.member(ticket.picked).shown.clone();
            self.facts.begin(member.clone());
            let failure = match self.one(&ticket, now).await {
                Ok((heard, passed)) => {
                    let status = heard.reply.head.status;
                    self.facts.last(|fact| fact.status = status);
                    let repeats = next.statuses.contains(&status)
                        && self.so_far(&passed, tries.saturating_sub(1), begun).may_repeat(next);
                    if !repeats {
                        return Ok(self.reached(heard, ticket, passed, now, member));
                    }
                    Failure { error: ForwardError::Status(status), passed, reused: false }
                }
                Err(failure) => failure,
            };
            tries = self.count(&failure, ticket, tries, now, &member);
            match failure.error.verdict(next, self.so_far(&failure.passed, tries, begun)) {
                Verdict::Next => {}
                Verdict::Answer(_) => return Err(failure.error),
            }
        }
    }

    fn pick(&self, choice: &mut crate::balance::Choice, moment: Moment) -> Option<Ticket> {
        let group = &self.destination.group;
        let key = Key { client: self.client, text: &self.destination.key };
        let picked = group.next(choice, key, moment, &*self.forwarder.dice)?;
        Some(Ticket::new(&self.forwarder, group.clone(), picked))
    }

    fn so_far(&self, passed: &Passed, tries: u32, begun: Instant) -> SoFar {
        let within = self.proxy.next.within;
        SoFar {
            sent: passed.sent > 0,
            unrepeatable: self.upload.is_live(),
            non_idempotent: self.outgoing.non_idempotent,
            tries,
            late: !within.is_zero() && begun.elapsed() >= within,
        }
    }

    /// One server: an idle connection or a new one, the request, the head of the answer.
    async fn one(&mut self, ticket: &Ticket, now: Instant) -> Result<(Box<Heard>, Passed), Failure> {
        let mut passed = Passed::default();
        let identity = self.identity();
        let idle = self.destination.known.as_ref().and_then(|k| k.pool.take(ticket.health(), identity.as_ref(), now));
        let reused = idle.is_some();
        let connection = match idle {
            Some(connection) => Ok(connection),
            None => Box::pin(self.dial(ticket)).await,
        };
        let mut connection = connection.map_err(|error| Failure { error, passed, reused })?;
        connection.requests += 1;
        let connected = if reused { Duration::ZERO } else { now.elapsed() };
        self.facts.last(|fact| fact.connect_time = Some(connected));
        let limits =
            Limits { send: self.proxy.send_timeout, read: self.proxy.read_timeout, head: self.proxy.buffer_size };
        let sender = self.upload.sender(&self.outgoing.bytes);
        let said = talk(&mut connection, sender, limits, &mut passed, now + connected).await;
        self.facts.last(|fact| {
            fact.bytes_sent = passed.sent;
            fact.bytes_received = passed.received;
        });
        match said {
            Ok(reply) if reply.head.status == 101 && !self.outgoing.upgrade => {
                Err(Failure { error: ForwardError::UnaskedUpgrade, passed, reused })
            }
            Ok(reply) => {
                let at = Instant::now();
                self.facts.last(|fact| fact.header_time = Some(at.saturating_duration_since(now)));
                Ok((Box::new(Heard { reply, connection, at }), passed))
            }
            Err(error) => Err(Failure { error, passed, reused }),
        }
    }

    async fn dial(&self, ticket: &Ticket) -> Result<Connection, ForwardError> {
        let tls = self.destination.tls.as_ref();
        let config = tls.map(|(tls, _)| self.forwarder.tls.config(tls));
        let target = Target {
            address: &ticket.group.member(ticket.picked).address,
            timeout: self.proxy.connect_timeout,
            keepalive: self.proxy.socket_keepalive,
            bind: self.bind,
            tls: config.as_ref().zip(tls.map(|(_, name)| &name[..])),
        };
        let stream = dial(target).await?;
        Ok(Connection { stream, requests: 0, since: Instant::now(), deadline: Deadline::default() })
    }

    fn identity(&self) -> Option<TlsIdentity> {
        self.destination.tls.as_ref().map(|(tls, name)| TlsIdentity { tls: tls.clone(), name: name.clone() })
    }

    /// Tells the balancer and the log of a failure; gives the tries that are left, counted as nginx counts them.
    fn count(&self, failure: &Failure, ticket: Ticket, tries: u32, now: Instant, member: &Bytes) -> u32 {
        let cause = failure.error.cause();
        let upstream = self.named(member.clone());
        let single = ticket.group.tries() <= 1;
        // That a connection which lay idle was closed says nothing of the server's health.
        let stale = failure.reused && cause == Cause::Error && failure.passed.received == 0;
        if cause.counts() && !stale && ticket.failed() {
            let text = "upstream server temporarily disabled".to_owned();
            self.facts.complain(Level::Warn, text, &upstream.shown());
        }
        self.facts.last(|fact| {
            fact.response_time = Some(now.elapsed());
            fact.status = failure.error.status();
        });
        if !matches!(cause, Cause::Status(_)) && !matches!(failure.error, ForwardError::Client(_)) {
            self.facts.complain(Level::Error, failure.error.to_string(), &upstream.shown());
        }
        let left = if single { 0 } else { tries.saturating_sub(1) };
        left + u32::from(failure.reused && cause == Cause::Error)
    }

    fn reached(&self, heard: Box<Heard>, ticket: Ticket, passed: Passed, started: Instant, member: Bytes) -> Reached {
        let head = &heard.reply.head;
        let reusable = head.keep_alive && passed.whole && head.status != 101;
        let way_back = self.destination.known.as_ref().filter(|_| reusable).and_then(|known| {
            let (pool, pools) = (known.pool.clone(), self.forwarder.pools.clone());
            let (to, tls, limits) = (ticket.health().clone(), self.identity(), known.keepalive.clone()?);
            Some(WayBack { pool, pools, to, tls, limits })
        });
        let (upstream, to_head) = (self.named(member), self.outgoing.to_head);
        Reached { heard, ticket, way_back, started, upstream, to_head }
    }

    fn named(&self, member: Bytes) -> Named {
        Named { tls: self.destination.tls.is_some(), member, uri: self.outgoing.uri.clone() }
    }
}
