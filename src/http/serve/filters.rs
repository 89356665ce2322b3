//! How does an answer leave? nginx's response filters in its order: conditional requests, `expires` and `add_header`,
//! charset, gzip, ranges; then the head with the fields that nginx sends first.

use super::{gzip, pages, ranges};
use crate::http::answer::{Answer, Turn};
use crate::http::exchange::Exchange;
use crate::http::message::{Body, Version};
use crate::plan::headers::{AddHeader, Expires};
use crate::plan::template::{Segment, Template, Var};
use crate::route::conditional::{self, Verdict};
use crate::route::{date, expires};
use crate::words::Fields;
use bytes::Bytes;

/// Takes `answer` through the filters. `Err`: what the client asked for cannot be; a page follows instead.
pub(super) fn apply(exchange: &mut Exchange, mut answer: Box<Answer>) -> Result<Box<Answer>, Turn> {
    if answer.status == 444 {
        return Ok(answer);
    }
    if exchange.error_status != 0 && !answer.bare {
        answer.status = exchange.error_status;
        answer.reason = None;
    }
    if !exchange.carried.is_empty() {
        let mut fields = std::mem::take(&mut exchange.carried);
        if let Some(content_type) = fields.get("content-type").cloned() {
            fields.remove("content-type");
            answer.content_type = Some(content_type);
        }
        answer.fields.iter().for_each(|field| fields.push(field.name.clone(), field.value.clone()));
        answer.fields = fields;
    }
    if answer.status == 200 && !answer.forwarded {
        not_modified(exchange, &mut answer)?;
    }
    exchange.shown.status.set(answer.status);
    if !answer.bare {
        headers(exchange, &mut answer);
        charset(exchange, &mut answer);
        gzip::filter(exchange, &mut answer);
        ranges::filter(exchange, &mut answer)?;
    }
    if answer.status == 204 {
        answer.content_type = None;
        answer.last_modified = None;
        answer.content_length = None;
    }
    if !matches!(answer.status, 200 | 206 | 304) {
        answer.last_modified = None;
    }
    Ok(answer)
}

fn not_modified(exchange: &Exchange, answer: &mut Answer) -> Result<(), Turn> {
    let etag = answer.fields.get("etag").map(|etag| &etag[..]);
    let policy = exchange.settings().files.if_modified_since;
    match conditional::judge(&exchange.head.fields, answer.last_modified, etag, policy) {
        Verdict::Send => Ok(()),
        Verdict::Failed => Err(Turn::Status(412)),
        Verdict::NotModified => {
            answer.status = 304;
            answer.reason = None;
            answer.content_type = None;
            answer.content_length = None;
            answer.ranges = false;
            answer.body = Body::Empty;
            answer.fields.remove("content-encoding");
            answer.fields.remove("accept-ranges");
            Ok(())
        }
    }
}

/// `expires` and `add_header`.
fn headers(exchange: &Exchange, answer: &mut Answer) {
    let settings = exchange.settings();
    let headers = &settings.headers;
    if headers.add.is_empty() && headers.expires == Expires::Off {
        return;
    }
    let safe = matches!(answer.status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308);
    let expires_text = match &headers.expires {
        Expires::Template { value, .. } => Some(value),
        _ => None,
    };
    if headers.add.iter().map(|add| &add.value).chain(expires_text).any(asks_for_answer) {
        show(exchange, answer);
    }
    if safe {
        set_expires(exchange, answer, &headers.expires);
    }
    for add in headers.add.iter().filter(|add| safe || add.always) {
        add_header(exchange, answer, add);
    }
}

fn set_expires(exchange: &Exchange, answer: &mut Answer, setting: &Expires) {
    let evaluated = match setting {
        Expires::Template { modified, value } => expires::parse(&exchange.text(value), *modified),
        _ => None,
    };
    let time = exchange.worker.time();
    let now = time.unix();
    let offset = if matches!(setting, Expires::Daily(_) | Expires::Template { .. }) { time.offset(now) } else { 0 };
    let moment = expires::Moment { now, modified: answer.last_modified, offset };
    if let Some((until, cache)) = expires::values(evaluated.as_ref().unwrap_or(setting), moment) {
        answer.fields.set("Expires", until);
        answer.fields.set("Cache-Control", cache);
    }
}

fn add_header(exchange: &Exchange, answer: &mut Answer, add: &AddHeader) {
    let value = exchange.field_text(&add.value);
    if add.name.eq_ignore_ascii_case("last-modified") {
        answer.last_modified = date::parse(&value);
        return replace(answer, "Last-Modified", value);
    }
    if add.name.eq_ignore_ascii_case("etag") {
        return replace(answer, "ETag", value);
    }
    if !value.is_empty() {
        answer.fields.push(Bytes::copy_from_slice(add.name.as_bytes()), value);
    }
}

/// These two are replaced, not added; an empty value takes them away.
fn replace(answer: &mut Answer, name: &'static str, value: Bytes) {
    if value.is_empty() {
        answer.fields.remove(name);
    } else {
        answer.fields.set(name, value);
    }
}

/// `charset`, for `charset_types`.
fn charset(exchange: &Exchange, answer: &mut Answer) {
    let files = &exchange.settings().files;
    let Some(charset) = &files.charset else { return };
    let Some(kind) = &answer.content_type else { return };
    let counts = |known: &str| known == "*" || kind.eq_ignore_ascii_case(known.as_bytes());
    let named = kind.contains(&b';');
    if named || !files.charset_types.iter().any(|known| counts(known)) || answer.fields.has("content-encoding") {
        return;
    }
    let charset = exchange.field_text(charset);
    if !charset.is_empty() && charset != "off" {
        answer.content_type = Some([&kind[..], b"; charset=", &charset].concat().into());
    }
}

/// Whether the text of a template may depend on the answer.
pub(super) fn asks_for_answer(template: &Template) -> bool {
    template.segments.iter().any(|segment| matches!(segment, Segment::Var(Var::SentHeader(_) | Var::User(_))))
}

/// Lets variables see the answer as it stands.
pub(super) fn show(exchange: &Exchange, answer: &Answer) {
    let mut fields = Fields::with_capacity(answer.fields.len() + 4);
    if let Some(kind) = &answer.content_type {
        fields.push("Content-Type", kind.clone());
    }
    if let Some(length) = answer.content_length {
        fields.push("Content-Length", length.to_string());
    }
    if let Some(modified) = answer.last_modified.filter(|_| !answer.fields.has("last-modified")) {
        fields.push("Last-Modified", Bytes::copy_from_slice(&date::format(modified)));
    }
    if let Some(location) = &answer.location {
        fields.push("Location", location.clone());
    }
    answer.fields.iter().for_each(|field| fields.push(field.name.clone(), field.value.clone()));
    *exchange.shown.fields.borrow_mut() = Some(fields);
}

/// All fields in the order in which nginx sends them.
pub(super) fn head(exchange: &Exchange, answer: &mut Answer) -> Fields {
    let settings = exchange.settings();
    let mut head = Fields::with_capacity(answer.fields.len() + 7);
    let server = answer.server.take();
    let ours = || Bytes::from_static(pages::server_name(&settings.headers.server_tokens).as_bytes());
    head.push("Server", server.unwrap_or_else(ours));
    head.push("Date", answer.date.take().unwrap_or_else(|| exchange.worker.time().http()));
    if let Some(kind) = answer.content_type.take() {
        head.push("Content-Type", kind);
    }
    if let Some(modified) = answer.last_modified.filter(|_| !answer.fields.has("last-modified")) {
        head.push("Last-Modified", Bytes::copy_from_slice(&date::format(modified)));
    }
    let location = answer.location.take().map(sendable);
    let absolute = location.as_ref().is_some_and(|to| to.starts_with(b"/")) && settings.absolute_redirect;
    if let Some(location) = location {
        head.push("Location", if absolute { with_origin(exchange, &location) } else { location });
    }
    if answer.vary {
        head.push("Vary", "Accept-Encoding");
    }
    for field in &answer.fields {
        head.push(field.name.clone(), field.value.clone());
    }
    head
}

/// Without CR, LF and NUL, which variables may have brought.
fn sendable(value: Bytes) -> Bytes {
    let breaks = |b: &u8| matches!(b, b'\r' | b'\n' | 0);
    if value.iter().any(breaks) { value.iter().copied().filter(|b| !breaks(b)).collect() } else { value }
}

/// `path` behind scheme, host and port of the request.
fn with_origin(exchange: &Exchange, path: &[u8]) -> Bytes {
    let settings = exchange.settings();
    let mut to = if exchange.is_tls() { b"https://".to_vec() } else { b"http://".to_vec() };
    let host = exchange.head.host.as_ref().filter(|host| !host.is_empty());
    match host {
        _ if settings.server_name_in_redirect => to.extend_from_slice(&exchange.server_name()),
        Some(host) => to.extend_from_slice(host),
        None => match exchange.connection.local.ip() {
            Some(std::net::IpAddr::V6(ip)) => to.extend_from_slice(format!("[{ip}]").as_bytes()),
            Some(ip) => to.extend_from_slice(ip.to_string().as_bytes()),
            None => to.extend_from_slice(b"unix:"),
        },
    }
    let usual = if exchange.is_tls() { 443 } else { 80 };
    let port = exchange.connection.local.port();
    if settings.port_in_redirect && port != usual && port != 0 {
        to.extend_from_slice(format!(":{port}").as_bytes());
    }
    to.extend_from_slice(path);
    to.into()
}

/// Whether the client's version knows heads and ranges at all.
pub(super) fn has_head(exchange: &Exchange) -> bool {
    exchange.head.version >= Version::Http10
}
