//! Are the three answers kept apart, and do looks of several nodes join in any order?

use proptest::prelude::*;

use super::*;

const HELD: Fingerprint = Fingerprint([1; 32]);
const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

/// Ours is 1, an older one of ours 2, anything else a stranger's.
fn certificate(digest: u8, ends: i64, fits: bool) -> Seen {
    Seen::Certificate {
        fingerprint: Fingerprint([digest; 32]),
        not_after: UnixTime::from_seconds(NOW.seconds() + ends),
        issuer: "CA".to_owned(),
        earlier: digest == 2,
        fits,
    }
}

fn kind(truth: &Truth) -> char {
    match truth {
        Truth::Right => 'r',
        Truth::Unreachable(_) => 'u',
        Truth::Elsewhere(_) => 'e',
        Truth::Wrong(_) => 'w',
    }
}

#[test]
fn the_table_of_truth() {
    use Nonce::{Others, Ours, Unknown};
    let front = Whose::Fronted("cdn".to_owned());
    let whose = [Whose::Own, Whose::Here, Whose::Declared, Whose::Shown, front, Whose::Unknown];
    let (held, older) = (certificate(1, 100, true), certificate(2, 100, true));
    let (valid, bad) = (certificate(3, 100, true), certificate(3, -1, false));
    let (refused, failed) = (Seen::Nobody("refused".into()), Seen::NoHandshake("alert".into()));
    // Each column one of `whose`.
    for (seen, nonce, answers) in [
        (&held, Unknown, "rrrrrr"),
        (&refused, Unknown, "uuuuuu"),
        (&failed, Unknown, "wwuwuu"),
        (&failed, Ours, "wwwwuu"),
        (&older, Unknown, "wwwwew"),
        (&older, Others, "wwwwew"),
        (&valid, Ours, "wweeee"),
        (&valid, Others, "wwueee"),
        (&valid, Unknown, "wwweee"),
        (&bad, Ours, "wwwwee"),
        (&bad, Others, "wwueee"),
        (&bad, Unknown, "wwuwee"),
    ] {
        let found: String = whose.iter().map(|whose| kind(&judge(whose, seen, nonce, &[HELD], NOW))).collect();
        assert_eq!(found, answers, "{seen:?} {nonce:?}");
    }
    let Truth::Wrong(why) = judge(&Whose::Own, &bad, Unknown, &[HELD], NOW) else { panic!() };
    assert!(why.contains("expired"), "{why}");
}

#[test]
fn a_nonce_is_asked_for_only_where_it_decides() {
    let (held, valid) = (certificate(1, 100, true), certificate(3, 100, true));
    assert!(wants_nonce(&Whose::Unknown, &valid, &[HELD]) && wants_nonce(&Whose::Declared, &valid, &[HELD]));
    for whose in [Whose::Own, Whose::Here, Whose::Fronted("cdn".into())] {
        assert!(!wants_nonce(&whose, &valid, &[HELD]));
    }
    assert!(!wants_nonce(&Whose::Unknown, &held, &[HELD]));
    assert!(!wants_nonce(&Whose::Declared, &Seen::Nobody("refused".into()), &[HELD]));
}

fn look(by: &str, at: UnixTime, seen: Seen) -> Look {
    let address = ([203, 0, 113, 7], 443).into();
    Look { by: by.to_owned(), at, name: "a.example".to_owned(), address, seen, nonce: Nonce::Ours }
}

#[test]
fn a_fault_that_another_node_saw_is_told_and_where_it_was_seen() {
    let whose = Whose::Declared;
    let sum = |own: Truth, looks: &[Look]| conclude(own, &whose, looks, &[HELD], NOW - HOLDS / 2, NOW);
    let old = look("fra-1", NOW, certificate(2, 100, true));
    let Truth::Wrong(why) = sum(Truth::Right, std::slice::from_ref(&old)) else { panic!() };
    assert!(why.ends_with("(seen from fra-1)"), "{why}");
    // Before the new one was in force, or long ago: nothing follows from it.
    assert_eq!(sum(Truth::Right, &[Look { at: NOW - HOLDS, ..old.clone() }]), Truth::Right);
    // We do not get there, another node does.
    assert_eq!(sum(Truth::Unreachable(String::new()), &[look("b", NOW, certificate(1, 100, true))]), Truth::Right);
    assert_eq!(sum(Truth::Right, &[look("b", NOW, Seen::Nobody("refused".into()))]), Truth::Right);
}

#[test]
fn what_others_saw_is_forgotten_in_time_and_bounded() {
    let mut looks = Looks::default();
    looks.note(look("a", NOW - HOLDS * 2, certificate(1, 1, true)));
    looks.note(look("b", NOW, certificate(1, 1, true)));
    looks.forget(NOW);
    assert_eq!(looks.0.len(), 1);
    for n in 0..MOST + 10 {
        let one = look("c", NOW + Duration::from_millis(n as u64), certificate(1, 1, true));
        looks.note(Look { name: format!("{n}.example"), ..one });
    }
    looks.forget(NOW);
    assert!(looks.0.len() <= MOST);
}

fn some_look() -> impl Strategy<Value = Look> {
    (0..3u8, 0..3i64, 0..3u8, prop::bool::ANY).prop_map(|(by, at, digest, port)| {
        let one = look(&by.to_string(), UnixTime(at), certificate(digest, 1, true));
        Look { address: ([203, 0, 113, 7], if port { 443 } else { 8443 }).into(), ..one }
    })
}

fn all(looks: &[Look]) -> Looks {
    let mut all = Looks::default();
    looks.iter().cloned().for_each(|look| all.note(look));
    all
}

proptest! {
    #[test]
    fn looks_join_in_any_order_and_any_number_of_times(
        a in prop::collection::vec(some_look(), 0..8),
        b in prop::collection::vec(some_look(), 0..8),
        c in prop::collection::vec(some_look(), 0..8),
    ) {
        let (a, b, c) = (all(&a), all(&b), all(&c));
        let join = |one: &Looks, other: &Looks| { let mut one = one.clone(); one.merge(other.clone()); one };
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a);
    }
}

#[test]
fn ten_thousand_names_are_seen_within_an_hour_and_one_name_costs_nothing() {
    let pace = |looks| pace(looks, false);
    assert!(pace(10_000) * 10_000 <= ROUND && pace(10_000) >= BETWEEN);
    assert!(pace(20_000) * 20_000 <= ROUND);
    assert_eq!(pace(1), LEAST_ROUND);
    assert!(pace(10) * 10 >= LEAST_ROUND);
    assert_eq!(pace(1_000_000), BETWEEN, "beyond the budget a round takes longer");
    assert_eq!(super::pace(1, true), BETWEEN, "after a start, nobody waits for the first round");
}
