//! How does the machine of the fleet meet the world? It is told what happened, and its effects are performed here: messages
//! to links, claims to disk, bundles to keepers, tokens to the table. Never blocks and never waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::cert::bundle::Bundle;
use crate::clock::{Clock, Dice, UnixTime};
use crate::fleet::duty::{Elsewhere, Holder};
use crate::fleet::members::{Member, Sightings, members};
use crate::fleet::message::Token;
use crate::fleet::serving::{Row, Served};
use crate::fleet::sync::{Effect, Event, Now};
use crate::fleet::{Body, Claim, Message, NodeId, Subject, Sync};
use crate::peer::{self, Links};
use crate::plan::certificate::{CertId, CertSpec};

use super::bundles::Bundles;
use super::disk::Disk;
use super::etcd::EtcdShare;
use super::report::Reports;
use super::tickets::Tickets;
use super::tokens::Tokens;

/// After a start, and after a node was linked, so long is waited before anything is ordered: it may know better.
const SETTLE: Duration = Duration::from_secs(1);
/// Who belongs to the fleet is put together this often.
const LOOK: Duration = Duration::from_secs(2);
/// An order of another node is waited for no longer than this.
const LONGEST_ORDER: Duration = Duration::from_secs(1800);
/// Nodes that cannot be reached are waited for no longer than this after a start.
const AT_MOST: Duration = Duration::from_secs(8);

/// Takes a bundle of another node to the keeper that wants it.
pub type Hand = Arc<dyn Fn(Box<Bundle>) + Send + std::marker::Sync>;

/// What the core works with.
pub struct Tools {
    /// The civil clock.
    pub clock: Arc<dyn Clock>,
    /// Dice.
    pub dice: Arc<dyn Dice>,
    /// Where bundles go.
    pub hand: Hand,
    /// Claims that outlive a restart.
    pub disk: Disk,
    /// The secrets of session tickets.
    pub tickets: Tickets,
}

/// The node that says this of itself.
fn reporter(claim: &Claim) -> Option<NodeId> {
    if let Subject::Report(node) = claim.subject() { Some(*node) } else { None }
}

/// The machine with its hands.
pub struct Core {
    pub(super) me: NodeId,
    pub(super) sync: Sync,
    pub(super) links: Links,
    tools: Tools,
    began: Instant,
    /// The link that counts to each node, and since when.
    pub(super) linked: HashMap<NodeId, (u64, Instant)>,
    wake: Duration,
    /// Told when the moment to wake has moved.
    pub(super) moved: Arc<Notify>,
    later: VecDeque<Event>,
    pub(super) bundles: Bundles,
    pub(super) reports: Reports,
    pub(super) tokens: Tokens,
    /// Who serves what.
    served: Served,
    /// When each node was seen last.
    sightings: Sightings,
    /// All nodes, as of the last look.
    members: Vec<Member>,
    looked: Option<Instant>,
    /// What lies on disk has been taken in.
    loaded: bool,
    /// Bundles of others are not kept here.
    own: bool,
    /// What is shared through etcd too, if it is.
    pub(super) etcd: Option<Arc<EtcdShare>>,
    /// Nodes that are there, by etcd.
    present: BTreeSet<NodeId>,
    /// Nodes that were ever heard of.
    reported: BTreeSet<NodeId>,
}

impl Core {
    /// A core that knows nothing yet.
    pub fn new(sync: Sync, links: Links, tokens: Tokens, tools: Tools) -> Core {
        Core {
            me: sync.me(),
            sync,
            links,
            tools,
            began: Instant::now(),
            linked: HashMap::new(),
            wake: Duration::ZERO,
            moved: Arc::default(),
            later: VecDeque::new(),
            bundles: Bundles::default(),
            reports: Reports::default(),
            tokens,
            served: Served::default(),
            sightings: Sightings::default(),
            members: Vec::new(),
            looked: None,
            loaded: false,
            own: false,
            etcd: None,
            present: BTreeSet::new(),
            reported: BTreeSet::new(),
        }
    }

    /// The moment of the next tick.
    pub fn wakes_at(&self) -> Instant {
        self.began + self.wake
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.tools.disk
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.tools.clock
    }

    /// Takes in what an earlier run knew.
    pub fn load(&mut self, claims: Vec<Claim>, sightings: Sightings) {
        self.sightings = sightings;
        for claim in claims {
            self.reported.extend(reporter(&claim));
            self.on(Event::Claim(Arc::new(claim)));
        }
        self.loaded = true;
        self.ban_removed();
        let ids: Vec<CertId> = self.bundles.wanted().cloned().collect();
        ids.iter().for_each(|id| self.offer(id));
    }

    /// Tells the machine, and does what it says.
    pub fn on(&mut self, event: Event) {
        self.later.push_back(event);
        while let Some(event) = self.later.pop_front() {
            if let Event::Claim(claim) = &event {
                self.served.take(claim);
            }
            let now = Now { mono: self.began.elapsed(), civil: self.tools.clock.now() };
            for effect in self.sync.on(now, event, &*self.tools.dice) {
                self.perform(effect);
            }
        }
    }

    /// What happened on a link.
    pub fn heard(&mut self, event: peer::Event) {
        match event {
            peer::Event::Up { node, link, release, .. } => {
                let node = NodeId::from_bytes(node);
                tracing::info!(level = "notice", "fleet: linked with node {} ({release})", node.short());
                if self.linked.insert(node, (link, Instant::now())).is_some() {
                    self.on(Event::Disconnected(node));
                }
                self.on(Event::Connected(node));
                self.look_at_members();
                self.tokens.linked(&self.linked);
            }
            peer::Event::Message { node, link, bytes } => {
                let node = NodeId::from_bytes(node);
                if self.linked.get(&node).is_none_or(|(now, _)| *now != link) {
                    return;
                }
                match Message::decode(&bytes) {
                    Ok(Some(message)) => self.on(Event::Received(node, message)),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!("fleet: node {} cannot be understood: {error}", node.short());
                        self.links.hang_up(node.as_bytes());
                    }
                }
            }
            peer::Event::Down { node, link, why } => {
                let node = NodeId::from_bytes(node);
                if self.linked.get(&node).is_none_or(|(now, _)| *now != link) {
                    return;
                }
                match why.is_empty() {
                    true => tracing::debug!("fleet: the link with node {} was one of two", node.short()),
                    false => {
                        tracing::info!(level = "notice", "fleet: the link with node {} has ended: {why}", node.short());
                    }
                }
                self.linked.remove(&node);
                self.on(Event::Disconnected(node));
                self.look_at_members();
                self.tokens.linked(&self.linked);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            // A node that is gone or slow is told again when digests are compared.
            Effect::Send { to, message } => drop(self.links.send(to.as_bytes(), message.encode())),
            Effect::Store { key, claims } => {
                self.tools.disk.put(key, claims);
                self.etcd.iter().for_each(|etcd| etcd.changed(key));
            }
            Effect::Learned { claim, .. } => self.learned(&claim),
            Effect::OpenToken(token) => self.tokens.open_foreign(token, self.tools.clock.now()),
            Effect::CloseToken(token) => self.tokens.close_foreign(&token),
            Effect::TokenKnown { token, by } => self.tokens.known(&token, by),
            Effect::TokenFound(token) => self.tokens.found(token, self.tools.clock.now()),
            Effect::PeerTime { .. } => {}
            Effect::Cut { peer, why } => {
                tracing::error!("fleet: the link with node {} is ended: {why}", peer.short());
                self.links.hang_up(peer.as_bytes());
            }
            Effect::WakeAt(at) => {
                self.wake = at;
                self.moved.notify_one();
            }
        }
    }

    /// etcd brought this claim.
    pub fn carried(&mut self, claim: Arc<Claim>) {
        if let Subject::Bundle(id) = claim.subject()
            && self.own
            && !self.bundles.wants(id)
        {
            return;
        }
        if self.sync.state().would_learn(&claim.mark()) {
            self.on(Event::Claim(claim.clone()));
            self.learned(&claim);
        }
    }

    /// What is shared goes through etcd too from now on, or no longer.
    pub fn share_through(&mut self, etcd: Option<Arc<EtcdShare>>) {
        self.present.clear();
        self.etcd = etcd;
    }

    /// A node is there, or no longer, by etcd.
    pub fn present(&mut self, node: NodeId, there: bool) {
        match there {
            true => self.present.insert(node),
            false => self.present.remove(&node),
        };
    }

    /// Answers for a token that a node shows in etcd.
    pub fn foreign_token(&mut self, token: Token) {
        self.tokens.found(token, self.tools.clock.now());
    }

    /// It is shown no longer.
    pub fn foreign_token_over(&mut self, token: &str) {
        self.tokens.close_foreign(token);
    }

    fn learned(&mut self, claim: &Claim) {
        self.served.take(claim);
        self.reported.extend(reporter(claim));
        match claim.subject() {
            Subject::Bundle(id) if self.bundles.wants(id) => self.offer(&id.clone()),
            Subject::Removed(node) => {
                self.served.forget(*node);
                self.ban_removed();
            }
            // Our own words from before a loss: said anew, above them.
            subject if subject.owner() == Some(self.me) => self.reports.say_again(),
            _ => {}
        }
    }

    fn ban_removed(&self) {
        let removed = self.sync.state().all().filter_map(|claim| match claim.subject() {
            Subject::Removed(node) => Some(*node.as_bytes()),
            _ => None,
        });
        self.links.ban(removed);
    }

    /// Hands the best that the fleet has of a certificate to its keeper, if that is better than what is shown here.
    pub(super) fn offer(&mut self, id: &CertId) {
        let claims = self.sync.state().alive(&Subject::Bundle(id.clone()));
        if let Some(better) = self.bundles.better(id, &claims) {
            (self.tools.hand)(Box::new(better));
        }
    }

    /// A generation is in force here: the others shall have it.
    pub fn installed(&mut self, bundle: &Bundle) {
        let subject = Subject::Bundle(bundle.id.clone());
        let claims = self.sync.state().alive(&subject);
        self.bundles.shown(bundle);
        self.reports.serves_other(&bundle.id);
        if !self.bundles.is_news(bundle, &claims) {
            return;
        }
        let key = subject.key();
        let epoch = if claims.is_empty() && self.sync.state().epoch(&key).is_none() {
            bundle.epoch.max(1)
        } else {
            self.sync.state().next_epoch(&key).max(bundle.epoch)
        };
        let body = Body::copy(bundle.to_text().as_bytes());
        self.on(Event::Claim(Arc::new(Claim::new(subject, epoch, self.me, body))));
    }

    /// Says what this node is and serves, where that has changed.
    pub fn report(&mut self) {
        if !self.loaded {
            return;
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look_at_members();
        }
        if let Some(thumbprint) = self.tokens.other_account() {
            self.on(Event::Covers(vec![thumbprint]));
        }
        self.keep_tickets();
        for (subject, body) in self.reports.due(self.me, &self.bundles) {
            let epoch = self.sync.state().next_epoch(&subject.key());
            self.on(Event::Claim(Arc::new(Claim::new(subject, epoch, self.me, body))));
        }
    }

    fn keep_tickets(&mut self) {
        let (now, live) = (self.tools.clock.now(), self.live());
        let draw = || {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| bytes)
        };
        // A clock that nobody trusts makes nothing that others would have to keep.
        let claims = match self.tools.clock.in_doubt() {
            true => Vec::new(),
            false => self.tools.tickets.keep(self.sync.state(), self.me, &live, now, draw),
        };
        claims.into_iter().for_each(|claim| self.on(Event::Claim(Arc::new(claim))));
    }

    /// Whether enough has been heard from others to decide anything: who they are, and what they have.
    pub fn settled(&self) -> bool {
        if !self.loaded {
            return false;
        }
        let calling = self.links.calls().iter().any(|(_, call)| matches!(call, peer::Call::Calling));
        let waited = self.began.elapsed();
        let deaf = self.etcd.as_ref().is_some_and(|etcd| !etcd.is_ready());
        let waits_for_first = (calling || deaf) && waited < AT_MOST;
        let known = |node: &NodeId| !self.sync.state().alive(&Subject::Report(*node)).is_empty();
        let heard = |(node, (_, since)): (&NodeId, &(u64, Instant))| {
            let linked = since.elapsed();
            linked >= AT_MOST || (linked >= SETTLE && known(node))
        };
        waited >= SETTLE && !waits_for_first && self.linked.iter().all(heard)
    }

    /// Nodes that are there: this one, those that are linked, and those that say so in etcd. With etcd away all that were
    /// ever heard of count: whose turn it is then still has an order.
    pub fn live(&self) -> Vec<NodeId> {
        let blind = self.etcd.as_ref().is_some_and(|etcd| !etcd.is_ready());
        let by_etcd = if blind { &self.reported } else { &self.present };
        let elsewhere = self.linked.keys().chain(by_etcd).copied();
        let there = elsewhere.filter(|node| !self.sync.state().is_removed(*node));
        let live: BTreeSet<NodeId> = there.chain([self.me]).collect();
        live.into_iter().collect()
    }
}

impl Core {
    /// Looks after exactly these certificates from now on; `own`: bundles of others are not kept here.
    pub fn want(&mut self, specs: &[CertSpec], own: bool) {
        let before: Vec<CertId> = self.bundles.wanted().cloned().collect();
        let new = self.bundles.want(specs, self.tools.clock.now());
        for id in before.iter().filter(|id| !self.bundles.wants(id)).chain(&new) {
            self.reports.serves_other(id);
        }
        self.own = own;
        if own {
            let keys = specs.iter().map(|spec| Subject::Bundle(spec.id.clone()).key()).collect();
            self.on(Event::Interest(keys));
        }
        if self.loaded {
            new.iter().for_each(|id| self.offer(id));
        }
        if let Some(etcd) = self.etcd.as_ref().filter(|_| own) {
            // Passed over as long as it was not wanted here.
            etcd.fetch(new.iter().map(|id| Subject::Bundle(id.clone()).key()).collect());
        }
    }

    fn look_at_members(&mut self) {
        let (mono, now) = (self.began.elapsed(), self.tools.clock.now());
        self.sightings.note(&self.sync, mono, now);
        self.members = members(&self.sync, &self.sightings, mono, now);
        self.looked = Some(Instant::now());
    }

    /// All nodes, as of a moment ago.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What the next start should know of who was seen when.
    pub fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// Nodes whose configuration has a certificate, and what they show of it.
    pub fn served(&self, id: &CertId) -> Vec<(NodeId, Row)> {
        self.served.of(id).filter(|(node, _)| !self.sync.state().is_removed(*node)).collect()
    }

    /// Those of them that count when it is decided whose turn it is.
    pub(super) fn holders(&self, id: &CertId) -> Vec<Holder> {
        let counts = |node: &NodeId| {
            let member = self.members.iter().find(|member| member.node == *node);
            member.is_some_and(|member| member.standing.counts())
        };
        let live = self.live();
        let holders = self.served.of(id).map(|(node, _)| node);
        let holders = holders.filter(|node| live.contains(node) || counts(node));
        holders.map(|node| Holder { node, live: live.contains(&node) }).collect()
    }

    /// Tells the others of an order of this node, or that it is over.
    pub fn orders(&mut self, id: &CertId, until: Option<UnixTime>) {
        let subject = Subject::Order(id.clone());
        let key = subject.key();
        let claim = match until {
            Some(until) => {
                let body = Body::copy(until.0.to_string().as_bytes());
                Claim::new(subject, self.sync.state().next_epoch(&key), self.me, body)
            }
            // Nobody was told of one.
            None if self.sync.state().alive(&subject).iter().all(|claim| claim.origin() != self.me) => return,
            None => {
                let epoch = self.sync.state().epoch(&key).unwrap_or(1);
                Claim::tombstone(subject, epoch, self.me, "it is over")
            }
        };
        self.on(Event::Claim(Arc::new(claim)));
    }

    /// An order of another node that may still come to an end.
    pub fn ordered_elsewhere(&self, id: &CertId, now: UnixTime) -> Option<Elsewhere> {
        let claims = self.sync.state().alive(&Subject::Order(id.clone()));
        let read = |claim: &Arc<Claim>| {
            let text = std::str::from_utf8(claim.body().as_bytes()).ok()?;
            // A clock that is wrong elsewhere holds nothing up here.
            let until = UnixTime(text.parse().ok()?).min(now + LONGEST_ORDER);
            Some(Elsewhere { by: claim.origin(), until })
        };
        let live = self.live();
        let others = claims.iter().filter(|claim| claim.origin() != self.me && live.contains(&claim.origin()));
        others.filter_map(read).filter(|order| order.until > now).max_by_key(|order| order.until)
    }

    /// Removes a node for good: a fact that all nodes keep.
    pub fn remove(&mut self, node: &str) -> Result<String, String> {
        let state = self.sync.state();
        let told = state.all().filter_map(|claim| claim.subject().owner());
        let known: BTreeSet<NodeId> = told.chain(self.live()).collect();
        let wanted = node.to_ascii_lowercase();
        let mut meant = known.iter().filter(|node| node.to_string().starts_with(&wanted));
        let found = match (meant.next(), meant.next()) {
            (Some(one), None) if wanted.len() >= 4 => *one,
            (Some(_), _) => return Err(format!("\"{node}\" does not name one node alone")),
            // One that nobody here has met, by its whole id.
            (None, _) => node.parse().map_err(|_| format!("no node \"{node}\" is known"))?,
        };
        if found == self.me {
            return Err("this is the node that you ask: remove it from another one".to_owned());
        }
        tracing::warn!("fleet: node {found} is removed by the operator");
        self.on(Event::Claim(Arc::new(Claim::new(Subject::Removed(found), 1, self.me, Body::empty()))));
        self.ban_removed();
        Ok(found.to_string())
    }
}
