//! How does an attempt begin, and what follows when it fails? The two moves of [`Stage`] that need more than a line.
//! Pure, as all of this room.

use std::time::Duration;

use super::failure::{Failure, Next};
use super::schedule;
use super::stage::{Attempt, Effect, Held, Policy, Stage, Trouble, Way};
use crate::clock::UnixTime;

/// Begins an attempt: the next way, its deadline, what it replaces.
pub(super) fn order(now: UnixTime, held: Option<Held>, trouble: Trouble, policy: &Policy) -> (Stage, Vec<Effect>) {
    let (place, way) = choose_way(now, &trouble, policy);
    let give_up_at = now + schedule::order_patience(held.as_ref(), now, policy);
    // `replaces` needs the same account, hence the same authority (RFC 9773 5).
    let replaces = held.as_ref().filter(|held| !trouble.without_replaces && held.authority == way.authority);
    let replaces = replaces.and_then(|held| held.ari_id.clone());
    let number = trouble.attempts + 1;
    let trouble = Trouble { attempts: number, next_way: place, ..trouble };
    let attempt = Attempt { number, way, give_up_at, replaces };
    (Stage::Ordering { held, attempt: attempt.clone(), trouble }, vec![Effect::PlaceOrder(attempt)])
}

/// The next way whose issuer is not left alone; if all are, the next one all the same.
fn choose_way(now: UnixTime, trouble: &Trouble, policy: &Policy) -> (usize, Way) {
    let count = policy.ways.len();
    let free = |place: &usize| !is_blocked(now, trouble, &policy.ways[place % count]);
    let start = trouble.next_way % count;
    let place = (start..start + count).find(free).unwrap_or(start) % count;
    (place, policy.ways[place].clone())
}

fn is_blocked(now: UnixTime, trouble: &Trouble, way: &Way) -> bool {
    trouble.blocked.iter().any(|(issuer, until)| *issuer == way.issuer && now < *until)
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
    // If every issuer is to be left alone, wait for the first of them.
    if policy.ways.iter().all(|way| is_blocked(retry_at, &trouble, way)) {
        let first = trouble.blocked.iter().map(|(_, until)| *until).min();
        retry_at = first.unwrap_or(retry_at).max(retry_at);
    } else if limited && policy.ways.iter().any(|way| !is_blocked(now, &trouble, way)) {
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
