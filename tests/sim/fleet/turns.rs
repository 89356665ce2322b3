//! Whose turn is it, over years? The production rule of `fleet::duty` on nodes that fall into sides again and again; within
//! a side everybody knows what was issued, beyond it nobody does.

use crate::dice::Dice;
use semper::clock::UnixTime;
use semper::fleet::NodeId;
use semper::fleet::duty::{Duty, Holder, Newest, Question, duty};
use semper::plan::certificate::CertId;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    EverybodyActs,
    OnlyTheLiveCount,
    NobodyActs,
}

/// One year of one certificate; which rule broke.
fn year(seed: u64, bug: Option<Bug>) -> Result<(u64, u64), String> {
    let mut dice = Dice::new(seed ^ 0xD07_1E5);
    let count = dice.pick(&[1, 2, 3, 4, 5, 8, 13, 21, 50]);
    let life = dice.pick(&[DAY * 90, DAY * 45, DAY * 6]);
    let nodes: Vec<NodeId> = (0..count).map(|n| NodeId::of_key(&(n as u64 ^ (seed << 8)).to_be_bytes())).collect();
    let cert = CertId::try_from(format!("a.example~{seed:016x}")).unwrap();
    let began = UnixTime::from_seconds(1_800_000_000);
    let (mut sides, mut known): (Vec<u8>, Vec<Option<Newest>>) = (vec![0; count], vec![None; count]);
    let mut lately: VecDeque<(UnixTime, usize)> = VecDeque::new();
    let (mut orders, mut changes) = (0, 0);
    let mut now = began;
    let mut change = now + DAY * 3;
    while now < began + DAY * 400 {
        if now >= change {
            // Whole, two sides, three, or everybody alone; for hours or for weeks.
            let kinds = dice.pick(&[1_usize, 1, 2, 3, count]);
            sides = (0..count).map(|_| u8::try_from(dice.below(kinds)).unwrap_or(0)).collect();
            change = now + dice.length(HOUR, DAY * 20);
            changes += 1;
        }
        // Within a side everybody knows the newest.
        for side in sides.iter().copied().collect::<BTreeSet<u8>>() {
            let of_side: Vec<usize> = (0..count).filter(|at| sides[*at] == side).collect();
            let newest = of_side.iter().filter_map(|at| known[*at]).max_by_key(|newest| newest.not_after);
            of_side.into_iter().for_each(|at| known[at] = newest);
        }
        for me in 0..count {
            // Nobody acts before it is due; that is looked at now and then, for speed.
            if known[me].is_some_and(|newest| now < newest.due) && !dice.chance(0.002) {
                continue;
            }
            let live = |at: usize| sides[at] == sides[me];
            let counted = (0..count).filter(|at| live(*at) || bug != Some(Bug::OnlyTheLiveCount));
            let holders: Vec<Holder> = counted.map(|at| Holder { node: nodes[at], live: live(at) }).collect();
            let newest = known[me];
            let question =
                Question { cert: &cert, me: nodes[me], holders: &holders, newest, since: began, ordering: None };
            let due = newest.is_none_or(|newest| newest.due <= now);
            let acts = match bug {
                Some(Bug::EverybodyActs) => due,
                Some(Bug::NobodyActs) => false,
                _ => duty(now, &question) == Duty::Act,
            };
            if !acts {
                continue;
            }
            orders += 1;
            lately.push_back((now, me));
            while lately.front().is_some_and(|(at, _)| now.since(*at) >= DAY * 7) {
                lately.pop_front();
            }
            let who: BTreeSet<usize> = lately.iter().map(|(_, who)| *who).collect();
            // Lives of days are due more than once a week.
            let rounds = if life < DAY * 10 { 3 } else { 1 };
            if who.len() > 3 * rounds {
                return Err(format!("`three nodes order in a week`: {} of {count} at {now}", who.len()));
            }
            // One in eight fails, and is tried again in its turn.
            if !dice.chance(0.125) {
                let due = now + if life < DAY * 10 { life / 2 } else { life * 2 / 3 };
                let newest = Some(Newest { not_before: now, not_after: now + life, due });
                (0..count).filter(|at| sides[*at] == sides[me]).for_each(|at| known[at] = newest);
            }
        }
        // A side with more than half of all, or one of up to three nodes, never lets it end.
        for me in 0..count {
            let side = sides.iter().filter(|side| **side == sides[me]).count();
            let sure = side * 2 > count;
            let over = known[me].map_or(now > began + DAY, |newest| newest.not_after <= now);
            if sure && over && now < change && now.since(began) > DAY {
                return Err(format!(
                    "`most of a fleet renew in time`: node {me} of {count}, {side} see each other, at {now}"
                ));
            }
        }
        now = now + HOUR;
    }
    Ok((orders, changes))
}

#[test]
fn at_most_three_nodes_order_in_a_week_and_most_of_a_fleet_renews_in_time() {
    let (mut orders, mut changes) = (0, 0);
    let seeds = crate::seeds(100);
    for seed in seeds.clone() {
        match year(seed, None) {
            Ok(played) => (orders, changes) = (orders + played.0, changes + played.1),
            Err(broken) => panic!("turns fail with SEED={seed}: {broken}"),
        }
    }
    println!("turns: {} years, {orders} orders, {changes} other sides", seeds.count());
}

#[test]
fn wrong_rules_of_whose_turn_it_is_are_found() {
    for bug in [Bug::EverybodyActs, Bug::OnlyTheLiveCount, Bug::NobodyActs] {
        let found = (1..=60).find(|seed| year(*seed, None).is_ok() && year(*seed, Some(bug)).is_err());
        assert!(found.is_some(), "{bug:?}");
    }
}
