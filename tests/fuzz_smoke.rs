//! Do the fuzz targets hold on their seeds and on some thousand mutations of them? The same functions as in `fuzz/`, with
//! mutations drawn from a fixed seed, so that a failure happens again. Longer runs: `make fuzz`.
#![allow(clippy::unwrap_used)]

mod bed;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

const ROUNDS: usize = 10_000;

#[test]
fn http_1_holds_on_mutated_streams() {
    let words: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 18446744073709551616\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: x\r\n",
        b"Connection: close\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"%00",
        b"\xff",
        b"GET ",
        b"*",
        b"http://[::1]:0/",
    ];
    mutate("h1", seeds("h1", None), words, targets::h1);
}

#[test]
fn the_configuration_language_holds_on_mutated_files() {
    let words: &[&[u8]] = &[
        b"{",
        b"}",
        b";",
        b"\"",
        b"'",
        b"\\",
        b"#",
        b"$",
        b"${",
        b"~",
        b"include ",
        b"server {",
        b"location ",
        b"if (",
        b")",
        b"*",
        b"on",
        b"-1",
        b"99999999999999999999",
        b"10m",
        b"1h30m",
        b"http {",
        b"listen ",
        b"[::]:443",
        b"return 444;",
        b"proxy_pass http://",
        b"map $a $b {",
        b"data:",
        b"file:",
        b"env:",
        b"\xff\xfe",
        b"\0",
        b"\r\n",
    ];
    let public = bed::public_confs();
    let own = bed::root().join("config");
    let mut texts = seeds("conf", public.as_deref());
    texts.extend(read_all(&own));
    mutate("conf", texts, words, targets::conf);
}

#[test]
fn challenges_hold_on_mutated_questions() {
    let words: &[&[u8]] = &[
        b"/.well-known/acme-challenge/",
        b"..",
        b"/",
        b"%2e",
        b"\0",
        b"?",
        b"#",
        b"\r\n",
        b"GET",
        b"HEAD",
        b"\n",
        b"a.test",
        b"abcdefghijklmnop",
        b"-",
        b"_",
        b"=",
        b".",
        b"\xc3\xa9",
    ];
    mutate("challenge", seeds("challenge", None), words, targets::challenge);
}

#[test]
fn the_link_between_nodes_holds_on_mutated_frames() {
    let words: &[&[u8]] = &[
        b"\0\0\0\0",
        b"\0\0\0\x01",
        b"\0\x10\0\0",
        b"\0\x10\0\x01",
        b"\xff\xff\xff\xff",
        b"\x7f",
        b"semper\0\x01",
        b"\0",
        b"\xc3\xa9",
    ];
    mutate("link", seeds("link", None), words, targets::link);
}

#[test]
fn names_on_demand_and_the_answers_about_them_hold_on_mutations() {
    let words: &[&[u8]] = &[
        b"xn--",
        b"--",
        b".",
        b"..",
        b"*.",
        b"_",
        b"\0",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 999",
        b"Content-Length: 18446744073709551616\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Location: ",
        b"ffffffffffffffff\r\n",
        b"\x1b[2J",
        b"\xc3\xa9",
        b"com",
        b"10.0.0.1",
        b":443",
    ];
    mutate("demand", seeds("demand", None), words, targets::demand);
}

#[test]
fn what_nodes_say_to_each_other_holds_on_mutated_frames() {
    let words: &[&[u8]] = &[
        b"\x01\x01",
        b"\x01\x03",
        b"\x01\x04",
        b"\x01\x05\0\0\0\x01",
        b"\x01\x06\0\0\0\x01",
        b"\x01\x09\0\0\0\x01",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x01",
        b"\0",
        b"\x80",
        b"\0\x02\x01\x0f",
        b"abcdefghijklmnop",
        b"a.example~0123456789abcdef",
        b"\x0a",
        b"\x0b",
    ];
    mutate("fleet", seeds("fleet", None), words, targets::fleet);
}

#[test]
fn lists_of_revoked_certificates_hold_on_mutations() {
    let words: &[&[u8]] = &[
        b"\x30\x82",
        b"\x30\x80",
        b"\x30\x83\x01\x00\x00",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x02\x01\x01",
        b"\x17\x0d991231235959Z",
        b"\x18\x0f99991231235959Z",
        b"\x03\x02\x00\x00",
        b"\xa0\x00",
        b"http://",
        b"https://",
        b"\0",
    ];
    mutate("revoked", seeds("revoked", None), words, targets::revoked);
}

/// The seeds of a target, and the files of one more folder.
fn seeds(target: &str, more: Option<&Path>) -> Vec<Vec<u8>> {
    let mut found = read_all(&bed::root().join("fuzz/seeds").join(target));
    assert!(!found.is_empty(), "no seeds for {target}");
    found.extend(more.map(read_all).unwrap_or_default());
    found
}

fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn mutate(name: &str, seeds: Vec<Vec<u8>>, words: &[&[u8]], target: fn(&[u8])) {
    let mut dice = Dice(0x5eed_5eed_5eed_5eed);
    for seed in &seeds {
        attempt(name, seed, target);
    }
    for _ in 0..ROUNDS {
        let mut data = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(6) {
            change(&mut data, &seeds, words, &mut dice);
        }
        data.truncate(16 * 1024);
        attempt(name, &data, target);
    }
}

fn attempt(name: &str, data: &[u8], target: fn(&[u8])) {
    if catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
        panic!("target {name} fails on {:?}", String::from_utf8_lossy(data));
    }
}

/// One mutation: a byte, a word, a cut, a doubled piece, a piece of another seed.
fn change(data: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]], dice: &mut Dice) {
    let at = dice.below(data.len() + 1);
    let end = (at + 1 + dice.below(40)).min(data.len());
    match dice.below(7) {
        0 if at < data.len() => data[at] = dice.below(256) as u8,
        1 if at < data.len() => data[at] ^= 1 << dice.below(8),
        2 => drop(data.drain(at.min(end)..end)),
        3 => {
            let piece = data[at.min(end)..end].to_vec();
            data.splice(at..at, piece);
        }
        4 => {
            let other = &seeds[dice.below(seeds.len())];
            let from = dice.below(other.len() + 1);
            let to = (from + dice.below(200)).min(other.len());
            data.splice(at..at, other[from..to].iter().copied());
        }
        _ => drop(data.splice(at..at, words[dice.below(words.len())].iter().copied())),
    }
}

/// xorshift64*: small, seeded, the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }
}
