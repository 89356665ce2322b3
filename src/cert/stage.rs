//! What should happen next to one certificate? [`step`](Stage::step) is a plain function of (stage, now, event, policy,
//! ledger, draw): it never sleeps, logs, reads a clock or rolls dice. `node::keeper` feeds it, writes down what changed
//! and performs the effects; the tests below and the simulator feed it years.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ari::{self, Choice, RenewalInfo};
use super::attempt::{Scene, failed, order};
use super::bundle::Bundle;
use super::failure::Failure;
use super::ledger::Ledger;
use super::notice::Notice;
use super::preflight::Sight;
use super::schedule;
use crate::clock::UnixTime;
use crate::words::Identifier;

pub use super::policy::{Policy, Way};
pub use super::trouble::Trouble;

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
    /// Wanted names that it does not speak for: they are split off or moved away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Identifier>,
    /// Revoked, or its key is known to others: replaced at once, and shown only if nothing else exists.
    #[serde(default)]
    pub disowned: bool,
    /// The authority wants it replaced before its time: perhaps it is about to be revoked.
    #[serde(default)]
    pub doubtful: bool,
    /// The page on which the authority says why it wants it replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

impl Held {
    /// What a bundle says, for a certificate that shall speak for `wanted`.
    pub fn for_names(bundle: &Bundle, wanted: &[Identifier]) -> Held {
        let without = wanted.iter().filter(|name| !bundle.leaf.covers(name)).cloned().collect();
        Held { without, ..Held::of(bundle) }
    }

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
            without: Vec::new(),
            disowned: false,
            doubtful: false,
            explanation: None,
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
    /// Wanted names that are not ordered: they are split off or moved away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<Identifier>,
}

impl Attempt {
    /// The names that are ordered, of those that are `wanted`.
    pub fn names(&self, wanted: &[Identifier]) -> Vec<Identifier> {
        wanted.iter().filter(|name| !self.leave_out.contains(name)).cloned().collect()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The process began; this is what the store holds.
    Started(Option<Held>),
    /// Time passed; sent at [`Stage::wakes_at`], harmless at any other moment.
    Tick,
    /// Somebody wants a renewal now.
    Renew,
    /// A cause of failure may have disappeared (the configuration, an address, a port): a certificate in trouble is tried
    /// again at once, any other is left alone.
    Cleared,
    /// The certificate of this epoch is revoked, or its key is known to others.
    Disowned(u64),
    /// A name that was split off has a certificate of its own now.
    Passed(Identifier),
    /// Somebody looked at names from outside.
    Looked(Vec<Sight>),
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
    /// Look at these names from outside, and answer with [`Event::Looked`]. No answer is no harm.
    Look(Vec<Identifier>),
    /// People should know this.
    Tell(Notice),
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

    /// Names that are ordered by themselves at present: each wants a keeper of its own until [`Event::Passed`], and beyond
    /// until what is held speaks for it again.
    pub fn apart(&self) -> Vec<Identifier> {
        let mut names = self.trouble().apart.clone();
        let moved = |name: &Identifier| self.trouble().away.iter().any(|away| away.name == *name);
        let without = self.held().map_or(&[][..], |held| &held.without);
        names.extend(without.iter().filter(|name| !moved(name)).cloned());
        names.sort();
        names.dedup();
        names
    }

    /// The one moment at which the edge must send the next [`Event::Tick`].
    pub fn wakes_at(&self) -> UnixTime {
        let at = match self {
            Stage::Absent { retry_at, .. } => *retry_at,
            Stage::Serving { renew_at, ask_at, .. } => ask_at.map_or(*renew_at, |ask_at| ask_at.min(*renew_at)),
            Stage::Ordering { attempt, .. } => attempt.give_up_at,
        };
        self.trouble().look_at.map_or(at, |look_at| look_at.min(at))
    }

    /// The next stage and what to do for it. What the ledger is told is to be written down with the stage, before the
    /// effects are performed. `draw` is uniform in `[0, 1)`.
    // Longer than sixty lines: every move of the machine has its arm here.
    pub fn step(
        self,
        now: UnixTime,
        event: Event,
        policy: &Policy,
        ledger: &mut Ledger,
        draw: f64,
    ) -> (Stage, Vec<Effect>) {
        use Stage::*;
        let mut scene = Scene { now, policy, ledger, draw };
        let planned = matches!(event, Event::Tick | Event::Started(_));
        let stage = if planned { self.within_reach(now, policy) } else { self };
        match (stage, event) {
            (stage, Event::Started(held)) => stage.started(&mut scene, held),
            (stage, Event::Tick) if stage.trouble().look_at.is_some_and(|at| at <= now) => stage.look(now),

            (Absent { trouble, retry_at }, Event::Tick) if now >= retry_at => {
                order(&mut scene, None, None, trouble, false)
            }
            (Absent { trouble, .. }, Event::Renew) => order(&mut scene, None, None, trouble, true),

            (Serving { held, renew_at, ask_at, trouble }, Event::Tick) if now >= renew_at => {
                order(&mut scene, Some(held), ask_at, trouble, false)
            }
            (Serving { held, ask_at, trouble, .. }, Event::Renew) => {
                order(&mut scene, Some(held), ask_at, trouble, true)
            }
            (Serving { held, renew_at, ask_at: Some(ask_at), trouble }, Event::Tick) if now >= ask_at => {
                ask(now, held, renew_at, trouble)
            }
            (Serving { held, renew_at, trouble, .. }, Event::RenewalInfo(epoch, info)) if epoch == held.epoch => {
                informed(&scene, held, renew_at, trouble, &info)
            }
            (Serving { held, renew_at, trouble, .. }, Event::NoRenewalInfo(epoch)) if epoch == held.epoch => {
                let ask_at = Some(now + schedule::ask_again(&held));
                (Serving { held, renew_at, ask_at, trouble }, vec![])
            }
            (Serving { held, ask_at, trouble, .. }, Event::Disowned(epoch))
                if epoch == held.epoch && !held.disowned =>
            {
                // Another one at once, and no claim to replace what is worth nothing.
                let trouble = Trouble { without_replaces: true, ..trouble };
                order(&mut scene, Some(Held { disowned: true, ..held }), ask_at, trouble, true)
            }

            (Ordering { held, attempt, trouble }, Event::Tick) if now >= attempt.give_up_at => {
                failed(&mut scene, held, trouble, Failure::Deadline, &attempt)
            }
            (Ordering { held, attempt, trouble }, Event::Failed(number, why)) if number == attempt.number => {
                failed(&mut scene, held, trouble, why, &attempt)
            }
            (Ordering { held: Some(held), attempt, trouble }, Event::Disowned(epoch)) if epoch == held.epoch => {
                (Ordering { held: Some(Held { disowned: true, ..held }), attempt, trouble }, vec![])
            }

            // Also from an attempt that was given up: a certificate that came after all is not thrown away.
            (stage, Event::Issued(new)) if stage.held().is_none_or(|held| held.epoch < new.epoch) => {
                (stage.serving(&mut scene, new), vec![])
            }
            (stage, Event::Cleared) if stage.is_stuck(&scene) => stage.step(now, Event::Renew, policy, ledger, draw),
            (stage, Event::Passed(name)) => stage.passed(name),
            (stage, Event::Looked(sights)) => stage.looked(now, sights),
            (unmoved, _) => (unmoved, vec![]),
        }
    }

    /// A new generation is in force.
    fn serving(self, scene: &mut Scene<'_>, new: Held) -> Stage {
        scene.book_issued(self.held(), &new);
        let (now, policy) = (scene.now, scene.policy);
        let issuer = policy.ways.iter().find(|way| way.authority == new.authority);
        let issuer = issuer.map_or(&*new.authority, |way| &*way.issuer).to_owned();
        let trouble = self.into_trouble().after_success(now, &issuer);
        let renew_at = if foreign(&new, policy) { now } else { schedule::due(&new, scene.draw) };
        let ask_at = new.answers_about_renewal().then_some(now);
        Stage::Serving { renew_at, ask_at, trouble, held: new }
    }

    fn into_trouble(self) -> Trouble {
        match self {
            Stage::Absent { trouble, .. } | Stage::Serving { trouble, .. } | Stage::Ordering { trouble, .. } => trouble,
        }
    }

    pub(super) fn trouble_mut(&mut self) -> &mut Trouble {
        match self {
            Stage::Absent { trouble, .. } | Stage::Serving { trouble, .. } | Stage::Ordering { trouble, .. } => trouble,
        }
    }

    /// Whether it waits after a failure, and not only for a moment.
    fn is_stuck(&self, scene: &Scene<'_>) -> bool {
        let tried = self.trouble().history.last().map_or(UnixTime(i64::MIN), |past| past.at);
        // Where the authority was not asked, nothing has to rest.
        let spent = !matches!(self.trouble().last, Some(Failure::Hindered { .. } | Failure::Unprepared { .. }));
        let rested = !spent || scene.now >= tried + scene.policy.minute;
        !matches!(self, Stage::Ordering { .. }) && self.trouble().failures > 0 && rested
    }

    /// After a start: what is in the store counts, then the journal.
    fn started(self, scene: &mut Scene<'_>, held: Option<Held>) -> (Stage, Vec<Effect>) {
        let (now, policy) = (scene.now, scene.policy);
        let newer = match (&held, self.held()) {
            (Some(stored), Some(known)) => stored.epoch > known.epoch,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let older = held.as_ref().zip(self.held()).is_some_and(|(stored, known)| stored.epoch < known.epoch);
        // The journal knows what was learned; the store knows the dates, in case an older generation came back.
        let known = self.held().cloned();
        let held = held.map(|held| match known {
            Some(known) if known.epoch == held.epoch => Held {
                choice: known.choice,
                disowned: known.disowned,
                doubtful: known.doubtful,
                explanation: known.explanation,
                ..held
            },
            _ => held,
        });
        match (self, held) {
            // The bundle was stored just before the crash: the order is done.
            (stage, Some(held)) if newer => (stage.serving(scene, held), vec![]),
            (Stage::Ordering { attempt, trouble, .. }, held) => {
                // The time of the outage is not the order's fault: its deadline begins again.
                let give_up_at = now + schedule::order_patience(held.as_ref(), now, policy);
                let attempt = Attempt { give_up_at, ..attempt };
                (Stage::Ordering { held, attempt: attempt.clone(), trouble }, vec![Effect::PlaceOrder(attempt)])
            }
            (Stage::Serving { renew_at, ask_at, trouble, .. }, Some(held)) => {
                // What was planned for a newer one that is gone says nothing about this one.
                let renew_at = if older { renew_at.min(schedule::due(&held, scene.draw)) } else { renew_at };
                let renew_at = if foreign(&held, policy) { renew_at.min(now) } else { renew_at };
                // Thousands that slept through their moment must not ask in the same second.
                let late = schedule::ask_again(&held).min(Duration::from_secs(900)).mul_f64(scene.draw);
                let ask_at = ask_at.map(|at| if at < now { now + late } else { at });
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
    scene: &Scene<'_>,
    held: Held,
    renew_at: UnixTime,
    trouble: Trouble,
    info: &RenewalInfo,
) -> (Stage, Vec<Effect>) {
    let now = scene.now;
    let choice = ari::choose(info, held.choice, held.not_after, scene.draw);
    let moved = choice.is_some() && choice != held.choice;
    let told = info.explanation.is_some() && info.explanation == held.explanation;
    let effects = info.explanation.iter().filter(|_| !told && choice.is_some());
    let effects = effects.map(|link| Effect::Tell(Notice::Explained { link: link.clone() })).collect();
    // A window that is over long before the ordinary moment: revoked, or about to be.
    let doubtful = choice.is_some() && info.end < now && now < schedule::due_by_lifetime(&held, 1.0);
    let explanation = info.explanation.clone().or(held.explanation);
    let held = Held { choice: choice.or(held.choice), doubtful: held.doubtful || doubtful, explanation, ..held };
    // While attempts fail, it is due already and the retry rule leads.
    let renews = moved && trouble.failures == 0;
    let renew_at = if renews { schedule::due(&held, scene.draw) } else { renew_at };
    (Stage::Serving { held, renew_at, ask_at: Some(now + ari::ask_again(info.ask_again)), trouble }, effects)
}

#[cfg(test)]
#[path = "stage_tests.rs"]
pub(crate) mod tests;
