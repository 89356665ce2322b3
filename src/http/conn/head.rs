//! How does the head of an answer go out, in nginx's order? And how does a request's head come to the service?

use crate::h1::{self, RequestHead, reason, write_field, write_status_line};
use crate::http::message::{Body, Request, Response, Version};
use crate::net::connection::Connection;
use crate::words::{Field, Fields};
use bytes::{BufMut, Bytes, BytesMut};
use std::rc::Rc;
use tokio::time::Instant;

/// How an answer's body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Counted(u64),
    /// In chunks.
    Chunked,
    /// Until we close.
    UntilClose,
}

/// What of a request steers its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// What the client speaks: chunks only from HTTP/1.1 on.
    pub(super) version: h1::Version,
    /// HEAD: no body.
    pub(super) head_only: bool,
}

impl Framing {
    /// The framing of `response` to what was asked (nginx's header and chunked filters).
    pub(super) fn of(response: &Response, asked: Asked) -> Framing {
        match response.status {
            100..=199 | 204 | 304 => return Framing::None,
            _ if asked.head_only => return Framing::None,
            _ => {}
        }
        match response.content_length {
            Some(length) => Framing::Counted(length),
            None if asked.version >= h1::Version::HTTP_11 && response.settings.client.chunked => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }
}

/// Appends the head. A field that cannot be sent is left out and reported.
pub(super) fn write_head(out: &mut BytesMut, response: &Response, framing: Framing, keep_alive: bool) {
    let phrase = response.reason.as_deref();
    if write_status_line(out, response.status, phrase).is_err() {
        // Only the phrase can be at fault; the status line was not begun.
        let _ = write_status_line(out, response.status, Some(reason(response.status).as_bytes()));
    }
    let length = match framing {
        Framing::Counted(length) => Some(length),
        Framing::None if response.status == 204 || response.status < 200 => None,
        Framing::None => response.content_length,
        Framing::Chunked | Framing::UntilClose => None,
    };
    let mut place = Place::First;
    for Field { name, value } in &response.fields {
        place.advance(Place::of(name), out, length, |out| connection_lines(out, response, framing, keep_alive));
        if let Err(error) = write_field(out, name, value) {
            let name = String::from_utf8_lossy(name);
            tracing::error!("header \"{name}\" was not sent: {error}");
        }
    }
    place.advance(Place::Rest, out, length, |out| connection_lines(out, response, framing, keep_alive));
    out.put_slice(b"\r\n");
}

/// The three stretches of nginx's heads: what stands before Content-Length, before Connection, and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    First,
    Second,
    Rest,
}

impl Place {
    fn of(name: &Bytes) -> Place {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            6 if is("server") => Place::First,
            4 if is("date") => Place::First,
            12 if is("content-type") => Place::First,
            13 if is("last-modified") => Place::Second,
            8 if is("location") => Place::Second,
            _ => Place::Rest,
        }
    }

    /// Goes on to `next`, and writes the driver's own lines on the way.
    fn advance(
        &mut self,
        next: Place,
        out: &mut BytesMut,
        length: Option<u64>,
        connection: impl FnOnce(&mut BytesMut),
    ) {
        if *self == Place::First && next > Place::First {
            if let Some(length) = length {
                content_length(out, length);
            }
            *self = Place::Second;
        }
        if *self == Place::Second && next > Place::Second {
            connection(out);
            *self = Place::Rest;
        }
    }
}

fn connection_lines(out: &mut BytesMut, response: &Response, framing: Framing, keep_alive: bool) {
    if framing == Framing::Chunked {
        out.put_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if response.status == 101 {
        out.put_slice(b"Connection: upgrade\r\n");
    } else if keep_alive {
        out.put_slice(b"Connection: keep-alive\r\n");
        if let Some(timeout) = response.settings.client.keepalive_header {
            out.put_slice(b"Keep-Alive: timeout=");
            h1::write_decimal(out, timeout.as_secs());
            out.put_slice(b"\r\n");
        }
    } else {
        out.put_slice(b"Connection: close\r\n");
    }
}

fn content_length(out: &mut BytesMut, length: u64) {
    out.put_slice(b"Content-Length: ");
    h1::write_decimal(out, length);
    out.put_slice(b"\r\n");
}

/// The version in the seam's words.
pub(super) fn spoken(version: h1::Version) -> Version {
    match version {
        h1::Version::HTTP_10 => Version::Http10,
        _ => Version::Http11,
    }
}

/// `$request_port`: the port behind the host in an absolute-form target, else in Host.
pub(super) fn port_of(line: &[u8], fields: &Fields) -> Option<u16> {
    let scheme_end = || memchr::memmem::find(line, b"://");
    let authority = match memchr::memchr(b':', line).and_then(|_| scheme_end()) {
        // Only an absolute form has `://` before the first `/` of its path.
        Some(at) if !line[..at].contains(&b'/') => {
            let rest = &line[at + 3..];
            &rest[..rest.iter().position(|b| matches!(b, b'/' | b'?' | b' ')).unwrap_or(rest.len())]
        }
        _ => fields.get("host")?,
    };
    let colon = authority.iter().rposition(|&b| b == b':')?;
    let digits = std::str::from_utf8(&authority[colon + 1..]).ok()?;
    (!digits.starts_with('+')).then(|| digits.parse().ok()).flatten()
}

/// The request as the service takes it.
pub(super) fn request(head: Box<RequestHead>, body: Body, started: Instant, connection: Rc<Connection>) -> Request {
    let head = *head;
    let content_length = match head.body {
        h1::BodyLength::Length(length) => Some(length),
        h1::BodyLength::Chunked | h1::BodyLength::UntilClose => None,
    };
    Request {
        host_port: port_of(&head.line, &head.fields),
        method: head.method,
        target: head.target,
        version: spoken(head.version),
        host: (!head.host.is_empty()).then_some(head.host),
        fields: head.fields,
        line: head.line,
        head_length: head.wire_length,
        content_length,
        body,
        started,
        connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&'static str, &'static str)]) -> Response {
        let mut all = Fields::default();
        for (name, value) in fields {
            all.push(*name, *value);
        }
        Response {
            status,
            reason: None,
            fields: all,
            content_length: Some(3),
            body: Body::Empty,
            close: false,
            settings: Default::default(),
            finish: None,
            tunnel: None,
        }
    }

    fn written(response: &Response, framing: Framing, keep_alive: bool) -> String {
        let mut out = BytesMut::new();
        write_head(&mut out, response, framing, keep_alive);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_drivers_lines_stand_where_nginx_puts_them() {
        let full = response(
            200,
            &[
                ("Server", "nginx"),
                ("Date", "now"),
                ("Content-Type", "text/html"),
                ("Last-Modified", "then"),
                ("ETag", "\"x\""),
            ],
        );
        assert_eq!(
            written(&full, Framing::Counted(3), true),
            "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: now\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\
             Last-Modified: then\r\nConnection: keep-alive\r\nETag: \"x\"\r\n\r\n"
        );
        let bare = response(204, &[]);
        assert_eq!(written(&bare, Framing::None, false), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        let chunked = response(200, &[("X", "y")]);
        assert_eq!(
            written(&chunked, Framing::Chunked, true),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\nX: y\r\n\r\n"
        );
    }

    #[test]
    fn a_field_with_a_line_break_is_not_sent() {
        let split = response(200, &[("X", "a\r\nSet-Cookie: stolen"), ("Y", "b")]);
        let written = written(&split, Framing::Counted(3), true);
        assert!(!written.contains("stolen") && written.contains("Y: b"), "{written}");
    }

    #[test]
    fn the_port_stands_in_the_target_or_in_host() {
        let host = |value: &'static str| {
            let mut fields = Fields::default();
            fields.push("Host", value);
            fields
        };
        assert_eq!(port_of(b"GET / HTTP/1.1", &host("a:81")), Some(81));
        assert_eq!(port_of(b"GET / HTTP/1.1", &host("[::1]")), None);
        assert_eq!(port_of(b"GET /x://y:5 HTTP/1.1", &host("a")), None);
        assert_eq!(port_of(b"GET http://b:82/ HTTP/1.1", &host("a:81")), Some(82));
        assert_eq!(port_of(b"GET http://b/ HTTP/1.1", &host("a:81")), None);
    }

    #[test]
    fn decimals_are_decimal() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = BytesMut::new();
            h1::write_decimal(&mut out, number);
            assert_eq!(&out[..], number.to_string().as_bytes());
        }
    }
}
