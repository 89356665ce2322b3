//! What are time and dice? Types and ports only: the real clock and the real dice are made in `main` and `node`.
//! Rooms that decide take a [`UnixTime`] and a draw as arguments; tests and the simulator make their own.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment of the civil clock, in milliseconds since 1970-01-01T00:00:00Z. May lie before 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// The moment `seconds` after the epoch; saturates instead of overflowing.
    pub const fn from_seconds(seconds: i64) -> UnixTime {
        UnixTime(seconds.saturating_mul(1000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long from `earlier` until this moment; zero if `earlier` is later.
    pub fn since(self, earlier: UnixTime) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for UnixTime {
    type Output = UnixTime;
    fn add(self, span: Duration) -> UnixTime {
        UnixTime(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for UnixTime {
    type Output = UnixTime;
    fn sub(self, span: Duration) -> UnixTime {
        UnixTime(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A source of civil time. Real in `node`, virtual in tests.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> UnixTime;

    /// An authority has dated an answer just now: a witness, for clocks that hear witnesses.
    fn heard(&self, _date: UnixTime) {}

    /// An authority has given us a certificate in force from `not_before`: a witness too.
    fn accepted(&self, _not_before: UnixTime) {}

    /// The witnesses disagree: nothing is ordered for names that still have a valid certificate.
    fn in_doubt(&self) -> bool {
        false
    }
}

/// A source of uniform draws. Real in `node`, seeded in tests.
pub trait Dice: Send + Sync {
    /// A number drawn uniformly from `[0, 1)`.
    fn draw(&self) -> f64;
}

/// A clock that stands where it is put: for tests and the simulator.
#[derive(Debug, Default)]
pub struct VirtualClock(std::sync::atomic::AtomicI64);

impl VirtualClock {
    /// Puts the hands of the clock at `now`.
    pub fn set(&self, now: UnixTime) {
        self.0.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
