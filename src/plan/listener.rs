//! On which sockets do we listen, and which servers stand behind each address? (`listen`, `server_name`.)

use super::pattern::Pattern;
use super::server::Server;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a listening socket is bound. The identity of a listener across reloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A unix-domain socket.
    Unix(PathBuf),
}

/// One listening socket.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What is bound. A wildcard address absorbs specific addresses of the same port (nginx, unless `bind`).
    pub address: ListenAddress,
    /// Options of the socket.
    pub options: SocketOptions,
    /// Servers by local address; the entry with `local: None` takes what no other does and is always there (last).
    pub addresses: Box<[Arc<AddressServers>]>,
}

/// Options of a listening socket (`listen … backlog= rcvbuf= …`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `backlog=`. Default 511.
    pub backlog: i32,
    /// `rcvbuf=`, bytes.
    pub receive_buffer: Option<usize>,
    /// `sndbuf=`, bytes.
    pub send_buffer: Option<usize>,
    /// `ipv6only=`. Default on.
    pub ipv6_only: bool,
    /// `reuseport`. Every worker has its own socket anyway; kept for the record.
    pub reuse_port: bool,
    /// `deferred`: TCP_DEFER_ACCEPT.
    pub deferred: bool,
    /// `so_keepalive=`: on with system defaults, off, or (idle, interval, count) where given.
    pub keepalive: Option<Keepalive>,
    /// `fastopen=`: queue length.
    pub fast_open: Option<i32>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            backlog: 511,
            receive_buffer: None,
            send_buffer: None,
            ipv6_only: true,
            reuse_port: false,
            deferred: false,
            keepalive: None,
            fast_open: None,
        }
    }
}

/// `so_keepalive=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// `off`.
    Off,
    /// `on`, or times given: idle and interval in seconds, probes.
    On {
        /// TCP_KEEPIDLE, seconds.
        idle: Option<u32>,
        /// TCP_KEEPINTVL, seconds.
        interval: Option<u32>,
        /// TCP_KEEPCNT.
        count: Option<u32>,
    },
}

/// The servers of one address:port.
#[derive(Clone, Debug)]
pub struct AddressServers {
    /// The local address of the connection that these servers take; `None`: any.
    pub local: Option<SocketAddr>,
    /// `ssl`.
    pub ssl: bool,
    /// `http2` as a parameter of `listen` (deprecated form). `http2 on` stands in the server.
    pub http2: bool,
    /// `proxy_protocol`: a PROXY header (v1 or v2) comes first.
    pub proxy_protocol: bool,
    /// `default_server`, else the first.
    pub default_server: Arc<Server>,
    /// Servers by name.
    pub names: NameTable,
}

/// Server names of one address, prepared for look-up in nginx's order: exact, longest `*.suffix`, longest `prefix.*`,
/// first matching regex.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    /// Lower-case name → server.
    pub exact: HashMap<Box<[u8]>, Arc<Server>>,
    /// `*.example.com` and `.example.com` under `example.com` → server (the name itself matches only through `exact`).
    pub suffixes: HashMap<Box<[u8]>, Arc<Server>>,
    /// `www.example.*` under `www.example`.
    pub prefixes: HashMap<Box<[u8]>, Arc<Server>>,
    /// In file order, with named groups (group, index into `Http::variables`).
    pub patterns: Box<[NamePattern]>,
}

/// A `server_name ~regex`.
#[derive(Clone, Debug)]
pub struct NamePattern {
    /// Matched against the lower-cased host.
    pub pattern: Pattern,
    /// Named groups: (group, index into `Http::variables`).
    pub names: Box<[(usize, usize)]>,
    /// Whose name it is.
    pub server: Arc<Server>,
}
