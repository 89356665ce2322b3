//! How does an attempt begin, and what follows when it fails? The two moves of [`Stage`] that need more than a line.
//! Pure, as all of this room.

use std::time::Duration;

use super::failure::{Failure, Next};
use super::ledger::{Ledger, Refused, Wish};
use super::notice::Notice;
use super::schedule;
use super::scope::{Scope, unpause_link};
use super::split;
use super::stage::{Attempt, Effect, Held, Policy, Stage, Trouble, Way};
use crate::clock::UnixTime;
use crate::words::Identifier;

/// While the clock is doubted, it is looked at again after this time.
const DOUBT: Duration = Duration::from_secs(300);
/// Where all names have moved away, the next look is this far off.
const AWAY: Duration = Duration::from_secs(86_400);

/// What a step works with.
pub(super) struct Scene<'a> {
    pub now: UnixTime,
    pub policy: &'a Policy,
    pub ledger: &'a mut Ledger,
    pub draw: f64,
}

impl Scene<'_> {
    /// A new generation came: it counts.
    pub fn book_issued(&mut self, before: Option<&Held>, new: &Held) {
        let names = without(&self.policy.names, &new.without);
        let renewal = before.is_some_and(|old| renews(old, &new.authority, &new.without));
        let wish = self.wish(before, &new.authority, &names, renewal, false);
        self.ledger.issued(&wish, new.obtained_at, self.now);
    }
}

impl<'p> Scene<'p> {
    fn wish<'w>(
        &self,
        held: Option<&Held>,
        authority: &'w str,
        names: &'w [Identifier],
        renewal: bool,
        asked: bool,
    ) -> Wish<'w>
    where
        'p: 'w,
    {
        Wish {
            authority,
            limits: self.policy.limits(authority),
            names,
            renewal,
            urgency: schedule::urgency(held, self.now, asked),
            life: held.filter(|held| held.authority == authority).map(Held::lifetime),
        }
    }
}

/// An order that is thought of: which names, and whether somebody asked for it.
struct Intent<'a> {
    held: Option<&'a Held>,
    names: &'a [Identifier],
    leave_out: &'a [Identifier],
    asked: bool,
}

impl Intent<'_> {
    /// The moment from which on this way may be gone.
    fn free_at(&self, scene: &mut Scene<'_>, way: &Way) -> UnixTime {
        let renewal = self.held.is_some_and(|held| renews(held, &way.authority, self.leave_out));
        let wish = scene.wish(self.held, &way.authority, self.names, renewal, self.asked);
        scene.ledger.free_at(&wish, scene.now)
    }

    /// The moment from which on any way may be gone.
    fn first_free(&self, scene: &mut Scene<'_>) -> UnixTime {
        let ways = scene.policy.ways.clone();
        ways.iter().map(|way| self.free_at(scene, way)).min().unwrap_or(scene.now)
    }
}

/// Begins an attempt: the next free way, its deadline, what it replaces. If it may not begin yet, waits for that moment.
pub(super) fn order(
    scene: &mut Scene<'_>,
    held: Option<Held>,
    ask_at: Option<UnixTime>,
    mut trouble: Trouble,
    asked: bool,
) -> (Stage, Vec<Effect>) {
    let (now, policy) = (scene.now, scene.policy);
    let wait =
        |held: Option<Held>, trouble: Trouble, until: UnixTime| (waiting(now, held, ask_at, trouble, until), vec![]);
    let leave_out = trouble.left_out(&policy.names, now);
    let names = without(&policy.names, &leave_out);
    if names.is_empty() {
        return wait(held, trouble, now + AWAY);
    }
    if !asked && policy.believed.is_some_and(|at| held.as_ref().is_some_and(|held| at < held.not_after)) {
        return wait(held, trouble, now + DOUBT);
    }
    let intent = Intent { held: held.as_ref(), names: &names, leave_out: &leave_out, asked };
    let count = policy.ways.len();
    let start = trouble.next_way % count;
    let free = (start..start + count).map(|at| at % count).find(|at| intent.free_at(scene, &policy.ways[*at]) <= now);
    let Some(place) = free else {
        let until = intent.first_free(scene);
        return wait(held, trouble, until);
    };
    let way = &policy.ways[place];
    let renewal = held.as_ref().is_some_and(|held| renews(held, &way.authority, &leave_out));
    let wish = scene.wish(held.as_ref(), &way.authority, &names, renewal, asked);
    // Whoever is in a hurry does not queue.
    if wish.urgency < super::ledger::Urgency::Asked {
        let turn = trouble.turn.unwrap_or_else(|| scene.ledger.turn(&wish, now));
        if turn > now {
            trouble.turn = Some(turn);
            return wait(held, trouble, turn);
        }
    }
    scene.ledger.ordered(&wish, now);
    let give_up_at = now + schedule::order_patience(held.as_ref(), now, policy);
    // `replaces` needs the same account, hence the same authority (RFC 9773 5).
    let replaces = held.as_ref().filter(|held| !trouble.without_replaces && held.authority == way.authority);
    let replaces = replaces.and_then(|held| held.ari_id.clone());
    let number = trouble.attempts + 1;
    let trouble = Trouble { attempts: number, next_way: place, turn: None, ask_at, ..trouble };
    let attempt = Attempt { number, way: way.clone(), give_up_at, replaces, leave_out };
    (Stage::Ordering { held, attempt: attempt.clone(), trouble }, vec![Effect::PlaceOrder(attempt)])
}

/// Ends an attempt badly: what to clear away, what was learned, when and how it is tried again. Each round tries every
/// way that the failures leave open, one after the other and at once; then comes a wait.
pub(super) fn failed(
    scene: &mut Scene<'_>,
    held: Option<Held>,
    mut trouble: Trouble,
    why: Failure,
    attempt: &Attempt,
) -> (Stage, Vec<Effect>) {
    let (now, policy) = (scene.now, scene.policy);
    let mut effects = if why.ends_the_order() { vec![Effect::AbandonOrder] } else { vec![] };
    let names = attempt.names(&policy.names);
    let intent = Intent { held: held.as_ref(), names: &names, leave_out: &attempt.leave_out, asked: false };
    book(scene, &intent, &why, &attempt.way);
    trouble.without_replaces |= matches!(why, Failure::ReplacesRefused { .. });
    if matches!(why, Failure::Busy) {
        trouble.failures = trouble.failures.saturating_add(1);
        let again = now + schedule::retry_after(held.as_ref(), &trouble, now, policy, scene.draw);
        let ask_at = trouble.ask_at.take();
        return (waiting(now, held, ask_at, trouble, again), effects);
    }
    effects.extend(paused(&mut trouble, &why));
    trouble.since.get_or_insert(now);
    trouble.note_failure(now, &attempt.way, &why);
    split::blame(&mut trouble, &names, &why, now);
    let at_once = next_at_once(scene, &intent, &trouble, &why, attempt);
    trouble.last = Some(why);
    let retry_at = match at_once {
        Some(place) => {
            trouble.at_once += u32::from(place == trouble.next_way);
            trouble.next_way = place;
            now
        }
        None => {
            (trouble.at_once, trouble.next_way) = (0, 0);
            trouble.failures = trouble.failures.saturating_add(1);
            let retry_at = after_round(scene, &intent, &trouble);
            if matches!(trouble.last, Some(Failure::Invalid { .. })) {
                effects.push(Effect::Look(names.clone()));
            }
            let split = split::split(&mut trouble, &policy.names, held.as_ref(), now);
            let hurries = !split.is_empty();
            effects.extend(split.into_iter().map(Effect::Tell));
            if hurries { retry_at.min(now + schedule::unit(held.as_ref(), policy)) } else { retry_at }
        }
    };
    let ask_at = trouble.ask_at.take();
    (waiting(now, held, ask_at, trouble, retry_at), effects)
}

/// The way that is tried at once after a failure; `None`: the round is over.
fn next_at_once(
    scene: &mut Scene<'_>,
    intent: &Intent<'_>,
    trouble: &Trouble,
    why: &Failure,
    attempt: &Attempt,
) -> Option<usize> {
    let ways = scene.policy.ways.clone();
    let here = ways.iter().position(|way| *way == attempt.way).unwrap_or(trouble.next_way % ways.len());
    let mut later = here + 1..ways.len();
    match why.next() {
        Next::Same => None,
        Next::AgainNow if trouble.at_once == 0 && intent.free_at(scene, &ways[here]) <= scene.now => Some(here),
        Next::AgainNow | Next::OtherWay => later.find(|at| intent.free_at(scene, &ways[*at]) <= scene.now),
        Next::OtherIssuer => later
            .filter(|at| ways[*at].authority != attempt.way.authority)
            .find(|at| intent.free_at(scene, &ways[*at]) <= scene.now),
    }
}

/// When the next round begins.
fn after_round(scene: &mut Scene<'_>, intent: &Intent<'_>, trouble: &Trouble) -> UnixTime {
    let (now, policy) = (scene.now, scene.policy);
    let ladder = now + schedule::retry_after(intent.held, trouble, now, policy, scene.draw);
    let first_free = intent.first_free(scene);
    if matches!(trouble.last, Some(Failure::Limited { .. })) {
        // The authority has said when; the ladder only keeps it from being asked every second.
        let soon = now + schedule::unit(intent.held, policy) * 60;
        return ladder.min(soon).max(first_free);
    }
    ladder.max(first_free)
}

/// What a failure means for the ledger.
fn book(scene: &mut Scene<'_>, intent: &Intent<'_>, why: &Failure, way: &Way) {
    let now = scene.now;
    match why {
        Failure::Invalid { names, .. } => {
            let names = if names.is_empty() { intent.names } else { names };
            scene.ledger.failed(&way.authority, names, now);
        }
        Failure::Missed { names, .. } => scene.ledger.failed(&way.authority, names, now),
        Failure::Unfetched { since, .. } => {
            let renewal = intent.held.is_some_and(|held| renews(held, &way.authority, intent.leave_out));
            let wish = scene.wish(intent.held, &way.authority, intent.names, renewal, false);
            scene.ledger.issued(&wish, *since, now);
        }
        Failure::BadCertificate { .. } => {
            let renewal = intent.held.is_some_and(|held| renews(held, &way.authority, intent.leave_out));
            let wish = scene.wish(intent.held, &way.authority, intent.names, renewal, false);
            scene.ledger.issued(&wish, now, now);
        }
        Failure::Limited { until, detail } => {
            let patience = now + schedule::patience_with_limits(intent.held, now, scene.policy);
            let until = until.unwrap_or(now + Duration::from_secs(3600)).min(patience);
            let words = detail.chars().take(300).collect();
            let refused = Refused { scope: Scope::of(detail, intent.names), until, words };
            scene.ledger.refused(&way.authority, refused, now);
        }
        _ => {}
    }
}

/// The notice of a pause, once for each row of failures.
fn paused(trouble: &mut Trouble, why: &Failure) -> Option<Effect> {
    let Failure::Limited { detail, .. } = why else { return None };
    let link = unpause_link(detail)?.to_owned();
    // Each refusal may have a link of its own; the newest is the one that still works.
    let known = trouble.pause_link.replace(link.clone()).is_some();
    (!known).then_some(Effect::Tell(Notice::Paused { link }))
}

/// Whether an order at `authority` without `leave_out` is for the same names at the same place as what is held.
fn renews(held: &Held, authority: &str, leave_out: &[Identifier]) -> bool {
    held.authority == authority && held.without == leave_out
}

fn without(names: &[Identifier], out: &[Identifier]) -> Vec<Identifier> {
    names.iter().filter(|name| !out.contains(name)).cloned().collect()
}

/// Nothing runs; the next attempt is at `until`. While one is held, its authority is asked about it in between.
fn waiting(now: UnixTime, held: Option<Held>, ask_at: Option<UnixTime>, trouble: Trouble, until: UnixTime) -> Stage {
    match held {
        Some(held) => {
            let soon = || held.answers_about_renewal().then(|| now + schedule::ask_again(&held));
            let ask_at = ask_at.or_else(soon);
            Stage::Serving { held, renew_at: until, ask_at, trouble }
        }
        None => Stage::Absent { trouble, retry_at: until },
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
