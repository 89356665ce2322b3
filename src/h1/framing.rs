//! What do the fields of a request head mean for the connection? Length, encoding, host, keep-alive: nginx's rules, in
//! nginx's order of complaints.

use super::error::{HeadError, printable};
use super::field::Span;
use super::version::Version;

/// Fields that steer the driver or may stand only once; learned as the lines come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Framing {
    pub(super) host: Option<Span>,
    pub(super) length: Option<Span>,
    pub(super) encoding: Option<Span>,
    expect: Option<Span>,
    connection: Connection,
    /// The others that nginx takes once, by their place in [`ONCE`].
    once: [Option<Span>; ONCE.len()],
}

/// What the last telling Connection field wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Connection {
    #[default]
    Unsaid,
    Close,
    KeepAlive,
}

/// Fields that may stand once, besides Host, Content-Length, Transfer-Encoding and Expect.
const ONCE: [&[u8]; 7] = [
    b"if-match",
    b"if-range",
    b"authorization",
    b"if-none-match",
    b"content-range",
    b"if-modified-since",
    b"if-unmodified-since",
];

impl Framing {
    /// Takes note of one field.
    pub(super) fn learn(&mut self, buf: &[u8], span: Span) -> Result<(), HeadError> {
        let name = span.name(buf);
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let slot = match name.len() {
            4 if is(b"host") => {
                if let Some(previous) = self.host {
                    let (line, previous) = (shown(buf, span), shown(buf, previous));
                    return Err(HeadError::DuplicateHost { line, previous });
                }
                &mut self.host
            }
            10 if is(b"connection") => {
                let value = span.value(buf);
                if contains(value, b"close") {
                    self.connection = Connection::Close;
                } else if contains(value, b"keep-alive") {
                    self.connection = Connection::KeepAlive;
                }
                return Ok(());
            }
            6 if is(b"expect") => &mut self.expect,
            14 if is(b"content-length") => &mut self.length,
            17 if is(b"transfer-encoding") => &mut self.encoding,
            8 | 13 | 17 | 19 => match ONCE.iter().position(|known| is(known)) {
                Some(place) => &mut self.once[place],
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        match *slot {
            None => {
                *slot = Some(span);
                Ok(())
            }
            Some(previous) => Err(HeadError::DuplicateField { line: shown(buf, span), previous: shown(buf, previous) }),
        }
    }

    /// What the whole head says about the body: its length if told, whether it is chunked.
    pub(super) fn judge(&self, buf: &[u8], version: Version, method: &[u8]) -> Result<(Option<u64>, bool), HeadError> {
        if self.host.is_none() && version > Version::HTTP_10 {
            return Err(HeadError::NoHost);
        }
        let length = match self.length {
            Some(span) => Some(parse_length(span.value(buf)).ok_or(HeadError::InvalidLength)?),
            None => None,
        };
        let mut chunked = false;
        if let Some(span) = self.encoding {
            let value = span.value(buf);
            if version < Version::HTTP_11 {
                return Err(HeadError::EncodingIn10);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::UnknownEncoding(printable(value)));
            }
            if length.is_some() {
                return Err(HeadError::LengthAndEncoding);
            }
            chunked = true;
        }
        match method {
            b"CONNECT" => Err(HeadError::Connect),
            b"TRACE" => Err(HeadError::Trace),
            _ => Ok((length, chunked)),
        }
    }

    /// Whether the client would use the connection again.
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        match self.connection {
            Connection::Unsaid => version > Version::HTTP_10,
            Connection::Close => false,
            Connection::KeepAlive => true,
        }
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) fn expects_continue(&self, buf: &[u8], version: Version) -> bool {
        version >= Version::HTTP_11
            && self.expect.is_some_and(|span| span.value(buf).eq_ignore_ascii_case(b"100-continue"))
    }
}

/// A decimal number below 2^63 and nothing else: no sign, no white space, no list.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut length: u64 = 0;
    for &byte in value {
        let digit = match byte {
            b'0'..=b'9' => u64::from(byte - b'0'),
            _ => return None,
        };
        length = length.checked_mul(10)?.checked_add(digit)?;
    }
    (length <= i64::MAX as u64).then_some(length)
}

/// Whether `needle` (lower case) stands anywhere in `text`, as nginx reads Connection.
pub(super) fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// A field as complaints show it.
pub(super) fn shown(buf: &[u8], span: Span) -> String {
    format!("{}: {}", printable(span.name(buf)), printable(span.value(buf)))
}
