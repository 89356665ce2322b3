//! Promises of a whole node's keepers, with the built-in authority.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::*;
use crate::clock::{Clock, UnixTime};
use crate::node::clock::{RealClock, RealDice};
use crate::node::secrets::OwnSecrets;
use crate::plan::acme::{Authority, InternalAuthority};
use crate::plan::certificate::KeyKind;
use crate::words::Place;

fn issuer(path: Option<&std::path::Path>, seconds: u64) -> Issuer {
    let leaf_lifetime = Duration::from_secs(seconds);
    let authority = Authority::Internal(InternalAuthority { leaf_lifetime, ..InternalAuthority::default() });
    Issuer::new("inner", path.map(Into::into), authority, Place::built_in())
}

fn spec(name: &str) -> CertSpec {
    CertSpec::new("inner", vec![name.parse().unwrap()], KeyKind::EcdsaP256, Place::built_in())
}

type Seen = Arc<Mutex<Vec<Installed>>>;

fn keepers() -> (Keepers, Seen) {
    keepers_by(Arc::new(RealClock))
}

fn keepers_by(clock: Arc<dyn Clock>) -> (Keepers, Seen) {
    let seen: Seen = Arc::default();
    let sink = seen.clone();
    let publish = move |new: Vec<Installed>| sink.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    let tools =
        Tools { clock: clock.clone(), dice: Arc::new(RealDice), publish: Arc::new(publish), beats: Arc::default() };
    (Keepers::new(tools, Arc::new(Challenges::new(clock)), Arc::new(OwnSecrets)), seen)
}

async fn wait(seen: &Seen, count: usize) -> Vec<Installed> {
    for _ in 0..1000 {
        let all = seen.lock().unwrap().clone();
        if all.len() >= count {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("fewer than {count} generations");
}

#[tokio::test]
async fn a_life_of_seconds_is_renewed_in_time_again_and_again() {
    let (mut keepers, seen) = keepers();
    keepers.adopt(&[issuer(None, 4)], &[spec("a.test")]);
    let all = wait(&seen, 3).await;
    for two in all.windows(2) {
        assert!(two[1].bundle.leaf.not_before < two[0].bundle.leaf.not_after, "no gap");
        assert_eq!(two[1].bundle.epoch, two[0].bundle.epoch + 1);
    }
}

#[tokio::test]
async fn a_new_plan_starts_and_stops_keepers_and_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keepers, seen) = keepers();
    keepers.adopt(&[issuer(Some(dir.path()), 3600)], &[spec("a.test"), spec("b.test")]);
    wait(&seen, 2).await;
    keepers.adopt(&[issuer(Some(dir.path()), 3600)], &[spec("b.test"), spec("c.test")]);
    let all = wait(&seen, 3).await;
    assert_eq!(all[2].spec.id, spec("c.test").id);
    assert_eq!(keepers.stages().len(), 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(seen.lock().unwrap().len(), 3, "b was not ordered again");
    assert!(keepers.renew(&spec("b.test").id) && !keepers.renew(&spec("a.test").id));
    assert_eq!(wait(&seen, 4).await[3].bundle.epoch, 2);
}

#[tokio::test]
async fn what_is_held_is_published_before_adopt_returns() {
    let dir = tempfile::tempdir().unwrap();
    let plan = [issuer(Some(dir.path()), 3600)];
    let (mut first, seen) = keepers();
    first.adopt(&plan, &[spec("a.test")]);
    let serial = wait(&seen, 1).await[0].bundle.leaf.serial.clone();
    drop(first);
    let (mut second, seen) = keepers();
    second.adopt(&plan, &[spec("a.test")]);
    let all = seen.lock().unwrap().clone();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].bundle.leaf.serial, serial);
}

#[tokio::test]
async fn another_authority_of_the_same_issuer_name_orders_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keepers, seen) = keepers();
    keepers.adopt(&[issuer(Some(dir.path()), 3600)], &[spec("a.test")]);
    wait(&seen, 1).await;
    let mut other = issuer(Some(dir.path()), 3600);
    other.name = "renamed".into();
    let moved = CertSpec { issuer: "renamed".into(), ..spec("a.test") };
    // The same built-in kind of authority: what is held stays.
    keepers.adopt(&[other], &[moved]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_state_path_that_cannot_be_written_is_no_reason_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the directory should be.
    let path = dir.path().join("state");
    std::fs::write(&path, "in the way").unwrap();
    let (mut keepers, seen) = keepers();
    keepers.adopt(&[issuer(Some(&path), 3600)], &[spec("a.test")]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waits = keepers.stages();
    assert!(seen.lock().unwrap().len() <= 1 && waits.len() == 1, "{waits:?}");
}

/// The right time, and witnesses that disagree as long as one wants.
#[derive(Default)]
struct Doubtful(std::sync::atomic::AtomicBool, Mutex<Vec<UnixTime>>);

impl Clock for Doubtful {
    fn now(&self) -> UnixTime {
        RealClock.now()
    }

    fn in_doubt(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn accepted(&self, not_before: UnixTime) {
        self.1.lock().unwrap().push(not_before);
    }
}

/// Puts a generation onto the shelf that another authority issued: it is due at once.
async fn shelve_foreign(path: &std::path::Path, spec: &CertSpec) {
    let (mut first, seen) = keepers();
    first.adopt(&[issuer(Some(path), 3600)], std::slice::from_ref(spec));
    let mut bundle = Bundle::clone(&wait(&seen, 1).await[0].bundle);
    drop(first);
    (bundle.authority, bundle.epoch) = ("https://ca.example/dir".to_owned(), bundle.epoch + 1);
    // Whoever kept it before lets go of the folder when its loops have ended.
    for _ in 0..500 {
        let placed = Directory::open(path).and_then(|shelf| shelf.replace(&bundle, Some(bundle.epoch - 1)));
        if placed.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the folder was never free");
}

#[tokio::test]
async fn while_the_time_is_in_doubt_nothing_is_ordered_for_a_name_whose_certificate_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (held, absent) = (spec("held.test"), spec("absent.test"));
    shelve_foreign(dir.path(), &held).await;
    let clock = Arc::new(Doubtful::default());
    clock.0.store(true, std::sync::atomic::Ordering::SeqCst);
    let (mut keepers, seen) = keepers_by(clock.clone());
    keepers.adopt(&[issuer(Some(dir.path()), 3600)], &[held.clone(), absent.clone()]);
    let all = wait(&seen, 2).await;
    assert_eq!((&all[0].spec.id, &all[1].spec.id), (&held.id, &absent.id), "what is missing is ordered all the same");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(seen.lock().unwrap().len(), 2, "what is valid waits until it is known what time it is");
    assert!(keepers.renew(&held.id), "a person may know better");
    assert_eq!(wait(&seen, 3).await[2].bundle.authority, "internal");
    assert_eq!(*clock.1.lock().unwrap(), [], "our own certificates are no witnesses of our own clock");
}

#[tokio::test]
async fn without_doubt_the_same_is_ordered_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let held = spec("held.test");
    shelve_foreign(dir.path(), &held).await;
    let (mut keepers, seen) = keepers();
    keepers.adopt(&[issuer(Some(dir.path()), 3600)], &[held]);
    assert_eq!(wait(&seen, 2).await[1].bundle.authority, "internal");
}

#[tokio::test]
async fn every_keeper_notes_that_it_turns() {
    let (mut keepers, seen) = keepers();
    keepers.adopt(&[issuer(None, 3600)], &[spec("a.test")]);
    wait(&seen, 1).await;
    let id = spec("a.test").id;
    for _ in 0..200 {
        if keepers.tools.beats.of(&id).is_some_and(|beat| beat.attempts == 1) {
            keepers.adopt(&[], &[]);
            assert!(keepers.tools.beats.of(&id).is_none(), "what is kept no longer is not waited for");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the attempt was not noted");
}
