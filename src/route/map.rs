//! Which value does a `map` give? Exact text first, then longest `*.suffix`, longest `prefix.*`, then regexes in order.

use crate::plan::map::Map;
use crate::plan::pattern::Spans;
use crate::plan::template::Template;
use bytes::Bytes;

/// Subject, spans, named groups of a match.
pub type Caught<'m> = (Bytes, Spans, &'m [(usize, usize)]);

/// What a look-up found.
#[derive(Debug)]
pub struct Found<'m> {
    /// The value, to be evaluated after the captures were set.
    pub value: &'m Template,
    /// Captures of the pattern that matched: subject, spans, named groups.
    pub captures: Option<Caught<'m>>,
}

/// Looks `source` (the evaluated text) up.
pub fn find(map: &Map, source: Bytes) -> Found<'_> {
    let mut subject = source;
    if map.hostnames && subject.ends_with(b".") {
        subject.truncate(subject.len() - 1);
    }
    let lower = subject.to_ascii_lowercase();
    let literal = map.exact.get(&lower[..]).or_else(|| {
        let suffix = map.suffixes.iter().find(|(name, _)| lower.len() > name.len() && lower.ends_with(name));
        let prefix = || map.prefixes.iter().find(|(name, _)| lower.len() > name.len() && lower.starts_with(name));
        suffix.or_else(prefix).map(|(_, value)| value)
    });
    if let Some(value) = literal {
        return Found { value, captures: None };
    }
    // nginx tries no regex on an empty text.
    for row in map.patterns.iter().filter(|_| !subject.is_empty()) {
        if let Some(spans) = row.pattern.captures(&subject) {
            return Found { value: &row.value, captures: Some((subject, spans, &row.names)) };
        }
    }
    Found { value: &map.default, captures: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::map::MapPattern;
    use crate::plan::pattern::Pattern;

    fn map() -> Map {
        let row = |text: &str, value: &'static str| (text.as_bytes().into(), Template::literal(value));
        Map {
            exact: [row("a.example", "exact"), row("", "empty")].into_iter().collect(),
            suffixes: Box::new([row(".b.a.example", "long"), row(".a.example", "short")]),
            prefixes: Box::new([row("www.x.", "long prefix"), row("www.", "prefix")]),
            patterns: Box::new([MapPattern {
                pattern: Pattern::new("^(.)z", false).unwrap(),
                names: Box::new([]),
                value: Template::literal("regex"),
            }]),
            default: Template::literal("default"),
            hostnames: true,
            ..Map::default()
        }
    }

    #[test]
    fn the_closest_row_wins() {
        let map = map();
        let table = [
            ("A.example.", "exact"),
            ("x.b.a.example", "long"),
            ("x.a.example", "short"),
            ("www.x.org", "long prefix"),
            ("www.y.org", "prefix"),
            ("qz", "regex"),
            ("other", "default"),
            ("", "empty"),
        ];
        for (source, value) in table {
            let found = find(&map, Bytes::from_static(source.as_bytes()));
            assert_eq!(found.value.as_literal(), Some(value.as_bytes()), "{source}");
            assert_eq!(found.captures.is_some(), value == "regex");
        }
    }
}
