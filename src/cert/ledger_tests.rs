//! Laws of the ledger: whatever is asked of it, no span ever holds more than the authority allows, and nothing waits for ever.

use super::*;
use proptest::prelude::*;

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
const URL: &str = "https://a.example/";
const MINUTE: Duration = Duration::from_secs(60);

fn names(list: &[&str]) -> Vec<Identifier> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

fn wish<'a>(limits: &'a Limits, names: &'a [Identifier], urgency: Urgency) -> Wish<'a> {
    Wish { authority: URL, limits, names, renewal: false, urgency, life: None }
}

/// The most moments of `list` within any span of `per`.
fn most(list: &[UnixTime], per: Duration) -> usize {
    list.iter().map(|end| list.iter().filter(|at| *at <= end && end.since(**at) < per).count()).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_span_holds_more_than_four_of_five(
        steps in prop::collection::vec((1u64..7200, 0u8..4, any::<bool>(), 0usize..3), 1..400),
    ) {
        let limits = Limits::LETS_ENCRYPT;
        let sets = [names(&["a.example.com"]), names(&["a.example.com", "b.example.com"]), names(&["c.example.org"])];
        let mut ledger = Ledger::default();
        let (mut now, mut issued, mut failed) = (NOW, vec![vec![]; 3], vec![vec![]; 3]);
        let all = [Urgency::Ordinary, Urgency::Bare, Urgency::Asked, Urgency::Expiring];
        for (gap, urgency, good, set) in steps {
            now = now + Duration::from_secs(gap);
            let wish = wish(&limits, &sets[set], all[usize::from(urgency)]);
            let free = ledger.free_at(&wish, now);
            prop_assert!(free <= now + Duration::from_secs(7 * 86_400), "waits for {:?}", free.since(now));
            if free > now {
                continue;
            }
            ledger.ordered(&wish, now);
            if good {
                ledger.issued(&wish, now, now);
                issued[set].push(now);
            } else {
                ledger.failed(URL, &sets[set], now);
                failed[set].push(now);
            }
        }
        for list in &issued {
            prop_assert!(most(list, Duration::from_secs(7 * 86_400)) <= 4);
        }
        // `a.example.com` fails in two sets: they count together.
        let mut both = [failed[0].clone(), failed[1].clone()].concat();
        both.sort();
        prop_assert!(most(&both, MINUTE * 60) <= 4 && most(&failed[2], MINUTE * 60) <= 4);
    }

    #[test]
    fn turns_keep_the_pace_and_four_fifths_of_the_limit(gaps in prop::collection::vec(0u64..120, 1..600)) {
        let limits = Limits::LETS_ENCRYPT;
        let mut ledger = Ledger::default();
        let (mut now, mut begun) = (NOW, vec![]);
        for (n, gap) in gaps.into_iter().enumerate() {
            now = now + Duration::from_secs(gap);
            let own = names(&[&format!("n{n}.example")]);
            begun.push(ledger.turn(&wish(&limits, &own, Urgency::Bare), now));
        }
        begun.sort();
        prop_assert!(most(&begun, Duration::from_secs(3 * 3600)) <= 241);
        prop_assert!(most(&begun, Duration::from_secs(1)) <= 240);
    }
}

#[test]
fn five_hundred_new_names_begin_within_a_day_and_inside_the_limits() {
    let limits = Limits::LETS_ENCRYPT;
    let mut ledger = Ledger::default();
    let turns: Vec<_> = (0..500)
        .map(|n| ledger.turn(&wish(&limits, &names(&[&format!("n{n}.example")]), Urgency::Bare), NOW))
        .collect();
    assert!(most(&turns, Duration::from_secs(3 * 3600)) <= 241);
    assert!(*turns.iter().max().unwrap() < NOW + Duration::from_secs(12 * 3600));
}

#[test]
fn ten_thousand_renewals_do_not_begin_in_one_minute_but_in_some_hours() {
    let limits = Limits::LETS_ENCRYPT;
    let mut ledger = Ledger::default();
    let own = names(&["a.example"]);
    let renewal = Wish { renewal: true, ..wish(&limits, &own, Urgency::Ordinary) };
    let turns: Vec<_> = (0..10_000).map(|_| ledger.turn(&renewal, NOW)).collect();
    assert!(most(&turns[..2000], MINUTE) <= 70);
    let last = *turns.last().unwrap();
    assert!(last > NOW + MINUTE * 60 && last < NOW + MINUTE * 240, "{last}");
}

#[test]
fn the_reserve_is_for_those_that_are_about_to_end() {
    let limits = Limits::LETS_ENCRYPT;
    let mut ledger = Ledger::default();
    let own = names(&["a.example"]);
    for n in 0..3 {
        let at = NOW + MINUTE * n;
        ledger.issued(&wish(&limits, &own, Urgency::Ordinary), at, at);
    }
    let now = NOW + MINUTE * 10;
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(ledger.free_at(&wish(&limits, &own, Urgency::Ordinary), now), NOW + week);
    assert!(ledger.free_at(&wish(&limits, &own, Urgency::Expiring), now) <= now);
    ledger.issued(&wish(&limits, &own, Urgency::Expiring), now, now);
    assert_eq!(ledger.free_at(&wish(&limits, &own, Urgency::Expiring), now), NOW + week);
    // Other names are not concerned, and one certificate that is told twice counts once.
    assert!(ledger.free_at(&wish(&limits, &names(&["b.example"]), Urgency::Ordinary), now) <= now);
    ledger.issued(&wish(&limits, &own, Urgency::Expiring), now, now + MINUTE);
    let used = ledger.used(&wish(&limits, &own, Urgency::Ordinary), now);
    assert!(used.iter().any(|used| used.limit.contains("exactly these") && (used.used, used.of) == (4, 5)), "{used:?}");
}

#[test]
fn a_refusal_stops_what_it_is_about_and_passes() {
    let limits = Limits::LETS_ENCRYPT;
    let mut ledger = Ledger::default();
    let (own, other) = (names(&["a.example.com"]), names(&["b.example.net"]));
    let until = NOW + MINUTE * 90;
    let scope = Scope::Domain("example.com".into());
    ledger.refused(URL, Refused { scope, until, words: "slow down".into() }, NOW);
    assert_eq!(ledger.free_at(&wish(&limits, &own, Urgency::Expiring), NOW), until);
    assert!(ledger.free_at(&wish(&limits, &other, Urgency::Ordinary), NOW) <= NOW);
    assert!(ledger.free_at(&Wish { authority: "https://b/", ..wish(&limits, &own, Urgency::Bare) }, NOW) <= NOW);
    assert!(ledger.free_at(&wish(&limits, &own, Urgency::Bare), until) <= until);
}

#[test]
fn a_name_never_comes_to_its_pause_limit_within_years() {
    let limits = Limits::LETS_ENCRYPT;
    let mut ledger = Ledger::default();
    let own = names(&["dead.example"]);
    let (mut now, mut row) = (NOW, 0);
    while now < NOW + DAY * 1500 {
        let free = ledger.free_at(&wish(&limits, &own, Urgency::Expiring), now);
        if free <= now {
            ledger.failed(URL, &own, now);
            row += 1;
        }
        now = free.max(now) + MINUTE;
    }
    assert!((500..1152).contains(&row), "{row} failures in a row");
}

#[test]
fn a_clock_that_was_set_back_leaves_nothing_in_the_future() {
    let limits = Limits::LETS_ENCRYPT;
    let mut ledger = Ledger::default();
    let own = names(&["a.example"]);
    let far = NOW + DAY * 4000;
    for n in 0..4 {
        ledger.issued(&wish(&limits, &own, Urgency::Bare), far + MINUTE * n, far + MINUTE * n);
        ledger.turn(&wish(&limits, &own, Urgency::Bare), far);
    }
    let free = ledger.free_at(&wish(&limits, &own, Urgency::Bare), NOW);
    assert_eq!(free, NOW + DAY * 7, "what was done lately still counts");
    assert_eq!(ledger.turn(&wish(&limits, &own, Urgency::Bare), NOW), NOW);
}

#[test]
fn the_record_reads_what_it_wrote_and_nothing_damaged() {
    let limits = Limits::LETS_ENCRYPT;
    let mut ledger = Ledger::default();
    let own = names(&["a.example.com"]);
    ledger.ordered(&wish(&limits, &own, Urgency::Bare), NOW);
    ledger.issued(&wish(&limits, &own, Urgency::Bare), NOW, NOW);
    ledger.failed(URL, &own, NOW);
    ledger.refused(URL, Refused { scope: Scope::All, until: NOW + MINUTE, words: "x".into() }, NOW);
    let text = ledger.write(NOW);
    assert_eq!(Ledger::read(&text), Some(ledger.clone()));
    assert_eq!(Ledger::read(&text[..text.len() - 1]), None);
    // Whatever has no effect any more is left out.
    assert!(ledger.write(NOW + DAY * 500).len() < text.len() / 2);
}

#[test]
fn where_the_ledger_is_lost_little_is_ordered_and_late() {
    let limits = Limits::LETS_ENCRYPT;
    let names = ["a.example.com".parse().unwrap()];
    let wish = Wish {
        authority: "https://ca/",
        limits: &limits,
        names: &names,
        renewal: false,
        urgency: Urgency::Bare,
        life: None,
    };
    let begun = UnixTime::from_seconds(1_000_000);
    let mut ledger = Ledger::doubtful();
    let rested = begun + Duration::from_secs(900);
    assert_eq!(ledger.free_at(&wish, begun), rested);
    // Whoever asks gets it, and what ends soon does not wait either.
    assert!(ledger.free_at(&Wish { urgency: Urgency::Asked, ..wish }, begun) <= begun);
    assert!(ledger.free_at(&Wish { urgency: Urgency::Expiring, ..wish }, begun) <= begun);
    // A restart does not begin the rest again, if there is a disk.
    let mut ledger = Ledger::read(&ledger.write(begun)).unwrap();
    assert!(ledger.free_at(&wish, rested) <= rested);
    ledger.ordered(&wish, rested);
    ledger.issued(&wish, rested, rested);
    // One of these names in a week, fifty in a day.
    assert_eq!(ledger.free_at(&wish, rested), rested + Duration::from_secs(7 * 86_400));
    for number in 1..50 {
        let names = [format!("n{number}.example{number}.com").parse().unwrap()];
        let other = Wish { names: &names, ..wish };
        assert!(ledger.free_at(&other, rested) <= rested, "{number}");
        ledger.ordered(&other, rested);
    }
    let names = ["last.example.org".parse().unwrap()];
    let last = Wish { names: &names, ..wish };
    assert_eq!(ledger.free_at(&last, rested), rested + Duration::from_secs(86_400));
    // It does not last for ever, and does not concern one's own authority.
    let later = rested + Duration::from_secs(9 * 86_400);
    assert!(Ledger::read(&ledger.write(later)).unwrap().free_at(&wish, later) <= later);
    let (own, mut ledger) = (Limits::OWN, Ledger::doubtful());
    assert!(ledger.free_at(&Wish { limits: &own, ..wish }, begun) <= begun);
}
