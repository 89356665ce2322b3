//! What is known of one request while it is answered? Its words, where it stands in the configuration, the values of its
//! variables, what upstreams did. Phases and `forward` read and change it; it outlives the answer until the log line.

use super::message::{Body, Request, Version};
use super::serve::Worker;
use super::serve::limit::limit_body;
use super::serve::limits::Limited;
use super::upstreamed::Upstreamed;
use crate::net::connection::{Connection, Endpoint};
use crate::plan::Plan;
use crate::plan::location::{Location, Settings};
use crate::plan::log::Level;
use crate::plan::pattern::Spans;
use crate::plan::server::Server;
use crate::plan::template::{Template, Var, VariableSource};
use crate::route::uri::Uri;
use crate::route::values::{self, Values};
use crate::route::{geo, map, query};
use crate::words::Fields;
use bytes::Bytes;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// A request as its client sent it. An internal redirect of `error_page` may make its method `GET`.
#[derive(Debug)]
pub struct Head {
    /// As sent: `GET`.
    pub method: Bytes,
    /// `$request_uri`: origin form, never decoded.
    pub target: Bytes,
    /// What the client spoke.
    pub version: Version,
    /// Lower case, without port; `None` only in HTTP/1.0 and 0.9.
    pub host: Option<Bytes>,
    /// The port behind the host.
    pub host_port: Option<u16>,
    /// Header fields.
    pub fields: Fields,
    /// `$request`.
    pub line: Bytes,
    /// Bytes of line and head.
    pub head_length: u64,
    /// Content-Length; `None`: chunked, or an open stream of HTTP/2.
    pub content_length: Option<u64>,
    /// When its first byte was read.
    pub started: tokio::time::Instant,
}

/// Where a request stands in the plan. Let go when only bytes will pass, so that a tunnel keeps no old plan in memory.
#[derive(Clone, Debug)]
struct Standing {
    plan: Arc<Plan>,
    server: Arc<Server>,
    location: Arc<Location>,
}

/// Captures of the last regular expression that matched.
#[derive(Debug, Default)]
struct Captures {
    subject: Bytes,
    spans: Spans,
}

/// How an answer looks to variables: `$status`, `$sent_http_…`, `$bytes_sent`.
#[derive(Debug, Default)]
pub struct Shown {
    /// `$status`.
    pub status: Cell<u16>,
    /// The fields of the answer, kept only if some variable may ask for them.
    pub fields: RefCell<Option<Fields>>,
    /// What `add_trailer` sends.
    pub trailers: RefCell<Option<Fields>>,
    /// Filled in when the answer has been sent.
    pub sent: Cell<super::message::Sent>,
    /// `$gzip_ratio`: bytes before and after compression.
    pub compressed: Rc<Cell<(u64, u64)>>,
}

/// One request on its way to an answer.
pub struct Exchange {
    /// The worker that answers.
    pub worker: Rc<Worker>,
    /// Where it came.
    pub connection: Rc<Connection>,
    /// Who asks: the other end of the connection, or whom a trusted proxy names (`set_real_ip_from`).
    pub client: Endpoint,
    /// A proxy has named it.
    pub client_told: bool,
    /// As the client sent it.
    pub head: Head,
    /// `$uri`: decoded and normalized; changed by rewrites and internal redirects.
    pub uri: Bytes,
    /// `$args`, without `?`.
    pub args: Bytes,
    /// The URI had `%` escapes or `+`; captures of it are escaped again where they become arguments or redirects.
    pub escapes: bool,
    /// The URI is as the client sent it: `proxy_pass` without a URI part passes `head.target` through.
    pub valid_unparsed_uri: bool,
    /// The URI still begins with the location's prefix: `proxy_pass` with a URI part replaces it.
    pub valid_location: bool,
    /// A rewrite wants the location to be looked for again.
    pub(super) uri_changed: bool,
    /// An internal redirect or rewrite took place: `internal` locations are open.
    pub internal: bool,
    /// Rewrites and internal redirects that are still allowed.
    pub changes_left: u8,
    /// An `error_page` was taken and `recursive_error_pages` is off.
    pub error_page: bool,
    /// The status that an `error_page` wants the next answer to have; 0: its own.
    pub error_status: u16,
    /// `try_files` found the file below a regex `alias`: the URI is appended to it.
    pub add_uri_to_alias: bool,
    /// Header fields that the next answer carries, whoever makes it (`WWW-Authenticate` of a 401).
    pub carried: Fields,
    /// `$remote_user`: out of `Authorization`, once it was asked for.
    pub user: OnceCell<Option<(Bytes, Bytes)>>,
    /// `$proxy_host` and `$proxy_port`, where they are not those of the location's `proxy_pass` (variables in it).
    pub proxied: Option<(Bytes, Bytes)>,
    /// `$request_body`, once it was read into memory and only where it is asked for.
    pub request_body: Option<Bytes>,
    /// `$limit_rate`, once set.
    pub limit_rate: Option<u64>,
    /// What limits said, once they were asked.
    pub limited: Option<Box<Limited>>,
    /// What upstreams did; shared with the body, which goes on counting after the answer was made.
    pub upstream: Rc<Upstreamed>,
    /// How the answer looks to variables.
    pub shown: Shown,
    /// The connection is closed after the answer.
    pub ends_connection: bool,
    pub(super) request_id: Cell<Option<[u8; 32]>>,
    pub(super) body: Body,
    /// Somebody asked for the body.
    pub(super) body_taken: bool,
    /// `$server_name` after the plan was let go.
    pub(super) kept_name: Bytes,
    standing: Option<Standing>,
    settings: Arc<Settings>,
    captures: RefCell<Captures>,
    slots: RefCell<Vec<Option<Bytes>>>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("head", &self.head).field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Exchange {
    /// A request that has just come, standing at the server level.
    #[inline]
    pub fn new(worker: Rc<Worker>, request: Request, uri: Uri, plan: Arc<Plan>, server: Arc<Server>) -> Exchange {
        let Request { method, target, version, host, host_port, fields, .. } = request;
        let Request { line, head_length, content_length, body, started, connection, .. } = request;
        let head =
            Head { method, target, version, host, host_port, fields, line, head_length, content_length, started };
        let settings = server.root.settings.clone();
        let location = server.root.clone();
        Exchange {
            worker,
            client: connection.remote,
            client_told: false,
            connection,
            head,
            uri: uri.path,
            args: uri.args,
            escapes: uri.escapes,
            valid_unparsed_uri: true,
            valid_location: true,
            uri_changed: false,
            internal: false,
            changes_left: 11,
            error_page: false,
            error_status: 0,
            add_uri_to_alias: false,
            carried: Fields::default(),
            user: OnceCell::new(),
            proxied: None,
            request_body: None,
            limit_rate: None,
            limited: None,
            upstream: Rc::default(),
            shown: Shown::default(),
            ends_connection: false,
            request_id: Cell::new(None),
            body,
            body_taken: false,
            kept_name: Bytes::new(),
            standing: Some(Standing { plan, server, location }),
            settings,
            captures: RefCell::default(),
            slots: RefCell::default(),
        }
    }

    /// The settings that hold now.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The location where the request stands; `None` once the plan was let go.
    pub fn location(&self) -> Option<&Arc<Location>> {
        self.standing.as_ref().map(|s| &s.location)
    }

    /// The server that answers; `None` once the plan was let go.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.standing.as_ref().map(|s| &s.server)
    }

    /// The plan by which it is answered; `None` once it was let go.
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.standing.as_ref().map(|s| &s.plan)
    }

    /// Moves the request to another location (or the body of an `if`).
    pub fn enter(&mut self, location: Arc<Location>) {
        self.settings = location.settings.clone();
        if let Some(standing) = &mut self.standing {
            standing.location = location;
        }
    }

    /// Moves the request back to the server's own level.
    pub(super) fn stand_at_server(&mut self) {
        if let Some(root) = self.server().map(|server| server.root.clone()) {
            self.enter(root);
        }
    }

    /// Lets go of the plan, keeping the settings; called before a tunnel. Variables of the configuration that the log
    /// will ask for are evaluated now.
    pub fn let_go(&mut self) {
        let settings = self.settings.clone();
        for log in &settings.logs.access {
            let condition = log.condition.iter().flat_map(|c| &*c.segments);
            for segment in log.format.line.segments.iter().chain(condition) {
                if let crate::plan::template::Segment::Var(Var::User(index)) = segment {
                    let value = self.user_variable(*index);
                    self.set_user_variable(*index, value);
                }
            }
        }
        self.kept_name = self.server_name();
        self.standing = None;
        self.connection.unbind();
    }

    /// The text of a template for this request.
    pub fn text(&self, template: &Template) -> Bytes {
        values::text(template, self)
    }

    /// The text of a template, sound as a header value: CR, LF and NUL are left out.
    pub fn field_text(&self, template: &Template) -> Bytes {
        let text = self.text(template);
        if template.as_literal().is_some() || memchr_line_break(&text).is_none() {
            return text;
        }
        text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect()
    }

    /// Takes the request's body, watched for `client_max_body_size`. Empty when it was taken before.
    pub fn take_body(&mut self) -> Body {
        self.body_taken = true;
        let mut body = std::mem::take(&mut self.body);
        body.set_timeout(self.settings.client.body_timeout);
        limit_body(body, self.head.content_length, self.settings.client.max_body)
    }

    /// Whether `error_page` says something for `status` and may still be taken (`proxy_intercept_errors`).
    pub fn has_error_page(&self, status: u16) -> bool {
        !self.error_page && self.settings.error_pages.iter().any(|page| page.status == status)
    }

    /// Writes to the error log, with nginx's context: client, server, request, host. `text` names what happened.
    pub fn note(&self, level: Level, text: impl fmt::Display) {
        self.worker.note(self, level, format_args!("{text}"), None);
    }

    /// As [`Exchange::note`], naming the upstream (`http://127.0.0.1:80/path`).
    pub fn note_upstream(&self, level: Level, text: impl fmt::Display, upstream: &dyn fmt::Display) {
        self.worker.note(self, level, format_args!("{text}"), Some(upstream));
    }

    /// Remembers the captures of a match, and the named ones.
    pub fn set_captures(&self, subject: &Bytes, spans: Spans, names: &[(usize, usize)]) {
        for (group, variable) in names {
            let value = spans.get(*group).copied().flatten().map(|(from, to)| subject.slice(from..to));
            self.set_user_variable(*variable, value);
        }
        *self.captures.borrow_mut() = Captures { subject: subject.clone(), spans };
    }

    /// Forgets the captures: a regular expression of a script did not match.
    pub fn clear_captures(&self) {
        self.captures.borrow_mut().spans.clear();
    }

    /// Sets a variable of the configuration.
    pub fn set_user_variable(&self, index: usize, value: Option<Bytes>) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= index {
            slots.resize(index + 1, None);
        }
        slots[index] = value;
    }

    fn user_variable(&self, index: usize) -> Option<Bytes> {
        if let Some(Some(known)) = self.slots.borrow().get(index) {
            return Some(known.clone());
        }
        let http = self.standing.as_ref()?.plan.http.as_ref()?;
        let map = match &http.variables.get(index)?.source {
            VariableSource::Map(map) => map.clone(),
            VariableSource::Geo(geo) => {
                let value = self.geo(geo);
                self.set_user_variable(index, Some(value.clone()));
                return Some(value);
            }
            VariableSource::Split(split) => {
                let value = geo::part(split, &values::text(&split.source, self));
                self.set_user_variable(index, Some(value.clone()));
                return Some(value);
            }
            VariableSource::Slot | VariableSource::Builtin(_) => return None,
        };
        let found = map::find(&map, values::text(&map.source, self));
        if let Some((subject, spans, names)) = found.captures {
            self.set_captures(&subject, spans, names);
        }
        let value = values::text(found.value, self);
        if !map.volatile {
            self.set_user_variable(index, Some(value.clone()));
        }
        Some(value)
    }
}

fn memchr_line_break(text: &[u8]) -> Option<usize> {
    text.iter().position(|b| matches!(b, b'\r' | b'\n' | 0))
}

impl Values for Exchange {
    fn value(&self, var: &Var) -> Option<Bytes> {
        match var {
            Var::User(index) => self.user_variable(*index),
            Var::RequestHeader(name) => query::header(&self.head.fields, name),
            Var::SentHeader(name) => query::header(self.shown.fields.borrow().as_ref()?, name),
            Var::SentTrailer(name) => {
                let look = |fields: &RefCell<Option<Fields>>| query::header(fields.borrow().as_ref()?, name);
                look(&self.upstream.passed_trailers).or_else(|| look(&self.shown.trailers))
            }
            Var::UpstreamHeader(name) => query::header(self.upstream.fields.borrow().as_ref()?, name),
            Var::UpstreamTrailer(name) => query::header(self.upstream.trailers.borrow().as_ref()?, name),
            Var::UpstreamCookie(name) => query::set_cookie(self.upstream.fields.borrow().as_ref()?, name),
            Var::Cookie(name) => query::cookie(&self.head.fields, name),
            Var::Arg(name) => query::argument(&self.args, name),
            Var::Builtin(builtin) => self.builtin(*builtin),
        }
    }

    fn capture(&self, number: u8) -> Option<Bytes> {
        let captures = self.captures.borrow();
        let (from, to) = captures.spans.get(usize::from(number)).copied().flatten()?;
        Some(captures.subject.slice(from..to))
    }

    fn append(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        if let Var::Builtin(builtin) = var {
            return self.append_builtin(*builtin, out);
        }
        match self.value(var) {
            Some(value) => {
                out.extend_from_slice(&value);
                true
            }
            None => false,
        }
    }
}
