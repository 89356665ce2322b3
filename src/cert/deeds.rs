//! In which order does a decision become deed? What lies between [`Stage::step`] and the hands: decided first, written
//! second, done third, so that a crash in between repeats and never forgets. Performs nothing itself; `node::keeper` does
//! what is said here in earnest, and the simulator does it with a crash between any two deeds.

use std::time::Duration;

use super::failure::Failure;
use super::ledger::Ledger;
use super::stage::{Attempt, Effect, Event, Policy, Stage};
use crate::clock::UnixTime;

/// The longest sleep: the civil clock may be set, and then the moment to wake has moved.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(300);
/// A doubt about the time holds nothing back in this part of a certificate's life, the last.
const LAST: u32 = 6;
/// While the time is in doubt, it is looked at again after this time.
const DOUBT: Duration = Duration::from_secs(30);
/// A bundle that could not be stored is tried again after this time.
pub const STORE_AGAIN: Duration = Duration::from_secs(30);

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// What the ledger was told goes onto the disk. One that refuses stops nothing.
    SaveLedger,
    /// The new stage goes into the journal. A disk that refuses stops nothing: a lost journal costs one order at most.
    SaveStage,
    /// Others follow this certificate: it has another generation, a mark on it, or a name that goes its own way.
    Report,
    /// This effect, through the issuer of this name; `None`: through the first one, or no issuer has a part in it.
    Perform(Effect, Option<String>),
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Where the certificate stands now.
    pub stage: Stage,
    /// What is to be done, in this order.
    pub deeds: Vec<Deed>,
    /// The failure that led to another stage: people should hear of it once the stage is written.
    pub failed: Option<Failure>,
}

/// One step of `stage`, and the deeds that follow from it.
pub fn decide(stage: &Stage, now: UnixTime, event: Event, policy: &Policy, ledger: &mut Ledger, draw: f64) -> Decision {
    let failed = match &event {
        Event::Failed(_, why) => Some(why.clone()),
        _ => None,
    };
    let noted = ledger.changes();
    let (next, effects) = stage.clone().step(now, event, policy, ledger, draw);
    let changed = next != *stage;
    let mut deeds = Vec::new();
    if ledger.changes() > noted {
        deeds.push(Deed::SaveLedger);
    }
    if changed {
        deeds.push(Deed::SaveStage);
        if concerns_others(stage, &next) {
            deeds.push(Deed::Report);
        }
    }
    deeds.extend(effects.into_iter().filter_map(|effect| {
        let whom = match &effect {
            Effect::PlaceOrder(attempt) => Some(attempt.way.issuer.clone()),
            Effect::AbandonOrder => under_way(stage).map(|attempt| attempt.way.issuer.clone()),
            // Only the authority that issued a certificate knows anything about it.
            Effect::AskRenewalInfo { .. } => {
                let authority = &next.held()?.authority;
                Some(policy.ways.iter().find(|way| way.authority == *authority)?.issuer.clone())
            }
            Effect::Look(_) | Effect::Tell(_) => None,
        };
        Some(Deed::Perform(effect, whom))
    }));
    Decision { stage: next, deeds, failed: failed.filter(|_| changed) }
}

/// Whether an effect takes the place of whatever is being done for the order under way.
pub fn ends_what_runs(effect: &Effect) -> bool {
    matches!(effect, Effect::PlaceOrder(_) | Effect::AbandonOrder)
}

fn under_way(stage: &Stage) -> Option<&Attempt> {
    match stage {
        Stage::Ordering { attempt, .. } => Some(attempt),
        _ => None,
    }
}

/// Whether others must follow a move.
fn concerns_others(before: &Stage, after: &Stage) -> bool {
    let marks = |stage: &Stage| stage.held().map(|held| (held.epoch, held.disowned, held.doubtful));
    marks(before) != marks(after) || before.apart() != after.apart()
}

/// What keeps a certificate from being seen to at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Somebody wants nothing to begin by itself.
    pub paused: bool,
    /// The time is in doubt, and a certificate is held with more than a sixth of its life left: whether it is due nobody
    /// knows. With less left it is ordered all the same: a doubt may last, and an expired certificate is worse.
    pub doubted: bool,
}

impl Rest {
    /// For a certificate that stands here. What runs is brought to its end, paused or not; and where the authority is this
    /// very process, its time is ours, and a certificate too many costs nothing.
    pub fn of(stage: &Stage, paused: bool, in_doubt: bool, now: UnixTime) -> Rest {
        let valid = |stage: &Stage| match stage {
            Stage::Serving { held, .. } => {
                let last = held.not_after.since(held.not_before) / LAST;
                held.authority != "internal" && held.not_after > now + last
            }
            _ => false,
        };
        Rest { paused: paused && under_way(stage).is_none(), doubted: in_doubt && valid(stage) }
    }

    /// Until when its keeper sleeps if nobody has a word for it; `store_again`: a bundle waits for its disk until then.
    pub fn wakes_at(self, stage: &Stage, now: UnixTime, store_again: Option<UnixTime>) -> UnixTime {
        let longest = now + LONGEST_SLEEP;
        let wake = if self.paused { longest } else { stage.wakes_at().min(longest) };
        let wake = if self.doubted { wake.max(now + DOUBT) } else { wake };
        store_again.map_or(wake, |again| again.min(wake))
    }

    /// Whether an event is heard, or passes without a trace.
    pub fn hears(self, event: &Event) -> bool {
        match event {
            Event::Tick => !self.paused && !self.doubted,
            Event::Cleared => !self.paused,
            _ => true,
        }
    }
}

/// A step of putting a new generation in force; it has passed the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    /// Onto the shelf, by [`Place`]. One that cannot be stored is served all the same, and tried again.
    Store,
    /// Into force.
    Publish,
    /// Into the stage, and with it into the journal.
    Step,
    /// The order's record is no longer needed, if the bundle is on the shelf.
    ForgetOrder,
}

/// The order in which it is done: whatever is interrupted is found again and done once more.
pub const INSTALL: [Install; 4] = [Install::Store, Install::Publish, Install::Step, Install::ForgetOrder];

/// How often a place on the shelf is tried.
pub const TRIES: usize = 2;

/// Where a new generation shall go on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub epoch: u64,
    /// What must be in force there.
    pub expected: Option<u64>,
}

impl Place {
    /// For a bundle of this number. `unstored`: something that the shelf has not taken yet is in force.
    pub fn new(epoch: u64, stage: &Stage, unstored: bool) -> Place {
        Place { epoch, expected: stage.held().map(|held| held.epoch).filter(|_| !unstored) }
    }

    /// The shelf has another one in force and knows better which that is; ours is newer than any.
    pub fn after(self, found: Option<u64>) -> Place {
        Place { epoch: self.epoch.max(found.map_or(1, |found| found + 1)), expected: found }
    }
}

#[cfg(test)]
#[path = "deeds_tests.rs"]
mod tests;
