//! What does an authority count? Let's Encrypt's limits of 2026, enforced with 429 as it does; the rules of the simulator
//! ask the same books whether a client ever came near.

use crate::authority::Name;
use semper::cert::failure::Failure;
use semper::clock::UnixTime;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// How much a client may do.
#[derive(Clone, Debug)]
pub struct Limits {
    pub orders_in_three_hours: usize,
    pub per_domain_and_week: usize,
    pub per_set_and_week: usize,
    pub failed_per_hour: usize,
    pub failed_in_a_row: u32,
}

impl Limits {
    /// Let's Encrypt, 2026-08.
    pub fn lets_encrypt() -> Limits {
        Limits {
            orders_in_three_hours: 300,
            per_domain_and_week: 50,
            per_set_and_week: 5,
            failed_per_hour: 5,
            failed_in_a_row: 1152,
        }
    }
}

/// So many names share a registered domain.
pub const NAMES_PER_DOMAIN: u32 = 20;

/// Everything that is counted.
#[derive(Default)]
pub struct Books {
    orders: VecDeque<UnixTime>,
    domains: BTreeMap<u32, VecDeque<UnixTime>>,
    sets: BTreeMap<Arc<[Name]>, VecDeque<UnixTime>>,
    failed: BTreeMap<Name, VecDeque<UnixTime>>,
    row: BTreeMap<Name, u32>,
    paused: BTreeSet<Name>,
    /// Answers of 429 given for our own limits.
    pub refused: u64,
    /// Everything issued, ever.
    pub all: u64,
}

fn within(list: Option<&mut VecDeque<UnixTime>>, now: UnixTime, span: Duration) -> (usize, UnixTime) {
    let Some(list) = list else { return (0, now) };
    while list.front().is_some_and(|at| now.since(*at) >= span) {
        list.pop_front();
    }
    (list.len(), list.front().map_or(now, |at| *at + span))
}

impl Books {
    /// Whether an order is within the limits.
    pub fn may_order(
        &mut self,
        limits: &Limits,
        names: &Arc<[Name]>,
        replaces: bool,
        now: UnixTime,
    ) -> Result<(), Failure> {
        let mut refuse = |until: UnixTime, what: &str| {
            self.refused += 1;
            Err(Failure::Limited { until: Some(until), detail: format!("{what}, retry after {until}") })
        };
        if names.iter().any(|name| self.paused.contains(name)) {
            return refuse(now + WEEK * 52, "paused, see https://ca.example/unpause");
        }
        let (orders, free) = within(Some(&mut self.orders), now, HOUR * 3);
        if orders >= limits.orders_in_three_hours && !replaces {
            return refuse(free, "too many new orders");
        }
        let (issued, free) = within(self.sets.get_mut(names), now, WEEK);
        if issued >= limits.per_set_and_week {
            return refuse(free, "too many certificates for this exact set of identifiers");
        }
        let known = self.sets.contains_key(names);
        for name in names.iter() {
            let (failed, free) = within(self.failed.get_mut(name), now, HOUR);
            if failed >= limits.failed_per_hour {
                return refuse(free, "too many failed authorizations");
            }
            let (issued, free) = within(self.domains.get_mut(&(name / NAMES_PER_DOMAIN)), now, WEEK);
            if issued >= limits.per_domain_and_week && !known {
                return refuse(free, "too many certificates for this registered domain");
            }
        }
        Ok(())
    }

    pub fn ordered(&mut self, now: UnixTime) {
        within(Some(&mut self.orders), now, HOUR * 3);
        self.orders.push_back(now);
    }

    pub fn issued(&mut self, names: &Arc<[Name]>, now: UnixTime) {
        self.all += 1;
        self.sets.entry(names.clone()).or_default().push_back(now);
        let mut domains: Vec<_> = names.iter().map(|name| name / NAMES_PER_DOMAIN).collect();
        domains.dedup();
        for domain in domains {
            let list = self.domains.entry(domain).or_default();
            within(Some(list), now, WEEK);
            list.push_back(now);
        }
    }

    pub fn passed(&mut self, name: Name) {
        self.row.remove(&name);
    }

    pub fn failed(&mut self, limits: Option<&Limits>, name: Name, now: UnixTime) {
        self.failed.entry(name).or_default().push_back(now);
        let row = self.row.entry(name).or_default();
        *row += 1;
        if limits.is_some_and(|limits| *row >= limits.failed_in_a_row) {
            self.paused.insert(name);
        }
    }

    /// Certificates of the last week, for that set among some or all of `names` of which the most were issued: what was
    /// split off, or moved away, is left out of an order.
    pub fn most_issued(&mut self, names: &[Name], now: UnixTime) -> usize {
        let part = |set: &[Name]| set.iter().all(|name| names.contains(name));
        let sets = self.sets.iter_mut().filter(|(set, _)| part(set));
        sets.map(|(_, list)| within(Some(list), now, WEEK).0).max().unwrap_or(0)
    }

    /// (certificates of this set in the last week, failed validations of any of its names in the last hour, the longest
    /// row of failures among them)
    pub fn of(&mut self, names: &Arc<[Name]>, now: UnixTime) -> (usize, usize, u32) {
        let issued = within(self.sets.get_mut(names), now, WEEK).0;
        let failed = names.iter().map(|n| within(self.failed.get_mut(n), now, HOUR).0).max().unwrap_or(0);
        let row = names.iter().map(|n| self.row.get(n).copied().unwrap_or(0)).max().unwrap_or(0);
        (issued, failed, row)
    }
}
