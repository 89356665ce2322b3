//! What must hold for any bytes? One function per entrance that strangers reach, shared by cargo-fuzz and by the smoke
//! test of `make test`. Each panics when a promise is broken.
#![allow(dead_code)]

use std::sync::Arc;

use semper::clock::{UnixTime, VirtualClock};
use semper::zone::challenges::{Challenges, HTTP01_PATH, Phase};

/// HTTP/1, both ways: no panic, and the same verdict whole or byte by byte.
pub fn h1(data: &[u8]) {
    semper::h1::fuzz(data);
}

/// The configuration language: no panic, no endless nesting; a tree or a complaint that names a line of the text.
pub fn conf(data: &[u8]) {
    let name: Arc<str> = Arc::from("fuzz.conf");
    let _ = semper::conf::tree::parse(data, &name);
}

/// HTTP-01: only an exact path with a sane token is answered, only to GET and HEAD, and the answer is that token, a dot,
/// and what the table or the account says. The first line of `data` is the method, the second the host, the rest the path.
pub fn challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let (method, host, path) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let clock = Arc::new(VirtualClock::default());
    clock.set(UnixTime::from_seconds(1_000));
    let table = Challenges::new(clock);
    let open = "abcdefghijklmnop";
    table.open_http01(open, "abcdefghijklmnop.known", UnixTime::from_seconds(2_000)).expect("the table is empty");
    table.set_thumbprint(Some("thumbprint"));
    for phase in [Phase::BeforeLocation, Phase::AfterUpstream404] {
        let Some(answer) = table.answer(method, path, host, phase) else { continue };
        let token = path.strip_prefix(HTTP01_PATH).expect("only the challenge path is answered");
        assert!(matches!(method, "GET" | "HEAD"), "{method:?} is answered");
        assert!(token.len() >= 16 && token.len() <= 256, "{token:?} is no sane token");
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{token:?} is no token");
        let expected = format!("{token}.{}", if token == open { "known" } else { "thumbprint" });
        assert_eq!(answer.body, expected.as_bytes());
        assert!(token == open || phase == Phase::AfterUpstream404, "{host:?} is nobody we manage");
    }
}
