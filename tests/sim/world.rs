//! What happens next? One queue of moments in true time; one seed decides the weather; every moment is followed by the
//! rules. A run ends well, or with the rule that was broken.

use crate::authority::{Ca, Name};
use crate::books::NAMES_PER_DOMAIN;
use crate::counters::{Counters, Point, Standing};
use crate::dice::Dice;
use crate::edge::Dead;
use crate::fault::Fault;
use crate::node::{Keeping, Node, Role};
use crate::planted::Bug;
use crate::rules::Broken;
use crate::scenario::Scenario;
use crate::watch::Watch;
use crate::ways::Ways;
use semper::cert::quorum::Quorum;
use semper::cert::stage::{Event, Stage};
use semper::clock::UnixTime;
use semper::plan::certificate::{CertSpec, KeyKind};
use semper::words::{Identifier, Place};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

/// One certificate on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub node: usize,
    pub cert: usize,
}

/// What a moment brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Wake(At),
    Work(At, u64),
    /// The life of the node that asked, the epoch it asked about, the authority.
    Ari(At, u32, u64, usize),
    /// The life of the node that asked.
    Looked(At, u32),
    /// The life of the node, the name that has its own now.
    Passed(At, u32, Name),
    /// What was revoked: by whom, its serial.
    Revoked(At, usize, u64),
    Expiry(At),
    Overdue(usize),
    ClockLook(usize),
    Recovered(At),
    First(At),
    Start(usize),
    CaFault(usize),
    AriFault(usize),
    WayFault,
    DiskFault(usize),
    DiskMended(usize),
    ClockFault(usize),
    ClockMended(usize),
    People(usize),
    Sudden(At),
    CrashAnywhere(usize),
    Calm,
}

/// The world of one run.
pub struct World {
    pub now: UnixTime,
    pub began: UnixTime,
    pub calm_from: UnixTime,
    pub dice: Dice,
    queue: BinaryHeap<Reverse<(i64, u64, What)>>,
    /// Counts everything that is put in the queue.
    pub number: u64,
    pub cas: Vec<Ca>,
    pub nodes: Vec<Node>,
    pub names: Vec<Identifier>,
    pub ways: Ways,
    pub scenario: Scenario,
    pub counters: Counters,
    pub bug: Option<Bug>,
    /// Orders of the minute that began then.
    pub minute: (UnixTime, u32),
    pub broken: Option<Broken>,
    /// Writes down what happens.
    pub tracing: bool,
    pub story: Vec<String>,
}

impl World {
    pub fn new(seed: u64, scenario: &Scenario, bug: Option<Bug>) -> World {
        let mut dice = Dice::new(seed);
        let began = UnixTime::from_seconds(1_800_000_000);
        let cas: Vec<Ca> = scenario
            .signers
            .iter()
            .enumerate()
            .map(|(place, signer)| {
                let mut ca = Ca::new(place, Scenario::life(signer, &mut dice), signer.limits.clone());
                if signer.internal {
                    ca.url = "internal".into();
                }
                ca
            })
            .collect();
        let mut names: Vec<Identifier> = Vec::new();
        let mut sets: Vec<Arc<[Name]>> = Vec::new();
        for _ in 0..scenario.certificates {
            let count = 1 + dice.below(scenario.names);
            let first = names.len() as Name;
            for name in first..first + count as Name {
                let text = format!("n{name}.d{}.example", name / NAMES_PER_DOMAIN);
                names.push(text.parse().unwrap());
            }
            sets.push((first..first + count as Name).collect());
        }
        let mut world = World {
            now: began,
            began,
            calm_from: began + scenario.stormy,
            dice,
            queue: BinaryHeap::new(),
            number: 0,
            cas,
            nodes: Vec::new(),
            names,
            ways: Ways::default(),
            scenario: scenario.clone(),
            counters: Counters::default(),
            bug,
            minute: (began, 0),
            broken: None,
            tracing: false,
            story: Vec::new(),
        };
        for _ in 0..scenario.nodes {
            let all: Vec<usize> = (0..world.cas.len()).collect();
            let keeping = sets.iter().map(|set| world.keeping(set, all.clone(), Role::Own)).collect();
            let mut node = Node::new(keeping, world.cas.len());
            // With an odd seed a storm finds nodes that judge the time themselves.
            let witnesses = scenario.signers.iter().any(|signer| !signer.internal);
            node.quorum = (scenario.judged || (witnesses && seed % 2 == 1)).then(Quorum::default);
            node.judge(began);
            world.nodes.push(node);
        }
        world
    }

    pub fn keeping(&mut self, set: &Arc<[Name]>, issuers: Vec<usize>, role: Role) -> Keeping {
        let identifiers = set.iter().map(|name| self.names[*name as usize].clone()).collect();
        let spec = CertSpec::new("ca0", identifiers, KeyKind::EcdsaP256, Place::built_in());
        let policy = self.policy(&issuers, &spec.identifiers);
        Keeping {
            role,
            spec: Arc::new(spec),
            names: set.clone(),
            wanted: role == Role::Own && self.dice.chance(self.scenario.wanted),
            policy,
            issuers,
            stage: Stage::new(),
            journaled: false,
            served: None,
            published: None,
            served_apart: Vec::new(),
            look_again: self.now,
            unstored: None,
            work: None,
            looking: Vec::new(),
            alarm: (self.now, 0),
            watch: Watch::default(),
        }
    }

    pub fn push(&mut self, at: UnixTime, what: What) -> u64 {
        self.number += 1;
        self.queue.push(Reverse((at.0.max(self.now.0), self.number, what)));
        self.number
    }

    /// Plays the scenario to its end, or to the first rule that is broken.
    pub fn run(&mut self) {
        self.begin();
        let end = self.calm_from + self.scenario.quiet;
        while let Some(Reverse((at, number, what))) = self.queue.pop() {
            if at > end.0 {
                break;
            }
            self.now = UnixTime(at);
            self.counters.events += 1;
            // A process that died on the way is started again later; nothing else follows from it.
            let (Ok(()) | Err(Dead)) = self.happens(number, what);
            if self.broken.is_some() {
                break;
            }
        }
        if self.broken.is_none() {
            self.now = end;
            self.at_the_end();
        }
        self.counters.runs = 1;
        self.counters.requests = self.cas.iter().map(|ca| ca.requests).sum();
        self.counters.played = self.now.since(self.began) * u32::try_from(self.nodes.len()).unwrap_or(1);
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.push(self.now, What::Start(node));
            self.push(self.now + self.overdue_every(), What::Overdue(node));
            self.next(self.scenario.disk.every, What::DiskFault(node));
            self.next(self.scenario.clock.every, What::ClockFault(node));
            self.next(self.scenario.people.every, What::People(node));
            self.next(self.scenario.crash_every, What::CrashAnywhere(node));
        }
        for ca in 0..self.cas.len() {
            self.next(self.scenario.signers[ca].weather.every, What::CaFault(ca));
            self.next(self.scenario.signers[ca].ari.every, What::AriFault(ca));
        }
        self.next(self.scenario.ways.every, What::WayFault);
        if let Some(by) = self.scenario.first_by {
            for at in self.everywhere() {
                self.push(self.began + by, What::First(at));
            }
        }
        self.push(self.calm_from, What::Calm);
    }

    /// Every certificate on every node.
    pub fn everywhere(&self) -> Vec<At> {
        let all = self.nodes.iter().enumerate();
        all.flat_map(|(node, of)| (0..of.keeping.len()).map(move |cert| At { node, cert })).collect()
    }

    /// The next of a kind of faults, `mean` from now on average; none after the storm.
    pub fn next(&mut self, mean: Duration, what: What) {
        if mean > Duration::ZERO {
            let at = self.now + self.dice.gap(mean);
            if at < self.calm_from {
                self.push(at, what);
            }
        }
    }

    // Longer than sixty lines: everything that can happen has its arm here.
    fn happens(&mut self, number: u64, what: What) -> Result<(), Dead> {
        for node in &mut self.nodes {
            node.judge(self.now);
        }
        match what {
            What::Wake(at) => {
                let node = &self.nodes[at.node];
                if node.up && node.keeping[at.cert].alarm.1 == number && self.is_kept(at) {
                    self.nodes[at.node].keeping[at.cert].alarm.1 = 0;
                    return self.word(at, Event::Tick);
                }
                Ok(())
            }
            What::Work(at, token) if self.nodes[at.node].up => self.work(at, token),
            What::Ari(at, life, epoch, ca) if self.nodes[at.node].up && self.nodes[at.node].life == life => {
                if self.is_kept(at) { self.answered_about_renewal(at, epoch, ca) } else { Ok(()) }
            }
            What::Looked(at, life) if self.nodes[at.node].up && self.nodes[at.node].life == life => {
                if self.is_kept(at) { self.looked(at) } else { Ok(()) }
            }
            What::Passed(at, life, name) if self.nodes[at.node].up && self.nodes[at.node].life == life => {
                let name = self.names[name as usize].clone();
                if self.is_kept(at) { self.word(at, Event::Passed(name)) } else { Ok(()) }
            }
            What::Work(..) | What::Ari(..) | What::Looked(..) | What::Passed(..) => Ok(()),
            What::Revoked(at, ca, serial) => self.revoked(at, ca, serial),
            What::Overdue(node) => {
                self.look_for_overdue(node);
                self.push(self.now + self.overdue_every(), What::Overdue(node));
                Ok(())
            }
            What::ClockLook(node) => {
                if self.nodes[node].clock_look == number {
                    self.look_at_clock(node);
                }
                Ok(())
            }
            What::Expiry(at) => {
                self.may_have_expired(at);
                Ok(())
            }
            What::Recovered(at) => {
                self.is_valid(at, "every name is valid an hour after the storm");
                Ok(())
            }
            What::First(at) => {
                self.is_valid(at, "first certificates come in time");
                Ok(())
            }
            What::Start(node) => {
                if !self.nodes[node].up {
                    self.start(node);
                }
                Ok(())
            }
            weather => self.weather(weather),
        }
    }

    /// A certificate of the configuration, or of an old one if that is what is planted.
    fn is_kept(&self, at: At) -> bool {
        self.nodes[at.node].keeping[at.cert].wanted || self.bug == Some(Bug::KeepsOldNames)
    }

    /// Whether the process ends here.
    pub fn crash(&mut self, at: At, point: Point) -> Result<(), Dead> {
        if self.scenario.crash == 0.0 || self.now >= self.calm_from || !self.dice.chance(self.scenario.crash) {
            return Ok(());
        }
        *self.counters.crashes.entry(point).or_default() += 1;
        self.kill(at.node);
        Err(Dead)
    }

    /// The process ends; now and then the power fails too.
    pub fn kill(&mut self, node: usize) {
        let power = self.dice.chance(0.3);
        let fault = if power { Fault::PowerLoss } else { Fault::Crash };
        for cert in 0..self.nodes[node].keeping.len() {
            if self.nodes[node].keeping[cert].wanted {
                self.met(fault, At { node, cert });
            }
        }
        if self.tracing {
            self.trace(At { node, cert: 0 }, &format!("{fault:?}"));
        }
        self.died(node);
        let of = &mut self.nodes[node];
        of.up = false;
        of.life += 1;
        for keeping in &mut of.keeping {
            keeping.work = None;
        }
        if power {
            of.folders.iter_mut().for_each(crate::disk::Folder::lose_power);
            of.books.lose_power();
        }
        let longest = (self.scenario.stormy / 500).min(Duration::from_secs(600));
        let pause = self.dice.between(Duration::from_millis(100), longest);
        self.push(self.now + pause, What::Start(node));
    }

    /// Notes that a fault met a certificate.
    pub fn met(&mut self, fault: Fault, at: At) {
        let standing = self.standing(at);
        *self.counters.met.entry((fault, standing)).or_default() += 1;
        if self.tracing {
            self.trace(at, &format!("met {fault:?}"));
        }
    }

    pub fn standing(&self, at: At) -> Standing {
        let stage = &self.nodes[at.node].keeping[at.cert].stage;
        let valid = stage.held().is_some_and(|held| self.now < held.not_after);
        match stage {
            Stage::Absent { .. } => Standing::Absent,
            Stage::Serving { .. } if valid => Standing::ServingValid,
            Stage::Serving { .. } => Standing::ServingExpired,
            Stage::Ordering { held: None, .. } => Standing::OrderingFirst,
            Stage::Ordering { .. } if valid => Standing::OrderingRenewal,
            Stage::Ordering { .. } => Standing::OrderingLate,
        }
    }

    pub fn trace(&mut self, at: At, text: &str) {
        let line = format!("{} node {} cert {}: {text}", self.now, at.node, at.cert);
        if self.story.len() > 100_000 {
            self.story.drain(..50_000);
        }
        self.story.push(line);
    }
}
