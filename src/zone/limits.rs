//! Has this client done too much? Leaky buckets and counts of requests under way, for all workers together. A lock on one
//! of some shards, for a look-up. Outlives plans: what was counted before a reload still counts after it.

use crate::plan::limit::{Counted, Limit, LimitZone};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Shards of a zone.
const SHARDS: usize = 16;
/// What nginx needs for one client on 64-bit machines, so that a size means the same number of clients.
const STATE: u64 = 128;

/// A zone of a plan, and what is counted in it.
type Known = (Weak<LimitZone>, Arc<Zone>);

/// All zones of the process.
#[derive(Debug)]
pub struct LimitZones {
    begun: tokio::time::Instant,
    zones: Mutex<HashMap<LimitZone, Weak<Zone>>>,
    /// By the place of the plan's zone in memory, so that a request compares no texts.
    known: Mutex<HashMap<usize, Known>>,
}

impl Default for LimitZones {
    fn default() -> LimitZones {
        LimitZones { begun: tokio::time::Instant::now(), zones: Mutex::default(), known: Mutex::default() }
    }
}

/// One zone.
#[derive(Debug)]
struct Zone {
    rate: u64,
    hash: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// Two generations: what is asked for moves to the young one; when that is full the old one, not asked for since the
/// last time, is forgotten.
#[derive(Debug, Default)]
struct Shard {
    room: usize,
    young: HashMap<Box<[u8]>, Bucket>,
    old: HashMap<Box<[u8]>, Bucket>,
    /// Requests under way. Nobody is forgotten here.
    under_way: HashMap<Box<[u8]>, u64>,
}

/// How full a client's bucket was, and when. In thousandths of a request, and milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    excess: u64,
    at: u64,
}

impl Bucket {
    /// With one more request now.
    fn filled(self, rate: u64, now: u64) -> Bucket {
        let drained = rate.saturating_mul(now.saturating_sub(self.at)) / 1000;
        Bucket { excess: (self.excess + 1000).saturating_sub(drained), at: now.max(self.at) }
    }
}

impl Shard {
    /// The bucket of a client; `None`: never heard of.
    fn bucket(&mut self, key: &[u8]) -> Option<&mut Bucket> {
        if !self.young.contains_key(key) {
            let (key, bucket) = self.old.remove_entry(key)?;
            self.keep(key, bucket);
        }
        self.young.get_mut(key)
    }

    fn keep(&mut self, key: Box<[u8]>, bucket: Bucket) {
        if self.young.len() >= self.room {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, bucket);
    }
}

/// A request that is counted as under way until this is dropped.
#[derive(Debug)]
pub struct UnderWay {
    zone: Arc<Zone>,
    key: Box<[u8]>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut shard = self.zone.shard(&self.key);
        if let Some(count) = shard.under_way.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                shard.under_way.remove(&self.key);
            }
        }
    }
}

/// What `limit_req` says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Go on.
    Pass,
    /// Go on after this time: the limit that makes it so long, and the excess in thousandths.
    Wait(Duration, usize, u64),
    /// No: the limit, and the excess in thousandths.
    No(usize, u64),
}

impl LimitZones {
    /// Counts a request against all `limits` whose key is not empty, or against none if one of them says no.
    pub fn request(&self, limits: &[(&Limit, &[u8])], now: tokio::time::Instant) -> Said {
        let now = u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX);
        let zones: Vec<Arc<Zone>> = limits.iter().map(|(limit, _)| self.zone(&limit.zone)).collect();
        for (index, ((limit, key), zone)) in limits.iter().zip(&zones).enumerate() {
            let mut shard = zone.shard(key);
            let excess = shard.bucket(key).map_or(0, |bucket| bucket.filled(zone.rate, now).excess);
            if excess > limit.most {
                return Said::No(index, excess);
            }
        }
        let mut said = Said::Pass;
        for (index, ((limit, key), zone)) in limits.iter().zip(&zones).enumerate() {
            let mut shard = zone.shard(key);
            let excess = match shard.bucket(key) {
                Some(bucket) => {
                    *bucket = bucket.filled(zone.rate, now);
                    bucket.excess
                }
                None => {
                    shard.keep((*key).into(), Bucket { excess: 0, at: now });
                    0
                }
            };
            let over = excess.saturating_sub(limit.undelayed);
            let wait = Duration::from_millis(over.saturating_mul(1000) / zone.rate.max(1));
            if !wait.is_zero() && !matches!(said, Said::Wait(longest, ..) if longest >= wait) {
                said = Said::Wait(wait, index, excess);
            }
        }
        said
    }

    /// Counts a request as under way; `None`: as many as may are already.
    pub fn under_way(&self, limit: &Limit, key: &[u8]) -> Option<UnderWay> {
        let zone = self.zone(&limit.zone);
        let mut shard = zone.shard(key);
        let full = shard.under_way.len() >= shard.room * 2;
        match shard.under_way.get_mut(key) {
            Some(count) if *count >= limit.most => return None,
            Some(count) => *count += 1,
            None if full => return None,
            None => drop(shard.under_way.insert(key.into(), 1)),
        }
        drop(shard);
        Some(UnderWay { zone, key: key.into() })
    }

    fn zone(&self, wanted: &Arc<LimitZone>) -> Arc<Zone> {
        let mut known = lock(&self.known);
        let place = Arc::as_ptr(wanted) as usize;
        if let Some((_, zone)) = known.get(&place) {
            return zone.clone();
        }
        let mut zones = lock(&self.zones);
        let zone = zones.get(&**wanted).and_then(Weak::upgrade).unwrap_or_else(|| {
            let made = Arc::new(Zone::new(wanted));
            zones.insert((**wanted).clone(), Arc::downgrade(&made));
            made
        });
        // Zones of plans that are gone are let go; the place of one that is known cannot be taken by another.
        known.retain(|_, (plan, _)| plan.strong_count() > 0);
        zones.retain(|_, zone| zone.strong_count() > 0);
        known.insert(place, (Arc::downgrade(wanted), zone.clone()));
        zone
    }
}

impl Zone {
    fn new(wanted: &LimitZone) -> Zone {
        let rate = match wanted.counted {
            Counted::Requests { rate } => rate,
            Counted::Connections => 0,
        };
        let room = usize::try_from(wanted.size / STATE / SHARDS as u64 / 2).unwrap_or(usize::MAX).max(1);
        let shards = std::array::from_fn(|_| Mutex::new(Shard { room, ..Shard::default() }));
        Zone { rate, hash: RandomState::new(), shards }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hash.hash_one(key) as usize % SHARDS])
    }
}

/// Nothing is left half done under these locks: what a panicking thread left behind is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::template::Template;
    use tokio::time::Instant;

    fn limit(counted: Counted, most: u64, undelayed: u64, size: u64) -> Limit {
        let (name, key, key_text) = ("z".into(), Template::default(), "$k".into());
        Limit { zone: Arc::new(LimitZone { name, key, key_text, size, counted }), most, undelayed }
    }

    #[test]
    fn a_burst_is_delayed_then_refused_and_drains_away() {
        let zones = LimitZones::default();
        let limit = limit(Counted::Requests { rate: 2000 }, 2000, 1000, 1 << 20);
        let begun = Instant::now();
        let ask = |after: u64| zones.request(&[(&limit, b"a")], begun + Duration::from_millis(after));
        assert_eq!([ask(0), ask(0)], [Said::Pass, Said::Pass]);
        assert_eq!(ask(0), Said::Wait(Duration::from_millis(500), 0, 2000));
        assert_eq!(ask(0), Said::No(0, 3000));
        assert_eq!(ask(0), Said::No(0, 3000), "what is refused does not fill the bucket");
        assert_eq!(ask(500), Said::Wait(Duration::from_millis(500), 0, 2000));
        assert_eq!(ask(10_000), Said::Pass);
        assert_eq!(zones.request(&[(&limit, b"b")], begun), Said::Pass, "another client has a bucket of its own");
    }

    #[test]
    fn a_request_that_one_zone_refuses_is_counted_in_none() {
        let zones = LimitZones::default();
        let (wide, tight) = (
            limit(Counted::Requests { rate: 1 }, 5000, 5000, 1 << 20),
            limit(Counted::Requests { rate: 2 }, 0, 0, 1 << 20),
        );
        let now = Instant::now();
        let both: [(&Limit, &[u8]); 2] = [(&wide, b"a"), (&tight, b"a")];
        assert_eq!(zones.request(&both, now), Said::Pass);
        for _ in 0..20 {
            assert!(matches!(zones.request(&both, now), Said::No(1, 1000)));
        }
        for _ in 0..5 {
            assert_eq!(zones.request(&both[..1], now), Said::Pass);
        }
    }

    #[test]
    fn a_zone_forgets_those_who_were_not_heard_of_longest_and_stays_in_its_room() {
        let zones = LimitZones::default();
        let limit = limit(Counted::Requests { rate: 1 }, 0, 0, 32 << 10);
        let now = Instant::now();
        for number in 0u32..10_000 {
            zones.request(&[(&limit, &number.to_be_bytes())], now);
            assert!(number == 0 || zones.request(&[(&limit, &0u32.to_be_bytes())], now) != Said::Pass, "{number}");
        }
        let zone = zones.zone(&limit.zone);
        let held: usize = zone.shards.iter().map(|shard| lock(shard)).map(|s| s.young.len() + s.old.len()).sum();
        assert!(held <= 256, "{held}");
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends_over_a_reload_too() {
        let zones = LimitZones::default();
        let old = limit(Counted::Connections, 2, 0, 1 << 20);
        let new = Limit { zone: Arc::new((*old.zone).clone()), ..old.clone() };
        let first = zones.under_way(&old, b"a");
        let second = zones.under_way(&new, b"a");
        assert!(first.is_some() && second.is_some() && zones.under_way(&old, b"a").is_none());
        assert!(zones.under_way(&old, b"b").is_some());
        drop(first);
        assert!(zones.under_way(&new, b"a").is_some());
    }
}
