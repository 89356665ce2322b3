//! What the desk of names on demand promises.

use super::*;
use crate::plan::limits::Rate;
use crate::plan::on_demand::{Allowed, Ask};
use crate::words::Place;

const START: UnixTime = UnixTime::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn terms() -> OnDemand {
    OnDemand {
        ask: Ask::parse("http://127.0.0.1:1/"),
        per_client: Rate { count: 3, per: HOUR },
        overall: Rate { count: 5, per: HOUR },
        names: 4,
        ..OnDemand::of("le", Place::built_in())
    }
}

fn desk() -> Desk {
    Desk::new(Arc::new(terms()))
}

fn listing(allow: &[&str]) -> OnDemand {
    OnDemand { ask: None, allow: allow.iter().map(|a| Allowed::parse(a).unwrap()).collect(), ..terms() }
}

fn no() -> Word {
    Word::No("403 no such shop".into())
}

fn silence() -> Word {
    Word::Silence("connection refused".into())
}

/// Holds a name on the word of `ask`.
fn hold(desk: &mut Desk, text: &str, client: u64, now: UnixTime) {
    assert_eq!(desk.knock(&name(text), client, now), Knock::Ask);
    assert_eq!(desk.answered(&name(text), Word::Yes, now), Then::Hold);
}

#[test]
fn without_a_word_from_anybody_nothing_is_held() {
    let mut desk = Desk::new(Arc::new(listing(&[".tenants.example.com", "*.one.example.com", "own.internal"])));
    assert_eq!(desk.knock(&name("a.tenants.example.com"), 1, START), Knock::Hold);
    assert_eq!(desk.knock(&name("a.tenants.example.com"), 2, START), Knock::Held);
    assert_eq!(desk.knock(&name("b.one.example.com"), 2, START), Knock::Hold);
    assert_eq!(desk.knock(&name("own.internal"), 3, START), Knock::Hold, "whoever names an inner name means it");
    for other in ["one.example.com", "a.b.one.example.com", "eviltenants.example.com", "shop.example.org"] {
        assert_eq!(desk.knock(&name(other), 4, START), Knock::Refused(Refusal::NotListed), "{other}");
    }
    assert!(desk.questions(8, START + HOUR * 10_000).is_empty());
}

#[test]
fn an_answer_is_believed_for_its_time_and_silence_is_a_no() {
    let (mut desk, shop) = (desk(), name("shop.example.com"));
    assert_eq!(desk.knock(&shop, 1, START), Knock::Ask);
    assert_eq!(desk.knock(&shop, 2, START), Knock::Asking);
    assert!(matches!(desk.answered(&shop, silence(), START), Then::Refused(Refusal::Silence(_))));
    assert!(matches!(desk.knock(&shop, 1, START), Knock::Refused(Refusal::Silence(_))));
    let later = START + SILENT;
    assert_eq!(desk.knock(&shop, 1, later), Knock::Ask);
    assert!(matches!(desk.answered(&shop, no(), later), Then::Refused(Refusal::No(_))));
    assert!(matches!(desk.knock(&shop, 9, later + Duration::from_secs(299)), Knock::Refused(Refusal::No(_))));
    assert!(
        matches!(desk.standing(&shop, later), Standing::Refused { why: Refusal::No(words), .. } if words.contains("403"))
    );
    let after = later + Duration::from_secs(300);
    hold(&mut desk, "shop.example.com", 1, after);
    assert_eq!(desk.knock(&shop, 9, after), Knock::Held);
    assert_eq!(desk.answered(&name("never.asked.example.com"), Word::Yes, after), Then::Nothing);
}

#[test]
fn what_is_held_is_asked_about_again_and_only_a_lasting_no_ends_its_renewal() {
    let (mut desk, shop) = (desk(), name("shop.example.com"));
    hold(&mut desk, "shop.example.com", 1, START);
    let day = START + HOUR * 24;
    assert!(desk.questions(8, day - Duration::from_secs(1)).is_empty());
    assert_eq!(desk.questions(8, day), std::slice::from_ref(&shop));
    assert!(desk.questions(8, day).is_empty(), "one question at a time");
    // Silence for weeks takes nothing away.
    let mut now = day;
    for _ in 0..5_000 {
        assert_eq!(desk.answered(&shop, silence(), now), Then::Nothing);
        now = now + Duration::from_secs(300);
        assert_eq!(desk.questions(8, now), std::slice::from_ref(&shop));
    }
    assert!(desk.renews(&shop));
    // A no has to last an hour.
    for round in 0.. {
        let then = desk.answered(&shop, no(), now);
        assert_eq!(desk.knock(&shop, 1, now), Knock::Held, "served all the while");
        if then == Then::Stop {
            assert_eq!(round, 12);
            break;
        }
        assert!(desk.renews(&shop));
        now = now + Duration::from_secs(300);
        assert_eq!(desk.questions(8, now), std::slice::from_ref(&shop));
    }
    assert!(!desk.renews(&shop));
    now = now + HOUR;
    desk.questions(8, now);
    assert_eq!(desk.answered(&shop, silence(), now), Then::Nothing);
    assert!(!desk.renews(&shop), "silence does not forgive either");
    assert_eq!(desk.answered(&shop, Word::Yes, now), Then::Resume);
    assert!(desk.renews(&shop));
}

#[test]
fn one_client_uses_up_its_own_share_and_its_garbage_leaves_nothing_behind() {
    let mut desk = Desk::new(Arc::new(OnDemand { overall: Rate { count: 1000, per: HOUR }, ..terms() }));
    for n in 0..3 {
        let garbage = name(&format!("g{n}.example.com"));
        assert_eq!(desk.knock(&garbage, 7, START), Knock::Ask);
        desk.answered(&garbage, no(), START);
    }
    for n in 3..100_000 {
        assert_eq!(desk.knock(&name(&format!("g{n}.example.com")), 7, START), Knock::Refused(Refusal::Client));
    }
    assert_eq!((desk.held.len(), desk.asking.len()), (0, 0));
    assert_eq!(desk.refused.len(), (3, 256));
    let last = desk.standing(&name("g99999.example.com"), START);
    assert!(matches!(last, Standing::Refused { why: Refusal::Client, .. }), "{last:?}");
    assert_eq!(desk.knock(&name("good.example.com"), 8, START), Knock::Ask, "another client is not held up");
    assert_eq!(desk.knock(&name("late.example.com"), 7, START + HOUR / 3 + Duration::from_secs(1)), Knock::Ask);
}

#[test]
fn garbage_from_everywhere_is_bounded_in_every_table() {
    let mut desk = Desk::new(Arc::new(terms()));
    for n in 0..50_000_u64 {
        let garbage = name(&format!("g{n}.example.com"));
        if desk.knock(&garbage, n * 7919, START + Duration::from_millis(n)) == Knock::Ask && n % 2 == 0 {
            desk.answered(&garbage, no(), START);
        }
    }
    let (answers, unasked) = desk.refused.len();
    assert!(desk.held.is_empty() && desk.asking.len() <= ASKED_AT_ONCE && answers <= 4096 && unasked <= 256);
    for bad in ["localhost", "under_score.example.com", "*.wild.example.com", "printer.local", "db.internal", "co.uk"] {
        let refused = desk.knock(&name(bad), 8, START);
        assert!(matches!(refused, Knock::Refused(Refusal::Unfit(_))), "{bad}: {refused:?}");
    }
}

#[test]
fn an_ask_that_lies_is_held_to_the_overall_rate_and_the_number_of_names() {
    let mut desk = Desk::new(Arc::new(OnDemand { names: 1000, ..terms() }));
    let mut held = 0;
    for n in 0..1000_u64 {
        let any = name(&format!("n{n}.example.com"));
        match desk.knock(&any, n, START) {
            Knock::Ask => held += usize::from(desk.answered(&any, Word::Yes, START) == Then::Hold),
            other => assert_eq!(other, Knock::Refused(Refusal::Overall)),
        }
    }
    assert_eq!(held, 5);
    assert_eq!(desk.knock(&name("n0.example.com"), 5, START), Knock::Held, "known names do not feel it");
    let mut small = Desk::new(Arc::new(OnDemand { overall: Rate { count: 100, per: HOUR }, ..terms() }));
    for n in 0..4 {
        hold(&mut small, &format!("n{n}.example.com"), n, START);
    }
    assert_eq!(small.knock(&name("n4.example.com"), 4, START), Knock::Refused(Refusal::Full));
    // Several were asked about before the last place was taken.
    let mut race = Desk::new(Arc::new(OnDemand { names: 1, ..terms() }));
    assert_eq!(race.knock(&name("a.example.com"), 1, START), Knock::Ask);
    assert_eq!(race.knock(&name("b.example.com"), 2, START), Knock::Ask);
    assert_eq!(race.answered(&name("a.example.com"), Word::Yes, START), Then::Hold);
    assert_eq!(race.answered(&name("b.example.com"), Word::Yes, START), Then::Refused(Refusal::Full));
}

#[test]
fn what_nobody_asks_for_is_dropped_and_a_restart_does_not_count_as_disuse() {
    let mut desk = desk();
    for (n, text) in ["used.example.com", "idle.example.com", "never.example.com"].iter().enumerate() {
        hold(&mut desk, text, n as u64, START);
    }
    let ends = |name: &DomainName| (!name.as_str().starts_with("never")).then_some(START + HOUR * 24 * 90);
    let next = START + HOUR * 25;
    desk.used(&name("used.example.com"), next);
    assert_eq!(desk.forget(next, ends), [(name("never.example.com"), Dropped::Unused)]);
    let text = desk.write(next);
    // Down for a month.
    let back = next + HOUR * 24 * 30;
    let mut desk = Desk::read(Arc::new(terms()), &text, back).unwrap();
    assert!(desk.forget(back + HOUR * 24 * 58, ends).is_empty());
    let later = back + HOUR * 24 * 59;
    let held = |_: &DomainName| Some(later + HOUR);
    assert_eq!(desk.forget(later, held), [(name("idle.example.com"), Dropped::Unused)]);
    assert!(matches!(desk.standing(&name("used.example.com"), later), Standing::Held(_)));
    assert!(Desk::read(Arc::new(terms()), &text[..text.len() - 3], back).is_none());
    assert!(Desk::read(Arc::new(terms()), b"{}", back).is_none());
}

#[test]
fn a_name_that_stays_refused_is_dropped_when_what_it_had_has_ended() {
    let mut desk = desk();
    hold(&mut desk, "shop.example.com", 1, START);
    let shop = name("shop.example.com");
    let mut now = START + HOUR * 24;
    while desk.renews(&shop) {
        desk.answered(&shop, no(), now);
        now = now + Duration::from_secs(300);
    }
    let end = now + HOUR;
    desk.used(&shop, end);
    assert!(desk.forget(now, |_| Some(end)).is_empty(), "served to its end");
    assert_eq!(desk.forget(end, |_| Some(end)), [(shop.clone(), Dropped::Ended)]);
    assert_eq!(desk.knock(&shop, 1, end), Knock::Ask, "and looked at anew afterwards");
}

#[test]
fn a_list_that_loses_a_pattern_ends_renewals_and_gives_them_back() {
    let mut desk = Desk::new(Arc::new(listing(&[".a.example.com", ".b.example.com"])));
    for text in ["x.a.example.com", "x.b.example.com"] {
        assert_eq!(desk.knock(&name(text), 1, START), Knock::Hold);
    }
    desk.adopt(Arc::new(listing(&[".b.example.com"])));
    assert!(!desk.renews(&name("x.a.example.com")) && desk.renews(&name("x.b.example.com")));
    assert_eq!(desk.knock(&name("x.a.example.com"), 1, START), Knock::Held, "served on");
    desk.adopt(Arc::new(listing(&[".example.com"])));
    assert!(desk.renews(&name("x.a.example.com")));
}
