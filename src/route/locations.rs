//! Which location does a URI mean? nginx's order: `=` at once, else the longest prefix; its nested locations; then regexes
//! in file order, those of inner levels first, unless `^~` stands on the prefix.

use crate::plan::location::{Location, LocationKind, LocationTree};
use crate::plan::pattern::Spans;
use std::sync::Arc;

/// Where a URI leads.
#[derive(Debug)]
pub struct Found<'t> {
    /// The location; `None`: the server's own level.
    pub location: Option<&'t Arc<Location>>,
    /// The URI lacks the slash at the end of the location's name (`auto_redirect`): 301 to that name.
    pub add_slash: bool,
    /// The URI's captures by the regexes that matched on the way, outer ones first. The last ones count for `$1`; all
    /// named ones count.
    pub captures: Vec<(&'t Arc<Location>, Spans)>,
}

/// How the search of one level ended (nginx's return codes).
#[derive(PartialEq)]
enum Outcome {
    Exact,
    AddSlash,
    Prefix,
    Nothing,
}

/// Looks for the location of `uri` (normalized).
pub fn find<'t>(tree: &'t LocationTree, uri: &[u8]) -> Found<'t> {
    let mut found = Found { location: None, add_slash: false, captures: Vec::new() };
    found.add_slash = search(tree, uri, &mut found) == Outcome::AddSlash;
    found
}

fn search<'t>(tree: &'t LocationTree, uri: &[u8], found: &mut Found<'t>) -> Outcome {
    let (mut outcome, literal) = by_name(tree, uri);
    let mut stop = false;
    if let Some(location) = literal {
        found.location = Some(location);
        if outcome == Outcome::Prefix {
            stop = location.kind == LocationKind::PrefixStop;
            // The inner level may say that nothing is there; the prefix itself stays found.
            outcome = search(&location.nested, uri, found);
        }
    }
    if matches!(outcome, Outcome::Exact | Outcome::AddSlash) {
        return outcome;
    }
    if stop {
        return outcome;
    }
    for location in &tree.patterns {
        let LocationKind::Regex(pattern, _) = &location.kind else { continue };
        if let Some(spans) = pattern.captures(uri) {
            found.location = Some(location);
            found.captures.push((location, spans));
            search(&location.nested, uri, found);
            return Outcome::Exact;
        }
    }
    outcome
}

/// `=` and prefix locations of one level.
fn by_name<'t>(tree: &'t LocationTree, uri: &[u8]) -> (Outcome, Option<&'t Arc<Location>>) {
    if let Some(exact) = tree.exact(uri) {
        return (Outcome::Exact, Some(exact));
    }
    let longest = longest_prefix(&tree.prefixes, uri);
    if longest.is_some_and(|location| location.name.len() == uri.len()) {
        return (Outcome::Prefix, longest);
    }
    if let Some(redirects) = with_slash(tree, uri) {
        return (Outcome::AddSlash, Some(redirects));
    }
    match longest {
        Some(_) => (Outcome::Prefix, longest),
        None => (Outcome::Nothing, None),
    }
}

/// The longest of `sorted` whose name begins `uri`. Names between it and the place of `uri` share ever less with `uri`,
/// so each look narrows the search to what they share.
fn longest_prefix<'t>(sorted: &'t [Arc<Location>], uri: &[u8]) -> Option<&'t Arc<Location>> {
    let (mut below, mut shared) = (sorted, uri);
    loop {
        let count = below.partition_point(|location| location.name.as_bytes() <= shared);
        below = &below[..count];
        let nearest = below.last()?;
        let name = nearest.name.as_bytes();
        let same = name.iter().zip(shared).take_while(|(a, b)| a == b).count();
        if same == name.len() {
            return Some(nearest);
        }
        shared = &shared[..same];
    }
}

fn with_slash<'t>(tree: &'t LocationTree, uri: &[u8]) -> Option<&'t Arc<Location>> {
    let slashed = |location: &Arc<Location>| {
        let name = location.name.as_bytes();
        location.auto_redirect && name.strip_suffix(b"/") == Some(uri)
    };
    let at = tree.prefixes.partition_point(|location| location.name.as_bytes() <= uri);
    let prefix = tree.prefixes[at..].iter().take_while(|l| l.name.as_bytes().starts_with(uri)).find(|l| slashed(l));
    prefix.or_else(|| tree.exact.iter().find(|location| slashed(location)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::pattern::Pattern;
    use crate::plan::server::Server;

    fn location(name: &str, nested: Vec<Arc<Location>>) -> Arc<Location> {
        let (kind, text) = match name.split_once(' ') {
            Some(("=", text)) => (LocationKind::Exact, text),
            Some(("^~", text)) => (LocationKind::PrefixStop, text),
            Some(("~", text)) => {
                (LocationKind::Regex(Box::new(Pattern::new(text, false).unwrap()), Box::new([])), text)
            }
            Some(("/", text)) => (LocationKind::Prefix, text),
            _ => (LocationKind::Prefix, name),
        };
        let root = Server::bare(0, "", None).root;
        let auto_redirect = name.starts_with("/ ");
        let nested = LocationTree::new(nested);
        Arc::new(Location { name: text.into(), kind, nested, auto_redirect, ..Location::clone(&root) })
    }

    fn tree(names: &[&str]) -> LocationTree {
        LocationTree::new(names.iter().map(|name| location(name, Vec::new())).collect())
    }

    fn name(tree: &LocationTree, uri: &str) -> String {
        let found = find(tree, uri.as_bytes());
        let name = found.location.map_or("", |location| &location.name);
        format!("{name}{}", if found.add_slash { " +/" } else { "" })
    }

    #[test]
    fn regex_location_beats_longest_prefix_unless_marked_caret_tilde() {
        let tree = tree(&["/", "= /", "/doc/", "^~ /img/", "~ \\.(gif|jpg)$", "~ ^/doc/x"]);
        for (uri, expected) in [
            ("/", "/"),
            ("/index.html", "/"),
            ("/doc/a.html", "/doc/"),
            ("/img/1.gif", "/img/"),
            ("/doc/1.jpg", "\\.(gif|jpg)$"),
            ("/doc/x.gif", "\\.(gif|jpg)$"),
            ("/doc/xy", "^/doc/x"),
        ] {
            assert_eq!(name(&tree, uri), expected, "{uri}");
        }
    }

    #[test]
    fn the_longest_prefix_is_found_behind_names_that_share_less() {
        let tree = tree(&["/a", "/ab", "/abc/x", "/abc/y/z", "/abd", "/b"]);
        for (uri, expected) in [("/abc/y/q", "/ab"), ("/abc/y/z/", "/abc/y/z"), ("/ac", "/a"), ("/c", ""), ("/a", "/a")]
        {
            assert_eq!(name(&tree, uri), expected, "{uri}");
        }
    }

    #[test]
    fn nested_regexes_are_tried_before_outer_ones() {
        let inner = vec![location("~ \\.php$", vec![]), location("/a/b/", vec![])];
        let tree = LocationTree::new(vec![location("/a/", inner), location("~ php", vec![])]);
        assert_eq!(name(&tree, "/a/x.php"), "\\.php$");
        assert_eq!(name(&tree, "/a/b/x.php"), "\\.php$");
        assert_eq!(name(&tree, "/a/b/phpx"), "php");
        assert_eq!(name(&tree, "/a/b/c"), "/a/b/");
    }

    #[test]
    fn a_missing_slash_is_added_only_if_nothing_closer_is_there() {
        let tree = LocationTree::new(vec![location("/", vec![]), location("/ /api/", vec![]), location("~ .", vec![])]);
        assert_eq!(name(&tree, "/api"), "/api/ +/");
        assert_eq!(name(&tree, "/api/"), ".");
        assert_eq!(name(&tree, "/ap"), ".");
        let with = LocationTree::new(vec![location("/ /api/", vec![]), location("= /api", vec![])]);
        assert_eq!(name(&with, "/api"), "/api");
    }

    #[test]
    fn captures_of_every_level_are_reported() {
        let tree = LocationTree::new(vec![location("~ ^/(.)", vec![location("~ /(..)$", vec![])])]);
        let found = find(&tree, b"/abc/de");
        assert_eq!(found.captures.len(), 2);
        assert_eq!(found.captures[1].1, [Some((4, 7)), Some((5, 7))]);
    }
}
