//! Does a text match a regular expression of the configuration? nginx speaks PCRE2; most patterns run on the linear-time
//! engine, and only those that need look-around or back-references go to PCRE2 with bounded work.

use std::fmt;

/// A compiled regular expression over bytes. Equal if text and case sensitivity are equal.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    caseless: bool,
    engine: Engine,
    names: Box<[(usize, Box<str>)]>,
    groups: usize,
}

#[derive(Clone)]
enum Engine {
    Linear(regex::bytes::Regex),
    Backtracking(std::sync::Arc<pcre2::bytes::Regex>),
}

/// Why a pattern was refused: the engine's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPattern(pub String);

/// The spans of a match: `spans[0]` is the whole, `spans[n]` is `$n`; `None` where a group took no part.
pub type Spans = Vec<Option<(usize, usize)>>;

impl Pattern {
    /// Compiles `text`; `caseless` as for `~*`.
    ///
    /// # Errors
    /// The engine's words if neither engine takes the pattern.
    pub fn new(text: &str, caseless: bool) -> Result<Pattern, BadPattern> {
        let linear = regex::bytes::RegexBuilder::new(text).case_insensitive(caseless).unicode(false).build();
        let (engine, names, groups) = match linear {
            Ok(regex) => {
                let names = regex.capture_names().enumerate();
                let names = names.filter_map(|(i, n)| Some((i, n?.into()))).collect();
                let groups = regex.captures_len();
                (Engine::Linear(regex), names, groups)
            }
            Err(_) => {
                let regex = pcre2::bytes::RegexBuilder::new()
                    .caseless(caseless)
                    .jit_if_available(true)
                    .build(text)
                    .map_err(|e| BadPattern(e.to_string()))?;
                let names = regex.capture_names().iter().enumerate();
                let names = names.filter_map(|(i, n)| Some((i, n.as_deref()?.into()))).collect();
                let groups = regex.captures_len();
                (Engine::Backtracking(std::sync::Arc::new(regex)), names, groups)
            }
        };
        Ok(Pattern { text: text.into(), caseless, engine, names, groups })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Named groups with their numbers.
    pub fn names(&self) -> &[(usize, Box<str>)] {
        &self.names
    }

    /// How many groups there are, the whole match included.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Whether `subject` matches anywhere. A pattern that gives up (PCRE2's limits) does not match.
    pub fn is_match(&self, subject: &[u8]) -> bool {
        match &self.engine {
            Engine::Linear(regex) => regex.is_match(subject),
            Engine::Backtracking(regex) => regex.is_match(subject).unwrap_or(false),
        }
    }

    /// The spans of the first match in `subject`.
    pub fn captures(&self, subject: &[u8]) -> Option<Spans> {
        match &self.engine {
            Engine::Linear(regex) => {
                if self.groups == 1 {
                    return regex.find(subject).map(|m| vec![Some((m.start(), m.end()))]);
                }
                let found = regex.captures(subject)?;
                Some(found.iter().map(|m| m.map(|m| (m.start(), m.end()))).collect())
            }
            Engine::Backtracking(regex) => {
                let found = regex.captures(subject).ok().flatten()?;
                Some((0..self.groups).map(|i| found.get(i).map(|m| (m.start(), m.end()))).collect())
            }
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text && self.caseless == other.caseless
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{}{}", if self.caseless { "*" } else { "" }, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookaround_falls_back_to_pcre_and_captures_agree() {
        let linear = Pattern::new(r"^/(?<lang>..)/(.*)$", false).unwrap();
        assert_eq!(linear.captures(b"/de/x"), Some(vec![Some((0, 5)), Some((1, 3)), Some((4, 5))]));
        assert_eq!(linear.names(), [(1, "lang".into())]);
        let behind = Pattern::new(r"^/(?!private)(.*)$", true).unwrap();
        assert!(behind.is_match(b"/public") && !behind.is_match(b"/PRIVATE"));
        assert!(Pattern::new("(", false).is_err());
    }
}
