//! Promises of the way from decision to deed.

use super::*;
use crate::cert::ari::RenewalInfo;
use crate::cert::stage::Held;
use crate::cert::stage::tests::{held, policy, way};
use crate::cert::trouble::Trouble;
use crate::plan::acme::ChallengeKind;

const DAY: i64 = 86_400;

fn serving(held: Held, renew_at: i64) -> Stage {
    let renew_at = UnixTime::from_seconds(renew_at);
    Stage::Serving { held, renew_at, ask_at: None, trouble: Trouble::default() }
}

fn decided(stage: &Stage, now: i64, event: Event) -> Decision {
    let mut ledger = Ledger::default();
    decide(stage, UnixTime::from_seconds(now), event, &policy(), &mut ledger, 0.5)
}

#[test]
fn ledger_and_journal_are_written_before_an_order_is_placed() {
    let done = decided(&Stage::new(), 0, Event::Tick);
    let Stage::Ordering { attempt, .. } = &done.stage else { panic!("{:?}", done.stage) };
    let place = Deed::Perform(Effect::PlaceOrder(attempt.clone()), Some("a".into()));
    assert_eq!(done.deeds, [Deed::SaveLedger, Deed::SaveStage, place]);
    let failed = decided(&done.stage, 60, Event::Failed(attempt.number, Failure::Deadline));
    assert_eq!(failed.failed, Some(Failure::Deadline));
    let abandoned = failed.deeds.iter().position(|deed| matches!(deed, Deed::Perform(Effect::AbandonOrder, Some(_))));
    assert!(failed.deeds.iter().position(|deed| *deed == Deed::SaveStage) < abandoned, "{:?}", failed.deeds);
    let late = decided(&failed.stage, 61, Event::Failed(attempt.number, Failure::Deadline));
    assert_eq!((late.failed, late.deeds.as_slice()), (None, [].as_slice()), "a late answer changes nothing");
}

#[test]
fn a_new_generation_and_a_mark_are_reported_and_a_new_moment_is_not() {
    let before = serving(held(0, 90 * DAY), 60 * DAY);
    let newer = Held { epoch: 2, ..held(DAY, 90 * DAY) };
    for (event, reports) in [
        (Event::Issued(newer), true),
        (Event::Disowned(1), true),
        (Event::NoRenewalInfo(1), false),
        (Event::Tick, false),
    ] {
        let done = decided(&before, DAY, event.clone());
        assert_eq!(done.deeds.contains(&Deed::Report), reports, "{event:?}: {:?}", done.deeds);
    }
}

#[test]
fn the_authority_that_issued_a_certificate_is_asked_about_it() {
    let rules =
        Policy { ways: vec![way("a", ChallengeKind::Http01), way("b", ChallengeKind::Http01)].into(), ..policy() };
    let asked = |authority: &str| {
        let held = Held { authority: authority.into(), ..held(0, 90 * DAY) };
        let (renew_at, ask_at) = (UnixTime::from_seconds(60 * DAY), Some(UnixTime(0)));
        let stage = Stage::Serving { held, renew_at, ask_at, trouble: Trouble::default() };
        let now = UnixTime::from_seconds(DAY);
        let done = decide(&stage, now, Event::Tick, &rules, &mut Ledger::default(), 0.5);
        done.deeds.into_iter().find_map(|deed| match deed {
            Deed::Perform(Effect::AskRenewalInfo { .. }, whom) => Some(whom),
            _ => None,
        })
    };
    assert_eq!(asked("https://a/"), Some(Some("a".into())));
    assert_eq!(asked("https://b/"), Some(Some("b".into())), "the second one, although the first is preferred");
    assert_eq!(asked("https://gone/"), None, "nobody else knows anything about it");
}

#[test]
fn while_the_time_is_in_doubt_only_what_is_valid_rests() {
    let now = UnixTime::from_seconds(70 * DAY);
    let rests = |held: Held| Rest::of(&serving(held, 60 * DAY), false, true, now);
    let due = held(0, 90 * DAY);
    let rest = rests(due.clone());
    assert!(rest.doubted && !rest.hears(&Event::Tick) && rest.hears(&Event::Renew));
    assert_eq!(rest.wakes_at(&serving(due.clone(), 60 * DAY), now, None), now + DOUBT);
    assert!(!rests(held(0, 60 * DAY)).doubted, "it has expired");
    assert!(!rests(held(0, 73 * DAY)).doubted, "a doubt may last, and little of its life is left");
    assert!(!rests(Held { authority: "internal".into(), ..due.clone() }).doubted, "our own time is its time");
    let window = RenewalInfo { start: now, end: now + DOUBT, explanation: None, ask_again: DOUBT };
    assert!(rest.hears(&Event::RenewalInfo(1, window)));
    assert!(!Rest::of(&serving(due, 60 * DAY), false, false, now).doubted);
}

#[test]
fn a_paused_certificate_begins_nothing_and_ends_what_runs() {
    let now = UnixTime::from_seconds(70 * DAY);
    let stage = serving(held(0, 90 * DAY), 60 * DAY);
    let rest = Rest::of(&stage, true, false, now);
    assert_eq!(rest.wakes_at(&stage, now, None), now + LONGEST_SLEEP);
    assert!(!rest.hears(&Event::Tick) && !rest.hears(&Event::Cleared) && rest.hears(&Event::Renew));
    let soon = now + Duration::from_secs(3);
    assert_eq!(rest.wakes_at(&stage, now, Some(soon)), soon, "a bundle waits for its disk");
    let running = decided(&stage, 70 * DAY, Event::Tick).stage;
    assert!(!Rest::of(&running, true, true, now).paused);
}

#[test]
fn a_generation_finds_its_place_however_far_the_shelf_has_gone_on() {
    let stage = serving(held(0, 90 * DAY), 0);
    let place = Place::new(2, &stage, false);
    assert_eq!((place.epoch, place.expected), (2, Some(1)));
    assert_eq!(Place::new(2, &stage, true).expected, None);
    assert_eq!(place.after(Some(7)), Place { epoch: 8, expected: Some(7) });
    assert_eq!(place.after(None), Place { epoch: 2, expected: None });
}

#[test]
fn a_bundle_is_stored_before_it_is_shown_and_its_order_is_forgotten_last() {
    use Install::{ForgetOrder, Publish, Step, Store};
    assert_eq!(INSTALL, [Store, Publish, Step, ForgetOrder]);
}
