//! A request without all that stands around one.

use super::super::Asked;
use crate::http::message::{Body, BodyError, Source, Version};
use crate::http::upstreamed::Upstreamed;
use crate::plan::location::Settings;
use crate::plan::log::Level;
use crate::plan::pattern::Spans;
use crate::plan::template::{Segment, Template};
use crate::plan::upstream::Upstream;
use crate::words::Fields;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) struct Fake {
    pub method: &'static str,
    pub fields: Fields,
    pub version: Version,
    pub content_length: Option<u64>,
    pub uri: Bytes,
    pub args: Bytes,
    pub unparsed: Option<Bytes>,
    pub stands: bool,
    pub quoted: bool,
    pub body: Body,
    pub settings: Arc<Settings>,
    pub facts: Rc<Upstreamed>,
    pub proxied: Option<(Bytes, Bytes)>,
    pub rate: Option<u64>,
    pub upstreams: Vec<Arc<Upstream>>,
    pub error_pages: Vec<u16>,
    pub carried: Fields,
    pub notes: RefCell<Vec<String>>,
    captures: RefCell<(Bytes, Spans)>,
}

/// `GET /a?b` without a body.
pub(crate) fn request() -> Fake {
    Fake {
        method: "GET",
        fields: Fields::default(),
        version: Version::Http11,
        content_length: Some(0),
        uri: "/a".into(),
        args: "b".into(),
        unparsed: Some("/a?b".into()),
        stands: true,
        quoted: false,
        body: Body::Empty,
        settings: Arc::default(),
        facts: Rc::default(),
        proxied: None,
        rate: None,
        upstreams: Vec::new(),
        error_pages: Vec::new(),
        carried: Fields::default(),
        notes: RefCell::default(),
        captures: RefCell::default(),
    }
}

/// Bodies that come piece by piece.
pub(crate) struct Pieces(pub VecDeque<Result<Bytes, BodyError>>);

impl Source for Pieces {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        Poll::Ready(self.0.pop_front())
    }
}

impl Fake {
    /// A POST of these pieces; its length is announced or not.
    pub fn post(pieces: &[&'static str], announced: bool) -> Fake {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut fields = Fields::default();
        if announced {
            fields.push("Content-Length", length.to_string());
        } else {
            fields.push("Transfer-Encoding", "chunked");
        }
        let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        Fake {
            method: "POST",
            fields,
            content_length: announced.then_some(length as u64),
            body: Body::Stream(Box::new(Pieces(pieces))),
            ..request()
        }
    }
}

impl Asked for Fake {
    fn method(&self) -> Bytes {
        Bytes::from_static(self.method.as_bytes())
    }
    fn fields(&self) -> &Fields {
        &self.fields
    }
    fn version(&self) -> Version {
        self.version
    }
    fn content_length(&self) -> Option<u64> {
        self.content_length
    }
    fn uri(&self) -> &Bytes {
        &self.uri
    }
    fn args(&self) -> &Bytes {
        &self.args
    }
    fn unparsed(&self) -> Option<&Bytes> {
        self.unparsed.as_ref()
    }
    fn stands_in_location(&self) -> bool {
        self.stands
    }
    fn is_quoted(&self) -> bool {
        self.quoted
    }
    fn client(&self) -> Option<IpAddr> {
        None
    }
    fn text(&self, template: &Template) -> Bytes {
        let (subject, spans) = &*self.captures.borrow();
        let piece = |segment: &Segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Capture(number) => {
                spans[usize::from(*number)].map(|(from, to)| subject.slice(from..to)).unwrap_or_default()
            }
            Segment::Var(_) => unreachable!("a fake has no variables"),
        };
        template.segments.iter().map(piece).collect::<Vec<_>>().concat().into()
    }
    fn field_text(&self, template: &Template) -> Bytes {
        self.text(template)
    }
    fn captured(&self, subject: &Bytes, spans: Spans) {
        *self.captures.borrow_mut() = (subject.clone(), spans);
    }
    fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
    fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }
    fn body_was_read(&mut self, _: &[Bytes]) {}
    fn upstreamed(&self) -> &Rc<Upstreamed> {
        &self.facts
    }
    fn proxied_to(&mut self, host: Bytes, port: Bytes) {
        self.proxied = Some((host, port));
    }
    fn limit_rate(&mut self, rate: u64) {
        self.rate = Some(rate);
    }
    fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| *upstream.name == *name).cloned()
    }
    fn has_error_page(&self, status: u16) -> bool {
        self.error_pages.contains(&status)
    }
    fn carry(&mut self, name: Bytes, value: Bytes) {
        self.carried.push(name, value);
    }
    fn note(&self, _: Level, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
    fn note_upstream(&self, _: Level, text: &str, upstream: &str) {
        self.notes.borrow_mut().push(format!("{text}, upstream: \"{upstream}\""));
    }
}
