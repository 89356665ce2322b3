//! Is every planted bug found? Each is played in the scenarios in which it matters; it counts as found only where the same
//! run without it breaks no rule.

use crate::planted::Bug;
use crate::play;
use crate::scenario::Scenario;

/// Makes a scenario.
type Played = fn() -> Scenario;

/// Every bug, with the scenarios that put it to the test.
const PLANTED: &[(Bug, &[Played])] = &[
    (Bug::WaitsForEver, &[Scenario::outage]),
    (Bug::BackoffOutlivesTheCertificate, &[Scenario::siege]),
    (Bug::SavesBeforeVerifying, &[Scenario::six_days_of_bad_certificates, Scenario::second_authority]),
    (Bug::RetryAfterIsObeyed, &[Scenario::outage, Scenario::busy]),
    (Bug::ReplacesRetried, &[Scenario::stubborn]),
    (Bug::NoDirectorySync, &[Scenario::killed]),
    (Bug::TokenForOneAuthority, &[Scenario::second_authority]),
    (Bug::ChoiceDrawnAnew, &[Scenario::plain]),
    (Bug::RenewsByConfiguredLife, &[Scenario::plain]),
    (Bug::OneLimitStopsAll, &[Scenario::busy]),
    (Bug::RefusalIsForEver, &[Scenario::siege]),
    (Bug::LostFinalizeOrdersAnew, &[Scenario::second_authority, Scenario::storm]),
    (Bug::KeyNotSavedBeforeFinalize, &[Scenario::killed]),
    (Bug::OldestAfterStart, &[Scenario::killed]),
    (Bug::BackoffForgottenOnStart, &[Scenario::looping]),
    (Bug::FailedValidationsNotCounted, &[Scenario::outage, Scenario::storm]),
    (Bug::KeepsOldNames, &[Scenario::storm]),
    (Bug::NoJitter, &[Scenario::herd]),
    (Bug::WindowInThePastIgnored, &[Scenario::storm]),
    (Bug::AskAgainUnbounded, &[Scenario::storm]),
    (Bug::PublishesBeforeStoring, &[Scenario::killed]),
    (Bug::DeletesBeforeWriting, &[Scenario::killed]),
    (Bug::StopsOnFullDisk, &[Scenario::full_disk]),
    (Bug::LeaksItsPlaceInTheQueue, &[Scenario::outage, Scenario::plain]),
    (Bug::ForgetsOrderBeforeStoring, &[Scenario::killed]),
    (Bug::AuthorizationsLeftOpen, &[Scenario::stuck]),
    (Bug::TicksTwiceADay, &[Scenario::minutes]),
    (Bug::AccountNeverAgain, &[Scenario::storm]),
    (Bug::FailureIsRetriedAtOnce, &[Scenario::outage]),
    (Bug::GivesUpAfterTenFailures, &[Scenario::siege]),
    (Bug::BadCertificatesNotCounted, &[Scenario::six_days_of_bad_certificates]),
    (Bug::LedgerNotKept, &[Scenario::storm]),
    (Bug::ClockIsBelieved, &[Scenario::lying_clock]),
    (Bug::ExpiredIsChosen, &[Scenario::uneven, Scenario::storm]),
    (Bug::AsksTheFirstAboutAll, &[Scenario::second_authority, Scenario::storm]),
    (Bug::NobodyRejoins, &[Scenario::storm]),
    (Bug::NothingStandsBehind, &[Scenario::storm, Scenario::standing_by]),
    (Bug::StandbyIsNeverShown, &[Scenario::standing_by]),
    (Bug::DisownedIsShown, &[Scenario::revoking]),
    (Bug::RevokedIsKept, &[Scenario::revoking]),
    (Bug::OverdueIsDeaf, &[Scenario::storm, Scenario::siege]),
    (Bug::NobodyComesBack, &[Scenario::moved_away]),
];

/// With which scenario, seed and rule a bug is found.
fn found(bug: Bug, scenarios: &[Played], seeds: u64) -> Option<(&'static str, u64, &'static str)> {
    for seed in 1..=seeds {
        for scenario in scenarios {
            let scenario = scenario();
            if let Err(broken) = play(seed, &scenario, Some(bug))
                && play(seed, &scenario, None).is_ok()
            {
                return Some((scenario.name, seed, broken.rule));
            }
        }
    }
    None
}

/// Those that are found at once: enough for a sample.
const QUICK: &[Bug] = &[
    Bug::WaitsForEver,
    Bug::SavesBeforeVerifying,
    Bug::ChoiceDrawnAnew,
    Bug::RenewsByConfiguredLife,
    Bug::LeaksItsPlaceInTheQueue,
    Bug::TicksTwiceADay,
];

#[test]
fn every_planted_bug_is_found() {
    let seeds = crate::number("SEEDS");
    let mut missed = Vec::new();
    // `BUG=Name` plays one alone.
    let only = std::env::var("BUG").ok();
    let wanted = |bug: &Bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}"));
    let some = PLANTED.iter().filter(|(bug, _)| wanted(bug) && (seeds.is_some() || QUICK.contains(bug)));
    for (bug, scenarios) in some {
        match found(*bug, scenarios, seeds.unwrap_or(5).clamp(5, 100)) {
            Some((scenario, seed, rule)) => println!("{bug:?}: `{rule}`, in {scenario} with seed {seed}"),
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
