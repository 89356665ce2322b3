//! How does an attempt begin, and what follows when it fails? The two moves of [`Stage`] that need more than a line.
//! Pure, as all of this room.

use std::time::Duration;

use super::failure::{Failure, Next};
use super::schedule;
use super::stage::{Attempt, Effect, Held, Policy, Stage, Trouble, Way};
use crate::clock::UnixTime;

/// Begins an attempt: the next way, its deadline, what it replaces.
pub(super) fn order(now: UnixTime, held: Option<Held>, trouble: Trouble, policy: &Policy) -> (Stage, Vec<Effect>) {
    let (place, way) = choose_way(now, held.as_ref(), &trouble, policy);
    let give_up_at = now + schedule::order_patience(held.as_ref(), now, policy);
    // `replaces` needs the same account, hence the same authority (RFC 9773 5).
    let replaces = held.as_ref().filter(|held| !trouble.without_replaces && held.authority == way.authority);
    let replaces = replaces.and_then(|held| held.ari_id.clone());
    let number = trouble.attempts + 1;
    let trouble = Trouble { attempts: number, next_way: place, ..trouble };
    let attempt = Attempt { number, way, give_up_at, replaces };
    (Stage::Ordering { held, attempt: attempt.clone(), trouble }, vec![Effect::PlaceOrder(attempt)])
}

/// The next way that is free; if none is, the next one all the same.
fn choose_way(now: UnixTime, held: Option<&Held>, trouble: &Trouble, policy: &Policy) -> (usize, Way) {
    let count = policy.ways.len();
    let free = |place: &usize| free_at(held, trouble, policy, &policy.ways[place % count]) <= now;
    let start = trouble.next_way % count;
    let place = (start..start + count).find(free).unwrap_or(start) % count;
    (place, policy.ways[place].clone())
}

/// The moment from which on a way may be gone: its issuer's limits have passed, and it has not issued too much lately.
fn free_at(held: Option<&Held>, trouble: &Trouble, policy: &Policy, way: &Way) -> UnixTime {
    let blocked = trouble.blocked.iter().filter(|(issuer, _)| *issuer == way.issuer).map(|(_, until)| *until);
    let rested = schedule::rested_at(&trouble.spent, &way.authority, held, policy);
    blocked.chain(rested).max().unwrap_or(UnixTime(i64::MIN))
}

/// Ends an attempt badly: what to clear away, what was learned, when and how it is tried again.
pub(super) fn failed(
    now: UnixTime,
    held: Option<Held>,
    mut trouble: Trouble,
    why: Failure,
    attempt: &Attempt,
    policy: &Policy,
    draw: f64,
) -> (Stage, Vec<Effect>) {
    let count = policy.ways.len();
    let effects = if why.ends_the_order() { vec![Effect::AbandonOrder] } else { vec![] };
    let mut next = why.next();
    let limited = matches!(why, Failure::Limited { .. });
    let hurries = match next {
        Next::AgainNow => 1,
        Next::OtherWayNow => count,
        Next::Same | Next::OtherIssuer | Next::OtherWay => usize::MAX,
    };
    if trouble.at_once as usize >= hurries {
        next = Next::OtherWay;
    }
    trouble.without_replaces |= matches!(why, Failure::ReplacesRefused { .. });
    trouble.blocked.retain(|(_, until)| now < *until);
    if let Failure::Limited { until, .. } = &why {
        let patience = schedule::patience_with_limits(held.as_ref(), now, policy);
        let until = until.unwrap_or(now + Duration::from_secs(3600)).min(now + patience);
        trouble.blocked.push((attempt.way.issuer.clone(), until));
    }
    if matches!(why, Failure::BadCertificate { .. }) {
        trouble.spend(&attempt.way.authority, now);
    }
    let here = trouble.next_way % count;
    trouble.next_way = match next {
        Next::Same | Next::AgainNow => here,
        Next::OtherWay | Next::OtherWayNow => (here + 1) % count,
        Next::OtherIssuer => {
            let others = here + 1..here + count;
            others.into_iter().find(|p| policy.ways[p % count].issuer != attempt.way.issuer).map_or(here, |p| p % count)
        }
    };
    if !matches!(why, Failure::Busy) {
        trouble.since.get_or_insert(now);
        trouble.last = Some(why);
    }
    let mut retry_at = if matches!(next, Next::AgainNow | Next::OtherWayNow) {
        trouble.at_once += 1;
        now
    } else {
        trouble.at_once = 0;
        trouble.failures = trouble.failures.saturating_add(1);
        now + schedule::retry_after(held.as_ref(), &trouble, now, policy, draw)
    };
    // If every way is closed, wait for the first to open.
    let first_free = policy.ways.iter().map(|way| free_at(held.as_ref(), &trouble, policy, way)).min();
    let first_free = first_free.unwrap_or(now);
    if first_free > retry_at {
        retry_at = first_free;
    } else if limited && first_free <= now {
        // Another authority is free: no reason to wait for this one.
        retry_at = retry_at.min(now + policy.minute);
    }
    let stage = match held {
        Some(held) => {
            let ask_at = held.answers_about_renewal().then(|| now + schedule::ask_again(&held));
            Stage::Serving { held, renew_at: retry_at, ask_at, trouble }
        }
        None => Stage::Absent { trouble, retry_at },
    };
    (stage, effects)
}
