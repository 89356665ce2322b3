//! How is a head put on the wire? Straight into a buffer, without formatting, and never with a CR, LF or NUL that would
//! begin a line of the sender's own choosing.

use bytes::{BufMut, BytesMut};

use super::version::Version;
use crate::words::{Field, Fields};

/// A name, value or target that would break the head. A value built from a variable can be at fault; the message must
/// not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// An empty name, or a control, space or colon in it.
    #[error("a field name cannot be sent")]
    Name,
    /// CR, LF or NUL in a value or reason.
    #[error("a field value cannot be sent")]
    Value,
    /// A control or space in method or target.
    #[error("a request line cannot be sent")]
    Line,
}

/// Appends `METHOD target HTTP/x.y`.
///
/// # Errors
/// A byte in method or target would end the line or its part early.
pub fn write_request_line(
    out: &mut BytesMut,
    method: &[u8],
    target: &[u8],
    version: Version,
) -> Result<(), Unsendable> {
    let breaks = |part: &[u8]| part.is_empty() || part.iter().any(|&b| b <= b' ' || b == 0x7f);
    if breaks(method) || breaks(target) {
        return Err(Unsendable::Line);
    }
    out.reserve(method.len() + target.len() + 12);
    out.put_slice(method);
    out.put_u8(b' ');
    out.put_slice(target);
    out.put_slice(if version >= Version::HTTP_11 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" });
    Ok(())
}

/// Appends `HTTP/1.1 STATUS reason`: an upstream's own `phrase` if given (an empty one without a space before it), else
/// nginx's for `status`. As nginx, always HTTP/1.1, also to clients of HTTP/1.0.
///
/// # Errors
/// CR, LF or NUL in `phrase`.
pub fn write_status_line(out: &mut BytesMut, status: u16, phrase: Option<&[u8]>) -> Result<(), Unsendable> {
    let unsaid = phrase.is_some_and(<[u8]>::is_empty);
    let phrase = phrase.unwrap_or_else(|| reason(status).as_bytes());
    if breaks_line(phrase) {
        return Err(Unsendable::Value);
    }
    let digit = |place: u16| b'0' + (status / place % 10) as u8;
    out.reserve(phrase.len() + 15);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(&[digit(100), digit(10), digit(1)]);
    if !unsaid {
        out.put_u8(b' ');
    }
    out.put_slice(phrase);
    out.put_slice(b"\r\n");
    Ok(())
}

/// Appends one field line.
///
/// # Errors
/// The name is none, or the value has CR, LF or NUL. Nothing is appended then.
pub fn write_field(out: &mut BytesMut, name: &[u8], value: &[u8]) -> Result<(), Unsendable> {
    if name.is_empty() || name.iter().any(|&b| b <= b' ' || b == b':' || b == 0x7f) {
        return Err(Unsendable::Name);
    }
    if breaks_line(value) {
        return Err(Unsendable::Value);
    }
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
    Ok(())
}

/// Appends all `fields` in order. The empty line that ends the head is the caller's.
///
/// # Errors
/// As [`write_field`]; the fields before the bad one are appended.
pub fn write_fields(out: &mut BytesMut, fields: &Fields) -> Result<(), Unsendable> {
    fields.iter().try_for_each(|Field { name, value }| write_field(out, name, value))
}

fn breaks_line(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value).is_some()
}

/// nginx's reason for `status`; empty if nginx has none.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

/// Appends a decimal number without formatting machinery.
pub fn write_decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}
