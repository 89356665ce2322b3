//! Do the algorithms choose as nginx does? Vectors from its documentation and properties of each algorithm.

use super::*;
use crate::balance::{Health, Outcome};
use crate::plan::template::Template;
use crate::plan::upstream::{Upstream, UpstreamAddress, UpstreamServer};
use crate::words::Place;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

struct Seeded(AtomicU64);

impl Dice for Seeded {
    fn draw(&self) -> f64 {
        let next = self.0.load(Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.store(next, Relaxed);
        (next >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn dice() -> Seeded {
    Seeded(AtomicU64::new(7))
}

fn server(name: &str, weight: u32) -> UpstreamServer {
    UpstreamServer {
        name: name.into(),
        addresses: Box::new([UpstreamAddress::Tcp(name.parse().unwrap())]),
        host: None,
        weight,
        max_conns: 0,
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        backup: false,
        down: false,
        resolve: false,
    }
}

fn group(balance: Balance, servers: Vec<UpstreamServer>) -> Group {
    let upstream = Upstream {
        name: "u".into(),
        implicit: false,
        place: Place::built_in(),
        servers: servers.into(),
        balance,
        keepalive: None,
        zone: None,
    };
    Group::new(&upstream, |_, server| server.addresses.to_vec(), |_| Arc::new(Health::default()))
}

fn servers(weights: &[u32]) -> Vec<UpstreamServer> {
    weights.iter().enumerate().map(|(i, weight)| server(&format!("127.0.0.{}:80", i + 1), *weight)).collect()
}

fn client(last: &str) -> Key<'static> {
    Key { client: Some(last.parse().unwrap()), text: b"" }
}

fn key(text: &[u8]) -> Key<'_> {
    Key { client: None, text }
}

/// One request that ends well: the index of the server it went to.
fn one(group: &Group, key: Key<'_>, now: i64, dice: &dyn Dice) -> Option<usize> {
    let picked = group.next(&mut group.choice(), key, Moment(now), dice)?;
    group.ended(picked, Outcome::Fine, Moment(now));
    Some(picked.index)
}

fn fail(group: &Group, index: usize, now: i64) {
    let picked = Picked { tier: 0, index };
    group.member(picked).health.chosen(Duration::from_secs(10), Moment(now));
    group.ended(picked, Outcome::Failed, Moment(now));
}

#[test]
fn smooth_round_robin_interleaves_by_weight() {
    let group = group(Balance::RoundRobin, servers(&[5, 1, 1]));
    let order: Vec<_> = (0..7).filter_map(|_| one(&group, key(b""), 0, &dice())).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn a_failed_server_is_left_out_for_fail_timeout_then_tried_with_rising_weight() {
    let group = group(Balance::RoundRobin, servers(&[1, 1]));
    fail(&group, 0, 1_000);
    assert!((0..4).all(|_| one(&group, key(b""), 11_000, &dice()) == Some(1)));
    let later: Vec<_> = (0..4).filter_map(|_| one(&group, key(b""), 11_001, &dice())).collect();
    assert!(later.contains(&0));
    assert_eq!(group.tiers[0][0].health.fails(), 0, "a success after the window clears its failures");
}

#[test]
fn max_fails_counts_within_the_window_and_zero_never_marks_down() {
    let mut list = servers(&[1, 1]);
    list[0].max_fails = 3;
    list[1].max_fails = 0;
    let group = group(Balance::RoundRobin, list);
    for _ in 0..2 {
        fail(&group, 0, 0);
        fail(&group, 1, 0);
    }
    assert!(!group.tiers[0][0].is_out(Moment(1)));
    fail(&group, 0, 0);
    fail(&group, 1, 0);
    assert!(group.tiers[0][0].is_out(Moment(1)) && !group.tiers[0][1].is_out(Moment(1)));
}

#[test]
fn a_server_that_stands_alone_is_never_marked_down() {
    let group = group(Balance::RoundRobin, servers(&[1]));
    fail(&group, 0, 0);
    assert_eq!(one(&group, key(b""), 1, &dice()), Some(0));
}

#[test]
fn backups_serve_only_when_no_primary_is_left() {
    let mut list = servers(&[1, 1]);
    list[1].backup = true;
    let group = group(Balance::RoundRobin, list);
    let mut choice = group.choice();
    let first = group.next(&mut choice, key(b""), Moment(0), &dice()).unwrap();
    assert_eq!(first.tier, 0);
    group.ended(first, Outcome::Failed, Moment(0));
    let second = group.next(&mut choice, key(b""), Moment(0), &dice()).unwrap();
    assert_eq!(second.tier, 1);
    assert_eq!(group.next(&mut choice, key(b""), Moment(0), &dice()), None);
    assert_eq!(group.next(&mut group.choice(), key(b""), Moment(5), &dice()).unwrap().tier, 1);
}

#[test]
fn max_conns_holds_requests_back() {
    let mut list = servers(&[1]);
    list[0].max_conns = 1;
    let group = group(Balance::RoundRobin, list);
    let held = group.next(&mut group.choice(), key(b""), Moment(0), &dice()).unwrap();
    assert_eq!(group.next(&mut group.choice(), key(b""), Moment(0), &dice()), None);
    group.ended(held, Outcome::Fine, Moment(0));
    assert!(group.next(&mut group.choice(), key(b""), Moment(0), &dice()).is_some());
}

#[test]
fn least_conn_takes_the_freest_for_its_weight() {
    let group = group(Balance::LeastConn, servers(&[3, 1]));
    let held: Vec<_> = (0..4).filter_map(|_| group.next(&mut group.choice(), key(b""), Moment(0), &dice())).collect();
    let to_first = held.iter().filter(|p| p.index == 0).count();
    assert_eq!((held.len(), to_first), (4, 3));
}

#[test]
fn ip_hash_keeps_a_network_at_one_server_and_leaves_it_when_it_is_down() {
    let group = group(Balance::IpHash, servers(&[1, 1, 1]));
    let home = one(&group, client("192.0.2.1"), 0, &dice()).unwrap();
    assert_eq!(one(&group, client("192.0.2.200"), 0, &dice()), Some(home));
    // hash = 89, then (hash * 113 + byte) % 6271 over 192, 0, 2.
    let by_hand = [192_u32, 0, 2].iter().fold(89, |hash, byte| (hash * 113 + byte) % 6271) % 3;
    assert_eq!(home, by_hand as usize);
    fail(&group, home, 0);
    assert_ne!(one(&group, client("192.0.2.1"), 1, &dice()), Some(home));
}

#[test]
fn a_hash_falls_where_memcached_clients_put_it() {
    let balance = Balance::Hash { key: Template::default(), consistent: false };
    let group = group(balance, servers(&[1, 2]));
    let crc = (Crc32::new().update(b"/a").finish() >> 16) & 0x7fff;
    let expected = usize::from(crc % 3 >= 1);
    assert_eq!(one(&group, key(b"/a"), 0, &dice()), Some(expected));
    assert!(one(&group, key(b""), 0, &dice()).is_some(), "an empty key falls back to round robin");
}

#[test]
fn losing_a_server_of_a_ketama_circle_moves_only_its_keys() {
    let balance = Balance::Hash { key: Template::default(), consistent: true };
    let group = group(balance, servers(&[1, 1, 1, 1]));
    let keys: Vec<_> = (0..400).map(|n| format!("/k{n}")).collect();
    let homes: Vec<_> = keys.iter().map(|k| one(&group, key(k.as_bytes()), 0, &dice()).unwrap()).collect();
    fail(&group, 2, 0);
    for (text, home) in keys.iter().zip(&homes) {
        let now = one(&group, key(text.as_bytes()), 1, &dice()).unwrap();
        assert!(now == *home || (*home == 2 && now != 2), "{text}");
    }
    let mut count = HashMap::new();
    homes.iter().for_each(|h| *count.entry(*h).or_insert(0) += 1);
    assert!(count.len() == 4 && count.values().all(|n| *n > 40), "{count:?}");
}

#[test]
fn random_two_prefers_the_freer_of_two_and_random_follows_weights() {
    let plain = group(Balance::Random { two: false }, servers(&[9, 1]));
    let dice = dice();
    let first = (0..1000).filter(|_| one(&plain, key(b""), 0, &dice) == Some(0)).count();
    assert!((850..950).contains(&first), "{first}");
    let two = group(Balance::Random { two: true }, servers(&[1, 1]));
    let busy = Picked { tier: 0, index: 0 };
    two.member(busy).health.chosen(Duration::ZERO, Moment(0));
    assert!((0..20).all(|_| one(&two, key(b""), 0, &dice) == Some(1)));
}

#[test]
fn every_request_tries_each_member_at_most_once() {
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConn,
        Balance::IpHash,
        Balance::Hash { key: Template::default(), consistent: true },
        Balance::Hash { key: Template::default(), consistent: false },
        Balance::Random { two: false },
        Balance::Random { two: true },
    ] {
        let group = group(balance, servers(&vec![1; 70]));
        let (mut choice, dice) = (group.choice(), dice());
        let key = Key { client: None, text: b"k" };
        let mut seen: Vec<_> = std::iter::from_fn(|| group.next(&mut choice, key, Moment(0), &dice)).collect();
        seen.sort_by_key(|p| p.index);
        seen.dedup();
        assert_eq!(seen.len(), 70);
        assert_eq!(group.next(&mut choice, key, Moment(0), &dice), None);
    }
}
