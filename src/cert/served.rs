//! Is what clients get what we hold? Judges looks at one address: right, or one of three answers, of which only the last is
//! a fault of ours. Pure; `watch::probe` looks, `node::served` asks again and again, and other nodes' looks join as
//! [`Looks`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::words::Fingerprint;

/// Every name is looked at once in this time, however many there are …
pub const ROUND: Duration = Duration::from_secs(3600);
/// … and few names not more often than this.
const LEAST_ROUND: Duration = Duration::from_secs(300);
/// A look costs both sides together about a millisecond of processor time; never more than this many a second.
const BETWEEN: Duration = Duration::from_millis(150);
/// A look of another node says nothing any more after this time.
const HOLDS: Duration = Duration::from_secs(2 * 3600);
/// Looks of others that are kept.
const MOST: usize = 50_000;

/// Whose address was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A listener of this process.
    Own,
    /// A public address of the name that stands on an interface of this machine.
    Here,
    /// `public_address` says that it leads to us, or to another node of ours.
    Declared,
    /// It has shown a certificate of ours before.
    Shown,
    /// `fronted_by` says who terminates there.
    Fronted(String),
    /// Nobody told us.
    Unknown,
}

/// What was seen there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// Nobody answered, or not in time.
    Nobody(String),
    /// Somebody answered, and the handshake failed.
    NoHandshake(String),
    /// A certificate.
    Certificate {
        /// SHA-256 of the leaf.
        fingerprint: Fingerprint,
        /// In force until then.
        not_after: UnixTime,
        /// Its issuer, in words.
        issuer: String,
        /// It is a generation that we held before.
        earlier: bool,
        /// It speaks for the name, and is in force.
        fits: bool,
    },
}

/// What a question for our nonce brought at the same address, where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nonce {
    /// It came back: requests to that address reach us.
    Ours,
    /// Somebody else answered.
    Others,
    /// It was not asked for, or nobody answered.
    Unknown,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// What we hold.
    Right,
    /// It cannot be reached from here. That says nothing about others.
    Unreachable(String),
    /// Someone else terminates here: a CDN, a load balancer, another owner.
    Elsewhere(String),
    /// One of ours serves the wrong thing.
    Wrong(String),
}

/// Whether the judgement depends on where a request to that address ends.
pub fn wants_nonce(whose: &Whose, seen: &Seen, expected: &[Fingerprint]) -> bool {
    match (whose, seen) {
        (Whose::Own | Whose::Here | Whose::Fronted(_), _) | (_, Seen::Nobody(_)) => false,
        (whose, Seen::NoHandshake(_)) => *whose == Whose::Declared,
        (_, Seen::Certificate { fingerprint, .. }) => !expected.contains(fingerprint),
    }
}

/// Judges what was seen where one of `expected` should be.
pub fn judge(whose: &Whose, seen: &Seen, nonce: Nonce, expected: &[Fingerprint], now: UnixTime) -> Truth {
    let surely_ours = matches!(whose, Whose::Own | Whose::Here);
    match seen {
        Seen::Nobody(why) => Truth::Unreachable(why.clone()),
        Seen::NoHandshake(why) => {
            let wrong = surely_ours || *whose == Whose::Shown || (*whose == Whose::Declared && nonce == Nonce::Ours);
            let why = format!("the handshake fails: {why}");
            if wrong { Truth::Wrong(why) } else { Truth::Unreachable(why) }
        }
        Seen::Certificate { fingerprint, .. } if expected.contains(fingerprint) => Truth::Right,
        Seen::Certificate { not_after, issuer, earlier, fits, .. } => {
            let wrong = || {
                let ended = if *not_after <= now { "expired" } else { "other" };
                Truth::Wrong(format!("an {ended} certificate of {issuer:?} is shown, valid until {not_after}"))
            };
            let elsewhere = |who: &str| Truth::Elsewhere(format!("{who}: a certificate of {issuer:?} is shown"));
            match (whose, nonce) {
                (Whose::Own | Whose::Here, _) => wrong(),
                (Whose::Fronted(who), _) => elsewhere(&format!("{who} stands in front")),
                // An old one of ours: a node of ours has not heard of the new one.
                _ if *earlier => wrong(),
                // A valid one that is not ours, and still requests come to us.
                (_, Nonce::Ours) if *fits => elsewhere("someone terminates here in front of us"),
                (Whose::Declared | Whose::Shown, Nonce::Ours) => wrong(),
                (Whose::Declared, Nonce::Unknown) if *fits => wrong(),
                (Whose::Declared, _) => {
                    Truth::Unreachable(format!("something else answers from here (hairpin NAT?), with {issuer:?}"))
                }
                (Whose::Shown, Nonce::Unknown) if !*fits => wrong(),
                (Whose::Shown, _) => elsewhere("someone else has taken this address over"),
                (Whose::Unknown, _) => elsewhere("someone else is here"),
            }
        }
    }
}

/// One look: who looked, when, for which name, where, and what was seen. What nodes tell each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Look {
    /// When, by the clock of who looked.
    pub at: UnixTime,
    /// Who looked.
    pub by: String,
    /// For which name.
    pub name: String,
    /// Where.
    pub address: SocketAddr,
    /// What was seen.
    pub seen: Seen,
    /// Where requests to that address end.
    pub nonce: Nonce,
}

/// The newest look of each witness at each place. Merging is a join: no order of arrival changes what comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looks(BTreeMap<(String, SocketAddr), BTreeMap<String, Look>>);

impl Looks {
    /// Takes a look, if there is no newer one of the same witness. Of two of one moment, the larger stays.
    pub fn note(&mut self, look: Look) {
        let place = (look.name.clone(), look.address);
        let witnesses = self.0.entry(place).or_default();
        match witnesses.get_mut(&look.by) {
            Some(known) if *known >= look => {}
            Some(known) => *known = look,
            None => drop(witnesses.insert(look.by.clone(), look)),
        }
    }

    /// Takes all looks of `other`.
    pub fn merge(&mut self, other: Looks) {
        other.0.into_values().flat_map(BTreeMap::into_values).for_each(|look| self.note(look));
    }

    /// The looks at one place, the witnesses in order.
    pub fn at(&self, name: &str, address: SocketAddr) -> impl Iterator<Item = &Look> {
        self.0.get(&(name.to_owned(), address)).into_iter().flat_map(BTreeMap::values)
    }

    /// Forgets what is too old to count, and the oldest beyond a bound.
    pub fn forget(&mut self, now: UnixTime) {
        let drop_before = |looks: &mut Looks, before: UnixTime| {
            for witnesses in looks.0.values_mut() {
                witnesses.retain(|_, look| look.at >= before);
            }
            looks.0.retain(|_, witnesses| !witnesses.is_empty());
        };
        drop_before(self, now - HOLDS);
        let mut moments: Vec<UnixTime> = self.0.values().flat_map(BTreeMap::values).map(|look| look.at).collect();
        if moments.len() > MOST {
            moments.sort_unstable();
            drop_before(self, moments[moments.len() - MOST]);
        }
    }
}

/// What all witnesses together say of one place: our own answer, and what others saw lately but not before `since`, the
/// moment from which on the expected one has been in force everywhere. A fault that anybody saw is one; else what someone
/// saw counts more than that another did not get there. Addresses have many places behind them.
pub fn conclude<'a>(
    own: Truth,
    whose: &Whose,
    others: impl IntoIterator<Item = &'a Look>,
    expected: &[Fingerprint],
    since: UnixTime,
    now: UnixTime,
) -> Truth {
    let weight = |truth: &Truth| match truth {
        Truth::Wrong(_) => 3,
        Truth::Elsewhere(_) => 2,
        Truth::Right => 1,
        Truth::Unreachable(_) => 0,
    };
    let mut worst = own;
    for look in others.into_iter().filter(|look| look.at >= since && now.since(look.at) <= HOLDS) {
        let from = |why: String| format!("{why} (seen from {})", look.by);
        let truth = match judge(whose, &look.seen, look.nonce, expected, now) {
            Truth::Wrong(why) => Truth::Wrong(from(why)),
            Truth::Elsewhere(why) => Truth::Elsewhere(from(why)),
            Truth::Unreachable(why) => Truth::Unreachable(from(why)),
            Truth::Right => Truth::Right,
        };
        if weight(&truth) > weight(&worst) {
            worst = truth;
        }
    }
    worst
}

/// How long to wait between two looks, so that `looks` of them make a round; `first`: nobody has looked yet, and everything
/// is seen as soon as the budget allows.
pub fn pace(looks: usize, first: bool) -> Duration {
    if first {
        return BETWEEN;
    }
    let looks = u32::try_from(looks.max(1)).unwrap_or(u32::MAX);
    (LEAST_ROUND.max(BETWEEN * 2 * looks).min(ROUND) / looks).max(BETWEEN)
}

#[cfg(test)]
#[path = "served_tests.rs"]
mod tests;
