//! Which server answers to a name? One look-up for the name of a TLS handshake and for the host of a request, in nginx's
//! order. Knows no default: who asks decides what an unknown name means.

use crate::plan::listener::{NamePattern, NameTable};
use crate::plan::pattern::Spans;
use crate::plan::server::Server;
use std::collections::HashMap;
use std::sync::Arc;

/// A server that was found by name.
#[derive(Debug)]
pub struct Named<'a> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// The regular expression that matched, and what its groups caught; `None` for the other kinds of names.
    pub caught: Option<(&'a NamePattern, Spans)>,
}

/// Looks for `host` (lower case, without port and trailing dot): exact names, then the longest `*.suffix`, then the
/// longest `prefix.*`, then the first regular expression.
pub fn find<'a>(names: &'a NameTable, host: &[u8]) -> Option<Named<'a>> {
    let plain = names.exact.get(host).or_else(|| by_wildcard(&names.suffixes, &names.prefixes, host));
    if let Some(server) = plain {
        return Some(Named { server, caught: None });
    }
    names.patterns.iter().find_map(|name| {
        let spans = name.pattern.captures(host)?;
        Some(Named { server: &name.server, caught: Some((name, spans)) })
    })
}

/// Names by what their wildcards leave of them.
type Table<T> = HashMap<Box<[u8]>, T>;

/// The longest `*.suffix` of `host`, else its longest `prefix.*`.
pub fn by_wildcard<'a, T>(suffixes: &'a Table<T>, prefixes: &'a Table<T>, host: &[u8]) -> Option<&'a T> {
    suffix(suffixes, host).or_else(|| prefix(prefixes, host))
}

/// Suffixes from long to short: each begins behind a dot.
fn suffix<'a, T>(suffixes: &'a Table<T>, host: &[u8]) -> Option<&'a T> {
    if suffixes.is_empty() {
        return None;
    }
    let dots = host.iter().enumerate().filter(|(at, byte)| **byte == b'.' && *at > 0);
    dots.map(|(at, _)| &host[at + 1..]).find_map(|rest| suffixes.get(rest))
}

/// Prefixes from long to short: each ends before a dot with something behind it.
fn prefix<'a, T>(prefixes: &'a Table<T>, host: &[u8]) -> Option<&'a T> {
    if prefixes.is_empty() {
        return None;
    }
    let dots = host.iter().enumerate().rev().filter(|(at, byte)| **byte == b'.' && at + 1 < host.len());
    dots.map(|(at, _)| &host[..at]).find_map(|rest| prefixes.get(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::pattern::Pattern;

    fn found(names: &NameTable, host: &str) -> Option<usize> {
        find(names, host.as_bytes()).map(|named| named.server.index)
    }

    #[test]
    fn exact_beats_longest_suffix_beats_longest_prefix_beats_first_pattern() {
        let server = |index| Arc::new(Server::bare(index, "", None));
        let mut names = NameTable::default();
        names.exact.insert((*b"www.example.com").into(), server(0));
        names.suffixes.insert((*b"example.com").into(), server(1));
        names.suffixes.insert((*b"a.example.com").into(), server(2));
        names.prefixes.insert((*b"www").into(), server(3));
        names.prefixes.insert((*b"www.b").into(), server(4));
        let pattern = |text, index| NamePattern {
            pattern: Pattern::new(text, true).unwrap(),
            names: Box::default(),
            server: server(index),
        };
        names.patterns = Box::new([pattern(r"^(\w+)\.net$", 5), pattern(r"\.net$", 6)]);
        for (host, index) in [
            ("www.example.com", Some(0)),
            ("x.example.com", Some(1)),
            ("www.x.example.com", Some(1)),
            ("x.y.a.example.com", Some(2)),
            ("example.com", None),
            (".example.com", None),
            ("www.org", Some(3)),
            ("www.b.c.org", Some(4)),
            ("www.b", Some(3)),
            ("www", None),
            ("www.", None),
            ("x.net", Some(5)),
            ("x.y.net", Some(6)),
            ("", None),
        ] {
            assert_eq!(found(&names, host), index, "{host}");
        }
        assert_eq!(find(&names, b"x.net").unwrap().caught.unwrap().1[1], Some((0, 1)));
    }
}
