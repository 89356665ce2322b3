//! What is wrong with a head? Each fault has nginx's status and nginx's words, so that logs and alarms keep working.

use super::request::RequestHead;

/// A request head that is not served. `Display` gives nginx's words, with what it was doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The method has a byte outside `A-Z_-`; also what a TLS handshake on a plain port looks like.
    #[error("client sent invalid method while reading client request line")]
    InvalidMethod,
    /// The request line is not one.
    #[error("client sent invalid request while reading client request line")]
    InvalidRequest,
    /// HTTP/2 or later.
    #[error("client sent invalid version while reading client request line")]
    InvalidVersion,
    /// No version: HTTP/0.9, which has neither statuses nor lengths. nginx would still answer it.
    #[error("client sent HTTP/0.9 request while reading client request line")]
    Http09,
    /// The host of an absolute-form target is none.
    #[error("client sent invalid host in request line while reading client request line")]
    InvalidHostInLine,
    /// The request line is longer than a large buffer.
    #[error("client sent too long URI while reading client request line")]
    LineTooLong,
    /// A header line is longer than a large buffer, or all buffers are full.
    #[error("client sent too long header line: \"{0}...\" while reading client request headers")]
    FieldTooLong(String),
    /// A byte that cannot stand where it stands: a control, a space before the colon, a fold.
    #[error("client sent invalid header line: \"{line}\\x{byte:02x}...\" while reading client request headers")]
    InvalidField {
        /// The line before the byte.
        line: String,
        /// The byte.
        byte: u8,
    },
    /// Host is empty or has bytes that no host has.
    #[error("client sent invalid host header while reading client request headers")]
    InvalidHost,
    /// The target's host and Host name different servers. nginx believes the target, others Host.
    #[error("client sent different hosts in request line and \"Host\" header while reading client request headers")]
    HostsDiffer,
    /// Two Host lines.
    #[error(
        "client sent duplicate host header: \"{line}\", previous value: \"{previous}\" while reading client request headers"
    )]
    DuplicateHost {
        /// The second.
        line: String,
        /// The first.
        previous: String,
    },
    /// Two lines of a field that may stand once.
    #[error(
        "client sent duplicate header line: \"{line}\", previous value: \"{previous}\" while reading client request headers"
    )]
    DuplicateField {
        /// The second.
        line: String,
        /// The first.
        previous: String,
    },
    /// HTTP/1.1 wants a Host (RFC 9112 3.2).
    #[error("client sent HTTP/1.1 request without \"Host\" header while reading client request headers")]
    NoHost,
    /// Not a decimal number below 2^63.
    #[error("client sent invalid \"Content-Length\" header while reading client request headers")]
    InvalidLength,
    /// RFC 9112 6.1: an older peer in between would not know it.
    #[error("client sent HTTP/1.0 request with \"Transfer-Encoding\" header while reading client request headers")]
    EncodingIn10,
    /// Both: the classic of request smuggling.
    #[error(
        "client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time while reading client request headers"
    )]
    LengthAndEncoding,
    /// Something else than one `chunked`.
    #[error("client sent unknown \"Transfer-Encoding\": \"{0}\" while reading client request headers")]
    UnknownEncoding(String),
    /// No tunnels here.
    #[error("client sent CONNECT method while reading client request headers")]
    Connect,
    /// No echo of credentials here.
    #[error("client sent TRACE method while reading client request headers")]
    Trace,
}

impl HeadError {
    /// The status the client gets. 494 is nginx's own; `error_page` sees it, the client sees 400.
    pub fn status(&self) -> u16 {
        match self {
            HeadError::InvalidVersion => 505,
            HeadError::LineTooLong => 414,
            HeadError::FieldTooLong(_) => 494,
            HeadError::UnknownEncoding(_) => 501,
            HeadError::Connect | HeadError::Trace => 405,
            HeadError::InvalidMethod
            | HeadError::InvalidRequest
            | HeadError::Http09
            | HeadError::InvalidHostInLine
            | HeadError::InvalidField { .. }
            | HeadError::InvalidHost
            | HeadError::HostsDiffer
            | HeadError::DuplicateHost { .. }
            | HeadError::DuplicateField { .. }
            | HeadError::NoHost
            | HeadError::InvalidLength
            | HeadError::EncodingIn10
            | HeadError::LengthAndEncoding => 400,
        }
    }
}

/// A refused head with what could be read of it: for the error page's server, the log line, and nothing else. The
/// connection can not be used for another request.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// What is wrong.
    pub error: HeadError,
    /// The parts read before the fault; the others are empty. Its framing says "no body", its keep-alive "close".
    pub head: RequestHead,
}

/// An upstream's response head that is not passed on: the upstream's fault, 502 to the client. Whether another upstream
/// may be asked is for `proxy_next_upstream invalid_header`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not `HTTP/x.y NNN`.
    #[error("upstream sent no valid HTTP/1.0 header")]
    NoStatusLine,
    /// Longer than `proxy_buffer_size`.
    #[error("upstream sent too big header")]
    TooBig,
    /// A byte that cannot stand where it stands.
    #[error("upstream sent invalid header: \"{line}\\x{byte:02x}...\"")]
    InvalidField {
        /// The line before the byte.
        line: String,
        /// The byte.
        byte: u8,
    },
    /// Two lines of a field that may stand once.
    #[error("upstream sent duplicate header line: \"{line}\", previous value: \"{previous}\"")]
    DuplicateField {
        /// The second.
        line: String,
        /// The first.
        previous: String,
    },
    /// Not a decimal number below 2^63.
    #[error("upstream sent invalid \"Content-Length\" header: \"{0}\"")]
    InvalidLength(String),
    /// Both at once.
    #[error("upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time")]
    LengthAndEncoding,
    /// Something else than one `chunked`.
    #[error("upstream sent unknown \"Transfer-Encoding\": \"{0}\"")]
    UnknownEncoding(String),
}

/// Bytes from outside as a log may show them: controls escaped, not longer than nginx would print.
pub(super) fn printable(bytes: &[u8]) -> String {
    const LONGEST: usize = 2048 - 300;
    let mut text = String::new();
    for &byte in bytes.iter().take(LONGEST) {
        match byte {
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02X}")),
        }
    }
    text
}
