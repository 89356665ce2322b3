//! Who answers for which challenge? Our own are told to every peer, again each second until it says that it knows; those
//! of others are opened here until they end. For a token that nobody told us the peers are asked, within bounds. Nothing
//! of this enters the digest: challenges pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::peer::Allowance;
use super::{Effect, Now, Sync};
use crate::clock::Dice;
use crate::fleet::message::{LONGEST_TOKEN_LIFE, MOST_TOKENS, Message, Token};
use crate::fleet::node_id::NodeId;

/// Tokens of others at most; as many as the table of open challenges holds.
const MOST_FOREIGN: usize = 16_384;
/// Of one peer.
const MOST_OF_ONE: usize = 8192;
/// Questions of ours that wait for an answer at most.
const MOST_ASKED: usize = 64;
/// A question is answered within this, or not.
const QUESTION: Duration = Duration::from_secs(1);
/// What was not acknowledged is told again after this.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Ours {
    token: Token,
    opened: Duration,
    until: Duration,
    told: Duration,
    known_by: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Foreign {
    token: Token,
    until: Duration,
    from: NodeId,
}

/// Open challenges of this node and of others.
#[derive(Debug)]
pub(super) struct Tokens {
    ours: BTreeMap<String, Ours>,
    foreign: BTreeMap<String, Foreign>,
    asked: BTreeMap<u64, (String, Duration)>,
    questions: Allowance,
    last_id: u64,
}

impl Default for Tokens {
    fn default() -> Tokens {
        let questions = Allowance::new(32.0, 16.0);
        Tokens { ours: BTreeMap::new(), foreign: BTreeMap::new(), asked: BTreeMap::new(), questions, last_id: 0 }
    }
}

impl Tokens {
    /// What a new peer is told.
    pub(super) fn of_ours(&self, now: Duration) -> Vec<Message> {
        let tokens: Vec<Token> = self.ours.values().map(|ours| left(&ours.token, ours.until, now)).collect();
        tokens.chunks(MOST_TOKENS).map(|tokens| Message::Tokens(tokens.to_vec())).collect()
    }

    fn find(&self, token: &str, now: Duration) -> Option<Token> {
        let ours = self.ours.get(token).map(|ours| (&ours.token, ours.until));
        let (token, until) = ours.or_else(|| self.foreign.get(token).map(|foreign| (&foreign.token, foreign.until)))?;
        (now < until).then(|| left(token, until, now))
    }

    fn open_foreign(&mut self, now: Now, from: NodeId, token: &Token) -> bool {
        let known = self.ours.contains_key(&token.token) || self.foreign.contains_key(&token.token);
        let of_one = || self.foreign.values().filter(|foreign| foreign.from == from).count();
        if !known && (self.foreign.len() >= MOST_FOREIGN || of_one() >= MOST_OF_ONE) {
            return false;
        }
        if !known {
            let foreign = Foreign { token: token.clone(), until: now.mono + token.remaining, from };
            self.foreign.insert(token.token.clone(), foreign);
        }
        true
    }
}

/// The token with the time that is left of it.
fn left(token: &Token, until: Duration, now: Duration) -> Token {
    Token { remaining: until.saturating_sub(now), ..token.clone() }
}

/// Whether the authority may be told to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Every node that counts answers.
    Ready,
    /// Wait for these, but not longer than until the moment (monotonic).
    Wait {
        /// Nodes that did not acknowledge yet, linked or not.
        missing: Vec<NodeId>,
        /// When it is enough.
        until: Duration,
    },
    /// The bound is over: look, and name these if it fails.
    Without {
        /// Nodes that may not answer.
        missing: Vec<NodeId>,
    },
}

impl Sync {
    /// May the authority be told to look at `token` of the account with `thumbprint`? Every linked peer, and every node of
    /// `roster` that is expected to live, must have acknowledged it or answer for the account without a token. What is
    /// missing delays by `bound` after the token was opened and is then named.
    pub fn token_ready(
        &self,
        token: &str,
        thumbprint: Option<&str>,
        roster: &[NodeId],
        bound: Duration,
        now: Now,
    ) -> Readiness {
        let Some(ours) = self.tokens.ours.get(token) else { return Readiness::Without { missing: roster.to_vec() } };
        let mut counted: BTreeSet<NodeId> = self.peers.keys().copied().collect();
        counted.extend(roster.iter().filter(|node| !self.has_left(**node)));
        let covered = |node: &NodeId| {
            let covers = self.peers.get(node).map(|peer| &peer.covers);
            covers.is_some_and(|covers| thumbprint.is_some_and(|thumbprint| covers.contains(thumbprint)))
        };
        let missing: Vec<NodeId> = counted
            .into_iter()
            .filter(|node| *node != self.me && !self.state.is_removed(*node))
            .filter(|node| !ours.known_by.contains(node) && !covered(node))
            .collect();
        let until = ours.opened + bound;
        match (missing.is_empty(), now.mono < until) {
            (true, _) => Readiness::Ready,
            (false, true) => Readiness::Wait { missing, until },
            (false, false) => Readiness::Without { missing },
        }
    }

    pub(super) fn open_token(&mut self, now: Now, token: Token, out: &mut Vec<Effect>) {
        let token = Token { remaining: token.remaining.min(LONGEST_TOKEN_LIFE), ..token };
        if !token.is_sound() {
            return;
        }
        let until = now.mono + token.remaining;
        let ours = Ours { token, opened: now.mono, until, told: now.mono, known_by: BTreeSet::new() };
        self.tell_all(&Message::Tokens(vec![left(&ours.token, until, now.mono)]), out);
        self.tokens.ours.insert(ours.token.token.clone(), ours);
    }

    pub(super) fn close_token(&mut self, token: &str, out: &mut Vec<Effect>) {
        if self.tokens.ours.remove(token).is_some() {
            self.tell_all(&Message::TokensOver(vec![token.to_owned()]), out);
        }
    }

    /// A peer opened challenges: answered here from now on, which it is told.
    pub(super) fn tokens_told(&mut self, now: Now, from: NodeId, tokens: Vec<Token>, out: &mut Vec<Effect>) {
        let mut known = Vec::new();
        for token in tokens {
            let new = !self.tokens.foreign.contains_key(&token.token);
            if self.tokens.open_foreign(now, from, &token) {
                known.push(token.token.clone());
                if new {
                    out.push(Effect::OpenToken(token));
                }
            }
        }
        if !known.is_empty() {
            out.push(Effect::Send { to: from, message: Message::TokensKnown(known) });
        }
    }

    pub(super) fn tokens_known(&mut self, by: NodeId, tokens: Vec<String>, out: &mut Vec<Effect>) {
        for token in tokens {
            let ours = self.tokens.ours.get_mut(&token);
            if ours.is_some_and(|ours| ours.known_by.insert(by)) {
                out.push(Effect::TokenKnown { token, by });
            }
        }
    }

    /// Challenges are over; only who opened one may say so.
    pub(super) fn tokens_over(&mut self, from: NodeId, tokens: &[String], out: &mut Vec<Effect>) {
        for token in tokens {
            if self.tokens.foreign.get(token).is_some_and(|foreign| foreign.from == from) {
                self.tokens.foreign.remove(token);
                out.push(Effect::CloseToken(token.clone()));
            }
        }
    }

    /// Somebody looks here for a token that is not in the table.
    pub(super) fn ask_token(&mut self, now: Now, token: String, dice: &dyn Dice, out: &mut Vec<Effect>) {
        if let Some(found) = self.tokens.find(&token, now.mono) {
            out.push(Effect::TokenFound(found));
            return;
        }
        let asked_already = self.tokens.asked.values().any(|(asked, _)| *asked == token);
        let room = self.tokens.asked.len() < MOST_ASKED && !asked_already;
        if !room || self.peers.is_empty() || !self.tokens.questions.take(now.mono, 1.0) {
            return;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let drawn = (dice.draw() * 4_294_967_296.0) as u64;
        self.tokens.last_id = self.tokens.last_id.wrapping_add(1 + drawn);
        let id = self.tokens.last_id;
        self.tokens.asked.insert(id, (token.clone(), now.mono + QUESTION));
        self.tell_all(&Message::AskToken { id, token }, out);
    }

    /// A peer looks for a token.
    pub(super) fn token_asked(&mut self, now: Now, from: NodeId, id: u64, token: &str, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.questions.take(now.mono, 1.0) {
            let token = self.tokens.find(token, now.mono);
            out.push(Effect::Send { to: from, message: Message::TokenAnswer { id, token } });
        }
    }

    /// A peer answers what we asked; anything else it says is passed over.
    pub(super) fn token_answered(
        &mut self,
        now: Now,
        from: NodeId,
        id: u64,
        token: Option<Token>,
        out: &mut Vec<Effect>,
    ) {
        let Some(token) = token else { return };
        if self.tokens.asked.get(&id).is_none_or(|(asked, _)| *asked != token.token) {
            return;
        }
        self.tokens.asked.remove(&id);
        if self.tokens.open_foreign(now, from, &token) {
            out.push(Effect::OpenToken(token.clone()));
            out.push(Effect::TokenFound(token));
        }
    }

    /// Ends what is over, and tells again what was not acknowledged.
    pub(super) fn keep_tokens(&mut self, now: Now, out: &mut Vec<Effect>) {
        let tokens = &mut self.tokens;
        tokens.asked.retain(|_, (_, until)| now.mono < *until);
        tokens.ours.retain(|_, ours| now.mono < ours.until);
        tokens.foreign.retain(|name, foreign| {
            let open = now.mono < foreign.until;
            if !open {
                out.push(Effect::CloseToken(name.clone()));
            }
            open
        });
        let mut again: BTreeMap<NodeId, Vec<Token>> = BTreeMap::new();
        for ours in tokens.ours.values_mut().filter(|ours| ours.told + AGAIN <= now.mono) {
            ours.told = now.mono;
            for peer in self.peers.keys().filter(|peer| !ours.known_by.contains(peer)) {
                again.entry(*peer).or_default().push(left(&ours.token, ours.until, now.mono));
            }
        }
        for (to, list) in again {
            for tokens in list.chunks(MOST_TOKENS) {
                out.push(Effect::Send { to, message: Message::Tokens(tokens.to_vec()) });
            }
        }
    }

    /// When something of this is due.
    pub(super) fn next_token(&self) -> Option<Duration> {
        let tokens = &self.tokens;
        let waiting = |ours: &&Ours| self.peers.keys().any(|peer| !ours.known_by.contains(peer));
        let ours = tokens.ours.values().filter(waiting).map(|ours| ours.told + AGAIN);
        let ends = tokens.ours.values().map(|ours| ours.until).chain(tokens.foreign.values().map(|f| f.until));
        ours.chain(ends).min()
    }
}
