//! What happens next in a simulated fleet? One queue of moments in true time, in milliseconds.

use super::net::Letter;
use super::node::{Disk, Node};
use super::rules::News;
use super::{Bug, Scenario};
use crate::dice::Dice;
use semper::fleet::message::{Look, Message, Token};
use semper::fleet::sync::{Effect, Event, Sync, Terms};
use semper::fleet::{Body, Claim, NodeId, Subject};
use semper::plan::certificate::CertId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a moment brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Letter,
    Tick(usize),
    Meet(usize, usize),
    Break(usize, usize),
    Start(usize),
    Crash,
    Strike,
    Backup,
    News,
    Check(u64),
    Calm,
    Agree,
}

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub runs: u64,
    pub nodes: u64,
    pub messages: u64,
    pub bytes: u64,
    pub news: u64,
    pub crashes: u64,
    pub cuts: u64,
    pub backups: u64,
    pub removed: u64,
    pub ended: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.runs += 1;
        self.nodes += other.nodes;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.news += other.news;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.backups += other.backups;
        self.removed += other.removed;
        self.ended += other.ended;
    }
}

/// Dice as the machine takes them.
struct Lent<'a>(Mutex<&'a mut Dice>);

impl semper::clock::Dice for Lent<'_> {
    fn draw(&self) -> f64 {
        self.0.lock().map_or(0.5, |mut dice| dice.draw())
    }
}

pub struct World {
    pub now: i64,
    pub calm_from: i64,
    pub end: i64,
    pub dice: Dice,
    pub scenario: Scenario,
    pub bug: Option<Bug>,
    queue: BinaryHeap<Reverse<(i64, u64, What)>>,
    number: u64,
    pub nodes: Vec<Node>,
    pub links: BTreeMap<(usize, usize), u64>,
    pub link_number: u64,
    pub cuts: BTreeMap<(usize, usize), i64>,
    pub letters: BTreeMap<u64, Letter>,
    pub certs: Vec<CertId>,
    pub news: BTreeMap<u64, News>,
    /// Faults happened last then.
    pub disturbed: i64,
    pub tally: Tally,
    pub broken: Option<String>,
}

impl World {
    pub fn new(seed: u64, scenario: Scenario, bug: Option<Bug>) -> World {
        let mut dice = Dice::new(seed ^ 0xF1EE_7000);
        let began = 1_800_000_000_000_i64;
        let count = dice.pick(scenario.sizes);
        let calm_from = began + i64::try_from(scenario.stormy * 60_000).unwrap_or(0);
        let end = calm_from + i64::try_from(scenario.quiet * 60_000).unwrap_or(0);
        let mut nodes: Vec<Node> = (0..count).map(|number| Node::new(number, began)).collect();
        for node in nodes.iter_mut().filter(|_| scenario.skewed) {
            node.skew = ((dice.draw() - 0.5) * 4.0 * 86_400_000.0) as i64;
            node.boot -= (dice.draw() * 1e9) as i64;
        }
        let certs = (0..12).map(|n| CertId::try_from(format!("n{n}.example~{n:016x}")).unwrap()).collect();
        World {
            now: began,
            calm_from,
            end,
            dice,
            scenario,
            bug,
            queue: BinaryHeap::new(),
            number: 0,
            nodes,
            links: BTreeMap::new(),
            link_number: 0,
            cuts: BTreeMap::new(),
            letters: BTreeMap::new(),
            certs,
            news: BTreeMap::new(),
            disturbed: began,
            tally: Tally { nodes: count as u64, ..Tally::default() },
            broken: None,
        }
    }

    pub fn push(&mut self, at: i64, what: What) -> u64 {
        self.number += 1;
        self.queue.push(Reverse((at.max(self.now), self.number, what)));
        self.number
    }

    /// A span between two, in milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> i64 {
        let span = self.dice.between(Duration::from_millis(least), Duration::from_millis(most));
        i64::try_from(span.as_millis()).unwrap_or(0)
    }

    pub fn stormy(&self) -> bool {
        self.now < self.calm_from
    }

    fn next(&mut self, mean: u64, what: What) {
        let gap = self.dice.gap(Duration::from_secs(mean));
        let at = self.now + i64::try_from(gap.as_millis()).unwrap_or(0);
        if mean > 0 && at < self.calm_from {
            self.push(at, what);
        }
    }

    pub fn run(&mut self) {
        for node in 0..self.nodes.len() {
            let at = self.now + self.millis(0, 3_000);
            self.push(at, What::Start(node));
        }
        let Scenario { cuts, crashes, backups, news, .. } = self.scenario;
        for (mean, what) in [(cuts, What::Strike), (crashes, What::Crash), (backups, What::Backup), (news, What::News)]
        {
            self.next(mean, what);
        }
        self.push(self.calm_from, What::Calm);
        while let Some(Reverse((at, number, what))) = self.queue.pop() {
            if at > self.end || self.broken.is_some() {
                break;
            }
            self.now = at;
            self.happens(number, what);
        }
    }

    fn happens(&mut self, number: u64, what: What) {
        match what {
            What::Letter => self.arrives(number),
            What::Tick(node) if self.nodes[node].wake == number => self.tell(node, Event::Tick),
            What::Tick(_) => {}
            What::Meet(a, b) => self.meet(a, b),
            What::Break(a, b) if self.is_cut(a, b) => self.part(a, b),
            What::Break(..) => {}
            What::Start(node) => self.start(node),
            What::Crash => {
                self.next(self.scenario.crashes, what);
                let node = self.dice.below(self.nodes.len());
                self.tally.crashes += 1;
                self.crash(node);
            }
            What::Strike => {
                self.next(self.scenario.cuts, what);
                self.tally.cuts += 1;
                self.disturbed = self.now;
                self.strike();
            }
            What::Backup => {
                self.next(self.scenario.backups, what);
                let node = self.dice.below(self.nodes.len());
                self.put_back(node);
            }
            What::News => {
                self.next(self.scenario.news, what);
                self.something_new();
            }
            What::Check(news) => self.check_news(news),
            What::Calm => self.calm(),
            What::Agree => self.check_agreement(),
        }
    }

    /// A process begins: what lies on its disk is told to the machine.
    fn start(&mut self, node: usize) {
        if self.nodes[node].sync.is_some() {
            return;
        }
        let of = &mut self.nodes[node];
        of.life += 1;
        of.since = self.now;
        of.sync = Some(Sync::new(of.id, Terms::new("simulated", self.dice.below(1 << 30) as u64)));
        let read: Vec<Arc<Claim>> = match self.bug {
            Some(Bug::DiskIsNotRead) => Vec::new(),
            _ => of.disk.values().flatten().cloned().collect(),
        };
        for claim in read {
            self.tell(node, Event::Claim(claim));
        }
        self.check_started(node);
        self.tell(node, Event::Tick);
        for other in 0..self.nodes.len() {
            if other != node {
                let when = self.now + self.millis(20, 1_500);
                self.push(when, What::Meet(node, other));
            }
        }
    }

    /// A process ends without a word.
    fn crash(&mut self, node: usize) {
        if self.nodes[node].sync.take().is_none() {
            return;
        }
        self.disturbed = self.now;
        self.nodes[node].tokens.clear();
        let gone: Vec<(usize, usize)> = self.links.keys().copied().filter(|(a, b)| *a == node || *b == node).collect();
        for (a, b) in gone {
            self.links.remove(&(a, b));
            let (other, id) = (if a == node { b } else { a }, self.nodes[node].id);
            self.tell(other, Event::Disconnected(id));
        }
        let when = self.now + self.millis(500, 60_000);
        self.push(when, What::Start(node));
    }

    /// Somebody puts an old disk back, or keeps one for later.
    fn put_back(&mut self, node: usize) {
        let of = &mut self.nodes[node];
        let Some(old) = of.backup.take() else {
            of.backup = Some(of.disk.clone());
            return;
        };
        of.disk = old;
        of.knew = Disk::iter(&of.disk)
            .filter_map(|(key, claims)| Some((*key, claims.iter().map(|c| (c.epoch(), c.is_tombstone())).max()?)))
            .collect();
        self.tally.backups += 1;
        self.crash(node);
    }

    /// One word to a machine, and what it wants done.
    pub fn tell(&mut self, node: usize, event: Event) {
        let now = self.nodes[node].now(self.now);
        if self.nodes[node].sync.is_none() {
            return;
        }
        if self.bug == Some(Bug::NobodyCompares)
            && matches!(&event, Event::Received(_, Message::Buckets(_) | Message::Marks { .. }))
        {
            return;
        }
        let event = match event {
            Event::Received(from, Message::Claims(mut claims)) if self.bug == Some(Bug::RemovedIsTold) => {
                let removals: Vec<Claim> =
                    claims.extract_if(.., |claim| matches!(claim.subject(), Subject::Removed(_))).collect();
                for claim in removals {
                    self.nodes[node].knew.insert(claim.subject().key(), (1, false));
                }
                Event::Received(from, Message::Claims(claims))
            }
            other => other,
        };
        let Some(sync) = &mut self.nodes[node].sync else { return };
        let effects = sync.on(now, event, &Lent(Mutex::new(&mut self.dice)));
        for effect in effects {
            self.perform(node, effect);
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                self.check_sent(node, to, &message);
                let pushed = matches!(message, Message::Claims(_) | Message::Offer(_) | Message::Want(_));
                let told = matches!(message, Message::Tokens(_));
                // News travels by comparing alone: what is pushed comes an age later.
                if (pushed && self.bug == Some(Bug::NobodyPushes) && self.dice.chance(0.9))
                    || (told && self.bug == Some(Bug::TokensAreKept))
                {
                    return;
                }
                if let Some(to) = self.number_of(to) {
                    self.send(node, to, &message);
                }
            }
            Effect::Store { key, claims } => {
                let ends = claims.iter().any(|claim| claim.is_tombstone());
                self.check_stored(node, key, &claims);
                if self.bug == Some(Bug::NothingIsStored) || (ends && self.bug == Some(Bug::EndsAreNotStored)) {
                    return;
                }
                self.nodes[node].disk.insert(key, claims);
            }
            Effect::OpenToken(token) => {
                self.nodes[node].tokens.insert(token.token, self.now);
            }
            Effect::CloseToken(token) => {
                self.nodes[node].tokens.remove(&token);
            }
            Effect::Cut { peer, .. } => {
                if let Some(peer) = self.number_of(peer) {
                    let pair = (node.min(peer), node.max(peer));
                    if self.links.remove(&pair).is_some() {
                        let id = self.nodes[node].id;
                        self.tell(peer, Event::Disconnected(id));
                    }
                }
            }
            Effect::WakeAt(mono) => {
                let at = self.nodes[node].true_time(mono).max(self.now + 1);
                let number = self.push(at, What::Tick(node));
                self.nodes[node].wake = number;
            }
            Effect::Learned { .. } | Effect::TokenKnown { .. } | Effect::TokenFound(_) | Effect::PeerTime { .. } => {}
        }
    }

    pub fn number_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// Somebody has something new to say.
    fn something_new(&mut self) {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].sync.is_some()).collect();
        if up.is_empty() {
            return;
        }
        self.tally.news += 1;
        let node = up[self.dice.below(up.len())];
        if self.nodes[node].removed {
            return;
        }
        let cert = self.dice.below(self.certs.len());
        match self.dice.below(20) {
            0..=11 => self.new_generation(node, cert),
            12..=14 => self.end_generation(node, cert),
            15 if self.scenario.crashes > 0 && self.tally.removed == 0 && self.nodes.len() > 3 => {
                let gone = (node + 1) % self.nodes.len();
                self.tally.removed += 1;
                self.nodes[gone].removed = true;
                let id = self.nodes[gone].id;
                self.claim(node, Claim::new(Subject::Removed(id), 1, self.nodes[node].id, Body::empty()));
            }
            _ => {
                let number = self.number;
                let text = format!("token{number:020}");
                let answer = format!("{text}.thumbprint");
                let (name, remaining) = ("n.example".to_owned(), Duration::from_secs(600));
                let token = Token { look: Look::Http01, token: text.clone(), name, answer, remaining };
                self.tell(node, Event::OpenToken(token));
                self.expect(News { from: node, said: self.now, mark: None, token: Some(text) });
            }
        }
    }

    fn new_generation(&mut self, node: usize, cert: usize) {
        let subject = Subject::Bundle(self.certs[cert].clone());
        let Some(sync) = &self.nodes[node].sync else { return };
        let next = sync.state().next_epoch(&subject.key());
        let epoch = match self.bug {
            Some(Bug::NumberedByTheClock) => {
                u64::try_from((self.now + self.nodes[node].skew) / 1_000 - 1_799_000_000).unwrap_or(1).max(1)
            }
            _ => next,
        };
        let body = Body::copy(&self.number.to_be_bytes());
        self.claim(node, Claim::new(subject, epoch, self.nodes[node].id, body));
    }

    /// A generation is revoked or its key known to others: it must never be shown again.
    fn end_generation(&mut self, node: usize, cert: usize) {
        let subject = Subject::Bundle(self.certs[cert].clone());
        let Some(sync) = &self.nodes[node].sync else { return };
        let Some(epoch) = sync.state().epoch(&subject.key()).filter(|_| sync.state().ended(&subject).is_none()) else {
            return;
        };
        self.tally.ended += 1;
        self.claim(node, Claim::tombstone(subject, epoch, self.nodes[node].id, "revoked"));
    }

    fn claim(&mut self, node: usize, claim: Claim) {
        let news = News { from: node, said: self.now, mark: Some(claim.mark()), token: None };
        let mark = claim.mark();
        self.tell(node, Event::Claim(Arc::new(claim)));
        if self.nodes[node].sync.as_ref().is_some_and(|sync| !sync.state().knows(&mark)) {
            return self.breaks("what a node says is known to itself", format!("{mark:?}"));
        }
        self.expect(news);
    }

    fn expect(&mut self, news: News) {
        self.number += 1;
        let number = self.number;
        self.news.insert(number, news);
        self.push(self.now + 10_000, What::Check(number));
        self.push(self.now + 60_000, What::Check(number));
    }

    /// The storm is over: every node runs, every link can stand.
    fn calm(&mut self) {
        self.cuts.clear();
        self.disturbed = self.disturbed.max(self.now);
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        // Starting and finding each other take some seconds of their own.
        self.push(self.now + 65_000, What::Agree);
    }
}
