//! Who gets in? allow/deny in order, the credentials of `Authorization`, and how `satisfy` joins the checks.

use crate::plan::access::AccessRule;
use base64::Engine;
use bytes::Bytes;
use std::net::IpAddr;

/// What the address rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An `allow` matched.
    Allowed,
    /// A `deny` matched: 403.
    Denied,
    /// No rule matched, or there is none.
    Silent,
}

/// The first rule that means `client` decides; `None` is a client on a unix socket.
pub fn by_address(rules: &[AccessRule], client: Option<IpAddr>) -> Verdict {
    match rules.iter().find(|rule| rule.whom.means(client)) {
        Some(rule) if rule.allow => Verdict::Allowed,
        Some(_) => Verdict::Denied,
        None => Verdict::Silent,
    }
}

/// User and password of an `Authorization: Basic …` value; `None` where nginx finds no user in it.
pub fn credentials(value: &Bytes) -> Option<(Bytes, Bytes)> {
    let scheme = value.get(..6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let encoded = value[6..].trim_ascii();
    let decoded = DECODER.decode(encoded).ok()?;
    let colon = decoded.iter().position(|b| *b == b':').filter(|at| *at > 0)?;
    let decoded = Bytes::from(decoded);
    Some((decoded.slice(..colon), decoded.slice(colon + 1..)))
}

/// As nginx: padding may be missing.
const DECODER: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The password hash of `user` in the text of a password file: `user:hash[:comment]` lines, `#` begins a comment.
pub fn hash_of<'f>(file: &'f [u8], user: &[u8]) -> Option<&'f [u8]> {
    file.split(|b| *b == b'\n').filter(|line| !line.starts_with(b"#")).find_map(|line| {
        let rest = line.strip_prefix(user)?.strip_prefix(b":")?;
        let end = rest.iter().position(|b| matches!(b, b':' | b'\r')).unwrap_or(rest.len());
        Some(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::access::Whom;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |allow, whom| AccessRule { allow, whom };
        let rules = [
            rule(false, Whom::Net("10.0.0.1".parse().unwrap(), 32)),
            rule(true, Whom::Net("10.0.0.0".parse().unwrap(), 8)),
            rule(false, Whom::All),
        ];
        assert_eq!(by_address(&rules, "10.0.0.1".parse().ok()), Verdict::Denied);
        assert_eq!(by_address(&rules, "10.0.0.2".parse().ok()), Verdict::Allowed);
        assert_eq!(by_address(&rules, None), Verdict::Denied);
        assert_eq!(by_address(&rules[..2], "1.1.1.1".parse().ok()), Verdict::Silent);
    }

    #[test]
    fn credentials_need_a_user_and_a_colon() {
        let read = |text: &'static str| credentials(&Bytes::from_static(text.as_bytes()));
        assert_eq!(read("Basic dTpwOng="), Some(("u".into(), "p:x".into())));
        assert_eq!(read("basic  dTpwOng"), Some(("u".into(), "p:x".into())));
        for bad in ["Basic OnA=", "Basic dXA=", "Bearer dTpw", "Basic", "Basic !!!!", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_password_file_is_searched_by_whole_names() {
        let file = b"# u:no\nuu:one\nu:two:comment\r\nu:three\nlast:four\r\n";
        assert_eq!(hash_of(file, b"u"), Some(&b"two"[..]));
        assert_eq!(hash_of(file, b"last"), Some(&b"four"[..]));
        assert_eq!(hash_of(file, b"# u"), None);
        assert_eq!(hash_of(file, b"nobody"), None);
    }
}
