//! Does the client keep its promises with a real etcd (Debian's `etcd-server`)? Restarts, a compaction, a lost lease, three
//! members with one killed or frozen, TLS, users, an operator who changes what is sealed, a full store.
#![allow(clippy::unwrap_used)]

mod bed;
mod etcd_bed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_bed::{Etcd, client, file};
use nix::sys::signal::Signal;
use semper::store::etcd::envelope::{Sealer, Unopened};
use semper::store::etcd::{Change, Client, EtcdError, Expected, Kept, Seen, Taken, Watcher};
use semper::words::SecretRef;

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
