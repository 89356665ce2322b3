//! Which server is asked for? The host of a Host field or an absolute-form target, checked and made comparable.

use bytes::Bytes;

/// The host in lower case without port and trailing dot, as `$host` has it; none if it is invalid: for nginx that is
/// empty, a slash, a control, a space, two dots in a row; for us also a port that is no number, an address in brackets
/// that are not closed, and anything behind them, because others might read another host. No copy unless it has capital
/// letters.
pub fn validate_host(raw: &Bytes) -> Option<Bytes> {
    match host_shape(raw)? {
        (length, true) => Some(raw[..length].to_ascii_lowercase().into()),
        (length, false) => Some(raw.slice(..length)),
    }
}

/// How many of the first bytes are the host, and whether they have capitals.
pub(super) fn host_shape(raw: &[u8]) -> Option<(usize, bool)> {
    #[derive(PartialEq)]
    enum Place {
        Usual,
        /// Within brackets.
        Literal,
        /// Behind them.
        Closed,
        Port,
    }
    if is_plain(raw) {
        return Some((raw.len(), false));
    }
    let mut place = Place::Usual;
    let mut length = raw.len();
    let mut dot = None;
    let mut capitals = false;
    for (i, &byte) in raw.iter().enumerate() {
        match (&place, byte) {
            (Place::Port, b'0'..=b'9') => {}
            (Place::Port, _) => return None,
            (Place::Usual, b':') => {
                length = i;
                place = Place::Port;
            }
            (Place::Closed, b':') => place = Place::Port,
            (Place::Closed, _) => return None,
            (_, b'.') => {
                if i > 0 && dot == Some(i - 1) {
                    return None;
                }
                dot = Some(i);
            }
            (_, b'[') if i == 0 => place = Place::Literal,
            (Place::Literal, b']') => {
                length = i + 1;
                place = Place::Closed;
            }
            (_, b'/' | 0..=b' ' | 0x7f) => return None,
            (_, b'A'..=b'Z') => capitals = true,
            _ => {}
        }
    }
    if length > 0 && dot == Some(length - 1) {
        length -= 1;
    }
    (length > 0 && place != Place::Literal).then_some((length, capitals))
}

/// Small letters, digits, `-`, and single dots between them: nearly every host there is.
fn is_plain(raw: &[u8]) -> bool {
    let mut dot = true;
    for byte in raw {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => dot = false,
            b'.' if !dot => dot = true,
            _ => return false,
        }
    }
    !dot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_case_port_and_trailing_dot() {
        for (raw, host) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com.", "example.com"),
            ("example.com.:8443", "example.com"),
            ("[::1]:80", "[::1]"),
            ("a_b~", "a_b~"),
            ("1.2.3.4:", "1.2.3.4"),
        ] {
            assert_eq!(validate_host(&Bytes::from(raw)).as_deref(), Some(host.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn no_host_no_server() {
        for raw in
            ["", ".", ":80", "a..b", "a/b", "a b", "a\tb", "a\x7f", "a\0", "a:b:c", "a:x", "[::1", "[::1]x", "[]:x"]
        {
            assert_eq!(validate_host(&Bytes::from(raw)), None, "{raw:?}");
        }
    }
}
