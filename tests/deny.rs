//! Does everything that is linked into semper carry a licence that `deny.toml` allows, and is nothing in it banned?
//! The same check as `cargo deny check bans licenses sources`, on what `cargo tree` says, with nothing to install.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::process::Command;

#[test]
fn every_dependency_has_an_allowed_licence() {
    let allowed = quoted_after("allow = [");
    assert!(allowed.contains("MIT"));
    let linked = linked();
    let refused: Vec<_> = linked.iter().filter(|package| !permitted(&package.licence, &allowed)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn nothing_banned_is_linked() {
    let banned = quoted_after("deny = [");
    assert!(banned.contains("openssl-sys"));
    let linked = linked();
    assert!(linked.iter().any(|package| package.name == "rustls"));
    let found: Vec<_> = linked.iter().filter(|package| banned.contains(&package.name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn everything_comes_from_the_registry() {
    let odd: Vec<_> = linked().into_iter().filter(|package| package.elsewhere && package.name != "semper").collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed: HashSet<String> = ["MIT", "ISC", "Apache-2.0"].map(str::to_owned).into();
    for good in ["MIT", "MIT OR GPL-3.0", "MIT/GPL-3.0", "ISC AND (GPL-2.0 OR MIT)", "(MIT AND ISC) OR LGPL-3.0"] {
        assert!(permitted(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "GPL-3.0 OR LGPL-2.1", "ISC AND (GPL-2.0 OR LGPL-3.0)", ""] {
        assert!(!permitted(bad, &allowed), "{bad}");
    }
}

#[derive(Debug)]
struct Package {
    name: String,
    licence: String,
    /// Taken from a path or a git repository, not from the registry.
    elsewhere: bool,
}

/// The packages that end up in the binary or help to build it; not those of the tests. `cargo tree` and not
/// `cargo metadata`, because the latter also names what weak features might have brought in.
fn linked() -> Vec<Package> {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--target", "x86_64-unknown-linux-gnu", "--edges", "normal,build"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: HashSet<&str> = text.lines().filter(|line| line.contains('|')).collect();
    let read = |line: &str| {
        let (package, licence) = line.split_once('|').unwrap();
        let name = package.split(' ').next().unwrap_or_default().to_owned();
        let elsewhere = package.split(' ').skip(2).any(|word| word != "(proc-macro)" && word != "(*)");
        Package { name, licence: licence.trim_end_matches(" (*)").to_owned(), elsewhere }
    };
    lines.into_iter().map(read).collect()
}

/// The first quoted word of each line of the list that `opening` begins in `deny.toml`.
fn quoted_after(opening: &str) -> HashSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    let list = text.split(opening).nth(1).unwrap().split("\n]").next().unwrap();
    list.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// Is the SPDX expression satisfied by the allowed licences alone? `/` is read as `OR`, as old crates write it.
fn permitted(expression: &str, allowed: &HashSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let verdict = any_of(&words, &mut at, allowed);
    verdict && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &HashSet<String>) -> bool {
    let mut verdict = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        verdict |= all_of(words, at, allowed);
    }
    verdict
}

fn all_of(words: &[&str], at: &mut usize, allowed: &HashSet<String>) -> bool {
    let mut verdict = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        verdict &= one(words, at, allowed);
    }
    verdict
}

fn one(words: &[&str], at: &mut usize, allowed: &HashSet<String>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let verdict = any_of(words, at, allowed);
        *at += 1;
        return verdict;
    }
    if words.get(*at) == Some(&"WITH") && words.len() > *at + 1 {
        let whole = format!("{word} WITH {}", words[*at + 1]);
        *at += 2;
        return allowed.contains(&whole);
    }
    allowed.contains(*word)
}
