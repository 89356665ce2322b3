//! What does an authority do with a request? Accounts, orders and authorizations as Boulder keeps them (pending ones are
//! handed back), its limits, and faults that last for a while.

use crate::books::{Books, Limits};
use crate::dice::Dice;
use crate::fault::{Fault, Phase};
use semper::cert::ari::RenewalInfo;
use semper::cert::failure::Failure;
use semper::clock::UnixTime;
use semper::plan::acme::ChallengeKind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// A name, by its number.
pub type Name = u32;

/// What was issued, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Paper {
    pub serial: u64,
    /// The place of the authority in the world.
    pub ca: usize,
    pub names: Arc<[Name]>,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    /// The key it was ordered with.
    pub key: u64,
    pub flaw: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

/// An order at the authority.
pub struct Order {
    pub names: Arc<[Name]>,
    pub status: Status,
    pub expires: UnixTime,
    pub paper: Option<Arc<Paper>>,
    /// Processing ends then.
    ready_at: UnixTime,
    /// It never moves again.
    stuck: bool,
    /// The names whose validation failed.
    pub failed: Vec<Name>,
    pub issued_at: UnixTime,
}

/// An authorization of one name.
pub struct Authorization {
    pub status: Status,
    pub expires: UnixTime,
    /// A validation runs until then, by this kind.
    pub looking: Option<(UnixTime, ChallengeKind)>,
    pub stuck: bool,
}

impl Order {
    /// Its certificate exists and can be had.
    pub fn is_issued(&self) -> bool {
        self.paper.is_some() && !self.stuck
    }
}

/// One authority.
pub struct Ca {
    pub url: String,
    pub place: usize,
    pub limits: Option<Limits>,
    pub life: Duration,
    pub faults: Vec<(Fault, UnixTime)>,
    pub books: Books,
    pub account: Option<u64>,
    /// Counts moves of its directory.
    pub directory: u32,
    pub orders: BTreeMap<u64, Order>,
    pub authorizations: BTreeMap<Name, Authorization>,
    /// A window that it insists on while [`Fault::AriPast`] lasts.
    past: Option<(UnixTime, UnixTime)>,
    numbers: u64,
    /// Requests so far, all of them.
    pub requests: u64,
}

impl Ca {
    pub fn new(place: usize, life: Duration, limits: Option<Limits>) -> Ca {
        Ca {
            url: format!("https://ca{place}.example/directory"),
            place,
            limits,
            life,
            faults: Vec::new(),
            books: Books::default(),
            account: None,
            directory: 0,
            orders: BTreeMap::new(),
            authorizations: BTreeMap::new(),
            past: None,
            numbers: 0,
            requests: 0,
        }
    }

    pub fn suffers(&self, fault: Fault, now: UnixTime) -> bool {
        self.faults.iter().any(|(kind, until)| *kind == fault && now < *until)
    }

    /// Nothing is wrong with it.
    pub fn is_well(&self, now: UnixTime) -> bool {
        self.faults.iter().all(|(_, until)| *until <= now)
    }

    /// A fault begins.
    pub fn strike(&mut self, fault: Fault, now: UnixTime, until: UnixTime) {
        match fault {
            Fault::AccountUnknown => self.account = None,
            Fault::DirectoryMoved => self.directory += 1,
            Fault::AriPast => self.past = Some((now - Duration::from_secs(3600), now - Duration::from_secs(1800))),
            _ => {}
        }
        self.faults.push((fault, until));
    }

    pub fn heal(&mut self, now: UnixTime) {
        self.faults.retain(|(_, until)| now < *until);
    }

    /// One request: what the wire and the front door say of it. Faults that struck are noted in `met`.
    pub fn knock(&mut self, phase: Phase, now: UnixTime, met: &mut Vec<Fault>) -> Result<Duration, Failure> {
        self.requests += 1;
        let mut delay = Duration::from_millis(200);
        for (fault, until) in &self.faults {
            if now >= *until {
                continue;
            }
            if fault.only_delays() {
                met.push(*fault);
                delay *= 3;
            } else if let Some(failure) = fault.answers(phase, now) {
                met.push(*fault);
                return Err(failure);
            }
        }
        Ok(delay)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// newAccount; the same key gets the same account.
    pub fn register(&mut self) -> u64 {
        let number = self.number();
        *self.account.get_or_insert(number)
    }

    /// newOrder. An identical order that still stands is handed back, as are authorizations.
    pub fn new_order(
        &mut self,
        account: u64,
        names: &Arc<[Name]>,
        replaces: bool,
        now: UnixTime,
        met: &mut Vec<Fault>,
    ) -> Result<u64, Failure> {
        let detail = |what: &str| format!("simulated: {what}");
        if self.account != Some(account) {
            met.push(Fault::AccountUnknown);
            return Err(Failure::Lost { detail: detail("accountDoesNotExist") });
        }
        if replaces && self.suffers(Fault::RefusesReplaces, now) {
            met.push(Fault::RefusesReplaces);
            return Err(Failure::ReplacesRefused { detail: detail("alreadyReplaced") });
        }
        if self.suffers(Fault::RejectsAName, now) {
            met.push(Fault::RejectsAName);
            return Err(Failure::Refused { names: vec![], detail: detail("rejectedIdentifier") });
        }
        self.orders.retain(|_, order| now < order.expires);
        let standing = self
            .orders
            .iter()
            .find(|(_, o)| o.names == *names && matches!(o.status, Status::Pending | Status::Ready) && now < o.expires);
        if let Some((number, _)) = standing {
            return Ok(*number);
        }
        if let Some(limits) = &self.limits {
            self.books.may_order(limits, names, replaces, now)?;
        }
        self.books.ordered(now);
        let expires = DAY * 7;
        let lost = self.suffers(Fault::AuthorizationExpires, now);
        let stuck = self.suffers(Fault::AuthorizationStuck, now);
        let reuse = if self.life < DAY * 60 { DAY / 4 } else { DAY * 30 };
        for name in names.iter() {
            let standing = self.authorizations.get(name);
            if standing.is_none_or(|a| now >= a.expires || a.status == Status::Invalid) {
                let expires = now + if lost { Duration::from_secs(1) } else { reuse.min(DAY * 7) };
                let new = Authorization { status: Status::Pending, expires, looking: None, stuck };
                if lost {
                    met.push(Fault::AuthorizationExpires);
                }
                self.authorizations.insert(*name, new);
            }
            if self.authorizations[name].stuck {
                met.push(Fault::AuthorizationStuck);
            }
        }
        let number = self.number();
        let stuck = self.suffers(Fault::OrderStuckPending, now);
        if stuck {
            met.push(Fault::OrderStuckPending);
        }
        let order = Order {
            names: names.clone(),
            status: Status::Pending,
            expires: now + expires,
            paper: None,
            ready_at: now,
            stuck,
            failed: Vec::new(),
            issued_at: now,
        };
        self.orders.insert(number, order);
        Ok(number)
    }

    /// Looks at an order, after everything that has happened to it meanwhile. `passes` says whether a name is seen.
    pub fn look(
        &mut self,
        number: u64,
        now: UnixTime,
        passes: &mut dyn FnMut(Name, ChallengeKind) -> bool,
    ) -> Option<&Order> {
        let order = self.orders.get_mut(&number).filter(|order| now < order.expires)?;
        if order.status == Status::Pending && !order.stuck {
            let mut all = true;
            for name in order.names.iter() {
                let Some(authorization) = self.authorizations.get_mut(name) else {
                    order.status = Status::Invalid;
                    break;
                };
                if let Some((_, kind)) = authorization.looking.filter(|(done, _)| *done <= now)
                    && !authorization.stuck
                {
                    authorization.looking = None;
                    if passes(*name, kind) {
                        authorization.status = Status::Valid;
                        authorization.expires = now + if self.life < DAY * 60 { DAY / 4 } else { DAY * 30 };
                        self.books.passed(*name);
                    } else {
                        authorization.status = Status::Invalid;
                        self.books.failed(self.limits.as_ref(), *name, now);
                    }
                }
                match authorization.status {
                    Status::Valid if now < authorization.expires => {}
                    Status::Invalid => {
                        order.status = Status::Invalid;
                        order.failed.push(*name);
                        all = false;
                    }
                    _ if now >= authorization.expires => {
                        order.status = Status::Invalid;
                        all = false;
                    }
                    _ => all = false,
                }
            }
            if all && order.status == Status::Pending {
                order.status = Status::Ready;
            }
        }
        if order.status == Status::Processing && !order.stuck && now >= order.ready_at {
            order.status = Status::Valid;
        }
        Some(order)
    }

    /// The client says that its answer stands.
    pub fn challenge(&mut self, name: Name, kind: ChallengeKind, now: UnixTime, took: Duration) {
        if let Some(authorization) = self.authorizations.get_mut(&name)
            && authorization.status == Status::Pending
        {
            authorization.looking.get_or_insert((now + took, kind));
        }
    }

    /// finalize: from here on the certificate exists.
    pub fn finalize(&mut self, number: u64, key: u64, now: UnixTime, dice: &mut Dice, met: &mut Vec<Fault>) {
        const FLAWS: [Fault; 5] = [
            Fault::CertificateHtml,
            Fault::CertificateTruncated,
            Fault::CertificateWrongKey,
            Fault::CertificateWrongNames,
            Fault::CertificateExpired,
        ];
        let flaw = FLAWS.into_iter().find(|flaw| self.suffers(*flaw, now));
        met.extend(flaw);
        let stuck = self.suffers(Fault::StuckProcessing, now);
        if stuck {
            met.push(Fault::StuckProcessing);
        }
        let serial = self.number();
        let Some(order) = self.orders.get_mut(&number).filter(|order| order.status == Status::Ready) else { return };
        let back = Duration::from_secs(3600).min(self.life / 20);
        let not_before = now - back;
        let not_after =
            if flaw == Some(Fault::CertificateExpired) { now - Duration::from_secs(1) } else { not_before + self.life };
        let paper = Paper { serial, ca: self.place, names: order.names.clone(), not_before, not_after, key, flaw };
        order.paper = Some(Arc::new(paper));
        order.status = Status::Processing;
        order.stuck |= stuck;
        order.ready_at = now + dice.between(Duration::ZERO, Duration::from_secs(5));
        order.issued_at = now;
        // What is stuck was never signed.
        if !stuck {
            self.books.issued(&order.names, now);
        }
    }

    /// The built-in authority signs without asking.
    pub fn sign(&mut self, names: Arc<[Name]>, key: u64, civil: UnixTime) -> Arc<Paper> {
        let serial = self.number();
        self.books.all += 1;
        let not_before = civil - self.life / 20;
        let not_after = not_before + self.life;
        Arc::new(Paper { serial, ca: self.place, names, not_before, not_after, key, flaw: None })
    }

    /// The client gives authorizations back; the orders that rest on them end.
    pub fn deactivate(&mut self, names: &[Name], valid_too: bool) {
        for name in names {
            let gives = |a: &Authorization| a.status == Status::Pending || (valid_too && a.status == Status::Valid);
            if self.authorizations.get(name).is_some_and(gives) {
                self.authorizations.remove(name);
                let rests = |order: &&mut Order| {
                    order.names.contains(name) && matches!(order.status, Status::Pending | Status::Ready)
                };
                self.orders.values_mut().filter(rests).for_each(|order| order.status = Status::Invalid);
            }
        }
    }

    /// What it says about a certificate in force.
    pub fn renewal_info(
        &self,
        not_before: UnixTime,
        not_after: UnixTime,
        now: UnixTime,
        met: &mut Vec<Fault>,
    ) -> Option<RenewalInfo> {
        let life = not_after.since(not_before);
        // Boulder's window: two thirds of the life, give or take one percent; half for short lives.
        let centre = not_before + if life < DAY * 10 { life / 2 } else { life * 2 / 3 };
        let answer = |start, end, ask_again| Some(RenewalInfo { start, end, explanation: None, ask_again });
        let (start, end, hours) = (centre - life / 100, centre + life / 100, Duration::from_secs(21_600));
        for (fault, _) in self.faults.iter().filter(|(_, until)| now < *until) {
            let other = match fault {
                Fault::Down | Fault::Drips | Fault::AriSilent => None,
                Fault::AriMoved => answer(start - life / 6, end - life / 6, hours),
                Fault::AriPast => {
                    self.past.filter(|(_, end)| not_before < *end).and_then(|(start, end)| answer(start, end, hours))
                }
                Fault::AriMalformed => answer(end, start, hours),
                Fault::AriBeyondExpiry => answer(not_after, not_after + life, hours),
                Fault::AriYear => answer(start, end, Duration::from_secs(365 * 86_400)),
                _ => continue,
            };
            met.push(*fault);
            return other;
        }
        answer(start, end, hours)
    }
}
