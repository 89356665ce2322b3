//! Who is next? One [`Choice`] lives as long as a request and remembers whom it has tried.

use super::group::{Group, Member};
use super::hash::Crc32;
use super::health::Moment;
use crate::clock::Dice;
use crate::plan::upstream::Balance;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

/// What a request offers to the algorithms that look at it.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The client's address (`ip_hash`); `None` on a unix socket.
    pub client: Option<IpAddr>,
    /// The value of `hash KEY`.
    pub text: &'a [u8],
}

/// A member that was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    pub(super) tier: usize,
    pub(super) index: usize,
}

/// What one request has tried so far.
#[derive(Debug, Default)]
pub struct Choice {
    tier: usize,
    /// Members of the present tier that were tried: one bit each, beyond 64 in `more`.
    tried: u64,
    more: Vec<usize>,
    /// Attempts of a hash that fell on somebody who could not take it.
    misses: u32,
    hash: Option<u32>,
    rehash: u32,
}

/// After so many misses a hash gives up and round robin decides, as in nginx.
const MISSES: u32 = 20;

impl Choice {
    fn has_tried(&self, index: usize) -> bool {
        if index < 64 { self.tried & (1 << index) != 0 } else { self.more.contains(&index) }
    }

    fn try_it(&mut self, index: usize) -> Picked {
        if index < 64 {
            self.tried |= 1 << index;
        } else {
            self.more.push(index);
        }
        Picked { tier: self.tier, index }
    }

    fn next_tier(&mut self) {
        self.tier += 1;
        self.tried = 0;
        self.more.clear();
    }

    /// Counts a miss; tells whether there were too many.
    fn missed(&mut self) -> bool {
        self.misses += 1;
        self.misses > MISSES
    }
}

impl Group {
    /// The next member for a request; `None`: nobody is left (nginx: "no live upstreams").
    pub fn next(&self, choice: &mut Choice, key: Key<'_>, now: Moment, dice: &dyn Dice) -> Option<Picked> {
        let picked = self.pick(choice, key, now, dice)?;
        let member = self.member(picked);
        member.health.chosen(member.fail_timeout, now);
        Some(picked)
    }

    fn pick(&self, choice: &mut Choice, key: Key<'_>, now: Moment, dice: &dyn Dice) -> Option<Picked> {
        if self.is_single() {
            let member = &self.tiers[0][0];
            let full = member.max_conns > 0 && member.health.connections() >= member.max_conns;
            return (!member.down && !full).then_some(Picked { tier: 0, index: 0 });
        }
        let several = self.tiers[choice.tier].len() > 1;
        if choice.tier == 0 && choice.misses <= MISSES && several {
            let by_key = match &self.balance {
                Balance::RoundRobin | Balance::LeastConn => None,
                Balance::IpHash => self.ip_hash(choice, key.client, now),
                Balance::Hash { .. } if key.text.is_empty() => None,
                Balance::Hash { consistent: true, .. } => self.ketama(choice, key.text, now),
                Balance::Hash { consistent: false, .. } => self.hash(choice, key.text, now),
                Balance::Random { two } => self.random(choice, *two, now, dice),
            };
            if by_key.is_some() {
                return by_key;
            }
        }
        loop {
            let picked = match self.balance {
                Balance::LeastConn => self.least_conn(choice, now),
                _ => self.round_robin(choice, now, |_| true),
            };
            if picked.is_some() || choice.tier == 1 || self.tiers[1].is_empty() {
                return picked;
            }
            choice.next_tier();
        }
    }

    fn can_take(&self, choice: &Choice, index: usize, now: Moment) -> bool {
        !choice.has_tried(index) && !self.tiers[choice.tier][index].is_out(now)
    }

    /// Smooth weighted round robin among those that `may` and can.
    fn round_robin(&self, choice: &mut Choice, now: Moment, may: impl Fn(&Member) -> bool) -> Option<Picked> {
        let members = &self.tiers[choice.tier];
        let (mut total, mut best) = (0, None);
        for (index, member) in members.iter().enumerate() {
            if !self.can_take(choice, index, now) || !may(member) {
                continue;
            }
            let current = member.save_up(&mut total);
            if best.is_none_or(|(_, most)| current > most) {
                best = Some((index, current));
            }
        }
        let (index, _) = best?;
        members[index].current.fetch_sub(total, Relaxed);
        Some(choice.try_it(index))
    }

    /// Fewest open requests for the weight; round robin among equals.
    fn least_conn(&self, choice: &mut Choice, now: Moment) -> Option<Picked> {
        let load = |m: &Member| i64::from(m.health.connections());
        let mut best: Option<(i64, i64)> = None;
        let mut equals = 0;
        for (index, member) in self.tiers[choice.tier].iter().enumerate() {
            if !self.can_take(choice, index, now) {
                continue;
            }
            let mine = load(member);
            match best {
                Some((connections, weight)) if mine * weight == connections * member.weight => equals += 1,
                Some((connections, weight)) if mine * weight > connections * member.weight => {}
                _ => (best, equals) = (Some((mine, member.weight)), 1),
            }
        }
        let (connections, weight) = best?;
        if equals == 1 {
            let found = self.tiers[choice.tier].iter().enumerate();
            let found = found.filter(|(index, _)| self.can_take(choice, *index, now));
            let (index, _) = found.min_by(|(_, a), (_, b)| (load(a) * b.weight).cmp(&(load(b) * a.weight)))?;
            return Some(choice.try_it(index));
        }
        self.round_robin(choice, now, |m| load(m) * weight == connections * m.weight)
    }

    fn ip_hash(&self, choice: &mut Choice, client: Option<IpAddr>, now: Moment) -> Option<Picked> {
        let (mut bytes, mut length) = ([0; 16], 3);
        match client {
            Some(IpAddr::V4(address)) => bytes[..4].copy_from_slice(&address.octets()),
            Some(IpAddr::V6(address)) => (bytes, length) = (address.octets(), 16),
            None => {}
        }
        let mut hash = choice.hash.unwrap_or(89);
        loop {
            hash = bytes[..length].iter().fold(hash, |hash, &byte| (hash * 113 + u32::from(byte)) % 6271);
            let index = self.by_weight(i64::from(hash));
            if self.can_take(choice, index, now) {
                choice.hash = Some(hash);
                return Some(choice.try_it(index));
            }
            if choice.missed() {
                return None;
            }
        }
    }

    /// Compatible with Cache::Memcached.
    fn hash(&self, choice: &mut Choice, key: &[u8], now: Moment) -> Option<Picked> {
        loop {
            let mut crc = Crc32::new();
            if choice.rehash > 0 {
                crc = crc.update(choice.rehash.to_string().as_bytes());
            }
            let step = (crc.update(key).finish() >> 16) & 0x7fff;
            let hash = choice.hash.unwrap_or(0).wrapping_add(step);
            choice.hash = Some(hash);
            choice.rehash += 1;
            let index = self.by_weight(i64::from(hash));
            if self.can_take(choice, index, now) {
                return Some(choice.try_it(index));
            }
            if choice.missed() {
                return None;
            }
        }
    }

    fn ketama(&self, choice: &mut Choice, key: &[u8], now: Moment) -> Option<Picked> {
        let circle = self.circle.as_ref()?;
        let mut place = choice.hash.unwrap_or_else(|| circle.place(key));
        loop {
            let owner = circle.owner(place)?;
            choice.hash = Some(place);
            // Several addresses of one name share its points by round robin.
            if let Some(picked) = self.round_robin(choice, now, |member| *member.name == *owner) {
                return Some(picked);
            }
            place = place.wrapping_add(1);
            if choice.missed() {
                return None;
            }
        }
    }

    /// Weighted random; of `two` the one with fewer open requests for its weight.
    fn random(&self, choice: &mut Choice, two: bool, now: Moment, dice: &dyn Dice) -> Option<Picked> {
        let members = &self.tiers[choice.tier];
        let total: i64 = members.iter().map(|m| m.weight).sum();
        let mut first: Option<usize> = None;
        loop {
            let index = self.by_weight((dice.draw() * total as f64) as i64);
            if first != Some(index) && self.can_take(choice, index, now) {
                let Some(other) = first else {
                    if !two {
                        return Some(choice.try_it(index));
                    }
                    first = Some(index);
                    continue;
                };
                let load = |i: usize| i64::from(members[i].health.connections());
                let other_is_freer = load(index) * members[other].weight > load(other) * members[index].weight;
                return Some(choice.try_it(if other_is_freer { other } else { index }));
            }
            if choice.missed() {
                return None;
            }
        }
    }

    /// The primary member on whose stretch of the weights `point` falls.
    fn by_weight(&self, point: i64) -> usize {
        let members = &self.tiers[0];
        let total: i64 = members.iter().map(|m| m.weight).sum();
        let mut rest = point % total.max(1);
        members
            .iter()
            .position(|m| {
                rest -= m.weight;
                rest < 0
            })
            .unwrap_or(0)
    }
}

impl Member {
    /// One round's savings: returns what it has now, and adds its part to `total`.
    fn save_up(&self, total: &mut i64) -> i64 {
        let effective = self.effective.load(Relaxed);
        *total += effective;
        if effective < self.weight {
            self.effective.fetch_add(1, Relaxed);
        }
        self.current.fetch_add(effective, Relaxed) + effective
    }
}

#[cfg(test)]
mod tests;
