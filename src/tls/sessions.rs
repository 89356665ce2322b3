//! Which sessions do we remember ourselves? `ssl_session_cache`: for clients without tickets, and for TLS 1.3 where
//! tickets are off. Bounded and with an end (`ssl_session_timeout`); shared by workers in small locked shards.

use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const SHARDS: usize = 16;

/// A cache of sessions; the oldest leaves first.
pub struct Sessions {
    shards: [Mutex<Shard>; SHARDS],
    each: usize,
    timeout: Duration,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    sessions: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    order: VecDeque<Vec<u8>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("each", &self.each).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Room for about `size` sessions, each for at most `timeout`.
    pub fn new(size: usize, timeout: Duration) -> Sessions {
        let each = size.div_ceil(SHARDS);
        Sessions { shards: Default::default(), each, timeout, hasher: RandomState::new() }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        if self.each == 0 {
            return false;
        }
        let mut shard = self.shard(&key);
        // A session that was taken leaves its key behind; it is passed over here.
        while shard.order.len() >= self.each {
            if let Some(oldest) = shard.order.pop_front() {
                shard.sessions.remove(&oldest);
            }
        }
        if shard.sessions.insert(key.clone(), (Instant::now(), value)).is_none() {
            shard.order.push_back(key);
        }
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let shard = self.shard(key);
        let (stored, value) = shard.sessions.get(key)?;
        (stored.elapsed() < self.timeout).then(|| value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (stored, value) = self.shard(key).sessions.remove(key)?;
        (stored.elapsed() < self.timeout).then_some(value)
    }

    fn can_cache(&self) -> bool {
        self.each > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_are_taken_once_and_never_outgrow_their_room() {
        let sessions = Sessions::new(160, Duration::from_secs(60));
        for n in 0..10_000_u32 {
            assert!(sessions.put(n.to_be_bytes().to_vec(), vec![1]));
        }
        let kept: usize = sessions.shards.iter().map(|s| s.lock().unwrap().sessions.len()).sum();
        assert_eq!(kept, 160);
        let last = 9_999_u32.to_be_bytes();
        assert!(sessions.get(&last).is_some() && sessions.take(&last).is_some() && sessions.take(&last).is_none());
        let ended = Sessions::new(16, Duration::ZERO);
        ended.put(vec![1], vec![2]);
        assert_eq!(ended.get(&[1]), None);
        assert!(!Sessions::new(0, Duration::ZERO).can_cache());
    }
}
