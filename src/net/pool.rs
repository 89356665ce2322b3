//! Which idle connection to an upstream can be used again? One worker's; keyed by upstream, address, and the TLS settings
//! and name under which they were made. A connection that was closed or on which anything came is never used again.
//! Outlives reloads: the next plan finds the connections that the one before left.
//!
//! `keepalive N` is how many may lie idle. What comes back beyond that is closed, as nginx does, but only when nobody has
//! asked for it within a tenth of a second: under load the next request is there already, and a new connection costs as
//! much as two requests.

use super::deadline::Deadline;
use super::dial::Stream;
use crate::balance::Health;
use crate::plan::tls::UpstreamTls;
use crate::plan::upstream::UpstreamKeepalive;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Under which TLS settings and name a connection was made.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// The settings.
    pub tls: Arc<UpstreamTls>,
    /// The name for SNI and verification.
    pub name: Bytes,
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &TlsIdentity) -> bool {
        self.name == other.name && (Arc::ptr_eq(&self.tls, &other.tls) || self.tls == other.tls)
    }
}

/// A connection to an upstream and what it has been through.
#[derive(Debug)]
pub struct Connection {
    /// The socket, perhaps with TLS.
    pub stream: Stream,
    /// Requests that were sent on it.
    pub requests: u64,
    /// When it was made.
    pub since: Instant,
    /// Until when the other side must say or take something, while it is used.
    pub deadline: Deadline,
}

struct Idle {
    connection: Connection,
    to: Arc<Health>,
    tls: Option<TlsIdentity>,
    since: Instant,
    until: Instant,
}

/// How long a connection beyond `keepalive N` waits for another request.
const SPARE: Duration = Duration::from_millis(100);

/// The idle connections of one upstream, the one used last in front.
#[derive(Default)]
pub struct UpstreamPool {
    idle: RefCell<VecDeque<Idle>>,
    /// `keepalive N`.
    most: Cell<usize>,
}

impl UpstreamPool {
    /// An idle connection to the address whose health is `to`, made under `tls`.
    pub fn take(&self, to: &Arc<Health>, tls: Option<&TlsIdentity>, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let found = idle.iter().position(|one| Arc::ptr_eq(&one.to, to) && one.tls.as_ref() == tls)?;
            let one = idle.remove(found)?;
            if now < one.until && one.connection.stream.is_quiet() {
                return Some(one.connection);
            }
        }
    }

    /// Keeps a connection whose answer was read to the end, unless it has served its time; the one that was idle longest
    /// makes room, at once or soon.
    pub fn put(
        &self,
        connection: Connection,
        to: Arc<Health>,
        tls: Option<TlsIdentity>,
        limits: &UpstreamKeepalive,
        now: Instant,
    ) {
        if connection.requests >= limits.requests || now.duration_since(connection.since) > limits.time {
            return;
        }
        self.most.set(limits.connections);
        self.idle.borrow_mut().push_front(Idle { connection, to, tls, since: now, until: now + limits.timeout });
        self.shrink(now);
    }

    /// Closes what is too many and was not asked for again.
    fn shrink(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        while idle.len() > self.most.get() && idle.back().is_some_and(|last| last.since + SPARE <= now) {
            idle.pop_back();
        }
    }

    /// Whether more lie idle than `keepalive` allows.
    fn is_over_full(&self) -> bool {
        self.idle.borrow().len() > self.most.get()
    }

    /// Idle connections.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sweep(&self, now: Instant) {
        self.shrink(now);
        self.idle.borrow_mut().retain(|one| now < one.until && one.connection.stream.is_quiet());
    }
}

/// How often connections that were closed by the other side, or are too old, are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The pools of one worker, by name of the upstream.
#[derive(Default)]
pub struct Pools {
    pools: RefCell<HashMap<Box<str>, Rc<UpstreamPool>>>,
    sweeping: Cell<bool>,
    /// Some pool is over-full, and somebody will see to it.
    shrinking: Cell<bool>,
}

impl Pools {
    /// The pool of the upstream called `name`.
    pub fn of(&self, name: &str) -> Rc<UpstreamPool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(name) {
            return pool.clone();
        }
        let pool = Rc::<UpstreamPool>::default();
        pools.insert(name.into(), pool.clone());
        pool
    }

    /// Sees to it that idle connections are swept from now on, as long as there are any.
    pub fn sweep(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let pools = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(pools) = pools.upgrade() else { return };
                let now = Instant::now();
                let all: Vec<_> = pools.pools.borrow().values().cloned().collect();
                all.iter().for_each(|pool| pool.sweep(now));
                if all.iter().all(|pool| pool.is_empty()) {
                    pools.sweeping.set(false);
                    return;
                }
            }
        });
    }

    /// Sees to it that `pool`, if it is over-full, is not so for long.
    pub fn shrink(self: &Rc<Self>, pool: &UpstreamPool) {
        if !pool.is_over_full() || self.shrinking.replace(true) {
            return;
        }
        let pools = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SPARE).await;
                let Some(pools) = pools.upgrade() else { return };
                let now = Instant::now();
                let all: Vec<_> = pools.pools.borrow().values().cloned().collect();
                all.iter().for_each(|pool| pool.shrink(now));
                if !all.iter().any(|pool| pool.is_over_full()) {
                    pools.shrinking.set(false);
                    return;
                }
            }
        });
    }

    /// Closes every idle connection: the worker is to end.
    pub fn close(&self) {
        self.pools.borrow().values().for_each(|pool| pool.idle.borrow_mut().clear());
    }
}
