//! Can there be a certificate for what a client sent as server name? Syntax alone, on the bytes as they came: allocates
//! nothing, so that garbage costs nothing.

use serde::{Deserialize, Serialize};

/// The labels that authorities take at most (Let's Encrypt; others take no more in practice).
const LABELS: usize = 10;

/// Why there cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    /// Longer than 253 bytes, or more than ten labels.
    #[error("it is too long for a host name")]
    TooLong,
    /// One label: a name of the inside.
    #[error("it has no dot")]
    NoDot,
    /// An IP address, or something whose last label is a number.
    #[error("it is an address and no name")]
    Address,
    /// `*.example`.
    #[error("it is a wildcard")]
    Wildcard,
    /// A label that is empty, longer than 63 bytes, or has other bytes than letters, digits and inner hyphens.
    #[error("it is not a host name")]
    Label,
    /// `xn--` with no punycode behind it (RFC 3492), or another label with two hyphens in third and fourth place.
    #[error("it has a label with no meaning as an internationalized name")]
    Reserved,
    /// No suffix of the public internet stands at its end.
    #[error("it is not a name of the public internet")]
    Inner,
}

/// Looks at a server name, with or without a final dot, in either case.
///
/// # Errors
/// [`Unfit`]; never [`Unfit::Inner`], which the list of suffixes decides.
pub fn fit(name: &str) -> Result<(), Unfit> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return Err(Unfit::TooLong);
    }
    if name.contains(':') {
        return Err(Unfit::Address);
    }
    let mut count = 0;
    let mut last = "";
    for label in name.split('.') {
        if label == "*" {
            return Err(Unfit::Wildcard);
        }
        let bytes = label.as_bytes();
        let good = (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-';
        if !good {
            return Err(Unfit::Label);
        }
        if bytes.len() >= 4 && &bytes[2..4] == b"--" {
            let encoded = bytes[..2].eq_ignore_ascii_case(b"xn");
            if !encoded || !is_punycode(&bytes[4..]) {
                return Err(Unfit::Reserved);
            }
        }
        count += 1;
        last = label;
    }
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Unfit::Address);
    }
    match count {
        0 | 1 => Err(Unfit::NoDot),
        count if count > LABELS => Err(Unfit::TooLong),
        _ => Ok(()),
    }
}

/// Whether `text` decodes to Unicode characters, at least one of them beyond ASCII (RFC 3492 6.2). The characters
/// themselves are not needed, so none are kept.
fn is_punycode(text: &[u8]) -> bool {
    let (basic, rest) = match text.iter().rposition(|b| *b == b'-') {
        Some(at) => (at, &text[at + 1..]),
        None => (0, text),
    };
    let mut length = u32::try_from(basic).unwrap_or(u32::MAX);
    let (mut n, mut i, mut bias, mut first) = (128_u32, 0_u32, 72_u32, true);
    let mut digits = rest.iter();
    while digits.len() > 0 {
        let (before, mut weight, mut k) = (i, 1_u32, 36_u32);
        loop {
            let Some(digit) = digits.next().and_then(|b| digit(*b)) else { return false };
            let Some(sum) = digit.checked_mul(weight).and_then(|add| i.checked_add(add)) else { return false };
            i = sum;
            let threshold = if k <= bias { 1 } else { (k - bias).min(26) };
            if digit < threshold {
                break;
            }
            let Some(next) = weight.checked_mul(36 - threshold) else { return false };
            (weight, k) = (next, k + 36);
        }
        length += 1;
        bias = adapted(i - before, length, first);
        first = false;
        let Some(next) = n.checked_add(i / length) else { return false };
        n = next;
        if char::from_u32(n).is_none_or(char::is_control) {
            return false;
        }
        i = i % length + 1;
    }
    !first
}

fn digit(byte: u8) -> Option<u32> {
    match byte {
        b'a'..=b'z' => Some(u32::from(byte - b'a')),
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 26),
        _ => None,
    }
}

fn adapted(delta: u32, length: u32, first: bool) -> u32 {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta += delta / length;
    let mut k = 0;
    while delta > 455 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_client_may_send_is_sorted_without_a_copy() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = format!("{}com", "abcdefgh.".repeat(29));
        let deep = "a.b.c.d.e.f.g.h.i.example.com".to_owned();
        for (name, why) in [
            ("", Unfit::Label),
            (".", Unfit::Label),
            ("..", Unfit::Label),
            ("localhost", Unfit::NoDot),
            ("localhost.", Unfit::NoDot),
            ("com", Unfit::NoDot),
            ("10.0.0.1", Unfit::Address),
            ("1.2.3.4.", Unfit::Address),
            ("300.300.300.300", Unfit::Address),
            ("::1", Unfit::Address),
            ("[::1]", Unfit::Address),
            ("a.example:443", Unfit::Address),
            ("*.example.com", Unfit::Wildcard),
            ("a.*.example.com", Unfit::Wildcard),
            ("*a.example.com", Unfit::Label),
            ("under_score.example", Unfit::Label),
            ("_acme-challenge.example.com", Unfit::Label),
            ("-a.example", Unfit::Label),
            ("a-.example", Unfit::Label),
            ("a..example", Unfit::Label),
            (".example.com", Unfit::Label),
            ("a b.example", Unfit::Label),
            ("a/../../etc/passwd.example", Unfit::Label),
            ("a.example\0.com", Unfit::Label),
            ("a.example\r\nHost: b", Unfit::Address),
            ("<script>.example", Unfit::Label),
            ("ü.example", Unfit::Label),
            ("%61.example", Unfit::Label),
            ("ab--c.example", Unfit::Reserved),
            ("xn--.example", Unfit::Label),
            ("xn--a.example", Unfit::Reserved),
            ("xn--abc-.example", Unfit::Label),
            ("xn--99999999999.example", Unfit::Reserved),
            ("xn--zzzzzzzzzzzzzzzzzzzzzzzzzzzz.example", Unfit::Reserved),
            (&long, Unfit::Label),
            (&longer, Unfit::TooLong),
            (&deep, Unfit::TooLong),
        ] {
            assert_eq!(fit(name), Err(why), "{name:?}");
        }
        for good in [
            "shop.example",
            "SHOP.Example.COM.",
            "a-b.example",
            "1.example",
            "xn--mnchen-3ya.de",
            "xn--bcher-kva.example",
            "xn--fiqs8s.example",
            "xn--p1ai.xn--p1ai",
            "a.b.c.d.e.f.g.h.i.com",
        ] {
            assert_eq!(fit(good), Ok(()), "{good}");
            assert!(good.parse::<crate::words::DomainName>().is_ok(), "{good}");
        }
    }
}
