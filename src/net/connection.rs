//! What do we know of a client's connection? Everything that was negotiated before the first request, and its counters.

use crate::plan::listener::AddressServers;
use crate::plan::server::Server;
use bytes::Bytes;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix-domain socket; shown as `unix:`.
    Unix,
}

impl Endpoint {
    /// The address; `None` on a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Endpoint::Tcp(address) => Some(address.ip()),
            Endpoint::Unix => None,
        }
    }

    /// The port; 0 on a unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Endpoint::Tcp(address) => address.port(),
            Endpoint::Unix => 0,
        }
    }
}

/// A client's connection. One for all its requests; lives on one worker thread.
#[derive(Debug)]
pub struct Connection {
    /// `$connection`: unique in the server process.
    pub id: u64,
    /// The client (`$remote_addr` before realip). With `proxy_protocol` still the address of the socket.
    pub remote: Endpoint,
    /// Our address (`$server_addr`, `$server_port`).
    pub local: Endpoint,
    /// What a PROXY header said: source and destination; `None` without one, or for `UNKNOWN`/`LOCAL`.
    pub proxied: Option<(SocketAddr, SocketAddr)>,
    /// What was negotiated; `None` on a plain listener.
    pub tls: Option<TlsFacts>,
    /// The servers of the address that was reached. The plan of the moment at which the connection came.
    pub servers: Arc<AddressServers>,
    /// The server whose connection-level settings hold: by SNI, else the default server.
    pub server: Arc<Server>,
    /// When it was accepted.
    pub accepted: tokio::time::Instant,
    /// `$connection_requests`.
    pub requests: Cell<u64>,
}

/// What a TLS handshake gave.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// The server name that the client sent, lower case.
    pub sni: Option<Box<str>>,
    /// `TLSv1.2`, `TLSv1.3`.
    pub protocol: &'static str,
    /// The suite in OpenSSL's name (`TLS_AES_128_GCM_SHA256`, `ECDHE-ECDSA-AES128-GCM-SHA256`).
    pub cipher: &'static str,
    /// The negotiated application protocol.
    pub alpn: Option<Bytes>,
    /// The key exchange group in OpenSSL's name (`X25519`).
    pub curve: &'static str,
    /// The session was resumed.
    pub resumed: bool,
    /// The client's certificate, if it sent one.
    pub client: Option<Arc<ClientCertificate>>,
}

/// A client's certificate and what we think of it.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The leaf, DER.
    pub der: Bytes,
    /// `None`: it verified (`SUCCESS`). Else the reason that `$ssl_client_verify` shows after `FAILED:`.
    pub failed: Option<Box<str>>,
}
