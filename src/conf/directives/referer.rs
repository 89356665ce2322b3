//! valid_referers: the names that a level takes for valid, and how levels inherit them.

use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::table::Home;
use crate::conf::tree::Directive;
use crate::plan::pattern::Pattern;
use crate::plan::referer::{Prefix, RefererNames, Referers};

use super::Chain;
use super::names::{Name, Wildcard, wildcard};

/// What one level has said.
#[derive(Debug, Default)]
pub struct Said {
    rules: Option<Referers>,
    patterns: Vec<Pattern>,
    server_names: bool,
    /// On the level of a server: its names, where some level of it wants them.
    pub names: Vec<Name>,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        self.rules.is_none()
    }
}

/// Takes `valid_referers`; several add up.
///
/// # Errors
/// nginx's words.
pub fn take(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let emerg = |text: String| Err(Complaint::emerg(text, &directive.place));
    let said = &mut said.referers;
    let rules = said.rules.get_or_insert_default();
    for text in &directive.args {
        match &**text {
            "" => return emerg(format!("invalid referer \"{text}\"")),
            "none" => rules.none = true,
            "blocked" => rules.blocked = true,
            "server_names" => {
                said.server_names = true;
                reader.shared.referers_want_names = true;
            }
            "~" => return emerg(format!("empty regex in \"{text}\"")),
            _ => match text.strip_prefix('~') {
                Some(pattern) => {
                    said.patterns.push(crate::conf::variables::pattern(pattern, true, &directive.place)?);
                }
                None => {
                    let lower = text.to_ascii_lowercase();
                    let (name, path) = lower.split_at(lower.find('/').unwrap_or(lower.len()));
                    match add(&mut rules.names, name, path.as_bytes().into()) {
                        Added::Yes => {}
                        Added::Twice => return emerg(format!("conflicting parameter \"{name}\"")),
                        Added::Bad => return emerg(format!("invalid hostname or wildcard \"{name}\"")),
                    }
                }
            },
        }
    }
    Ok(())
}

/// What became of a name.
enum Added {
    Yes,
    /// It stands there already.
    Twice,
    /// It is neither a name nor a wildcard.
    Bad,
}

fn add(names: &mut RefererNames, name: &str, path: Prefix) -> Added {
    let Ok(kind) = wildcard(name) else { return Added::Bad };
    let text = |text: &str| text.as_bytes().into();
    let old = match kind {
        Wildcard::Exact => names.exact.insert(text(name), path),
        Wildcard::Dot(rest) => {
            names.exact.insert(text(rest), path.clone());
            names.suffixes.insert(text(rest), path)
        }
        Wildcard::Suffix(rest) => names.suffixes.insert(text(rest), path),
        Wildcard::Prefix(rest) => names.prefixes.insert(text(rest), path),
    };
    if old.is_some() { Added::Twice } else { Added::Yes }
}

/// What nginx checks when levels are merged.
///
/// # Errors
/// nginx's words, without a place.
pub fn check(said: &super::Said) -> Result<(), Complaint> {
    let said = &said.referers;
    let Some(rules) = &said.rules else { return Ok(()) };
    let names = &rules.names;
    let nobody = names.exact.is_empty() && names.suffixes.is_empty() && names.prefixes.is_empty();
    if (rules.none || rules.blocked) && nobody && !said.server_names {
        let text = "the \"none\" or \"blocked\" referers are specified in the \"valid_referers\" directive without any \
                    valid referer";
        return Err(Complaint::placeless(text));
    }
    Ok(())
}

/// What a chain says, and `None` where `valid_referers` stands nowhere.
pub fn settle(chain: Chain<'_>) -> Option<Arc<Referers>> {
    let said = chain.find(|said| Some(&said.referers).filter(|said| said.rules.is_some()))?;
    let mut rules = said.rules.clone()?;
    rules.patterns = said.patterns.clone().into();
    if said.server_names {
        let server = chain.levels().find(|said| said.spot.home == Home::Server);
        let names = server.map(|said| &said.referers.names[..]).unwrap_or_default();
        let mut patterns = Vec::new();
        for name in names {
            match &name.pattern {
                Some((pattern, _)) => patterns.push(pattern.clone()),
                // A name that stands there twice is the same name.
                None => drop(add(&mut rules.names, &name.text, Prefix::default())),
            }
        }
        rules.server_patterns = patterns.into();
    }
    Some(Arc::new(rules))
}
