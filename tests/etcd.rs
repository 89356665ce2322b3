//! Does the client keep its promises with a real etcd (Debian's `etcd-server`)? Restarts, a compaction, a lost lease, three
//! members with one killed or frozen, TLS, users, an operator who changes what is sealed, a full store.
#![allow(clippy::unwrap_used, clippy::cloned_ref_to_slice_refs)]

mod bed;
mod etcd_bed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_bed::{Etcd, client, file};
use nix::sys::signal::Signal;
use semper::fleet::{Body, Claim, NodeId, State, Subject};
use semper::store::etcd::carrier::TOKENS;
use semper::store::etcd::envelope::{Sealer, Unopened};
use semper::store::etcd::{
    Carrier, Change, Client, Duties, EtcdError, Expected, Kept, Seen, Taken, Told, Verdict, Watcher, follow,
};
use semper::words::SecretRef;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

async fn list(client: &Client, under: &str) -> (i64, Vec<Kept>) {
    let mut all = Vec::new();
    let revision = client.list(under, |kept| all.push(kept)).await.unwrap();
    (revision, all)
}

async fn next(watcher: &mut Watcher) -> Result<Seen, EtcdError> {
    tokio::time::timeout(PATIENCE, watcher.next()).await.expect("nothing seen in time")
}

/// Repeats `act` until it succeeds.
async fn patiently<T, F: Future<Output = Result<T, EtcdError>>>(mut act: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        match act().await {
            Ok(done) => return done,
            Err(error) if begun.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test]
async fn what_is_written_is_read_listed_and_seen_and_only_what_was_read_is_overwritten() {
    let etcd = Etcd::one();
    let client = etcd.client();
    assert_eq!(client.get("a/1").await.unwrap(), None);
    let first = client.write("a/1", b"one".to_vec(), Expected::Absent, None).await.unwrap();
    let mut watcher = client.watch("a/", first + 1).await.unwrap();
    let conflict = client.write("a/1", b"two".to_vec(), Expected::Absent, None).await;
    assert_eq!(conflict, Err(EtcdError::Conflict { key: "a/1".into() }));
    let second = client.write("a/1", b"two".to_vec(), Expected::Revision(first), None).await.unwrap();
    let kept = client.get("a/1").await.unwrap().unwrap();
    assert_eq!((&kept.value[..], kept.version, kept.created, kept.modified), (&b"two"[..], 2, first, second));
    let seen = next(&mut watcher).await.unwrap();
    assert_eq!((seen.changes, seen.up_to), (vec![Change::Written(kept.clone())], Some(second)));
    client.remove("a/1", Expected::Revision(second), None).await.unwrap();
    assert_eq!(next(&mut watcher).await.unwrap().changes, [Change::Gone("a/1".into())]);
    watcher.ask();
    assert_eq!(next(&mut watcher).await.unwrap().changes, []);
    // More than two pages, and keys of others beside them.
    etcd.ctl(0, &["put", "/semperb", "foreign"]);
    for n in 0..300 {
        client.write(&format!("b/{n:03}"), vec![7; 100], Expected::Absent, None).await.unwrap();
    }
    let (revision, all) = list(&client, "b/").await;
    let keys: Vec<String> = (0..300).map(|n| format!("b/{n:03}")).collect();
    assert_eq!(all.iter().map(|kept| kept.key.clone()).collect::<Vec<_>>(), keys);
    assert_eq!(revision, etcd.revision(0));
    // Values of a megabyte do not fit a page; the list is whole all the same.
    for n in 0..20 {
        client.write(&format!("c/{n:02}"), vec![7; 1 << 20], Expected::Absent, None).await.unwrap();
    }
    assert_eq!(list(&client, "c/").await.1.len(), 20);
    let large = client.write("c/x", vec![7; (1 << 20) + 1], Expected::Absent, None).await;
    assert!(matches!(large, Err(EtcdError::TooLarge { .. })));
}

#[tokio::test]
async fn a_restart_ends_the_watch_and_nothing_else_and_a_compaction_meanwhile_is_told() {
    let mut etcd = Etcd::one();
    let client = etcd.client();
    let first = client.write("a", b"1".to_vec(), Expected::Absent, None).await.unwrap();
    let mut watcher = client.watch("", first + 1).await.unwrap();
    etcd.kill(0);
    assert!(next(&mut watcher).await.is_err());
    let begun = Instant::now();
    assert!(matches!(client.get("a").await, Err(EtcdError::Unreached { .. })));
    assert!(begun.elapsed() < Duration::from_secs(13), "a member that is away costs {:?}", begun.elapsed());
    etcd.run(0);
    let second = patiently(|| client.write("a", b"2".to_vec(), Expected::Revision(first), None)).await;
    let mut watcher = patiently(|| client.watch("", first + 1)).await;
    assert_eq!(next(&mut watcher).await.unwrap().up_to, Some(second));
    // Away again, while it is compacted.
    drop(watcher);
    let third = client.write("a", b"3".to_vec(), Expected::Revision(second), None).await.unwrap();
    client.write("a", b"4".to_vec(), Expected::Revision(third), None).await.unwrap();
    etcd.compact(0);
    let Err(EtcdError::Compacted { revision }) = client.watch("", second + 1).await.map(|_| ()) else {
        let mut late = client.watch("", second + 1).await.unwrap();
        let told = next(&mut late).await;
        assert!(matches!(told, Err(EtcdError::Compacted { revision }) if revision > second), "{told:?}");
        return;
    };
    assert!(revision > second);
}

#[tokio::test]
async fn a_duty_has_one_holder_and_a_late_write_of_the_one_before_is_refused() {
    let etcd = Etcd::one();
    let (one, two) = (etcd.client(), etcd.client());
    let (lease, ttl) = one.grant(Duration::from_secs(2)).await.unwrap();
    let (other, _) = two.grant(Duration::from_secs(60)).await.unwrap();
    let Taken::Ours(fence) = one.take_duty("duty/a", b"one", lease).await.unwrap() else { panic!("taken") };
    assert_eq!(one.take_duty("duty/a", b"one", lease).await.unwrap(), Taken::Ours(fence.clone()), "asked twice");
    let Taken::Theirs(who) = two.take_duty("duty/a", b"two", other).await.unwrap() else { panic!("two holders") };
    assert_eq!(&who[..], b"one");
    assert!(one.keep_alive(lease).await.unwrap() <= ttl.max(Duration::from_secs(2)));
    let order = one.write("order/a", b"placed".to_vec(), Expected::Absent, Some(&fence)).await.unwrap();
    // The holder is stopped between order and finalize: nobody renews the lease.
    let after = patiently(|| async {
        match two.take_duty("duty/a", b"two", other).await? {
            Taken::Ours(fence) => Ok(fence),
            Taken::Theirs(_) => Err(EtcdError::Conflict { key: "duty/a".into() }),
        }
    })
    .await;
    assert!(after.created > fence.created);
    let done = two.write("bundle/a", b"two's".to_vec(), Expected::Absent, Some(&after)).await.unwrap();
    // It wakes and goes on where it stood: refused, even where it knows the revision.
    for expected in [Expected::Absent, Expected::Revision(done)] {
        let late = one.write("bundle/a", b"one's".to_vec(), expected, Some(&fence)).await;
        assert_eq!(late, Err(EtcdError::DutyLost { key: "duty/a".into() }));
    }
    let late = one.remove("order/a", Expected::Revision(order), Some(&fence)).await;
    assert_eq!(late, Err(EtcdError::DutyLost { key: "duty/a".into() }));
    assert_eq!(one.keep_alive(lease).await, Err(EtcdError::LeaseGone));
    one.give_back(&fence).await.unwrap();
    assert_eq!(&two.get("bundle/a").await.unwrap().unwrap().value[..], b"two's");
    let conflict = two.write("bundle/a", b"again".to_vec(), Expected::Absent, Some(&after)).await;
    assert_eq!(conflict, Err(EtcdError::Conflict { key: "bundle/a".into() }));
    two.revoke(other).await.unwrap();
    let gone = two.write("bundle/a", b"again".to_vec(), Expected::Revision(done), Some(&after)).await;
    assert_eq!(gone, Err(EtcdError::DutyLost { key: "duty/a".into() }));
}

#[tokio::test]
async fn of_three_members_one_may_be_killed_or_frozen_and_two_may_not() {
    let mut etcd = Etcd::three();
    let client = etcd.client();
    let mut at = client.write("a", b"0".to_vec(), Expected::Absent, None).await.unwrap();
    // The one that the client talks to, whether it leads or not.
    etcd.kill(0);
    at = patiently(|| client.write("a", b"1".to_vec(), Expected::Revision(at), None)).await;
    etcd.run(0);
    etcd.wait_healthy(0);
    // Frozen, not dead: nothing answers, no connection ends.
    let second = Arc::new(Client::new(etcd.store(), Arc::new(etcd_bed::Files), 1));
    second.get("a").await.unwrap();
    etcd.signal(1, Signal::SIGSTOP);
    let begun = Instant::now();
    let read = patiently(|| second.get("a")).await.unwrap();
    assert_eq!(read.modified, at);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // Two away: no majority, so nothing is written, and it is said within the limit.
    etcd.kill(2);
    let begun = Instant::now();
    assert!(second.write("a", b"2".to_vec(), Expected::Revision(at), None).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    etcd.signal(1, Signal::SIGCONT);
    let now = patiently(|| second.get("a")).await.unwrap();
    if now.modified == at {
        patiently(|| second.write("a", b"2".to_vec(), Expected::Revision(at), None)).await;
    }
}

#[tokio::test]
async fn tls_users_and_their_rights_hold_and_a_token_that_ended_is_renewed() {
    let mut etcd = Etcd::with_tls();
    let store = etcd.store();
    let words = file(etcd.folder.path(), "password", "correct horse\n");
    std::fs::write(&words, "correct horse").unwrap();
    let user = |name: &str, password: SecretRef| semper::plan::etcd::EtcdStore {
        user: Some((name.into(), password)),
        ..store.clone()
    };
    // Before users are demanded, one who names itself is let in all the same.
    let early = client(user("semper", SecretRef::File(words.clone())));
    early.write("a", b"1".to_vec(), Expected::Absent, None).await.unwrap();
    for args in [
        &["user", "add", "root:r"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "semper"],
        &["role", "grant-permission", "semper", "readwrite", "--prefix=true", "/semper/"],
        &["user", "add", "semper:correct horse"],
        &["user", "grant-role", "semper", "semper"],
        &["auth", "enable"],
    ] {
        etcd.ctl(0, args);
    }
    let kept = early.get("a").await.unwrap().unwrap();
    early.write("a", b"2".to_vec(), Expected::Revision(kept.modified), None).await.unwrap();
    let mut watcher = early.watch("", kept.modified + 1).await.unwrap();
    assert_eq!(next(&mut watcher).await.unwrap().changes.len(), 1);
    // etcd forgets its tokens with a restart; the client logs in again by itself.
    etcd.kill(0);
    etcd.run(0);
    patiently(|| early.get("a")).await.unwrap();
    let (lease, _) = early.grant(Duration::from_secs(60)).await.unwrap();
    assert!(matches!(early.take_duty("duty/a", b"x", lease).await, Ok(Taken::Ours(_))));
    // Strangers.
    let wrong = client(user("semper", SecretRef::Literal("wrong".to_owned().into())));
    assert!(matches!(wrong.get("a").await, Err(EtcdError::Credentials { .. })));
    let other_prefix =
        semper::plan::etcd::EtcdStore { prefix: "/other/".into(), ..user("semper", SecretRef::File(words)) };
    let denied = client(other_prefix).get("a").await;
    assert_eq!(denied, Err(EtcdError::Permission { prefix: "/other/".into() }));
    let without = semper::plan::etcd::EtcdStore { certificate: None, ..store.clone() };
    assert!(client(without).get("a").await.is_err());
    let unknown = bed::ca::Ca::new("somebody else");
    let trusted = file(etcd.folder.path(), "other.pem", &unknown.pem());
    let doubted = semper::plan::etcd::EtcdStore { trusted: Some(trusted), ..store.clone() };
    let doubted = client(doubted).get("a").await;
    assert!(matches!(doubted, Err(EtcdError::Trust { .. })), "{doubted:?}");
}

#[tokio::test]
async fn what_the_operator_of_etcd_moves_changes_or_puts_back_does_not_open() {
    let etcd = Etcd::one();
    let client = etcd.client();
    let sealer = Sealer::new(&[7; 32], None);
    let write = async |key: &str, version: i64, plain: &[u8], expected: Expected| {
        client.write(key, sealer.seal(key, version, plain).unwrap(), expected, None).await.unwrap()
    };
    let open = async |key: &str| {
        let kept = client.get(key).await.unwrap().unwrap();
        sealer.open(key, kept.version, &kept.value).map(|(plain, _)| plain.to_vec())
    };
    let first = write("a", 1, b"first key", Expected::Absent).await;
    let old = client.get("a").await.unwrap().unwrap().value;
    let second = write("a", 2, b"second key", Expected::Revision(first)).await;
    assert_eq!(open("a").await.unwrap(), b"second key");
    assert!(!etcd.ctl(0, &["get", "--prefix", "/semper/"]).contains("second"));
    // The value of one name under another, an old value put back, a value that was changed.
    let moved = client.get("a").await.unwrap().unwrap().value;
    client.write("b", moved.to_vec(), Expected::Absent, None).await.unwrap();
    assert_eq!(open("b").await, Err(Unopened));
    let back = client.write("a", old.to_vec(), Expected::Revision(second), None).await.unwrap();
    assert_eq!(open("a").await, Err(Unopened));
    let mut changed = moved.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let back = client.write("a", changed, Expected::Revision(back), None).await.unwrap();
    assert_eq!(open("a").await, Err(Unopened));
    // Any member that holds the claim mends it.
    write("a", 5, b"second key", Expected::Revision(back)).await;
    assert_eq!(open("a").await.unwrap(), b"second key");
}

#[tokio::test]
async fn something_else_on_the_port_is_named_and_costs_no_longer_than_a_member_that_is_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.read(&mut [0; 1000]);
        }
    });
    let etcd = Etcd::one();
    let mut store = etcd.store();
    let stranger = semper::plan::etcd::Endpoint { tls: false, host: "127.0.0.1".into(), port };
    store.endpoints = [&[stranger.clone()][..], &store.endpoints].concat().into();
    assert_eq!(client(store.clone()).get("a").await, Ok(None), "the next member answers");
    store.endpoints = [stranger].into();
    let begun = Instant::now();
    assert!(client(store).get("a").await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(13));
}

struct Even;

impl semper::clock::Dice for Even {
    fn draw(&self) -> f64 {
        0.5
    }
}

fn node(n: u8) -> NodeId {
    NodeId::of_key(&[n])
}

fn claim(slot: u8, epoch: u64, body: &[u8]) -> Arc<Claim> {
    Arc::new(Claim::new(Subject::Ticket(slot), epoch, node(1), Body::copy(body)))
}

fn carrier(client: Arc<Client>) -> Arc<Carrier> {
    Arc::new(Carrier::new(client, Sealer::new(&[7; 32], None)))
}

/// A follower, and what it tells.
struct Ear {
    told: mpsc::Receiver<Told>,
    state: State,
    live: bool,
}

impl Ear {
    fn new(carrier: &Arc<Carrier>) -> Ear {
        let (tell, told) = mpsc::channel(16);
        tokio::spawn(follow(carrier.clone(), Arc::new(Even), tell));
        Ear { told, state: State::default(), live: false }
    }

    async fn next(&mut self) -> Told {
        let told = tokio::time::timeout(Duration::from_secs(60), self.told.recv()).await;
        let told = told.expect("nothing told in time").expect("the follower has ended");
        if let Told::Live(live) = &told {
            self.live = *live;
        }
        if let Told::Claims(found) = &told {
            for claim in &found.claims {
                let _ = self.state.admit(claim.clone());
            }
        }
        told
    }

    async fn until(&mut self, what: impl Fn(&Told) -> bool) -> Told {
        loop {
            let told = self.next().await;
            if what(&told) {
                return told;
            }
        }
    }

    /// Until changes are seen as they happen, or no longer.
    async fn lives(&mut self, live: bool) {
        while self.live != live {
            self.next().await;
        }
    }

    /// Until this claim is known.
    async fn learns(&mut self, claim: &Arc<Claim>) {
        while !self.state.knows(&claim.mark()) {
            self.next().await;
        }
    }
}

#[tokio::test]
async fn what_one_node_claims_all_learn_whoever_was_first_and_nobody_loses_anything() {
    let etcd = Etcd::one();
    let (one, two) = (carrier(etcd.client()), carrier(etcd.client()));
    let (old, new, twin) = (claim(1, 1, b"old"), claim(1, 2, b"new key"), claim(1, 2, b"twin key"));
    let key = new.mark().key;
    one.publish(key, &[new.clone()], None).await.unwrap();
    // A node that knows less learns, and overwrites nothing.
    assert_eq!(two.publish(key, &[old.clone()], None).await.unwrap(), [new.clone()]);
    two.publish(key, &[twin.clone()], None).await.unwrap();
    let mut ear = Ear::new(&carrier(etcd.client()));
    ear.until(|told| matches!(told, Told::Whole)).await;
    assert!(ear.state.knows(&new.mark()) && ear.state.knows(&twin.mark()) && !ear.state.knows(&old.mark()));
    ear.lives(true).await;
    // Twelve nodes at once.
    let all: Vec<Arc<Claim>> = (0..12).map(|n| claim(2, 1 + u64::from(n), &[n])).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for claim in &all {
        let (carrier, claim) = (carrier(etcd.client()), claim.clone());
        tasks.spawn(async move {
            let key = claim.mark().key;
            while carrier.publish(key, &[claim.clone()], None).await.is_err() {}
        });
    }
    tasks.join_all().await;
    ear.learns(&all[11]).await;
    let dump = etcd.ctl(0, &["get", "--prefix", "/semper/", "--print-value-only"]);
    assert!(!dump.contains("key"), "{dump}");
    let writes = etcd.revision(0);
    one.publish(key, &[new.clone(), twin.clone()], None).await.unwrap();
    one.publish(key, &[new, twin], None).await.unwrap();
    assert_eq!(etcd.revision(0), writes, "what stands there is not written again");
}

#[tokio::test]
async fn the_follower_goes_on_after_a_restart_a_compaction_and_a_store_that_was_emptied() {
    let mut etcd = Etcd::one();
    let carrier = carrier(etcd.client());
    let (first, second, third) = (claim(1, 1, b"1"), claim(1, 2, b"2"), claim(2, 1, b"3"));
    carrier.publish(first.mark().key, &[first.clone()], None).await.unwrap();
    let mut ear = Ear::new(&carrier);
    ear.learns(&first).await;
    ear.lives(true).await;
    etcd.kill(0);
    ear.lives(false).await;
    etcd.run(0);
    etcd.wait_healthy(0);
    // While nobody listens: written, and compacted away.
    let other = self::carrier(etcd.client());
    other.publish(second.mark().key, &[second.clone()], None).await.unwrap();
    etcd.compact(0);
    ear.learns(&second).await;
    ear.lives(true).await;
    other.publish(third.mark().key, &[third.clone()], None).await.unwrap();
    ear.learns(&third).await;
    // The operator removes everything, and puts rubbish in one place.
    etcd.ctl(0, &["del", "--prefix", "/semper/"]);
    let Told::ClaimGone(key) = ear.until(|told| matches!(told, Told::ClaimGone(_))).await else { unreachable!() };
    assert!(!carrier.has(&key, &[second.clone()]) && !carrier.has(&key, &[third.clone()]));
    let digits: String = third.mark().key.0.iter().map(|b| format!("{b:02x}")).collect();
    etcd.ctl(0, &["put", &format!("/semper/claims/{digits}"), "rubbish"]);
    ear.until(|told| matches!(told, Told::Claims(found) if found.unopened)).await;
    // Whoever holds it brings it again, over the rubbish too.
    ear.state = State::default();
    for claim in [&second, &third] {
        carrier.publish(claim.mark().key, &[claim.clone()], None).await.unwrap();
        ear.learns(claim).await;
    }
}

#[tokio::test]
async fn a_node_stopped_past_its_lease_installs_nothing_and_tokens_go_with_their_node() {
    let etcd = Etcd::one();
    let (short, long) = (Duration::from_secs(3), Duration::from_secs(60));
    let one = Duties::lasting(etcd.client(), b"one".to_vec(), short);
    let two = Duties::lasting(etcd.client(), b"two".to_vec(), long);
    assert_eq!(one.take("a").await, Verdict::Unknown, "no lease yet: the fleet's own order decides");
    let alive = tokio::spawn(one.clone().keep(Arc::new(Even)));
    tokio::spawn(two.clone().keep(Arc::new(Even)));
    let lease = one.ready(PATIENCE).await.unwrap();
    two.ready(PATIENCE).await.unwrap();
    let Verdict::Ours(fence) = one.take("a").await else { panic!("not taken") };
    assert_eq!(two.take("a").await, Verdict::Theirs(b"one".to_vec()));
    let carrier = carrier(etcd.client());
    let token = Arc::new(Claim::new(Subject::Token("t".into()), 1, node(1), Body::copy(b"t.thumbprint")));
    carrier.show(TOKENS, &token, lease).await.unwrap();
    let mut ear = Ear::new(&carrier);
    ear.until(|told| matches!(told, Told::Token(found) if found.claims == [token.clone()])).await;
    // Longer than the lease would live by itself: it is renewed.
    tokio::time::sleep(short + Duration::from_secs(1)).await;
    assert!(one.fence("a").is_some() && one.lease() == Some(lease));
    // Stopped between order and finalize.
    alive.abort();
    ear.until(|told| matches!(told, Told::TokenGone(_))).await;
    let begun = Instant::now();
    let after = loop {
        match two.take("a").await {
            Verdict::Ours(fence) => break fence,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    let (theirs, ours) = (claim(1, 2, b"installed"), claim(1, 2, b"late"));
    let key = ours.mark().key;
    carrier.publish(key, &[theirs.clone()], Some(&after)).await.unwrap();
    // It wakes: it no longer believes that it holds anything, and if it writes all the same it is refused.
    assert_eq!((one.fence("a"), one.lease()), (None, None));
    let late = carrier.publish(key, &[ours], Some(&fence)).await;
    assert!(matches!(late, Err(EtcdError::DutyLost { .. })), "{late:?}");
    two.give_back("a").await;
    let gone = carrier.publish(key, &[claim(1, 3, b"x")], Some(&after)).await;
    assert!(matches!(gone, Err(EtcdError::DutyLost { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_full_etcd_says_so_and_goes_on_answering() {
    let etcd = Etcd::small();
    let client = etcd.client();
    let mut refused = None;
    for n in 0..64 {
        if let Err(error) = client.write(&format!("x/{n}"), vec![7; 1 << 20], Expected::Absent, None).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(EtcdError::Full { .. })), "{refused:?}");
    assert!(refused.unwrap().needs_the_operator());
    assert!(client.get("x/0").await.unwrap().is_some());
    // Mended by the operator.
    etcd.ctl(0, &["del", "--prefix", "/semper/"]);
    etcd.compact(0);
    etcd.ctl(0, &["defrag"]);
    etcd.ctl(0, &["alarm", "disarm"]);
    client.write("y", b"1".to_vec(), Expected::Absent, None).await.unwrap();
}
