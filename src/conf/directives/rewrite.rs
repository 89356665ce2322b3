//! rewrite, return, set, break, if: the script of a server or location.

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::script::{Condition, FileTest, Op, Return, Rewrite, Then};
use crate::plan::template::Template;

use super::location::Draft;

/// One step of a script; the body of an `if` has not inherited anything yet.
#[derive(Debug)]
pub enum Step {
    /// A step that stands for itself.
    Op(Op),
    /// `if`: the condition, and its body.
    If(Condition, Box<Draft>),
}

/// Takes `rewrite`, `return`, `set` or `break`.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive) -> Result<Step, Complaint> {
    let op = match &*directive.name {
        "rewrite" => rewrite(reader, directive)?,
        "return" => answer(reader, directive)?,
        "set" => set(reader, directive)?,
        _ => Op::Break,
    };
    Ok(Step::Op(op))
}

/// Whether a replacement is a URL, so that the answer is a redirect.
fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://") || text.starts_with("$scheme")
}

fn rewrite(reader: &mut Reader<'_>, directive: &Directive) -> Result<Op, Complaint> {
    let place = &directive.place;
    let (text, replacement) = (&directive.args[0], &*directive.args[1]);
    if replacement.is_empty() {
        return Err(Complaint::emerg("empty replacement", place));
    }
    let (pattern, names) = reader.variables.pattern(text, false, place)?;
    let bare = replacement.strip_suffix('?');
    let then = match directive.args.get(2).map(AsRef::as_ref) {
        None if is_url(replacement) => Then::Redirect,
        None => Then::Continue,
        Some("redirect") => Then::Redirect,
        Some("permanent") => Then::Permanent,
        Some("last" | "break") if is_url(replacement) => Then::Redirect,
        Some("last") => Then::Last,
        Some("break") => Then::Break,
        Some(other) => return Err(Complaint::emerg(format!("invalid parameter \"{other}\""), place)),
    };
    let replacement = reader.template(bare.unwrap_or(replacement), place)?;
    Ok(Op::Rewrite(Rewrite { pattern, names, replacement, drop_args: bare.is_some(), then }))
}

fn answer(reader: &mut Reader<'_>, directive: &Directive) -> Result<Op, Complaint> {
    let first = &*directive.args[0];
    let invalid = || Complaint::emerg(format!("invalid return code \"{first}\""), &directive.place);
    let (status, text) = match value::number(first) {
        Some(status) => {
            let status = u16::try_from(status).ok().filter(|status| *status <= 999).ok_or_else(invalid)?;
            (status, directive.args.get(1).map(AsRef::as_ref))
        }
        None if directive.args.len() == 1 && is_url(first) => (302, Some(first)),
        None => return Err(invalid()),
    };
    let text = text.map(|text| reader.template(text, &directive.place)).transpose()?;
    Ok(Op::Return(Return { status, text }))
}

fn set(reader: &mut Reader<'_>, directive: &Directive) -> Result<Op, Complaint> {
    let place = &directive.place;
    let Some(name) = directive.args[0].strip_prefix('$') else {
        let text = format!("invalid variable name \"{}\"", directive.args[0]);
        return Err(Complaint::emerg(text, place));
    };
    let variable = reader.variables.slot(name, place)?;
    let value = reader.template(&directive.args[1], place)?;
    Ok(Op::Set { variable, value })
}

/// Reads the condition of an `if`.
///
/// # Errors
/// nginx's words.
pub fn condition(reader: &mut Reader<'_>, directive: &Directive) -> Result<Condition, Complaint> {
    let place = &directive.place;
    let invalid = |text: &str| Complaint::emerg(format!("invalid condition \"{text}\""), place);
    let mut words: Vec<&str> = directive.args.iter().map(AsRef::as_ref).collect();
    let first = words.first().copied().unwrap_or("");
    let rest = first.strip_prefix('(').ok_or_else(|| invalid(first))?;
    if rest.is_empty() {
        words.remove(0);
    } else {
        words[0] = rest;
    }
    let last = words.last().copied().unwrap_or("(");
    let rest = last.strip_suffix(')').ok_or_else(|| invalid(last))?;
    if rest.is_empty() {
        words.pop();
    } else if let Some(last) = words.last_mut() {
        *last = rest;
    }
    match words[..] {
        [variable] if is_variable(variable) => Ok(Condition::True(subject(reader, variable, directive))),
        [variable, operator, operand] if is_variable(variable) => {
            let subject = subject(reader, variable, directive);
            compare(reader, subject, operator, operand, directive)
        }
        [test, path] if is_file_test(test) => file(reader, test, path, directive),
        [first, ..] => Err(invalid(first)),
        [] => Err(invalid(")")),
    }
}

fn is_variable(text: &str) -> bool {
    text.len() > 1 && text.starts_with('$')
}

fn is_file_test(text: &str) -> bool {
    let text = text.strip_prefix('!').unwrap_or(text);
    text.len() == 2 && text.starts_with('-')
}

/// The variable that an `if` looks at: everything after the `$` is its name.
fn subject(reader: &mut Reader<'_>, text: &str, directive: &Directive) -> Template {
    let var = reader.variables.var(&text[1..], &directive.place);
    Template { segments: Box::new([crate::plan::template::Segment::Var(var)]) }
}

fn compare(
    reader: &mut Reader<'_>,
    subject: Template,
    operator: &str,
    operand: &str,
    directive: &Directive,
) -> Result<Condition, Complaint> {
    let place = &directive.place;
    match operator {
        "=" => Ok(Condition::Equal(subject, reader.template(operand, place)?)),
        "!=" => Ok(Condition::NotEqual(subject, reader.template(operand, place)?)),
        "~" | "~*" | "!~" | "!~*" => {
            let (pattern, names) = reader.variables.pattern(operand, operator.ends_with('*'), place)?;
            Ok(Condition::Match { subject, pattern, names, negated: operator.starts_with('!') })
        }
        other => Err(Complaint::emerg(format!("unexpected \"{other}\" in condition"), place)),
    }
}

fn file(reader: &mut Reader<'_>, test: &str, path: &str, directive: &Directive) -> Result<Condition, Complaint> {
    let path = reader.template(path, &directive.place)?;
    let (negated, kind) = test.strip_prefix('!').map_or((false, test), |kind| (true, kind));
    let kind = match kind {
        "-f" => FileTest::File,
        "-d" => FileTest::Directory,
        "-e" => FileTest::Exists,
        "-x" => FileTest::Executable,
        _ => return Err(Complaint::emerg(format!("invalid condition \"{test}\""), &directive.place)),
    };
    Ok(Condition::File { test: kind, path, negated })
}
