//! Do certificates stay in force, whatever happens? The production decisions of `cert/` in a world of virtual time: one
//! thread, one seed, authorities with Let's Encrypt's limits and every fault, crashes at every effect, clocks that jump.
//! After every event the safety rules are checked; after the faults stop, the liveness rules.
//!
//! `make sim`; `SEEDS=100000 make sim` for longer; a failure prints its seed, `SEED=n make sim` repeats it.
#![allow(clippy::unwrap_used)]

mod authority;
mod node;
mod world;

use world::{Counters, Scenario, World};

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("SEEDS").unwrap_or(5),
    }
}

fn run_all(scenario: &Scenario) -> Counters {
    let mut counters = Counters::default();
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| World::new(seed, scenario).run());
        match outcome {
            Ok(of_run) => counters.add(&of_run),
            Err(cause) => {
                eprintln!("scenario `{}` fails with SEED={seed}", scenario.name);
                std::panic::resume_unwind(cause);
            }
        }
    }
    println!("{}: {} runs, {counters:?}", scenario.name, seeds().end - seeds().start);
    counters
}

#[test]
fn every_fault_together_never_breaks_a_rule_and_every_name_recovers() {
    let counters = run_all(&Scenario { name: "storm", ..Scenario::storm() });
    if std::env::var_os("SEED").is_none() {
        counters.assert_every_fault_was_met();
    }
}

#[test]
fn an_authority_down_for_less_than_the_life_left_lets_no_name_expire() {
    run_all(&Scenario { name: "long outage", ..Scenario::outage() });
}

#[test]
fn with_a_second_authority_up_no_name_ever_expires() {
    run_all(&Scenario { name: "second authority", ..Scenario::second_authority() });
}
