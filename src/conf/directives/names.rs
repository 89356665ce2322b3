//! server_name: which names a server has, and the table by which an address finds its server.

use std::collections::HashMap;
use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::conf::variables::Names;
use crate::plan::listener::{NamePattern, NameTable};
use crate::plan::pattern::Pattern;
use crate::plan::server::Server;

/// One `server_name`.
#[derive(Clone, Debug)]
pub struct Name {
    /// As written, lower case unless it is a regular expression; `~` included.
    pub text: Box<str>,
    /// The regular expression of a `~` name.
    pub pattern: Option<(Pattern, Names)>,
}

/// What kind of name a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard<'a> {
    /// `www.example.com`
    Exact,
    /// `.example.com`: the name itself and everything below.
    Dot(&'a str),
    /// `*.example.com`
    Suffix(&'a str),
    /// `www.example.*`
    Prefix(&'a str),
}

/// A text that is neither a name nor a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadWildcard;

/// Tells the kinds of names apart.
///
/// # Errors
/// Two dots side by side, or a `*` anywhere but at one end.
pub fn wildcard(text: &str) -> Result<Wildcard<'_>, BadWildcard> {
    if text.matches('*').count() > 1 || text.contains("..") || text.contains('\0') {
        return Err(BadWildcard);
    }
    match text.strip_prefix('.') {
        Some(name) if !name.is_empty() => return Ok(Wildcard::Dot(name)),
        _ => {}
    }
    if let Some(name) = text.strip_prefix("*.").filter(|name| !name.is_empty()) {
        return Ok(Wildcard::Suffix(name));
    }
    if let Some(name) = text.strip_suffix(".*").filter(|name| !name.is_empty()) {
        return Ok(Wildcard::Prefix(name));
    }
    if text.contains('*') { Err(BadWildcard) } else { Ok(Wildcard::Exact) }
}

/// Takes `server_name`.
///
/// # Errors
/// nginx's words.
pub fn take(names: &mut Vec<Name>, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    for text in &directive.args {
        let bytes = text.as_bytes();
        let star = bytes.first() == Some(&b'*') && (bytes.len() < 3 || bytes[1] != b'.');
        if star || &**text == "." {
            return Err(Complaint::emerg(format!("server name \"{text}\" is invalid"), &directive.place));
        }
        if text.contains('/') {
            reader.warn(format!("server name \"{text}\" has suspicious symbols"), &directive.place);
        }
        if let Some(pattern) = text.strip_prefix('~') {
            if pattern.is_empty() {
                let text = format!("empty regex in server name \"{text}\"");
                return Err(Complaint::emerg(text, &directive.place));
            }
            let caseless = pattern.bytes().any(|b| b.is_ascii_uppercase());
            let pattern = reader.variables.pattern(pattern, caseless, &directive.place)?;
            names.push(Name { text: text.clone(), pattern: Some(pattern) });
        } else {
            let name = if text.eq_ignore_ascii_case("$hostname") { reader.world.hostname() } else { text.to_string() };
            names.push(Name { text: name.to_ascii_lowercase().into(), pattern: None });
        }
    }
    Ok(())
}

/// `$server_name`: the first name; `.name` without its dot.
pub fn first(names: &[Name]) -> Box<str> {
    let first = names.first().map_or("", |name| &*name.text);
    first.strip_prefix('.').unwrap_or(first).into()
}

/// Builds the table of one address. A name that an earlier server has is said and left out.
///
/// # Errors
/// nginx's words for a name that is neither name nor wildcard.
pub fn table(
    servers: &[(Arc<Server>, &[Name])],
    address: &str,
    reader: &mut Reader<'_>,
) -> Result<NameTable, Complaint> {
    let mut table = NameTable::default();
    let mut patterns = Vec::new();
    for (server, names) in servers {
        for name in *names {
            if let Some((pattern, names)) = &name.pattern {
                let (pattern, names, server) = (pattern.clone(), names.clone(), Arc::clone(server));
                patterns.push(NamePattern { pattern, names, server });
                continue;
            }
            let added = match wildcard(&name.text) {
                // nginx builds no table, and looks at no name, where one server stands alone.
                Err(BadWildcard) if servers.len() == 1 => true,
                Err(BadWildcard) => {
                    let text = format!("invalid server name or wildcard \"{}\" on {address}", name.text);
                    return Err(Complaint::placeless(text));
                }
                Ok(Wildcard::Exact) => add(&mut table.exact, &name.text, server),
                Ok(Wildcard::Dot(text)) => {
                    add(&mut table.exact, text, server) && add(&mut table.suffixes, text, server)
                }
                Ok(Wildcard::Suffix(text)) => add(&mut table.suffixes, text, server),
                Ok(Wildcard::Prefix(text)) => add(&mut table.prefixes, text, server),
            };
            if !added && servers.len() > 1 {
                let text = format!("conflicting server name \"{}\" on {address}, ignored", name.text);
                reader.complaints.push(Complaint { level: crate::conf::Level::Warn, ..Complaint::placeless(text) });
            }
        }
    }
    table.patterns = patterns.into();
    Ok(table)
}

fn add(names: &mut HashMap<Box<[u8]>, Arc<Server>>, text: &str, server: &Arc<Server>) -> bool {
    let free = !names.contains_key(text.as_bytes());
    if free {
        names.insert(text.as_bytes().into(), Arc::clone(server));
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_at_one_end_only() {
        assert_eq!(wildcard("a.b"), Ok(Wildcard::Exact));
        assert_eq!(wildcard(".b.c"), Ok(Wildcard::Dot("b.c")));
        assert_eq!(wildcard("*.b"), Ok(Wildcard::Suffix("b")));
        assert_eq!(wildcard("a.*"), Ok(Wildcard::Prefix("a")));
        for bad in ["a.*.b", "*.a.*", "a..b", "w*.a"] {
            assert_eq!(wildcard(bad), Err(BadWildcard), "{bad}");
        }
    }
}
