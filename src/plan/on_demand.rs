//! For which names that stand nowhere in the configuration may certificates be obtained, and on whose word? `acme_on_demand`,
//! frozen. What becomes of a name is decided by `cert::on_demand`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::certificate::KeyKind;
use super::limits::Rate;
use crate::words::{DomainName, Place};

const HOUR: Duration = Duration::from_secs(3600);

/// `acme_on_demand`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// `issuer`: the `acme_issuer` that signs.
    pub issuer: Arc<str>,
    /// `issuer … key=`: the kind of the keys. Default ECDSA P-256.
    pub key: KeyKind,
    /// `allow`: names that need no question.
    pub allow: Vec<Allowed>,
    /// `ask`: who is asked about all others. Without it they are refused.
    pub ask: Option<Ask>,
    /// `per_client`: new names that one client address (or /64) may bring. Default 10 an hour.
    pub per_client: Rate,
    /// `overall`: new names for which certificates may be begun. Default 100 an hour, what Let's Encrypt allows an account.
    pub overall: Rate,
    /// `names`: at most so many are held. Default 10,000.
    pub names: usize,
    /// `forget`: a name that no client has asked for that long is dropped: served no more, renewed no more. Default 60 days.
    pub forget: Duration,
    /// Where it was said.
    pub place: Place,
}

impl OnDemand {
    /// The terms with every default; nothing is allowed yet.
    pub fn of(issuer: impl Into<Arc<str>>, place: Place) -> OnDemand {
        OnDemand {
            issuer: issuer.into(),
            key: KeyKind::default(),
            allow: Vec::new(),
            ask: None,
            per_client: Rate { count: 10, per: HOUR },
            overall: Rate { count: 100, per: HOUR },
            names: 10_000,
            forget: 60 * 24 * HOUR,
            place,
        }
    }
}

/// One pattern of `allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// `shop.example` or `*.example`: this name, or one label before it.
    Name(DomainName),
    /// `.example`: the name and everything below, as in `server_name`.
    Below(DomainName),
}

impl Allowed {
    /// Reads `shop.example`, `*.example` or `.example`. What would let in everything below a suffix of the internet, below
    /// which strangers register (`.com`, `*.co.uk`), is none.
    pub fn parse(text: &str) -> Option<Allowed> {
        let bare = text.strip_prefix('.').or_else(|| text.strip_prefix("*.")).unwrap_or(text);
        let zone: DomainName = bare.parse().ok().filter(|_| !bare.contains('*'))?;
        psl::domain(zone.as_str().as_bytes())?;
        match text.strip_prefix('.') {
            Some(_) => Some(Allowed::Below(zone)),
            None => text.parse().ok().map(Allowed::Name),
        }
    }

    /// Whether `name` (lower case) is meant.
    pub fn covers(&self, name: &DomainName) -> bool {
        match self {
            Allowed::Name(own) => own.covers(name.as_str()),
            Allowed::Below(zone) => {
                name.as_str().strip_suffix(zone.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    }
}

/// `ask URL [timeout=5s] [yes=1d] [no=5m] [trusted=FILE]`: a GET with `domain=NAME` in the query, answered with 200 for yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// HTTPS.
    pub tls: bool,
    /// The host, without brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// Path and query, up to the name: ends in `?domain=` or `&domain=`.
    pub target: Box<str>,
    /// `timeout=`: for the whole question. Default 5 seconds.
    pub timeout: Duration,
    /// `yes=`: a yes is believed so long, then it is asked again, while the name goes on being served. Default a day.
    pub yes: Duration,
    /// `no=`: a no is believed so long. Default five minutes.
    pub no: Duration,
    /// `trusted=`: roots (PEM) for its certificate, instead of the system's.
    pub trusted: Option<PathBuf>,
}

impl Ask {
    /// Reads an `http://` or `https://` URL; `None` for anything else.
    pub fn parse(url: &str) -> Option<Ask> {
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return None,
        };
        if rest.bytes().any(|b| !b.is_ascii_graphic()) || rest.contains('#') {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => {
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let port = match port? {
            "" => {
                if tls {
                    443
                } else {
                    80
                }
            }
            text => text.parse().ok().filter(|port| *port > 0)?,
        };
        host.parse::<crate::words::Identifier>().ok()?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let joint = if path.contains('?') { '&' } else { '?' };
        Some(Ask {
            tls,
            host: host.into(),
            port,
            target: format!("{slash}{path}{joint}domain=").into(),
            timeout: Duration::from_secs(5),
            yes: 24 * HOUR,
            no: Duration::from_secs(300),
            trusted: None,
        })
    }

    /// Host and port as the Host field has them.
    pub fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_urls_are_read_and_the_name_is_added_to_their_query() {
        for (url, tls, host, port, target) in [
            ("http://127.0.0.1:5555/ok", false, "127.0.0.1", 5555, "/ok?domain="),
            ("https://app.example", true, "app.example", 443, "/?domain="),
            ("https://app.example/x?key=1", true, "app.example", 443, "/x?key=1&domain="),
            ("http://[::1]:80?a", false, "::1", 80, "/?a&domain="),
            ("http://localhost/", false, "localhost", 80, "/?domain="),
        ] {
            let ask = Ask::parse(url).unwrap();
            assert_eq!((ask.tls, &*ask.host, ask.port, &*ask.target), (tls, host, port, target), "{url}");
        }
        for bad in [
            "",
            "app.example",
            "ftp://a.example/",
            "http://",
            "http://:80/",
            "http://u:p@a.example/",
            "http://a b/",
            "http://a.example/#x",
            "http://a.example:0/",
            "http://a.example:99999/",
            "http://[::1/",
            "http://[::1]x/",
            "http://a.example/\r\nX: y",
        ] {
            assert_eq!(Ask::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Ask::parse("http://[::1]:81/").unwrap().authority(), "[::1]:81");
        assert_eq!(Ask::parse("https://a.example:443/").unwrap().authority(), "a.example");
    }

    #[test]
    fn patterns_mean_what_server_name_means_by_them() {
        let name = |text: &str| text.parse::<DomainName>().unwrap();
        for bad in [
            "",
            ".",
            "*",
            "*.",
            ".com",
            "*.co.uk",
            "github.io",
            "localhost",
            "*.*.a.example",
            ".*.a.example",
            "10.0.0.1",
        ] {
            assert_eq!(Allowed::parse(bad), None, "{bad}");
        }
        let one = Allowed::parse("*.a.example").unwrap();
        assert!(
            one.covers(&name("x.a.example")) && !one.covers(&name("a.example")) && !one.covers(&name("x.y.a.example"))
        );
        let below = Allowed::parse(".a.example").unwrap();
        assert!(below.covers(&name("a.example")) && below.covers(&name("x.y.a.example")));
        assert!(!below.covers(&name("evila.example")));
    }
}
