//! Would the simulator notice? Bugs that are planted at the seams of the production code, one at a time: what goes into a
//! decision, what comes out of it, the order of the deeds. Each must be found.

use crate::world::{At, World};
use semper::cert::deeds::{Decision, Deed, Install};
use semper::cert::failure::Failure;
use semper::cert::ledger::{Ledger, Refused};
use semper::cert::preflight::{Finding, Sight};
use semper::cert::scope::Scope;
use semper::cert::stage::{Effect, Event, Policy, Stage};
use semper::clock::UnixTime;
use std::time::Duration;

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    WaitsForEver,
    BackoffOutlivesTheCertificate,
    SavesBeforeVerifying,
    RetryAfterIsObeyed,
    ReplacesRetried,
    NoDirectorySync,
    TokenForOneAuthority,
    ChoiceDrawnAnew,
    RenewsByConfiguredLife,
    OneLimitStopsAll,
    RefusalIsForEver,
    LostFinalizeOrdersAnew,
    KeyNotSavedBeforeFinalize,
    OldestAfterStart,
    BackoffForgottenOnStart,
    FailedValidationsNotCounted,
    KeepsOldNames,
    NoJitter,
    WindowInThePastIgnored,
    AskAgainUnbounded,
    PublishesBeforeStoring,
    DeletesBeforeWriting,
    StopsOnFullDisk,
    LeaksItsPlaceInTheQueue,
    ForgetsOrderBeforeStoring,
    AuthorizationsLeftOpen,
    TicksTwiceADay,
    AccountNeverAgain,
    FailureIsRetriedAtOnce,
    GivesUpAfterTenFailures,
    BadCertificatesNotCounted,
    LedgerNotKept,
    ClockIsBelieved,
    ExpiredIsChosen,
    AsksTheFirstAboutAll,
    NobodyRejoins,
    NothingStandsBehind,
    StandbyIsNeverShown,
    DisownedIsShown,
    RevokedIsKept,
    OverdueIsDeaf,
    NobodyComesBack,
}

const DAY: Duration = Duration::from_secs(86_400);

/// The moment at which a stage that waits wants to try again.
fn next_try(stage: &mut Stage) -> Option<&mut UnixTime> {
    match stage {
        Stage::Absent { retry_at, .. } => Some(retry_at),
        Stage::Serving { renew_at, .. } => Some(renew_at),
        Stage::Ordering { .. } => None,
    }
}

impl Bug {
    /// What goes into a decision; `None`: nothing.
    pub fn before(bug: Option<Bug>, world: &mut World, at: At, event: Event) -> Option<Event> {
        let Some(bug) = bug else { return Some(event) };
        let stage = &mut world.nodes[at.node].keeping[at.cert].stage;
        match (bug, &event) {
            (Bug::ChoiceDrawnAnew, Event::RenewalInfo(..)) => {
                if let Stage::Serving { held, .. } = stage {
                    held.choice = None;
                }
                Some(event)
            }
            (Bug::BackoffForgottenOnStart, Event::Started(_)) => {
                match stage {
                    Stage::Absent { trouble, retry_at: again } | Stage::Serving { trouble, renew_at: again, .. }
                        if trouble.failures > 0 =>
                    {
                        trouble.failures = 0;
                        *again = UnixTime(0);
                    }
                    _ => {}
                }
                Some(event)
            }
            (Bug::WindowInThePastIgnored, Event::RenewalInfo(epoch, info)) if info.end < world.now => {
                Some(Event::NoRenewalInfo(*epoch))
            }
            (Bug::NobodyComesBack, Event::Looked(sights)) => {
                let away = |sight: &&Sight| !matches!(sight.finding, Finding::Here | Finding::Hindered { .. });
                Some(Event::Looked(sights.iter().filter(away).cloned().collect()))
            }
            (Bug::BadCertificatesNotCounted, Event::Failed(number, Failure::BadCertificate { detail })) => {
                Some(Event::Failed(*number, Failure::Unreachable { detail: detail.clone() }))
            }
            _ => Some(event),
        }
    }

    /// How long the edge sleeps too long.
    pub fn sleeps_until(bug: Bug, stage: &Stage) -> Option<UnixTime> {
        let trouble = stage.trouble();
        if let (Bug::RenewsByConfiguredLife, Stage::Serving { held, .. }) = (bug, stage) {
            return (trouble.failures == 0).then(|| held.not_before + DAY * 60);
        }
        let last = trouble.history.last()?;
        let failed = last.failure.is_some() && !matches!(stage, Stage::Ordering { .. });
        match (bug, &trouble.last) {
            _ if !failed => None,
            (Bug::BackoffOutlivesTheCertificate, _) => {
                Some(last.at + Duration::from_secs(3600) * 2_u32.pow(trouble.failures.min(12)))
            }
            (Bug::RetryAfterIsObeyed, Some(Failure::Limited { until, .. })) => *until,
            (Bug::RefusalIsForEver, Some(Failure::Refused { .. })) => Some(last.at + DAY * 36_500),
            (Bug::GivesUpAfterTenFailures, _) if trouble.failures >= 10 => Some(last.at + DAY * 36_500),
            _ => None,
        }
    }

    pub fn draw(bug: Option<Bug>, draw: f64) -> f64 {
        if bug == Some(Bug::NoJitter) { 0.5 } else { draw }
    }

    /// The order in which a new generation is put in force.
    pub fn install(self) -> Option<[Install; 4]> {
        use Install::{ForgetOrder, Publish, Step, Store};
        match self {
            Bug::PublishesBeforeStoring => Some([Publish, Store, Step, ForgetOrder]),
            Bug::ForgetsOrderBeforeStoring => Some([ForgetOrder, Store, Publish, Step]),
            _ => None,
        }
    }

    /// What comes out of a decision.
    pub fn after(
        bug: Option<Bug>,
        now: UnixTime,
        failed: Option<&Event>,
        (policy, ledger, unplanted): (&Policy, &mut Ledger, Option<Ledger>),
        decision: &mut Decision,
    ) {
        let Some(bug) = bug else { return };
        let Decision { stage, deeds, .. } = decision;
        if let (Some(before), Some(Event::Failed(_, Failure::Invalid { .. }))) = (unplanted, failed) {
            *ledger = before;
        }
        let why = match failed {
            Some(Event::Failed(_, why)) => Some(why),
            _ => None,
        };
        let again = match (bug, why) {
            (Bug::FailedValidationsNotCounted, Some(Failure::Invalid { .. })) => Some(now + Duration::from_secs(60)),
            (Bug::FailureIsRetriedAtOnce, Some(_)) => Some(now),
            _ => None,
        };
        if let (Some(again), Some(at)) = (again, next_try(stage)) {
            *at = again;
        }
        match (bug, stage) {
            (Bug::WaitsForEver, Stage::Ordering { attempt, .. }) => attempt.give_up_at = now + DAY * 36_500,
            (Bug::ReplacesRetried, Stage::Ordering { held: Some(held), attempt, .. }) => {
                attempt.replaces.clone_from(&held.ari_id);
                for deed in deeds {
                    if let Deed::Perform(Effect::PlaceOrder(attempt), _) = deed {
                        attempt.replaces.clone_from(&held.ari_id);
                    }
                }
            }
            (Bug::OneLimitStopsAll, _) => {
                if let Some(Failure::Limited { until: Some(until), .. }) = why {
                    for way in policy.ways.iter() {
                        let refused = Refused { scope: Scope::All, until: *until, words: String::new() };
                        ledger.refused(&way.authority, refused, now);
                    }
                }
            }
            (Bug::AskAgainUnbounded, Stage::Serving { ask_at: Some(ask_at), .. })
                if ask_at.since(now) > DAY - Duration::from_secs(5) =>
            {
                *ask_at = now + DAY * 365;
            }
            (Bug::TicksTwiceADay, Stage::Serving { renew_at, .. }) => {
                let half = 43_200_000;
                *renew_at = UnixTime((renew_at.0.div_euclid(half) + 1) * half);
            }
            _ => {}
        }
    }
}
