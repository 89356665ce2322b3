//! What if the clock was set back? What was planned by the old time then lies too far ahead: a retry in ten years, an order
//! without an end. Such plans are drawn nearer; dates that follow from the certificate itself stay. Pure.

use std::time::Duration;

use super::schedule;
use super::stage::{Held, Policy, Stage, Trouble};
use crate::clock::UnixTime;

/// No wait that the rules give is longer: a name that is near to being paused rests for a fortnight.
const LONGEST: Duration = Duration::from_secs(15 * 86_400);
/// Nor is one for renewal information.
const LONGEST_ASK: Duration = Duration::from_secs(86_400);
/// Less is the work of whoever keeps the clock in step.
const STEP: Duration = Duration::from_secs(60);

impl Stage {
    /// The same stage, with nothing planned for later than it would be planned at `now`.
    pub(super) fn within_reach(mut self, now: UnixTime, policy: &Policy) -> Stage {
        match &mut self {
            Stage::Absent { trouble, retry_at } => {
                draw_nearer(retry_at, trouble, now);
                if is_fresh(trouble) {
                    *retry_at = (*retry_at).min(now);
                }
                if *retry_at > now + LONGEST {
                    *retry_at = now + STEP;
                }
            }
            Stage::Serving { held, renew_at, ask_at, trouble } => {
                draw_nearer(renew_at, trouble, now);
                if *renew_at > held.not_after.max(now + LONGEST) {
                    *renew_at = now + STEP;
                }
                // Whoever has not failed waits for nothing but leave to begin, and that is asked for again.
                let asks = ask_at.is_some_and(|at| at <= now);
                let is_due = !asks && is_fresh(trouble) && schedule::due(held, 0.0) <= now;
                if is_due || is_to_come(held, now) {
                    *renew_at = (*renew_at).min(now);
                }
                if let Some(ask_at) = ask_at.as_mut().filter(|at| **at > now + LONGEST_ASK) {
                    *ask_at = now + schedule::ask_again(held);
                }
            }
            Stage::Ordering { attempt, .. } => {
                if attempt.give_up_at > now + policy.order_patience {
                    attempt.give_up_at = now + policy.order_patience;
                }
            }
        }
        self
    }
}

/// Nothing has failed since the last success.
fn is_fresh(trouble: &Trouble) -> bool {
    trouble.failures == 0 && trouble.at_once == 0
}

/// A wait that began in the future begins now.
fn draw_nearer(until: &mut UnixTime, trouble: &mut Trouble, now: UnixTime) {
    let Some(last) = trouble.history.last_mut().filter(|past| past.at > now + STEP) else { return };
    if trouble.failures > 0 || trouble.at_once > 0 {
        *until = (*until).min(now + until.since(last.at));
    }
    last.at = now;
    trouble.since = trouble.since.map(|since| since.min(now));
    trouble.turn = None;
}

/// Our own authority dates by our own clock: what it signed by a clock that ran ahead is not in force yet. Other
/// authorities know the time better than we do.
fn is_to_come(held: &Held, now: UnixTime) -> bool {
    held.authority == "internal" && held.not_before > now + STEP.min(held.lifetime() / 4)
}

#[cfg(test)]
mod tests {
    use super::super::failure::Failure;
    use super::super::ledger::Ledger;
    use super::super::stage::Event;
    use super::super::stage::tests::{held, policy};
    use super::*;

    const YEAR: i64 = 365 * 86_400;

    fn tick(stage: Stage, now: i64) -> Stage {
        let (policy, mut ledger) = (policy(), Ledger::default());
        stage.step(UnixTime::from_seconds(now), Event::Tick, &policy, &mut ledger, 0.5).0
    }

    #[test]
    fn a_retry_planned_by_a_clock_that_ran_years_ahead_is_not_waited_for() {
        let trouble = Trouble { failures: 4, ..Trouble::default() };
        let ahead = Stage::Absent { trouble: trouble.clone(), retry_at: UnixTime::from_seconds(10 * YEAR) };
        assert_eq!(tick(ahead, 0).wakes_at(), UnixTime::from_seconds(60));
        let fresh = Stage::Absent { trouble: Trouble::default(), retry_at: UnixTime::from_seconds(3600) };
        assert!(matches!(tick(fresh, 0), Stage::Ordering { .. }));
        let (renew_at, ask_at) = (UnixTime::from_seconds(10 * YEAR), Some(UnixTime::from_seconds(10 * YEAR)));
        let ahead = Stage::Serving { held: held(0, 90 * 86_400), renew_at, ask_at, trouble };
        assert!(tick(ahead, 86_400).wakes_at() <= UnixTime::from_seconds(86_460));
    }

    #[test]
    fn a_wait_that_began_in_the_future_begins_now_and_only_once() {
        let mut trouble = Trouble { failures: 4, ..Trouble::default() };
        let way = policy().ways[0].clone();
        trouble.note_failure(UnixTime::from_seconds(20_000), &way, &Failure::Deadline);
        let ahead = Stage::Absent { trouble, retry_at: UnixTime::from_seconds(23_600) };
        let stage = tick(ahead, 0);
        assert_eq!(stage.wakes_at(), UnixTime::from_seconds(3600));
        assert_eq!(tick(stage, 300).wakes_at(), UnixTime::from_seconds(3600));
    }

    #[test]
    fn what_our_own_authority_dated_ahead_is_signed_anew() {
        let ours = Held { authority: "internal".into(), ari_id: None, ..held(50_000, 3600) };
        let renew_at = UnixTime::from_seconds(52_000);
        let stage = |held| Stage::Serving { held, renew_at, ask_at: None, trouble: Trouble::default() };
        assert!(matches!(tick(stage(ours.clone()), 0), Stage::Ordering { .. }));
        let theirs = Held { authority: "https://ca.example/".into(), ..ours };
        assert!(matches!(tick(stage(theirs), 0), Stage::Serving { .. }));
    }

    #[test]
    fn an_older_generation_that_comes_back_is_renewed_by_its_own_dates() {
        let newer = Held { epoch: 2, ..held(0, 90 * 86_400) };
        let renew_at = UnixTime::from_seconds(60 * 86_400);
        let stage = Stage::Serving { held: newer, renew_at, ask_at: None, trouble: Trouble::default() };
        let older = Held { epoch: 1, ..held(-80 * 86_400, 81 * 86_400) };
        let now = UnixTime::from_seconds(43_200);
        let (stage, _) = stage.step(now, Event::Started(Some(older)), &policy(), &mut Ledger::default(), 0.5);
        assert!(stage.wakes_at() <= now, "it ends in half a day: {stage:?}");
    }
}
