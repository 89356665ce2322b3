//! Do certificates stay in force, whatever happens? The production decisions of `cert/` in a world of virtual time: one
//! thread, one seed, authorities with Let's Encrypt's limits and every fault, a disk, a clock and people that fail, crashes
//! between any two deeds. After every event the safety rules are checked; after the storm, the liveness rules.
//!
//! `make sim`; `SEEDS=100000 make sim` for longer; a failure prints its seed, and `SEED=n make sim` plays it again
//! (`STORY=n`: with so many lines of what happened).
#![allow(clippy::unwrap_used)]

mod alarm;
mod authority;
mod behind;
mod books;
mod bugs;
mod counters;
mod dice;
mod disk;
mod edge;
mod fault;
mod fleet;
mod hand;
mod install;
mod node;
mod planted;
mod records;
mod rules;
mod scenario;
mod watch;
mod ways;
mod weather;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use counters::Counters;
use fault::Fault;
use planted::Bug;
use rules::Broken;
use scenario::Scenario;
use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// How much is played: seeds for a scenario of which `make sim` plays `share` percent of `SEEDS`.
fn seeds(share: u64) -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..2 + (number("SEEDS").unwrap_or(3) * share / 100),
    }
}

/// One run. A panic of the production code is a broken rule too.
fn play(seed: u64, scenario: &Scenario, bug: Option<Bug>) -> Result<Counters, Broken> {
    let mut world = World::new(seed, scenario, bug);
    if catch_unwind(AssertUnwindSafe(|| world.run())).is_err() {
        return Err(Broken { rule: "nothing panics", at: world.now, cert: 0, detail: String::new() });
    }
    match world.broken {
        Some(broken) => Err(broken),
        None => Ok(world.counters),
    }
}

/// The same run again, with its story.
fn tell(seed: u64, scenario: &Scenario) -> String {
    let mut world = World::new(seed, scenario, None);
    world.tracing = true;
    let _ = catch_unwind(AssertUnwindSafe(|| world.run()));
    let Some(broken) = &world.broken else { return String::new() };
    let node = &world.nodes[0];
    let of = |cert: usize| node.keeping.get(cert).map(|keeping| keeping.role.behind().unwrap_or(cert));
    let words: Vec<String> = (0..node.keeping.len())
        .filter(|cert| of(*cert) == of(broken.cert))
        .map(|cert| format!("cert {cert}:"))
        .collect();
    let of = |line: &&String| line.contains("weather:") || words.iter().any(|word| line.contains(&word[..]));
    let told: Vec<&String> = world.story.iter().filter(of).collect();
    let lines = number("STORY").map_or(60, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let (before, after) = told.split_at(told.len().saturating_sub(lines));
    let weather = before.iter().filter(|line| line.contains("weather:"));
    weather.chain(after).map(|line| format!("{line}\n")).collect()
}

fn play_all(scenario: &Scenario, share: u64) -> Counters {
    let mut counters = Counters::default();
    let mut tally = std::collections::BTreeMap::<_, Vec<u64>>::new();
    for seed in seeds(share) {
        match play(seed, scenario, None) {
            Ok(of_run) => counters.add(&of_run),
            // `TALLY=1` goes on, and says which rule breaks with which seeds.
            Err(broken) if number("TALLY").is_some() => tally.entry(broken.rule).or_default().push(seed),
            Err(broken) => {
                let story = tell(seed, scenario);
                let Broken { rule, at, cert, detail } = broken;
                let what = format!("`{rule}` breaks at {at} for certificate {cert}: {detail}");
                panic!("{story}scenario `{}` fails with SEED={seed}: {what}", scenario.name);
            }
        }
    }
    for (rule, seeds) in &tally {
        println!("{}: `{rule}` breaks {} times, with {:?}", scenario.name, seeds.len(), &seeds[..seeds.len().min(8)]);
    }
    println!(
        "{}: {} runs, {:.0} node-days, {} events, {} orders, {} issued, {} expired",
        scenario.name,
        counters.runs,
        counters.node_days(),
        counters.events,
        counters.orders,
        counters.issued,
        counters.expired
    );
    counters
}

#[test]
fn with_well_authorities_nothing_ever_expires_and_little_is_asked() {
    play_all(&Scenario::plain(), 20);
}

#[test]
fn every_fault_together_never_breaks_a_rule_and_every_name_recovers() {
    let counters = play_all(&Scenario::storm(), 100);
    if counters.runs < 250 {
        return;
    }
    let mut missing = counters.missing(fault::OF_AUTHORITY, counters::ORDERING);
    missing.extend(counters.missing(fault::OF_ARI, counters::SERVING));
    for kinds in [fault::OF_DISK, fault::OF_CLOCK, fault::OF_PEOPLE, &[Fault::Crash, Fault::PowerLoss]] {
        missing.extend(counters.missing(kinds, counters::STAGES));
    }
    missing.extend(counters.missing(fault::OF_NAMES, counters::ORDERING));
    // Who holds nothing replaces nothing; and seldom is the second kind of challenge tried for a first one.
    let first: &[counters::Standing] = &[counters::Standing::OrderingFirst];
    missing.retain(|met| *met != (Fault::RefusesReplaces, first) && *met != (Fault::OffersOneKind, first));
    assert!(missing.is_empty(), "never met: {missing:?}");
    let points = counters::POINTS.iter().filter(|point| !counters.crashes.contains_key(point));
    assert_eq!(points.count(), 0, "crashes struck only at {:?}", counters.crashes.keys());
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

#[test]
fn years_of_a_hundred_certificates_pass_in_seconds() {
    // Without optimization the figure would say nothing.
    if number("SEEDS").is_none() && number("SEED").is_none() {
        return;
    }
    let before = cpu();
    let counters = play_all(&Scenario::years(), 1);
    let pace = counters.node_days() / (cpu() - before).as_secs_f64();
    println!("{pace:.0} node-days of 100 certificates in a CPU-second");
    // The aim is 1000, on a machine that does nothing else.
    assert!(pace > 300.0, "{pace:.0} node-days in a CPU-second");
}

#[test]
fn certificates_that_were_born_together_do_not_fall_due_together() {
    play_all(&Scenario::herd(), 2);
}

#[test]
fn one_authority_at_its_limits_does_not_stop_the_other() {
    play_all(&Scenario::busy(), 20);
}

#[test]
fn an_authority_that_never_takes_replaces_is_asked_without() {
    play_all(&Scenario::stubborn(), 20);
}

#[test]
fn a_clock_that_jumps_by_years_orders_nothing_and_loses_nothing() {
    play_all(&Scenario::lying_clock(), 20);
}

#[test]
fn a_process_that_dies_again_and_again_does_not_hammer_an_authority() {
    play_all(&Scenario::looping(), 10);
}

#[test]
fn sieges_of_three_weeks_let_no_name_expire() {
    play_all(&Scenario::siege(), 20);
    play_all(&Scenario::stuck(), 20);
}

#[test]
fn kills_and_power_cuts_cost_nothing_that_was_issued() {
    play_all(&Scenario::killed(), 20);
}

#[test]
fn a_disk_that_takes_nothing_for_weeks_lets_no_name_expire() {
    play_all(&Scenario::full_disk(), 4);
}

#[test]
fn a_frail_machine_keeps_what_it_has() {
    play_all(&Scenario::frail(), 50);
}

#[test]
fn an_older_generation_steps_in_where_the_newest_has_ended() {
    play_all(&Scenario::uneven(), 20);
}

#[test]
fn lives_of_a_minute_are_kept_up_through_crashes_and_bad_disks() {
    play_all(&Scenario::minutes(), 20);
}

#[test]
fn an_authority_down_for_less_than_the_life_left_lets_no_name_expire() {
    play_all(&Scenario::outage(), 50);
}

#[test]
fn with_a_second_authority_up_no_name_ever_expires() {
    play_all(&Scenario::second_authority(), 50);
}

#[test]
fn an_authority_of_short_lives_that_issues_nothing_good_is_not_asked_too_often() {
    play_all(&Scenario::six_days_of_bad_certificates(), 50);
}

#[test]
fn a_standby_steps_in_for_what_is_revoked_or_cannot_be_renewed() {
    play_all(&Scenario::standing_by(), 10);
    play_all(&Scenario::revoking(), 20);
}

#[test]
fn five_hundred_names_from_nothing_stay_inside_the_limits_and_end_within_a_day() {
    play_all(&Scenario::five_hundred(), 5);
}
