//! What shall be sent to whom, and when? A machine without I/O: `node` tells it what happened, and performs what it
//! answers. A new claim is pushed to every peer at once; what was missed is found by comparing digests every few seconds,
//! with few peers at a time, so that fifty nodes make no storm. The simulator runs exactly this.
//!
//! `sync/compare.rs` finds what differs, `sync/deliver.rs` brings claims in and out, `sync/tokens.rs` keeps challenges,
//! `sync/peer.rs` is what is known of one peer and what is granted to it.

mod compare;
mod deliver;
mod peer;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::claim::{Claim, Mark};
use super::message::{Hello, Message, Token};
use super::node_id::NodeId;
use super::state::State;
use super::subject::{Subject, SubjectKey};
use crate::clock::{Dice, UnixTime};

use deliver::Wanted;
use peer::{Allowance, Peer};
pub use tokens::Readiness;
use tokens::Tokens;

/// The present moment, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since some fixed moment, never going back: all waiting uses this.
    pub mono: Duration,
    /// The civil clock, told to peers as a witness and used for nothing else here.
    pub civil: UnixTime,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The moment of the last [`Effect::WakeAt`] came.
    Tick,
    /// A link to a proved member stands (one for each peer, however many connections there are).
    Connected(NodeId),
    /// The link is gone.
    Disconnected(NodeId),
    /// A peer said this.
    Received(NodeId, Message),
    /// This node claims this.
    Claim(Arc<Claim>),
    /// This lay on this node's own disk: known from now on, neither stored again nor pushed.
    Restored(Arc<Claim>),
    /// Under `hold own`: the bundles whose claims are wanted here. Asked for where missing.
    Interest(BTreeSet<SubjectKey>),
    /// This node opened a challenge.
    OpenToken(Token),
    /// This node's challenge is over.
    CloseToken(String),
    /// Somebody looks for a token that is not in the table. Answered by [`Effect::TokenFound`] within a second or not.
    AskToken(String),
    /// The accounts (thumbprints) for which this node answers without a token.
    Covers(Vec<String>),
    /// This node is about to stop on purpose.
    Leaving,
}

/// What shall be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Say this to a peer. May be lost: the machine asks again.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Keep, in place of all that was kept under this key: these claims (those that are held), and nothing else.
    Store {
        /// Under which key.
        key: SubjectKey,
        /// What holds for it now; secret bodies sealed ([`Kind::is_secret`](super::subject::Kind::is_secret)).
        claims: Vec<Arc<Claim>>,
    },
    /// A peer brought something new: a bundle for the gate, a fact, an account, a report …
    Learned {
        /// What.
        claim: Arc<Claim>,
        /// From whom; not necessarily its origin.
        from: NodeId,
    },
    /// Answer for this token from now on.
    OpenToken(Token),
    /// The token is over.
    CloseToken(String),
    /// A peer answers for a token of ours.
    TokenKnown {
        /// Which.
        token: String,
        /// Who.
        by: NodeId,
    },
    /// A token that was asked for was found with a peer.
    TokenFound(Token),
    /// A peer's clock shows this: a witness.
    PeerTime {
        /// Whose.
        peer: NodeId,
        /// What it shows.
        civil: UnixTime,
    },
    /// End the link: this peer was removed, or is not sane.
    Cut {
        /// Which.
        peer: NodeId,
        /// Why, for the log.
        why: &'static str,
    },
    /// Send [`Event::Tick`] at this moment (monotonic). Replaces any earlier wish; the last effect of each answer.
    WakeAt(Duration),
}

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What is said first to each peer.
    pub hello: Hello,
    /// How often digests are compared. Default three seconds.
    pub compare_every: Duration,
}

impl Terms {
    /// The usual terms: `hold all`.
    pub fn new(release: &str, incarnation: u64) -> Terms {
        let release = release.chars().take(32).collect();
        let hello = Hello { features: 0, incarnation, release, holds_all: true };
        Terms { hello, compare_every: Duration::from_secs(3) }
    }
}

/// How a link to a peer stands, for status and alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who.
    pub peer: NodeId,
    /// When it was heard last (monotonic).
    pub heard: Duration,
    /// What it said first; `None`: nothing yet.
    pub hello: Option<Hello>,
    /// Accounts (thumbprints) for which it answers without a token.
    pub covers: BTreeSet<String>,
    /// Whether it knew something else than we when it was heard last.
    pub differs: bool,
}

/// The machine of one node.
#[derive(Debug)]
pub struct Sync {
    me: NodeId,
    terms: Terms,
    state: State,
    peers: BTreeMap<NodeId, Peer>,
    /// When each node was heard last, linked or not.
    heard: BTreeMap<NodeId, Duration>,
    /// Nodes that said that they stop; until they are heard again.
    left: BTreeSet<NodeId>,
    wanted: BTreeMap<SubjectKey, Wanted>,
    /// Learned lately and not yet offered to others.
    fresh: Vec<Mark>,
    interest: BTreeSet<SubjectKey>,
    covers: Vec<String>,
    tokens: Tokens,
    /// How many comparisons may be answered: a node that comes back is asked by all at once.
    comparisons: Allowance,
    /// Whom to compare with before the next round, and how often that may be.
    hurry: Option<NodeId>,
    hasty: Allowance,
    next_round: Duration,
    next_flush: Option<Duration>,
    leaving: bool,
}

/// Nodes remembered at most as heard: a roster has some hundreds.
const MOST_HEARD: usize = 4096;
/// What was learned is offered on after so long, together.
const FLUSH: Duration = Duration::from_millis(100);

impl Sync {
    /// The machine of `me`, which knows nothing yet: what lies on disk is given to it by [`Event::Restored`].
    pub fn new(me: NodeId, terms: Terms) -> Sync {
        Sync {
            me,
            terms,
            state: State::default(),
            peers: BTreeMap::new(),
            heard: BTreeMap::new(),
            left: BTreeSet::new(),
            wanted: BTreeMap::new(),
            fresh: Vec::new(),
            interest: BTreeSet::new(),
            covers: Vec::new(),
            tokens: Tokens::default(),
            comparisons: Allowance::new(16.0, 8.0),
            hurry: None,
            hasty: Allowance::new(4.0, 2.0),
            next_round: Duration::ZERO,
            next_flush: None,
            leaving: false,
        }
    }

    /// Who this is.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// All that is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The peers to which a link stands.
    pub fn links(&self) -> impl Iterator<Item = Link> {
        self.peers.iter().map(|(peer, known)| Link {
            peer: *peer,
            heard: known.heard,
            hello: known.hello.clone(),
            covers: known.covers.clone(),
            differs: known.differs,
        })
    }

    /// When a node was heard last over a link (monotonic); `None`: never since the start.
    pub fn heard(&self, node: NodeId) -> Option<Duration> {
        self.heard.get(&node).copied()
    }

    /// Whether a node said that it stops, and was not heard since.
    pub fn has_left(&self, node: NodeId) -> bool {
        self.left.contains(&node)
    }

    /// Takes in what happened; answers what shall be done, in this order.
    pub fn on(&mut self, now: Now, event: Event, dice: &dyn Dice) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Tick => {}
            Event::Connected(peer) => self.connected(now, peer, &mut out),
            Event::Disconnected(peer) => {
                self.peers.remove(&peer);
            }
            Event::Received(from, message) => self.received(now, from, message, dice, &mut out),
            Event::Claim(claim) => self.claimed(now, claim, &mut out),
            Event::Restored(claim) => {
                self.cut_removed(claim.subject(), &mut out);
                let _ = self.state.admit(claim);
            }
            Event::Interest(keys) => self.interested(keys),
            Event::OpenToken(token) => self.open_token(now, token, &mut out),
            Event::CloseToken(token) => self.close_token(&token, &mut out),
            Event::AskToken(token) => self.ask_token(now, token, dice, &mut out),
            Event::Covers(thumbprints) => {
                self.covers = thumbprints;
                self.covers.retain(|thumbprint| thumbprint.len() <= 128);
                self.covers.truncate(super::message::MOST_THUMBPRINTS);
                self.tell_all(&Message::Covers(self.covers.clone()), &mut out);
            }
            Event::Leaving => {
                self.leaving = true;
                self.tell_all(&Message::Leaving, &mut out);
            }
        }
        self.keep_house(now, dice, &mut out);
        out
    }

    /// What is due by time: a round of comparing, offers, questions that were not answered, tokens that end.
    fn keep_house(&mut self, now: Now, dice: &dyn Dice, out: &mut Vec<Effect>) {
        if self.next_round <= now.mono {
            let every = self.terms.compare_every.max(Duration::from_millis(100));
            self.next_round = now.mono + every.mul_f64(0.75 + 0.5 * dice.draw());
            self.round(now, dice, out);
        }
        self.compare_in_haste(now, out);
        if self.next_flush.is_some_and(|at| at <= now.mono) {
            self.next_flush = None;
            self.offer_on(dice, out);
        }
        self.ask_for_wanted(now, dice, out);
        self.serve(now, out);
        self.keep_tokens(now, out);
        let waits = [self.next_flush, self.next_want(now), self.next_serve(now), self.next_token()];
        let wake = waits.into_iter().flatten().fold(self.next_round, Duration::min);
        out.push(Effect::WakeAt(wake.max(now.mono + Duration::from_millis(1))));
    }

    fn connected(&mut self, now: Now, peer: NodeId, out: &mut Vec<Effect>) {
        if peer == self.me || self.state.is_removed(peer) {
            out.push(Effect::Cut { peer, why: "this node was removed from the fleet" });
            return;
        }
        self.peers.insert(peer, Peer::new(now.mono));
        self.note_heard(now, peer);
        let mut say = |message| out.push(Effect::Send { to: peer, message });
        say(Message::Hello(self.terms.hello.clone()));
        if !self.covers.is_empty() {
            say(Message::Covers(self.covers.clone()));
        }
        say(self.ping(now));
        for message in self.tokens.of_ours(now.mono) {
            say(message);
        }
    }

    fn received(&mut self, now: Now, from: NodeId, message: Message, dice: &dyn Dice, out: &mut Vec<Effect>) {
        if self.state.is_removed(from) {
            self.peers.remove(&from);
            out.push(Effect::Cut { peer: from, why: "this node was removed from the fleet" });
            return;
        }
        if !self.peers.contains_key(&from) {
            return;
        }
        self.note_heard(now, from);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.heard = now.mono;
        if !peer.messages.take(now.mono, 1.0) {
            return;
        }
        match message {
            Message::Hello(hello) => peer.hello = Some(hello),
            Message::Covers(thumbprints) => peer.covers = thumbprints.into_iter().collect(),
            Message::Ping { root, civil } => {
                out.push(Effect::PeerTime { peer: from, civil });
                self.compare_root(from, root);
            }
            Message::Buckets(theirs) => self.compare_buckets(now, from, &theirs, dice, out),
            Message::Marks { from: first, to: last, marks } => self.compare_marks(from, first, last, &marks),
            Message::Offer(marks) => marks.iter().for_each(|mark| self.offered(from, mark)),
            Message::Want(keys) => peer.queue(keys),
            Message::NotHeld(keys) => keys.iter().for_each(|key| self.not_held(from, key)),
            Message::Claims(claims) => claims.into_iter().for_each(|claim| self.delivered(now, from, claim, out)),
            Message::Tokens(tokens) => self.tokens_told(now, from, tokens, out),
            Message::TokensKnown(tokens) => self.tokens_known(from, tokens, out),
            Message::TokensOver(tokens) => self.tokens_over(from, &tokens, out),
            Message::AskToken { id, token } => self.token_asked(now, from, id, &token, out),
            Message::TokenAnswer { id, token } => self.token_answered(now, from, id, token, out),
            Message::Leaving => {
                self.left.insert(from);
            }
        }
    }

    fn note_heard(&mut self, now: Now, node: NodeId) {
        if self.heard.len() < MOST_HEARD || self.heard.contains_key(&node) {
            self.heard.insert(node, now.mono);
        }
        self.left.remove(&node);
    }

    fn ping(&self, now: Now) -> Message {
        Message::Ping { root: self.state.root(), civil: now.civil }
    }

    fn tell_all(&self, message: &Message, out: &mut Vec<Effect>) {
        out.extend(self.peers.keys().map(|to| Effect::Send { to: *to, message: message.clone() }));
    }

    /// Up to `count` peers by lot.
    fn some_peers(&self, count: usize, except: Option<NodeId>, dice: &dyn Dice) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = self.peers.keys().copied().filter(|peer| Some(*peer) != except).collect();
        pick(&mut all, count, dice);
        all
    }

    /// A member was removed: nothing is said to it or taken from it from now on.
    fn cut_removed(&mut self, subject: &Subject, out: &mut Vec<Effect>) {
        if let Subject::Removed(node) = subject
            && self.peers.remove(node).is_some()
        {
            out.push(Effect::Cut { peer: *node, why: "this node was removed from the fleet" });
        }
    }
}

/// Leaves `count` members of the list, by lot.
fn pick<T>(list: &mut Vec<T>, count: usize, dice: &dyn Dice) {
    let count = count.min(list.len());
    for at in 0..count {
        let rest = list.len() - at;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let step = (dice.draw().clamp(0.0, 0.999_999) * rest as f64) as usize;
        list.swap(at, at + step.min(rest - 1));
    }
    list.truncate(count);
}
