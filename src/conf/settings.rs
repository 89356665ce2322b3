//! What was said on one level, before inheritance? Values of directives, checked by the type that the table gives them,
//! with nginx's words for a wrong or repeated one.

use std::time::Duration;

use crate::plan::template::Template;
use crate::words::Place;

use super::complaint::Complaint;
use super::table::{Row, Type};
use super::tree::Directive;
use super::value;
use super::variables::Variables;

/// The value of one directive.
#[derive(Clone, Debug)]
pub enum Value {
    /// `on` or `off`.
    Flag(bool),
    /// A count, or bytes.
    Number(u64),
    /// A time.
    Time(Duration),
    /// How many, and bytes of each.
    Buffers(u64, u64),
    /// Words of an enum (one) or bitmask, as the table spells them.
    Words(Vec<&'static str>),
    /// Text with variables.
    Template(Template),
    /// The arguments as they are, already checked.
    Args(Vec<Box<str>>),
}

/// One directive that was read.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which.
    pub row: &'static Row,
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// The settings of one level, in order.
#[derive(Clone, Debug, Default)]
pub struct Level {
    settings: Vec<Setting>,
}

impl Level {
    /// Reads a directive by the type of its row; rules of its own are not known here and its arguments are kept.
    ///
    /// # Errors
    /// nginx's words when the value is wrong, or a second one where only one may stand.
    pub fn set(
        &mut self,
        row: &'static Row,
        directive: &Directive,
        variables: &mut Variables,
        warnings: &mut Vec<Complaint>,
    ) -> Result<(), Complaint> {
        let once = !matches!(row.value, Type::Own | Type::TextList | Type::KeyValue | Type::Predicates | Type::Bitmask);
        if once && self.has(row.name) {
            return Err(directive_is(directive, "is duplicate"));
        }
        let value = read(row, directive, variables, warnings)?;
        self.keep(row, &directive.place, value);
        Ok(())
    }

    /// Keeps a value that was read elsewhere.
    pub fn keep(&mut self, row: &'static Row, place: &Place, value: Value) {
        self.settings.push(Setting { row, place: place.clone(), value });
    }

    /// Whether nothing was said that shapes the answer to a request: how TLS and HTTP/2 are spoken does not.
    pub fn is_silent(&self) -> bool {
        let shapes = |name: &str| !name.starts_with("ssl_") && !name.starts_with("http2");
        !self.settings.iter().any(|setting| shapes(setting.row.name))
    }

    /// Whether `name` was said.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first setting of `name`.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.row.name == name)
    }

    /// Every setting of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Setting> + 'a {
        self.settings.iter().filter(move |setting| setting.row.name == name)
    }

    /// The value of a flag.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value {
            Value::Flag(on) => Some(on),
            _ => None,
        }
    }

    /// The value of a count or size.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The value of a size that is kept in memory.
    pub fn size(&self, name: &str) -> Option<usize> {
        self.number(name).map(clamp)
    }

    /// The value of a time.
    pub fn time(&self, name: &str) -> Option<Duration> {
        match self.get(name)?.value {
            Value::Time(time) => Some(time),
            _ => None,
        }
    }

    /// Buffers: how many, and bytes of each.
    pub fn buffers(&self, name: &str) -> Option<(usize, usize)> {
        match self.get(name)?.value {
            Value::Buffers(count, size) => Some((clamp(count), clamp(size))),
            _ => None,
        }
    }

    /// The word of an enum.
    pub fn word(&self, name: &str) -> Option<&'static str> {
        match &self.get(name)?.value {
            Value::Words(words) => words.first().copied(),
            _ => None,
        }
    }

    /// The words of a bitmask, all lines of it together; `None` if it was not said.
    pub fn words(&self, name: &str) -> Option<Vec<&'static str>> {
        let mut found = None;
        for setting in self.all(name) {
            if let Value::Words(words) = &setting.value {
                found.get_or_insert_with(Vec::new).extend(words.iter().copied());
            }
        }
        found
    }

    /// Text with variables.
    pub fn template(&self, name: &str) -> Option<&Template> {
        match &self.get(name)?.value {
            Value::Template(template) => Some(template),
            _ => None,
        }
    }

    /// The arguments of the first setting of `name`.
    pub fn args(&self, name: &str) -> Option<&[Box<str>]> {
        match &self.get(name)?.value {
            Value::Args(args) => Some(args),
            _ => None,
        }
    }

    /// The first argument of the first setting of `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.args(name)?.first().map(AsRef::as_ref)
    }

    /// The arguments of every setting of `name`.
    pub fn all_args<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a [Box<str>], &'a Place)> + 'a {
        self.all(name).filter_map(|setting| match &setting.value {
            Value::Args(args) => Some((&args[..], &setting.place)),
            _ => None,
        })
    }
}

/// A number as a size in memory.
pub fn clamp(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `"NAME" directive REASON`.
pub fn directive_is(directive: &Directive, reason: &str) -> Complaint {
    Complaint::emerg(format!("\"{}\" directive {reason}", directive.name), &directive.place)
}

fn read(
    row: &'static Row,
    directive: &Directive,
    variables: &mut Variables,
    warnings: &mut Vec<Complaint>,
) -> Result<Value, Complaint> {
    let first = directive.args.first().map_or("", AsRef::as_ref);
    let invalid = || directive_is(directive, "invalid value");
    Ok(match row.value {
        Type::Flag => Value::Flag(flag(directive, first)?),
        Type::Number => Value::Number(number(row, directive, first)?),
        Type::Size => Value::Number(value::size(first).ok_or_else(invalid)?),
        Type::Offset => Value::Number(value::offset(first).ok_or_else(invalid)?),
        Type::Milliseconds => Value::Time(value::milliseconds(first).ok_or_else(invalid)?),
        Type::Seconds => Value::Time(value::seconds(first).ok_or_else(invalid)?),
        Type::Buffers => {
            let count = value::number(first).filter(|n| *n > 0).ok_or_else(invalid)?;
            let size = directive.args.get(1).and_then(|size| value::size(size)).filter(|n| *n > 0);
            Value::Buffers(count, size.ok_or_else(invalid)?)
        }
        Type::Enum | Type::Bitmask => Value::Words(words(row, directive, warnings)?),
        Type::Template | Type::TemplateSize => {
            let template = variables.template(first, &directive.place)?;
            let literal = template.as_literal().map(|text| String::from_utf8_lossy(text).into_owned());
            if row.value == Type::TemplateSize && literal.is_some_and(|text| value::size(&text).is_none()) {
                return Err(invalid());
            }
            Value::Template(template)
        }
        Type::Predicates => {
            for text in &directive.args {
                variables.template(text, &directive.place)?;
            }
            Value::Args(directive.args.clone())
        }
        Type::Path => {
            levels(directive)?;
            Value::Args(directive.args.clone())
        }
        Type::Access => {
            access(directive)?;
            Value::Args(directive.args.clone())
        }
        Type::Text | Type::TextList | Type::KeyValue | Type::Own => Value::Args(directive.args.clone()),
    })
}

/// `on` or `off`, in any case.
pub fn flag(directive: &Directive, text: &str) -> Result<bool, Complaint> {
    if text.eq_ignore_ascii_case("on") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("off") {
        Ok(false)
    } else {
        let name = &directive.name;
        let message = format!("invalid value \"{text}\" in \"{name}\" directive, it must be \"on\" or \"off\"");
        Err(Complaint::emerg(message, &directive.place))
    }
}

fn number(row: &Row, directive: &Directive, text: &str) -> Result<u64, Complaint> {
    let number = value::number(text).ok_or_else(|| directive_is(directive, "invalid number"))?;
    match row.bounds {
        Some((low, high)) if !(low..=high).contains(&number) => {
            Err(Complaint::emerg(format!("value must be between {low} and {high}"), &directive.place))
        }
        _ => Ok(number),
    }
}

fn words(row: &Row, directive: &Directive, warnings: &mut Vec<Complaint>) -> Result<Vec<&'static str>, Complaint> {
    let mut found: Vec<&'static str> = Vec::new();
    for text in &directive.args {
        let Some(word) = row.words.iter().find(|word| word.eq_ignore_ascii_case(text)) else {
            return Err(Complaint::emerg(format!("invalid value \"{text}\""), &directive.place));
        };
        if found.contains(word) {
            warnings.push(Complaint::warn(format!("duplicate value \"{text}\""), &directive.place));
        } else {
            found.push(word);
        }
    }
    Ok(found)
}

/// The levels of a `*_temp_path`: at most three numbers whose sum is at most ten.
fn levels(directive: &Directive) -> Result<(), Complaint> {
    let mut total = 0;
    for text in directive.args.iter().skip(1) {
        let level =
            value::number(text).filter(|level| *level > 0).ok_or_else(|| directive_is(directive, "invalid value"))?;
        total += level.min(100);
    }
    if total > 10 { Err(directive_is(directive, "invalid value")) } else { Ok(()) }
}

fn access(directive: &Directive) -> Result<(), Complaint> {
    for text in &directive.args {
        let right =
            text.split_once(':').filter(|(who, _)| ["user", "group", "all"].contains(who)).map(|(_, right)| right);
        if !right.is_some_and(|right| right == "rw" || right == "r") {
            return Err(Complaint::emerg(format!("invalid value \"{text}\""), &directive.place));
        }
    }
    Ok(())
}
