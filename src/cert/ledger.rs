//! How much of an authority's limits is used up, and when may the next order begin? One ledger for each state path, kept
//! on disk: it counts what was ordered, issued and failed, remembers what the authority refused and until when, and hands
//! out turns, so that ten thousand certificates do not begin in one minute. Each limit is kept with a reserve for
//! certificates that are about to end. Pure: `now` is an argument, and what is allowed comes from the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::domain::registered;
use super::scope::Scope;
use crate::clock::UnixTime;
use crate::plan::limits::{Limits, Rate};
use crate::words::{Fingerprint, Identifier};

/// The version of the record.
pub const VERSION: u32 = 1;
/// Orders that may begin together before the pace holds.
const TOGETHER: u32 = 10;
/// A clock that goes back by more was set; what was noted by the old one counts as of now.
const SET_BACK: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Where nobody knows what was ordered before, nothing is ordered by itself for so long: whoever is started again and
/// again, and finds nothing each time, must not order each time.
const QUARANTINE: Duration = Duration::from_secs(900);
/// And then only so much in a day.
const UNKNOWN_A_DAY: u32 = 50;

/// Why an order is wanted: the more pressing, the deeper it may reach into the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A renewal in good time.
    Ordinary,
    /// Nothing valid is held.
    Bare,
    /// Somebody asked for it, or a cause of failure disappeared.
    Asked,
    /// What is held ends soon.
    Expiring,
}

/// An order that is thought of.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Whom: directory URL or `internal`.
    pub authority: &'a str,
    /// What that one allows.
    pub limits: &'a Limits,
    /// For which names; sorted.
    pub names: &'a [Identifier],
    /// It replaces a certificate of the same authority for the same names.
    pub renewal: bool,
    /// How pressing it is.
    pub urgency: Urgency,
    /// How long certificates of this authority live, as far as one is held.
    pub life: Option<Duration>,
}

/// What is used up of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Which: `new orders`, `certificates for these names` …
    pub limit: String,
    /// How many within the span.
    pub used: u32,
    /// How many the authority allows.
    pub of: u32,
    /// The length of the span in seconds.
    pub seconds: u64,
}

/// All books of one state path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    books: BTreeMap<String, Book>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt: Option<Doubt>,
    #[serde(skip)]
    changes: Changes,
}

/// Nobody knows what was ordered before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Doubt {
    /// From the first question on.
    since: Option<UnixTime>,
}

/// How often something was noted. Says nothing about what stands in the books, so it is never compared.
#[derive(Clone, Copy, Debug, Default)]
struct Changes(u64);

impl PartialEq for Changes {
    fn eq(&self, _: &Changes) -> bool {
        true
    }
}

/// What is known of our account at one authority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Book {
    orders: Vec<UnixTime>,
    domains: BTreeMap<String, Vec<UnixTime>>,
    sets: BTreeMap<String, Vec<UnixTime>>,
    failed: BTreeMap<String, Failed>,
    refused: Vec<Refused>,
    /// The next turn of any order, and of one that counts as a new order.
    turn: Option<UnixTime>,
    new_turn: Option<UnixTime>,
    /// When the book was opened last.
    seen: Option<UnixTime>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Failed {
    /// Lately.
    at: Vec<UnixTime>,
    /// Without a success between.
    row: u32,
}

/// What an authority refused for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// For what.
    pub scope: Scope,
    /// Until when.
    pub until: UnixTime,
    /// In its own words, cut short.
    pub words: String,
}

impl Ledger {
    /// An empty ledger in the place of one that is lost: authorities with limits are asked late and little.
    pub fn doubtful() -> Ledger {
        Ledger { doubt: Some(Doubt::default()), ..Ledger::default() }
    }

    /// The same, but something may be missing in it.
    pub fn doubted(self) -> Ledger {
        Ledger { doubt: Some(Doubt::default()), ..self }
    }

    /// The moment from which on this order is within the limits; `now` or earlier: it may begin.
    pub fn free_at(&mut self, wish: &Wish<'_>, now: UnixTime) -> UnixTime {
        let Wish { limits, names, urgency, .. } = *wish;
        // Who asks for it knows what was ordered.
        let doubt = self.doubt.as_mut().filter(|_| limits.orders.is_some() && urgency != Urgency::Asked);
        let doubt = doubt.map(|doubt| *doubt.since.get_or_insert(now)).filter(|since| now.since(*since) < DAY * 8);
        let book = self.book(wish.authority, now);
        let mut free = UnixTime(i64::MIN);
        let mut until = |list: Option<&Vec<UnixTime>>, rate: Rate, allowed: u32| {
            free = free.max(opens(list.map_or(&[][..], Vec::as_slice), rate.per, allowed, now));
        };
        if let Some(rate) = limits.set {
            let per = if limits.elastic { wish.life.map_or(rate.per, |life| life.min(rate.per)) } else { rate.per };
            let reserve = if urgency == Urgency::Ordinary { 2 } else { 1 };
            until(book.sets.get(&set_key(names)), Rate { per, ..rate }, rate.count.saturating_sub(reserve));
        }
        if let (Some(_), Some(rate)) = (doubt, limits.set) {
            until(book.sets.get(&set_key(names)), rate, 1);
            until(Some(&book.orders), Rate { count: UNKNOWN_A_DAY, per: DAY }, UNKNOWN_A_DAY);
        }
        if let Some(rate) = limits.failures {
            let reserve = if matches!(urgency, Urgency::Asked | Urgency::Expiring) { 1 } else { 2 };
            for name in names {
                let failed = book.failed.get(&name.to_string());
                until(failed.map(|failed| &failed.at), rate, rate.count.saturating_sub(reserve));
            }
        }
        if wish.counts_as_new() {
            let share = if matches!(urgency, Urgency::Asked | Urgency::Expiring) { 95 } else { 80 };
            let part = |rate: Rate| u32::try_from(u64::from(rate.count) * share / 100).unwrap_or(rate.count);
            if let Some(rate) = wish.orders() {
                until(Some(&book.orders), rate, part(rate));
            }
            if let Some(rate) = limits.domain {
                for domain in domains(names) {
                    until(book.domains.get(&domain), rate, part(rate));
                }
            }
        }
        let gaps = names.iter().filter_map(|name| book.failed.get(&name.to_string())?.rests_until(limits.row));
        let refused = book.refused.iter().filter(|refused| refused.scope.meets(wish, &set_key(names)));
        let rests = doubt.filter(|_| urgency != Urgency::Expiring).map(|since| since + QUARANTINE);
        gaps.chain(refused.map(|refused| refused.until)).chain(rests).fold(free, UnixTime::max)
    }

    /// Grows with everything that must be on disk before its effects are performed.
    pub fn changes(&self) -> u64 {
        self.changes.0
    }

    /// Hands out a turn: the moment at which this order may begin, `now` or later. Each call takes one.
    pub fn turn(&mut self, wish: &Wish<'_>, now: UnixTime) -> UnixTime {
        let book = self.book(wish.authority, now);
        let any = take_turn(&mut book.turn, wish.limits.pace, TOGETHER, now);
        let Some(rate) = wish.orders().filter(|rate| wish.counts_as_new() && rate.count > 0) else { return any };
        // A fifth at once and three fifths spread over the span: four fifths within any span.
        let gap = rate.per.mul_f64(1.0 / (0.6 * f64::from(rate.count)));
        any.max(take_turn(&mut book.new_turn, gap, (rate.count / 5).max(1), now))
    }

    /// An order begins.
    pub fn ordered(&mut self, wish: &Wish<'_>, now: UnixTime) {
        if wish.counts_as_new() && wish.orders().is_some() {
            self.changes.0 += 1;
            self.book(wish.authority, now).orders.push(now);
        }
    }

    /// The authority issued a certificate at `at`, good or bad. Told twice of the same one, it counts once.
    pub fn issued(&mut self, wish: &Wish<'_>, at: UnixTime, now: UnixTime) {
        self.changes.0 += 1;
        let (book, at) = (self.book(wish.authority, now), at.min(now));
        if wish.limits.set.is_some() && !note(book.sets.entry(set_key(wish.names)).or_default(), at) {
            return;
        }
        if wish.counts_as_new() && wish.limits.domain.is_some() {
            for domain in domains(wish.names) {
                let list = book.domains.entry(domain).or_default();
                list.insert(list.partition_point(|other| *other <= at), at);
            }
        }
        for name in wish.names {
            if let Some(failed) = book.failed.get_mut(&name.to_string()) {
                failed.row = 0;
            }
        }
    }

    /// The authority looked and did not find the answers of `names`.
    pub fn failed(&mut self, authority: &str, names: &[Identifier], now: UnixTime) {
        self.changes.0 += 1;
        let book = self.book(authority, now);
        for name in names {
            let failed = book.failed.entry(name.to_string()).or_default();
            failed.at.push(now);
            failed.row = failed.row.saturating_add(1);
            let excess = failed.at.len().saturating_sub(32);
            failed.at.drain(..excess);
        }
    }

    /// The authority refuses something for a while.
    pub fn refused(&mut self, authority: &str, refused: Refused, now: UnixTime) {
        self.changes.0 += 1;
        let book = self.book(authority, now);
        book.refused.retain(|old| old.scope != refused.scope && now < old.until);
        book.refused.push(refused);
    }

    /// What an authority refuses at present.
    pub fn refusals(&self, authority: &str) -> &[Refused] {
        self.books.get(authority).map_or(&[], |book| &book.refused)
    }

    /// What is used up of every limit that this order would meet; for people.
    pub fn used(&self, wish: &Wish<'_>, now: UnixTime) -> Vec<Used> {
        let none = Book::default();
        let book = self.books.get(wish.authority).unwrap_or(&none);
        let mut all = Vec::new();
        let mut say = |limit: String, rate: Option<Rate>, list: Option<&Vec<UnixTime>>| {
            let Some(rate) = rate else { return };
            let within = |list: &Vec<UnixTime>| list.iter().filter(|at| now.since(**at) < rate.per).count();
            let used = u32::try_from(list.map_or(0, within)).unwrap_or(u32::MAX);
            all.push(Used { limit, used, of: rate.count, seconds: rate.per.as_secs() });
        };
        let Limits { orders, domain, set, failures, .. } = *wish.limits;
        say("new orders of the account".into(), orders, Some(&book.orders));
        say("certificates for exactly these names".into(), set, book.sets.get(&set_key(wish.names)));
        for name in domains(wish.names) {
            say(format!("certificates below {name}"), domain, book.domains.get(&name));
        }
        for name in wish.names {
            let failed = book.failed.get(&name.to_string());
            say(format!("failed validations of {name}"), failures, failed.map(|failed| &failed.at));
        }
        all
    }

    /// The text of the record, without what has no effect any more.
    pub fn write(&mut self, now: UnixTime) -> Vec<u8> {
        self.books.values_mut().for_each(|book| book.prune(now));
        self.doubt = self.doubt.filter(|doubt| doubt.since.is_none_or(|since| now.since(since) < DAY * 8));
        serde_json::to_vec(&Versioned { version: VERSION, ledger: &*self }).unwrap_or_default()
    }

    /// Reads [`Ledger::write`]; `None` for anything damaged or of another version: [`Ledger::doubtful`] takes its place.
    pub fn read(text: &[u8]) -> Option<Ledger> {
        serde_json::from_slice(text).ok().filter(|v: &Versioned<Ledger>| v.version == VERSION).map(|v| v.ledger)
    }

    /// The book of an authority; if the clock was set back since it was opened last, no entry stays in the future.
    fn book(&mut self, authority: &str, now: UnixTime) -> &mut Book {
        if !self.books.contains_key(authority) {
            self.books.insert(authority.to_owned(), Book::default());
        }
        let book = self.books.get_mut(authority).expect("it was inserted above");
        if book.seen.is_some_and(|seen| now + SET_BACK < seen) {
            book.set_back(now);
        }
        book.seen = Some(now);
        book
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<L> {
    version: u32,
    ledger: L,
}

impl Wish<'_> {
    fn counts_as_new(&self) -> bool {
        !(self.renewal && self.limits.renewals_exempt)
    }

    /// The limit of new orders. Nobody who issues for less than a day can have said it.
    fn orders(&self) -> Option<Rate> {
        self.limits.orders.filter(|_| !(self.limits.elastic && self.life.is_some_and(|life| life < DAY)))
    }
}

impl Failed {
    /// The nearer a name comes to being paused, the rarer it is tried.
    fn rests_until(&self, limit: Option<u32>) -> Option<UnixTime> {
        let (limit, last) = (limit?.max(4), *self.at.last()?);
        let days = match self.row {
            row if row >= limit - limit / 10 => 14,
            row if row >= limit / 4 * 3 => 3,
            row if row >= limit / 2 => 1,
            _ => return None,
        };
        Some(last + DAY * days)
    }
}

impl Book {
    fn set_back(&mut self, now: UnixTime) {
        let lists = self.domains.values_mut().chain(self.sets.values_mut());
        let lists = lists.chain(self.failed.values_mut().map(|failed| &mut failed.at));
        for at in lists.chain(std::iter::once(&mut self.orders)).flatten() {
            *at = (*at).min(now);
        }
        self.refused.iter_mut().for_each(|refused| refused.until = refused.until.min(now + DAY));
        (self.turn, self.new_turn) = (None, None);
    }

    fn prune(&mut self, now: UnixTime) {
        let lately = |at: &UnixTime| now.since(*at) < DAY * 8;
        self.orders.retain(|at| now.since(*at) < DAY);
        for lists in [&mut self.domains, &mut self.sets] {
            lists.retain(|_, list| {
                list.retain(lately);
                !list.is_empty()
            });
        }
        self.failed.retain(|_, failed| {
            let last = failed.at.last().copied();
            failed.at.retain(|at| Some(*at) == last || now.since(*at) < DAY);
            failed.at.last().is_some_and(|at| now.since(*at) < if failed.row > 0 { DAY * 400 } else { DAY })
        });
        self.refused.retain(|refused| now < refused.until);
    }
}

/// Enters a moment into a list in order; false if it stands there already.
fn note(list: &mut Vec<UnixTime>, at: UnixTime) -> bool {
    match list.binary_search(&at) {
        Ok(_) => false,
        Err(place) => {
            list.insert(place, at);
            true
        }
    }
}

/// When fewer than `allowed` of the moments in `list` (in order) lie within the last `per`.
fn opens(list: &[UnixTime], per: Duration, allowed: u32, now: UnixTime) -> UnixTime {
    let allowed = usize::try_from(allowed.max(1)).unwrap_or(usize::MAX);
    let within = list.iter().rev().take_while(|at| now.since(**at) < per).count();
    match within.checked_sub(allowed) {
        Some(excess) => list[list.len() - within + excess] + per,
        None => UnixTime(i64::MIN),
    }
}

/// The next of a row of turns that are `gap` apart, of which `together` may be taken at once.
fn take_turn(next: &mut Option<UnixTime>, gap: Duration, together: u32, now: UnixTime) -> UnixTime {
    let earliest = now - gap * together.saturating_sub(1);
    let turn = next.map_or(earliest, |next| next.max(earliest));
    *next = Some(turn + gap);
    turn.max(now)
}

fn domains(names: &[Identifier]) -> BTreeSet<String> {
    names.iter().map(registered).collect()
}

/// A set of names as a key: its digest, because a set may be large.
pub(super) fn set_key(names: &[Identifier]) -> String {
    let text: Vec<String> = names.iter().map(Identifier::to_string).collect();
    let mut key = Fingerprint::of(text.join("\n").as_bytes()).to_string();
    key.truncate(20);
    key
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
