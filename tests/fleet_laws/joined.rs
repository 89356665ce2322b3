//! The join: commutative, associative, idempotent, blind to order; a copy from the past changes nothing.

use std::sync::Arc;

use proptest::prelude::*;
use semper::fleet::state::{LEAP, Refused, SIBLINGS, Verdict};
use semper::fleet::{Body, Claim, NodeId, State, Subject};

fn node(number: u8) -> NodeId {
    NodeId::of_key(&[number])
}

/// Few subjects, epochs, speakers and bodies: collisions of every kind are frequent.
fn claim() -> impl Strategy<Value = Arc<Claim>> {
    (0..5_u8, 1..4_u64, any::<bool>(), 0..3_u8, 0..4_u8).prop_map(|(subject, epoch, over, origin, body)| {
        let subject = match subject {
            4 => Subject::Removed(node(9)),
            slot => Subject::Ticket(slot),
        };
        let fact = matches!(subject, Subject::Removed(_));
        Arc::new(match over && !fact {
            true => Claim::tombstone(subject, epoch, node(origin), "over"),
            false => Claim::new(subject, epoch, node(origin), Body::copy(&[body])),
        })
    })
}

fn history() -> impl Strategy<Value = Vec<Arc<Claim>>> {
    proptest::collection::vec(claim(), 0..24)
}

fn state_of(claims: &[Arc<Claim>]) -> State {
    let mut state = State::default();
    for claim in claims {
        state.admit(claim.clone()).unwrap();
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merge_is_commutative_associative_and_idempotent(a in history(), b in history(), c in history()) {
        let (a, b, c) = (state_of(&a), state_of(&b), state_of(&c));
        let ab = a.clone().merge(&b);
        prop_assert_eq!(&ab, &b.clone().merge(&a));
        prop_assert_eq!(ab.clone().merge(&c), a.clone().merge(&b.clone().merge(&c)));
        prop_assert_eq!(&ab.clone().merge(&b), &ab);
        prop_assert_eq!(a.clone().merge(&a), a);
    }

    #[test]
    fn the_order_of_claims_does_not_matter_and_equal_states_have_equal_digests(
        claims in history(),
        turn in 0..24_usize,
        other in history(),
    ) {
        let mut turned = claims.clone();
        turned.rotate_left(turn.min(claims.len()));
        turned.reverse();
        let (one, two, other) = (state_of(&claims), state_of(&turned), state_of(&other));
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(one.root(), two.root());
        prop_assert_eq!(one == other, one.root() == other.root());
        prop_assert_eq!(one == other, one.buckets() == other.buckets());
    }

    #[test]
    fn what_would_be_learned_is_what_changes(claims in history(), next in claim()) {
        let mut state = state_of(&claims);
        let (before, foreseen) = (state.clone(), state.would_learn(&next.mark()));
        let verdict = state.admit(next.clone()).unwrap();
        prop_assert_eq!(foreseen, verdict == Verdict::New);
        prop_assert_eq!(foreseen, before != state);
        prop_assert!(state.claims(&next.mark().key).count() <= SIBLINGS);
    }

    /// Whatever a node knew a month ago, the fleet's knowledge since then contains it or has passed over it.
    #[test]
    fn a_node_from_the_past_resurrects_nothing(past in history(), since in history()) {
        let past_state = state_of(&past);
        let mut all = past.clone();
        all.extend(since);
        let present = state_of(&all);
        prop_assert_eq!(&present.clone().merge(&past_state), &present);
        prop_assert_eq!(&past_state.merge(&present), &present);
    }
}

#[test]
fn a_tombstone_wins_over_copies_up_to_its_epoch_and_a_later_epoch_lives_again() {
    let subject = Subject::Ticket(1);
    let copy = |epoch| Arc::new(Claim::new(subject.clone(), epoch, node(1), Body::copy(b"x")));
    let mut state = state_of(&[copy(3), Arc::new(Claim::tombstone(subject.clone(), 3, node(2), "removed"))]);
    assert_eq!((state.ended(&subject), state.alive(&subject).len()), (Some(3), 0));
    assert_eq!(state.admit(copy(3)), Ok(Verdict::Old));
    assert_eq!(state.admit(copy(2)), Ok(Verdict::Old));
    assert_eq!(state.next_epoch(&subject.key()), 4);
    assert_eq!(state.admit(copy(4)), Ok(Verdict::New));
    assert_eq!((state.ended(&subject), state.alive(&subject).len()), (None, 1));
}

#[test]
fn two_generations_of_one_epoch_both_stay() {
    let subject = Subject::Ticket(1);
    let of = |origin| Arc::new(Claim::new(subject.clone(), 1, node(origin), Body::copy(&[origin])));
    assert_eq!(state_of(&[of(1), of(2)]).alive(&subject).len(), 2);
    let many: Vec<_> = (0..9).map(of).collect();
    assert_eq!(state_of(&many).alive(&subject).len(), SIBLINGS);
}

#[test]
fn an_epoch_far_beyond_the_known_one_is_refused() {
    let claim = |epoch| Arc::new(Claim::new(Subject::Ticket(1), epoch, node(1), Body::empty()));
    let mut state = State::default();
    assert_eq!(state.admit(claim(u64::MAX)), Err(Refused::Leap));
    assert_eq!(state.admit(claim(7)), Ok(Verdict::New));
    assert_eq!(state.admit(claim(7 + LEAP + 1)), Err(Refused::Leap));
    assert_eq!(state.admit(claim(7 + LEAP)), Ok(Verdict::New));
}

#[test]
fn removal_and_compromise_are_facts_that_stay() {
    let stolen = semper::words::Fingerprint::of(b"public key");
    let facts = [Subject::Removed(node(1)), Subject::Compromised(stolen)];
    let claims: Vec<_> =
        facts.iter().map(|fact| Arc::new(Claim::new(fact.clone(), 1, node(2), Body::empty()))).collect();
    let state = state_of(&claims).merge(&State::default());
    assert!(state.is_removed(node(1)) && !state.is_removed(node(2)) && state.is_compromised(stolen));
}
