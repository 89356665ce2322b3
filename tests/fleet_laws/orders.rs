//! How often does a fleet order? Members, reports, duty and sync together, for the first minutes of a new name.

use std::sync::Arc;
use std::time::Duration;

use semper::clock::{Dice, UnixTime};
use semper::fleet::agreed::{UnderWay, elsewhere};
use semper::fleet::duty::{Duty, Question, duty};
use semper::fleet::members::{Sightings, holders, members};
use semper::fleet::serving::{Row, Served, Short, to_body};
use semper::fleet::sync::Event;
use semper::fleet::{Body, Claim, Report, Subject};
use semper::plan::certificate::CertId;

use crate::network::{Network, Weather};

const SECOND: Duration = Duration::from_secs(1);

struct Fleet {
    net: Network,
    cert: CertId,
    /// When each node gets the new configuration.
    pushed: Vec<Option<Duration>>,
    since: Vec<Option<UnixTime>>,
    dead: Vec<bool>,
    /// Orders under way: by whom, until when they end in a bundle.
    under_way: Vec<(usize, Duration)>,
    sightings: Vec<Sightings>,
    orders: Vec<usize>,
    kill_who_orders: bool,
}

impl Fleet {
    fn new(count: usize, seed: u64, weather: Weather) -> Fleet {
        let mut net = Network::usual(count, seed, weather);
        for at in 0..count {
            let report = Report { name: format!("node{at}"), ..Report::default() };
            let claim = Claim::new(Subject::Report(net.ids[at]), 1, net.ids[at], report.to_body());
            net.tell(at, Event::Claim(Arc::new(claim)));
        }
        net.connect_all();
        net.pass(SECOND * 30);
        Fleet {
            net,
            cert: CertId::try_from(format!("new.example~{seed:016x}")).unwrap(),
            pushed: vec![None; count],
            since: vec![None; count],
            dead: vec![false; count],
            under_way: Vec::new(),
            sightings: vec![Sightings::default(); count],
            orders: Vec::new(),
            kill_who_orders: false,
        }
    }

    fn push_at(&mut self, at: usize, after: Duration) {
        self.pushed[at] = Some(self.net.now + after);
    }

    fn kill(&mut self, at: usize) {
        self.dead[at] = true;
        let dead = self.dead.clone();
        self.net.cut = Box::new(move |from, to| dead[from] || dead[to]);
    }

    fn run(&mut self, span: Duration) {
        let end = self.net.now + span;
        while self.net.now < end {
            self.net.pass(SECOND);
            for at in 0..self.dead.len() {
                if !self.dead[at] {
                    self.step(at);
                }
            }
        }
    }

    fn step(&mut self, at: usize) {
        let (me, now) = (self.net.ids[at], self.net.moment());
        if self.since[at].is_none() && self.pushed[at].is_some_and(|when| when <= self.net.now) {
            self.since[at] = Some(now.civil);
            let row = Row { cert: Short::of(&self.cert), shows: [0; 8], until: now.civil };
            let claim = Claim::new(Subject::Serving(me, row.cert.bucket()), 1, me, to_body(&[row]));
            self.net.tell(at, Event::Claim(Arc::new(claim)));
        }
        self.finish(at);
        let Some(since) = self.since[at] else { return };
        let sync = &self.net.nodes[at];
        self.sightings[at].note(sync, now.mono, now.civil);
        if !sync.state().alive(&Subject::Bundle(self.cert.clone())).is_empty() {
            return;
        }
        let mut served = Served::default();
        sync.state().all().for_each(|claim| served.take(claim));
        let all = members(sync, &self.sightings[at], now.mono, now.civil);
        let holders = holders(&all, &served, &self.cert);
        let ordering = elsewhere(sync.state(), &self.cert, me);
        let question = Question { cert: &self.cert, me, holders: &holders, newest: None, since, ordering };
        let busy = self.under_way.iter().any(|(who, _)| *who == at);
        if duty(now.civil, &question) == Duty::Act && !busy {
            self.orders.push(at);
            self.under_way.push((at, self.net.now + SECOND * 20));
            let order = UnderWay { until: now.civil + SECOND * 600, record: Body::empty() };
            let claim = order.claim(&self.cert, sync.state(), me);
            self.net.tell(at, Event::Claim(Arc::new(claim)));
            if self.kill_who_orders {
                self.kill_who_orders = false;
                self.net.pass(SECOND);
                self.kill(at);
            }
        }
    }

    /// Orders that end in a bundle now.
    fn finish(&mut self, at: usize) {
        let now = self.net.now;
        let done = self.under_way.iter().any(|(who, until)| *who == at && *until <= now);
        if done {
            self.under_way.retain(|(who, _)| *who != at);
            let me = self.net.ids[at];
            let claim = Claim::new(Subject::Bundle(self.cert.clone()), 1, me, Body::copy(b"bundle"));
            self.net.tell(at, Event::Claim(Arc::new(claim)));
        }
    }

    fn having(&self) -> usize {
        let subject = Subject::Bundle(self.cert.clone());
        self.net.nodes.iter().filter(|node| !node.state().alive(&subject).is_empty()).count()
    }
}

#[test]
fn a_new_name_pushed_to_twelve_nodes_over_ten_minutes_makes_one_order() {
    for seed in 0..6 {
        let mut fleet = Fleet::new(12, seed, Weather::FOUL);
        for at in 0..12 {
            let after = SECOND * 600 * at as u32 / 11;
            // Evenly, all in the first seconds, or anyhow.
            let after = match seed % 3 {
                0 => after,
                1 => after / 60,
                _ => (SECOND * 600).mul_f64(fleet.net.dice.draw()),
            };
            fleet.push_at((at * 7 + seed as usize) % 12, after);
        }
        fleet.run(SECOND * 660);
        assert_eq!(fleet.orders.len(), 1, "seed {seed}: {:?}", fleet.orders);
        assert_eq!(fleet.having(), 12, "seed {seed}");
    }
}

#[test]
fn with_two_of_four_down_a_new_name_is_ordered_within_minutes() {
    for seed in 0..6 {
        let mut fleet = Fleet::new(4, seed, Weather::FAIR);
        let down = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)][seed as usize];
        for at in 0..4 {
            fleet.push_at(at, Duration::ZERO);
        }
        fleet.run(SECOND * 10);
        fleet.kill(down.0);
        fleet.kill(down.1);
        fleet.run(SECOND * 200);
        assert_eq!((fleet.orders.len(), fleet.having()), (1, 2), "seed {seed}");
    }
}

#[test]
fn when_who_ordered_dies_another_takes_over() {
    for seed in 0..4 {
        let mut fleet = Fleet::new(4, seed, Weather::FAIR);
        fleet.kill_who_orders = true;
        for at in 0..4 {
            fleet.push_at(at, Duration::ZERO);
        }
        fleet.run(SECOND * 240);
        assert_eq!((fleet.orders.len(), fleet.having()), (2, 3), "seed {seed}");
    }
}

#[test]
fn all_nodes_cut_off_from_each_other_place_at_most_three_orders() {
    for (count, seed) in [(3, 1), (5, 2), (12, 3)] {
        let mut fleet = Fleet::new(count, seed, Weather::FAIR);
        // They have heard who has the name before the cut.
        (0..count).for_each(|at| fleet.push_at(at, Duration::ZERO));
        fleet.run(SECOND * 12);
        fleet.net.cut = Box::new(|_, _| true);
        fleet.run(SECOND * 900);
        assert!((1..=3).contains(&fleet.orders.len()), "{count} nodes: {:?}", fleet.orders);
        fleet.net.cut = Box::new(|_, _| false);
        fleet.run(SECOND * 60);
        assert!(fleet.net.agree() && fleet.having() == count);
    }
}
