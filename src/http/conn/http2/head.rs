//! How does the head of an HTTP/2 message become one of ours, and back? Cookie crumbs are joined, `:authority` becomes
//! Host; what `h2` lets pass and nginx does not is refused.

use crate::h1::validate_host;
use crate::http::message::Response;
use crate::words::{Field, Fields};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// What becomes of odd field names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) ignore_invalid: bool,
    pub(super) underscores: bool,
}

/// A request's head in our words.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) method: Bytes,
    pub(super) target: Bytes,
    pub(super) line: Bytes,
    pub(super) host: Option<Bytes>,
    pub(super) host_port: Option<u16>,
    pub(super) fields: Fields,
    /// Bytes of names and values: near to what was on the wire before HPACK.
    pub(super) length: u64,
}

/// A head that is refused: nginx's status and words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

const fn refused(status: u16, reason: &'static str) -> Option<Refused> {
    Some(Refused { status, reason })
}

impl Head {
    /// The head of `request`, and what is wrong with it.
    pub(super) fn of<B>(request: &http::Request<B>, rules: Rules) -> (Head, Option<Refused>) {
        let method = request.method().as_str().as_bytes();
        let uri = request.uri();
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut text = Text::with_capacity(method.len() + path.len() + authority.len(), request.headers());
        // The line is made as nginx makes it, and method and target are parts of it.
        let line = text.add(&[method, b" ", path.as_bytes(), b" HTTP/2.0"]);
        let host = (!authority.is_empty()).then(|| text.add(&[authority.as_bytes()]));
        let fields: Vec<_> = request.headers().iter().map(|(n, v)| (n, text.add(&[v.as_bytes()]))).collect();
        let names: Vec<_> = fields.iter().map(|(name, _)| text.name(name)).collect();
        let text = text.0.freeze();
        let cut = |range: &std::ops::Range<usize>| text.slice(range.clone());
        let mut head = Head { line: cut(&line), length: text.len() as u64, ..Head::default() };
        head.method = head.line.slice(..method.len());
        head.target = head.line.slice(method.len() + 1..method.len() + 1 + path.len());
        head.fields = Fields::with_capacity(fields.len() + 1);
        if let Some(host) = &host {
            head.fields.push(Bytes::from_static(b"Host"), cut(host));
        }
        let mut crumbs = Vec::new();
        let mut wrong = None;
        for ((name, value), own) in fields.iter().zip(&names) {
            let value = cut(value);
            if *name == http::header::COOKIE {
                crumbs.push(value);
            } else if *name == http::header::HOST && head.fields.has("host") {
                if head.fields.get("host") != Some(&value) {
                    wrong = refused(400, "client sent duplicate host header");
                }
            } else if rules.takes(name) {
                let name = match own {
                    Name::Known(name) => Bytes::from_static(name.as_bytes()),
                    Name::Other(range) => cut(range),
                };
                head.fields.push(name, value);
            }
        }
        if let Some(cookie) = joined(crumbs) {
            head.fields.push(Bytes::from_static(b"cookie"), cookie);
        }
        let wrong = wrong.or_else(|| head.judge());
        (head, wrong)
    }

    fn judge(&mut self) -> Option<Refused> {
        let odd = |byte: &u8| !matches!(byte, b'A'..=b'Z' | b'_' | b'-');
        match &self.method[..] {
            b"CONNECT" => return refused(405, "client sent CONNECT method"),
            b"TRACE" => return refused(405, "client sent TRACE method"),
            method if method.iter().any(odd) => return refused(400, "client sent invalid method"),
            _ => {}
        }
        if self.target.first() != Some(&b'/') {
            return refused(400, "client sent invalid :path header");
        }
        let Some(host) = self.fields.get("host") else {
            return refused(400, "client sent neither \":authority\" nor \"Host\" header");
        };
        self.host = validate_host(host);
        self.host_port = super::super::head::port_of(b"", &self.fields);
        match self.host {
            None => refused(400, "client sent invalid host header"),
            Some(_) => None,
        }
    }
}

impl Rules {
    fn takes(self, name: &HeaderName) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'_' && self.underscores);
        !self.ignore_invalid || name.as_str().bytes().all(plain)
    }
}

/// All text of a head in one piece of memory.
struct Text(BytesMut);

enum Name {
    Known(&'static str),
    Other(std::ops::Range<usize>),
}

impl Text {
    fn with_capacity(line: usize, headers: &HeaderMap) -> Text {
        Text(BytesMut::with_capacity(line + 16 + headers.len() * 48))
    }

    fn add(&mut self, parts: &[&[u8]]) -> std::ops::Range<usize> {
        let from = self.0.len();
        parts.iter().for_each(|part| self.0.put_slice(part));
        from..self.0.len()
    }

    fn name(&mut self, name: &HeaderName) -> Name {
        match COMMON.iter().find(|known| **known == name.as_str()) {
            Some(known) => Name::Known(known),
            None => Name::Other(self.add(&[name.as_str().as_bytes()])),
        }
    }
}

/// Names that most requests have.
const COMMON: [&str; 12] = [
    "user-agent",
    "accept",
    "accept-encoding",
    "accept-language",
    "referer",
    "content-type",
    "content-length",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "cache-control",
    "host",
];

/// RFC 9113 8.2.3.
fn joined(mut crumbs: Vec<Bytes>) -> Option<Bytes> {
    match crumbs.len() {
        0 | 1 => crumbs.pop(),
        _ => Some(crumbs.join(&b"; "[..]).into()),
    }
}

/// An answer's head for `h2`. What HTTP/2 forbids (RFC 9113 8.2.2) and what cannot be sent is left out. Second: bytes of
/// names and values.
pub(super) fn answer(response: &Response, length: Option<u64>) -> (http::Response<()>, u64) {
    let mut head = http::Response::new(());
    *head.version_mut() = http::Version::HTTP_2;
    *head.status_mut() = http::StatusCode::from_u16(response.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut bytes = 0;
    let headers = head.headers_mut();
    headers.reserve(response.fields.len() + 1);
    for Field { name, value } in &response.fields {
        if !is_hop_by_hop(name) {
            bytes += append(headers, name, value);
        }
    }
    if let Some(length) = length {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    (head, bytes)
}

/// Trailers for `h2`.
pub(super) fn trailers(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for Field { name, value } in fields {
        append(&mut headers, name, value);
    }
    headers
}

fn append(headers: &mut HeaderMap, name: &Bytes, value: &Bytes) -> u64 {
    if let (Ok(known), Ok(given)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value.clone()))
        && headers.try_append(known, given).is_ok()
    {
        return (name.len() + value.len()) as u64;
    }
    tracing::error!("header \"{}\" was not sent: it cannot be", name.escape_ascii());
    0
}

fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { ignore_invalid: true, underscores: false };

    fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> (Head, Option<Refused>) {
        let request = build(http::Request::builder().uri("https://Example.com:81/a?b").version(http::Version::HTTP_2));
        Head::of(&request.body(()).unwrap(), RULES)
    }

    #[test]
    fn authority_is_host_and_crumbs_are_one_cookie() {
        let (head, wrong) = head(|r| r.header("cookie", "a=b").header("x_y", "1").header("cookie", "c=d"));
        assert_eq!(wrong, None);
        assert_eq!(head.line, "GET /a?b HTTP/2.0");
        assert_eq!((&head.method[..], &head.target[..]), (&b"GET"[..], &b"/a?b"[..]));
        assert_eq!((head.host.as_deref(), head.host_port), (Some(&b"example.com"[..]), Some(81)));
        assert_eq!(head.fields.get("host").unwrap(), "Example.com:81");
        assert_eq!(head.fields.get("cookie").unwrap(), "a=b; c=d");
        assert!(!head.fields.has("x_y"));
    }

    #[test]
    fn what_nginx_refuses_is_refused() {
        let status = |build: fn(http::request::Builder) -> http::request::Builder| head(build).1.map(|r| r.status);
        assert_eq!(status(|r| r.method("TRACE")), Some(405));
        assert_eq!(status(|r| r.method("CONNECT")), Some(405));
        assert_eq!(status(|r| r.method("get")), Some(400));
        assert_eq!(status(|r| r.method("OPTIONS").uri("*")), Some(400));
        assert_eq!(status(|r| r.uri("/a")), Some(400));
        assert_eq!(status(|r| r.uri("/a").header("host", "a")), None);
        assert_eq!(status(|r| r.header("host", "Example.com:81")), None);
        assert_eq!(status(|r| r.header("host", "other.example")), Some(400));
        assert_eq!(status(|r| r.uri("/a").header("host", "a/b")), Some(400));
    }
}
