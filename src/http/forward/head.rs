//! What of the upstream's head does the client see? Fields are hidden, rewritten, or act here and go no further.

use super::asked::Asked;
use super::held::Named;
use super::rewrite;
use crate::h1::ResponseHead;
use crate::http::answer::{Answer, Turn};
use crate::plan::log::Level;
use crate::plan::proxy::Proxy;
use crate::route::date;
use crate::route::escape::unescape;
use crate::words::{Field, Fields};
use bytes::Bytes;

/// What an answer wants done besides being passed on.
pub(super) struct Directions {
    /// `proxy_buffering`, or X-Accel-Buffering.
    pub buffering: bool,
}

/// A field that nginx knows by name in answers of upstreams.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Says how this connection is used: never passed on.
    Hop,
    ContentType,
    Date,
    Server,
    LastModified,
    Location,
    Refresh,
    SetCookie,
    AcceptRanges,
    Expires,
    CacheControl,
    ContentDisposition,
    /// Stands once; a second is dropped.
    Once,
    LimitRate,
    Buffering,
    Charset,
    Redirect,
    /// Whatever else.
    Other,
}

fn known(name: &[u8]) -> Known {
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    match name.len() {
        4 if is("date") => Known::Date,
        4 if is("etag") => Known::Once,
        6 if is("server") => Known::Server,
        6 if is("status") => Known::Once,
        7 if is("refresh") => Known::Refresh,
        7 if is("expires") => Known::Expires,
        8 if is("location") => Known::Location,
        10 if is("connection") || is("keep-alive") => Known::Hop,
        10 if is("set-cookie") => Known::SetCookie,
        12 if is("content-type") => Known::ContentType,
        13 if is("accept-ranges") => Known::AcceptRanges,
        13 if is("cache-control") => Known::CacheControl,
        13 if is("last-modified") => Known::LastModified,
        14 if is("content-length") => Known::Hop,
        15 if is("x-accel-charset") => Known::Charset,
        15 if is("x-accel-expires") => Known::Once,
        16 if is("x-accel-redirect") => Known::Redirect,
        17 if is("transfer-encoding") => Known::Hop,
        17 if is("x-accel-buffering") => Known::Buffering,
        18 if is("x-accel-limit-rate") => Known::LimitRate,
        19 if is("content-disposition") => Known::ContentDisposition,
        _ => Known::Other,
    }
}

impl Known {
    /// Whether a second line of it is dropped with a warning.
    fn stands_once(self) -> bool {
        match self {
            Known::ContentType
            | Known::Date
            | Known::Server
            | Known::LastModified
            | Known::Location
            | Known::Refresh
            | Known::Expires
            | Known::Once
            | Known::LimitRate
            | Known::Redirect => true,
            Known::Hop
            | Known::SetCookie
            | Known::AcceptRanges
            | Known::CacheControl
            | Known::ContentDisposition
            | Known::Buffering
            | Known::Charset
            | Known::Other => false,
        }
    }

    /// Whether it survives X-Accel-Redirect.
    fn is_carried(self) -> bool {
        matches!(
            self,
            Known::ContentType | Known::SetCookie | Known::ContentDisposition | Known::CacheControl | Known::Expires
        )
    }
}

/// Makes the answer, still without its body.
///
/// # Errors
/// X-Accel-Redirect, or an `error_page` that takes over: the answer comes from elsewhere.
pub(super) fn answer(
    asked: &mut impl Asked,
    proxy: &Proxy,
    head: &ResponseHead,
    upstream: &Named,
) -> Result<(Box<Answer>, Directions), Turn> {
    act(asked, proxy, head)?;
    let mut answer = Box::new(Answer {
        status: head.status,
        reason: Some(head.reason.clone()),
        content_length: head.content_length,
        fields: Fields::with_capacity(head.fields.len() + 2),
        ranges: proxy.force_ranges,
        forwarded: true,
        ..Answer::default()
    });
    let mut directions = Directions { buffering: proxy.buffering };
    let mut charset = None;
    let mut seen: u32 = 0;
    for (index, field) in head.fields.iter().enumerate() {
        let kind = known(&field.name);
        if kind.stands_once() && !first(&mut seen, kind, head, index) {
            let text = format!("upstream sent duplicate header line: \"{}\", ignored", shown(field));
            asked.note_upstream(Level::Warn, &text, &String::from_utf8_lossy(&upstream.shown()));
            continue;
        }
        obey(asked, proxy, field, kind, &mut directions, &mut charset);
        let hidden = proxy.hide.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        if kind != Known::Hop && !hidden {
            pass(asked, proxy, field, kind, &mut answer);
        }
    }
    if let (Some(charset), Some(content_type)) = (charset, &mut answer.content_type)
        && !content_type.windows(8).any(|eight| eight.eq_ignore_ascii_case(b"charset="))
    {
        *content_type = [content_type, &b"; charset="[..], &charset].concat().into();
    }
    Ok((answer, directions))
}

/// Answers that come from elsewhere.
fn act(asked: &mut impl Asked, proxy: &Proxy, head: &ResponseHead) -> Result<(), Turn> {
    if head.status >= 300 && proxy.intercept_errors && asked.has_error_page(head.status) {
        if head.status == 401 {
            let challenges: Vec<_> = head.fields.get_all("www-authenticate").cloned().collect();
            challenges.into_iter().for_each(|value| asked.carry("WWW-Authenticate".into(), value));
        }
        return Err(Turn::Status(head.status));
    }
    let Some(to) = head.fields.get("x-accel-redirect").filter(|_| !is_ignored(proxy, "x-accel-redirect")) else {
        return Ok(());
    };
    let to = to.clone();
    for field in &head.fields {
        let kind = known(&field.name);
        if kind.is_carried() {
            asked.carry(field.name.clone(), field.value.clone());
        } else if kind == Known::LimitRate && !is_ignored(proxy, "x-accel-limit-rate") {
            set_rate(asked, &field.value);
        }
    }
    if to.starts_with(b"@") {
        return Err(Turn::Named(to));
    }
    let mark = to.iter().position(|b| *b == b'?').unwrap_or(to.len());
    let path = unescape(&to.slice(..mark));
    let climbs = path.split(|b| *b == b'/').any(|part| part == b".." || part == b".");
    if path.is_empty() || climbs || path.contains(&0) {
        asked.note(Level::Error, &format!("unsafe URI \"{}\" was detected", String::from_utf8_lossy(&to)));
        return Err(Turn::Status(404));
    }
    Err(Turn::Internal(path, to.slice((mark + 1).min(to.len())..)))
}

/// Fields that act here.
fn obey(
    asked: &mut impl Asked,
    proxy: &Proxy,
    field: &Field,
    kind: Known,
    directions: &mut Directions,
    charset: &mut Option<Bytes>,
) {
    match kind {
        Known::LimitRate if !is_ignored(proxy, "x-accel-limit-rate") => set_rate(asked, &field.value),
        Known::Buffering if !is_ignored(proxy, "x-accel-buffering") => {
            if field.value.eq_ignore_ascii_case(b"no") {
                directions.buffering = false;
            } else if field.value.eq_ignore_ascii_case(b"yes") {
                directions.buffering = true;
            }
        }
        Known::Charset if !is_ignored(proxy, "x-accel-charset") => *charset = Some(field.value.clone()),
        _ => {}
    }
}

/// Puts a field where the client's head has it.
fn pass(asked: &impl Asked, proxy: &Proxy, field: &Field, kind: Known, answer: &mut Answer) {
    let value = field.value.clone();
    match kind {
        Known::ContentType => answer.content_type = Some(value),
        Known::Date => answer.date = Some(value),
        Known::Server => answer.server = Some(value),
        Known::Location => match rewrite::redirect(asked, proxy, &value, 0) {
            // Only a rewritten one is made absolute.
            Some(rewritten) => answer.location = Some(rewritten),
            None => answer.fields.push(field.name.clone(), value),
        },
        Known::Refresh => {
            let value = rewrite::refresh(asked, proxy, &value).unwrap_or(value);
            answer.fields.push(field.name.clone(), value);
        }
        Known::SetCookie => {
            let value = rewrite::cookie(asked, proxy, &value).unwrap_or(value);
            answer.fields.push(field.name.clone(), value);
        }
        Known::LastModified => {
            answer.last_modified = date::parse(&value);
            answer.fields.push(field.name.clone(), value);
        }
        // With force_ranges it is ours to say.
        Known::AcceptRanges if proxy.force_ranges => {}
        _ => answer.fields.push(field.name.clone(), value),
    }
}

/// Whether line `index` is the first of its name. Most names have a bit of their own; `Once` stands for several.
fn first(seen: &mut u32, kind: Known, head: &ResponseHead, index: usize) -> bool {
    if kind == Known::Once {
        let name = &head.fields.iter().as_slice()[index].name;
        return !head.fields.iter().take(index).any(|f| f.name.eq_ignore_ascii_case(name));
    }
    let bit = 1 << kind as u32;
    let first = *seen & bit == 0;
    *seen |= bit;
    first
}

fn is_ignored(proxy: &Proxy, name: &str) -> bool {
    proxy.ignore.iter().any(|ignored| **ignored == *name)
}

fn set_rate(asked: &mut impl Asked, value: &[u8]) {
    if let Some(rate) = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
        asked.limit_rate(rate);
    }
}

fn shown(field: &Field) -> String {
    format!("{}: {}", String::from_utf8_lossy(&field.name), String::from_utf8_lossy(&field.value))
}
