//! listen: on which addresses servers stand, which of them is the default there, and which sockets follow from that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::conf::address::{self, AddressKind, Wanted};
use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::{clamp, directive_is};
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::listener::{AddressServers, Keepalive, ListenAddress, Listener, SocketOptions};
use crate::plan::server::Server;
use crate::words::Place;

use super::names::{self, Name};

/// Every address that servers listen on, in the order in which they were first named.
#[derive(Debug, Default)]
pub struct Ports {
    addresses: Vec<Listened>,
    /// Where in `addresses` an address stands; with `quic` it is another one.
    index: HashMap<(ListenAddress, bool), usize>,
    listens: usize,
}

/// Ranges of ports make many addresses of few words; no machine has descriptors for more than these.
const MOST_LISTENS: usize = 200_000;

/// One address with its servers.
#[derive(Debug)]
struct Listened {
    address: ListenAddress,
    options: Options,
    /// Indexes of servers, ascending.
    servers: Vec<usize>,
    default_server: usize,
    /// The protocols that a server asked for last, and whether they changed.
    protocols: Option<u8>,
    changed: bool,
}

/// The parameters of one `listen`.
#[derive(Clone, Debug, Default)]
struct Options {
    socket: SocketOptions,
    /// Options of the socket were given.
    set: bool,
    /// A socket of its own was asked for.
    bind: bool,
    default_server: bool,
    ssl: bool,
    http2: bool,
    quic: bool,
    proxy_protocol: bool,
}

impl Options {
    fn protocols(&self) -> u8 {
        u8::from(self.proxy_protocol) | u8::from(self.ssl) << 1 | u8::from(self.http2) << 2
    }
}

/// Takes `listen`.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive, server: usize) -> Result<(), Complaint> {
    let place = &directive.place;
    let text = &*directive.args[0];
    let wanted = Wanted { listen: true, uri_part: false, resolve: !reader.options.offline, default_port: 80 };
    let address = address::parse(text, wanted, reader.world)
        .map_err(|wrong| Complaint::emerg(format!("{} in \"{text}\" of the \"listen\" directive", wrong.0), place))?;
    let options = parameters(reader, directive)?;
    let addresses = match address.kind {
        AddressKind::Unix => vec![ListenAddress::Unix(address.host.into())],
        AddressKind::Literal(all) | AddressKind::Resolved(all) => {
            let mut all: Vec<_> = all.into_iter().map(ListenAddress::Tcp).collect();
            let mut seen = std::collections::HashSet::new();
            all.retain(|address| seen.insert(address.clone()));
            all
        }
        AddressKind::Name => {
            reader.warn(format!("the host of \"listen {text}\" is not looked up offline"), place);
            Vec::new()
        }
    };
    for address in addresses {
        reader_add(reader, address, options.clone(), server, place)?;
    }
    Ok(())
}

fn parameters(reader: &mut Reader<'_>, directive: &Directive) -> Result<Options, Complaint> {
    let place = &directive.place;
    let emerg = |text: String| Complaint::emerg(text, place);
    let mut options = Options::default();
    for text in directive.args.iter().skip(1) {
        match &**text {
            "default_server" | "default" => options.default_server = true,
            "ssl" => options.ssl = true,
            "http2" => {
                let text = "the \"listen ... http2\" directive is deprecated, use the \"http2\" directive instead";
                reader.warn(text, place);
                options.http2 = true;
            }
            "quic" => options.quic = true,
            "proxy_protocol" => options.proxy_protocol = true,
            text if socket_option(&mut options, text, place)? => {
                options.set = true;
                options.bind = true;
            }
            text => return Err(emerg(format!("invalid parameter \"{text}\""))),
        }
    }
    if options.quic {
        check_quic(&options, directive)?;
        reader.warn("\"listen ... quic\" is ignored: HTTP/3 is not served, clients use TCP", place);
        reader.ignored.push(("listen … quic", "HTTP/3 is not served, clients use TCP", place.clone()));
    }
    Ok(options)
}

/// Reads an option of the socket; false if `text` is none.
fn socket_option(options: &mut Options, text: &str, place: &Place) -> Result<bool, Complaint> {
    let emerg = |text: String| Complaint::emerg(text, place);
    let socket = &mut options.socket;
    let number = |value: &str| value::number(value).and_then(|number| i32::try_from(number).ok());
    match text.split_once('=') {
        None => match text {
            "bind" => {}
            "deferred" => socket.deferred = true,
            "reuseport" => socket.reuse_port = true,
            _ => return Ok(false),
        },
        Some(("setfib", _)) => return Ok(false),
        Some(("fastopen", value)) => {
            socket.fast_open = Some(number(value).ok_or_else(|| emerg(format!("invalid fastopen \"{text}\"")))?);
        }
        Some(("backlog", value)) => {
            let backlog = number(value).filter(|backlog| *backlog > 0);
            socket.backlog = backlog.ok_or_else(|| emerg(format!("invalid backlog \"{text}\"")))?;
        }
        Some((name @ ("rcvbuf" | "sndbuf"), value)) => {
            let size = value::size(value).map(clamp);
            let size = Some(size.ok_or_else(|| emerg(format!("invalid {name} \"{text}\"")))?);
            if name == "rcvbuf" { socket.receive_buffer = size } else { socket.send_buffer = size }
        }
        Some(("accept_filter", _)) => {}
        Some(("ipv6only", "on")) => socket.ipv6_only = true,
        Some(("ipv6only", "off")) => socket.ipv6_only = false,
        Some(("ipv6only", value)) if value.starts_with('o') => {
            return Err(emerg(format!("invalid ipv6only flags \"{value}\"")));
        }
        Some(("so_keepalive", value)) => {
            let keepalive = keepalive(value);
            socket.keepalive =
                Some(keepalive.ok_or_else(|| emerg(format!("invalid so_keepalive value: \"{value}\"")))?);
        }
        Some(_) => return Ok(false),
    }
    Ok(true)
}

/// `on`, `off`, or `idle:interval:count` of which some may be empty.
fn keepalive(text: &str) -> Option<Keepalive> {
    match text {
        "on" => return Some(Keepalive::On { idle: None, interval: None, count: None }),
        "off" => return Some(Keepalive::Off),
        _ => {}
    }
    let mut parts = text.splitn(3, ':');
    let mut part = |read: &dyn Fn(&str) -> Option<u64>| match parts.next() {
        None | Some("") => Some(None),
        Some(text) => read(text).and_then(|number| u32::try_from(number).ok()).map(Some),
    };
    let seconds = |text: &str| value::seconds(text).map(|time| time.as_secs());
    let (idle, interval, count) = (part(&seconds)?, part(&seconds)?, part(&value::number)?);
    let nothing = [idle, interval, count].iter().all(|part| part.is_none_or(|part| part == 0));
    (!nothing).then_some(Keepalive::On { idle, interval, count })
}

fn check_quic(options: &Options, directive: &Directive) -> Result<(), Complaint> {
    let defaults = SocketOptions::default();
    let wrong = [
        (options.socket.fast_open.is_some(), "fastopen"),
        (options.socket.backlog != defaults.backlog, "backlog"),
        (options.socket.deferred, "deferred"),
        (options.ssl, "ssl"),
        (options.http2, "http2"),
        (options.socket.keepalive.is_some(), "so_keepalive"),
        (options.proxy_protocol, "proxy_protocol"),
    ];
    match wrong.iter().find(|(given, _)| *given) {
        Some((_, name)) => Err(directive_is(directive, &format!("\"{name}\" parameter is incompatible with \"quic\""))),
        None => Ok(()),
    }
}

/// As nginx writes an address in its messages.
pub fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Listens on `port` of every IPv4 address, for a server without `listen`.
///
/// # Errors
/// As [`take`].
pub fn add_default(reader: &mut Reader<'_>, server: usize, place: &Place) -> Result<(), Complaint> {
    let port = if reader.world.is_root() { 80 } else { 8000 };
    let address = ListenAddress::Tcp(SocketAddr::from(([0, 0, 0, 0], port)));
    reader_add(reader, address, Options::default(), server, place)
}

fn reader_add(
    reader: &mut Reader<'_>,
    address: ListenAddress,
    options: Options,
    server: usize,
    place: &Place,
) -> Result<(), Complaint> {
    let text = shown(&address);
    let ports = &mut reader.shared.ports;
    ports.listens += 1;
    if ports.listens > MOST_LISTENS {
        return Err(Complaint::emerg(format!("more than {MOST_LISTENS} addresses to listen on"), place));
    }
    let next = ports.addresses.len();
    let at = *ports.index.entry((address.clone(), options.quic)).or_insert(next);
    let Some(known) = ports.addresses.get_mut(at) else {
        let (servers, default_server) = (vec![server], server);
        ports.addresses.push(Listened { address, options, servers, default_server, protocols: None, changed: false });
        return Ok(());
    };
    if known.servers.last() == Some(&server) {
        return Err(Complaint::emerg(format!("a duplicate listen {text}"), place));
    }
    known.servers.push(server);
    let redefined = known.join(options, server).map_err(|wrong| Complaint::emerg(format!("{wrong} {text}"), place))?;
    if redefined {
        reader.warn(format!("protocol options redefined for {text}"), place);
    }
    Ok(())
}

impl Listened {
    /// Adds the parameters of another server's `listen`; tells whether they contradict the protocols given so far.
    fn join(&mut self, options: Options, server: usize) -> Result<bool, &'static str> {
        let (had, asked, had_set) = (self.options.protocols(), options.protocols(), self.options.set);
        if options.set && had_set {
            return Err("duplicate listen options for");
        }
        if options.default_server && self.options.default_server {
            return Err("a duplicate default server for");
        }
        let differ = self.protocols.is_some_and(|last| last != asked);
        let redefined = if asked & !had != 0 {
            let redefined = had_set && !options.set || self.changed || had & !asked != 0;
            self.protocols = Some(had);
            self.changed = true;
            redefined
        } else if had & !asked != 0 {
            self.protocols = Some(asked);
            self.changed = true;
            options.set || differ
        } else {
            let redefined = options.set && self.changed || differ;
            self.protocols = Some(asked);
            redefined
        };
        if options.default_server {
            self.default_server = server;
        }
        let before = self.options.clone();
        if options.set {
            self.options = options.clone();
        }
        self.options.default_server = before.default_server || options.default_server;
        self.options.ssl = before.ssl || options.ssl;
        self.options.http2 = before.http2 || options.http2;
        self.options.proxy_protocol = before.proxy_protocol || options.proxy_protocol;
        Ok(redefined)
    }
}

impl Ports {
    /// Leaves only what is served over TCP: an address that was given with `quic` alone becomes a TLS one.
    pub fn settle_quic(&mut self) {
        let (quic, mut tcp): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.addresses).into_iter().partition(|listened| listened.options.quic);
        for mut listened in quic {
            if !self.index.contains_key(&(listened.address.clone(), false)) {
                listened.options = Options { ssl: true, http2: true, ..Options::default() };
                tcp.push(listened);
            }
        }
        self.addresses = tcp;
    }

    /// For each of `count` servers: whether it stands on an address with `ssl`, and on one with the `http2` parameter.
    pub fn protocols(&self, count: usize) -> Vec<(bool, bool)> {
        let mut all = vec![(false, false); count];
        for listened in &self.addresses {
            for server in &listened.servers {
                all[*server].0 |= listened.options.ssl;
                all[*server].1 |= listened.options.http2;
            }
        }
        all
    }

    /// The servers which must have a certificate because of a `listen … ssl`: (server, is the default one).
    pub fn tls_servers(&self) -> impl Iterator<Item = (usize, &[usize])> {
        let tls = self.addresses.iter().filter(|listened| listened.options.ssl);
        tls.map(|listened| (listened.default_server, &listened.servers[..]))
    }
}

/// Builds the sockets.
///
/// # Errors
/// nginx's words for wrong server names.
pub fn finish(
    reader: &mut Reader<'_>,
    servers: &[Arc<Server>],
    names: &[Vec<Name>],
) -> Result<Box<[Listener]>, Complaint> {
    let ports = std::mem::take(&mut reader.shared.ports);
    let mut listeners: Vec<Listener> = Vec::new();
    let mut absorbed: Vec<(SocketAddr, AddressServers)> = Vec::new();
    let wildcards: Vec<SocketAddr> =
        ports.addresses.iter().filter_map(|listened| wildcard(&listened.address)).collect();
    for listened in &ports.addresses {
        let text = shown(&listened.address);
        let of: Vec<_> =
            listened.servers.iter().map(|index| (Arc::clone(&servers[*index]), &names[*index][..])).collect();
        let entry = AddressServers {
            local: None,
            ssl: listened.options.ssl,
            http2: listened.options.http2,
            proxy_protocol: listened.options.proxy_protocol,
            default_server: Arc::clone(&servers[listened.default_server]),
            names: names::table(&of, &text, reader)?,
        };
        if let ListenAddress::Tcp(address) = listened.address {
            let same_port = |wildcard: &&SocketAddr| {
                wildcard.port() == address.port() && wildcard.is_ipv4() == address.is_ipv4() && **wildcard != address
            };
            if !listened.options.bind
                && let Some(wildcard) = wildcards.iter().find(same_port)
            {
                absorbed.push((*wildcard, AddressServers { local: Some(address), ..entry }));
                continue;
            }
        }
        let options = listened.options.socket.clone();
        listeners.push(Listener { address: listened.address.clone(), options, addresses: Box::new([Arc::new(entry)]) });
    }
    for listener in &mut listeners {
        let Some(own) = wildcard(&listener.address) else { continue };
        let here = absorbed.extract_if(.., |(wildcard, _)| *wildcard == own).map(|(_, entry)| Arc::new(entry));
        let all: Vec<Arc<AddressServers>> = here.chain(std::mem::take(&mut listener.addresses)).collect();
        listener.addresses = all.into();
    }
    Ok(listeners.into())
}

fn wildcard(address: &ListenAddress) -> Option<SocketAddr> {
    match address {
        ListenAddress::Tcp(address) if address.ip().is_unspecified() => Some(*address),
        _ => None,
    }
}
