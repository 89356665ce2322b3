//! map: a variable whose value follows from another text.

use std::collections::HashMap;
use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::plan::map::{Map, MapPattern};
use crate::plan::template::{Template, VariableSource};

use super::names::{Wildcard, wildcard};

#[derive(Default)]
struct Lines {
    exact: HashMap<Box<[u8]>, Template>,
    suffixes: Vec<(Box<[u8]>, Template)>,
    prefixes: Vec<(Box<[u8]>, Template)>,
    patterns: Vec<MapPattern>,
    default: Option<Template>,
    hostnames: bool,
    volatile: bool,
}

/// Reads a `map` block and defines its variable.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    let source = reader.template(&directive.args[0], place)?;
    let Some(name) = directive.args[1].strip_prefix('$') else {
        let text = format!("invalid variable name \"{}\"", directive.args[1]);
        return Err(Complaint::emerg(text, place));
    };
    reader.variables.define(name, VariableSource::Slot, place)?;
    let block = directive.block.as_ref().expect("the reader lets `map` through only with a block");
    let mut lines = Lines::default();
    reader.lines(block, &mut |reader, line| lines.line(reader, line))?;
    let map = Map {
        source,
        exact: lines.exact,
        suffixes: longest_first(lines.suffixes),
        prefixes: longest_first(lines.prefixes),
        patterns: lines.patterns.into(),
        default: lines.default.unwrap_or_default(),
        hostnames: lines.hostnames,
        volatile: lines.volatile,
    };
    reader.variables.define(name, VariableSource::Map(Arc::new(map)), place)?;
    Ok(())
}

fn longest_first(mut list: Vec<(Box<[u8]>, Template)>) -> Box<[(Box<[u8]>, Template)]> {
    list.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    list.into()
}

impl Lines {
    fn line(&mut self, reader: &mut Reader<'_>, line: &Directive) -> Result<(), Complaint> {
        match (&*line.name, &line.args[..]) {
            ("hostnames", []) => self.hostnames = true,
            ("volatile", []) => self.volatile = true,
            (key, [value]) => {
                let value = reader.template(value, &line.place)?;
                return self.entry(reader, line, key, value);
            }
            _ => return Err(Complaint::emerg("invalid number of the map parameters", &line.place)),
        }
        Ok(())
    }

    fn entry(
        &mut self,
        reader: &mut Reader<'_>,
        line: &Directive,
        key: &str,
        value: Template,
    ) -> Result<(), Complaint> {
        let emerg = |text: String| Err(Complaint::emerg(text, &line.place));
        if key == "default" {
            return match self.default.replace(value) {
                None => Ok(()),
                Some(_) => emerg("duplicate default map parameter".to_owned()),
            };
        }
        if let Some(text) = key.strip_prefix('~') {
            let (text, caseless) = text.strip_prefix('*').map_or((text, false), |text| (text, true));
            let (pattern, names) = reader.variables.pattern(text, caseless, &line.place)?;
            self.patterns.push(MapPattern { pattern, names, value });
            return Ok(());
        }
        let key = key.strip_prefix('\\').unwrap_or(key).to_ascii_lowercase();
        let conflict = || emerg(format!("conflicting parameter \"{key}\""));
        if !self.hostnames {
            return if self.exact.insert(key.as_bytes().into(), value).is_some() { conflict() } else { Ok(()) };
        }
        let (list, text) = match wildcard(&key) {
            Err(_) => return emerg(format!("invalid hostname or wildcard \"{key}\"")),
            Ok(Wildcard::Exact) => {
                return if self.exact.insert(key.as_bytes().into(), value).is_some() { conflict() } else { Ok(()) };
            }
            Ok(Wildcard::Dot(name)) => {
                if self.exact.insert(name.as_bytes().into(), value.clone()).is_some() {
                    return conflict();
                }
                (&mut self.suffixes, format!(".{name}"))
            }
            Ok(Wildcard::Suffix(name)) => (&mut self.suffixes, format!(".{name}")),
            Ok(Wildcard::Prefix(name)) => (&mut self.prefixes, format!("{name}.")),
        };
        if list.iter().any(|(known, _)| **known == *text.as_bytes()) {
            return conflict();
        }
        list.push((text.into_bytes().into(), value));
        Ok(())
    }
}
