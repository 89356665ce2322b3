//! location, if, limit_except: what stands in them, which may stand in which, and how they inherit.

use std::collections::HashSet;
use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::directive_is;
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::location::{
    Handler, LimitExcept, Location, LocationKind, LocationTree, Settings, TryFile, TryFiles, TryLast,
};
use crate::plan::script::{Op, Script};
use crate::words::Place;

use super::proxy_pass::{self, Pass};
use super::referer;
use super::rewrite::{self, Step};
use super::{Chain, Said, Spot, settings};

/// A location (or `if`, or `limit_except`) that was read and has not inherited anything yet.
#[derive(Debug)]
pub struct Draft {
    /// What it said.
    pub said: Said,
    kind: LocationKind,
    place: Place,
    pass: Option<Pass>,
    stub_status: bool,
    script: Vec<Step>,
    try_files: Option<Box<TryFiles>>,
    internal: bool,
    nested: Vec<Draft>,
    limit_except: Option<ExceptDraft>,
}

/// A `limit_except`: the methods that stay outside, and its body.
#[derive(Debug)]
struct ExceptDraft {
    methods: Box<[Box<str>]>,
    body: Box<Draft>,
}

impl Draft {
    /// Nothing was said in it yet.
    pub fn new(spot: Spot, kind: LocationKind, place: &Place) -> Draft {
        Draft {
            said: Said::at(spot),
            kind,
            place: place.clone(),
            pass: None,
            stub_status: false,
            script: Vec::new(),
            try_files: None,
            internal: false,
            nested: Vec::new(),
            limit_except: None,
        }
    }

    fn name(&self) -> &str {
        &self.said.spot.location
    }
}

/// Reads a `location` below `parent` (`None`: below a server).
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive, parent: Option<&Draft>) -> Result<Draft, Complaint> {
    let place = &directive.place;
    let (modifier, name) = match &directive.args[..] {
        [modifier, name] => (&**modifier, &**name),
        [text, ..] => split(text),
        [] => ("", ""),
    };
    let kind = match modifier {
        "" if name.starts_with('@') => LocationKind::Named,
        "" => LocationKind::Prefix,
        "=" => LocationKind::Exact,
        "^~" => LocationKind::PrefixStop,
        "~" | "~*" => {
            let (pattern, names) = reader.variables.pattern(name, modifier == "~*", place)?;
            LocationKind::Regex(Box::new(pattern), names)
        }
        other => return Err(Complaint::emerg(format!("invalid location modifier \"{other}\""), place)),
    };
    if let Some(parent) = parent {
        check_nesting(&kind, name, parent, place)?;
    }
    let spot = Spot {
        home: Home::Location,
        location: name.into(),
        regex: matches!(kind, LocationKind::Regex(..)),
        named: kind == LocationKind::Named,
    };
    let mut draft = Draft::new(spot, kind, place);
    let block = directive.block.as_ref().expect("the reader lets `location` through only with a block");
    reader.walk(block, &mut draft)?;
    Ok(draft)
}

/// `location =/a`, `location ~re`: the modifier may be glued to the name.
fn split(text: &str) -> (&str, &str) {
    for modifier in ["=", "^~", "~*", "~"] {
        if let Some(name) = text.strip_prefix(modifier) {
            return (modifier, name);
        }
    }
    ("", text)
}

fn check_nesting(kind: &LocationKind, name: &str, parent: &Draft, place: &Place) -> Result<(), Complaint> {
    let around = parent.name();
    let text = match (&parent.kind, kind) {
        (LocationKind::Exact, _) => format!("location \"{name}\" cannot be inside the exact location \"{around}\""),
        (LocationKind::Named, _) => format!("location \"{name}\" cannot be inside the named location \"{around}\""),
        (_, LocationKind::Named) => format!("named location \"{name}\" can be on the server level only"),
        (_, LocationKind::Regex(..)) => return Ok(()),
        _ if name.as_bytes().starts_with(around.as_bytes()) => return Ok(()),
        _ => format!("location \"{name}\" is outside location \"{around}\""),
    };
    Err(Complaint::emerg(text, place))
}

impl Scope for Draft {
    fn home(&self) -> Home {
        self.said.spot.home
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        match row.name {
            "location" => {
                let nested = take(reader, directive, Some(self))?;
                self.nested.push(nested);
            }
            "if" => self.script.push(take_if(reader, directive, &self.said.spot)?),
            "rewrite" | "return" | "set" | "break" => self.script.push(rewrite::take(reader, directive)?),
            "limit_except" => self.limit_except(reader, directive)?,
            "proxy_pass" => self.pass = Some(proxy_pass::take(&mut self.said, reader, directive)?),
            "stub_status" => self.stub_status = true,
            "internal" if self.internal => return Err(directive_is(directive, "is duplicate")),
            "internal" => self.internal = true,
            "try_files" => try_files(&mut self.try_files, reader, directive)?,
            _ => return self.said.take(reader, row, directive),
        }
        Ok(())
    }
}

/// Reads an `if` of a server or location.
///
/// # Errors
/// nginx's words.
pub fn take_if(reader: &mut Reader<'_>, directive: &Directive, around: &Spot) -> Result<Step, Complaint> {
    let condition = rewrite::condition(reader, directive)?;
    let home = if around.home == Home::Server { Home::IfInServer } else { Home::IfInLocation };
    let mut body = Draft::new(Spot { home, ..around.clone() }, LocationKind::If, &directive.place);
    let block = directive.block.as_ref().expect("the reader lets `if` through only with a block");
    reader.walk(block, &mut body)?;
    Ok(Step::If(condition, Box::new(body)))
}

/// Methods that `limit_except` knows.
const METHODS: [&str; 14] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
];

impl Draft {
    fn limit_except(&mut self, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
        if self.limit_except.is_some() {
            return Err(directive_is(directive, "is duplicate"));
        }
        let mut methods: Vec<Box<str>> = Vec::new();
        for text in &directive.args {
            let known = METHODS.iter().find(|method| method.eq_ignore_ascii_case(text));
            let Some(method) = known else {
                return Err(Complaint::emerg(format!("invalid method \"{text}\""), &directive.place));
            };
            methods.push((*method).into());
        }
        let spot = Spot { home: Home::LimitExcept, ..self.said.spot.clone() };
        let mut body = Draft::new(spot, LocationKind::LimitExcept, &directive.place);
        let block = directive.block.as_ref().expect("the reader lets `limit_except` through only with a block");
        reader.walk(block, &mut body)?;
        self.limit_except = Some(ExceptDraft { methods: methods.into(), body: Box::new(body) });
        Ok(())
    }
}

/// Takes `try_files` of a server or location.
///
/// # Errors
/// nginx's words.
pub fn try_files(
    slot: &mut Option<Box<TryFiles>>,
    reader: &mut Reader<'_>,
    directive: &Directive,
) -> Result<(), Complaint> {
    if slot.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let (last, items) = directive.args.split_last().expect("the table asks for two arguments or more");
    let mut files = Vec::with_capacity(items.len());
    for text in items {
        let path = text.strip_suffix('/');
        let template = reader.template(path.unwrap_or(text), &directive.place)?;
        files.push(TryFile { path: template, directory: path.is_some() });
    }
    let last = if let Some(code) = last.strip_prefix('=') {
        let code = value::number(code).and_then(|code| u16::try_from(code).ok()).filter(|code| *code <= 999);
        let code = code.ok_or_else(|| Complaint::emerg(format!("invalid code \"{last}\""), &directive.place))?;
        TryLast::Status(code)
    } else if last.starts_with('@') && !last.contains('$') {
        TryLast::Named(last.clone())
    } else {
        TryLast::Uri(reader.template(last, &directive.place)?)
    };
    *slot = Some(Box::new(TryFiles { files: files.into(), last }));
    Ok(())
}

/// Builds locations out of drafts.
pub struct Builder<'r, 'w> {
    /// The reader, for names, paths and complaints.
    pub reader: &'r mut Reader<'w>,
    /// Where `http` ended: the place of what nginx checks when levels are merged.
    pub end: Place,
}

/// What a level hands down: settings that hold unless it says something itself, and its `proxy_pass` (for `if` and
/// `limit_except`).
#[derive(Clone, Copy)]
pub struct Above<'a> {
    /// The levels above.
    pub chain: Option<&'a Chain<'a>>,
    /// What they say together.
    pub settings: Option<&'a Arc<Settings>>,
    /// The `proxy_pass` of the location around.
    pub pass: Option<&'a Pass>,
    /// The location around answers with `stub_status` (handed down to `if` alone).
    pub stub_status: bool,
    /// The location around is `internal`.
    pub internal: bool,
}

impl Builder<'_, '_> {
    /// Builds one location with everything in it.
    ///
    /// # Errors
    /// nginx's words for what it checks when levels are merged.
    pub fn location(&mut self, draft: Draft, above: Above<'_>) -> Result<Arc<Location>, Complaint> {
        let chain = Chain { said: &draft.said, above: above.chain };
        proxy_pass::check(chain, &self.end)?;
        referer::check(&draft.said)?;
        let settings = match above.settings {
            Some(settings) if draft.said.is_silent() => Arc::clone(settings),
            _ => Arc::new(settings(chain, self.reader)),
        };
        let pass = if draft.said.spot.is_nameless() { draft.pass.as_ref().or(above.pass) } else { draft.pass.as_ref() };
        let stub_status =
            draft.stub_status || above.stub_status && draft.kind == LocationKind::If && draft.pass.is_none();
        let handler = match pass {
            Some(pass) => {
                let upstreams = std::mem::take(&mut self.reader.shared.upstreams);
                let built = proxy_pass::build(pass, chain, &upstreams, self.reader, &self.end);
                self.reader.shared.upstreams = upstreams;
                Handler::Proxy(Arc::new(built?))
            }
            None if stub_status => Handler::StubStatus,
            None => Handler::Static,
        };
        let internal = draft.internal || above.internal;
        let below = Above { chain: Some(&chain), settings: Some(&settings), pass, stub_status, internal };
        let script = self.script(draft.script, below)?;
        let nested = self.tree(draft.nested, Above { pass: None, stub_status: false, ..below })?;
        let limit_except = match draft.limit_except {
            None => None,
            Some(ExceptDraft { methods, body }) => {
                Some(Box::new(LimitExcept { methods, otherwise: self.location(*body, below)? }))
            }
        };
        let auto_redirect = draft.pass.is_some() && draft.said.spot.location.ends_with('/');
        Ok(Arc::new(Location {
            name: draft.said.spot.location.clone(),
            kind: draft.kind,
            place: draft.place,
            handler,
            script,
            try_files: draft.try_files,
            internal,
            auto_redirect,
            limit_except,
            settings: Arc::clone(&settings),
            nested,
        }))
    }

    /// Builds a script; the bodies of its `if`s become pseudo-locations.
    ///
    /// # Errors
    /// See [`Builder::location`].
    pub fn script(&mut self, steps: Vec<Step>, above: Above<'_>) -> Result<Script, Complaint> {
        let mut script = Vec::with_capacity(steps.len());
        for step in steps {
            script.push(match step {
                Step::Op(op) => op,
                Step::If(condition, body) if body.said.spot.home == Home::IfInServer => {
                    Op::If { condition, script: self.script(body.script, above)?, becomes: None }
                }
                Step::If(condition, mut body) => {
                    let steps = std::mem::take(&mut body.script);
                    let becomes = Some(self.location(*body, above)?);
                    Op::If { condition, script: self.script(steps, above)?, becomes }
                }
            });
        }
        Ok(script.into())
    }

    /// Builds the locations of one level.
    ///
    /// # Errors
    /// See [`Builder::location`]; also two locations of the same name.
    pub fn tree(&mut self, drafts: Vec<Draft>, above: Above<'_>) -> Result<LocationTree, Complaint> {
        let mut locations = Vec::with_capacity(drafts.len());
        for draft in drafts {
            locations.push(self.location(draft, above)?);
        }
        check_duplicates(&locations)?;
        let mut named = HashSet::new();
        locations.retain(|location| location.kind != LocationKind::Named || named.insert(location.name.clone()));
        Ok(LocationTree::new(locations))
    }
}

/// Two locations of one level may not have the same name, unless one is exact and the other is not (or `@named`: then
/// the first counts).
fn check_duplicates(locations: &[Arc<Location>]) -> Result<(), Complaint> {
    let mut seen = HashSet::new();
    for location in locations {
        let class = match location.kind {
            LocationKind::Exact => 0,
            LocationKind::Prefix | LocationKind::PrefixStop => 1,
            _ => continue,
        };
        if !seen.insert((class, &location.name)) {
            return Err(Complaint::emerg(format!("duplicate location \"{}\"", location.name), &location.place));
        }
    }
    Ok(())
}
