//! How do claims come in and go out? New ones are pushed; missing ones are asked for at one peer after the other; what is
//! learned goes to disk and to who uses it, and is offered on to a few.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Effect, FLUSH, Now, Sync};
use crate::clock::Dice;
use crate::fleet::claim::{Claim, Mark};
use crate::fleet::message::{CLAIMS_TOGETHER, MOST_CLAIMS, MOST_MARKS, Message};
use crate::fleet::node_id::NodeId;
use crate::fleet::state::Verdict;
use crate::fleet::subject::{Kind, SubjectKey};

/// Peers that hear of what was learned.
const TOLD: usize = 3;
/// Marks offered on together; more are left to comparing.
const MOST_FRESH: usize = 256;
/// Subjects asked for at once at one peer.
const WINDOW: usize = 1024;
/// Subjects wanted at once in all.
const MOST_WANTED: usize = 1 << 16;
/// An answer takes no longer; then another peer is asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// Times that a subject is asked for before comparing must find it again.
const MOST_TRIES: u8 = 6;
/// Peers remembered as having something.
const MOST_SOURCES: usize = 4;

/// Something that others have and we do not.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    sources: Vec<NodeId>,
    /// Whom we asked, and when.
    asked: Option<(NodeId, Duration)>,
    tries: u8,
}

impl Sync {
    /// This node claims something: kept, and pushed at once if it is urgent.
    pub(super) fn claimed(&mut self, now: Now, claim: Arc<Claim>, out: &mut Vec<Effect>) {
        let verdict = self.state.admit(claim.clone());
        if !matches!(verdict, Ok(Verdict::New | Verdict::Filled)) {
            return;
        }
        let mark = claim.mark();
        self.keep(&mark.key, out);
        self.cut_removed(claim.subject(), out);
        if !mark.kind.is_urgent() || verdict != Ok(Verdict::New) {
            return;
        }
        for (to, peer) in &mut self.peers {
            if mark.kind.is_held_by_choice() && !peer.takes_all() {
                out.push(Effect::Send { to: *to, message: Message::Offer(vec![mark]) });
            } else {
                peer.queue([mark.key]);
            }
        }
        self.serve(now, out);
    }

    fn keep(&self, key: &SubjectKey, out: &mut Vec<Effect>) {
        out.push(Effect::Store { key: *key, claims: self.state.claims(key).cloned().collect() });
    }

    /// Whether the body of a subject shall lie here.
    fn holds(&self, kind: Kind, key: &SubjectKey) -> bool {
        self.terms.hello.holds_all || !kind.is_held_by_choice() || self.interest.contains(key)
    }

    /// A peer sent a claim, asked for or not.
    pub(super) fn delivered(&mut self, now: Now, from: NodeId, claim: Claim, out: &mut Vec<Effect>) {
        let mark = claim.mark();
        self.no_longer_wanted(&mark.key);
        if !self.holds(mark.kind, &mark.key) && !mark.tombstone {
            let _ = self.state.admit_mark(mark);
            return;
        }
        let claim = Arc::new(claim);
        let Ok(verdict) = self.state.admit(claim.clone()) else { return };
        if verdict == Verdict::Old {
            return;
        }
        self.keep(&mark.key, out);
        self.cut_removed(claim.subject(), out);
        out.push(Effect::Learned { claim, from });
        if verdict == Verdict::New && mark.kind.is_urgent() && self.fresh.len() < MOST_FRESH {
            self.fresh.push(mark);
            self.next_flush.get_or_insert(now.mono + FLUSH);
        }
    }

    /// Tells a few peers what was learned lately.
    pub(super) fn offer_on(&mut self, dice: &dyn Dice, out: &mut Vec<Effect>) {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.retain(|mark| self.state.knows(mark));
        if fresh.is_empty() {
            return;
        }
        for to in self.some_peers(TOLD, None, dice) {
            out.push(Effect::Send { to, message: Message::Offer(fresh.clone()) });
        }
    }

    /// A peer has this.
    pub(super) fn offered(&mut self, from: NodeId, mark: &Mark) {
        let lacking = self.state.knows(mark) && self.state.lacks(&mark.key);
        if self.state.may_enter(mark).is_err() || !(lacking || self.state.would_learn(mark)) {
            return;
        }
        if !self.holds(mark.kind, &mark.key) {
            let _ = self.state.admit_mark(*mark);
        } else if self.wanted.len() < MOST_WANTED || self.wanted.contains_key(&mark.key) {
            let wanted = self.wanted.entry(mark.key).or_default();
            if wanted.sources.len() < MOST_SOURCES && !wanted.sources.contains(&from) {
                wanted.sources.push(from);
            }
        }
    }

    /// Under `hold own`: other bundles are wanted here from now on. Missing ones are asked for at all peers in turn.
    pub(super) fn interested(&mut self, keys: BTreeSet<SubjectKey>) {
        let missing: Vec<SubjectKey> = keys.iter().filter(|key| self.state.lacks(key)).copied().collect();
        self.interest = keys;
        for key in missing {
            let sources = self.peers.keys().copied().collect();
            self.wanted.insert(key, Wanted { sources, ..Wanted::default() });
        }
    }

    /// A peer does not hold what it was asked for.
    pub(super) fn not_held(&mut self, from: NodeId, key: &SubjectKey) {
        let Some(wanted) = self.wanted.get_mut(key) else { return };
        wanted.sources.retain(|source| *source != from);
        if wanted.asked.is_some_and(|(asked, _)| asked == from) {
            wanted.asked = None;
            self.answered(from);
        }
    }

    fn answered(&mut self, by: NodeId) {
        if let Some(peer) = self.peers.get_mut(&by) {
            peer.outstanding = peer.outstanding.saturating_sub(1);
        }
    }

    fn no_longer_wanted(&mut self, key: &SubjectKey) {
        if let Some(Wanted { asked: Some((by, _)), .. }) = self.wanted.remove(key) {
            self.answered(by);
            let done = self.peers.get(&by).is_some_and(|peer| peer.outstanding == 0 && peer.differs);
            if done && self.wanted.is_empty() {
                // There was more than one comparison could tell: on with it.
                self.hurry = Some(by);
            }
        }
    }

    /// Asks for what is wanted, each at one peer at a time, no peer for more than it may owe.
    pub(super) fn ask_for_wanted(&mut self, now: Now, dice: &dyn Dice, out: &mut Vec<Effect>) {
        if self.wanted.is_empty() {
            return;
        }
        let mut questions: std::collections::BTreeMap<NodeId, Vec<SubjectKey>> = std::collections::BTreeMap::new();
        let peers = &mut self.peers;
        self.wanted.retain(|key, wanted| {
            if let Some((by, at)) = wanted.asked {
                let gone = !peers.contains_key(&by);
                if !gone && now.mono < at + PATIENCE {
                    return true;
                }
                wanted.asked = None;
                // Last in turn from now on.
                wanted.sources.retain(|source| *source != by);
                if let Some(peer) = peers.get_mut(&by) {
                    peer.outstanding = peer.outstanding.saturating_sub(1);
                    wanted.sources.push(by);
                }
            }
            wanted.sources.retain(|source| peers.contains_key(source));
            if wanted.sources.is_empty() || wanted.tries >= MOST_TRIES {
                return false;
            }
            // By lot among those with room, so that a thousand subjects are not all asked for at the same peer.
            let count = wanted.sources.len();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let start = if wanted.tries == 0 { (dice.draw().clamp(0.0, 0.999) * count as f64) as usize } else { 0 };
            let free = (0..count).map(|at| wanted.sources[(start + at) % count]);
            let free = free.into_iter().find(|source| peers.get(source).is_some_and(|peer| peer.outstanding < WINDOW));
            if let Some(source) = free {
                if let Some(peer) = peers.get_mut(&source) {
                    peer.outstanding += 1;
                }
                wanted.asked = Some((source, now.mono));
                wanted.tries += 1;
                questions.entry(source).or_default().push(*key);
            }
            true
        });
        for (to, keys) in questions {
            for keys in keys.chunks(MOST_MARKS) {
                out.push(Effect::Send { to, message: Message::Want(keys.to_vec()) });
            }
        }
    }

    /// When somebody else must be asked for what is wanted.
    pub(super) fn next_want(&self, _now: Now) -> Option<Duration> {
        self.wanted.values().filter_map(|wanted| Some(wanted.asked?.1 + PATIENCE)).min()
    }

    /// Sends what peers want, as much as each may get now.
    pub(super) fn serve(&mut self, now: Now, out: &mut Vec<Effect>) {
        let state = &self.state;
        for (to, peer) in &mut self.peers {
            let (mut together, mut size, mut absent) = (Vec::new(), 0, Vec::new());
            while !peer.queued.is_empty() && peer.bytes.take(now.mono, 0.0) {
                let Some(key) = peer.next_queued() else { break };
                let before = together.len();
                for claim in state.claims(&key) {
                    if size + claim.size() > CLAIMS_TOGETHER && !together.is_empty() || together.len() >= MOST_CLAIMS {
                        let message = Message::Claims(std::mem::take(&mut together));
                        out.push(Effect::Send { to: *to, message });
                        size = 0;
                    }
                    size += claim.size();
                    #[allow(clippy::cast_precision_loss)]
                    peer.bytes.take(now.mono, claim.size() as f64);
                    together.push(Claim::clone(claim));
                }
                if together.len() == before && state.claims(&key).next().is_none() {
                    absent.push(key);
                }
            }
            if !together.is_empty() {
                out.push(Effect::Send { to: *to, message: Message::Claims(together) });
            }
            for keys in absent.chunks(MOST_MARKS) {
                out.push(Effect::Send { to: *to, message: Message::NotHeld(keys.to_vec()) });
            }
        }
    }

    /// When a peer that waits may get more.
    pub(super) fn next_serve(&self, now: Now) -> Option<Duration> {
        let waiting = self.peers.values().filter(|peer| !peer.queued.is_empty());
        waiting.map(|peer| peer.bytes.opens().max(now.mono)).min()
    }
}
