//! When? The due rule and the retry rule of DESIGN "Life of a certificate", as plain functions of dates and counts.
//! The certificate's own dates count, never a configured lifetime.

use std::time::Duration;

use super::ledger::Urgency;
use super::stage::{Held, Policy, Trouble};
use crate::clock::UnixTime;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The moment from which on `held` should be renewed, without the authority's own wish: with a third of its life left,
/// or half if it lives under ten days. `draw` moves it forward by up to a fiftieth of the life, so that certificates
/// which were born together do not fall due together.
pub fn due_by_lifetime(held: &Held, draw: f64) -> UnixTime {
    let life = held.lifetime();
    let left = if life < DAY * 10 { life / 2 } else { life / 3 };
    held.not_after - left - life.mul_f64(draw.clamp(0.0, 1.0) / 50.0)
}

/// The moment from which on `held` should be renewed: what was chosen within the authority's window, but never with
/// less than a sixth of the life left, because a renewal may need many attempts; else by its lifetime. That an authority
/// which wants everything renewed at once is not asked in a circle is the ledger's duty.
pub fn due(held: &Held, draw: f64) -> UnixTime {
    match held.choice {
        Some(choice) => choice.at.min(held.not_after - held.lifetime() / 6),
        None => due_by_lifetime(held, draw),
    }
}

/// How long to wait after a failure, before it is tried again.
///
/// With a valid certificate: at most a sixteenth of the life that is left. Without one: 1, 10, 100 minutes, then every
/// hour, and after three days four times a day. The minute is shorter where lives are short.
pub fn retry_after(held: Option<&Held>, trouble: &Trouble, now: UnixTime, policy: &Policy, draw: f64) -> Duration {
    let unit = unit(held, policy);
    let first = match trouble.failures {
        0 | 1 => Some(unit),
        2 => Some(unit * 10),
        3 => Some(unit * 100),
        _ => None,
    };
    let interval = match held.filter(|held| now < held.not_after) {
        Some(held) => first.unwrap_or(unit * 1440).min(countdown(held, now)),
        None => first.unwrap_or_else(|| {
            let long = trouble.since.is_some_and(|since| now.since(since) >= unit * 60 * 72);
            if long { unit * 360 } else { unit * 60 }
        }),
    };
    interval.mul_f64(0.9 + 0.1 * draw.clamp(0.0, 1.0))
}

/// The longest time for which an authority's Retry-After is obeyed: asking once more at the end of it costs nothing,
/// while waiting for a year would cost the certificate.
pub fn patience_with_limits(held: Option<&Held>, now: UnixTime, policy: &Policy) -> Duration {
    match held.filter(|held| now < held.not_after) {
        Some(held) => (held.not_after.since(now) / 4).clamp(floor(held), DAY),
        None => unit(held, policy) * 360,
    }
}

/// How long an order may take from now on.
pub fn order_patience(held: Option<&Held>, now: UnixTime, policy: &Policy) -> Duration {
    let least = Duration::from_secs(20).min(policy.order_patience);
    match held.filter(|held| now < held.not_after) {
        Some(held) => (held.not_after.since(now) / 4).clamp(least, policy.order_patience),
        None => policy.order_patience,
    }
}

/// When to ask for renewal information again if the answer did not say.
pub fn ask_again(held: &Held) -> Duration {
    (held.lifetime() / 20).clamp(Duration::from_secs(60), HOUR * 6)
}

/// A sixteenth of the life left, but no less than what an authority with limits can bear (four failed validations of a
/// name in an hour). Authorities that issue for less than days have no such limits.
fn countdown(held: &Held, now: UnixTime) -> Duration {
    (held.not_after.since(now) / 16).max(floor(held))
}

fn floor(held: &Held) -> Duration {
    (held.lifetime() / 256).clamp(Duration::from_millis(250), Duration::from_secs(900))
}

/// How pressing a new certificate is.
pub fn urgency(held: Option<&Held>, now: UnixTime, asked: bool) -> Urgency {
    let urgency = match held {
        None => Urgency::Bare,
        Some(held) if held.disowned || held.not_after.since(now) < held.lifetime() / 8 => Urgency::Expiring,
        Some(_) => Urgency::Ordinary,
    };
    if asked { urgency.max(Urgency::Asked) } else { urgency }
}

/// "A minute", where the life of a certificate is a day or more; never below a second.
pub(super) fn unit(held: Option<&Held>, policy: &Policy) -> Duration {
    let by_life = held.map_or(policy.minute, |held| held.lifetime() / 1440);
    by_life.clamp(Duration::from_secs(1), policy.minute.max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::super::stage::tests::{held, policy};
    use super::*;

    #[test]
    fn long_lives_are_due_with_a_third_left_and_short_ones_with_half() {
        for (life, left) in [(90 * 86_400, 30 * 86_400), (45 * 86_400, 15 * 86_400), (576_000, 288_000), (60, 30)] {
            let held = held(0, life);
            assert_eq!(due(&held, 0.0), UnixTime::from_seconds(life - left), "{life}");
            let earliest = due(&held, 1.0);
            assert!(earliest < due(&held, 0.0) && earliest >= UnixTime::from_seconds(life - left - life / 50 - 1));
        }
    }

    #[test]
    fn the_interval_never_exceeds_a_sixteenth_of_the_life_left() {
        let held = held(0, 90 * 86_400);
        for failures in 1..40 {
            for day in 60..89 {
                let now = UnixTime::from_seconds(day * 86_400);
                let trouble = Trouble { failures, since: Some(now), ..Trouble::default() };
                let wait = retry_after(Some(&held), &trouble, now, &policy(), 1.0);
                assert!(wait <= held.not_after.since(now) / 16, "{failures} {day}: {wait:?}");
            }
        }
    }

    #[test]
    fn without_a_certificate_the_ladder_is_minutes_then_hours_then_a_quarter_of_a_day() {
        let minutes = |failures, day: i64| {
            let trouble = Trouble { failures, since: Some(UnixTime(0)), ..Trouble::default() };
            retry_after(None, &trouble, UnixTime::from_seconds(day * 86_400), &policy(), 1.0).as_secs() / 60
        };
        assert_eq!([minutes(1, 0), minutes(2, 0), minutes(3, 0), minutes(4, 0)], [1, 10, 100, 60]);
        assert_eq!([minutes(70, 2), minutes(80, 3), minutes(u32::MAX, 4000)], [60, 360, 360]);
    }
}
