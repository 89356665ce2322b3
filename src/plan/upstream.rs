//! Which servers stand behind an upstream name? (ngx_http_upstream_module.)

use crate::words::Place;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// An `upstream` block, or the servers of a `proxy_pass` with a plain host. Live state is keyed by
/// (upstream name, server address) and survives reloads.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name, lower case; `host:port` if implicit.
    pub name: Box<str>,
    /// Made from a `proxy_pass` URL rather than an `upstream` block.
    pub implicit: bool,
    /// Where it stands.
    pub place: Place,
    /// Its servers in order.
    pub servers: Box<[UpstreamServer]>,
    /// How the next one is chosen.
    pub balance: Balance,
    /// `keepalive` and its kin; `None`: no idle connections are kept.
    pub keepalive: Option<UpstreamKeepalive>,
    /// `zone NAME SIZE`: name, if given. (Health is shared between workers either way.)
    pub zone: Option<Box<str>>,
}

/// `server` in an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamServer {
    /// As written: `host:port`, `unix:/path`.
    pub name: Box<str>,
    /// What the name meant when the configuration was read; several for a name with several addresses.
    /// Empty: it did not resolve; a start or HUP goes on, the name is resolved again in the background, 502 until then.
    pub addresses: Box<[UpstreamAddress]>,
    /// Host and port for resolving again; `None` for literal addresses and unix sockets.
    pub host: Option<(Box<str>, u16)>,
    /// `weight=`. Default 1.
    pub weight: u32,
    /// `max_conns=`; 0 is no limit.
    pub max_conns: u32,
    /// `max_fails=`; 0 never marks it down. Default 1.
    pub max_fails: u32,
    /// `fail_timeout=`. Default 10 s.
    pub fail_timeout: Duration,
    /// `backup`.
    pub backup: bool,
    /// `down`.
    pub down: bool,
    /// `resolve`: names are resolved at run time.
    pub resolve: bool,
}

impl UpstreamServer {
    /// A server as nginx takes it where nothing is said of it.
    pub fn new(name: impl Into<Box<str>>, addresses: impl Into<Box<[UpstreamAddress]>>) -> UpstreamServer {
        UpstreamServer {
            name: name.into(),
            addresses: addresses.into(),
            host: None,
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            backup: false,
            down: false,
            resolve: false,
        }
    }
}

impl Upstream {
    /// What `proxy_pass` with a plain host stands for: one server, no idle connections.
    pub fn implicit(server: UpstreamServer, place: Place) -> Upstream {
        Upstream {
            name: server.name.clone(),
            implicit: true,
            place,
            servers: Box::new([server]),
            balance: Balance::RoundRobin,
            keepalive: None,
            zone: None,
        }
    }
}

/// An address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix-domain socket.
    Unix(PathBuf),
}

impl std::fmt::Display for UpstreamAddress {
    /// As nginx logs it: `1.2.3.4:80`, `unix:/path`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UpstreamAddress::Tcp(address) => address.fmt(f),
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the next server is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
    /// `least_conn`.
    LeastConn,
    /// `ip_hash`.
    IpHash,
    /// `hash KEY [consistent]`.
    Hash {
        /// The key.
        key: super::template::Template,
        /// `consistent`: ketama.
        consistent: bool,
    },
    /// `random [two [least_conn]]`.
    Random {
        /// `two`.
        two: bool,
    },
}

impl UpstreamKeepalive {
    /// `keepalive N` with nginx's other limits.
    pub fn of(connections: usize) -> UpstreamKeepalive {
        let (time, timeout) = (Duration::from_secs(3600), Duration::from_secs(60));
        UpstreamKeepalive { connections, requests: 1000, time, timeout }
    }
}

/// `keepalive`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamKeepalive {
    /// `keepalive N`: idle connections that each worker keeps.
    pub connections: usize,
    /// `keepalive_requests`. Default 1000.
    pub requests: u64,
    /// `keepalive_time`. Default 1 h.
    pub time: Duration,
    /// `keepalive_timeout`: longest idle time. Default 60 s.
    pub timeout: Duration,
}
