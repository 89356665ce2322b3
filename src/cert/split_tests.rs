//! Promises about names that drag others down, and about names that moved away.

use super::*;
use crate::cert::policy::Policy;
use crate::cert::stage::tests::{Reply, World, policy};
use crate::cert::stage::{Attempt, Event};
use crate::plan::acme::ChallengeKind;

const DAY: i64 = 86_400;

fn names(list: &[&str]) -> Vec<Identifier> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

fn three() -> Policy {
    policy().for_names(names(&["a.example", "b.example", "c.example"]))
}

/// The authority does not see the answers of `dead` while it is dead.
fn reply(policy: &Policy, attempt: &Attempt, dead: &[Identifier]) -> Reply {
    let ordered = attempt.names(&policy.names);
    let failed: Vec<_> = ordered.into_iter().filter(|name| dead.contains(name)).collect();
    match failed.is_empty() {
        true => Reply::Issue { life: 90 * DAY },
        false => Reply::Fail(Failure::Invalid { kind: ChallengeKind::Http01, names: failed, detail: "404".into() }),
    }
}

fn split_offs(notices: &[Notice]) -> Vec<&Identifier> {
    let mut names = Vec::new();
    for notice in notices {
        if let Notice::SplitOff { name, .. } = notice {
            names.push(name);
        }
    }
    names
}

#[test]
fn a_dead_name_does_not_keep_the_others_from_their_first_certificate() {
    let (rules, dead) = (three(), names(&["b.example"]));
    let mut world = World::new(rules.clone(), |_, attempt| reply(&rules, attempt, &dead));
    world.run(UnixTime::from_seconds(3600));
    assert_eq!(world.stage.held().unwrap().without, dead);
    assert_eq!(world.stage.apart(), dead);
    assert_eq!(split_offs(&world.notices), [&dead[0]], "one named notice");
    world.run(UnixTime::from_seconds(100 * DAY));
    assert_eq!(split_offs(&world.notices).len(), 1, "and never a second one");
    assert_eq!(world.stage.held().unwrap().epoch, 2, "the others are renewed in time");
}

#[test]
fn a_name_that_dies_later_is_split_off_before_the_certificate_is_in_danger() {
    for life in [90 * DAY, 45 * DAY, 160 * 3600] {
        let (rules, dead) = (three(), names(&["c.example"]));
        let mut world = World::new(rules.clone(), |now, attempt| {
            let dead = if now < UnixTime::from_seconds(life / 3) { &[][..] } else { &dead };
            match reply(&rules, attempt, dead) {
                Reply::Issue { .. } => Reply::Issue { life },
                other => other,
            }
        });
        assert_eq!(world.run(UnixTime::from_seconds(life * 4)).as_secs(), 0, "no gap for the others");
        let second = world.orders.iter().find(|(at, _)| *at > UnixTime::from_seconds(life / 3)).unwrap().0;
        let held = world.stage.held().unwrap();
        assert!(held.epoch >= 4 && held.without == dead, "{held:?}");
        let row = world.orders.iter().filter(|(at, _)| at.since(second).as_secs() < life as u64 / 20).count();
        assert!(row <= 16, "{life}: {row} orders before it was split off");
    }
}

#[test]
fn a_name_that_passes_by_itself_rejoins_with_the_next_renewal() {
    let (rules, dead) = (three(), names(&["b.example"]));
    let mended = UnixTime::from_seconds(DAY);
    let mut world =
        World::new(rules.clone(), |now, attempt| reply(&rules, attempt, if now < mended { &dead } else { &[] }));
    world.run(mended);
    world.send(Event::Passed(dead[0].clone()));
    world.send(Event::Passed(dead[0].clone()));
    let rejoined = world.notices.iter().filter(|notice| matches!(notice, Notice::Rejoined { .. })).count();
    assert_eq!(rejoined, 1);
    assert_eq!(world.stage.apart(), dead, "its own certificate goes on until the common one has it again");
    let before = world.orders.len();
    world.run(UnixTime::from_seconds(50 * DAY));
    assert_eq!(world.orders.len(), before, "nothing is ordered before its time");
    world.run(UnixTime::from_seconds(70 * DAY));
    assert!(world.stage.held().unwrap().without.is_empty() && world.stage.apart().is_empty());
}

#[test]
fn when_all_names_fail_none_is_split_off() {
    let rules = three();
    let dead = rules.names.to_vec();
    let mut world = World::new(rules.clone(), |_, attempt| reply(&rules, attempt, &dead));
    world.run(UnixTime::from_seconds(20 * DAY));
    assert!(world.stage.apart().is_empty() && world.notices.is_empty());
    // Also when the authority names them one at a time.
    let mut turn = 0;
    let mut world = World::new(rules.clone(), |_, attempt| {
        let ordered = attempt.names(&rules.names);
        turn += 1;
        let names = vec![ordered[turn % ordered.len()].clone()];
        Reply::Fail(Failure::Invalid { kind: ChallengeKind::Http01, names, detail: "404".into() })
    });
    world.run(UnixTime::from_seconds(20 * DAY));
    assert!(world.stage.apart().len() < 3, "one at least is ordered still");
    let last_week = world.orders_between(13 * DAY, 20 * DAY);
    assert!(last_week > 5, "and never given up: {last_week}");
}

fn elsewhere(name: &str) -> Event {
    let finding = Finding::Elsewhere { detail: "CNAME shop.example.net".into() };
    Event::Looked(vec![Sight { name: name.parse().unwrap(), finding }])
}

#[test]
fn a_name_that_points_elsewhere_for_days_is_told_once_and_left_in_peace() {
    let (rules, gone) = (three(), names(&["b.example"]));
    let mut world = World::new(rules.clone(), |_, attempt| reply(&rules, attempt, &[]));
    for half_day in 1..20 {
        world.run(UnixTime::from_seconds(half_day * DAY / 2));
        world.send(elsewhere("b.example"));
    }
    assert!(matches!(&world.notices[..], [Notice::MovedAway { .. }]), "{:?}", world.notices);
    assert!(world.notices[0].to_string().contains("delete it from the server_name"));
    assert!(world.looks.iter().all(|names| *names == gone) && world.looks.len() > 10);
    world.send(Event::Renew);
    assert_eq!(world.stage.held().unwrap().without, gone, "no validation is spent on it");
    assert!(world.stage.apart().is_empty(), "and nobody orders it by itself");
    let back = Event::Looked(vec![Sight { name: gone[0].clone(), finding: Finding::Here }]);
    world.send(back);
    assert!(matches!(world.notices.last(), Some(Notice::CameBack { .. })));
    assert_eq!(world.stage.apart(), gone, "until the next renewal takes it in it has one of its own");
}

#[test]
fn looks_that_end_are_no_reason_to_stop_for_ever() {
    let rules = policy();
    let mut world = World::new(rules.clone(), |_, attempt| reply(&rules, attempt, &rules.names));
    for half_day in 1..20 {
        world.run(UnixTime::from_seconds(half_day * DAY / 2));
        world.send(elsewhere("a.example"));
    }
    let quiet = world.orders_between(5 * DAY, 9 * DAY);
    assert_eq!(quiet, 0, "a name that moved away costs nothing");
    world.run(UnixTime::from_seconds(20 * DAY));
    assert!(world.orders_between(13 * DAY, 20 * DAY) > 3, "without news it is tried again");
    world.send(Event::Looked(vec![Sight {
        name: rules.names[0].clone(),
        finding: Finding::NotCheckable { detail: "no way out".into() },
    }]));
    assert!(!matches!(world.notices.last(), Some(Notice::CameBack { .. })), "that says nothing");
}

#[test]
fn a_name_that_comes_back_is_ordered_within_the_hour_and_not_a_day_later() {
    let rules = policy();
    let mut world = World::new(rules.clone(), |_, attempt| reply(&rules, attempt, &rules.names));
    for half_day in 1..10 {
        world.run(UnixTime::from_seconds(half_day * DAY / 2));
        world.send(elsewhere("a.example"));
    }
    let (looks, orders) = (world.looks.len(), world.orders.len());
    world.run(world.now + Duration::from_secs(3600));
    assert!(world.looks.len() > looks, "somebody looks whether it is back");
    assert_eq!(world.orders.len(), orders, "until then nothing is spent on it");
    world.send(Event::Looked(vec![Sight { name: rules.names[0].clone(), finding: Finding::Here }]));
    world.run(world.now + Duration::from_secs(60));
    assert!(world.orders.len() > orders);
}
