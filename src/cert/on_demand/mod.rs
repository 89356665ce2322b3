//! May a certificate be had for a name that stands nowhere in the configuration? What is remembered of names that clients
//! ask for, on whose word they are held, how many new ones may come, and when one is dropped. Asks nobody and keeps no
//! file: `node::on_demand` carries questions and answers, and the record.
//!
//! A name is **held** from the first yes on: served while its certificate is in force, renewed while nobody says no. Silence
//! never gives and never takes away. A name that is turned away leaves nothing behind but a line in a bounded table.

pub mod fit;
pub mod gauge;
mod record;
mod refused;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::fit::{Unfit, fit};
use self::gauge::Gauge;
use self::refused::Refusals;
use super::domain;
use crate::clock::UnixTime;
use crate::plan::on_demand::OnDemand;
use crate::words::{DomainName, Identifier};

pub use self::record::Held;

/// Gauges of clients. Several clients may share one, which makes the limit stricter and never looser.
const CLIENTS: usize = 4096;
/// Names that are being asked about at once, those that wait for their turn included.
const ASKED_AT_ONCE: usize = 256;
/// After no answer at all, the next question waits at most this long.
const SILENT: Duration = Duration::from_secs(30);
/// A held name that was refused this many times in a row, ...
const STEADY_TIMES: u32 = 3;
/// ... for at least this many times as long as a no is believed, is renewed no more.
const STEADY: u32 = 12;
/// A name that never got its certificate is dropped when nobody has asked for it for so long.
const HOPELESS: Duration = Duration::from_secs(86_400);

/// Why a name is not obtained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No certificate can be had for such a name.
    #[error("{0}")]
    Unfit(Unfit),
    /// It is on no list, and there is nobody to ask.
    #[error("it is not on the allow-list")]
    NotListed,
    /// `ask` said no.
    #[error("\"ask\" refused it: {0}")]
    No(String),
    /// `ask` gave no answer that counts: nothing is issued without its word.
    #[error("\"ask\" gave no answer: {0}")]
    Silence(String),
    /// Its client brought too many new names.
    #[error("its client has brought too many new names (per_client)")]
    Client,
    /// All clients together did.
    #[error("too many new names have come in from all clients together (overall)")]
    Overall,
    /// Too many questions wait for `ask`.
    #[error("too many names are being asked about at this moment")]
    Busy,
    /// No room for another name.
    #[error("as many names are held as may be (names)")]
    Full,
}

/// What happens to a name that a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knock {
    /// It is held already.
    Held,
    /// From now on it is held: write that down, then begin.
    Hold,
    /// Ask about it; the answer comes by [`Desk::answered`].
    Ask,
    /// Somebody asks already.
    Asking,
    /// Not now.
    Refused(Refusal),
}

/// What `ask` said about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It may have a certificate.
    Yes,
    /// It may not; in which words.
    No(String),
    /// Nothing that counts: no connection, no answer in time, an error of its own, a redirect.
    Silence(String),
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// From now on it is held: write that down, then begin.
    Hold,
    /// It stays out.
    Refused(Refusal),
    /// It is served on, and renewed no more.
    Stop,
    /// It is renewed again.
    Resume,
}

/// Why a name is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// No client has asked for it for a long time.
    Unused,
    /// It was refused, and what it had has ended.
    Ended,
}

/// How a name stands, for whoever asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Standing {
    /// No client has asked for it, or that was forgotten. `listed`: it would need no question.
    Unknown {
        /// It stands on the allow-list.
        listed: bool,
    },
    /// It is being asked about.
    Asking {
        /// Since when.
        since: UnixTime,
    },
    /// It was refused, or would be.
    Refused {
        /// Why.
        why: Refusal,
        /// When a client last brought it.
        at: Option<UnixTime>,
        /// From then on it is looked at anew when a client brings it.
        again: Option<UnixTime>,
    },
    /// It is held.
    Held(Held),
}

/// Everything that is remembered.
#[derive(Debug)]
pub struct Desk {
    terms: Arc<OnDemand>,
    held: HashMap<DomainName, Held>,
    asking: HashMap<DomainName, UnixTime>,
    /// Held names that are being asked about again.
    again: HashSet<DomainName>,
    refused: Refusals,
    clients: Box<[Gauge]>,
    overall: Gauge,
}

impl Desk {
    /// Nothing is known yet.
    pub fn new(terms: Arc<OnDemand>) -> Desk {
        Desk {
            terms,
            held: HashMap::new(),
            asking: HashMap::new(),
            again: HashSet::new(),
            refused: Refusals::default(),
            clients: vec![Gauge::default(); CLIENTS].into(),
            overall: Gauge::default(),
        }
    }

    /// The terms.
    pub fn terms(&self) -> &Arc<OnDemand> {
        &self.terms
    }

    /// Takes the terms of a new plan. What was refused under the old ones is looked at anew.
    pub fn adopt(&mut self, terms: Arc<OnDemand>) {
        if self.terms != terms {
            self.terms = terms;
            self.refused = Refusals::default();
        }
    }

    /// A client (`client`: a keyed hash of its address) asks for `name`.
    pub fn knock(&mut self, name: &DomainName, client: u64, now: UnixTime) -> Knock {
        if let Some(held) = self.held.get_mut(name) {
            held.used = held.used.max(now);
            return Knock::Held;
        }
        if self.asking.contains_key(name) {
            return Knock::Asking;
        }
        if let Some(why) = self.refused.holds(name, now) {
            return Knock::Refused(why.clone());
        }
        let listed = self.listed(name);
        if let Some(why) = self.never(name, listed) {
            return Knock::Refused(why);
        }
        if let Err((why, again)) = self.room(listed, client, now) {
            self.refused.turned_away(name, why.clone(), now, again);
            return Knock::Refused(why);
        }
        if listed {
            return match self.hold(name, now) {
                Ok(()) => Knock::Hold,
                Err(why) => Knock::Refused(why),
            };
        }
        self.asking.insert(name.clone(), now);
        Knock::Ask
    }

    /// Why a name would never pass, whoever brings it.
    fn never(&self, name: &DomainName, listed: bool) -> Option<Refusal> {
        if let Err(why) = fit(name.as_str()) {
            return Some(Refusal::Unfit(why));
        }
        match (listed, &self.terms.ask) {
            // Inner names would be published in the logs of certificate transparency: only by name, never by a question.
            (true, _) => None,
            (false, None) => Some(Refusal::NotListed),
            (false, Some(_)) => {
                let public = domain::is_public(&Identifier::Dns(name.clone()));
                (!public).then_some(Refusal::Unfit(Unfit::Inner))
            }
        }
    }

    /// Whether one more name may come in now, and from this client; counts it.
    fn room(&mut self, listed: bool, client: u64, now: UnixTime) -> Result<(), (Refusal, UnixTime)> {
        if self.held.len() >= self.terms.names {
            return Err((Refusal::Full, now));
        }
        if let Some(again) = self.overall.shut_until(self.terms.overall, now) {
            return Err((Refusal::Overall, again));
        }
        if !listed && self.asking.len() >= ASKED_AT_ONCE {
            return Err((Refusal::Busy, now));
        }
        let place = usize::try_from(client % CLIENTS as u64).unwrap_or(0);
        self.clients[place].pass(self.terms.per_client, now).map_err(|again| (Refusal::Client, again))
    }

    fn hold(&mut self, name: &DomainName, now: UnixTime) -> Result<(), Refusal> {
        let (why, again) = match self.overall.pass(self.terms.overall, now) {
            Ok(()) if self.held.len() < self.terms.names => {
                self.refused.forget(name);
                let held = Held::since(now, self.listed(name), self.yes_for());
                self.held.insert(name.clone(), held);
                return Ok(());
            }
            Ok(()) => (Refusal::Full, now),
            Err(again) => (Refusal::Overall, again),
        };
        self.refused.turned_away(name, why.clone(), now, again);
        Err(why)
    }

    /// What was said about a name that was asked about.
    pub fn answered(&mut self, name: &DomainName, word: Word, now: UnixTime) -> Then {
        if self.again.remove(name) || self.held.contains_key(name) {
            return self.answered_again(name, word, now);
        }
        if self.asking.remove(name).is_none() {
            return Then::Nothing;
        }
        let no_for = self.no_for();
        let (why, until) = match word {
            Word::Yes => {
                return match self.hold(name, now) {
                    Ok(()) => Then::Hold,
                    Err(why) => Then::Refused(why),
                };
            }
            Word::No(words) => (Refusal::No(words), now + no_for),
            Word::Silence(words) => (Refusal::Silence(words), now + no_for.min(SILENT)),
        };
        self.refused.keep(name, why.clone(), now, until);
        Then::Refused(why)
    }

    fn answered_again(&mut self, name: &DomainName, word: Word, now: UnixTime) -> Then {
        let (yes_for, no_for) = (self.yes_for(), self.no_for());
        let Some(held) = self.held.get_mut(name) else { return Then::Nothing };
        match word {
            Word::Yes => {
                let resumed = held.stopped;
                (held.asked, held.until) = (Some(now), now + yes_for);
                (held.denied, held.denials, held.stopped, held.words) = (None, 0, false, String::new());
                if resumed { Then::Resume } else { Then::Nothing }
            }
            // One wrong answer, of a database that was just restored perhaps, must not end what works.
            Word::No(words) => {
                let since = *held.denied.get_or_insert(now);
                held.denials = held.denials.saturating_add(1);
                (held.until, held.words) = (now + no_for, words);
                let steady = held.denials >= STEADY_TIMES && now.since(since) >= no_for * STEADY;
                let stops = steady && !held.stopped;
                held.stopped |= steady;
                if held.stopped {
                    held.until = now + no_for * STEADY;
                }
                if stops { Then::Stop } else { Then::Nothing }
            }
            Word::Silence(words) => {
                (held.until, held.words) = (now + no_for, words);
                Then::Nothing
            }
        }
    }

    /// Held names about which it is time to ask again, at most so many; each is reported by [`Desk::answered`] before it comes
    /// again.
    pub fn questions(&mut self, most: usize, now: UnixTime) -> Vec<DomainName> {
        let most = most.saturating_sub(self.again.len());
        if self.terms.ask.is_none() || most == 0 {
            return Vec::new();
        }
        let due = self
            .held
            .iter()
            .filter(|(name, held)| held.until <= now && !self.again.contains(*name) && !self.listed(name));
        let mut due: Vec<(UnixTime, &DomainName)> = due.map(|(name, held)| (held.until, name)).collect();
        due.sort_unstable();
        let due: Vec<DomainName> = due.into_iter().take(most).map(|(_, name)| name.clone()).collect();
        self.again.extend(due.iter().cloned());
        due
    }

    /// Clients have asked for a held name since.
    pub fn used(&mut self, name: &DomainName, at: UnixTime) {
        if let Some(held) = self.held.get_mut(name) {
            held.used = held.used.max(at);
        }
    }

    /// Drops what nobody asks for any more. `ends`: until when a held name has a certificate in force.
    pub fn forget(
        &mut self,
        now: UnixTime,
        ends: impl Fn(&DomainName) -> Option<UnixTime>,
    ) -> Vec<(DomainName, Dropped)> {
        let forget = self.terms.forget;
        let gone = self.held.iter().filter_map(|(name, held)| {
            let (idle, ends) = (now.since(held.used), ends(name).filter(|ends| now < *ends));
            let patience = if ends.is_some() { forget } else { forget.min(HOPELESS) };
            match (idle >= patience, ends) {
                (true, _) => Some((name.clone(), Dropped::Unused)),
                (false, None) if !self.renews_held(name, held) => Some((name.clone(), Dropped::Ended)),
                _ => None,
            }
        });
        let gone: Vec<(DomainName, Dropped)> = gone.collect();
        for (name, _) in &gone {
            self.held.remove(name);
            self.again.remove(name);
        }
        gone
    }

    /// Whether a held name is renewed: nobody who has to allow it says no.
    pub fn renews(&self, name: &DomainName) -> bool {
        self.held.get(name).is_some_and(|held| self.renews_held(name, held))
    }

    fn renews_held(&self, name: &DomainName, held: &Held) -> bool {
        self.listed(name) || (self.terms.ask.is_some() && !held.stopped)
    }

    /// Names that are held.
    pub fn held(&self) -> impl Iterator<Item = (&DomainName, &Held)> {
        self.held.iter()
    }

    /// How a name stands.
    pub fn standing(&self, name: &DomainName, now: UnixTime) -> Standing {
        if let Some(held) = self.held.get(name) {
            return Standing::Held(Held { listed: self.listed(name), ..held.clone() });
        }
        if let Some(since) = self.asking.get(name) {
            return Standing::Asking { since: *since };
        }
        let listed = self.listed(name);
        if let Some(why) = self.never(name, listed) {
            return Standing::Refused { why, at: None, again: None };
        }
        match self.refused.last(name, now) {
            Some((why, at, again)) => Standing::Refused { why, at: Some(at), again: Some(again) },
            None => Standing::Unknown { listed },
        }
    }

    fn listed(&self, name: &DomainName) -> bool {
        self.terms.allow.iter().any(|allowed| allowed.covers(name))
    }

    fn yes_for(&self) -> Duration {
        self.terms.ask.as_ref().map_or(Duration::ZERO, |ask| ask.yes)
    }

    fn no_for(&self) -> Duration {
        self.terms.ask.as_ref().map_or(SILENT, |ask| ask.no)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
