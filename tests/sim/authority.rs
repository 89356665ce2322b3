//! What does an authority do with an order? Let's Encrypt's limits, and faults that last for a while.

use semper::cert::failure::Failure;
use semper::clock::UnixTime;
use semper::plan::acme::ChallengeKind;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What may be wrong with an authority for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Refuses connections, 5xx.
    Down,
    /// 429 with a Retry-After of an hour.
    Limited,
    /// 429 with a Retry-After of a year.
    LimitedForAYear,
    /// Orders stay pending or processing; no answer ever comes.
    Stuck,
    /// Orders are forgotten: 404, malformed.
    Forgets,
    /// HTML, a wrong key, wrong names, truncated.
    BadCertificate,
    /// Refuses `replaces`.
    RefusesReplaces,
    /// The account is unknown or deactivated.
    Account,
    /// CAA and the like: `rejectedIdentifier`.
    Refuses,
    /// Looks from afar and sees nothing: a validation is spent.
    CannotSee,
    /// Does not offer TLS-ALPN-01.
    OffersOneKind,
}

/// Every one of them.
pub const FAULTS: [Fault; 11] = [
    Fault::Down,
    Fault::Limited,
    Fault::LimitedForAYear,
    Fault::Stuck,
    Fault::Forgets,
    Fault::BadCertificate,
    Fault::RefusesReplaces,
    Fault::Account,
    Fault::Refuses,
    Fault::CannotSee,
    Fault::OffersOneKind,
];

/// What an order leads to.
pub enum Outcome {
    /// A certificate, after a while.
    Issued,
    /// A failure, after a while.
    Failed(Failure),
    /// Nothing, ever.
    Silence,
}

/// One authority.
pub struct Authority {
    /// Its URL.
    pub url: String,
    /// What is wrong until when.
    pub faults: Vec<(Fault, UnixTime)>,
    /// Name set → moments of issue.
    pub issued: BTreeMap<usize, VecDeque<UnixTime>>,
    /// Name set → moments of failed validations.
    pub failed: BTreeMap<usize, VecDeque<UnixTime>>,
    /// Name set → failures in a row.
    pub in_a_row: BTreeMap<usize, u32>,
    /// Orders of the last hour, all names.
    pub orders: VecDeque<UnixTime>,
}

impl Authority {
    pub fn new(url: &str) -> Authority {
        Authority {
            url: url.to_owned(),
            faults: Vec::new(),
            issued: BTreeMap::new(),
            failed: BTreeMap::new(),
            in_a_row: BTreeMap::new(),
            orders: VecDeque::new(),
        }
    }

    /// Answers an order for the name set `names`, and keeps the books.
    pub fn answer(
        &mut self,
        now: UnixTime,
        names: usize,
        challenge: Option<ChallengeKind>,
        replaces: bool,
        met: &mut dyn FnMut(Fault),
    ) -> Outcome {
        self.faults.retain(|(_, until)| now < *until);
        let detail = || "simulated".to_owned();
        let faults: Vec<Fault> = self.faults.iter().map(|(fault, _)| *fault).collect();
        let mut is = |fault| {
            let there = faults.contains(&fault);
            if there {
                met(fault);
            }
            there
        };
        let fail = |failure| Outcome::Failed(failure);
        if is(Fault::Down) {
            return fail(Failure::Unreachable { detail: detail() });
        }
        if is(Fault::LimitedForAYear) {
            return fail(Failure::Limited { until: Some(now + Duration::from_secs(365 * 86_400)), detail: detail() });
        }
        if is(Fault::Limited) {
            return fail(Failure::Limited { until: Some(now + Duration::from_secs(3600)), detail: detail() });
        }
        if is(Fault::Account) {
            return fail(Failure::Account { detail: detail() });
        }
        if replaces && is(Fault::RefusesReplaces) {
            return fail(Failure::ReplacesRefused { detail: detail() });
        }
        if is(Fault::Refuses) {
            return fail(Failure::Refused { names: vec![], detail: detail() });
        }
        if challenge == Some(ChallengeKind::TlsAlpn01) && is(Fault::OffersOneKind) {
            return fail(Failure::NotOffered { kind: ChallengeKind::TlsAlpn01, names: vec![] });
        }
        if is(Fault::Stuck) {
            return Outcome::Silence;
        }
        if is(Fault::Forgets) {
            return fail(Failure::Lost { detail: detail() });
        }
        if let Some(kind) = challenge
            && is(Fault::CannotSee)
        {
            self.failed.entry(names).or_default().push_back(now);
            *self.in_a_row.entry(names).or_default() += 1;
            return fail(Failure::Invalid { kind, names: vec![], detail: detail() });
        }
        self.in_a_row.remove(&names);
        self.issued.entry(names).or_default().push_back(now);
        if is(Fault::BadCertificate) {
            return fail(Failure::BadCertificate { detail: detail() });
        }
        Outcome::Issued
    }

    /// The limits that no client may come near.
    pub fn check(&mut self, now: UnixTime, names: usize) {
        let within = |list: Option<&mut VecDeque<UnixTime>>, span: u64| {
            list.map_or(0, |list| {
                list.retain(|at| now.since(*at) < Duration::from_secs(span));
                list.len()
            })
        };
        let failed = within(self.failed.get_mut(&names), 3600);
        assert!(failed <= 4, "{}: {failed} failed validations of name set {names} within an hour", self.url);
        let issued = within(self.issued.get_mut(&names), 7 * 86_400);
        assert!(issued <= 5, "{}: {issued} certificates for name set {names} within a week", self.url);
        let row = self.in_a_row.get(&names).copied().unwrap_or(0);
        assert!(row < 1152, "{}: {row} consecutive failures of name set {names}", self.url);
        let orders = within(Some(&mut self.orders), 3600);
        assert!(orders < 2000, "{}: {orders} orders within an hour", self.url);
    }
}
