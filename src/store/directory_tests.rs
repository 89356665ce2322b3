//! Promises of the state path.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::cert::bundle::{Origin, PrivateKey};
use crate::clock::UnixTime;

fn bundle(id: &str, epoch: u64) -> Bundle {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let origin = Origin {
        id: CertId::try_from(id.to_owned()).unwrap(),
        epoch,
        issuer: "ca".into(),
        authority: "internal".into(),
        obtained_at: UnixTime(1),
    };
    Bundle::new(origin, cert.pem().as_bytes(), PrivateKey::from_pkcs8(key.serialize_der())).unwrap()
}

fn id(text: &str) -> CertId {
    CertId::try_from(text.to_owned()).unwrap()
}

#[test]
fn what_was_written_is_there_after_a_restart_and_only_for_us() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("state/deep");
    let store = Directory::open(&root).unwrap();
    store.replace(&bundle("a~1", 1), None).unwrap();
    let all = [
        Record::SharedAccountKey,
        Record::AccountKey("le".into()),
        Record::Account("../..".into()),
        Record::Authority("in".into()),
        Record::Stage(id("a~1")),
        Record::Order(id("a~1")),
    ];
    for record in &all {
        store.save(record, format!("{record:?}").as_bytes()).unwrap();
    }
    drop(store);
    let store = Directory::open(&root).unwrap();
    for record in &all {
        assert_eq!(store.load(record).unwrap().unwrap().as_slice(), format!("{record:?}").as_bytes());
    }
    assert_eq!(store.bundle(&id("a~1")).unwrap().unwrap().epoch, 1);
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}"),
            }
        }
    }
}

#[test]
fn only_one_process_may_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    assert!(matches!(Directory::open(dir.path()), Err(ShelfError::InUse { .. })));
    drop(store);
    Directory::open(dir.path()).unwrap();
}

#[test]
fn a_second_process_reads_at_once_and_writes_as_soon_as_the_first_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let first = Directory::open(dir.path()).unwrap();
    first.replace(&bundle("a~1", 1), None).unwrap();
    let second = Directory::view(dir.path()).unwrap();
    assert_eq!(second.bundle(&id("a~1")).unwrap().unwrap().epoch, 1);
    assert!(matches!(second.save(&Record::SharedAccountKey, b"x"), Err(ShelfError::InUse { .. })));
    drop(first);
    second.save(&Record::SharedAccountKey, b"x").unwrap();
    assert!(matches!(Directory::open(dir.path()), Err(ShelfError::InUse { .. })));
}

#[test]
fn a_look_at_a_missing_state_path_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::view(&dir.path().join("none")).unwrap();
    assert!(store.bundle(&id("a~1")).unwrap().is_none());
    assert!(!dir.path().join("none").exists());
}

#[test]
fn a_state_path_of_a_later_format_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FORMAT"), "semper state 2\n").unwrap();
    assert!(matches!(Directory::open(dir.path()), Err(ShelfError::Format { .. })));
    assert_eq!(fs::read(dir.path().join("FORMAT")).unwrap(), b"semper state 2\n");
}

#[test]
fn a_replacement_needs_the_epoch_that_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    store.replace(&bundle("a~1", 1), None).unwrap();
    let refused = store.replace(&bundle("a~1", 2), None);
    assert!(matches!(refused, Err(ShelfError::Conflict { expected: None, found: Some(1) })));
    store.replace(&bundle("a~1", 2), Some(1)).unwrap();
    assert!(store.replace(&bundle("a~1", 3), Some(1)).is_err());
    assert_eq!(store.bundle(&id("a~1")).unwrap().unwrap().epoch, 2);
}

#[test]
fn some_generations_are_kept_and_an_older_one_stands_in_for_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    store.replace(&bundle("a~1", 1), None).unwrap();
    for epoch in 2..10 {
        store.replace(&bundle("a~1", epoch), Some(epoch - 1)).unwrap();
    }
    let kept: Vec<u64> = store.generations(&id("a~1"), ".pem").unwrap().into_iter().map(|(epoch, _)| epoch).collect();
    assert_eq!(kept, [9, 8, 7, 6]);
    // Bit rot: bundle.pem and 9.pem are one file.
    let home = dir.path().join("certs/a~1");
    let mut text = fs::read(home.join("bundle.pem")).unwrap();
    text.truncate(text.len() / 2);
    fs::write(home.join("bundle.pem"), text).unwrap();
    assert_eq!(store.bundle(&id("a~1")).unwrap().unwrap().epoch, 8);
    // And the next generation heals it.
    store.replace(&bundle("a~1", 10), Some(8)).unwrap();
    assert_eq!(store.bundle(&id("a~1")).unwrap().unwrap().epoch, 10);
}

#[test]
fn what_a_crash_leaves_beside_a_file_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    store.replace(&bundle("a~1", 1), None).unwrap();
    let home = dir.path().join("certs/a~1");
    // Before the rename of the generation, before the rename of the link, between the two.
    fs::write(home.join(".new-2.pem"), "half").unwrap();
    assert_eq!(store.bundle(&id("a~1")).unwrap().unwrap().epoch, 1);
    fs::write(home.join("2.pem"), bundle("a~1", 2).to_text().as_bytes()).unwrap();
    fs::hard_link(home.join("2.pem"), home.join(".new-bundle.pem")).unwrap();
    assert_eq!(store.bundle(&id("a~1")).unwrap().unwrap().epoch, 1);
    store.replace(&bundle("a~1", 2), Some(1)).unwrap();
    assert_eq!(store.bundle(&id("a~1")).unwrap().unwrap().epoch, 2);
    assert!(!home.join(".new-bundle.pem").exists() && !home.join(".new-2.pem").exists());
}

#[test]
fn a_bundle_in_the_place_of_another_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    store.replace(&bundle("a~1", 1), None).unwrap();
    fs::create_dir(dir.path().join("certs/b~1")).unwrap();
    fs::copy(dir.path().join("certs/a~1/bundle.pem"), dir.path().join("certs/b~1/bundle.pem")).unwrap();
    assert!(store.bundle(&id("b~1")).unwrap().is_none());
}

#[test]
fn a_disk_that_refuses_is_an_error_and_leaves_the_old_content() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    store.save(&Record::SharedAccountKey, b"old").unwrap();
    // A directory in the place of the new file stands for any refusal; permissions would not stop root.
    fs::create_dir(dir.path().join("accounts/.new-shared.key")).unwrap();
    assert!(store.save(&Record::SharedAccountKey, b"new").is_err());
    assert_eq!(store.load(&Record::SharedAccountKey).unwrap().unwrap().as_slice(), b"old");
}

#[test]
fn a_disowned_generation_comes_back_only_when_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    let id = id("a~1");
    for (epoch, expected) in [(1, None), (2, Some(1)), (3, Some(2))] {
        store.replace(&bundle("a~1", epoch), expected).unwrap();
    }
    let held = || store.bundle(&id).unwrap().map(|bundle| bundle.epoch);
    store.disown(&id, 2).unwrap();
    assert_eq!(held(), Some(3), "another one is in force");
    store.disown(&id, 3).unwrap();
    assert_eq!(held(), Some(1), "an older one that is good goes before it");
    store.disown(&id, 1).unwrap();
    assert_eq!(held(), Some(3), "nothing else is left");
    store.disown(&id, 9).unwrap();
    store.replace(&bundle("a~1", 4), Some(3)).unwrap();
    assert_eq!(held(), Some(4));
}
