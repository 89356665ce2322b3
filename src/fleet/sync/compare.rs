//! What does a peer know that we do not, and we that it does not? A round of comparing: the digest of everything goes to
//! all peers (it is the sign of life too); with a few whose digest differs the buckets are compared, then the marks of
//! the buckets that differ; only then are claims asked for and sent. What a round leaves out, the next one finds.

use std::collections::HashMap;

use super::{Effect, Now, Sync, pick};
use crate::clock::Dice;
use crate::fleet::claim::{Digest, Mark};
use crate::fleet::message::{BUCKETS, MOST_MARKS, Message};
use crate::fleet::node_id::NodeId;
use crate::fleet::subject::SubjectKey;

/// Peers with which buckets are compared in one round.
const AT_ONCE: usize = 2;
/// Marks told in answer to one comparison.
const MARKS_TOGETHER: usize = 4096;

impl Sync {
    /// One round: everybody hears that we live and what we know; some are compared with.
    pub(super) fn round(&mut self, now: Now, dice: &dyn Dice, out: &mut Vec<Effect>) {
        if self.leaving {
            return;
        }
        self.tell_all(&self.ping(now), out);
        let mut differing: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| peer.differs).map(|(peer, _)| *peer).collect();
        pick(&mut differing, AT_ONCE, dice);
        for to in differing {
            self.compare_with(now, to, out);
        }
    }

    /// Compares with a peer before the next round, if there was no such hurry lately.
    pub(super) fn compare_in_haste(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let Some(peer) = self.hurry.take()
            && !self.leaving
            && self.hasty.take(now.mono, 1.0)
        {
            self.compare_with(now, peer, out);
        }
    }

    /// Tells a peer our buckets; it answers with the marks of those that differ.
    fn compare_with(&mut self, now: Now, to: NodeId, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.differs = false;
        peer.compared = Some(now.mono);
        out.push(Effect::Send { to, message: Message::Buckets(self.state.buckets().to_vec()) });
    }

    /// A peer told its digest.
    pub(super) fn compare_root(&mut self, from: NodeId, root: Digest) {
        let differs = root != self.state.root();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.differs = differs;
        if differs && peer.compared.is_none() {
            // Somebody whom we just met: not in three seconds, now.
            self.hurry = Some(from);
        }
    }

    /// A peer told its buckets: it gets our marks of those that differ, beginning anywhere, as many as fit.
    pub(super) fn compare_buckets(
        &mut self,
        now: Now,
        from: NodeId,
        theirs: &[u64],
        dice: &dyn Dice,
        out: &mut Vec<Effect>,
    ) {
        if theirs.len() != BUCKETS || !self.comparisons.take(now.mono, 1.0) {
            return;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let start = (dice.draw().clamp(0.0, 0.999_999) * 256.0) as usize;
        let mut told = 0;
        for at in (0..BUCKETS).map(|at| (start + at) % BUCKETS) {
            let Ok(bucket) = u8::try_from(at) else { continue };
            if self.state.buckets()[at] == theirs[at] || told >= MARKS_TOGETHER {
                continue;
            }
            let (first, last) = (SubjectKey::first_of(bucket), SubjectKey::last_of(bucket));
            let marks: Vec<Mark> = self.state.marks_between(first, last).collect();
            told += marks.len().max(1);
            for (from_key, to_key, marks) in ranges(first, last, marks) {
                out.push(Effect::Send { to: from, message: Message::Marks { from: from_key, to: to_key, marks } });
            }
        }
    }

    /// A peer told all its marks of a range: what it lacks is sent, what we lack is wanted.
    pub(super) fn compare_marks(&mut self, from: NodeId, first: SubjectKey, last: SubjectKey, theirs: &[Mark]) {
        let mut tops: HashMap<SubjectKey, (u64, bool)> = HashMap::with_capacity(theirs.len());
        for mark in theirs {
            let top = tops.entry(mark.key).or_default();
            *top = (*top).max((mark.epoch, mark.tombstone));
        }
        let known: std::collections::HashSet<&Mark> = theirs.iter().collect();
        let lacked = self.state.marks_between(first, last).filter(|mark| {
            let rank = (mark.epoch, mark.tombstone);
            !known.contains(mark) && tops.get(&mark.key).is_none_or(|top| *top <= rank)
        });
        let mut lacked: Vec<SubjectKey> = lacked.map(|mark| mark.key).filter(|key| !self.state.lacks(key)).collect();
        lacked.dedup();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.queue(lacked);
        }
        theirs.iter().for_each(|mark| self.offered(from, mark));
    }
}

/// Cuts a bucket into ranges whose marks fit into one message each; all marks of a key stay together.
fn ranges(first: SubjectKey, last: SubjectKey, marks: Vec<Mark>) -> Vec<(SubjectKey, SubjectKey, Vec<Mark>)> {
    let most = MOST_MARKS - crate::fleet::state::SIBLINGS;
    let (mut list, mut from, mut rest) = (Vec::new(), first, marks);
    while rest.len() > MOST_MARKS {
        let key = rest[most].key;
        let cut = rest.partition_point(|mark| mark.key < key);
        let tail = rest.split_off(cut);
        let to = rest.last().map_or(from, |mark| mark.key);
        list.push((from, to, rest));
        from = key;
        rest = tail;
    }
    list.push((from, last, rest));
    list
}
