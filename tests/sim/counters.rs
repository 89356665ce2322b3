//! What was met? Faults by the stage they met a certificate in, crashes by the point they struck at, and how much was
//! played; so that a rule which was never put to the test is seen.

use crate::fault::Fault;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a certificate stands when something happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Absent,
    ServingValid,
    ServingExpired,
    OrderingFirst,
    OrderingRenewal,
    OrderingLate,
}

use Standing::*;

/// While an order runs: the first, a renewal in time, one that comes too late.
pub const ORDERING: &[&[Standing]] = &[&[OrderingFirst], &[OrderingRenewal], &[OrderingLate]];
/// While one is held and no order runs.
pub const SERVING: &[&[Standing]] = &[&[ServingValid, ServingExpired]];
/// The three stages.
pub const STAGES: &[&[Standing]] =
    &[&[Absent], &[ServingValid, ServingExpired], &[OrderingFirst, OrderingRenewal, OrderingLate]];

/// Between which two deeds a crash struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    Anywhere,
    BeforeLedger,
    BeforeJournal,
    AfterJournal,
    AfterEffect,
    AfterAccount,
    AfterOrderRecord,
    AfterNewOrder,
    AfterOrderUrl,
    BeforeFinalize,
    AfterFinalize,
    AfterFetch,
    BeforeStore,
    AfterStore,
    AfterPublish,
    AfterForget,
    AfterFarewell,
}

/// Every one of them.
pub const POINTS: &[Point] = &[
    Point::Anywhere,
    Point::BeforeLedger,
    Point::BeforeJournal,
    Point::AfterJournal,
    Point::AfterEffect,
    Point::AfterAccount,
    Point::AfterOrderRecord,
    Point::AfterNewOrder,
    Point::AfterOrderUrl,
    Point::BeforeFinalize,
    Point::AfterFinalize,
    Point::AfterFetch,
    Point::BeforeStore,
    Point::AfterStore,
    Point::AfterPublish,
    Point::AfterForget,
    Point::AfterFarewell,
];

/// What was met in one run, or in many.
#[derive(Debug, Default)]
pub struct Counters {
    pub runs: u64,
    pub events: u64,
    pub issued: u64,
    pub orders: u64,
    pub requests: u64,
    /// What people were told.
    pub notices: u64,
    /// Certificates that expired while they were served.
    pub expired: u64,
    /// Virtual time, by node.
    pub played: Duration,
    pub met: BTreeMap<(Fault, Standing), u64>,
    pub crashes: BTreeMap<Point, u64>,
}

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        self.runs += other.runs;
        self.events += other.events;
        self.issued += other.issued;
        self.orders += other.orders;
        self.requests += other.requests;
        self.notices += other.notices;
        self.expired += other.expired;
        self.played += other.played;
        for (key, times) in &other.met {
            *self.met.entry(*key).or_default() += times;
        }
        for (point, times) in &other.crashes {
            *self.crashes.entry(*point).or_default() += times;
        }
    }

    pub fn node_days(&self) -> f64 {
        self.played.as_secs_f64() / 86_400.0
    }

    /// What of `faults` was never met in one of `stages`.
    pub fn missing(
        &self,
        faults: &[Fault],
        stages: &'static [&'static [Standing]],
    ) -> Vec<(Fault, &'static [Standing])> {
        let all = faults.iter().flat_map(|fault| stages.iter().map(move |stage| (*fault, *stage)));
        all.filter(|(fault, stage)| !stage.iter().any(|standing| self.met.contains_key(&(*fault, *standing)))).collect()
    }
}
