//! Promises of a whole node's keepers, with the built-in authority.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::*;
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
    let seen: Seen = Arc::default();
    let sink = seen.clone();
    let publish = move |new: Vec<Installed>| sink.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    let clock = Arc::new(RealClock);
    let tools = Tools { clock: clock.clone(), dice: Arc::new(RealDice), publish: Arc::new(publish) };
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
