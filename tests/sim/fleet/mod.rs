//! Does a fleet agree, whatever happens between its nodes? The production machine of `fleet::sync` on every node, one seed,
//! virtual time: messages are lost, doubled, overtaken and held back for hours, links cut one way or both, nodes killed,
//! set back to an old disk, their clocks wrong. After every event the safety rules are checked; after the storm all must
//! know the same within a minute. [`turns`] plays whose turn it is to order, over years.

mod net;
mod node;
mod rules;
mod turns;
mod world;

use crate::number;
use world::World;

/// What is planted: the fleet's simulator must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Tombstones do not go to disk.
    EndsAreNotStored,
    /// Nothing goes to disk.
    NothingIsStored,
    /// Nobody compares: only what is pushed travels.
    NobodyCompares,
    /// Nobody pushes: only comparing spreads news.
    NobodyPushes,
    /// A new generation is numbered by the clock.
    NumberedByTheClock,
    /// Challenges are not told.
    TokensAreKept,
    /// The disk is not read at a start.
    DiskIsNotRead,
    /// A node that was removed is still told everything.
    RemovedIsTold,
}

/// How a fleet is played.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Nodes; a run takes one of these.
    pub sizes: &'static [usize],
    /// Minutes with faults, then without.
    pub stormy: u64,
    pub quiet: u64,
    /// Share of messages that are lost, doubled, held back.
    pub lost: f64,
    pub doubled: f64,
    pub late: f64,
    /// Mean seconds between cuts, crashes, restored backups; 0: none.
    pub cuts: u64,
    pub crashes: u64,
    pub backups: u64,
    /// Mean seconds between news.
    pub news: u64,
    /// Clocks that are wrong.
    pub skewed: bool,
}

/// Nothing goes wrong.
pub const CALM: Scenario = Scenario {
    name: "calm fleet",
    sizes: &[3, 5, 8, 21, 50],
    stormy: 5,
    quiet: 2,
    lost: 0.0,
    doubled: 0.0,
    late: 0.0,
    cuts: 0,
    crashes: 0,
    backups: 0,
    news: 20,
    skewed: true,
};

/// Everything at once.
pub const STORM: Scenario = Scenario {
    name: "fleet in a storm",
    sizes: &[3, 4, 5, 8, 13],
    stormy: 40,
    quiet: 4,
    lost: 0.1,
    doubled: 0.05,
    late: 0.02,
    cuts: 60,
    crashes: 150,
    backups: 600,
    news: 25,
    skewed: true,
};

/// All nodes are cut off from each other for a while, and each goes on.
pub const APART: Scenario = Scenario { name: "fleet apart", cuts: 8, crashes: 0, backups: 0, ..STORM };

/// One run; which rule broke, when, and what was seen.
fn play(seed: u64, scenario: Scenario, bug: Option<Bug>) -> Result<world::Tally, String> {
    let mut world = World::new(seed, scenario, bug);
    world.run();
    match world.broken.take() {
        Some(broken) => Err(broken),
        None => Ok(world.tally),
    }
}

fn play_all(scenario: Scenario, share: u64) {
    let mut sum = world::Tally::default();
    for seed in crate::seeds(share) {
        match play(seed, scenario, None) {
            Ok(tally) => sum.add(&tally),
            Err(broken) => panic!("{} fails with SEED={seed}: {broken}", scenario.name),
        }
    }
    println!("{}: {sum:?}", scenario.name);
}

#[test]
fn in_a_calm_fleet_news_are_with_everybody_in_ten_seconds_and_idle_links_are_quiet() {
    play_all(CALM, 10);
}

#[test]
fn after_any_storm_all_nodes_agree_within_a_minute_and_nothing_that_ended_comes_back() {
    play_all(STORM, 50);
}

#[test]
fn sides_that_could_not_hear_each_other_agree_within_a_minute_of_being_healed() {
    play_all(APART, 20);
}

const PLANTED: &[(Bug, Scenario)] = &[
    (Bug::EndsAreNotStored, STORM),
    (Bug::NothingIsStored, STORM),
    (Bug::NobodyCompares, APART),
    (Bug::NobodyPushes, CALM),
    (Bug::NumberedByTheClock, CALM),
    (Bug::TokensAreKept, CALM),
    (Bug::DiskIsNotRead, STORM),
    (Bug::RemovedIsTold, STORM),
];

#[test]
fn every_bug_that_is_planted_in_a_fleet_is_found() {
    let seeds = number("SEEDS").unwrap_or(5).clamp(5, 40);
    let mut missed = Vec::new();
    for (bug, scenario) in PLANTED {
        let found = (1..=seeds).find_map(|seed| {
            let broken = play(seed, *scenario, Some(*bug)).err()?;
            play(seed, *scenario, None).ok().map(|_| (seed, broken))
        });
        match found {
            Some((seed, broken)) => println!("{bug:?}: {broken}, in {} with seed {seed}", scenario.name),
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
