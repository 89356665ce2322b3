//! Which variables exist, and what is a text with variables? Names may be used before they are defined; when all is read,
//! one that nobody defined is refused, as nginx does.

use std::collections::HashMap;

use bytes::Bytes;

use crate::plan::pattern::Pattern;
use crate::plan::template::{Asks, Builtin, Segment, Template, UserVariable, Var, VariableSource};
use crate::words::Place;

use super::complaint::Complaint;

/// The variables of the configuration.
#[derive(Debug, Default)]
pub struct Variables {
    by_name: HashMap<Box<str>, usize>,
    entries: Vec<Entry>,
    not_yet: Vec<(Box<str>, Place)>,
    /// Patterns that were compiled already: large configurations repeat them in every server.
    patterns: HashMap<(Box<str>, bool), Pattern>,
    asks: Asks,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    source: Option<VariableSource>,
}

/// Variables that only directives refused elsewhere would fill: without these they are empty in nginx too.
const ALWAYS_EMPTY: [&str; 11] = [
    "http3",
    "uid_got",
    "uid_set",
    "uid_reset",
    "slice_range",
    "secure_link",
    "secure_link_expires",
    "memcached_key",
    "acme_certificate",
    "acme_certificate_key",
    "ssl_ocsp",
];

/// Variables of nginx that would have a value here, and have none yet.
const NOT_YET: [&str; 10] = [
    "fastcgi_script_name",
    "fastcgi_path_info",
    "msie",
    "ancient_browser",
    "modern_browser",
    "document_root_fd",
    "quic",
    "upstream_queue_time",
    // The file has no name here, so that nothing is left of it after a crash.
    "request_body_file",
    // The TLS library does not tell it.
    "ssl_session_id",
];

/// Built-in variables that `set` may change by changing the request.
const CHANGEABLE: [Builtin; 2] = [Builtin::Args, Builtin::LimitRate];

impl Variables {
    /// Compiles a text. Names are checked by [`Variables::undefined`] when all is read.
    ///
    /// # Errors
    /// nginx's words for a `$` without a name or a `${` without its `}`.
    pub fn template(&mut self, text: &str, place: &Place) -> Result<Template, Complaint> {
        self.compile(text, place, true)
    }

    /// Compiles a text in which `$1` is no capture (`log_format`).
    ///
    /// # Errors
    /// nginx's words, with the rest of the text.
    pub fn log_line(&mut self, text: &str, place: &Place) -> Result<Template, Complaint> {
        self.compile(text, place, false)
    }

    fn compile(&mut self, text: &str, place: &Place, captures: bool) -> Result<Template, Complaint> {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some(after) = rest.strip_prefix('$') else {
                let end = rest.find('$').unwrap_or(rest.len());
                push_text(&mut segments, &rest[..end]);
                rest = &rest[end..];
                continue;
            };
            if let Some(digit @ b'1'..=b'9') = after.bytes().next().filter(|_| captures) {
                segments.push(Segment::Capture(digit - b'0'));
                rest = &after[1..];
                continue;
            }
            let (name, left) = name(after, place, captures.then_some("invalid variable name"), rest)?;
            segments.push(Segment::Var(self.var(name, place)));
            rest = left;
        }
        Ok(Template { segments: segments.into() })
    }

    /// What `$name` stands for. A name nobody knows (yet) gets a place of its own.
    pub fn var(&mut self, name: &str, place: &Place) -> Var {
        let lower = name.to_ascii_lowercase();
        if let Some(index) = self.by_name.get(lower.as_str()) {
            if let Some(VariableSource::Builtin(builtin)) = self.entries[*index].source {
                return Var::Builtin(builtin);
            }
            return Var::User(*index);
        }
        let unknown = NOT_YET.contains(&lower.as_str()) || lower.starts_with("proxy_protocol_tlv_");
        if let Some(builtin) = Builtin::by_name(&lower).filter(|_| !unknown) {
            match builtin {
                Builtin::SslCiphers | Builtin::SslCurves => self.asks.offers = true,
                Builtin::RequestBody => self.asks.request_body = true,
                _ => {}
            }
            return Var::Builtin(builtin);
        }
        if let Some(var) = family(name, &lower) {
            return var;
        }
        if unknown {
            self.not_yet.push((lower.as_str().into(), place.clone()));
            return Var::User(self.define_slot(&lower));
        }
        if ALWAYS_EMPTY.contains(&lower.as_str()) {
            return Var::User(self.define_slot(&lower));
        }
        Var::User(self.index(&lower))
    }

    fn index(&mut self, lower: &str) -> usize {
        if let Some(index) = self.by_name.get(lower) {
            return *index;
        }
        self.entries.push(Entry { name: lower.into(), source: None });
        self.by_name.insert(lower.into(), self.entries.len() - 1);
        self.entries.len() - 1
    }

    fn define_slot(&mut self, lower: &str) -> usize {
        let index = self.index(lower);
        self.entries[index].source.get_or_insert(VariableSource::Slot);
        index
    }

    /// `set $name`, and named groups: where the value is put.
    ///
    /// # Errors
    /// nginx's words when `name` is built in and cannot be changed.
    pub fn slot(&mut self, name: &str, place: &Place) -> Result<usize, Complaint> {
        self.check_name(name, place)?;
        let lower = name.to_ascii_lowercase();
        let index = match Builtin::by_name(&lower) {
            Some(builtin) if CHANGEABLE.contains(&builtin) => {
                let index = self.index(&lower);
                self.entries[index].source.get_or_insert(VariableSource::Builtin(builtin));
                index
            }
            _ => self.define_slot(&lower),
        };
        Ok(index)
    }

    /// `map … $name`: what gives the value.
    ///
    /// # Errors
    /// nginx's words when `name` is built in and cannot be changed.
    pub fn define(&mut self, name: &str, source: VariableSource, place: &Place) -> Result<usize, Complaint> {
        self.check_name(name, place)?;
        let index = self.index(&name.to_ascii_lowercase());
        self.entries[index].source = Some(source);
        Ok(index)
    }

    fn check_name(&self, name: &str, place: &Place) -> Result<(), Complaint> {
        if name.is_empty() {
            return Err(Complaint::emerg("invalid variable name \"$\"", place));
        }
        let lower = name.to_ascii_lowercase();
        match Builtin::by_name(&lower) {
            Some(builtin) if !changeable(builtin) => {
                Err(Complaint::emerg(format!("the duplicate \"{lower}\" variable"), place))
            }
            _ => Ok(()),
        }
    }

    /// Compiles a regular expression and gives its named groups their variables.
    ///
    /// # Errors
    /// nginx's words for a pattern that does not compile, or a group named like a built-in variable.
    pub fn pattern(&mut self, text: &str, caseless: bool, place: &Place) -> Result<(Pattern, Names), Complaint> {
        let key = (Box::from(text), caseless);
        let pattern = match self.patterns.get(&key) {
            Some(known) => known.clone(),
            None => {
                let new = pattern(text, caseless, place)?;
                self.patterns.insert(key, new.clone());
                new
            }
        };
        let mut names = Vec::new();
        for (group, name) in pattern.names().to_vec() {
            names.push((group, self.slot(&name, place)?));
        }
        Ok((pattern, names.into()))
    }

    /// The first variable that was used and never defined, as nginx complains: without a place.
    pub fn undefined(&self) -> Option<Complaint> {
        let entry = self.entries.iter().find(|entry| entry.source.is_none())?;
        Some(Complaint::placeless(format!("unknown \"{}\" variable", entry.name)))
    }

    /// Variables that exist in nginx and have no value here.
    pub fn not_yet(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.not_yet.iter().map(|(name, place)| (name.as_ref(), place))
    }

    /// What was asked for that must be kept in time.
    pub fn asks(&self) -> Asks {
        self.asks
    }

    /// The variables as the plan keeps them.
    pub fn finish(self) -> Box<[UserVariable]> {
        let finished = self
            .entries
            .into_iter()
            .map(|entry| UserVariable { name: entry.name, source: entry.source.unwrap_or(VariableSource::Slot) });
        finished.collect()
    }
}

/// Named groups: (group, index of the variable).
pub type Names = Box<[(usize, usize)]>;

/// Compiles a regular expression.
///
/// # Errors
/// In nginx's form: `pcre2_compile() failed: … in "re"`.
pub fn pattern(text: &str, caseless: bool, place: &Place) -> Result<Pattern, Complaint> {
    Pattern::new(text, caseless).map_err(|wrong| {
        let what = wrong.0.strip_prefix("PCRE2: error compiling pattern at offset ").unwrap_or(&wrong.0);
        let (at, what) = what.split_once(": ").filter(|(at, _)| at.parse::<usize>().is_ok()).unwrap_or(("", what));
        let at = at.parse().ok().and_then(|at: usize| text.get(at..)).filter(|tail| !tail.is_empty());
        let at = at.map(|tail| format!(" at \"{tail}\"")).unwrap_or_default();
        Complaint::emerg(format!("pcre2_compile() failed: {what} in \"{text}\"{at}"), place)
    })
}

fn changeable(builtin: Builtin) -> bool {
    CHANGEABLE.contains(&builtin)
        || matches!(builtin, Builtin::ProxyHost | Builtin::ProxyPort | Builtin::ProxyAddXForwardedFor)
        || builtin.name().starts_with("ssl_")
}

fn family(name: &str, lower: &str) -> Option<Var> {
    let after = |prefix: &str| lower.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    let written = |rest: &str| Box::from(&name[name.len() - rest.len()..]);
    if let Some(rest) = after("http_") {
        Some(Var::RequestHeader(rest.into()))
    } else if let Some(rest) = after("sent_http_") {
        Some(Var::SentHeader(rest.into()))
    } else if let Some(rest) = after("sent_trailer_") {
        Some(Var::SentTrailer(rest.into()))
    } else if let Some(rest) = after("upstream_http_") {
        Some(Var::UpstreamHeader(rest.into()))
    } else if let Some(rest) = after("upstream_trailer_") {
        Some(Var::UpstreamTrailer(rest.into()))
    } else if let Some(rest) = after("upstream_cookie_") {
        Some(Var::UpstreamCookie(written(rest)))
    } else if let Some(rest) = after("cookie_") {
        Some(Var::Cookie(written(rest)))
    } else {
        after("arg_").map(|rest| Var::Arg(written(rest)))
    }
}

fn push_text(segments: &mut Vec<Segment>, text: &str) {
    if !text.is_empty() {
        segments.push(Segment::Text(Bytes::copy_from_slice(text.as_bytes())));
    }
}

/// The name after a `$`, and what follows it.
fn name<'a>(after: &'a str, place: &Place, invalid: Option<&str>, rest: &str) -> Result<(&'a str, &'a str), Complaint> {
    let wrong = || {
        let text = invalid.map_or_else(|| format!("invalid parameter \"{rest}\""), str::to_owned);
        Err(Complaint::emerg(text, place))
    };
    let bracket = after.strip_prefix('{');
    let inner = bracket.unwrap_or(after);
    if bracket.is_some() && inner.is_empty() {
        return wrong();
    }
    let length = inner.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (name, left) = inner.split_at(length);
    let left = match (bracket, left.strip_prefix('}')) {
        (None, _) => left,
        (Some(_), Some(left)) => left,
        (Some(_), None) => {
            let text = format!("the closing bracket in \"{name}\" variable is missing");
            return Err(Complaint::emerg(text, place));
        }
    };
    if name.is_empty() { wrong() } else { Ok((name, left)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(variables: &mut Variables, text: &str) -> Result<Template, String> {
        variables.template(text, &Place::built_in()).map_err(|c| c.text)
    }

    #[test]
    fn texts_become_segments_and_names_are_found() {
        let mut variables = Variables::default();
        let template = compile(&mut variables, "a${host}b$1$http_x_y$MINE").unwrap();
        assert_eq!(
            *template.segments,
            [
                Segment::Text("a".into()),
                Segment::Var(Var::Builtin(Builtin::Host)),
                Segment::Text("b".into()),
                Segment::Capture(1),
                Segment::Var(Var::RequestHeader("x_y".into())),
                Segment::Var(Var::User(0)),
            ]
        );
        assert_eq!(variables.undefined().unwrap().to_string(), "nginx: [emerg] unknown \"mine\" variable");
        variables.slot("mine", &Place::built_in()).unwrap();
        assert_eq!(variables.undefined(), None);
    }

    #[test]
    fn half_a_variable_gets_the_words_of_nginx() {
        let mut variables = Variables::default();
        for (text, message) in [
            ("a$", "invalid variable name"),
            ("$-", "invalid variable name"),
            ("${", "invalid variable name"),
            ("${a", "the closing bracket in \"a\" variable is missing"),
        ] {
            assert_eq!(compile(&mut variables, text).unwrap_err(), message);
        }
        let wrong = variables.log_line("x $", &Place::built_in()).unwrap_err();
        assert_eq!(wrong.text, "invalid parameter \"$\"");
    }

    #[test]
    fn a_built_in_variable_cannot_be_set_unless_nginx_lets_it() {
        let mut variables = Variables::default();
        let place = Place::built_in();
        assert_eq!(variables.slot("uri", &place).unwrap_err().text, "the duplicate \"uri\" variable");
        variables.slot("args", &place).unwrap();
        assert_eq!(variables.var("args", &place), Var::Builtin(Builtin::Args));
    }
}
