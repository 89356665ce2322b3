//! What is known of one peer, and what is granted to it? A peer is a member but need not be sane: all it can make us do or
//! keep is bounded here.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::fleet::message::Hello;
use crate::fleet::subject::SubjectKey;

/// Subjects that a peer may have asked for and not yet got.
const MOST_QUEUED: usize = 16_384;

/// So much at once and so much for each second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    burst: f64,
    rate: f64,
    left: f64,
    at: Duration,
}

impl Allowance {
    pub(super) fn new(burst: f64, rate: f64) -> Allowance {
        Allowance { burst, rate, left: burst, at: Duration::ZERO }
    }

    /// Takes `cost` if anything is left; what is taken beyond must be earned first.
    pub(super) fn take(&mut self, now: Duration, cost: f64) -> bool {
        self.left = (self.left + now.saturating_sub(self.at).as_secs_f64() * self.rate).min(self.burst);
        self.at = self.at.max(now);
        if self.left <= 0.0 {
            return false;
        }
        self.left -= cost;
        true
    }

    /// When something is left again.
    pub(super) fn opens(&self) -> Duration {
        let missing = (-self.left).max(0.0) / self.rate;
        self.at + Duration::from_secs_f64(missing + 0.001)
    }
}

/// One linked peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub hello: Option<Hello>,
    pub covers: BTreeSet<String>,
    /// When it was heard last.
    pub heard: Duration,
    /// Its digest was another than ours when it told it, and it was not compared since.
    pub differs: bool,
    /// When it was asked to compare last.
    pub compared: Option<Duration>,
    /// What it wants and did not get yet.
    pub queued: VecDeque<SubjectKey>,
    queued_set: BTreeSet<SubjectKey>,
    /// Claims that we asked it for and did not get yet.
    pub outstanding: usize,
    /// What it may say.
    pub messages: Allowance,
    /// Bytes of claims that it gets.
    pub bytes: Allowance,
    /// Tokens that it may ask for.
    pub questions: Allowance,
}

impl Peer {
    pub(super) fn new(now: Duration) -> Peer {
        Peer {
            hello: None,
            covers: BTreeSet::new(),
            heard: now,
            differs: false,
            compared: None,
            queued: VecDeque::new(),
            queued_set: BTreeSet::new(),
            outstanding: 0,
            messages: Allowance::new(8192.0, 4096.0),
            bytes: Allowance::new(4e6, 16e6),
            questions: Allowance::new(64.0, 32.0),
        }
    }

    /// Whether bundles are pushed to it without a question.
    pub(super) fn takes_all(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.holds_all)
    }

    /// It wants these.
    pub(super) fn queue(&mut self, keys: impl IntoIterator<Item = SubjectKey>) {
        for key in keys {
            if self.queued.len() < MOST_QUEUED && self.queued_set.insert(key) {
                self.queued.push_back(key);
            }
        }
    }

    /// The next that it wants.
    pub(super) fn next_queued(&mut self) -> Option<SubjectKey> {
        let key = self.queued.pop_front()?;
        self.queued_set.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_burst_and_a_rate_and_debts_are_paid_first() {
        let mut allowance = Allowance::new(2.0, 1.0);
        let at = Duration::from_secs;
        assert!(allowance.take(at(10), 1.0) && allowance.take(at(10), 5.0) && !allowance.take(at(10), 1.0));
        assert!(!allowance.take(at(13), 1.0));
        assert!(allowance.opens() > at(13) && allowance.opens() < at(15));
        assert!(allowance.take(at(15), 1.0));
    }

    #[test]
    fn a_peer_queues_each_subject_once_and_not_without_end() {
        let mut peer = Peer::new(Duration::ZERO);
        let keys = (0..40_000_u32).map(|at| {
            let mut key = SubjectKey::FIRST;
            key.0[..4].copy_from_slice(&at.to_be_bytes());
            key
        });
        peer.queue(keys.clone());
        peer.queue(keys);
        assert_eq!(peer.queued.len(), MOST_QUEUED);
    }
}
