//! How is a request answered? [`Worker`] takes a request through nginx's phases: server rewrite, location, rewrite,
//! access, try_files, content, error pages, response filters, log. One worker for each thread; holds no sockets.

mod access;
mod autoindex;
mod choose;
mod content;
mod des_crypt;
mod files;
mod filters;
mod gzip;
mod index;
pub mod limit;
pub mod limits;
mod log;
mod outgoing;
pub mod pages;
mod password;
mod phases;
mod ranges;
mod realip;
mod scene;
mod special;
mod ticket;
pub mod time;
mod try_files;

use super::forward::Forwarder;
use super::message::{Malformed, Request, Response, Service};
use crate::clock::{Clock, Dice};
use crate::net::accept::Counts;
use crate::net::connection::Connection;
use crate::net::dial::UpstreamTlsConfigs;
use crate::net::log::{LogFiles, Writers};
use crate::net::opener::Opener;
use crate::plan::Plan;
use crate::zone::challenges::Challenges;
use crate::zone::limits::LimitZones;
use crate::zone::stats::Stats;
use crate::zone::upstreams::Upstreams;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use time::Time;

/// What a worker is made of. Everything is shared with the other workers, save the number.
#[derive(Clone)]
pub struct Parts {
    /// The civil clock.
    pub clock: Arc<dyn Clock>,
    /// Dice, for `$request_id` and boundaries.
    pub dice: Arc<dyn Dice>,
    /// Open challenges of certificate authorities.
    pub challenges: Arc<Challenges>,
    /// Opens password files.
    pub opener: Arc<dyn Opener>,
    /// Log files.
    pub logs: Arc<LogFiles>,
    /// Counters of requests.
    pub stats: Arc<Stats>,
    /// What clients did, for `limit_req` and `limit_conn`.
    pub limits: Arc<LimitZones>,
    /// The health of upstreams.
    pub upstreams: Arc<Upstreams>,
    /// How TLS is spoken towards them.
    pub upstream_tls: Arc<dyn UpstreamTlsConfigs>,
    /// Counters of connections, one for each worker.
    pub counts: Arc<[Arc<Counts>]>,
    /// `$hostname`.
    pub hostname: Bytes,
    /// Which of the workers this is.
    pub number: usize,
}

/// Answers the requests of one worker thread.
pub struct Worker {
    /// What it is made of.
    pub parts: Parts,
    /// Hands requests to upstreams.
    pub forwarder: Rc<Forwarder>,
    plan: RefCell<Arc<Plan>>,
    epoch: Cell<u64>,
    time: Time,
    logs: log::Logs,
    pid: u32,
    thread: i32,
    number: Cell<u64>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker that answers by `plan`. Made on the thread where it works, within its `LocalSet`.
    pub fn new(parts: Parts, plan: Arc<Plan>, epoch: u64) -> Rc<Worker> {
        let time = Time::new(parts.clock.clone());
        let forwarder = Forwarder::new(parts.upstreams.clone(), parts.upstream_tls.clone(), parts.dice.clone());
        let logs = log::Logs::new(Writers::new(parts.logs.clone(), parts.hostname.clone()));
        let pid = std::process::id();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let (plan, epoch, number) = (RefCell::new(plan), Cell::new(epoch), Cell::new(0));
        watch(&forwarder, &parts, &plan.borrow());
        Rc::new(Worker { parts, forwarder, plan, epoch, time, logs, pid, thread, number })
    }

    /// Answers by a newer plan from the next request of each connection on.
    pub fn replace(&self, plan: Arc<Plan>, epoch: u64) {
        self.epoch.set(epoch);
        watch(&self.forwarder, &self.parts, &plan);
        drop(self.plan.replace(plan));
        self.logs.forget_unused();
    }

    /// Binds `connection` to the newest plan, request or not; false if what was negotiated holds no longer.
    pub fn renew(&self, connection: &Connection) -> bool {
        choose::standing(self, connection).is_none_or(|standing| !standing.closing)
    }

    /// A number that no other answer of this worker has: boundaries.
    fn next_number(&self) -> u64 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// Writes out what access logs hold back (`buffer=`).
    pub fn flush(&self) {
        self.logs.writers.flush();
    }

    /// The present time in words.
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// Counters of `stub_status`, summed over all workers.
    pub fn connections(&self) -> Connections {
        use std::sync::atomic::Ordering::Relaxed;
        let sum = |pick: fn(&Counts) -> u64| self.parts.counts.iter().map(|counts| pick(counts)).sum::<u64>();
        let requests = self.parts.stats.sum();
        let active = sum(|counts| counts.open.load(Relaxed));
        let accepted = sum(|counts| counts.accepted.load(Relaxed));
        let handled = sum(|counts| counts.handled.load(Relaxed));
        let (reading, writing) = (requests.reading, requests.writing);
        let waiting = active.saturating_sub(reading + writing);
        Connections { active, accepted, handled, requests: requests.requests, reading, writing, waiting }
    }
}

/// The first worker looks after the names of upstreams, for all.
fn watch(forwarder: &Forwarder, parts: &Parts, plan: &Plan) {
    if let (0, Some(http)) = (parts.number, &plan.http) {
        forwarder.watch(&http.upstreams);
    }
}

/// What `stub_status` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open connections.
    pub active: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Of these, those for which there was room.
    pub handled: u64,
    /// Requests since the start.
    pub requests: u64,
    /// Heads being read.
    pub reading: u64,
    /// Answers being made or sent.
    pub writing: u64,
    /// Open connections without a request.
    pub waiting: u64,
}

impl Service for Rc<Worker> {
    async fn call(&self, request: Request) -> Response {
        let (mut ticket, chosen) = ticket::Ticket::new(self.clone(), request);
        let mut answer = match chosen {
            Ok(()) => phases::answer(&mut ticket.exchange).await,
            Err(status) => phases::refused(&mut ticket.exchange, status).await,
        };
        answer.close |= ticket.closing;
        ticket.respond(answer)
    }

    async fn refuse(&self, malformed: Malformed, connection: Rc<Connection>) -> Response {
        let (status, silent, reason) = (malformed.status, malformed.silent, malformed.reason.clone());
        let mut ticket = ticket::Ticket::refused(self.clone(), malformed, connection);
        ticket.exchange.note(crate::plan::log::Level::Info, reason);
        if silent {
            return ticket.silence(status);
        }
        let mut answer = phases::refused(&mut ticket.exchange, status).await;
        answer.close = true;
        ticket.respond(answer)
    }
}
