//! How much of an authority's limits has the fleet used? Each node counts for itself and alone writes its count, which only
//! grows within the windows that matter; the fleet's use is the sum over nodes. Reads and writes the body of
//! [`Subject::Ledger`]; what is allowed is `cert::ledger`'s matter.

use std::collections::BTreeMap;
use std::time::Duration;

use super::claim::LONGEST_BODY;
use super::wire::{BadBytes, Reader, Writer};
use super::{Body, NodeId, State, Subject};
use crate::clock::UnixTime;

/// What is older plays a part in no limit.
pub const WINDOW: Duration = Duration::from_secs(8 * 86_400);
/// Entries of one node at one authority at most; the oldest are dropped first.
const MOST_ENTRIES: usize = 8192;
/// Moments under one entry at most.
const MOST_MOMENTS: usize = 512;

/// What is counted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Count {
    /// New orders of the account.
    Orders,
    /// Certificates for names below a registered domain.
    Domain(String),
    /// Certificates for exactly these names (the key that `cert::ledger` uses).
    Set(String),
    /// Failed validations of a name.
    Failed(String),
}

impl Count {
    fn text(&self) -> &str {
        match self {
            Count::Orders => "",
            Count::Domain(text) | Count::Set(text) | Count::Failed(text) => text,
        }
    }
}

/// The moments at which something was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    entries: BTreeMap<Count, Vec<UnixTime>>,
}

impl Tally {
    /// Counts one at `at`. Told twice of the same moment, it counts twice.
    pub fn note(&mut self, what: Count, at: UnixTime) {
        if self.entries.len() >= MOST_ENTRIES && !self.entries.contains_key(&what) {
            return;
        }
        let list = self.entries.entry(what).or_default();
        list.insert(list.partition_point(|other| *other <= at), at);
        let excess = list.len().saturating_sub(MOST_MOMENTS);
        list.drain(..excess);
    }

    /// Drops what is older than the longest window of any limit.
    pub fn prune(&mut self, now: UnixTime) {
        self.entries.retain(|_, list| {
            list.retain(|at| now.since(*at) < WINDOW);
            !list.is_empty()
        });
    }

    /// The moments of one count, the oldest first.
    pub fn moments(&self, what: &Count) -> &[UnixTime] {
        self.entries.get(what).map_or(&[], Vec::as_slice)
    }

    /// Every count with its moments.
    pub fn iter(&self) -> impl Iterator<Item = (&Count, &[UnixTime])> {
        self.entries.iter().map(|(what, list)| (what, list.as_slice()))
    }

    /// Adds what another node counted.
    pub fn add(&mut self, other: &Tally) {
        for (what, list) in &other.entries {
            list.iter().for_each(|at| self.note(what.clone(), *at));
        }
    }

    /// Joins two counts of the same node: what it counted before its disk was lost, as others remember it, and since.
    /// Each moment stays as often as the one that has it more often says.
    #[must_use]
    pub fn join(mut self, other: &Tally) -> Tally {
        for (what, theirs) in &other.entries {
            let ours = self.moments(what).to_vec();
            let times = |list: &[UnixTime], at: &UnixTime| list.iter().filter(|other| *other == at).count();
            let mut distinct = theirs.clone();
            distinct.dedup();
            for at in distinct {
                for _ in times(&ours, &at)..times(theirs, &at) {
                    self.note(what.clone(), at);
                }
            }
        }
        self
    }

    /// The body of the claim. If it would be too long, what was counted last goes first.
    pub fn to_body(&self) -> Body {
        let mut w = Writer::with_room(256 + self.entries.len() * 64);
        w.u8(1);
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, list)| std::cmp::Reverse(list.last().copied()));
        let mut size = 0;
        entries.retain(|(what, list)| {
            size += 8 + what.text().len() + list.len() * 8;
            size < LONGEST_BODY - 64
        });
        w.count(entries.len());
        for (what, list) in entries {
            let kind = match what {
                Count::Orders => 1,
                Count::Domain(_) => 2,
                Count::Set(_) => 3,
                Count::Failed(_) => 4,
            };
            w.u8(kind);
            w.text(what.text());
            w.count(list.len());
            list.iter().for_each(|at| w.u64(at.0.cast_unsigned()));
        }
        Body::new(w.finish())
    }

    /// Reads [`Tally::to_body`]. Kinds of a later release are passed over.
    ///
    /// # Errors
    /// [`BadBytes`].
    pub fn from_body(body: &Body) -> Result<Tally, BadBytes> {
        let mut r = Reader::new(body.as_bytes());
        if r.u8()? != 1 {
            return Err(BadBytes::Version);
        }
        let mut tally = Tally::default();
        let entries = r.list(MOST_ENTRIES, |r| {
            let kind = r.u8()?;
            let text = r.text(1024)?.to_owned();
            let list = r.list(MOST_MOMENTS, |r| Ok(UnixTime(r.u64()?.cast_signed())))?;
            let what = match kind {
                1 => Some(Count::Orders),
                2 => Some(Count::Domain(text)),
                3 => Some(Count::Set(text)),
                4 => Some(Count::Failed(text)),
                _ => None,
            };
            Ok(what.map(|what| (what, list)))
        })?;
        for (what, mut list) in entries.into_iter().flatten() {
            list.sort();
            tally.entries.insert(what, list);
        }
        Ok(tally)
    }
}

/// What the other nodes used at an authority within the window, summed. What one counted for the future counts as of now:
/// its clock is wrong, its orders are not.
pub fn used_by_others(state: &State, me: NodeId, authority: &str, now: UnixTime) -> Tally {
    let mut sum = Tally::default();
    for claim in state.all().filter(|claim| !claim.is_tombstone()) {
        let Subject::Ledger(node, of) = claim.subject() else { continue };
        if *node == me || of != authority {
            continue;
        }
        let Ok(tally) = Tally::from_body(claim.body()) else { continue };
        for (what, list) in tally.iter() {
            list.iter().for_each(|at| sum.note(what.clone(), (*at).min(now)));
        }
    }
    sum.prune(now);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Claim;
    use std::sync::Arc;

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    fn tally(list: &[(Count, i64)]) -> Tally {
        let mut tally = Tally::default();
        list.iter().for_each(|(what, seconds)| tally.note(what.clone(), at(*seconds)));
        tally
    }

    #[test]
    fn a_tally_reads_what_it_writes() {
        let one = tally(&[(Count::Orders, 5), (Count::Set("a b".into()), 3), (Count::Failed("a".into()), 3)]);
        assert_eq!(Tally::from_body(&one.to_body()), Ok(one.clone()));
        let body = one.to_body();
        for end in 0..body.as_bytes().len() {
            assert!(Tally::from_body(&Body::copy(&body.as_bytes()[..end])).is_err());
        }
    }

    #[test]
    fn a_tally_that_is_too_long_keeps_what_was_counted_last() {
        let mut tally = Tally::default();
        for n in 0..6000 {
            tally.note(Count::Failed(format!("name{n}.example")), at(n));
            tally.note(Count::Failed(format!("name{n}.example")), at(n));
        }
        let body = tally.to_body();
        assert!(body.as_bytes().len() <= LONGEST_BODY);
        let read = Tally::from_body(&body).unwrap();
        assert_eq!(read.moments(&Count::Failed("name5999.example".into())).len(), 2);
    }

    #[test]
    fn the_join_of_a_nodes_own_counts_is_lawful() {
        let (a, b) =
            (tally(&[(Count::Orders, 1), (Count::Orders, 1), (Count::Orders, 2)]), tally(&[(Count::Orders, 1)]));
        let c = tally(&[(Count::Orders, 2), (Count::Domain("x".into()), 1)]);
        assert_eq!(a.clone().join(&b), b.clone().join(&a));
        assert_eq!(a.clone().join(&b).join(&c), a.clone().join(&b.clone().join(&c)));
        assert_eq!(a.clone().join(&a), a);
        assert_eq!(a.clone().join(&b), a);
    }

    #[test]
    fn what_the_fleet_used_is_the_sum_over_the_others_within_the_window() {
        let (me, a, b) = (NodeId::of_key(b"me"), NodeId::of_key(b"a"), NodeId::of_key(b"b"));
        let now = at(30 * 86_400);
        let (late, old) = (now.seconds() - 60, now.seconds() - 9 * 86_400);
        let mut state = State::default();
        for (node, list) in [(me, vec![late]), (a, vec![late, old]), (b, vec![late, now.seconds() + 999])] {
            let list: Vec<_> = list.into_iter().map(|seconds| (Count::Orders, seconds)).collect();
            let subject = Subject::Ledger(node, "ca".into());
            state.admit(Arc::new(Claim::new(subject, 1, node, tally(&list).to_body()))).unwrap();
        }
        let used = used_by_others(&state, me, "ca", now);
        assert_eq!(used.moments(&Count::Orders), [at(late), at(late), now]);
        assert_eq!(used_by_others(&state, me, "other", now), Tally::default());
    }
}
