//! Promises of the stage machine, kept over years of virtual time.

use super::*;
use crate::cert::ari::Choice;
use crate::plan::acme::ChallengeKind;

const DAY: i64 = 86_400;

pub(crate) fn held(start: i64, life: i64) -> Held {
    Held {
        epoch: 1,
        not_before: UnixTime::from_seconds(start),
        not_after: UnixTime::from_seconds(start + life),
        authority: "https://a/".into(),
        ari_id: Some("aki.serial".into()),
        choice: None,
        obtained_at: UnixTime::from_seconds(start),
        without: vec![],
        disowned: false,
        doubtful: false,
        explanation: None,
    }
}

pub(crate) fn way(issuer: &str, challenge: ChallengeKind) -> Way {
    Way { issuer: issuer.into(), authority: format!("https://{issuer}/"), challenge: Some(challenge) }
}

pub(crate) fn policy() -> Policy {
    let ways = vec![way("a", ChallengeKind::Http01), way("a", ChallengeKind::TlsAlpn01)];
    Policy::new(vec!["a.example".parse().unwrap()], ways)
}

/// A world with one certificate: an authority that answers each order after a delay, or never.
pub(crate) struct World<Answer> {
    pub now: UnixTime,
    pub stage: Stage,
    pub policy: Policy,
    pub ledger: Ledger,
    answer: Answer,
    /// (when, way) of every order.
    pub orders: Vec<(UnixTime, Way)>,
    pub questions: Vec<UnixTime>,
    pub abandoned: usize,
    pub notices: Vec<Notice>,
    pub looks: Vec<Vec<Identifier>>,
    /// What it answers to every question for renewal information.
    pub window: Option<RenewalInfo>,
    /// How long before its issue each certificate begins.
    pub born_old: i64,
    seed: u64,
}

pub(crate) enum Reply {
    Issue { life: i64 },
    Fail(Failure),
    Silence,
}

impl<Answer: FnMut(UnixTime, &Attempt) -> Reply> World<Answer> {
    pub fn new(policy: Policy, answer: Answer) -> Self {
        let (now, stage) = (UnixTime(0), Stage::new());
        World {
            now,
            stage,
            policy,
            ledger: Ledger::default(),
            answer,
            orders: vec![],
            questions: vec![],
            abandoned: 0,
            notices: vec![],
            looks: vec![],
            window: None,
            born_old: 0,
            seed: 7,
        }
    }

    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn send(&mut self, event: Event) {
        let draw = self.draw();
        let stage = std::mem::take(&mut self.stage);
        let (stage, effects) = stage.step(self.now, event, &self.policy, &mut self.ledger, draw);
        // What the journal holds is what was decided.
        let journal = serde_json::to_string(&stage).unwrap();
        assert_eq!(serde_json::from_str::<Stage>(&journal).unwrap(), stage);
        self.stage = stage;
        effects.into_iter().for_each(|effect| self.perform(effect));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::PlaceOrder(attempt) => {
                self.orders.push((self.now, attempt.way.clone()));
                assert!(self.orders.len() < 500_000, "hot loop");
                let epoch = self.stage.held().map_or(1, |held| held.epoch + 1);
                match (self.answer)(self.now, &attempt) {
                    Reply::Issue { life } => {
                        let authority = attempt.way.authority.to_string();
                        let held = held(self.now.seconds() - self.born_old, life);
                        let without = attempt.leave_out.clone();
                        let held = Held { epoch, authority, without, obtained_at: self.now, ..held };
                        self.now = self.now + Duration::from_millis(200);
                        self.send(Event::Issued(held));
                    }
                    Reply::Fail(why) => {
                        self.now = self.now + Duration::from_millis(200);
                        self.send(Event::Failed(attempt.number, why));
                    }
                    Reply::Silence => {}
                }
            }
            Effect::AbandonOrder => self.abandoned += 1,
            Effect::Tell(notice) => self.notices.push(notice),
            Effect::Look(names) => self.looks.push(names),
            Effect::AskRenewalInfo { epoch, .. } => {
                self.questions.push(self.now);
                match &self.window {
                    Some(info) => self.send(Event::RenewalInfo(epoch, info.clone())),
                    None => self.send(Event::NoRenewalInfo(epoch)),
                }
            }
        }
    }

    /// Runs until `end`, and says how long no valid certificate was held.
    pub fn run(&mut self, end: UnixTime) -> Duration {
        let mut bare = Duration::ZERO;
        while self.now < end {
            let next = self.stage.wakes_at().max(self.now).min(end);
            let good_until = self.stage.held().map_or(self.now, |held| held.not_after).max(self.now);
            bare += next.since(good_until);
            self.now = next;
            self.send(Event::Tick);
        }
        bare
    }

    pub fn orders_between(&self, from: i64, to: i64) -> usize {
        let window = UnixTime::from_seconds(from)..UnixTime::from_seconds(to);
        self.orders.iter().filter(|(at, _)| window.contains(at)).count()
    }
}

pub(crate) fn unreachable() -> Failure {
    Failure::Unreachable { detail: "refused".into() }
}

fn invalid() -> Failure {
    Failure::Invalid { kind: ChallengeKind::Http01, names: vec![], detail: "404".into() }
}

#[test]
fn ten_years_of_any_lifetime_pass_without_a_gap_and_without_waste() {
    for life in [60, 3600, DAY, 160 * 3600, 45 * DAY, 90 * DAY, 398 * DAY] {
        let mut world = World::new(policy(), |_, _| Reply::Issue { life });
        let end = if life < DAY { life * 1000 } else { 3650 * DAY };
        assert_eq!(world.run(UnixTime::from_seconds(end)), Duration::ZERO, "{life}");
        let least = if life < 10 * DAY { end / (life / 2) } else { end * 3 / (life * 2) };
        let orders = world.orders.len() as i64;
        assert!((least..=least + least / 10 + 2).contains(&orders), "{life}: {orders} orders, {least} needed");
    }
}

#[test]
fn a_failed_renewal_keeps_the_old_certificate() {
    let mut calls = 0;
    let mut world = World::new(policy(), |_, _| {
        calls += 1;
        if calls == 1 { Reply::Issue { life: 90 * DAY } } else { Reply::Fail(invalid()) }
    });
    world.run(UnixTime::from_seconds(80 * DAY));
    assert!(matches!(&world.stage, Stage::Serving { held, .. } if held.epoch == 1));
}

#[test]
fn every_lifetime_gets_many_attempts_before_it_ends() {
    for life in [60, 3600, 160 * 3600, 45 * DAY, 90 * DAY] {
        let mut calls = 0;
        let mut world = World::new(policy(), |_, _| {
            calls += 1;
            if calls == 1 { Reply::Issue { life } } else { Reply::Fail(unreachable()) }
        });
        world.run(UnixTime::from_seconds(life - 1));
        assert!(world.orders.len() > 20, "{life}: {}", world.orders.len());
    }
}

#[test]
fn an_authority_dead_for_thirty_days_sees_fewer_than_250_orders() {
    let mut world = World::new(policy(), |now, _| {
        if now < UnixTime::from_seconds(30 * DAY) {
            Reply::Fail(unreachable())
        } else {
            Reply::Issue { life: 90 * DAY }
        }
    });
    world.run(UnixTime::from_seconds(31 * DAY));
    assert!(world.orders.len() < 250, "{}", world.orders.len());
    assert!(world.stage.held().is_some(), "and the first answer after it brings a certificate");
}

#[test]
fn failed_validations_stay_under_five_an_hour_and_under_the_pause_limit_for_years() {
    for first in [None, Some(90 * DAY), Some(160 * 3600)] {
        let mut first = first;
        let mut world = World::new(policy(), |_, _| match first.take() {
            Some(life) => Reply::Issue { life },
            None => Reply::Fail(invalid()),
        });
        world.run(UnixTime::from_seconds(200 * DAY));
        for quarter in 0..(200 * 24 * 4) {
            let orders = world.orders_between(quarter * 900, quarter * 900 + 3600);
            assert!(orders <= 5, "{orders} in the hour from {}", quarter * 900);
        }
        assert!(world.orders.len() < 1152, "{}", world.orders.len());
    }
}

#[test]
fn every_failure_is_tried_again_for_ever() {
    let names = vec![];
    let detail = String::from("x");
    for why in [
        unreachable(),
        invalid(),
        Failure::Limited { until: Some(UnixTime::from_seconds(400 * DAY)), detail: detail.clone() },
        Failure::Limited { until: None, detail: detail.clone() },
        Failure::Lost { detail: detail.clone() },
        Failure::NotOffered { kind: ChallengeKind::Http01, names: names.clone() },
        Failure::Refused { names, detail: detail.clone() },
        Failure::ReplacesRefused { detail: detail.clone() },
        Failure::Account { detail: detail.clone() },
        Failure::BadCertificate { detail: detail.clone() },
        Failure::Local { detail },
        Failure::Busy,
        Failure::Deadline,
    ] {
        let mut world = World::new(policy(), |_, _| Reply::Fail(why.clone()));
        world.run(UnixTime::from_seconds(365 * DAY));
        let last_week = world.orders_between(358 * DAY, 365 * DAY);
        // Certificates that are no good count against the authority's limits, and a name that fails for ever against its pause.
        let least = if matches!(why, Failure::BadCertificate { .. } | Failure::Invalid { .. }) { 1 } else { 20 };
        assert!((least..=200).contains(&last_week), "{why}: {last_week}");
        assert!(world.orders_between(0, 60) <= 6, "{why}: {} at once", world.orders_between(0, 60));
    }
}

#[test]
fn an_order_without_an_answer_is_given_up_and_begun_again() {
    let mut world = World::new(policy(), |_, _| Reply::Silence);
    world.run(UnixTime::from_seconds(3600));
    assert!(world.abandoned >= 2 && world.orders.len() >= 3, "{} {}", world.abandoned, world.orders.len());
}

#[test]
fn the_next_challenge_then_the_next_authority_is_tried() {
    let ways =
        vec![way("a", ChallengeKind::Http01), way("a", ChallengeKind::TlsAlpn01), way("b", ChallengeKind::Http01)];
    let policy = Policy { ways: ways.clone().into(), ..policy() };
    let mut world = World::new(policy.clone(), |_, _| Reply::Fail(invalid()));
    world.run(UnixTime::from_seconds(8 * 3600));
    let tried: Vec<_> = world.orders.iter().map(|(_, way)| way.clone()).collect();
    assert_eq!(tried[..4], [ways[0].clone(), ways[1].clone(), ways[2].clone(), ways[0].clone()]);
    // One that cannot be reached is left for the other at once, not for its own other challenge.
    let mut world = World::new(policy, |_, _| Reply::Fail(unreachable()));
    world.run(UnixTime::from_seconds(200));
    assert_eq!(world.orders[1].1, ways[2]);
}

#[test]
fn a_limit_of_one_authority_stops_that_one_only() {
    let ways = vec![way("a", ChallengeKind::Http01), way("b", ChallengeKind::Http01)];
    let year = Some(UnixTime::from_seconds(365 * DAY));
    let mut world = World::new(Policy { ways: ways.into(), ..policy() }, |_, attempt| match &*attempt.way.issuer {
        "a" => Reply::Fail(Failure::Limited { until: year, detail: "slow down".into() }),
        _ => Reply::Issue { life: 90 * DAY },
    });
    world.run(UnixTime::from_seconds(120));
    assert_eq!(world.stage.held().map(|held| &*held.authority), Some("https://b/"));
}

#[test]
fn a_retry_after_is_obeyed_unless_it_outlives_patience() {
    let mut world = World::new(policy(), |now, _| {
        Reply::Fail(Failure::Limited { until: Some(now + Duration::from_secs(5 * 3600)), detail: "wait".into() })
    });
    world.run(UnixTime::from_seconds(DAY));
    let gaps: Vec<_> = world.orders.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_secs(5 * 3600)), "{gaps:?}");
}

#[test]
fn a_refused_replacement_is_ordered_once_more_without_it() {
    let mut seen = vec![];
    let mut world = World::new(policy(), |_, attempt| {
        seen.push(attempt.replaces.clone());
        match attempt.replaces {
            Some(_) => Reply::Fail(Failure::ReplacesRefused { detail: "alreadyReplaced".into() }),
            None => Reply::Issue { life: 90 * DAY },
        }
    });
    world.run(UnixTime::from_seconds(70 * DAY));
    let gap = world.orders[2].0.since(world.orders[1].0);
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    drop(world);
    assert_eq!(seen, [None, Some("aki.serial".into()), None]);
}

#[test]
fn an_order_under_way_is_taken_up_after_a_restart_and_not_placed_again() {
    let (stage, effects) = Stage::new().step(UnixTime(0), Event::Tick, &policy(), &mut Ledger::default(), 0.5);
    let Effect::PlaceOrder(before) = &effects[0] else { panic!("{effects:?}") };
    let later = UnixTime::from_seconds(7200);
    let (stage, effects) = stage.step(later, Event::Started(None), &policy(), &mut Ledger::default(), 0.5);
    let Effect::PlaceOrder(after) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((after.number, &after.way), (before.number, &before.way));
    assert!(stage.wakes_at() > later, "its deadline begins again");
}

#[test]
fn the_moment_chosen_in_a_window_outlives_restarts_in_every_stage() {
    let choice = Some(Choice { start: UnixTime(1), end: UnixTime(3), at: UnixTime(2) });
    let (stage, _) =
        Stage::new().step(UnixTime(0), Event::Started(Some(held(0, 90 * DAY))), &policy(), &mut Ledger::default(), 0.5);
    let Stage::Serving { held: known, renew_at, ask_at, trouble } = stage else { panic!("{stage:?}") };
    let known = Held { choice, ..known };
    let serving = Stage::Serving { held: known, renew_at, ask_at, trouble };
    let (ordering, _) = serving.clone().step(UnixTime(5), Event::Renew, &policy(), &mut Ledger::default(), 0.5);
    for stage in [serving, ordering] {
        let (after, _) =
            stage.step(UnixTime(9), Event::Started(Some(held(0, 90 * DAY))), &policy(), &mut Ledger::default(), 0.5);
        assert_eq!(after.held().unwrap().choice, choice);
    }
}

#[test]
fn certificates_that_are_no_good_are_not_ordered_five_times_a_week() {
    let why = Failure::BadCertificate { detail: "cut".into() };
    let mut world = World::new(policy(), |_, _| Reply::Fail(why.clone()));
    world.run(UnixTime::from_seconds(60 * DAY));
    for day in 0..53 {
        let week = world.orders_between(day * DAY, (day + 7) * DAY);
        assert!((1..=5).contains(&week), "{week} in the week from day {day}");
    }
}

#[test]
fn a_bundle_stored_just_before_a_crash_ends_the_order() {
    let (stage, _) = Stage::new().step(UnixTime(0), Event::Tick, &policy(), &mut Ledger::default(), 0.5);
    let (stage, effects) =
        stage.step(UnixTime(1000), Event::Started(Some(held(0, 90 * DAY))), &policy(), &mut Ledger::default(), 0.5);
    assert!(matches!(stage, Stage::Serving { .. }) && effects.is_empty());
}

#[test]
fn a_restart_places_no_order_while_the_certificate_is_not_due() {
    let mut world = World::new(policy(), |_, _| Reply::Issue { life: 90 * DAY });
    world.run(UnixTime::from_seconds(DAY));
    let held = world.stage.held().cloned();
    for _ in 0..100 {
        world.send(Event::Started(held.clone()));
        // Even when the journal is gone.
        world.stage = Stage::new();
        world.send(Event::Started(held.clone()));
        world.send(Event::Tick);
    }
    assert_eq!(world.orders.len(), 1);
}

#[test]
fn restarts_in_a_row_do_not_hurry_a_failing_order() {
    let mut world = World::new(policy(), |_, _| Reply::Fail(invalid()));
    world.run(UnixTime::from_seconds(3600));
    let before = world.orders.len();
    for _ in 0..100 {
        world.send(Event::Started(None));
        world.send(Event::Tick);
    }
    assert_eq!(world.orders.len(), before);
}

#[test]
fn a_late_answer_of_a_given_up_attempt_is_ignored_but_its_certificate_is_taken() {
    let (stage, _) = Stage::new().step(UnixTime(0), Event::Tick, &policy(), &mut Ledger::default(), 0.5);
    let (stage, _) = stage.step(UnixTime::from_seconds(900), Event::Tick, &policy(), &mut Ledger::default(), 0.5);
    let (after, effects) = stage.clone().step(
        UnixTime::from_seconds(901),
        Event::Failed(1, invalid()),
        &policy(),
        &mut Ledger::default(),
        0.5,
    );
    assert_eq!((after, effects), (stage.clone(), vec![]));
    let (after, _) = stage.step(
        UnixTime::from_seconds(901),
        Event::Issued(held(901, 90 * DAY)),
        &policy(),
        &mut Ledger::default(),
        0.5,
    );
    assert!(matches!(after, Stage::Serving { .. }));
}

#[test]
fn a_window_of_the_authority_moves_the_renewal_and_one_in_the_past_means_now() {
    let serving = || {
        let (stage, _) = Stage::new().step(
            UnixTime(0),
            Event::Started(Some(held(0, 90 * DAY))),
            &policy(),
            &mut Ledger::default(),
            0.0,
        );
        stage
    };
    let info = |start: i64, end: i64| {
        let (start, end) = (UnixTime::from_seconds(start), UnixTime::from_seconds(end));
        Event::RenewalInfo(1, RenewalInfo { start, end, explanation: None, ask_again: Duration::from_secs(3600) })
    };
    let now = UnixTime::from_seconds(10 * DAY);
    let (stage, _) = serving().step(now, info(50 * DAY, 52 * DAY), &policy(), &mut Ledger::default(), 0.5);
    assert!(matches!(stage, Stage::Serving { renew_at, .. } if renew_at == UnixTime::from_seconds(51 * DAY)));
    let (stage, _) = stage.step(now, info(50 * DAY, 52 * DAY), &policy(), &mut Ledger::default(), 0.9);
    assert!(matches!(stage, Stage::Serving { renew_at, .. } if renew_at == UnixTime::from_seconds(51 * DAY)), "kept");
    let (stage, _) = stage.step(now, info(DAY, 2 * DAY), &policy(), &mut Ledger::default(), 0.5);
    assert!(stage.wakes_at() <= now);
    let (_, effects) = stage.step(now, Event::Tick, &policy(), &mut Ledger::default(), 0.5);
    assert!(matches!(effects[..], [Effect::PlaceOrder(_)]));
    // A window at the very end of the life leaves no room for attempts.
    let (stage, _) = serving().step(now, info(89 * DAY, 90 * DAY), &policy(), &mut Ledger::default(), 0.5);
    assert!(matches!(stage, Stage::Serving { renew_at, .. } if renew_at == UnixTime::from_seconds(75 * DAY)));
}

#[test]
fn an_authority_that_wants_everything_renewed_at_once_gets_four_orders_a_week() {
    for life in [90 * DAY, 45 * DAY] {
        let mut world = World::new(policy(), |_, _| Reply::Issue { life });
        let (start, end) = (UnixTime(-7_200_000), UnixTime(-3_600_000));
        world.window = Some(RenewalInfo { start, end, explanation: None, ask_again: Duration::from_secs(60) });
        world.run(UnixTime::from_seconds(70 * DAY));
        for day in 0..63 {
            let week = world.orders_between(day * DAY, (day + 7) * DAY);
            assert!(week <= 4, "{week} in the week from day {day}");
        }
        assert!(world.orders.len() > 3, "it is heard all the same");
    }
}

#[test]
fn certificates_that_are_born_old_are_not_ordered_in_a_circle() {
    // Dated back so far that they are due when they come.
    let mut world = World::new(policy(), |_, _| Reply::Issue { life: 90 * DAY });
    world.born_old = 80 * DAY;
    world.run(UnixTime::from_seconds(60 * DAY));
    assert!(world.orders.len() < 40, "{}", world.orders.len());
}

#[test]
fn renewal_information_is_asked_for_at_least_twice_a_day() {
    let mut world = World::new(policy(), |_, _| Reply::Issue { life: 90 * DAY });
    world.run(UnixTime::from_seconds(30 * DAY));
    assert!((60..400).contains(&world.questions.len()), "{}", world.questions.len());
}

#[test]
fn an_authority_is_asked_about_what_is_held_also_while_every_hour_an_order_fails() {
    let refuse = Failure::Limited { until: None, detail: "busy".into() };
    let mut world = World::new(policy(), |_, _| Reply::Fail(refuse.clone()));
    world.send(Event::Issued(held(0, 90 * DAY)));
    world.run(UnixTime::from_seconds(70 * DAY));
    let lately = world.questions.iter().filter(|at| **at > UnixTime::from_seconds(62 * DAY)).count();
    assert!(lately >= 24, "{lately}, with {} orders", world.orders.len());
}

#[test]
fn another_authority_in_the_configuration_means_a_new_certificate_at_once() {
    let foreign = Held { authority: "https://staging/".into(), ..held(0, 90 * DAY) };
    let (stage, _) =
        Stage::new().step(UnixTime(0), Event::Started(Some(foreign)), &policy(), &mut Ledger::default(), 0.5);
    let (stage, effects) = stage.step(UnixTime(0), Event::Tick, &policy(), &mut Ledger::default(), 0.5);
    assert!(matches!(&effects[..], [Effect::PlaceOrder(attempt)] if attempt.replaces.is_none()));
    assert!(stage.held().is_some(), "the old one serves meanwhile");
}

#[test]
fn a_wish_to_renew_is_heard_at_any_time_but_never_doubles_an_order() {
    let (stage, _) =
        Stage::new().step(UnixTime(0), Event::Started(Some(held(0, 90 * DAY))), &policy(), &mut Ledger::default(), 0.5);
    let (stage, effects) = stage.step(UnixTime(1), Event::Renew, &policy(), &mut Ledger::default(), 0.5);
    assert_eq!(effects.len(), 1);
    let (_, effects) = stage.step(UnixTime(2), Event::Renew, &policy(), &mut Ledger::default(), 0.5);
    assert!(effects.is_empty());
}
