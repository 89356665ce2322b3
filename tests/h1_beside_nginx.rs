//! Does the HTTP/1 machine take and refuse the same heads as a real nginx, for thousands of heads that nobody thought of?
//! The seed is fixed, so that a failure comes again; `SEMPER_SEED` chooses another.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::server::{Nginx, http};
use bytes::BytesMut;
use semper::h1::{BodyLength, HeadError, HeadRules, RequestParser};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Pieces of heads. Targets stay simple: what a path means is not the machine's business.
const PIECES: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "M-X_Y ",
    "get ",
    "TRACE ",
    "CONNECT ",
    "GET",
    " ",
    "/",
    "/a?b=c",
    "/\u{e9}<>`|#f",
    "*",
    "http://h.example:8",
    "http://H",
    "http://[::1]:",
    "https://a..b",
    "x+1.-y://h",
    "http://",
    " HTTP/1.1\r\n",
    " HTTP/1.1\r\n",
    " HTTP/1.1\r\n",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/1.10\r\n",
    " HTTP/1.1000\r\n",
    " HTTP/2.0\r\n",
    " HTTP/1.1 \r\n",
    " HTTP/1.\r\n",
    " HTTP/10.1\r\n",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "Host: a.example\r\n",
    "Host: a\r\n",
    "Host: a\r\n",
    "Host:\r\n",
    "hOsT: b:8\r\n",
    "Host: a/b\r\n",
    "Host: .\r\n",
    "Host: a.:x\r\n",
    "Host:\ta\r\n",
    "Host : a\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 00\r\n",
    "Content-Length: 1x\r\n",
    "Content-Length\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Transfer-Encoding: chunked \r\n",
    "Connection: close\r\n",
    "Expect: a\r\n",
    "If-None-Match: a\r\n",
    "If-Range: x\r\n",
    "Authorization: a\r\n",
    "Range: a\r\n",
    "Cookie: a=b\r\n",
    "Cookie: c\r\n",
    "X_Y: 1\r\n",
    "X Y: 1\r\n",
    "X(Y: 1\r\n",
    " folded\r\n",
    "\tfolded\r\n",
    ": v\r\n",
    "noColon\r\n",
    "A: \u{1}\r\n",
    "A: b \r\n",
    "A:   \r\n",
    "\0",
    "\t",
    "\u{7f}",
    "x",
    "A: ",
];

/// xorshift64*: enough to choose pieces.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn head(&mut self) -> String {
        // Half begin well, so that the fields are reached.
        let mut head = if self.below(2) == 0 { "GET / HTTP/1.1\r\nHost: a\r\n".to_owned() } else { String::new() };
        for _ in 0..self.below(7) {
            head.push_str(PIECES[self.below(PIECES.len())]);
        }
        head.push_str(["", "\r\n", "\r\n\r\n"][self.below(3)]);
        head
    }
}

/// The status of nginx's first answer; 0 without one.
fn nginx(port: u16, wire: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // nginx may have answered and closed before it has all.
    let _ = stream.write_all(wire.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.filter(|_| answer.starts_with(b"HTTP/1.1 ")).unwrap_or(0)
}

enum Verdict {
    Status(u16),
    /// A body follows: how nginx answers depends on it.
    Body,
    /// We are stricter on purpose.
    Stricter,
}

fn ours(wire: &str, rules: HeadRules) -> Verdict {
    match RequestParser::new(rules).parse(&mut BytesMut::from(wire.as_bytes())) {
        Ok(Some(head)) if head.body == BodyLength::Length(0) => Verdict::Status(200),
        Ok(Some(_)) => Verdict::Body,
        Ok(None) => Verdict::Status(0),
        Err(refused) if matches!(refused.error, HeadError::Http09 | HeadError::HostsDiffer) => Verdict::Stricter,
        Err(refused) if refused.error == HeadError::InvalidHost && wire.contains(":x") => Verdict::Stricter,
        Err(refused) => Verdict::Status(match refused.error.status() {
            494 => 400,
            status => status,
        }),
    }
}

/// A CR that no LF follows, or an LF that follows no CR.
fn has_bare_line_end(wire: &str) -> bool {
    let rest = wire.replace("\r\n", "");
    rest.contains(['\r', '\n'])
}

#[test]
fn thousands_of_random_heads_get_the_status_that_nginx_gives() {
    let server = Nginx::start(&http("server { listen 127.0.0.1:%port1%; location / { return 200 ok; } }"));
    let seed = std::env::var("SEMPER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    let mut dice = Dice(seed);
    let (mut compared, mut refused) = (0, 0);
    for number in 0..3000 {
        let wire = dice.head();
        match ours(&wire, HeadRules::default()) {
            Verdict::Body | Verdict::Stricter => {}
            Verdict::Status(400) if has_bare_line_end(&wire) => {}
            Verdict::Status(status) => {
                assert_eq!(nginx(server.port(1), &wire), status, "seed {seed}, head {number}: {wire:?} (nginx left)");
                compared += 1;
                refused += usize::from(status >= 400);
            }
        }
    }
    // Not a comparison of nothing with nothing.
    assert!(compared > 2000 && refused > 500 && compared - refused > 500, "{compared} compared, {refused} refused");
}

#[test]
fn heads_of_any_length_get_the_status_that_nginx_gives() {
    let server = Nginx::start(&http(
        "client_header_buffer_size 200; large_client_header_buffers 2 512;
         server { listen 127.0.0.1:%port1%; location / { return 200 ok; } }",
    ));
    let rules = HeadRules { first_buffer: 200, large_buffers: 2, large_buffer: 512, ..HeadRules::default() };
    let mut dice = Dice(7);
    let mut seen = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..1000 {
        // Lengths around the borders, where one byte decides.
        let length = |dice: &mut Dice| [0, 180, 490, 512, 700][dice.below(5)] + dice.below(40);
        let mut wire = format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "a".repeat(length(&mut dice)));
        for _ in 0..dice.below(5) {
            wire.push_str(&format!("X: {}\r\n", "y".repeat(length(&mut dice))));
        }
        wire.push_str("\r\n");
        wire.truncate(wire.len() - [0, 0, 0, 1, 2, 50, 300][dice.below(7)].min(wire.len()));
        let Verdict::Status(status) = ours(&wire, rules) else { continue };
        assert_eq!(nginx(server.port(1), &wire), status, "{wire:?} (nginx left)");
        *seen.entry(status).or_default() += 1;
    }
    assert!([0, 200, 400, 414].iter().all(|status| seen.get(status).is_some_and(|&times| times > 20)), "{seen:?}");
}
