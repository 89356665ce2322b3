//! Does the HTTP/1 machine take and refuse the request heads that nginx 1.28 takes and refuses, with its words?
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use semper::h1::{BodyLength, HeadError, HeadRules, Malformed, RequestHead, RequestParser, Version};

fn parse_with(rules: HeadRules, wire: &[u8]) -> Result<Option<RequestHead>, Box<Malformed>> {
    RequestParser::new(rules).parse(&mut BytesMut::from(wire)).map(|head| head.map(|head| *head))
}

fn parse(wire: &[u8]) -> Result<Option<RequestHead>, Box<Malformed>> {
    parse_with(HeadRules::default(), wire)
}

fn head(wire: &str) -> RequestHead {
    match parse(wire.as_bytes()) {
        Ok(Some(head)) => head,
        other => panic!("{wire:?} gave {other:?}"),
    }
}

fn refused(wire: &[u8]) -> (u16, String) {
    match parse(wire) {
        Err(refused) => (refused.error.status(), refused.error.to_string()),
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(wire)),
    }
}

#[test]
fn a_plain_request_is_read_as_it_was_sent() {
    let head =
        head("GET /a/%2e?x=1 HTTP/1.1\r\nHost: EXAMPLE.com:81\r\nx-Odd-CASE:  v  \r\nAccept: a\r\naccept: b\r\n\r\n");
    assert_eq!(head.line, "GET /a/%2e?x=1 HTTP/1.1");
    assert_eq!(
        (&head.method[..], &head.target[..], &head.host[..]),
        (&b"GET"[..], &b"/a/%2e?x=1"[..], &b"example.com"[..])
    );
    let fields: Vec<_> = head.fields.iter().map(|f| (&f.name[..], &f.value[..])).collect();
    assert_eq!(
        fields,
        [(&b"Host"[..], &b"EXAMPLE.com:81"[..]), (b"x-Odd-CASE", b"v"), (b"Accept", b"a"), (b"accept", b"b")]
    );
    assert!(head.keep_alive && !head.expects_continue);
    assert_eq!(head.body, BodyLength::Length(0));
    assert_eq!(head.wire_length, 89);
}

#[test]
fn what_follows_a_head_stays_in_the_buffer() {
    let mut buf = BytesMut::from(&b"\r\n\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /"[..]);
    let head = RequestParser::new(HeadRules::default()).parse(&mut buf).unwrap().unwrap();
    assert_eq!(head.body, BodyLength::Length(3));
    assert_eq!(&buf[..], b"abcGET /");
}

#[test]
fn versions_and_keep_alive_as_nginx() {
    for (wire, version, keep_alive) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Version::HTTP_11, true),
        ("GET / HTTP/1.1 \r\nHost: a\r\nConnection: Close\r\n\r\n", Version::HTTP_11, false),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Version(1002), true),
        ("GET / HTTP/1.0\r\n\r\n", Version::HTTP_10, false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Version::HTTP_10, true),
    ] {
        let head = head(wire);
        assert_eq!((head.version, head.keep_alive), (version, keep_alive), "{wire:?}");
    }
}

#[test]
fn the_host_comes_from_target_or_field_and_both_must_agree() {
    for (wire, target, host) in [
        ("GET http://B.example/x?y HTTP/1.1\r\nHost: b.Example:8\r\n\r\n", "/x?y", "b.example"),
        ("GET http://b:8080 HTTP/1.1\r\nHost: b\r\n\r\n", "/", "b"),
        ("GET https://b?q HTTP/1.1\r\nHost: b\r\n\r\n", "/?q", "b"),
        ("GET http://[::1]:80/ HTTP/1.1\r\nHost: [::1]\r\n\r\n", "/", "[::1]"),
        ("GET / HTTP/1.1\r\nHost: a.:1\r\n\r\n", "/", "a"),
        ("GET / HTTP/1.0\r\n\r\n", "/", ""),
        ("GET http://b/ HTTP/1.0\r\n\r\n", "/", "b"),
    ] {
        let head = head(wire);
        assert_eq!((&head.target[..], &head.host[..]), (target.as_bytes(), host.as_bytes()), "{wire:?}");
    }
}

#[test]
fn odd_bytes_of_the_target_pass_raw() {
    let mut wire = b"GET /<a>`|\"\x80\xff#frag HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let head = parse(&wire).unwrap().unwrap();
    assert_eq!(&head.target[..], b"/<a>`|\"\x80\xff#frag");
    wire[6] = 0x7f;
    assert_eq!(parse(&wire).unwrap_err().error, HeadError::InvalidRequest);
}

#[test]
fn odd_names_are_dropped_or_passed_as_told() {
    let wire = b"GET / HTTP/1.1\r\nHost: a\r\nX_Y: 1\r\nBad(name): 2\r\nGood: 3\r\n\r\n";
    let names = |rules| {
        let head = parse_with(rules, wire).unwrap().unwrap();
        let names = head.fields.iter().map(|f| String::from_utf8_lossy(&f.name).into_owned()).collect::<Vec<_>>();
        (names.join(" "), head.dropped.len())
    };
    assert_eq!(names(HeadRules::default()), ("Host Good".into(), 2));
    assert_eq!(names(HeadRules { underscores: true, ..HeadRules::default() }), ("Host X_Y Good".into(), 1));
    assert_eq!(
        names(HeadRules { ignore_invalid: false, ..HeadRules::default() }),
        ("Host X_Y Bad(name) Good".into(), 0)
    );
}

#[test]
fn a_dropped_line_does_not_frame_a_body() {
    let head = head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding(: chunked\r\nContent_Length: 5\r\n\r\n");
    assert_eq!(head.body, BodyLength::Length(0));
}

#[test]
fn bodies_are_framed_once() {
    let framed = |fields: &str| parse(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    assert_eq!(framed("Transfer-Encoding: ChunkeD\r\n").unwrap().unwrap().body, BodyLength::Chunked);
    assert_eq!(framed("Content-Length: 007\r\n").unwrap().unwrap().body, BodyLength::Length(7));
    for (fields, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length:\t5\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length\r\n", 400),
        ("Content-Length: 9223372036854775808\r\n", 400),
        ("Content-Length: 99999999999999999999999999\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 501),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked\t\r\n", 501),
        ("Transfer-Encoding:\x0bchunked\r\n", 501),
        ("Transfer-Encoding: \r\n", 501),
        ("Transfer-Encoding : chunked\r\n", 400),
    ] {
        assert_eq!(framed(fields).unwrap_err().error.status(), status, "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old.as_bytes()).0, 400);
}

#[test]
fn hostile_heads_get_nginx_status_and_words() {
    let line = "while reading client request line";
    let fields = "while reading client request headers";
    for (wire, status, words) in [
        (&b"get / HTTP/1.1\r\n"[..], 400, format!("client sent invalid method {line}")),
        (b"\x16\x03\x01\x02\x00", 400, format!("client sent invalid method {line}")),
        (b" GET / HTTP/1.1", 400, format!("client sent invalid method {line}")),
        (b"GET\t/ HTTP/1.1", 400, format!("client sent invalid method {line}")),
        (b"OPTIONS * HTTP/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"PRI * HTTP/2.0\r\n", 400, format!("client sent invalid request {line}")),
        (b"CONNECT a:443 HTTP/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET a.example/ HTTP/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET /a b HTTP/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET /a\0 HTTP/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET /a\tb HTTP/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET / HTTP/1.1\rX", 400, format!("client sent invalid request {line}")),
        (b"GET / http/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET / HTTP/1.\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET / HTTP/0.9\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET http://u@h/ HTTP/1.1\r\n", 400, format!("client sent invalid request {line}")),
        (b"GET / HTTP/2.0\r\n", 505, format!("client sent invalid version {line}")),
        (b"GET / HTTP/11.1\r\n", 505, format!("client sent invalid version {line}")),
        (b"GET /\r\n", 400, format!("client sent HTTP/0.9 request {line}")),
        (b"GET / \n", 400, format!("client sent HTTP/0.9 request {line}")),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, format!("client sent invalid request {line}")),
        (
            b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            400,
            format!("client sent invalid header line: \"Host: a\\x0a...\" {fields}"),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, format!("client sent invalid header line: \"\\x0a...\" {fields}")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\n", 400, format!("client sent invalid header line: \"X\\x0a...\" {fields}")),
        (b"GET / HTTP/1.1\r\nX: 1\r\r\n", 400, format!("client sent invalid header line: \"X: 1\\x0d...\" {fields}")),
        (b"GET http:///x HTTP/1.1\r\n", 400, format!("client sent invalid host in request line {line}")),
        (b"GET http://a..b/ HTTP/1.1\r\n", 400, format!("client sent invalid host in request line {line}")),
        (b"GET / HTTP/1.1\r\n\r\n", 400, format!("client sent HTTP/1.1 request without \"Host\" header {fields}")),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n", 400, format!("client sent invalid host header {fields}")),
        (b"GET / HTTP/1.1\r\nHost:\r\n", 400, format!("client sent invalid host header {fields}")),
        (b"GET / HTTP/1.1\r\nHost: a:b:c\r\n", 400, format!("client sent invalid host header {fields}")),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n", 400, format!("client sent invalid host header {fields}")),
        (
            b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            400,
            format!("client sent different hosts in request line and \"Host\" header {fields}"),
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n",
            400,
            format!("client sent duplicate host header: \"HOST: a\", previous value: \"Host: a\" {fields}"),
        ),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", 400, format!("client sent invalid header line: \"Host\\x20...\" {fields}")),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n",
            400,
            format!("client sent invalid header line: \"\\x20...\" {fields}"),
        ),
        (
            b"GET / HTTP/1.1\r\nX: 1\rY: 2\r\n",
            400,
            format!("client sent invalid header line: \"X: 1\\x0d...\" {fields}"),
        ),
        (b"GET / HTTP/1.1\r\nX: 1\0", 400, format!("client sent invalid header line: \"X: 1\\x00...\" {fields}")),
        (b"GET / HTTP/1.1\r\n: 1\r\n", 400, format!("client sent invalid header line: \"\\x3a...\" {fields}")),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rX", 400, format!("client sent invalid header line: \"\\x0d...\" {fields}")),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, format!("client sent TRACE method {fields}")),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405, format!("client sent CONNECT method {fields}")),
    ] {
        assert_eq!(refused(wire), (status, words), "{:?}", String::from_utf8_lossy(wire));
    }
}

#[test]
fn a_refused_head_still_tells_what_was_read() {
    let refused = parse(b"GET /x HTTP/1.1\r\nHost: A.example\r\nX : 1\r\n\r\nrest").unwrap_err();
    assert_eq!(refused.head.line, "GET /x HTTP/1.1");
    assert_eq!(refused.head.host, "a.example");
    assert!(!refused.head.keep_alive);
    let refused = parse(b"\r\nGET /\x01x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err();
    assert_eq!(refused.head.line, "GET /\\x01x HTTP/1.1".replace("\\x01", "\x01"));
    assert!(refused.head.method.is_empty() && refused.head.fields.is_empty());
}

#[test]
fn too_long_lines_are_414_and_494() {
    let rules = HeadRules { first_buffer: 128, large_buffer: 256, large_buffers: 2, ..HeadRules::default() };
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - 16));
    let status = |wire: &str| match parse_with(rules, wire.as_bytes()) {
        Ok(head) => (0, head.is_some()),
        Err(refused) => (refused.error.status(), false),
    };
    assert_eq!(status(&format!("{}Host: a\r\n\r\n", line(256))), (0, true));
    assert_eq!(status(&line(257)), (414, false));
    // Told before the line is whole.
    assert_eq!(status(&line(1000)[..256]), (414, false));
    assert_eq!(status(&line(1000)[..255]), (0, false));
    let field = |length: usize| format!("X: {}\r\n", "a".repeat(length - 5));
    assert_eq!(status(&format!("{}Host: a\r\n{}\r\n", line(50), field(256))), (0, true));
    assert_eq!(status(&format!("{}Host: a\r\n{}\r\n", line(50), field(257))), (494, false));
    // Two large buffers, then no more.
    assert_eq!(status(&format!("{}Host: a\r\n{}\r\n", line(50), field(250).repeat(2))), (0, true));
    assert_eq!(status(&format!("{}Host: a\r\n{}\r\n", line(50), field(250).repeat(3))), (494, false));
}

#[test]
fn empty_lines_before_a_request_cost_no_memory() {
    let mut parser = RequestParser::new(HeadRules::default());
    let mut buf = BytesMut::new();
    for _ in 0..10_000 {
        buf.extend_from_slice(b"\r\n\r\n");
        assert!(parser.parse(&mut buf).unwrap().is_none());
        assert!(buf.is_empty() && !parser.begun());
    }
    buf.extend_from_slice(b"GET / HTTP/1.0\r\n\r\n");
    assert!(parser.parse(&mut buf).unwrap().is_some());
}

#[test]
fn a_hundred_fields_are_fine() {
    let wire = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(1000));
    assert_eq!(head(&wire).fields.len(), 1001);
}

#[test]
fn only_a_client_of_http_1_1_waits_for_continue() {
    assert!(head("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n").expects_continue);
    assert!(!head("PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expects_continue);
    assert!(!head("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n").expects_continue);
}

#[test]
fn a_slow_sender_costs_no_rescans() {
    // 32 KiB byte by byte: quadratic work would take minutes.
    let wire = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", format!("X: {}\r\n", "y".repeat(8000)).repeat(3));
    let mut parser = RequestParser::new(HeadRules::default());
    let mut buf = BytesMut::new();
    let mut heads = 0;
    for &byte in wire.as_bytes() {
        buf.extend_from_slice(&[byte]);
        heads += usize::from(parser.parse(&mut buf).unwrap().is_some());
    }
    assert_eq!(heads, 1);
}
