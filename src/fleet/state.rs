//! What is known when two nodes have told each other everything? For each subject the claims of its latest epoch: the
//! tombstone if there is one, else up to four that differ. The join looks at marks alone, never at a clock, a
//! configuration or who said it first: it is commutative, associative and idempotent, so all nodes end with the same.
//!
//! What may enter at all ([`State::admit`]) is a second question, answered before the join.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::claim::{Claim, Digest, LONGEST_BODY, Mark};
use super::node_id::NodeId;
use super::subject::{Subject, SubjectKey};
use crate::fleet::message::BUCKETS;
use crate::words::Fingerprint;

/// Claims of one epoch that stay side by side; of more, those with the largest digests.
pub const SIBLINGS: usize = 4;
/// How far an epoch may lie beyond the one that is known: a generation a minute for thirty years.
pub const LEAP: u64 = 1 << 24;
/// Subjects at most: ten for each of fifty thousand certificates.
pub const MOST_SUBJECTS: usize = 1 << 19;

/// A claim does not enter. Whose fault: whoever said it; the same claim may enter when more is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its epoch lies far beyond what is known: no honest history leads there.
    #[error("its epoch lies far beyond the known one")]
    Leap,
    /// There is room for no more subjects.
    #[error("too many subjects are known")]
    Full,
    /// Its body is longer than any peer would take.
    #[error("its body is too long")]
    Oversize,
    /// It passes by itself and belongs into no state.
    #[error("claims of this kind are not kept")]
    Passing,
}

/// What a claim brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something new: the entry changed.
    New,
    /// Known, but its body was not held here until now.
    Filled,
    /// Known, or of an earlier epoch.
    Old,
}

/// One claim of an entry.
#[derive(Clone, Debug)]
struct Known {
    mark: Mark,
    /// `None`: its body lies with others.
    claim: Option<Arc<Claim>>,
}

/// What is known of one subject: never empty, all of one epoch, sorted, either one tombstone or none.
type Entry = Vec<Known>;

/// Everything that is known.
#[derive(Clone, Debug)]
pub struct State {
    entries: BTreeMap<SubjectKey, Entry>,
    buckets: Vec<u64>,
    /// The digest of the buckets, once somebody asked for it.
    root: OnceLock<Digest>,
}

impl Default for State {
    fn default() -> State {
        State { entries: BTreeMap::new(), buckets: vec![0; BUCKETS], root: OnceLock::new() }
    }
}

impl PartialEq for State {
    /// Equal in what enters the join, whoever holds the bodies.
    fn eq(&self, other: &State) -> bool {
        self.entries.len() == other.entries.len() && self.marks().eq(other.marks())
    }
}

impl State {
    /// Lets a claim in, if it may, and joins it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&mut self, claim: Arc<Claim>) -> Result<Verdict, Refused> {
        self.may_enter(&claim.mark())?;
        if claim.body().as_bytes().len() > LONGEST_BODY {
            return Err(Refused::Oversize);
        }
        Ok(self.join(claim.mark(), Some(claim)))
    }

    /// Lets a mark in without its claim: for subjects whose bodies lie with others.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit_mark(&mut self, mark: Mark) -> Result<Verdict, Refused> {
        self.may_enter(&mark)?;
        Ok(self.join(mark, None))
    }

    /// Whether a claim with this mark may enter, whether or not it would change anything.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn may_enter(&self, mark: &Mark) -> Result<(), Refused> {
        if mark.kind.is_passing() {
            return Err(Refused::Passing);
        }
        let known = self.epoch(&mark.key);
        if mark.epoch > known.unwrap_or(0).saturating_add(LEAP) {
            return Err(Refused::Leap);
        }
        if known.is_none() && self.entries.len() >= MOST_SUBJECTS {
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// The join with everything another knows, as if each of its claims had come alone.
    #[must_use]
    pub fn merge(mut self, other: &State) -> State {
        for known in other.entries.values().flatten() {
            self.join(known.mark, known.claim.clone());
        }
        self
    }

    /// The join with one claim. The later epoch wins; of one epoch the tombstone wins, else all stay, up to four.
    fn join(&mut self, mark: Mark, claim: Option<Arc<Claim>>) -> Verdict {
        let entry = self.entries.entry(mark.key).or_default();
        if let Some(known) = entry.iter_mut().find(|known| known.mark == mark) {
            if known.claim.is_some() || claim.is_none() {
                return Verdict::Old;
            }
            known.claim = claim;
            return Verdict::Filled;
        }
        let top = entry.first().map(|known| known.mark);
        let rank = |mark: &Mark| (mark.epoch, mark.tombstone);
        if top.is_some_and(|top| rank(&mark) < rank(&top)) {
            return Verdict::Old;
        }
        let before = weigh(entry);
        if top.is_some_and(|top| rank(&mark) > rank(&top)) {
            entry.clear();
        }
        let at = entry.partition_point(|known| known.mark < mark);
        entry.insert(at, Known { mark, claim });
        let most = if mark.tombstone { 1 } else { SIBLINGS };
        if entry.len() > most {
            entry.remove(0);
        }
        let bucket = &mut self.buckets[usize::from(mark.key.bucket())];
        let after = weigh(entry);
        *bucket = bucket.wrapping_sub(before).wrapping_add(after);
        self.root.take();
        if entry.iter().any(|known| known.mark == mark) { Verdict::New } else { Verdict::Old }
    }

    /// The epoch of what is known of a subject.
    pub fn epoch(&self, key: &SubjectKey) -> Option<u64> {
        self.entries.get(key).and_then(|entry| entry.first()).map(|known| known.mark.epoch)
    }

    /// The epoch for the next claim on a subject: beyond all that is known, tombstones too.
    pub fn next_epoch(&self, key: &SubjectKey) -> u64 {
        self.epoch(key).map_or(1, |epoch| epoch.saturating_add(1))
    }

    /// The claims on a subject that are held here, tombstones too.
    pub fn claims(&self, key: &SubjectKey) -> impl Iterator<Item = &Arc<Claim>> {
        self.entries.get(key).into_iter().flatten().filter_map(|known| known.claim.as_ref())
    }

    /// The claims on a subject that hold: none if it ended in a tombstone.
    pub fn alive(&self, subject: &Subject) -> Vec<Arc<Claim>> {
        self.claims(&subject.key()).filter(|claim| !claim.is_tombstone()).cloned().collect()
    }

    /// Whether a subject ended in a tombstone, and in which epoch.
    pub fn ended(&self, subject: &Subject) -> Option<u64> {
        let top = self.entries.get(&subject.key())?.first()?.mark;
        top.tombstone.then_some(top.epoch)
    }

    /// Whether a node was removed.
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.entries.contains_key(&Subject::Removed(node).key())
    }

    /// Whether the private key of this public key (its SHA-256) was declared known to others.
    pub fn is_compromised(&self, public_key: Fingerprint) -> bool {
        self.entries.contains_key(&Subject::Compromised(public_key).key())
    }

    /// Everything held here, for who looks for claims of one kind.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.entries.values().flatten().filter_map(|known| known.claim.as_ref())
    }

    /// Marks in the order of their keys.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        self.entries.values().flatten().map(|known| known.mark)
    }

    /// Marks from one key to another, both included.
    pub fn marks_between(&self, from: SubjectKey, to: SubjectKey) -> impl Iterator<Item = Mark> {
        let range = (from <= to).then(|| self.entries.range(from..=to));
        range.into_iter().flatten().flat_map(|(_, entry)| entry).map(|known| known.mark)
    }

    /// Marks of a subject whose claims are not held here.
    pub fn lacks(&self, key: &SubjectKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.iter().any(|known| known.claim.is_none()))
    }

    /// Whether exactly this mark is known.
    pub fn knows(&self, mark: &Mark) -> bool {
        self.entries.get(&mark.key).is_some_and(|entry| entry.iter().any(|known| known.mark == *mark))
    }

    /// Whether a claim with this mark would change anything here.
    pub fn would_learn(&self, mark: &Mark) -> bool {
        let Some(entry) = self.entries.get(&mark.key) else { return true };
        let Some(top) = entry.first().map(|known| known.mark) else { return true };
        if self.knows(mark) || (mark.epoch, mark.tombstone) < (top.epoch, top.tombstone) {
            return false;
        }
        let full = entry.len() >= if top.tombstone { 1 } else { SIBLINGS };
        (mark.epoch, mark.tombstone) > (top.epoch, top.tombstone) || !full || top < *mark
    }

    /// Subjects that are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The digests of the 256 buckets.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// The digest of everything: equal for two nodes that know the same.
    pub fn root(&self) -> Digest {
        *self.root.get_or_init(|| {
            let mut bytes = Vec::with_capacity(BUCKETS * 8);
            self.buckets.iter().for_each(|bucket| bytes.extend_from_slice(&bucket.to_be_bytes()));
            Digest(Fingerprint::of(&bytes).0)
        })
    }
}

/// What an entry adds to the digest of its bucket: a sum, so that it can be taken out again.
fn weigh(entry: &Entry) -> u64 {
    // The digest of a claim binds its subject, epoch and end: eight bytes of it tell states apart.
    let eight = |known: &Known| known.mark.digest.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    entry.iter().map(eight).fold(0, u64::wrapping_add)
}
