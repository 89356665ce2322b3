//! Does the HTTP/1 machine find the end of every body, read upstreams as leniently as nginx, and write heads that no
//! value can break?
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use semper::h1::{
    BodyDecoder, BodyError, BodyLength, BodyPiece, ChunkRules, ResponseError, ResponseHead, ResponseParser, Unsendable,
    Version, chunk_size_line, write_field, write_request_line, write_status_line,
};

fn take(length: BodyLength, rules: ChunkRules, wire: &[u8]) -> (Vec<u8>, Result<bool, BodyError>, Vec<u8>) {
    let mut decoder = BodyDecoder::new(length, rules);
    let mut buf = BytesMut::from(wire);
    let mut body = Vec::new();
    loop {
        match decoder.decode(&mut buf) {
            Ok(BodyPiece::Data(data)) => body.extend_from_slice(&data),
            Ok(BodyPiece::NeedMore) => return (body, decoder.close().map(|()| true), buf.to_vec()),
            Ok(BodyPiece::End(_)) => return (body, Ok(decoder.is_done()), buf.to_vec()),
            Err(error) => return (body, Err(error), buf.to_vec()),
        }
    }
}

fn chunked(wire: &str) -> (String, Result<bool, BodyError>, String) {
    let (body, end, rest) = take(BodyLength::Chunked, ChunkRules::REQUEST, wire.as_bytes());
    (String::from_utf8(body).unwrap(), end, String::from_utf8(rest).unwrap())
}

#[test]
fn counted_bodies_end_where_they_should() {
    let counted = |length, wire: &[u8]| take(BodyLength::Length(length), ChunkRules::REQUEST, wire);
    assert_eq!(counted(3, b"abcGET"), (b"abc".to_vec(), Ok(true), b"GET".to_vec()));
    assert_eq!(counted(4, b"abc"), (b"abc".to_vec(), Err(BodyError::CutShort), vec![]));
    assert_eq!(counted(0, b"abc"), (vec![], Ok(true), b"abc".to_vec()));
    let until_close = take(BodyLength::UntilClose, ChunkRules::RESPONSE, b"abc");
    assert_eq!(until_close, (b"abc".to_vec(), Ok(true), vec![]));
}

#[test]
fn chunks_are_joined_and_the_next_request_stays() {
    for wire in [
        "3\r\nabc\r\n0\r\n\r\nNEXT",
        "1\r\na\r\n2;x=\"y\"\r\nbc\r\n000;last\r\n\r\nNEXT",
        "0003 ;x\r\nabc\r\n0\r\nTrailer: x\r\n\r\nNEXT",
    ] {
        assert_eq!(chunked(wire), ("abc".into(), Ok(true), "NEXT".into()), "{wire:?}");
    }
    assert_eq!(chunked("3\r\nabc\r\n0\r\n").1, Err(BodyError::CutShort));
}

#[test]
fn bad_chunks_are_refused() {
    for (wire, error) in [
        ("\r\n", BodyError::InvalidChunk),
        ("x\r\n", BodyError::InvalidChunk),
        ("-1\r\n", BodyError::InvalidChunk),
        ("0x1\r\na\r\n", BodyError::InvalidChunk),
        (" 1\r\na\r\n", BodyError::InvalidChunk),
        (";\r\n", BodyError::InvalidChunk),
        ("1\na", BodyError::InvalidChunk),
        ("1\rXa", BodyError::InvalidChunk),
        ("1;a\nb\r\na", BodyError::InvalidChunk),
        ("1;a\rb\r\na", BodyError::InvalidChunk),
        ("1;a\0\r\na", BodyError::InvalidChunk),
        ("1\r\nab\r\n", BodyError::InvalidChunk),
        ("1\r\na\n", BodyError::InvalidChunk),
        ("1\r\na\r0", BodyError::InvalidChunk),
        ("ffffffffffffffff\r\n", BodyError::InvalidChunk),
        ("10000000000000000\r\n", BodyError::InvalidChunk),
        ("0\r\nBad : x\r\n", BodyError::InvalidTrailers),
        ("0\r\n folded\r\n", BodyError::InvalidTrailers),
        ("0\r\n\rX", BodyError::InvalidTrailers),
    ] {
        assert_eq!(chunked(wire).1, Err(error), "{wire:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let extensions = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
    assert_eq!(chunked(&extensions).1, Err(BodyError::ExtensionsTooLong));
    let endless = format!("0\r\nX: {}", "x".repeat(17_000));
    assert_eq!(chunked(&endless).1, Err(BodyError::TrailersTooLong));
    let many = format!("0\r\n{}", "X: y\r\n".repeat(3_000));
    assert_eq!(chunked(&many).1, Err(BodyError::TrailersTooLong));
}

#[test]
fn trailers_are_handed_over() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, ChunkRules::RESPONSE);
    let mut buf = BytesMut::from(&b"0\nA: 1\nB:2\r\n\r\n"[..]);
    let Ok(BodyPiece::End(Some(trailers))) = decoder.decode(&mut buf) else { panic!("no trailers") };
    assert_eq!(trailers.get("a").unwrap(), "1");
    assert_eq!(trailers.get("b").unwrap(), "2");
    assert!(matches!(decoder.decode(&mut buf), Ok(BodyPiece::End(None))));
}

#[test]
fn upstream_chunks_may_end_lines_with_lf_as_nginx() {
    let (body, end, rest) = take(BodyLength::Chunked, ChunkRules::RESPONSE, b"2;x\nab\n0\n\nrest");
    assert_eq!((&body[..], end, &rest[..]), (&b"ab"[..], Ok(true), &b"rest"[..]));
}

#[test]
fn size_lines_are_hexadecimal() {
    for size in [1, 9, 10, 15, 16, 255, 256, 65536, 0x1234_5678, usize::MAX] {
        let mut out = BytesMut::new();
        chunk_size_line(&mut out, size);
        assert_eq!(&out[..], format!("{size:x}\r\n").as_bytes());
    }
}

fn response(wire: &[u8]) -> Result<Option<ResponseHead>, ResponseError> {
    ResponseParser::new(4096).parse(&mut BytesMut::from(wire))
}

#[test]
fn upstream_heads_are_read_as_leniently_as_nginx_reads_them() {
    for (wire, status, reason, keep_alive) in [
        ("HTTP/1.1 200 OK\r\n\r\n", 200, "OK", true),
        ("HTTP/1.1 200\r\n\r\n", 200, "", true),
        ("HTTP/1.1 200 \n\n", 200, "", true),
        ("HTTP/1.1   404 Not  here\r\n\r\n", 404, "Not  here", true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", 200, "OK", false),
        ("HTTP/1.1 403.7 IIS\r\n\r\n", 403, "7 IIS", true),
        ("HTTP/1.1 999 Odd\r\nConnection: x, Close\r\n\r\n", 999, "Odd", false),
        ("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n", 200, "OK", true),
        ("HTTP/1.1 200 OK\r\nBad(name) is: fine\r\n\r\n", 0, "", false),
    ] {
        match response(wire.as_bytes()) {
            Ok(Some(head)) => {
                assert_eq!(
                    (head.status, &head.reason[..], head.keep_alive),
                    (status, reason.as_bytes(), keep_alive),
                    "{wire:?}"
                );
            }
            Err(ResponseError::InvalidField { .. }) if status == 0 => {}
            other => panic!("{wire:?} gave {other:?}"),
        }
    }
}

#[test]
fn upstream_heads_that_could_be_read_two_ways_are_refused() {
    let fields = |fields: &str| response(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
    assert!(matches!(fields("Content-Length: 1\r\nContent-Length: 1\r\n"), Err(ResponseError::DuplicateField { .. })));
    assert!(matches!(
        fields("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        Err(ResponseError::LengthAndEncoding)
    ));
    assert!(matches!(fields("Transfer-Encoding: gzip\r\n"), Err(ResponseError::UnknownEncoding(_))));
    assert!(matches!(fields("Content-Length: 1 1\r\n"), Err(ResponseError::InvalidLength(_))));
    assert!(matches!(fields(" fold\r\n"), Err(ResponseError::InvalidField { .. })));
    assert!(matches!(response(b"HTTP/1.1 20\r\n"), Err(ResponseError::NoStatusLine)));
    assert!(matches!(response(b"<html>"), Err(ResponseError::NoStatusLine)));
    let big = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(4096));
    assert!(matches!(response(big.as_bytes()), Err(ResponseError::TooBig)));
    assert!(matches!(response(&big.as_bytes()[..4096]), Err(ResponseError::TooBig)));
    assert!(matches!(response(&big.as_bytes()[..4095]), Ok(None)));
}

#[test]
fn a_response_body_is_framed_by_status_method_and_fields() {
    let length = |wire: &str, to_head| response(wire.as_bytes()).unwrap().unwrap().body_length(to_head);
    assert_eq!(length("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false), BodyLength::Length(5));
    assert_eq!(length("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), BodyLength::Length(0));
    assert_eq!(length("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", false), BodyLength::Length(0));
    assert_eq!(length("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", false), BodyLength::Length(0));
    assert_eq!(length("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false), BodyLength::Chunked);
    assert_eq!(length("HTTP/1.1 200 OK\r\n\r\n", false), BodyLength::UntilClose);
    assert!(response(b"HTTP/1.1 103 Early\r\n\r\n").unwrap().unwrap().is_interim());
    assert!(!response(b"HTTP/1.1 101 Now\r\n\r\n").unwrap().unwrap().is_interim());
}

#[test]
fn nothing_that_breaks_a_line_is_written() {
    let mut out = BytesMut::new();
    for value in ["a\r\nX: 1", "a\nb", "a\rb", "a\0b"] {
        assert_eq!(write_field(&mut out, b"A", value.as_bytes()), Err(Unsendable::Value));
        assert_eq!(write_status_line(&mut out, 200, Some(value.as_bytes())), Err(Unsendable::Value));
        assert_eq!(write_request_line(&mut out, b"GET", value.as_bytes(), Version::HTTP_11), Err(Unsendable::Line));
    }
    for name in ["", "a b", "a:b", "a\r", "a\n", "a\0", "\u{7f}"] {
        assert_eq!(write_field(&mut out, name.as_bytes(), b"v"), Err(Unsendable::Name));
    }
    assert_eq!(write_request_line(&mut out, b"GET", b"/a b", Version::HTTP_11), Err(Unsendable::Line));
    assert_eq!(write_request_line(&mut out, b"", b"/", Version::HTTP_11), Err(Unsendable::Line));
    assert!(out.is_empty());
    write_request_line(&mut out, b"GET", b"/\xff", Version::HTTP_10).unwrap();
    write_status_line(&mut out, 302, None).unwrap();
    write_status_line(&mut out, 418, None).unwrap();
    write_status_line(&mut out, 200, Some(b"Fine")).unwrap();
    write_status_line(&mut out, 200, Some(b"")).unwrap();
    write_field(&mut out, b"A", b"\x01 b\xff").unwrap();
    assert_eq!(
        &out[..],
        b"GET /\xff HTTP/1.0\r\nHTTP/1.1 302 Moved Temporarily\r\nHTTP/1.1 418 \r\nHTTP/1.1 200 Fine\r\nHTTP/1.1 200\r\nA: \x01 b\xff\r\n"
    );
}
