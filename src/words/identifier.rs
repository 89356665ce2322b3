//! What may a certificate speak for? Domain names (RFC 1123, with an optional `*.`) and IP addresses (RFC 8738).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host name in lower case without a trailing dot; at most 253 bytes, labels of 1 to 63 letters, digits, `-` or `_`.
/// May begin with `*.` (a wildcard for exactly one label). Internationalized names are taken in their `xn--` form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(Box<str>);

/// Why a text is no domain name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a domain name: labels are 1 to 63 letters, digits or hyphens, 253 bytes in all")]
pub struct NotADomainName;

impl DomainName {
    /// The name as text, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `*.example.com`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether a certificate with this SAN is valid for `host` (RFC 6125 6.4.3: a wildcard stands for one whole label).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.0.strip_prefix("*.") {
            None => self.0.eq_ignore_ascii_case(host),
            Some(suffix) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

impl FromStr for DomainName {
    type Err = NotADomainName;
    fn from_str(text: &str) -> Result<DomainName, NotADomainName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let good = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let numeric = labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if text.len() > 253 || numeric || !labels.split('.').all(good) {
            return Err(NotADomainName);
        }
        Ok(DomainName(text.to_ascii_lowercase().into()))
    }
}

impl TryFrom<String> for DomainName {
    type Error = NotADomainName;
    fn try_from(text: String) -> Result<DomainName, NotADomainName> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> String {
        name.0.into()
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One subject alternative name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identifier {
    /// A host name or wildcard.
    Dns(DomainName),
    /// An address.
    Ip(IpAddr),
}

impl FromStr for Identifier {
    type Err = NotADomainName;
    fn from_str(text: &str) -> Result<Identifier, NotADomainName> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(ip) => Ok(Identifier::Ip(ip)),
            Err(_) => text.parse().map(Identifier::Dns),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identifier::Dns(name) => name.fmt(f),
            Identifier::Ip(ip) => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_and_checked_once() {
        assert_eq!("Example.COM.".parse::<DomainName>().map(|n| n.to_string()), Ok("example.com".into()));
        for bad in ["", "a..b", "-a.b", "a b", "*.*.b", "1.2.3.4", "a/b", "ü.de"] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_whole_label() -> Result<(), NotADomainName> {
        let name: DomainName = "*.example.com".parse()?;
        assert!(name.covers("a.example.com") && name.covers("A.EXAMPLE.com."));
        assert!(!name.covers("example.com") && !name.covers("a.b.example.com"));
        Ok(())
    }
}
