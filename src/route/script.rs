//! What do `rewrite`, `if`, `set`, `return` and `break` do to a request? One run through the directives of a level, as
//! nginx's script engine does it. The request is seen through [`Scene`]; no file is touched here.

use super::escape::{Escape, escape_into, unescape_redirect};
use super::values::{self, Values};
use crate::plan::location::Location;
use crate::plan::pattern::Spans;
use crate::plan::script::{Condition, FileTest, Op, Return, Rewrite, Then};
use crate::plan::template::{Segment, Template};
use bytes::Bytes;
use std::sync::Arc;

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// A regular file.
    pub file: bool,
    /// A directory.
    pub directory: bool,
    /// It may be executed by its owner.
    pub executable: bool,
}

/// The request that a script changes.
pub trait Scene: Values {
    /// `$uri`.
    fn uri(&self) -> &Bytes;
    /// `$args`.
    fn args(&self) -> &Bytes;
    /// The URI came with escapes: captures are escaped again in arguments and redirects.
    fn escapes(&self) -> bool;
    /// A `rewrite` gave a new URI and arguments. `stay`: with `break`, no location is looked for again.
    fn rewrite(&mut self, uri: Bytes, args: Bytes, stay: bool);
    /// A `break`: no location is looked for again.
    fn stay(&mut self);
    /// `set`.
    fn set(&mut self, variable: usize, value: Bytes);
    /// A regular expression matched.
    fn matched(&mut self, subject: &Bytes, spans: Spans, names: &[(usize, usize)]);
    /// A regular expression did not match: `$1`… are gone.
    fn unmatched(&mut self);
    /// What is at `path`; `None`: nothing.
    fn file(&self, path: &[u8]) -> Option<FileFacts>;
    /// A `return` is about to answer with this status; its text may ask for it.
    fn answering(&mut self, status: u16);
    /// An `if` was true: its settings and handler hold from now on.
    fn enter(&mut self, location: &Arc<Location>);
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is to be answered yet.
    Through,
    /// `rewrite … redirect` or `permanent`: status and `Location`.
    Redirect(u16, Bytes),
    /// `return` with a text or URL: status and text.
    Text(u16, Bytes),
    /// `return` of a bare error status; 500 when a rewrite gave an empty URI.
    Status(u16),
}

/// Runs `script`.
pub fn run(script: &[Op], scene: &mut (impl Scene + ?Sized)) -> Ended {
    // As in nginx's engine, captures are escaped in values until the first rewrite has gone through.
    let mut quote = true;
    level(script, scene, &mut quote).unwrap_or(Ended::Through)
}

/// `None`: the end of the level was reached, the next outer directive follows.
fn level(script: &[Op], scene: &mut (impl Scene + ?Sized), quote: &mut bool) -> Option<Ended> {
    for op in script {
        match op {
            Op::Set { variable, value } => {
                let value = quoted_text(value, scene, *quote);
                scene.set(*variable, value);
            }
            Op::Break => {
                scene.stay();
                return Some(Ended::Through);
            }
            Op::Return(what) => return Some(answer(what, scene)),
            Op::If { condition, script, becomes } => {
                if holds(condition, scene, *quote) {
                    if let Some(location) = becomes {
                        scene.enter(location);
                    }
                    if let Some(ended) = level(script, scene, quote) {
                        return Some(ended);
                    }
                }
            }
            Op::Rewrite(rule) => {
                if let Some(ended) = rewrite(rule, scene, quote) {
                    return Some(ended);
                }
            }
        }
    }
    None
}

fn answer(what: &Return, scene: &mut (impl Scene + ?Sized)) -> Ended {
    scene.answering(what.status);
    match &what.text {
        Some(text) => Ended::Text(what.status, values::text(text, scene)),
        None if what.status < 400 => Ended::Text(what.status, Bytes::new()),
        None => Ended::Status(what.status),
    }
}

fn rewrite(rule: &Rewrite, scene: &mut (impl Scene + ?Sized), quote: &mut bool) -> Option<Ended> {
    let uri = scene.uri().clone();
    let Some(spans) = rule.pattern.captures(&uri) else {
        scene.unmatched();
        return None;
    };
    scene.matched(&uri, spans, &rule.names);
    *quote = false;
    let status = match rule.then {
        Then::Redirect => 302,
        Then::Permanent => 301,
        Then::Continue | Then::Last | Then::Break => {
            let (path, own_args) = replacement(&rule.replacement, scene);
            let args = joined_args(own_args, scene.args(), rule.drop_args);
            if path.is_empty() {
                return Some(Ended::Status(500));
            }
            scene.rewrite(path, args, rule.then == Then::Break);
            return (rule.then != Then::Continue).then_some(Ended::Through);
        }
    };
    let has_args = rule.replacement.segments.iter().any(|s| matches!(s, Segment::Text(t) if t.contains(&b'?')));
    let mut to = unescape_redirect(&quoted_text(&rule.replacement, scene, true));
    if !rule.drop_args && !scene.args().is_empty() {
        to.push(if has_args { b'&' } else { b'?' });
        to.extend_from_slice(scene.args());
    }
    Some(Ended::Redirect(status, Bytes::from(to)))
}

/// The arguments after a rewrite: its own first, then the request's.
fn joined_args(own: Option<Bytes>, old: &Bytes, drop_old: bool) -> Bytes {
    match own {
        None if drop_old => Bytes::new(),
        None => old.clone(),
        Some(own) if drop_old || old.is_empty() => own,
        Some(own) => [&own[..], b"&", old].concat().into(),
    }
}

/// Path and own arguments of a replacement: the first `?` of its text parts them, and captures behind it are escaped.
fn replacement(template: &Template, scene: &(impl Scene + ?Sized)) -> (Bytes, Option<Bytes>) {
    let mut parts = template.segments.iter().enumerate();
    let split = parts.find_map(|(index, segment)| match segment {
        Segment::Text(text) => text.iter().position(|b| *b == b'?').map(|at| (index, at, text)),
        _ => None,
    });
    let Some((index, at, text)) = split else { return (values::text(template, scene), None) };
    let mut path = Vec::new();
    values::append(&template.segments[..index], scene, &mut path);
    path.extend_from_slice(&text[..at]);
    let mut args = text[at + 1..].to_vec();
    append_quoted(&template.segments[index + 1..], scene, scene.escapes(), &mut args);
    (Bytes::from(path), Some(Bytes::from(args)))
}

/// The text of `template`; with `quote`, captures are escaped as arguments if the URI came with escapes.
fn quoted_text(template: &Template, scene: &(impl Scene + ?Sized), quote: bool) -> Bytes {
    if !quote || !scene.escapes() {
        return values::text(template, scene);
    }
    let mut out = Vec::new();
    append_quoted(&template.segments, scene, true, &mut out);
    Bytes::from(out)
}

fn append_quoted(segments: &[Segment], scene: &(impl Scene + ?Sized), quote: bool, out: &mut Vec<u8>) {
    for segment in segments {
        match segment {
            Segment::Capture(number) if quote => {
                escape_into(&scene.capture(*number).unwrap_or_default(), Escape::Args, out);
            }
            segment => values::append(std::slice::from_ref(segment), scene, out),
        }
    }
}

fn holds(condition: &Condition, scene: &mut (impl Scene + ?Sized), quote: bool) -> bool {
    match condition {
        Condition::True(value) => values::is_true(&values::text(value, scene)),
        Condition::Equal(left, right) => values::text(left, scene) == quoted_text(right, scene, quote),
        Condition::NotEqual(left, right) => values::text(left, scene) != quoted_text(right, scene, quote),
        Condition::Match { subject, pattern, names, negated } => {
            let subject = values::text(subject, scene);
            let matched = match pattern.captures(&subject) {
                Some(spans) => {
                    scene.matched(&subject, spans, names);
                    true
                }
                None => {
                    scene.unmatched();
                    false
                }
            };
            matched != *negated
        }
        Condition::File { test, path, negated } => {
            let facts = scene.file(&quoted_text(path, scene, quote));
            let passes = facts.is_some_and(|facts| match test {
                FileTest::File => facts.file,
                FileTest::Directory => facts.directory,
                FileTest::Exists => facts.file || facts.directory,
                FileTest::Executable => facts.executable,
            });
            passes != *negated
        }
    }
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
