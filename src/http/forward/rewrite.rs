//! How are an upstream's redirects and cookies made to fit the name under which the client knows it?
//! (`proxy_redirect`, `proxy_cookie_domain`, `proxy_cookie_path`.)

use super::asked::Asked;
use crate::plan::pattern::Pattern;
use crate::plan::proxy::{CookieRewrite, Proxy, Redirect};
use crate::plan::template::Template;
use bytes::Bytes;

/// `Location`, or what stands behind `prefix` bytes of a `Refresh`; `None`: nothing fits, it stays as it is.
pub(super) fn redirect(asked: &impl Asked, proxy: &Proxy, value: &Bytes, prefix: usize) -> Option<Bytes> {
    proxy.redirects.iter().find_map(|rule| match rule {
        Redirect::Prefix { from, to } => {
            let from = asked.text(from);
            value[prefix..].starts_with(&from).then(|| splice(value, prefix, from.len(), &asked.field_text(to)))
        }
        Redirect::Pattern { pattern, to } => by_pattern(asked, pattern, to, value, prefix),
    })
}

/// `Refresh`: what stands behind `url=`.
pub(super) fn refresh(asked: &impl Asked, proxy: &Proxy, value: &Bytes) -> Option<Bytes> {
    let url = value.windows(4).position(|four| four.eq_ignore_ascii_case(b"url="))?;
    redirect(asked, proxy, value, url + 4)
}

/// A `Set-Cookie`; `None`: it stays as it is.
pub(super) fn cookie(asked: &impl Asked, proxy: &Proxy, value: &Bytes) -> Option<Bytes> {
    if proxy.cookie_domains.is_empty() && proxy.cookie_paths.is_empty() {
        return None;
    }
    let mut attributes = attributes(value);
    attributes.first()?.1.as_ref()?;
    let mut changed = false;
    for (name, text) in attributes.iter_mut().skip(1) {
        let Some(text) = text else { continue };
        let rewritten = if name.eq_ignore_ascii_case(b"domain") {
            proxy.cookie_domains.iter().find_map(|rule| domain(asked, rule, text))
        } else if name.eq_ignore_ascii_case(b"path") {
            proxy.cookie_paths.iter().find_map(|rule| path(asked, rule, text))
        } else {
            None
        };
        if let Some(rewritten) = rewritten {
            *text = rewritten;
            changed = true;
        }
    }
    changed.then(|| joined(&attributes))
}

/// The whole domain, caseless; a leading dot of the cookie stays.
fn domain(asked: &impl Asked, rule: &CookieRewrite, value: &Bytes) -> Option<Bytes> {
    match rule {
        CookieRewrite::Literal { from, to } => {
            let dot = usize::from(value.starts_with(b"."));
            let from = asked.text(from);
            let from = from.strip_prefix(b".").unwrap_or(&from);
            value[dot..]
                .eq_ignore_ascii_case(from)
                .then(|| splice(value, dot, value.len() - dot, &asked.field_text(to)))
        }
        CookieRewrite::Pattern { pattern, to } => by_pattern(asked, pattern, to, value, 0),
    }
}

fn path(asked: &impl Asked, rule: &CookieRewrite, value: &Bytes) -> Option<Bytes> {
    match rule {
        CookieRewrite::Literal { from, to } => {
            let from = asked.text(from);
            value.starts_with(&from).then(|| splice(value, 0, from.len(), &asked.field_text(to)))
        }
        CookieRewrite::Pattern { pattern, to } => by_pattern(asked, pattern, to, value, 0),
    }
}

fn by_pattern(asked: &impl Asked, pattern: &Pattern, to: &Template, value: &Bytes, prefix: usize) -> Option<Bytes> {
    let subject = value.slice(prefix..);
    let spans = pattern.captures(&subject)?;
    asked.captured(&subject, spans);
    Some(splice(value, prefix, subject.len(), &asked.field_text(to)))
}

fn splice(value: &[u8], from: usize, length: usize, with: &[u8]) -> Bytes {
    [&value[..from], with, &value[from + length..]].concat().into()
}

type Attribute = (Bytes, Option<Bytes>);

/// `name=value; Path=/; Secure`, taken apart.
fn attributes(cookie: &Bytes) -> Vec<Attribute> {
    let trimmed = |part: &[u8]| cookie.slice_ref(part.trim_ascii());
    let part = |part: &[u8]| match part.iter().position(|b| *b == b'=') {
        Some(equals) => (trimmed(&part[..equals]), Some(trimmed(&part[equals + 1..]))),
        None => (trimmed(part), None),
    };
    cookie.split(|b| *b == b';').map(part).collect()
}

fn joined(attributes: &[Attribute]) -> Bytes {
    let mut out = Vec::with_capacity(64);
    for (index, (name, value)) in attributes.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out.into()
}
