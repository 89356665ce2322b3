//! What holds for every request, however hostile? Laws of URI normalisation, of the search for locations, of ranges and of
//! escaping, on inputs that nobody chose.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use semper::plan::location::{Location, LocationKind, LocationTree};
use semper::plan::server::Server;
use semper::route::escape::{Escape, escape, unescape};
use semper::route::ranges::{Wanted, parse};
use semper::route::{conditional, date, gzip, locations, query, uri};
use semper::words::Fields;
use std::sync::Arc;

fn target() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just("//".to_owned()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%3f".to_owned()),
        Just("%25".to_owned()),
        Just("%".to_owned()),
        Just("?".to_owned()),
        Just("#".to_owned()),
        Just("+".to_owned()),
        "[a-c]{1,3}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn prefixes(names: &[String]) -> LocationTree {
    let root = Server::bare(0, "", None).root;
    let location = |name: &String| {
        let (name, kind) = (name.as_str().into(), LocationKind::Prefix);
        Arc::new(Location { name, kind, ..Location::clone(&root) })
    };
    LocationTree::new(names.iter().map(location).collect())
}

proptest! {
    #[test]
    fn no_target_leads_outside_the_root(target in target(), merge in any::<bool>()) {
        let Ok(uri) = uri::normalize(&Bytes::from(target.clone()), merge) else { return Ok(()) };
        prop_assert!(uri.path.starts_with(b"/"), "{target}");
        let mut depth = 0_i32;
        for part in uri.path.split(|b| *b == b'/') {
            depth += match part { b"" => 0, b".." => -1, _ => 1 };
            prop_assert!(depth >= 0 && part != b"..", "{target} -> {:?}", uri.path);
        }
        prop_assert!(!uri.path.contains(&0));
        prop_assert!(!merge || !uri.path.windows(2).any(|pair| pair == b"//"), "{target} -> {:?}", uri.path);
    }

    #[test]
    fn no_bytes_upset_what_reads_a_request(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let text = Bytes::from(bytes);
        let _ = uri::normalize(&text, true);
        let _ = uri::internal(&text);
        let _ = unescape(&text);
        let _ = date::parse(&text);
        let _ = gzip::accepts_gzip(&text);
        let _ = parse(&[b"bytes=", &text[..]].concat(), 100, Some(5));
        let mut fields = Fields::default();
        fields.push("Cookie", text.clone());
        fields.push("If-None-Match", text.clone());
        fields.push("If-Modified-Since", text.clone());
        let _ = query::cookie(&fields, "a");
        let _ = query::argument(&text, "a");
        let _ = conditional::judge(&fields, Some(1), Some(b"\"x\""), semper::plan::files::IfModifiedSince::Before);
        let _ = semper::route::access::credentials(&text);
        let _ = semper::route::expires::parse(&text, false);
    }

    #[test]
    fn what_is_escaped_is_read_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let text = Bytes::from(bytes);
        for how in [Escape::Uri, Escape::Args, Escape::Component] {
            let escaped = escape(&text, how);
            prop_assert!(escaped.iter().all(|b| (0x21..0x7f).contains(b)));
            prop_assert_eq!(unescape(&escaped), text.clone());
        }
    }

    #[test]
    fn the_longest_prefix_is_found(names in prop::collection::vec("/[ab/]{0,5}", 0..12), uri in "/[ab/]{0,7}") {
        let tree = prefixes(&names);
        let longest = names.iter().filter(|name| uri.starts_with(*name)).max_by_key(|name| name.len());
        let found = locations::find(&tree, uri.as_bytes()).location.map(|location| location.name.to_string());
        prop_assert_eq!(found.as_ref(), longest);
    }

    #[test]
    fn ranges_lie_within_the_body(text in "[0-9, -]{0,20}", length in 0_u64..50) {
        if let Wanted::Parts(parts) = parse(format!("bytes={text}").as_bytes(), length, None) {
            prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
            prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= length);
        }
    }
}
