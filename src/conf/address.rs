//! What does `host:port`, `[v6]:port`, `unix:path` mean, in `listen`, `server` and `proxy_pass`? nginx's rules and words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::world::World;

/// What is being read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// For `listen`: `*`, a bare port and port ranges are known.
    pub listen: bool,
    /// A URI may follow (`proxy_pass`).
    pub uri_part: bool,
    /// Names are looked up now.
    pub resolve: bool,
    /// The port if none is given; 0 if there is no default.
    pub default_port: u16,
}

/// An address that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host as written (with brackets), or the path of a unix socket.
    pub host: String,
    /// The port; the default one if none was given.
    pub port: u16,
    /// Whether no port was given.
    pub no_port: bool,
    /// What follows the host, from `/` or `?` on.
    pub uri: String,
    /// What it is.
    pub kind: AddressKind,
}

/// What an [`Address`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// A unix socket at `host`.
    Unix,
    /// Literal addresses (several for a range of ports).
    Literal(Vec<SocketAddr>),
    /// A name that was looked up.
    Resolved(Vec<SocketAddr>),
    /// A name that was not looked up, because that was not asked for.
    Name,
}

/// What is wrong with an address: nginx's words, without the end that names the directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress(pub &'static str);

/// The one complaint that may be forgiven.
pub const HOST_NOT_FOUND: BadAddress = BadAddress("host not found");

/// Reads an address.
///
/// # Errors
/// nginx's words.
pub fn parse(text: &str, wanted: Wanted, world: &dyn World) -> Result<Address, BadAddress> {
    if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("unix:")) {
        return unix(&text[5..], wanted);
    }
    match text.strip_prefix('[') {
        Some(inner) => v6(text, inner, wanted),
        None => named(text, wanted, world),
    }
}

fn unix(path: &str, wanted: Wanted) -> Result<Address, BadAddress> {
    let (path, uri) = match path.split_once(':') {
        Some((path, uri)) if wanted.uri_part => (path, uri),
        _ => (path, ""),
    };
    if path.is_empty() {
        return Err(BadAddress("no path in the unix domain socket"));
    }
    if path.len() + 1 > 108 {
        return Err(BadAddress("too long path in the unix domain socket"));
    }
    Ok(Address { host: path.into(), port: 0, no_port: true, uri: uri.into(), kind: AddressKind::Unix })
}

fn v6(text: &str, inner: &str, wanted: Wanted) -> Result<Address, BadAddress> {
    let (host, rest) = inner.split_once(']').ok_or(BadAddress("invalid host"))?;
    let (rest, uri) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    if !uri.is_empty() && (wanted.listen || !wanted.uri_part) {
        return Err(BadAddress("invalid host"));
    }
    let ports = match rest.strip_prefix(':') {
        Some(ports) => Some(self::ports(ports, wanted.listen)?),
        None if rest.is_empty() => None,
        None => return Err(BadAddress("invalid host")),
    };
    if host.is_empty() {
        return Err(BadAddress("no host"));
    }
    let ip: Ipv6Addr = host.parse().map_err(|_| BadAddress("invalid IPv6 address"))?;
    let shown = text[..host.len() + 2].to_owned();
    Ok(literal(shown, IpAddr::V6(ip), ports, uri, wanted))
}

fn named(text: &str, wanted: Wanted, world: &dyn World) -> Result<Address, BadAddress> {
    let (rest, uri) = text.find(['/', '?']).map_or((text, ""), |at| text.split_at(at));
    if !uri.is_empty() && (wanted.listen || !wanted.uri_part) {
        return Err(BadAddress("invalid host"));
    }
    let (host, ports) = match rest.split_once(':') {
        Some((host, ports)) => (host, Some(self::ports(ports, wanted.listen)?)),
        None if wanted.listen => match bare_port(rest)? {
            Some(ports) => return Ok(literal(String::new(), Ipv4Addr::UNSPECIFIED.into(), Some(ports), "", wanted)),
            None => (rest, None),
        },
        None => (rest, None),
    };
    if host.is_empty() {
        return Err(BadAddress("no host"));
    }
    if wanted.listen && host == "*" {
        return Ok(literal(host.into(), Ipv4Addr::UNSPECIFIED.into(), ports, uri, wanted));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(literal(host.into(), ip.into(), ports, uri, wanted));
    }
    let mut address = literal(host.into(), Ipv4Addr::UNSPECIFIED.into(), ports, uri, wanted);
    address.kind = AddressKind::Name;
    if wanted.resolve {
        let found = world.resolve(host).filter(|found| !found.is_empty()).ok_or(HOST_NOT_FOUND)?;
        let range = ports.unwrap_or((wanted.default_port, wanted.default_port));
        address.kind = AddressKind::Resolved(expand(&found, range));
    }
    Ok(address)
}

fn literal(host: String, ip: IpAddr, ports: Option<(u16, u16)>, uri: &str, wanted: Wanted) -> Address {
    let range = ports.unwrap_or((wanted.default_port, wanted.default_port));
    let kind = AddressKind::Literal(expand(&[ip], range));
    Address { host, port: range.0, no_port: ports.is_none(), uri: uri.into(), kind }
}

fn expand(ips: &[IpAddr], (first, last): (u16, u16)) -> Vec<SocketAddr> {
    ips.iter().flat_map(|ip| (first..=last).map(|port| SocketAddr::new(*ip, port))).collect()
}

/// A port or, for `listen`, a range.
fn ports(text: &str, listen: bool) -> Result<(u16, u16), BadAddress> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) if listen => (first, Some(last)),
        _ => (text, None),
    };
    let last = last.map(port).transpose()?;
    let first = port(first)?;
    match last {
        Some(last) if first > last => Err(BadAddress("invalid port range")),
        last => Ok((first, last.unwrap_or(first))),
    }
}

fn port(text: &str) -> Result<u16, BadAddress> {
    let number = super::value::number(text).and_then(|port| u16::try_from(port).ok());
    number.filter(|port| *port > 0).ok_or(BadAddress("invalid port"))
}

/// The value of `listen` as a port alone; `None` if it is a host.
fn bare_port(text: &str) -> Result<Option<(u16, u16)>, BadAddress> {
    let digits = |text: &str| super::value::number(text).is_some();
    match text.split_once('-') {
        Some((first, last)) if digits(first) && digits(last) => ports(text, true).map(Some),
        None if digits(text) => ports(text, true).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::world::MemoryWorld;

    fn listen(text: &str) -> Result<Vec<String>, &'static str> {
        let wanted = Wanted { listen: true, uri_part: false, resolve: true, default_port: 80 };
        let address = parse(text, wanted, &MemoryWorld::default()).map_err(|wrong| wrong.0)?;
        match address.kind {
            AddressKind::Literal(all) | AddressKind::Resolved(all) => Ok(all.iter().map(ToString::to_string).collect()),
            AddressKind::Unix => Ok(vec![format!("unix:{}", address.host)]),
            AddressKind::Name => Ok(vec![]),
        }
    }

    #[test]
    fn every_form_of_listen_is_read() {
        for (text, means) in [
            ("80", "0.0.0.0:80"),
            ("*:81", "0.0.0.0:81"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("[::]:443", "[::]:443"),
            ("[::1]", "[::1]:80"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("unix:/run/x", "unix:/run/x"),
        ] {
            assert_eq!(listen(text), Ok(vec![means.to_owned()]), "{text}");
        }
        assert_eq!(listen("8000-8002").unwrap().len(), 3);
    }

    #[test]
    fn wrong_addresses_get_the_words_of_nginx() {
        for (text, words) in [
            ("70000", "invalid port"),
            ("a:b", "invalid port"),
            ("9-8", "invalid port range"),
            ("1.2.3.4/x", "invalid host"),
            ("[::1", "invalid host"),
            ("[x]:1", "invalid IPv6 address"),
            (":80", "no host"),
            ("unix:", "no path in the unix domain socket"),
            ("nowhere.invalid:80", "host not found"),
        ] {
            assert_eq!(listen(text), Err(words), "{text}");
        }
    }

    #[test]
    fn proxy_pass_keeps_the_uri() {
        let wanted = Wanted { listen: false, uri_part: true, resolve: false, default_port: 80 };
        let read = |text| parse(text, wanted, &MemoryWorld::default()).unwrap();
        let address = read("backend/a:b");
        assert_eq!((&*address.host, &*address.uri, address.no_port), ("backend", "/a:b", true));
        assert_eq!(read("unix:/s:/x").uri, "/x");
        assert_eq!(read("h:81?q").uri, "?q");
    }
}
