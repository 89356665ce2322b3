//! What do we know of one server of an upstream? Its open requests and its recent failures, counted for all workers.
//! Keyed by (upstream, address) in `zone`, so that it survives a reload.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// A moment of a clock that only goes forward: milliseconds since any fixed moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Long before anything happened.
    const NEVER: i64 = -(1 << 50);
}

/// How a request to a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, or the request was given up for reasons that are not its own.
    Fine,
    /// A failure that `proxy_next_upstream` counts (nginx: `NGX_PEER_FAILED`).
    Failed,
}

/// One server's health.
#[derive(Debug)]
pub struct Health {
    /// Requests that it is working on.
    connections: AtomicU32,
    /// Failures since it was last known to be fine.
    fails: AtomicU32,
    /// When it last failed.
    failed: AtomicI64,
    /// When it was last chosen at the beginning of a new `fail_timeout` window, or last failed.
    checked: AtomicI64,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            connections: AtomicU32::new(0),
            fails: AtomicU32::new(0),
            failed: AtomicI64::new(Moment::NEVER),
            checked: AtomicI64::new(Moment::NEVER),
        }
    }
}

impl Health {
    /// Requests that it is working on.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// Failures since it was last known to be fine.
    pub fn fails(&self) -> u32 {
        self.fails.load(Relaxed)
    }

    /// Whether it is left out at `now`: `max_fails` failures, and `fail_timeout` has not passed since.
    pub fn is_down(&self, max_fails: u32, fail_timeout: Duration, now: Moment) -> bool {
        max_fails > 0
            && self.fails() >= max_fails
            && now.0.saturating_sub(self.checked.load(Relaxed)) <= milliseconds(fail_timeout)
    }

    /// It was chosen: one more request, and perhaps a new window in which a success clears its failures.
    pub(super) fn chosen(&self, fail_timeout: Duration, now: Moment) {
        self.connections.fetch_add(1, Relaxed);
        if now.0.saturating_sub(self.checked.load(Relaxed)) > milliseconds(fail_timeout) {
            self.checked.store(now.0, Relaxed);
        }
    }

    /// A request ended. Tells how many failures it has now.
    pub(super) fn ended(&self, outcome: Outcome, now: Moment) -> u32 {
        let fails = match outcome {
            Outcome::Failed => {
                self.failed.store(now.0, Relaxed);
                self.checked.store(now.0, Relaxed);
                self.fails.fetch_add(1, Relaxed) + 1
            }
            Outcome::Fine => {
                // Only a request that began after the last failure's window proves that it lives again.
                if self.failed.load(Relaxed) < self.checked.load(Relaxed) {
                    self.fails.store(0, Relaxed);
                }
                self.fails()
            }
        };
        let _ = self.connections.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1)));
        fails
    }

    /// The only server of its upstream is never marked down.
    pub(super) fn forgive(&self) {
        if self.fails() > 0 {
            self.fails.store(0, Relaxed);
        }
        let _ = self.connections.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1)));
    }
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
