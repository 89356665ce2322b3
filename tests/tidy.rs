//! Does the source keep the rules of the house? The arrows between rooms, what rooms that decide may not touch, the
//! header and length of every file, and the words that are not used. Reads text only; knows no semper code.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 60;
/// Stands above a function that is longer on purpose; the reason follows.
const EXCEPTION: &str = "// Longer than sixty lines: ";

/// Rooms that decide or only name things: no I/O, no clock, no dice.
const PURE: &[&str] = &["h1", "cert", "fleet", "route", "balance", "conf", "plan", "words", "clock"];
const WORDS: &[&str] = &["words", "clock"];
const DECIDE: &[&str] = &["h1", "cert", "fleet", "route", "balance", "conf"];
const SHARED_HANDS: &[&str] = &["net", "zone"];
const HANDS: &[&str] = &["http", "stream", "tls", "acme", "store", "peer", "watch", "alert", "admin"];

/// What a room that decides may not name. Matched against code without comments and strings.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "fs::read",
    "std::process",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "rand::",
    "SystemTime::now",
    "Instant::now",
    "Zoned::now",
    "Timestamp::now",
    "rustix::",
    "nix::",
    "libc::",
];

/// May a file of `room` import from `other`?
fn may_import(room: &str, other: &str) -> bool {
    if room == other {
        return true;
    }
    let below_decide = |other: &str| other == "plan" || WORDS.contains(&other);
    let below_shared = |other: &str| DECIDE.contains(&other) || below_decide(other);
    let below_hands = |other: &str| SHARED_HANDS.contains(&other) || below_shared(other);
    match room {
        "main" | "lib" => true,
        "cli" => other != "main",
        "node" => HANDS.contains(&other) || below_hands(other),
        "net" => other == "zone" || below_shared(other),
        "zone" => below_shared(other),
        "plan" => WORDS.contains(&other),
        "words" | "clock" => WORDS.contains(&other),
        room if HANDS.contains(&room) => below_hands(other),
        room if DECIDE.contains(&room) => below_decide(other),
        _ => false,
    }
}

#[test]
fn nothing_imports_upwards_and_hands_never_import_each_other() {
    let mut faults = Vec::new();
    for file in sources("src") {
        for (line, other) in crate_paths(&file.code) {
            if is_room(&other) && !may_import(&file.room, &other) {
                faults.push(format!("{}:{line}: `{}` may not import `{other}`", file.name, file.room));
            }
        }
    }
    none(faults);
}

#[test]
fn every_room_has_a_floor() {
    let unknown = sources("src").into_iter().filter(|file| !is_room(&file.room));
    none(
        unknown
            .map(|file| format!("{}: room `{}` stands on no floor of tests/tidy.rs", file.name, file.room))
            .collect(),
    );
}

#[test]
fn rooms_that_decide_touch_no_file_no_socket_no_clock_and_no_dice() {
    let mut faults = Vec::new();
    for file in sources("src").into_iter().filter(|file| PURE.contains(&file.room.as_str())) {
        for (number, line) in file.code.lines().take(file.lines).enumerate() {
            for word in IMPURE.iter().filter(|word| contains_word(line, word)) {
                faults.push(format!("{}:{}: `{word}` in a room that decides", file.name, number + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn only_node_and_main_read_the_civil_clock() {
    let mut faults = Vec::new();
    for file in sources("src").into_iter().filter(|file| !matches!(file.room.as_str(), "node" | "main")) {
        for (number, line) in file.code.lines().take(file.lines).enumerate() {
            for word in ["SystemTime::now", "Timestamp::now", "Zoned::now", "now_utc"] {
                if contains_word(line, word) {
                    faults.push(format!("{}:{}: `{word}`", file.name, number + 1));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn every_file_opens_with_a_header_and_stays_short() {
    let mut faults = Vec::new();
    let everywhere = ["src", "tests", "benches", "fuzz"].into_iter().flat_map(sources);
    for file in everywhere {
        if !file.text.starts_with("//! ") {
            faults.push(format!("{}: no `//!` header", file.name));
        }
        if file.lines > LONGEST_FILE && !file.name.starts_with("tests/") {
            faults.push(format!("{}: {} lines, at most {LONGEST_FILE} are allowed", file.name, file.lines));
        }
    }
    none(faults);
}

#[test]
fn functions_stay_short_or_say_why_not() {
    let mut faults = Vec::new();
    for file in sources("src").into_iter().filter(|file| !is_tests(&file.name)) {
        let lines: Vec<&str> = file.code.lines().take(file.lines).collect();
        let written: Vec<&str> = file.text.lines().collect();
        for (at, length) in functions(&lines) {
            let excused = at > 0 && written[at - 1].trim_start().starts_with(EXCEPTION);
            if length > LONGEST_FUNCTION && !excused {
                faults.push(format!("{}:{}: {length} lines, at most {LONGEST_FUNCTION}", file.name, at + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn no_path_climbs_out_of_its_room() {
    let mut faults = Vec::new();
    for file in sources("src") {
        for (number, line) in file.code.lines().enumerate() {
            let climbs = climb(line);
            // A module of unit tests within a file stands one deeper.
            let depth = depth(&file.name) + usize::from(number >= file.lines);
            if climbs > depth {
                faults.push(format!(
                    "{}:{}: {climbs} times `super`, out of room `{}`",
                    file.name,
                    number + 1,
                    file.room
                ));
            }
        }
    }
    none(faults);
}

#[test]
fn the_scanner_measures_functions_and_climbs() {
    let code = "impl A {\n    pub fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n    fn c() {}\n}\ntrait T {\n    fn d();\n}";
    let lines: Vec<&str> = code.lines().collect();
    assert_eq!(functions(&lines), [(1, 5)]);
    assert_eq!((climb("use super::super::a;"), climb("a::super::b"), climb("superb::x")), (2, 1, 0));
    assert_eq!((depth("src/http/conn/head.rs"), depth("src/http/mod.rs"), depth("src/clock.rs")), (2, 0, 0));
}

/// Functions with a body of several lines: the line where each begins, and how many it has.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let words = body.split_whitespace().take_while(|word| *word != "fn").collect::<Vec<_>>();
        let known = |word: &&str| word.starts_with("pub") || ["const", "async", "unsafe", "in"].contains(word);
        let declares = body.split_whitespace().nth(words.len()) == Some("fn") && words.iter().all(known);
        if !declares || line.trim_end().ends_with(['}', ';']) {
            continue;
        }
        let indent = &line[..line.len() - body.len()];
        let end = lines[at + 1..].iter().position(|line| {
            let ends = line.strip_prefix(indent).is_some_and(|rest| rest.starts_with('}'));
            let declared_only = line.trim_end().ends_with(';') && line.len() - line.trim_start().len() == indent.len();
            ends || declared_only
        });
        if let Some(end) = end.filter(|end| lines[at + 1 + end].trim_start().starts_with('}')) {
            found.push((at, end + 2));
        }
    }
    found
}

/// How many `super::` follow each other in the longest run of a line.
fn climb(line: &str) -> usize {
    let mut longest = 0;
    for (at, _) in line.match_indices("super::") {
        let before = at.checked_sub(1).and_then(|at| line.as_bytes().get(at));
        if before.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
            continue;
        }
        let mut rest = &line[at..];
        let mut run = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, run) = (after, run + 1);
        }
        longest = longest.max(run);
    }
    longest
}

/// How many modules a file stands below its room.
fn depth(name: &str) -> usize {
    let parts: Vec<&str> = name.trim_end_matches(".rs").split('/').skip(2).collect();
    parts.iter().filter(|part| **part != "mod").count()
}

fn is_tests(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/")
}

#[test]
fn nothing_is_left_to_do_in_the_source() {
    let words = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("to", "do!"), concat!("unimpl", "emented!")];
    let mut faults = Vec::new();
    for file in sources("src") {
        for (number, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| contains_word(line, word)) {
                faults.push(format!("{}:{}: {word}", file.name, number + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn no_module_and_no_type_is_called_after_nothing() {
    let words = ["manager", "helper", "helpers", "util", "utils", "common", "misc"];
    let mut faults = Vec::new();
    for file in sources("src") {
        let parts = file.name.trim_end_matches(".rs").split('/');
        faults.extend(
            parts.filter(|part| words.contains(part)).map(|part| format!("{}: module named `{part}`", file.name)),
        );
        for (number, line) in file.code.lines().enumerate() {
            let Some(name) = declared_name(line) else { continue };
            let lower = name.to_ascii_lowercase();
            if words.iter().any(|word| lower == *word || (lower.ends_with(word) && name.len() > word.len() + 2)) {
                faults.push(format!("{}:{}: `{name}`", file.name, number + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let marks =
        [concat!("/wo", "rk/main"), concat!("/wo", "rk/shared"), concat!("/tmp", "/wt/"), concat!("/tmp", "/t/")];
    let mut faults = Vec::new();
    for path in tracked_text(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            faults.extend(
                marks.iter().filter(|mark| line.contains(**mark)).map(|_| format!("{}:{}", path.display(), number + 1)),
            );
        }
    }
    none(faults);
}

#[test]
fn the_scanner_sees_imports_and_not_comments() {
    let code = blank(
        "use crate::{net::dial, words}; // use crate::cli\nlet a = \"crate::node\"; crate::http::serve();\n/* crate::tls */ let b = 'x'; fn f<'a>() {}\nuse crate::{\n    plan,\n    zone::{a, b},\n};",
    );
    let found: Vec<_> = crate_paths(&code);
    let rooms: Vec<_> = found.iter().map(|(line, room)| (*line, room.as_str())).collect();
    assert_eq!(rooms, [(1, "net"), (1, "words"), (2, "http"), (4, "plan"), (4, "zone")]);
}

#[test]
fn the_arrows_point_down() {
    assert!(may_import("http", "net") && may_import("http", "h1") && may_import("node", "conf"));
    assert!(!may_import("http", "tls") && !may_import("net", "http") && !may_import("route", "net"));
    assert!(!may_import("plan", "conf") && !may_import("words", "plan") && !may_import("node", "cli"));
}

struct Source {
    /// Path below the crate.
    name: String,
    /// First folder below `src`, or the stem of a file that stands there by itself.
    room: String,
    text: String,
    /// The text with comments and literals blanked out.
    code: String,
    /// Lines before the unit tests.
    lines: usize,
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join(folder), &mut paths);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let room = name.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs").to_owned();
        let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        Source { room, code: blank(&text), lines: text[..tests].lines().count(), name, text }
    };
    paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).map(read).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Every text of the project: sources, documents, configuration.
fn tracked_text(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz", "config", ".ci"] {
        walk(&root.join(folder), &mut found);
    }
    let top = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    found.extend(top.filter(|path| path.is_file() && !path.ends_with(".git")));
    found
}

fn is_room(name: &str) -> bool {
    matches!(name, "main" | "lib" | "cli" | "node")
        || SHARED_HANDS.contains(&name)
        || HANDS.contains(&name)
        || PURE.contains(&name)
}

/// The rooms named by `crate::…` paths, with the line where the path begins.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if at > 0 && matches!(code.as_bytes()[at - 1], b'_' | b'$' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = code[at + "crate::".len()..].trim_start();
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, leading_name(rest)));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (index, byte) in group.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth > 0 => depth -= 1,
                b'}' | b',' if depth == 0 => {
                    found.push((line, leading_name(group[start..index].trim())));
                    start = index + 1;
                    if byte == b'}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found.retain(|(_, room)| !room.is_empty());
    found
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn declared_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    matches!(words.next()?, "struct" | "enum" | "trait" | "type" | "mod")
        .then(|| leading_name(words.next().unwrap_or("")))
}

/// Does `line` hold `word` with no identifier character before it (and none after, if the word ends in one)?
fn contains_word(line: &str, word: &str) -> bool {
    let is_name = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| line.as_bytes().get(at));
        let after = line.as_bytes().get(at + word.len());
        !(is_name(before) || is_name(word.as_bytes().last()) && is_name(after))
    })
}

/// The same text, line for line, with comments, strings and character literals replaced by spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => text[at..].find('\n').map_or(bytes.len(), |n| at + n),
            b'/' if bytes.get(at + 1) == Some(&b'*') => text[at + 2..].find("*/").map_or(bytes.len(), |n| at + n + 4),
            b'"' => end_of_string(bytes, at),
            b'r' if raw_string(bytes, at).is_some() => raw_string(bytes, at).unwrap_or(at),
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => text[at + 3..].find('\'').map_or(at + 1, |n| at + n + 4),
            b'\'' => {
                let width = text[at + 1..].chars().next().map_or(1, char::len_utf8);
                if bytes.get(at + 1 + width) == Some(&b'\'') { at + width + 2 } else { at }
            }
            _ => at,
        };
        if end == at {
            let c = text[at..].chars().next().unwrap_or(' ');
            out.push(c);
            at += c.len_utf8();
        } else {
            out.extend(text[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The end of the raw string that begins at `start`, if one does.
fn raw_string(bytes: &[u8], start: usize) -> Option<usize> {
    let named =
        start > 0 && (bytes[start - 1].is_ascii_alphanumeric() && bytes[start - 1] != b'b' || bytes[start - 1] == b'_');
    let hashes = bytes[start + 1..].iter().take_while(|b| **b == b'#').count();
    if named || bytes.get(start + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = start + 2 + hashes;
    let length = bytes[body..].windows(closing.len()).position(|window| window == closing.as_bytes())?;
    Some(body + length + closing.len())
}

fn none(faults: Vec<String>) {
    let mut list = String::new();
    for fault in &faults {
        let _ = writeln!(list, "{fault}");
    }
    assert!(faults.is_empty(), "{} faults:\n{list}", faults.len());
}
