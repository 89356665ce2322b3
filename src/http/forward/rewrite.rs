//! How are an upstream's redirects and cookies made to fit the name under which the client knows it?
//! (`proxy_redirect`, `proxy_cookie_domain`, `proxy_cookie_path`, `proxy_cookie_flags`.)

use super::asked::Asked;
use crate::plan::log::Level;
use crate::plan::pattern::Pattern;
use crate::plan::proxy::{CookieName, CookieRewrite, Proxy, Redirect};
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
    if proxy.cookie_domains.is_empty() && proxy.cookie_paths.is_empty() && proxy.cookie_flags.is_empty() {
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
    changed |= set_flags(asked, proxy, &mut attributes);
    changed.then(|| joined(&attributes))
}

/// `proxy_cookie_flags`; tells whether there was a line for this cookie.
fn set_flags(asked: &impl Asked, proxy: &Proxy, attributes: &mut Vec<Attribute>) -> bool {
    let name = attributes[0].0.clone();
    let meant = proxy.cookie_flags.iter().find(|line| match &line.cookie {
        CookieName::Literal(text) => name.eq_ignore_ascii_case(&asked.text(text)),
        CookieName::Pattern(pattern) => match pattern.captures(&name) {
            Some(spans) => {
                asked.captured(&name, spans);
                true
            }
            None => false,
        },
    });
    let Some(line) = meant else { return false };
    let (mut secure, mut http_only, mut same_site) = (None, None, None);
    for flag in &line.flags {
        let flag = asked.text(flag);
        match &flag.to_ascii_lowercase()[..] {
            b"" => {}
            b"secure" => secure = Some(true),
            b"nosecure" => secure = Some(false),
            b"httponly" => http_only = Some(true),
            b"nohttponly" => http_only = Some(false),
            b"samesite=strict" => same_site = Some(Some("Strict")),
            b"samesite=lax" => same_site = Some(Some("Lax")),
            b"samesite=none" => same_site = Some(Some("None")),
            b"nosamesite" => same_site = Some(None),
            _ => {
                let text = format!("invalid proxy_cookie_flags flag \"{}\"", String::from_utf8_lossy(&flag));
                asked.note(Level::Error, &text);
            }
        }
    }
    set_flag(attributes, "Secure", secure);
    set_flag(attributes, "HttpOnly", http_only);
    let Some(same_site) = same_site else { return true };
    let value = same_site.map(|value| Bytes::from_static(value.as_bytes()));
    let is_same_site = |(name, _): &Attribute| name.eq_ignore_ascii_case(b"samesite");
    match value {
        None => retain_behind_first(attributes, |attribute| !is_same_site(attribute)),
        Some(value) => match attributes.iter_mut().skip(1).find(|attribute| is_same_site(attribute)) {
            Some(attribute) => *attribute = (Bytes::from_static(b"SameSite"), Some(value)),
            None => attributes.push((Bytes::from_static(b"SameSite"), Some(value))),
        },
    }
    true
}

fn set_flag(attributes: &mut Vec<Attribute>, flag: &'static str, on: Option<bool>) {
    let is = |(name, _): &Attribute| name.eq_ignore_ascii_case(flag.as_bytes());
    match on {
        Some(true) if !attributes.iter().skip(1).any(is) => {
            attributes.push((Bytes::from_static(flag.as_bytes()), None));
        }
        Some(false) => retain_behind_first(attributes, |attribute| !is(attribute)),
        _ => {}
    }
}

/// Leaves the cookie itself alone.
fn retain_behind_first(attributes: &mut Vec<Attribute>, keep: impl Fn(&Attribute) -> bool) {
    let mut first = true;
    attributes.retain(|attribute| std::mem::take(&mut first) || keep(attribute));
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
