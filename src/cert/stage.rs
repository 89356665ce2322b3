//! What should happen next to one certificate? [`step`](Stage::step) is a plain function of (stage, now, event, policy,
//! draw): it never sleeps, logs, reads a clock or rolls dice. `node::keeper` feeds it and performs the effects; the
//! tests below and the simulator feed it years.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ari::{self, Choice, RenewalInfo};
use super::attempt::{failed, order};
use super::bundle::Bundle;
use super::failure::Failure;
use super::schedule;
use crate::clock::UnixTime;
use crate::plan::acme::{Authority, ChallengeKind, Issuer};

/// Where one certificate stands. Serialized into the journal before its effects are performed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Nothing is held.
    Absent {
        /// What went wrong so far.
        trouble: Trouble,
        /// The next attempt.
        retry_at: UnixTime,
    },
    /// A generation is held and no order runs. It may have expired: serving expired beats serving nothing.
    Serving {
        /// What is held.
        held: Held,
        /// The next attempt to replace it.
        renew_at: UnixTime,
        /// The next question for renewal information, if the authority answers such.
        ask_at: Option<UnixTime>,
        /// What went wrong since it was due.
        trouble: Trouble,
    },
    /// An order runs.
    Ordering {
        /// What is held meanwhile.
        held: Option<Held>,
        /// The order.
        attempt: Attempt,
        /// What went wrong before.
        trouble: Trouble,
    },
}

/// What the decisions need to know of the generation that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Its generation number.
    pub epoch: u64,
    /// In force from then on.
    pub not_before: UnixTime,
    /// In force until then.
    pub not_after: UnixTime,
    /// Who issued it: directory URL or `internal`.
    pub authority: String,
    /// Its identifier for renewal information and `replaces`.
    pub ari_id: Option<String>,
    /// The moment chosen within the authority's window.
    pub choice: Option<Choice>,
    /// When it was obtained.
    pub obtained_at: UnixTime,
}

impl Held {
    /// What a bundle says.
    pub fn of(bundle: &Bundle) -> Held {
        Held {
            epoch: bundle.epoch,
            not_before: bundle.leaf.not_before,
            not_after: bundle.leaf.not_after,
            authority: bundle.authority.clone(),
            ari_id: ari::certificate_id(&bundle.leaf),
            choice: None,
            obtained_at: bundle.obtained_at,
        }
    }

    /// From its first to its last moment.
    pub fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// Whether its authority may be asked for renewal information.
    pub fn answers_about_renewal(&self) -> bool {
        self.ari_id.is_some() && self.authority != "internal"
    }
}

/// One order: its number, its way and its deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts all attempts for this certificate; answers carry it, so that late ones are recognized.
    pub number: u64,
    /// How.
    pub way: Way,
    /// The moment at which it ends as a failure, whatever happens.
    pub give_up_at: UnixTime,
    /// The certificate that it replaces, by its ARI identifier.
    pub replaces: Option<String>,
}

/// One way to get a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The issuer's name.
    pub issuer: String,
    /// The authority behind it: directory URL or `internal`.
    pub authority: String,
    /// How control over the names is shown; `None` where nothing is asked.
    pub challenge: Option<ChallengeKind>,
}

/// What went wrong since the last success, and what it taught.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// Attempts so far, over all time.
    pub attempts: u64,
    /// Failures in a row.
    pub failures: u32,
    /// When the row began.
    pub since: Option<UnixTime>,
    /// The last failure.
    pub last: Option<Failure>,
    /// The place in [`Policy::ways`] that is next; counts on and wraps.
    pub next_way: usize,
    /// Attempts at once since the last wait.
    pub at_once: u32,
    /// Certificates that authorities issued lately, good or bad: (directory URL or `internal`, when). Survives success.
    pub spent: Vec<(String, UnixTime)>,
    /// Leave `replaces` out.
    pub without_replaces: bool,
    /// Issuers whose limits are used up, and until when they are left alone.
    pub blocked: Vec<(String, UnixTime)>,
}

impl Trouble {
    /// Notes that `authority` issued a certificate.
    pub fn spend(&mut self, authority: &str, now: UnixTime) {
        self.spent.push((authority.to_owned(), now));
        if self.spent.len() > 12 {
            self.spent.remove(0);
        }
    }
}

/// The rules for one certificate. Never stored: a reload may change them under a running stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The ways that may be tried, in order; never empty.
    pub ways: Vec<Way>,
    /// The longest that one order may take.
    pub order_patience: Duration,
    /// The unit of the retry ladder: a minute, or a second where nobody has limits.
    pub minute: Duration,
}

impl Policy {
    /// The rules for certificates of `issuer`.
    pub fn of(issuer: &Issuer) -> Policy {
        let way = |authority: &str, challenge| Way {
            issuer: issuer.name.to_string(),
            authority: authority.to_owned(),
            challenge,
        };
        let (ways, order_patience, minute) = match &issuer.authority {
            Authority::Acme(server) => {
                let kinds =
                    if server.challenges.is_empty() { &[ChallengeKind::Http01] } else { &server.challenges[..] };
                let ways = kinds.iter().map(|kind| way(&server.directory, Some(*kind))).collect();
                (ways, server.order_timeout, server.retry_interval)
            }
            Authority::Internal(_) => (vec![way("internal", None)], Duration::from_secs(900), Duration::from_secs(1)),
        };
        Policy { ways, order_patience, minute }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The process began; this is what the store holds.
    Started(Option<Held>),
    /// Time passed; sent at [`Stage::wakes_at`], harmless at any other moment.
    Tick,
    /// Somebody wants a renewal now, or a cause of failure disappeared.
    Renew,
    /// An order ended well, and its bundle is in force.
    Issued(Held),
    /// The order of this attempt ended badly.
    Failed(u64, Failure),
    /// The authority answered about the generation of this epoch.
    RenewalInfo(u64, RenewalInfo),
    /// The authority did not answer about it.
    NoRenewalInfo(u64),
}

/// What shall be done. The answer returns as an event, or the deadline fires.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Place this order, or take up the one that the journal knows.
    PlaceOrder(Attempt),
    /// Deactivate the authorizations of the order under way, if there is one, and forget it.
    AbandonOrder,
    /// Ask for renewal information about the generation of this epoch.
    AskRenewalInfo {
        /// The generation.
        epoch: u64,
        /// Its identifier.
        ari_id: String,
    },
}

impl Stage {
    /// The first stage of a certificate of which nothing is known: due at once.
    pub fn new() -> Stage {
        Stage::Absent { trouble: Trouble::default(), retry_at: UnixTime(i64::MIN) }
    }

    /// What is held, if anything.
    pub fn held(&self) -> Option<&Held> {
        match self {
            Stage::Absent { .. } => None,
            Stage::Serving { held, .. } => Some(held),
            Stage::Ordering { held, .. } => held.as_ref(),
        }
    }

    /// What went wrong so far.
    pub fn trouble(&self) -> &Trouble {
        match self {
            Stage::Absent { trouble, .. } | Stage::Serving { trouble, .. } | Stage::Ordering { trouble, .. } => trouble,
        }
    }

    /// The one moment at which the edge must send the next [`Event::Tick`].
    pub fn wakes_at(&self) -> UnixTime {
        match self {
            Stage::Absent { retry_at, .. } => *retry_at,
            Stage::Serving { renew_at, ask_at, .. } => ask_at.map_or(*renew_at, |ask_at| ask_at.min(*renew_at)),
            Stage::Ordering { attempt, .. } => attempt.give_up_at,
        }
    }

    /// The next stage and what to do for it. `draw` is uniform in `[0, 1)`.
    pub fn step(self, now: UnixTime, event: Event, policy: &Policy, draw: f64) -> (Stage, Vec<Effect>) {
        use Stage::*;
        match (self, event) {
            (stage, Event::Started(held)) => stage.started(now, held, policy, draw),

            (Absent { trouble, retry_at }, Event::Tick) if now >= retry_at => order(now, None, trouble, policy),
            (Absent { trouble, .. }, Event::Renew) => order(now, None, trouble, policy),

            (Serving { held, renew_at, trouble, .. }, Event::Tick) if now >= renew_at => {
                order(now, Some(held), trouble, policy)
            }
            (Serving { held, trouble, .. }, Event::Renew) => order(now, Some(held), trouble, policy),
            (Serving { held, renew_at, ask_at: Some(ask_at), trouble }, Event::Tick) if now >= ask_at => {
                ask(now, held, renew_at, trouble)
            }
            (Serving { held, renew_at, trouble, .. }, Event::RenewalInfo(epoch, info)) if epoch == held.epoch => {
                (informed(now, held, renew_at, trouble, &info, policy, draw), vec![])
            }
            (Serving { held, renew_at, trouble, .. }, Event::NoRenewalInfo(epoch)) if epoch == held.epoch => {
                let ask_at = Some(now + schedule::ask_again(&held));
                (Serving { held, renew_at, ask_at, trouble }, vec![])
            }

            (Ordering { held, attempt, trouble }, Event::Tick) if now >= attempt.give_up_at => {
                failed(now, held, trouble, Failure::Deadline, &attempt, policy, draw)
            }
            (Ordering { held, attempt, trouble }, Event::Failed(number, why)) if number == attempt.number => {
                failed(now, held, trouble, why, &attempt, policy, draw)
            }

            // Also from an attempt that was given up: a certificate that came after all is not thrown away.
            (stage, Event::Issued(new)) if stage.held().is_none_or(|held| held.epoch < new.epoch) => {
                (stage.serving(now, new, policy, draw), vec![])
            }
            (unmoved, _) => (unmoved, vec![]),
        }
    }

    /// A new generation is in force.
    fn serving(self, now: UnixTime, held: Held, policy: &Policy, draw: f64) -> Stage {
        let mut trouble = Trouble { attempts: self.trouble().attempts, ..Trouble::default() };
        trouble.spent.clone_from(&self.trouble().spent);
        trouble.spend(&held.authority, now);
        let renew_at = if foreign(&held, policy) { now } else { schedule::due(&held, &trouble, policy, draw) };
        let ask_at = held.answers_about_renewal().then_some(now);
        Stage::Serving { renew_at, ask_at, trouble, held }
    }

    /// After a start: what is in the store counts, then the journal.
    fn started(self, now: UnixTime, held: Option<Held>, policy: &Policy, draw: f64) -> (Stage, Vec<Effect>) {
        let newer = match (&held, self.held()) {
            (Some(stored), Some(known)) => stored.epoch > known.epoch,
            (Some(_), None) => true,
            (None, _) => false,
        };
        // The journal knows the choice; the store knows the dates, in case an older generation came back.
        let known = self.held().map(|known| (known.epoch, known.choice));
        let held = held.map(|held| match known {
            Some((epoch, choice)) if epoch == held.epoch => Held { choice, ..held },
            _ => held,
        });
        match (self, held) {
            // The bundle was stored just before the crash: the order is done.
            (stage, Some(held)) if newer => (stage.serving(now, held, policy, draw), vec![]),
            (Stage::Ordering { attempt, trouble, .. }, held) => {
                // The time of the outage is not the order's fault: its deadline begins again.
                let give_up_at = now + schedule::order_patience(held.as_ref(), now, policy);
                let attempt = Attempt { give_up_at, ..attempt };
                (Stage::Ordering { held, attempt: attempt.clone(), trouble }, vec![Effect::PlaceOrder(attempt)])
            }
            (Stage::Serving { renew_at, ask_at, trouble, .. }, Some(held)) => {
                let renew_at = if foreign(&held, policy) { now } else { renew_at };
                (Stage::Serving { held, renew_at, ask_at, trouble }, vec![])
            }
            (Stage::Serving { trouble, .. }, None) => (Stage::Absent { trouble, retry_at: now }, vec![]),
            (stage @ Stage::Absent { .. }, _) => (stage, vec![]),
        }
    }
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::new()
    }
}

/// Whether none of the present ways leads to the authority that issued `held`: then a new one is due at once.
fn foreign(held: &Held, policy: &Policy) -> bool {
    policy.ways.iter().all(|way| way.authority != held.authority)
}

fn ask(now: UnixTime, held: Held, renew_at: UnixTime, trouble: Trouble) -> (Stage, Vec<Effect>) {
    let effects = match &held.ari_id {
        Some(ari_id) => vec![Effect::AskRenewalInfo { epoch: held.epoch, ari_id: ari_id.clone() }],
        None => vec![],
    };
    // If no answer comes at all, this is when it is asked again.
    let ask_at = held.answers_about_renewal().then(|| now + schedule::ask_again(&held));
    (Stage::Serving { held, renew_at, ask_at, trouble }, effects)
}

fn informed(
    now: UnixTime,
    held: Held,
    renew_at: UnixTime,
    trouble: Trouble,
    info: &RenewalInfo,
    policy: &Policy,
    draw: f64,
) -> Stage {
    let choice = ari::choose(info, held.choice, held.not_after, draw);
    let moved = choice.is_some() && choice != held.choice;
    let held = Held { choice: choice.or(held.choice), ..held };
    // While attempts fail, it is due already and the retry rule leads.
    let renews = moved && trouble.failures == 0;
    let renew_at = if renews { schedule::due(&held, &trouble, policy, draw) } else { renew_at };
    Stage::Serving { held, renew_at, ask_at: Some(now + ari::ask_again(info.ask_again)), trouble }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
pub(crate) mod tests;
