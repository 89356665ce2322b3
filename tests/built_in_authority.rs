//! How do clients come to trust the built-in authority? `semper ca root` and `semper trust`, on a state path that the
//! production code made.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use semper::acme::internal::BuiltIn;
use semper::clock::{UnixTime, VirtualClock};
use semper::plan::acme::InternalAuthority;
use semper::plan::certificate::{CertSpec, KeyKind};
use semper::store::Directory;
use semper::words::Place;

/// A state path in which authorities of these names have issued.
fn state(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Arc::new(Directory::open(folder.path()).unwrap());
    let clock = Arc::new(VirtualClock::default());
    // Roots live for ten years: in force whenever this runs.
    clock.set(UnixTime::from_seconds(1_790_000_000));
    for name in names {
        let authority = BuiltIn::new(name, InternalAuthority::default(), shelf.clone(), clock.clone());
        let spec = CertSpec::new(*name, vec!["a.test".parse().unwrap()], KeyKind::EcdsaP256, Place::built_in());
        authority.issue(&spec, 1).unwrap();
    }
    folder
}

fn semper(state: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semper"));
    command.args(words).arg("--state").arg(state).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_root_is_printed_and_its_key_never() {
    let state = state(&["inner", "Büro 2"]);
    let all = text(&semper(state.path(), &["ca", "root"]));
    assert_eq!(all.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(all.contains("# Büro 2 until ") && !all.contains("KEY"), "{all}");
    let one = text(&semper(state.path(), &["ca", "root", "inner", "--json"]));
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!((one.as_array().unwrap().len(), &one[0]["issuer"]), (1, &"inner".into()));
    assert!(all.contains(one[0]["pem"].as_str().unwrap()));
}

#[test]
fn an_authority_that_is_not_there_is_named() {
    let state = state(&[]);
    let output = semper(state.path(), &["ca", "root", "inner"]);
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("\"inner\"") && words.contains("uri internal"), "{words}");
}

#[test]
fn a_system_comes_to_trust_the_root_and_forgets_it_again() {
    let (state, system) = (state(&["inner"]), tempfile::tempdir().unwrap());
    let root = system.path().to_str().unwrap();
    assert!(!semper(state.path(), &["trust", "--root", root]).status.success(), "no trust store lies there");
    let store = system.path().join("usr/local/share/ca-certificates");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("other.crt"), "not ours").unwrap();
    for _ in 0..2 {
        text(&semper(state.path(), &["trust", "--root", root]));
    }
    let files: Vec<_> = std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let ours = files.iter().find(|path| !path.ends_with("other.crt")).unwrap();
    let shown = text(&semper(state.path(), &["ca", "root"]));
    assert!(shown.contains(&std::fs::read_to_string(ours).unwrap()));
    text(&semper(state.path(), &["trust", "--uninstall", "--root", root]));
    assert!(!ours.exists() && store.join("other.crt").exists());
}
