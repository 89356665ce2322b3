//! Which names are better ordered by themselves, and which are not ordered at all? One dead name must not block the
//! others of its certificate: what keeps failing alone is split off; what points elsewhere for days is left in peace.

use std::time::Duration;

use super::failure::Failure;
use super::notice::Notice;
use super::preflight::{Finding, Sight};
use super::stage::{Effect, Held, Stage, Trouble};
use super::trouble::{Away, Blamed};
use crate::clock::UnixTime;
use crate::words::Identifier;

/// Names that are away are looked at again in this interval: one that came back is to be served within the hour.
const LOOK_AGAIN: Duration = Duration::from_secs(1800);
/// Rounds at which a name must have failed alone: where something valid is held, and where not.
const ROUNDS: (u32, u32) = (3, 2);

/// Remembers which names a failure is about, if it is about some and not about all of those that were ordered.
pub(super) fn blame(trouble: &mut Trouble, ordered: &[Identifier], why: &Failure, now: UnixTime) {
    let (Failure::Invalid { names, .. }
    | Failure::NotOffered { names, .. }
    | Failure::Unprepared { names, .. }
    | Failure::Refused { names, .. }) = why
    else {
        return;
    };
    if ordered.iter().all(|name| names.contains(name)) {
        return;
    }
    let round = trouble.failures + 1;
    for name in names.iter().filter(|name| ordered.contains(name)) {
        match trouble.blamed.iter_mut().find(|blamed| blamed.name == *name) {
            // One round counts once, however many ways it tried.
            Some(blamed) if blamed.last_round == round => {}
            Some(blamed) => (blamed.rounds, blamed.last_round) = (blamed.rounds + 1, round),
            None => {
                let blamed = Blamed { name: name.clone(), rounds: 1, last_round: round, since: now };
                trouble.blamed.push(blamed);
            }
        }
    }
}

/// Splits off the names that failed alone for long enough; the notices of it. Never all of them, and where something valid
/// is held, not before two days of ninety.
pub(super) fn split(trouble: &mut Trouble, names: &[Identifier], held: Option<&Held>, now: UnixTime) -> Vec<Notice> {
    let valid = held.filter(|held| now < held.not_after);
    let ripe = |blamed: &&Blamed| match valid {
        Some(held) => {
            let life = held.lifetime();
            let waited = now.since(blamed.since) >= life / 45 || held.not_after.since(now) < life / 8;
            blamed.rounds >= ROUNDS.0 && waited
        }
        None => blamed.rounds >= ROUNDS.1,
    };
    let ripe: Vec<Identifier> = trouble.blamed.iter().filter(ripe).map(|blamed| blamed.name.clone()).collect();
    let rest = names.iter().any(|name| !ripe.contains(name) && !trouble.apart.contains(name));
    if ripe.is_empty() || !rest {
        return Vec::new();
    }
    trouble.blamed.retain(|blamed| !ripe.contains(&blamed.name));
    trouble.apart.extend(ripe.iter().cloned());
    // The rest begins afresh: it has not failed yet.
    trouble.failures = trouble.failures.min(1);
    let why = trouble.last.as_ref().map_or_else(String::new, ToString::to_string);
    ripe.into_iter().map(|name| Notice::SplitOff { name, why: why.clone() }).collect()
}

impl Stage {
    /// A name that was split off has a certificate of its own: the next renewal takes it in again.
    pub(super) fn passed(mut self, name: Identifier) -> (Stage, Vec<Effect>) {
        let trouble = self.trouble_mut();
        let Some(place) = trouble.apart.iter().position(|apart| *apart == name) else { return (self, vec![]) };
        trouble.apart.swap_remove(place);
        (self, vec![Effect::Tell(Notice::Rejoined { name })])
    }

    /// It is time to look at the names that are away.
    pub(super) fn look(mut self, now: UnixTime) -> (Stage, Vec<Effect>) {
        let trouble = self.trouble_mut();
        let names: Vec<_> = trouble.away.iter().map(|away| away.name.clone()).collect();
        trouble.look_at = (!names.is_empty()).then(|| now + LOOK_AGAIN);
        let effects = if names.is_empty() { vec![] } else { vec![Effect::Look(names)] };
        (self, effects)
    }

    /// Somebody looked: what points elsewhere is remembered, and told once when it has lasted.
    pub(super) fn looked(mut self, now: UnixTime, sights: Vec<Sight>) -> (Stage, Vec<Effect>) {
        let trouble = self.trouble_mut();
        let (mut effects, mut back) = (Vec::new(), false);
        for Sight { name, finding } in sights {
            let known = trouble.away.iter().position(|away| away.name == name);
            match (finding, known) {
                (Finding::NotCheckable { .. }, _) => {}
                (Finding::Elsewhere { .. }, None) => {
                    trouble.away.push(Away { name, since: now, seen: now, told: false });
                }
                (Finding::Elsewhere { detail }, Some(at)) => {
                    let away = &mut trouble.away[at];
                    // A clock that was set back begins the span anew.
                    (away.since, away.seen) = (away.since.min(now), now);
                    if away.moved(now) && !away.told {
                        away.told = true;
                        effects.push(Effect::Tell(Notice::MovedAway { name, detail }));
                    }
                }
                (Finding::Here | Finding::Hindered { .. }, Some(at)) => {
                    if trouble.away.swap_remove(at).told {
                        back = true;
                        effects.push(Effect::Tell(Notice::CameBack { name }));
                    }
                }
                (Finding::Here | Finding::Hindered { .. }, None) => {}
            }
        }
        let away = !trouble.away.is_empty();
        trouble.look_at = away.then(|| trouble.look_at.unwrap_or(now + LOOK_AGAIN).max(now + LOOK_AGAIN / 12));
        if back {
            self.hurry(now);
        }
        (self, effects)
    }

    /// A name came back: whoever waits because of it waits no longer.
    fn hurry(&mut self, now: UnixTime) {
        match self {
            Stage::Absent { retry_at, .. } => *retry_at = (*retry_at).min(now),
            Stage::Serving { held, renew_at, trouble, .. } if trouble.failures > 0 || held.not_after <= now => {
                *renew_at = (*renew_at).min(now);
            }
            Stage::Serving { .. } | Stage::Ordering { .. } => {}
        }
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
