//! How much is going on? Counters of requests for `stub_status` and metrics: each worker counts for itself, readers add up.
//! Connections are counted where they are accepted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of all workers.
#[derive(Debug)]
pub struct Stats {
    workers: Box<[Counters]>,
}

/// Counters of one worker, on cache lines of its own, so that workers do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Requests since the start.
    pub requests: AtomicU64,
    /// Connections on which a head is being read.
    pub reading: AtomicU64,
    /// Requests that are being answered.
    pub writing: AtomicU64,
}

/// The sum over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Heads being read.
    pub reading: u64,
    /// Answers being made or sent.
    pub writing: u64,
}

impl Stats {
    /// Counters for `workers` workers (at least one).
    pub fn new(workers: usize) -> Stats {
        Stats { workers: (0..workers.max(1)).map(|_| Counters::default()).collect() }
    }

    /// The counters of one worker. A number beyond the last shares with another.
    pub fn worker(&self, number: usize) -> &Counters {
        &self.workers[number % self.workers.len()]
    }

    /// The sum over all workers; parts of it may be a moment apart.
    pub fn sum(&self) -> Totals {
        let mut all = Totals::default();
        for one in &self.workers {
            all.requests += one.requests.load(Ordering::Relaxed);
            all.reading += one.reading.load(Ordering::Relaxed);
            all.writing += one.writing.load(Ordering::Relaxed);
        }
        all
    }
}

/// Counts up by one.
pub fn up(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts down by one.
pub fn down(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_sum_of_all_workers() {
        let stats = Stats::new(2);
        up(&stats.worker(0).requests);
        up(&stats.worker(1).requests);
        up(&stats.worker(3).writing);
        down(&stats.worker(3).writing);
        assert_eq!(stats.sum(), Totals { requests: 2, reading: 0, writing: 0 });
    }
}
