//! Many machines: how fast is something known to all, what does quiet cost, and what can a bad peer do?

use std::sync::Arc;
use std::time::Duration;

use semper::clock::Dice;
use semper::fleet::message::{Look, Token};
use semper::fleet::sync::{Effect, Event, Readiness, Terms};
use semper::fleet::{Body, Claim, NodeId, Subject};
use semper::plan::certificate::CertId;

use crate::network::{Network, Weather};

const SECOND: Duration = Duration::from_secs(1);

fn cert(number: usize) -> CertId {
    CertId::try_from(format!("name{number}.example~{number:016x}")).unwrap()
}

fn bundle(number: usize, epoch: u64, origin: NodeId) -> Arc<Claim> {
    let body = format!("bundle {number} {epoch} {}", "x".repeat(3000));
    Arc::new(Claim::new(Subject::Bundle(cert(number)), epoch, origin, Body::copy(body.as_bytes())))
}

#[test]
fn a_new_bundle_is_with_all_at_once_in_fair_weather() {
    let mut net = Network::usual(12, 1, Weather::FAIR);
    net.connect_all();
    net.pass(SECOND * 5);
    let claim = bundle(1, 1, net.ids[3]);
    net.tell(3, Event::Claim(claim.clone()));
    net.pass(Duration::from_millis(100));
    assert_eq!(net.knowing(&claim), 12);
    let learned = net.seen.iter().filter(|(_, _, effect)| matches!(effect, Effect::Learned { .. })).count();
    assert_eq!(learned, 11);
}

#[test]
fn a_new_bundle_is_with_99_of_100_in_ten_seconds_and_with_all_in_a_minute_in_foul_weather() {
    for (nodes, seed) in [(3, 1), (3, 2), (7, 3), (20, 4), (50, 5)] {
        let mut net = Network::usual(nodes, seed, Weather::FOUL);
        net.connect_all();
        net.pass(SECOND * 10);
        let claims: Vec<_> = (0..5).map(|n| bundle(n, 1, net.ids[n % nodes])).collect();
        for (n, claim) in claims.iter().enumerate() {
            net.tell(n % nodes, Event::Claim(claim.clone()));
        }
        net.pass(SECOND * 10);
        for claim in &claims {
            let knowing = net.knowing(claim);
            assert!(knowing * 100 >= (nodes - 1) * 99, "seed {seed}: {knowing} of {nodes} after ten seconds");
        }
        net.pass(SECOND * 50);
        assert!(claims.iter().all(|claim| net.knowing(claim) == nodes), "seed {seed}");
        assert!(net.agree(), "seed {seed}");
    }
}

#[test]
fn one_way_cuts_do_not_keep_anything_from_anybody() {
    for seed in 0..6 {
        let mut net = Network::usual(8, seed, Weather::FOUL);
        net.connect_all();
        // Node 0 is heard by nodes 1 and 2 alone, and hears node 2 alone; node 5 hears nobody but node 6.
        net.cut = Box::new(|from, to| match (from, to) {
            (0, to) => to > 2,
            (from, 0) => from != 2,
            (from, 5) => from != 6,
            _ => false,
        });
        let (one, two) = (bundle(1, 1, net.ids[0]), bundle(2, 1, net.ids[5]));
        net.tell(0, Event::Claim(one.clone()));
        net.tell(5, Event::Claim(two.clone()));
        net.pass(SECOND * 60);
        assert!(net.agree() && net.knowing(&one) == 8 && net.knowing(&two) == 8, "seed {seed}");
    }
}

#[test]
fn healed_partitions_agree_in_a_minute() {
    for (nodes, sides, seed) in [(6, 2, 1), (12, 3, 2), (12, 12, 3), (30, 5, 4)] {
        let mut net = Network::usual(nodes, seed, Weather::FOUL);
        net.connect_all();
        net.pass(SECOND * 5);
        net.cut = Box::new(move |from, to| from % sides != to % sides);
        for n in 0..60 {
            let at = n % nodes;
            // The same subjects on all sides: epochs and siblings collide.
            net.tell(at, Event::Claim(bundle(n % 20, 1 + (n as u64 / 25), net.ids[at])));
            net.pass(SECOND);
        }
        assert!(!net.agree());
        net.cut = Box::new(|_, _| false);
        let took = net.until(SECOND * 60, Network::agree);
        assert!(took.is_some(), "{nodes} nodes on {sides} sides, seed {seed}");
    }
}

#[test]
fn an_empty_node_is_whole_within_seconds_of_meeting_one_peer() {
    let mut net = Network::usual(2, 7, Weather::FAIR);
    let count = 2000;
    for n in 0..count {
        net.tell(0, Event::Claim(bundle(n, 1, net.ids[0])));
    }
    net.connect_all();
    let took = net.until(SECOND * 10, |net| net.nodes[1].state().len() == count).unwrap();
    assert!(took < SECOND * 6, "{took:?}");
    assert_eq!(net.disks[1].len(), count);
    assert!(net.agree());
}

#[test]
fn a_node_that_was_away_for_a_month_catches_up_and_brings_nothing_back() {
    let mut net = Network::usual(4, 8, Weather::FAIR);
    let origin = net.ids[0];
    for at in 0..4 {
        for n in 0..50 {
            net.tell(at, Event::Claim(bundle(n, 1, origin)));
        }
    }
    // Meanwhile the others renewed some and removed some.
    for at in 0..3 {
        for n in 0..25 {
            net.tell(at, Event::Claim(bundle(n, 2, origin)));
        }
        for n in 25..50 {
            let over = Claim::tombstone(Subject::Bundle(cert(n)), 1, origin, "nobody has it");
            net.tell(at, Event::Claim(Arc::new(over)));
        }
    }
    let before = net.nodes[0].state().clone();
    net.connect_all();
    assert!(net.until(SECOND * 10, Network::agree).is_some());
    assert_eq!(net.nodes[3].state(), &before);
    assert!(net.nodes[3].state().alive(&Subject::Bundle(cert(30))).is_empty());
}

#[test]
fn quiet_costs_little_and_no_node_is_stormed_when_it_comes_back() {
    let nodes = 50;
    let mut net = Network::usual(nodes, 9, Weather::FAIR);
    for at in 0..nodes {
        for n in 0..40 {
            net.tell(at, Event::Claim(bundle(n, 1, net.ids[0])));
        }
    }
    net.connect_all();
    net.pass(SECOND * 10);
    assert!(net.agree());
    net.sent.fill(0);
    net.pass(SECOND * 60);
    let dearest = *net.sent.iter().max().unwrap();
    let per_peer_and_second = dearest / (nodes - 1) / 60;
    assert!(per_peer_and_second < 40, "{per_peer_and_second} bytes a second for each peer");
    // One node misses ten minutes of news, then hears all again.
    net.cut = Box::new(|from, to| from == 7 || to == 7);
    for n in 0..40 {
        net.tell(0, Event::Claim(bundle(n, 2, net.ids[0])));
    }
    net.pass(SECOND * 20);
    net.cut = Box::new(|_, _| false);
    net.sent.fill(0);
    assert!(net.until(SECOND * 20, Network::agree).is_some());
    let sent: usize = net.sent.iter().sum();
    assert!(sent < 6_000_000, "{sent} bytes to bring one node 40 bundles of 3 KB");
}

#[test]
fn a_peer_that_replays_invents_and_floods_changes_nothing() {
    let mut net = Network::usual(5, 10, Weather::FAIR);
    net.connect_all();
    let (old, new) = (bundle(1, 1, net.ids[0]), bundle(1, 2, net.ids[0]));
    net.tell(0, Event::Claim(old.clone()));
    net.pass(SECOND);
    net.tell(0, Event::Claim(new.clone()));
    net.pass(SECOND);
    let before = net.nodes[1].state().clone();
    let rogue = net.ids[4];
    let leap = bundle(1, u64::MAX / 2, rogue);
    let mut invented = leap.mark();
    invented.epoch = 900;
    for _ in 0..500 {
        use semper::fleet::Message as M;
        let keys = vec![old.mark().key; 1024];
        for message in [
            M::Claims(vec![Claim::clone(&old), Claim::clone(&leap)]),
            M::Offer(vec![old.mark(), leap.mark(), invented]),
            M::Want(keys.clone()),
            M::NotHeld(keys),
            M::Buckets(vec![1; 256]),
            M::Ping { root: old.mark().digest, civil: semper::clock::UnixTime(i64::MAX) },
        ] {
            net.tell(1, Event::Received(rogue, message));
        }
        net.pass(Duration::from_millis(10));
    }
    assert_eq!(net.nodes[1].state(), &before);
    assert_eq!(net.knowing(&new), 5);
    assert!(net.sent[1] < 20_000_000, "{} bytes", net.sent[1]);
}

#[test]
fn a_removed_node_is_cut_everywhere_and_not_heard_again() {
    let mut net = Network::usual(4, 11, Weather::FAIR);
    net.connect_all();
    net.pass(SECOND);
    let (removed, by) = (net.ids[3], net.ids[0]);
    net.tell(0, Event::Claim(Arc::new(Claim::new(Subject::Removed(removed), 1, by, Body::empty()))));
    net.pass(SECOND);
    let cut: Vec<usize> = net
        .seen
        .iter()
        .filter(|(_, _, effect)| matches!(effect, Effect::Cut { peer, .. } if *peer == removed))
        .map(|(at, _, _)| *at)
        .collect();
    assert!((0..3).all(|at| cut.contains(&at)), "{cut:?}");
    let late = bundle(9, 1, removed);
    net.tell(3, Event::Claim(late.clone()));
    net.tell(1, Event::Received(removed, semper::fleet::Message::Claims(vec![Claim::clone(&late)])));
    net.tell(1, Event::Connected(removed));
    net.pass(SECOND * 20);
    assert_eq!(net.knowing(&late), 1);
}

#[test]
fn hold_own_takes_marks_of_all_and_bodies_of_its_own_and_fetches_what_becomes_its_own() {
    let mut net = Network::new(4, 12, Weather::FAIR, |at| {
        let mut terms = Terms::new("semper", at as u64);
        terms.hello.holds_all = at != 3;
        terms
    });
    let mine = [Subject::Bundle(cert(1)).key()].into_iter().collect();
    net.tell(3, Event::Interest(mine));
    net.connect_all();
    net.pass(SECOND);
    let claims: Vec<_> = (0..3).map(|n| bundle(n, 1, net.ids[0])).collect();
    for claim in &claims {
        net.tell(0, Event::Claim(claim.clone()));
    }
    net.pass(SECOND * 10);
    assert!(net.agree(), "the marks are with all");
    assert_eq!(net.disks[3].len(), 1, "the bodies are not");
    net.tell(3, Event::Interest([claims[1].mark().key, claims[2].mark().key].into_iter().collect()));
    net.pass(SECOND);
    assert_eq!(net.disks[3].len(), 2);
    assert!(!net.nodes[3].state().lacks(&claims[2].mark().key));
}

fn token(number: u32) -> Token {
    let token = format!("abcdefghijklmnop{number}");
    let answer = format!("{token}.thumb");
    Token { look: Look::Http01, token, name: "a.example".into(), answer, remaining: SECOND * 300 }
}

#[test]
fn a_challenge_is_known_to_all_before_the_authority_looks_and_missing_nodes_are_named_after_a_bound() {
    let mut net = Network::usual(5, 13, Weather::FOUL);
    net.connect_all();
    net.pass(SECOND * 5);
    let (one, bound) = (token(1), SECOND * 5);
    net.tell(0, Event::OpenToken(one.clone()));
    let ready = |net: &Network| net.nodes[0].token_ready(&one.token, None, &net.ids, bound, net.moment());
    assert!(matches!(ready(&net), Readiness::Wait { ref missing, .. } if missing.len() == 4));
    net.until(SECOND * 20, |net| ready(net) == Readiness::Ready).unwrap();
    let open = |net: &Network| net.seen.iter().filter(|(_, _, e)| matches!(e, Effect::OpenToken(_))).count();
    assert_eq!(open(&net), 4);
    // One more node in the roster, which nobody can reach.
    let gone = NodeId::of_key(b"gone");
    let roster = [gone];
    let verdict = |net: &Network| net.nodes[0].token_ready(&one.token, None, &roster, SECOND * 30, net.moment());
    assert!(matches!(verdict(&net), Readiness::Wait { .. }));
    net.pass(SECOND * 30);
    assert_eq!(verdict(&net), Readiness::Without { missing: vec![gone] });
    net.tell(0, Event::CloseToken(one.token.clone()));
    net.weather = Weather::FAIR;
    net.pass(SECOND * 300);
    let closed = net.seen.iter().filter(|(_, _, e)| matches!(e, Effect::CloseToken(_))).count();
    assert_eq!(closed, 4);
}

#[test]
fn what_no_peer_would_take_is_never_sent_and_what_lay_on_disk_is_not_stored_again() {
    let mut net = Network::usual(2, 16, Weather::FAIR);
    net.connect_all();
    let long = vec![0; semper::fleet::claim::LONGEST_BODY + 1];
    let claim = Claim::new(Subject::Internal("root".into()), 1, net.ids[0], Body::copy(&long));
    net.tell(0, Event::Claim(Arc::new(claim)));
    net.tell(0, Event::OpenToken(Token { answer: "another.thumb".into(), ..token(1) }));
    let known = bundle(1, 1, net.ids[0]);
    net.tell(0, Event::Restored(known.clone()));
    net.pass(SECOND * 10);
    assert_eq!((net.nodes[1].state().len(), net.disks[0].len(), net.disks[1].len()), (1, 0, 1));
    assert_eq!(net.knowing(&known), 2);
    assert!(!net.seen.iter().any(|(_, _, effect)| matches!(effect, Effect::OpenToken(_))));
}

#[test]
fn the_stateless_answer_covers_a_peer_that_did_not_acknowledge() {
    let mut net = Network::usual(3, 14, Weather::FAIR);
    net.connect_all();
    net.tell(1, Event::Covers(vec!["thumb".into()]));
    net.pass(SECOND);
    net.cut = Box::new(|_, to| to == 1);
    net.tell(0, Event::OpenToken(token(1)));
    net.pass(SECOND);
    let ready = |thumbprint| net.nodes[0].token_ready(&token(1).token, thumbprint, &[], SECOND * 5, net.moment());
    assert_eq!(ready(Some("thumb")), Readiness::Ready);
    assert!(matches!(ready(Some("other")), Readiness::Wait { missing, .. } if missing == [net.ids[1]]));
}

#[test]
fn a_token_that_was_not_pushed_is_found_by_asking() {
    let mut net = Network::usual(4, 15, Weather::FAIR);
    net.cut = Box::new(|from, to| (from, to) == (0, 3));
    net.connect_all();
    net.tell(0, Event::OpenToken(token(1)));
    net.pass(SECOND);
    net.tell(3, Event::AskToken(token(1).token));
    net.tell(3, Event::AskToken(token(2).token));
    net.pass(SECOND);
    let found: Vec<_> = net.seen.iter().filter(|(_, _, e)| matches!(e, Effect::TokenFound(_))).collect();
    assert!(matches!(&found[..], [(3, _, Effect::TokenFound(found))] if found.token == token(1).token));
    for n in 0..1000 {
        net.tell(3, Event::AskToken(token(100 + n).token));
    }
    assert!(net.dice.draw() < 1.0 && net.sent[3] < 40_000, "questions are bounded");
}
