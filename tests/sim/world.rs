//! What happens next? A queue of events in virtual time; faults by dice; the rules after every event.

use crate::authority::{Authority, FAULTS, Fault, Outcome};
use crate::node::Certificate;
use semper::cert::ari::RenewalInfo;
use semper::cert::failure::Failure;
use semper::cert::ledger::Ledger;
use semper::cert::stage::{Attempt, Effect, Event, Held, Policy, Stage, Way};
use semper::clock::UnixTime;
use semper::plan::acme::ChallengeKind;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// What is played.
#[derive(Clone)]
pub struct Scenario {
    pub name: &'static str,
    /// How long certificates live, in seconds.
    pub lifetime: i64,
    /// How many there are.
    pub certificates: usize,
    /// How many authorities each may use.
    pub authorities: usize,
    /// Days with faults; as many quiet ones follow.
    pub days: u64,
    /// Mean hours between two faults of an authority; 0: none.
    pub fault_every: f64,
    /// Longest fault in hours.
    pub fault_for: f64,
    /// Kinds of faults.
    pub faults: &'static [Fault],
    /// Chance of a crash at each effect.
    pub crash: f64,
    /// The second authority never fails.
    pub second_is_well: bool,
    /// No name may expire at any time.
    pub nothing_expires: bool,
}

impl Scenario {
    /// Everything at once.
    pub fn storm() -> Scenario {
        Scenario {
            name: "storm",
            lifetime: 90 * 86_400,
            certificates: 16,
            authorities: 2,
            days: 300,
            fault_every: 60.0,
            fault_for: 90.0,
            faults: &FAULTS,
            crash: 0.02,
            second_is_well: false,
            nothing_expires: false,
        }
    }

    /// One authority that is away for up to 25 of the 30 days that are left when a renewal is due.
    pub fn outage() -> Scenario {
        Scenario {
            authorities: 1,
            fault_every: 60.0 * 24.0,
            fault_for: 25.0 * 24.0,
            faults: &[Fault::Down, Fault::Stuck, Fault::Limited, Fault::CannotSee],
            crash: 0.01,
            nothing_expires: true,
            ..Scenario::storm()
        }
    }

    /// The first authority is nearly always broken, the second is well.
    pub fn second_authority() -> Scenario {
        Scenario {
            fault_every: 10.0,
            fault_for: 2000.0,
            second_is_well: true,
            nothing_expires: true,
            ..Scenario::storm()
        }
    }
}

/// What was met.
#[derive(Debug, Default)]
pub struct Counters {
    pub events: u64,
    pub issued: u64,
    pub crashes: u64,
    pub abandoned: u64,
    pub faults: BTreeMap<Fault, u64>,
}

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        self.events += other.events;
        self.issued += other.issued;
        self.crashes += other.crashes;
        self.abandoned += other.abandoned;
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
    }

    pub fn assert_every_fault_was_met(&self) {
        for fault in FAULTS {
            assert!(self.faults.contains_key(&fault), "{fault:?} was never met");
        }
        assert!(self.crashes > 0 && self.abandoned > 0);
    }
}

enum What {
    Tick,
    Answer(Box<(Event, Option<Held>)>),
    Restart,
    NewFault(usize),
}

pub struct World {
    now: UnixTime,
    seed: u64,
    scenario: Scenario,
    queue: BinaryHeap<Reverse<(UnixTime, u64, usize)>>,
    whats: BTreeMap<u64, (What, u32)>,
    number: u64,
    certificates: Vec<Certificate>,
    /// On disk, with every step.
    ledger: Ledger,
    authorities: Vec<Authority>,
    calm_from: UnixTime,
    counters: Counters,
}

impl World {
    pub fn new(seed: u64, scenario: &Scenario) -> World {
        let authorities: Vec<_> =
            (0..scenario.authorities).map(|n| Authority::new(&format!("https://ca{n}/"))).collect();
        let ways = authorities.iter().enumerate().flat_map(|(n, authority)| {
            [ChallengeKind::Http01, ChallengeKind::TlsAlpn01].map(|kind| Way {
                issuer: format!("ca{n}"),
                authority: authority.url.clone(),
                challenge: Some(kind),
            })
        });
        let policy = Policy::new(vec![], ways.collect::<Vec<_>>());
        let named = |n: usize| policy.for_names(vec![format!("name{n}.site{n}.example").parse().unwrap()]);
        let certificates = (0..scenario.certificates).map(|n| Certificate::new(n, named(n))).collect();
        let start = UnixTime::from_seconds(1_800_000_000);
        World {
            now: start,
            seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            queue: BinaryHeap::new(),
            whats: BTreeMap::new(),
            number: 0,
            certificates,
            ledger: Ledger::default(),
            authorities,
            calm_from: start + DAY * u32::try_from(scenario.days).unwrap(),
            counters: Counters::default(),
            scenario: scenario.clone(),
        }
    }

    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }

    fn within(&mut self, longest: Duration) -> Duration {
        let draw = self.draw();
        longest.mul_f64(draw)
    }

    fn push(&mut self, at: UnixTime, who: usize, what: What) {
        self.number += 1;
        let life = self.certificates.get(who).map_or(0, |c| c.life);
        self.whats.insert(self.number, (what, life));
        self.queue.push(Reverse((at, self.number, who)));
    }

    /// Plays the scenario to its end.
    pub fn run(mut self) -> Counters {
        for who in 0..self.certificates.len() {
            self.push(self.now, who, What::Restart);
        }
        for authority in 0..self.authorities.len() {
            self.next_fault(authority);
        }
        let end = self.calm_from + DAY * u32::try_from(self.scenario.days.max(10)).unwrap();
        while let Some(Reverse((at, number, who))) = self.queue.pop() {
            if at > end {
                break;
            }
            assert!(at >= self.now, "time runs backwards");
            let (what, life) = self.whats.remove(&number).unwrap();
            self.now = at;
            self.counters.events += 1;
            assert!(self.counters.events < 300_000, "hot loop");
            match what {
                What::NewFault(authority) => self.strike(authority),
                _ if self.certificates[who].life != life => {}
                What::Restart => self.restart(who),
                What::Tick if self.certificates[who].alarm != number => {}
                What::Tick => self.step(who, Event::Tick),
                What::Answer(answer) => self.answered(who, answer.0, answer.1),
            }
        }
        let late = self.calm_from + Duration::from_secs(7 * 86_400);
        self.now = end.max(late);
        for certificate in &self.certificates {
            let held = certificate.newest().expect("every name has a certificate after the faults have stopped");
            assert!(held.not_after > end, "name set {} is not in force at the end", certificate.names);
        }
        self.counters
    }

    fn next_fault(&mut self, authority: usize) {
        let every = self.scenario.fault_every;
        if every <= 0.0 || (authority == 1 && self.scenario.second_is_well) {
            return;
        }
        let hours = -self.draw().max(1e-9).ln() * every;
        let at = self.now + Duration::from_secs_f64(hours * 3600.0);
        if at < self.calm_from {
            self.push(at, usize::MAX, What::NewFault(authority));
        }
    }

    fn strike(&mut self, authority: usize) {
        let kinds = self.scenario.faults;
        let kind = kinds[(self.draw() * kinds.len() as f64) as usize % kinds.len()];
        let length = self.draw() * self.scenario.fault_for;
        let until = (self.now + Duration::from_secs_f64(length * 3600.0)).min(self.calm_from);
        // An outage scenario means one cause at a time: the next one begins when this has passed.
        if self.scenario.authorities > 1 || self.authorities[authority].faults.iter().all(|(_, u)| *u <= self.now) {
            let rest = until + Duration::from_secs(2 * 86_400);
            self.authorities[authority].faults.push((kind, until));
            if self.scenario.authorities == 1 {
                if rest < self.calm_from {
                    self.push(rest, usize::MAX, What::NewFault(authority));
                }
                return;
            }
        }
        self.next_fault(authority);
    }

    fn restart(&mut self, who: usize) {
        let certificate = &mut self.certificates[who];
        certificate.stage = serde_json::from_str(&certificate.journal).unwrap();
        let newest = certificate.newest().cloned();
        self.step(who, Event::Started(newest));
    }

    fn crashes(&mut self, who: usize) -> bool {
        let chance = if self.now < self.calm_from { self.scenario.crash } else { 0.0 };
        if self.draw() >= chance {
            return false;
        }
        self.counters.crashes += 1;
        self.certificates[who].life += 1;
        let pause = self.within(Duration::from_secs(600));
        self.push(self.now + pause, who, What::Restart);
        true
    }

    fn step(&mut self, who: usize, event: Event) {
        let draw = self.draw();
        let certificate = &mut self.certificates[who];
        let before = certificate.stage.held().map(|held| held.epoch);
        let stage = std::mem::take(&mut certificate.stage);
        let (stage, effects) = stage.step(self.now, event, &certificate.policy, &mut self.ledger, draw);
        certificate.stage = stage;
        self.check(who, before);
        if self.crashes(who) {
            return; // decided, but not journaled
        }
        let certificate = &mut self.certificates[who];
        certificate.journal = serde_json::to_string(&certificate.stage).unwrap();
        let wakes_at = certificate.stage.wakes_at().max(self.now);
        self.push(wakes_at, who, What::Tick);
        self.certificates[who].alarm = self.number; // an earlier alarm is void
        for effect in effects {
            if self.crashes(who) {
                return; // journaled, but not done
            }
            self.perform(who, effect);
        }
    }

    fn perform(&mut self, who: usize, effect: Effect) {
        match effect {
            Effect::PlaceOrder(attempt) => self.order(who, &attempt),
            Effect::AbandonOrder => {
                self.counters.abandoned += 1;
                self.certificates[who].order = None;
            }
            Effect::AskRenewalInfo { epoch, .. } => {
                let pause = self.within(Duration::from_secs(5));
                let answers = self.draw() < 0.7;
                let event = match self.certificates[who].newest().filter(|_| answers) {
                    Some(held) => Event::RenewalInfo(epoch, window(held)),
                    None => Event::NoRenewalInfo(epoch),
                };
                self.push(self.now + pause, who, What::Answer(Box::new((event, None))));
            }
            Effect::Look(_) | Effect::Tell(_) => {}
        }
    }

    fn order(&mut self, who: usize, attempt: &Attempt) {
        let names = self.certificates[who].names;
        let place = self.authorities.iter().position(|a| a.url == attempt.way.authority).unwrap();
        let resumed = self.certificates[who].order;
        let pause = self.within(Duration::from_secs(30));
        let outcome = match resumed {
            // Issued just before a crash: fetched, not ordered again.
            Some((number, true)) if number == attempt.number => Outcome::Issued,
            // Likewise one that is no good: it comes again.
            Some((number, false)) if number == attempt.number => {
                Outcome::Failed(Failure::BadCertificate { detail: "simulated".into() })
            }
            _ => {
                self.authorities[place].orders.push_back(self.now);
                let faults = &mut self.counters.faults;
                let mut met = |fault| *faults.entry(fault).or_default() += 1;
                let replaces = attempt.replaces.is_some();
                self.authorities[place].answer(self.now, names, attempt.way.challenge, replaces, &mut met)
            }
        };
        let now = self.now;
        self.authorities[place].check(now, names);
        match outcome {
            Outcome::Silence => {}
            Outcome::Failed(failure) => {
                if matches!(failure, Failure::BadCertificate { .. }) {
                    self.certificates[who].order = Some((attempt.number, false));
                }
                self.push(
                    self.now + pause,
                    who,
                    What::Answer(Box::new((Event::Failed(attempt.number, failure), None))),
                );
            }
            Outcome::Issued => {
                self.certificates[who].order = Some((attempt.number, true));
                let epoch = self.certificates[who].newest().map_or(1, |held| held.epoch + 1);
                let start = self.now - Duration::from_secs(3600.min(self.scenario.lifetime as u64 / 10));
                let held = Held {
                    epoch,
                    not_before: start,
                    not_after: start + Duration::from_secs(self.scenario.lifetime as u64),
                    authority: attempt.way.authority.clone(),
                    ari_id: Some(format!("aki.{names}.{epoch}")),
                    choice: None,
                    obtained_at: self.now,
                    without: attempt.leave_out.clone(),
                    disowned: false,
                    doubtful: false,
                    explanation: None,
                };
                self.push(self.now + pause, who, What::Answer(Box::new((Event::Issued(held.clone()), Some(held)))));
            }
        }
    }

    fn answered(&mut self, who: usize, event: Event, held: Option<Held>) {
        if let Some(held) = held {
            let certificate = &mut self.certificates[who];
            if certificate.newest().is_none_or(|newest| newest.epoch < held.epoch) {
                certificate.store.push(held);
                certificate.order = None;
                self.counters.issued += 1;
            }
            if self.crashes(who) {
                return; // stored, but the decision did not hear of it
            }
        }
        self.step(who, event);
    }

    /// The safety rules.
    fn check(&mut self, who: usize, before: Option<u64>) {
        let certificate = &self.certificates[who];
        let now = self.now;
        let after = certificate.stage.held().map(|held| held.epoch);
        assert!(after >= before, "a generation went back: {before:?} to {after:?}");
        if let Some(newest) = certificate.newest() {
            assert!(certificate.stage.held().is_some(), "the last good bundle was forgotten");
            let served = certificate.stage.held().unwrap();
            let expired_needlessly = served.not_after <= now && newest.not_after > now;
            let settled = !matches!(certificate.stage, Stage::Ordering { .. });
            assert!(!(expired_needlessly && settled), "an expired one is served while a valid one is held");
            if self.scenario.nothing_expires {
                assert!(newest.not_after > now, "name set {} expired", certificate.names);
            }
        }
        if let Stage::Ordering { attempt, .. } = &certificate.stage {
            assert!(attempt.give_up_at.since(now) <= Duration::from_secs(7200), "an order without a near deadline");
        }
        let longest = DAY * 61 + Duration::from_secs(3600);
        let sleeps = certificate.stage.wakes_at().since(now);
        assert!(sleeps <= longest, "sleeps for {sleeps:?}");
    }
}

/// Boulder's window: two thirds of the life, give or take one percent; half for short lives.
fn window(held: &Held) -> RenewalInfo {
    let life = held.lifetime();
    let centre = held.not_before + if life < DAY * 10 { life / 2 } else { life * 2 / 3 };
    RenewalInfo {
        start: centre - life / 100,
        end: centre + life / 100,
        explanation: None,
        ask_again: Duration::from_secs(21_600),
    }
}
