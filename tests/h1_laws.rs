//! Does the HTTP/1 machine say the same however the bytes are cut, and does it never take what another parser reads as
//! a different message?
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use proptest::prelude::*;
use semper::h1::{BodyLength, HeadRules, RequestHead, RequestParser, fuzz};

/// Pieces of requests, good and bad, so that random strings get past the first byte.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "GET ",
        "POST ",
        "HEAD ",
        "get ",
        "/",
        "/a?b=c",
        "http://h.example:8",
        "http://h",
        " HTTP/1.1\r\n",
        " HTTP/1.0\n",
        " HTTP/1.2\r\n",
        " HTTP/2.0\r\n",
        "\r\n",
        "\n",
        "\r",
        "Host: a.example\r\n",
        "Host:",
        "hOsT: b\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "X_Y: 1\r\n",
        "X Y: 1\r\n",
        " folded\r\n",
        ": v\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "a;ext=1\r\n",
        "ffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 304\r\n",
        "Cookie: a=b; c=d\r\n",
        "\0",
        "\t",
        "\u{7f}",
        "hello",
    ]);
    let piece = prop_oneof![
        8 => token.prop_map(|t| t.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn whole(wire: &[u8]) -> Option<RequestHead> {
    RequestParser::new(HeadRules::default()).parse(&mut BytesMut::from(wire)).ok().flatten().map(|head| *head)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cut_of_the_bytes_changes_nothing(wire in wire()) {
        fuzz(&wire);
    }

    #[test]
    fn one_cut_anywhere_changes_nothing(wire in wire(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(wire.len() + 1);
        let mut parser = RequestParser::new(HeadRules::default());
        let mut buf = BytesMut::from(&wire[..cut]);
        let halves = match parser.parse(&mut buf) {
            Ok(None) => {
                buf.extend_from_slice(&wire[cut..]);
                parser.parse(&mut buf).map_err(|refused| refused.error)
            }
            other => other.map_err(|refused| refused.error),
        };
        let at_once = RequestParser::new(HeadRules::default()).parse(&mut BytesMut::from(&wire[..]));
        match (halves, at_once) {
            (Ok(halves), Ok(at_once)) => prop_assert_eq!(format!("{halves:?}"), format!("{at_once:?}")),
            (Err(halves), Err(at_once)) => prop_assert_eq!(halves.status(), at_once.error.status()),
            (halves, at_once) => prop_assert!(false, "{halves:?} {at_once:?}"),
        }
    }

    /// What httparse (hyper's tokenizer) also takes, it reads the same way.
    #[test]
    fn httparse_agrees_on_what_both_take(wire in wire()) {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut theirs = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = theirs.parse(&wire) else { return Ok(()) };
        let Some(ours) = whole(&wire) else { return Ok(()) };
        prop_assert_eq!(&ours.method[..], theirs.method.unwrap_or_default().as_bytes());
        prop_assert!(theirs.path.unwrap_or_default().as_bytes().ends_with(&ours.target) || ours.target.starts_with(b"/"));
        // Both skip empty lines; only httparse counts them.
        let empty = wire.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        prop_assert_eq!(ours.wire_length as usize, length - empty);
        let dropped = |name: &str| name.bytes().any(|b| !(b.is_ascii_alphanumeric() || b == b'-'));
        let theirs: Vec<_> = theirs.headers.iter().filter(|h| !dropped(h.name)).collect();
        prop_assert_eq!(ours.fields.len(), theirs.len());
        for (ours, theirs) in ours.fields.iter().zip(theirs) {
            prop_assert_eq!(&ours.name[..], theirs.name.as_bytes());
            prop_assert_eq!(ours.value.trim_ascii(), theirs.value.trim_ascii());
        }
    }

    /// No taken head leaves doubt about where its body ends.
    #[test]
    fn a_taken_head_frames_its_body_once(wire in wire()) {
        let Some(head) = whole(&wire) else { return Ok(()) };
        let lengths = head.fields.get_all("content-length").count();
        let encodings = head.fields.get_all("transfer-encoding").count();
        prop_assert!(lengths + encodings <= 1);
        match head.body {
            BodyLength::Chunked => prop_assert_eq!(encodings, 1),
            BodyLength::Length(n) => prop_assert!(n == 0 || lengths == 1),
            BodyLength::UntilClose => prop_assert!(false, "a request until close"),
        }
    }
}
