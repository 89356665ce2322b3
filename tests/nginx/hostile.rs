//! Malformed and hostile requests: framing, heads, targets, versions. What nginx refuses is refused with the same answer.

use crate::bed::origin::Reply;
use crate::compare::{Ask, raw, server};

fn both(asks: &[Ask]) {
    server("location / { proxy_pass http://%origin%; proxy_http_version 1.1; } location /r { return 200 ok; }")
        .origin(|request| Reply::ok(&request.body))
        .same(asks);
}

#[test]
fn contradictory_framing_is_refused() {
    both(&[
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5a\r\n\r\nhello", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 501),
        raw(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200),
    ]);
}

#[test]
fn bad_chunks_are_refused() {
    let chunked = |body: &[u8], status| {
        let mut bytes =
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        bytes.extend_from_slice(body);
        raw(&bytes, status)
    };
    both(&[
        chunked(b"5\r\nhello\r\n0\r\n\r\n", 200),
        chunked(b"5;ext=1\r\nhello\r\n0\r\n\r\n", 200),
        chunked(b"5 ;ext\r\nhello\r\n0\r\n\r\n", 200),
        chunked(b"0005\r\nhello\r\n000\r\n\r\n", 200),
        chunked(b"A\r\n0123456789\r\n0\r\n\r\n", 200),
        chunked(b"a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", 200),
        chunked(b"5\nhello\n0\n\n", 200).here(400),
        chunked(b"x\r\nhello\r\n0\r\n\r\n", 400),
        chunked(b"5x\r\nhello\r\n0\r\n\r\n", 400),
        chunked(b"-5\r\nhello\r\n0\r\n\r\n", 400),
        chunked(b"0x5\r\nhello\r\n0\r\n\r\n", 400),
        chunked(b"5\r\nhelloX\r\n0\r\n\r\n", 400),
        chunked(b"5\r\nhello0\r\n\r\n", 400),
        chunked(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 400),
        chunked(b"\r\nhello\r\n0\r\n\r\n", 400),
    ]);
}

#[test]
fn broken_heads_are_refused() {
    both(&[
        raw(b"GET /r HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\nConnection: close\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX: a\rb\r\nConnection: close\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX: a\0b\r\nConnection: close\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX\0Y: a\r\nConnection: close\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\n: empty name\r\nConnection: close\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nno colon\r\nConnection: close\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX(y): parens\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX\x7f: del\r\nConnection: close\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX: high \xff\xfe\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nX: bell \x07\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/1.1\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\x01b\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r", 0),
    ]);
}

#[test]
fn broken_request_lines_are_refused() {
    both(&[
        raw(b"GET\r\n\r\n", 400),
        raw(b"GET /r\r\n", 0).here(400),
        raw(b"GET /r\r\n\r\n", 0).here(400),
        raw(b"get /r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GE(T /r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"G\tET /r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"FOO /r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"FOO-BAR /r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET  /r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r  HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/1.1 \r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET\t/r\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.2\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/1.10\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        raw(b"GET /r HTTP/3.7\r\nHost: a\r\n\r\n", 505),
        raw(b"GET /r HTTP/0.9\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r HTTP/11\r\nHost: a\r\n\r\n", 505),
        raw(b"GET /r HTTP/1.\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r HTTP/1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r HTTP/01.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r http/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r FTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET /r x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"TRACE /r HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        raw(b"\0\0\0\0\r\n\r\n", 400),
        raw(b"GET http://a b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET http:///r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET http://a:port/r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        raw(b"GET ftp://a/r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/1.1\rHost: a\r\n\r\n", 400),
    ]);
}

#[test]
fn a_body_nobody_reads_does_not_become_the_next_request() {
    both(&[
        raw(b"POST /r HTTP/1.1\r\nHost: a\r\nContent-Length: 46\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: 0123456\r\n\r\nGET /r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET /r HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        raw(b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhel", 0),
    ]);
}
