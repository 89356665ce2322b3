//! What shall be sent to whom, and when? A machine without I/O: `node` tells it what happened, and performs what it
//! answers. A new claim is pushed to every peer at once; what was missed is found by comparing digests every few seconds,
//! with few peers at a time, so that fifty nodes make no storm. The simulator runs exactly this.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::claim::Claim;
use super::message::{Hello, Message, Token};
use super::node_id::NodeId;
use super::state::State;
use super::subject::SubjectKey;
use crate::clock::{Dice, UnixTime};

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
    /// This node claims this (or read it from its own disk).
    Claim(Arc<Claim>),
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
#[derive(Clone, Debug)]
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
    /// Send [`Event::Tick`] at this moment (monotonic). Replaces any earlier wish.
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
    /// The usual terms.
    pub fn new(release: &str, incarnation: u64) -> Terms {
        let hello = Hello { features: 0, incarnation, release: release.to_owned(), holds_all: true };
        Terms { hello, compare_every: Duration::from_secs(3) }
    }
}

/// The machine of one node.
#[derive(Debug)]
pub struct Sync {
    me: NodeId,
    terms: Terms,
    state: State,
}

impl Sync {
    /// The machine of `me`, which knows nothing yet: what lies on disk is given to it by [`Event::Claim`].
    pub fn new(me: NodeId, terms: Terms) -> Sync {
        Sync { me, terms, state: State::default() }
    }

    /// Who this is.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// All that is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes in what happened; answers what shall be done, in this order.
    pub fn on(&mut self, now: Now, event: Event, dice: &dyn Dice) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Event::Claim(claim) = event {
            let key = claim.mark().key;
            if self.state.admit(claim).is_ok() {
                effects.push(Effect::Store { key, claims: self.state.claims(&key).cloned().collect() });
            }
        }
        effects.push(Effect::WakeAt(now.mono + self.terms.compare_every.mul_f64(0.5 + dice.draw())));
        effects
    }
}
