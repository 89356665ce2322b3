//! Promises about rounds, fallbacks, limits and turns.

use super::*;
use crate::cert::advice;
use crate::cert::journal::StageRecord;
use crate::cert::stage::Event;
use crate::cert::stage::tests::{Reply, World, held, policy, unreachable, way};
use crate::plan::acme::ChallengeKind::{Http01, TlsAlpn01};
use crate::plan::limits::Limits;

const DAY: i64 = 86_400;

fn two_authorities() -> Policy {
    let ways = vec![way("a", Http01), way("a", TlsAlpn01), way("b", Http01), way("b", TlsAlpn01)];
    Policy { ways: ways.into(), ..policy() }
}

fn invalid() -> Failure {
    Failure::Invalid { kind: Http01, names: vec![], detail: "404".into() }
}

#[test]
fn a_round_tries_every_challenge_then_every_authority_at_once() {
    let mut world = World::new(two_authorities(), |_, _| Reply::Fail(invalid()));
    world.run(UnixTime::from_seconds(30));
    let tried: Vec<_> = world.orders.iter().map(|(_, way)| way.clone()).collect();
    assert_eq!(tried, two_authorities().ways.to_vec());
}

#[test]
fn an_authority_that_cannot_be_reached_is_left_for_the_next_at_once() {
    let mut world = World::new(two_authorities(), |_, attempt| match &*attempt.way.issuer {
        "a" => Reply::Fail(unreachable()),
        _ => Reply::Issue { life: 90 * DAY },
    });
    world.run(UnixTime::from_seconds(2));
    let tried: Vec<_> = world.orders.iter().map(|(_, way)| (&*way.issuer, way.challenge)).collect();
    assert_eq!(tried, [("a", Some(Http01)), ("b", Some(Http01))], "its other challenge is not tried");
    assert_eq!(world.stage.held().unwrap().authority, "https://b/");
}

#[test]
fn a_certificate_of_a_fallback_is_ours_and_the_next_renewal_goes_to_the_first_again() {
    let well = UnixTime::from_seconds(DAY);
    let mut world = World::new(two_authorities(), |now, attempt| match &*attempt.way.issuer {
        "a" if now < well => Reply::Fail(unreachable()),
        _ => Reply::Issue { life: 90 * DAY },
    });
    world.run(UnixTime::from_seconds(50 * DAY));
    assert_eq!(world.orders.len(), 2, "it is not replaced before its time");
    let held = world.stage.held().cloned();
    world.send(Event::Started(held));
    world.send(Event::Tick);
    assert_eq!(world.orders.len(), 2, "nor after a restart");
    world.run(UnixTime::from_seconds(70 * DAY));
    assert_eq!(world.orders.len(), 3);
    assert_eq!((&*world.orders[2].1.issuer, world.orders[2].1.challenge), ("a", Some(Http01)));
}

#[test]
fn a_retry_after_beyond_the_life_left_means_another_authority_now() {
    let year = UnixTime::from_seconds(400 * DAY);
    let mut world = World::new(two_authorities(), |now, attempt| match &*attempt.way.issuer {
        "a" if now > UnixTime::from_seconds(DAY) => {
            Reply::Fail(Failure::Limited { until: Some(year), detail: "busy".into() })
        }
        _ => Reply::Issue { life: 90 * DAY },
    });
    world.run(UnixTime::from_seconds(70 * DAY));
    let at: Vec<_> = world.orders.iter().map(|(at, way)| (at.seconds() / 3600, &*way.issuer)).collect();
    assert_eq!(at.len(), 3, "{at:?}");
    assert_eq!((at[1].1, at[2].1), ("a", "b"));
    assert_eq!(at[1].0, at[2].0, "in the same hour");
}

#[test]
fn one_refused_name_set_does_not_stop_other_certificates_of_that_authority() {
    let mut ledger = Ledger::default();
    let said = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
    let (stage, effects) = Stage::new().step(UnixTime(0), Event::Tick, &policy(), &mut ledger, 0.5);
    let Some(Effect::PlaceOrder(attempt)) = effects.first() else { panic!("{effects:?}") };
    let until = Some(UnixTime::from_seconds(DAY));
    let why = Failure::Limited { until, detail: said.into() };
    let (stage, _) = stage.step(UnixTime(1), Event::Failed(attempt.number, why), &policy(), &mut ledger, 0.5);
    assert!(stage.wakes_at() > UnixTime::from_seconds(3600), "{stage:?}");
    let other = policy().for_names(vec!["b.example".parse().unwrap()]);
    let (_, effects) = Stage::new().step(UnixTime(2), Event::Tick, &other, &mut ledger, 0.5);
    assert!(matches!(effects[..], [Effect::PlaceOrder(_)]));
}

#[test]
fn a_paused_name_shows_the_link_once() {
    let said = "paused: see https://portal.letsencrypt.org/sfe/v1/unpause?jwt=x.y.z";
    let mut world = World::new(policy(), |_, _| Reply::Fail(Failure::Limited { until: None, detail: said.into() }));
    world.run(UnixTime::from_seconds(3 * DAY));
    assert!(world.orders.len() > 3);
    let link = "https://portal.letsencrypt.org/sfe/v1/unpause?jwt=x.y.z".to_owned();
    // It can be read for as long as it is so, after a restart too.
    let again = StageRecord::read(&StageRecord::write(&world.stage)).unwrap();
    assert!(advice::pages(&again).iter().any(|page| page.ends_with(&link)));
    assert_eq!(world.notices, [Notice::Paused { link }]);
}

#[test]
fn thousands_that_are_due_at_once_begin_one_after_the_other_and_the_urgent_first() {
    let limits = Limits { pace: Duration::from_secs(1), ..Limits::LETS_ENCRYPT };
    let rules = Policy { limits: vec![("https://a/".to_owned(), limits)].into(), ..policy() };
    let mut ledger = Ledger::default();
    let now = UnixTime::from_seconds(65 * DAY);
    let serving = |held: Held| Stage::Serving { held, renew_at: now, ask_at: None, trouble: Trouble::default() };
    let mut begin = |n: u32, held: Held| {
        let rules = rules.for_names(vec![format!("n{n}.example").parse().unwrap()]);
        serving(held).step(now, Event::Tick, &rules, &mut ledger, 0.5)
    };
    let moments: Vec<_> = (0..2000).map(|n| begin(n, held(0, 90 * DAY))).collect();
    let at_once = moments.iter().filter(|(_, effects)| !effects.is_empty()).count();
    assert!(at_once <= 20, "{at_once} at once");
    let latest = moments.iter().map(|(stage, _)| stage.wakes_at()).max().unwrap();
    assert!(latest < now + Duration::from_secs(3 * 3600), "{latest}");
    let (_, effects) = begin(2000, held(-24 * DAY, 90 * DAY));
    assert!(matches!(effects[..], [Effect::PlaceOrder(_)]), "one that ends tomorrow does not queue");
    // Whoever has its turn begins when it comes, and not again in the queue.
    let (stage, _) = moments.into_iter().next_back().unwrap();
    let turn = stage.wakes_at();
    let rules = rules.for_names(vec!["n1999.example".parse().unwrap()]);
    let (_, effects) = stage.step(turn, Event::Tick, &rules, &mut ledger, 0.5);
    assert!(matches!(effects[..], [Effect::PlaceOrder(_)]));
}

#[test]
fn a_doubted_clock_begins_nothing_by_itself_while_the_certificate_is_good() {
    let mut ledger = Ledger::default();
    let now = UnixTime::from_seconds(10_000 * DAY);
    let stage = Stage::Serving { held: held(0, 90 * DAY), renew_at: now, ask_at: None, trouble: Trouble::default() };
    let doubted = Policy { believed: Some(UnixTime::from_seconds(10 * DAY)), ..policy() };
    let (waits, effects) = stage.clone().step(now, Event::Tick, &doubted, &mut ledger, 0.5);
    assert!(effects.is_empty() && waits.wakes_at() > now && waits.wakes_at() < now + Duration::from_secs(3600));
    let (_, effects) = stage.clone().step(now, Event::Renew, &doubted, &mut ledger, 0.5);
    assert_eq!(effects.len(), 1, "a person knows better");
    let over = Policy { believed: Some(UnixTime::from_seconds(91 * DAY)), ..policy() };
    let (_, effects) = stage.step(now, Event::Tick, &over, &mut ledger, 0.5);
    assert_eq!(effects.len(), 1, "the others agree that it is over");
}

#[test]
fn a_disowned_certificate_is_replaced_at_once_and_not_named_as_replaced() {
    let mut ledger = Ledger::default();
    let (stage, _) =
        Stage::new().step(UnixTime(0), Event::Started(Some(held(0, 90 * DAY))), &policy(), &mut ledger, 0.5);
    let (stage, effects) = stage.step(UnixTime(5), Event::Disowned(1), &policy(), &mut ledger, 0.5);
    assert!(matches!(&effects[..], [Effect::PlaceOrder(attempt)] if attempt.replaces.is_none()), "{effects:?}");
    assert!(stage.held().unwrap().disowned);
    let (again, effects) = stage.clone().step(UnixTime(6), Event::Disowned(1), &policy(), &mut ledger, 0.5);
    assert!(again == stage && effects.is_empty());
}

#[test]
fn a_cause_that_disappeared_hurries_only_what_is_in_trouble() {
    let mut world = World::new(policy(), |_, _| Reply::Fail(unreachable()));
    world.run(UnixTime::from_seconds(2 * DAY));
    let before = world.orders.len();
    world.now = world.now + Duration::from_secs(120);
    world.send(Event::Cleared);
    let after = world.orders.len();
    assert!(after > before);
    (0..50).for_each(|_| world.send(Event::Cleared));
    assert_eq!(world.orders.len(), after, "not twice in a minute");
    let mut well = World::new(policy(), |_, _| Reply::Issue { life: 90 * DAY });
    well.run(UnixTime::from_seconds(DAY));
    well.send(Event::Cleared);
    assert_eq!(well.orders.len(), 1);
}

#[test]
fn what_was_issued_but_never_came_counts_against_the_limits_and_so_does_a_missed_look() {
    let names = policy().names.to_vec();
    let since = UnixTime::from_seconds(-60);
    let mut world = World::new(Policy { ways: vec![way("a", Http01)].into(), ..policy() }, move |_, attempt| {
        Reply::Fail(match attempt.number {
            1 | 2 => Failure::Unfetched { since, detail: "500".into() },
            _ => Failure::Missed { names: names.clone(), detail: "404".into() },
        })
    });
    world.run(UnixTime::from_seconds(6 * 3600));
    let (policy, now) = (policy(), world.now);
    let (authority, limits) = ("https://a/", policy.limits("https://a/"));
    let urgency = crate::cert::ledger::Urgency::Bare;
    let wish = Wish { authority, limits, names: &policy.names, renewal: false, urgency, life: None };
    let used = world.ledger.used(&wish, now);
    let of = |limit: &str| used.iter().find(|used| used.limit.starts_with(limit)).map(|used| used.used);
    assert_eq!(of("certificates for exactly"), Some(1), "one order, counted once: {used:?}");
    assert!(of("failed validations").is_some_and(|failed| failed > 0), "{used:?}");
    assert!(world.orders.len() > 3, "{:?}", world.orders);
}
