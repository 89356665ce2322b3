//! What does forwarding need of the request that it forwards? A small port, so that it can be tried without all the rest;
//! the exchange is its one real form.

use crate::http::exchange::Exchange;
use crate::http::message::{Body, Version};
use crate::http::upstreamed::Upstreamed;
use crate::plan::location::Settings;
use crate::plan::log::Level;
use crate::plan::pattern::Spans;
use crate::plan::template::Template;
use crate::plan::upstream::Upstream;
use crate::words::Fields;
use bytes::Bytes;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A request on its way to an upstream.
pub trait Asked {
    /// Its method now (an `error_page` may have made it GET).
    fn method(&self) -> Bytes;
    /// The client's header fields.
    fn fields(&self) -> &Fields;
    /// What the client spoke.
    fn version(&self) -> Version;
    /// Content-Length; `None`: not known before the end.
    fn content_length(&self) -> Option<u64>;
    /// `$uri`.
    fn uri(&self) -> &Bytes;
    /// `$args`.
    fn args(&self) -> &Bytes;
    /// The target as the client sent it, while no rewrite or redirect has changed it.
    fn unparsed(&self) -> Option<&Bytes>;
    /// The URI still begins with the location's prefix.
    fn stands_in_location(&self) -> bool;
    /// The URI must be escaped again: it had escapes, or it comes from an internal redirect.
    fn is_quoted(&self) -> bool;
    /// The client's address.
    fn client(&self) -> Option<IpAddr>;
    /// The text of a template.
    fn text(&self, template: &Template) -> Bytes;
    /// The text of a template without CR, LF and NUL.
    fn field_text(&self, template: &Template) -> Bytes;
    /// A regular expression matched: `$1` to `$9` come from it now.
    fn captured(&self, subject: &Bytes, spans: Spans);
    /// Settings of the location.
    fn settings(&self) -> &Arc<Settings>;
    /// The body; empty the second time.
    fn take_body(&mut self) -> Body;
    /// The body was read and is in memory: `$request_body`, if anybody asks for it.
    fn body_was_read(&mut self, pieces: &[Bytes]);
    /// Where the facts behind `$upstream_…` go.
    fn upstreamed(&self) -> &Rc<Upstreamed>;
    /// `$proxy_host` and `$proxy_port` are these, whatever the location says.
    fn proxied_to(&mut self, host: Bytes, port: Bytes);
    /// X-Accel-Limit-Rate.
    fn limit_rate(&mut self, rate: u64);
    /// An `upstream` block called `name` (`host`, or `host:port` of an implicit one).
    fn upstream(&self, name: &str) -> Option<Arc<Upstream>>;
    /// Whether an `error_page` would replace this status.
    fn has_error_page(&self, status: u16) -> bool;
    /// A field that the next answer carries, whoever makes it.
    fn carry(&mut self, name: Bytes, value: Bytes);
    /// Writes to the error log.
    fn note(&self, level: Level, text: &str);
    /// Writes to the error log, naming the upstream.
    fn note_upstream(&self, level: Level, text: &str, upstream: &str);
}

impl Asked for Exchange {
    fn method(&self) -> Bytes {
        self.head.method.clone()
    }
    fn fields(&self) -> &Fields {
        &self.head.fields
    }
    fn version(&self) -> Version {
        self.head.version
    }
    fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }
    fn uri(&self) -> &Bytes {
        &self.uri
    }
    fn args(&self) -> &Bytes {
        &self.args
    }
    fn unparsed(&self) -> Option<&Bytes> {
        self.valid_unparsed_uri.then_some(&self.head.target)
    }
    fn stands_in_location(&self) -> bool {
        self.valid_location
    }
    fn is_quoted(&self) -> bool {
        self.escapes || self.internal
    }
    fn client(&self) -> Option<IpAddr> {
        self.client.ip()
    }
    fn text(&self, template: &Template) -> Bytes {
        Exchange::text(self, template)
    }
    fn field_text(&self, template: &Template) -> Bytes {
        Exchange::field_text(self, template)
    }
    fn captured(&self, subject: &Bytes, spans: Spans) {
        self.set_captures(subject, spans, &[]);
    }
    fn settings(&self) -> &Arc<Settings> {
        Exchange::settings(self)
    }
    fn take_body(&mut self) -> Body {
        Exchange::take_body(self)
    }
    fn body_was_read(&mut self, pieces: &[Bytes]) {
        if self.plan().and_then(|plan| plan.http.as_ref()).is_some_and(|http| http.asks.request_body) {
            self.request_body = Some(match pieces {
                [only] => only.clone(),
                several => several.concat().into(),
            });
        }
    }
    fn upstreamed(&self) -> &Rc<Upstreamed> {
        &self.upstream
    }
    fn proxied_to(&mut self, host: Bytes, port: Bytes) {
        self.proxied = Some((host, port));
    }
    fn limit_rate(&mut self, rate: u64) {
        self.limit_rate = Some(rate);
    }
    fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        let upstreams = &self.plan()?.http.as_ref()?.upstreams;
        upstreams.iter().find(|upstream| upstream.name.eq_ignore_ascii_case(name)).cloned()
    }
    fn has_error_page(&self, status: u16) -> bool {
        Exchange::has_error_page(self, status)
    }
    fn carry(&mut self, name: Bytes, value: Bytes) {
        self.carried.push(name, value);
    }
    fn note(&self, level: Level, text: &str) {
        Exchange::note(self, level, text);
    }
    fn note_upstream(&self, level: Level, text: &str, upstream: &str) {
        Exchange::note_upstream(self, level, text, &upstream);
    }
}
