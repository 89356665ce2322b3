//! Where does this request go? The upstream of `proxy_pass`, or whatever its variables say, with names resolved.

use super::asked::Asked;
use super::error::ForwardError;
use super::{Forwarder, Known};
use crate::balance::{Group, Health};
use crate::plan::proxy::{Proxy, ProxyTo};
use crate::plan::template::Template;
use crate::plan::tls::UpstreamTls;
use crate::plan::upstream::{Balance, Upstream, UpstreamAddress, UpstreamServer};
use crate::words::Place;
use bytes::Bytes;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Where a request goes.
pub(super) struct Destination {
    /// Who may answer.
    pub group: Arc<Group>,
    /// Whose idle connections may be used; `None`: they are not kept.
    pub known: Option<Rc<Known>>,
    /// The key of `hash KEY`.
    pub key: Bytes,
    /// TLS, and the name for SNI and verification.
    pub tls: Option<(Arc<UpstreamTls>, Bytes)>,
    /// The URI part of an evaluated URL: it stands instead of the request's.
    pub uri: Option<Bytes>,
}

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    tls: bool,
    /// Host as written: a name, an address, `[::1]`; the path of a unix socket.
    host: &'a str,
    unix: bool,
    port: Option<u16>,
    /// With its `/`; empty if there is none.
    uri: &'a [u8],
}

impl Forwarder {
    /// Finds out where `asked` goes.
    pub(super) async fn destination(&self, asked: &mut impl Asked, proxy: &Proxy) -> Result<Destination, ForwardError> {
        match &proxy.to {
            ProxyTo::Upstream(upstream) => {
                let known = self.known(upstream);
                let tls = proxy.tls.clone();
                Ok(self.to_known(asked, upstream, known, tls, None))
            }
            // In a box of its own: it is rare, and would make every request's future larger.
            ProxyTo::Url(template) => Box::pin(self.to_url(asked, proxy, template)).await,
        }
    }

    fn to_known(
        &self,
        asked: &impl Asked,
        upstream: &Upstream,
        known: Rc<Known>,
        tls: Option<Arc<UpstreamTls>>,
        uri: Option<Bytes>,
    ) -> Destination {
        let key = match &upstream.balance {
            Balance::Hash { key, .. } => asked.text(key),
            _ => Bytes::new(),
        };
        let tls = tls.map(|tls| with_name(asked, tls));
        Destination { group: known.live.group(), known: Some(known), key, tls, uri }
    }

    async fn to_url(
        &self,
        asked: &mut impl Asked,
        proxy: &Proxy,
        template: &Template,
    ) -> Result<Destination, ForwardError> {
        let text = asked.text(template);
        let url = Url::parse(&text)?;
        let default_port = if url.tls { 443 } else { 80 };
        let port = url.port.unwrap_or(default_port);
        let shown_host = match url.port {
            Some(port) if port != default_port => format!("{}:{port}", url.host),
            _ if url.unix => "localhost".to_owned(),
            _ => url.host.to_owned(),
        };
        asked.proxied_to(shown_host.into(), if url.unix { "".into() } else { port.to_string().into() });
        let uri = (!url.uri.is_empty()).then(|| match url.uri {
            [b'?', ..] => [b"/", url.uri].concat().into(),
            uri => Bytes::copy_from_slice(uri),
        });
        let tls = if url.tls { proxy.tls.clone() } else { None };
        let named = match url.port {
            None => asked.upstream(url.host),
            Some(port) => asked.upstream(&format!("{}:{port}", url.host)),
        };
        if let Some(upstream) = named {
            let known = self.known(&upstream);
            return Ok(self.to_known(asked, &upstream, known, tls, uri));
        }
        let addresses = self.addresses(asked, &url, port).await?;
        let group = transient(url.host, addresses);
        let tls = tls.map(|tls| with_name(asked, tls));
        Ok(Destination { group: Arc::new(group), known: None, key: Bytes::new(), tls, uri })
    }

    async fn addresses(
        &self,
        asked: &impl Asked,
        url: &Url<'_>,
        port: u16,
    ) -> Result<Vec<UpstreamAddress>, ForwardError> {
        if url.unix {
            return Ok(vec![UpstreamAddress::Unix(url.host.into())]);
        }
        let literal = url.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(ip) = literal {
            return Ok(vec![UpstreamAddress::Tcp((ip, port).into())]);
        }
        let settings = asked.settings().resolver.clone();
        let Some(settings) = settings else { return Err(ForwardError::NoResolver(url.host.to_owned())) };
        match self.resolvers.resolve(Some(&settings), url.host).await {
            Ok(found) => Ok(found.into_iter().map(|ip| UpstreamAddress::Tcp((ip, port).into())).collect()),
            Err(why) => Err(ForwardError::Unresolved { host: url.host.to_owned(), why }),
        }
    }
}

/// Servers that only this request knows; what happens to them is forgotten with it, as in nginx.
fn transient(host: &str, addresses: Vec<UpstreamAddress>) -> Group {
    let upstream = Upstream::implicit(UpstreamServer::new(host, addresses), Place::built_in());
    Group::new(&upstream, |_, server| server.addresses.to_vec(), |_| Arc::new(Health::default()))
}

/// The name for SNI and verification: `proxy_ssl_name` without a port.
fn with_name(asked: &impl Asked, tls: Arc<UpstreamTls>) -> (Arc<UpstreamTls>, Bytes) {
    let name = asked.text(&tls.name);
    let after_bracket = if name.starts_with(b"[") { name.iter().position(|b| *b == b']').unwrap_or(0) } else { 0 };
    let colon = name[after_bracket..].iter().position(|b| *b == b':');
    let name = colon.map_or(name.clone(), |colon| name.slice(..after_bracket + colon));
    (tls, name)
}

impl<'a> Url<'a> {
    fn parse(text: &'a [u8]) -> Result<Url<'a>, ForwardError> {
        let shown = || String::from_utf8_lossy(text).into_owned();
        let (tls, rest) = match text {
            _ if starts(text, b"https://") => (true, &text[8..]),
            _ if starts(text, b"http://") => (false, &text[7..]),
            _ => return Err(bad_prefix(&shown())),
        };
        let wrong =
            |why: &str| ForwardError::BadUrl(format!("{why} in upstream \"{}\"", String::from_utf8_lossy(rest)));
        if starts(rest, b"unix:") {
            let path = &rest[5..];
            let end = path.iter().position(|b| *b == b':').unwrap_or(path.len());
            let host = std::str::from_utf8(&path[..end]).map_err(|_| wrong("invalid host"))?;
            if host.is_empty() {
                return Err(wrong("no path in the unix domain socket"));
            }
            let uri = path.get(end + 1..).unwrap_or_default();
            return Ok(Url { tls, host, unix: true, port: None, uri });
        }
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, uri) = rest.split_at(end);
        let authority = std::str::from_utf8(authority).map_err(|_| wrong("invalid host"))?;
        let after_bracket = authority.rfind(']').unwrap_or(0);
        let (host, port) = match authority[after_bracket..].rfind(':') {
            Some(colon) => (&authority[..after_bracket + colon], Some(&authority[after_bracket + colon + 1..])),
            None => (authority, None),
        };
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|p| *p > 0).ok_or_else(|| wrong("invalid port"))?),
            None => None,
        };
        if host.is_empty() {
            return Err(wrong("no host"));
        }
        Ok(Url { tls, host, unix: false, port, uri })
    }
}

fn starts(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix)
}

fn bad_prefix(url: &str) -> ForwardError {
    ForwardError::BadUrl(format!("invalid URL prefix in \"{url}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_nginx_does() {
        let url = Url::parse(b"https://Backend:8443/a?b").unwrap();
        assert_eq!(url, Url { tls: true, host: "Backend", unix: false, port: Some(8443), uri: b"/a?b" });
        let url = Url::parse(b"http://[::1]?x").unwrap();
        assert_eq!(url, Url { tls: false, host: "[::1]", unix: false, port: None, uri: b"?x" });
        let url = Url::parse(b"http://unix:/run/a.sock:/u").unwrap();
        assert_eq!(url, Url { tls: false, host: "/run/a.sock", unix: true, port: None, uri: b"/u" });
        for bad in ["", "h", "ftp://a", "http://", "http://:80/", "http://a:0", "http://a:99999", "http://a:x"] {
            assert!(Url::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
