//! Do rewrite directives do what nginx's engine does? Scripts against a request that is made of plain values.

use super::*;
use crate::plan::pattern::Pattern;
use crate::plan::template::{Builtin, Var};

#[derive(Default)]
struct Page {
    uri: Bytes,
    args: Bytes,
    escapes: bool,
    stays: bool,
    slots: [Option<Bytes>; 4],
    subject: Bytes,
    spans: Spans,
}

fn page(uri: &'static str, args: &'static str) -> Page {
    Page { uri: uri.into(), args: args.into(), ..Page::default() }
}

impl Values for Page {
    fn value(&self, var: &Var) -> Option<Bytes> {
        match var {
            Var::User(slot) => self.slots[*slot].clone(),
            Var::Builtin(Builtin::Args) => Some(self.args.clone()),
            _ => Some(self.uri.clone()),
        }
    }
    fn capture(&self, number: u8) -> Option<Bytes> {
        let (from, to) = self.spans.get(usize::from(number)).copied().flatten()?;
        Some(self.subject.slice(from..to))
    }
}

impl Scene for Page {
    fn uri(&self) -> &Bytes {
        &self.uri
    }
    fn args(&self) -> &Bytes {
        &self.args
    }
    fn escapes(&self) -> bool {
        self.escapes
    }
    fn rewrite(&mut self, uri: Bytes, args: Bytes, stay: bool) {
        (self.uri, self.args, self.stays) = (uri, args, stay);
    }
    fn stay(&mut self) {
        self.stays = true;
    }
    fn set(&mut self, variable: usize, value: Bytes) {
        self.slots[variable] = Some(value);
    }
    fn matched(&mut self, subject: &Bytes, spans: Spans, names: &[(usize, usize)]) {
        for (group, slot) in names {
            self.slots[*slot] = spans[*group].map(|(from, to)| subject.slice(from..to));
        }
        (self.subject, self.spans) = (subject.clone(), spans);
    }
    fn unmatched(&mut self) {
        self.spans.clear();
    }
    fn file(&self, path: &[u8]) -> Option<FileFacts> {
        (path == b"/there").then_some(FileFacts { file: true, ..FileFacts::default() })
    }
    fn answering(&mut self, _: u16) {}
    fn enter(&mut self, _: &Arc<Location>) {}
}

/// `$1`… become captures, the rest is text.
fn template(text: &'static str) -> Template {
    let mut segments = Vec::new();
    let mut pieces = text.split('$');
    segments.extend(pieces.next().filter(|t| !t.is_empty()).map(|t| Segment::Text(t.into())));
    for piece in pieces {
        segments.push(Segment::Capture(piece.as_bytes()[0] - b'0'));
        segments.extend(Some(&piece[1..]).filter(|t| !t.is_empty()).map(|t| Segment::Text((*t).into())));
    }
    Template { segments: segments.into() }
}

fn rule(pattern: &str, to: &'static str, then: Then) -> Op {
    let drop_args = to.ends_with('?');
    let replacement = template(to.strip_suffix('?').unwrap_or(to));
    let pattern = Pattern::new(pattern, false).unwrap();
    Op::Rewrite(Rewrite { pattern, names: Box::new([]), replacement, drop_args, then })
}

fn variable(slot: usize) -> Template {
    Template { segments: Box::new([Segment::Var(Var::User(slot))]) }
}

#[test]
fn a_rewrite_keeps_arguments_unless_told_otherwise() {
    for (to, uri, args) in [
        ("/new/$1", "/new/x", "a=1"),
        ("/new?b=$1", "/new", "b=x&a=1"),
        ("/new?b=$1?", "/new", "b=x"),
        ("/new?", "/new", ""),
    ] {
        let mut page = page("/old/x", "a=1");
        assert_eq!(run(&[rule("^/old/(.*)", to, Then::Last)], &mut page), Ended::Through);
        assert_eq!((&page.uri[..], &page.args[..]), (uri.as_bytes(), args.as_bytes()), "{to}");
    }
}

#[test]
fn rules_go_on_without_a_flag_and_stop_with_one() {
    let mut page = page("/a", "");
    let script =
        [rule("^/a$", "/b", Then::Continue), rule("^/b$", "/c", Then::Last), rule("^/c$", "/d", Then::Continue)];
    assert_eq!(run(&script, &mut page), Ended::Through);
    assert_eq!((&page.uri[..], page.stays), (&b"/c"[..], false));
    assert_eq!(run(&[rule("^/c$", "/e", Then::Break)], &mut page), Ended::Through);
    assert_eq!((&page.uri[..], page.stays), (&b"/e"[..], true));
}

#[test]
fn redirects_escape_captures_and_append_arguments() {
    let mut page = page("/a b", "q=1");
    page.escapes = true;
    let ended = run(&[rule("^/(.*)", "https://x/$1", Then::Permanent)], &mut page);
    assert_eq!(ended, Ended::Redirect(301, "https://x/a%20b?q=1".into()));
    let ended = run(&[rule("^/(.*)", "https://x/?p=$1", Then::Redirect)], &mut page);
    assert_eq!(ended, Ended::Redirect(302, "https://x/?p=a%20b&q=1".into()));
}

#[test]
fn captures_are_escaped_where_they_become_arguments() {
    let mut page = page("/a&b", "");
    page.escapes = true;
    run(&[rule("^/(.*)", "/$1?x=$1", Then::Last)], &mut page);
    assert_eq!((&page.uri[..], &page.args[..]), (&b"/a&b"[..], &b"x=a%26b"[..]));
}

#[test]
fn conditions_choose_what_runs() {
    let set = |slot, text: &'static str| Op::Set { variable: slot, value: template(text) };
    let when = |condition, script: Vec<Op>| Op::If { condition, script: script.into(), becomes: None };
    let matches = |pattern: &str, negated| Condition::Match {
        subject: Template { segments: Box::new([Segment::Var(Var::Builtin(Builtin::Uri))]) },
        pattern: Pattern::new(pattern, false).unwrap(),
        names: Box::new([(1, 3)]),
        negated,
    };
    let file = |path, negated| Condition::File { test: FileTest::Exists, path: Template::literal(path), negated };
    let mut page = page("/x/there", "");
    let script = [
        set(0, "0"),
        when(Condition::True(variable(0)), vec![set(1, "never")]),
        set(0, "yes"),
        when(Condition::True(variable(0)), vec![set(1, "true")]),
        when(matches("^/(.)/", false), vec![set(2, "got $1")]),
        when(matches("nothing", true), vec![set(0, "negated $1")]),
        when(file("/there", true), vec![Op::Break]),
        when(file("/there", false), vec![Op::Return(Return { status: 403, text: None })]),
        set(1, "late"),
    ];
    assert_eq!(run(&script, &mut page), Ended::Status(403));
    let slots: Vec<_> = page.slots.iter().flatten().map(|v| String::from_utf8_lossy(v).into_owned()).collect();
    assert_eq!(slots, ["negated ", "true", "got x", "x"]);
}

#[test]
fn a_return_has_text_only_if_it_was_given_or_is_no_error() {
    let give = |status, text: Option<&'static str>| [Op::Return(Return { status, text: text.map(template) })];
    assert_eq!(run(&give(404, None), &mut page("/", "")), Ended::Status(404));
    assert_eq!(run(&give(404, Some("gone")), &mut page("/", "")), Ended::Text(404, "gone".into()));
    assert_eq!(run(&give(204, None), &mut page("/", "")), Ended::Text(204, "".into()));
    assert_eq!(run(&[rule("/", "", Then::Last)], &mut page("/", "")), Ended::Status(500));
}
