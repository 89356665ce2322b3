//! What do we know of a client's connection? Everything that was negotiated before the first request, and its counters.

use super::descriptor::Descriptor;
use crate::plan::Plan;
use crate::plan::listener::{AddressServers, ListenAddress};
use crate::plan::server::Server;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

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
    /// Plain HTTP came to a port that speaks TLS: answered with nginx's page (status 497, sent as 400) and closed.
    pub plain_on_tls: bool,
    /// What of the plan it is bound to; see [`Bound`].
    bound: RefCell<Option<Bound>>,
    /// When it was accepted.
    pub accepted: tokio::time::Instant,
    /// `$connection_requests`.
    pub requests: Cell<u64>,
    /// The socket below.
    pub descriptor: Descriptor,
    /// It should end: what was negotiated holds no longer.
    leaving: Cell<bool>,
    /// Who waits for it, and would want to know.
    waiter: RefCell<Option<Waker>>,
}

/// The part of a plan to which a connection is bound. Replaced when a request finds a newer plan that leaves the
/// connection-level settings alone; let go by tunnels, so that they keep no old plan in memory.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The epoch of the plan (counted up by each reload).
    pub epoch: u64,
    /// The plan itself: variables and upstreams by which its requests are answered.
    pub plan: Arc<Plan>,
    /// The listener's address: how the same listener is found in a newer plan.
    pub listener: ListenAddress,
    /// The servers of the address that was reached.
    pub servers: Arc<AddressServers>,
    /// The server whose connection-level settings hold: by SNI, else the default server.
    pub server: Arc<Server>,
}

impl Connection {
    /// A connection that has just been accepted, with its handshake done.
    pub fn new(id: u64, ends: Ends, tls: Option<TlsFacts>, bound: Bound, accepted: tokio::time::Instant) -> Connection {
        let Ends { remote, local, proxied } = ends;
        let bound = RefCell::new(Some(bound));
        let (requests, leaving, waiter) = (Cell::new(0), Cell::new(false), RefCell::default());
        let descriptor = Descriptor::default();
        Connection {
            id,
            remote,
            local,
            proxied,
            tls,
            plain_on_tls: false,
            bound,
            accepted,
            requests,
            descriptor,
            leaving,
            waiter,
        }
    }

    /// What it is bound to; `None` once a tunnel has let go.
    pub fn bound(&self) -> Option<Bound> {
        self.bound.borrow().clone()
    }

    /// The epoch of the plan it is bound to; cheap, for the check before each request.
    pub fn epoch(&self) -> Option<u64> {
        self.bound.borrow().as_ref().map(|b| b.epoch)
    }

    /// Binds it to a newer plan.
    pub fn rebind(&self, bound: Bound) {
        *self.bound.borrow_mut() = Some(bound);
    }

    /// It shall end after its present request, or now if it is idle.
    pub fn leave(&self) {
        self.leaving.set(true);
        self.wake();
    }

    /// Something has changed for whoever waits for its next request.
    pub fn wake(&self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Whom [`Connection::wake`] wakes.
    pub fn woken_by(&self, waiter: &Waker) {
        let mut known = self.waiter.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waiter)) {
            *known = Some(waiter.clone());
        }
    }

    /// Whether it shall end.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Lets go of the plan: only bytes will pass from now on.
    pub fn unbind(&self) {
        *self.bound.borrow_mut() = None;
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub remote: Endpoint,
    /// We.
    pub local: Endpoint,
    /// What a PROXY header said.
    pub proxied: Option<(SocketAddr, SocketAddr)>,
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
    /// What the client offered; `None` where no variable asks for it.
    pub offered: Option<Box<Offered>>,
    /// The client's certificate, if it sent one.
    pub client: Option<Arc<ClientCertificate>>,
}

/// What a client offered in its hello, as OpenSSL names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// `$ssl_ciphers`: unknown ones in hex.
    pub ciphers: Bytes,
    /// `$ssl_curves`: likewise.
    pub curves: Bytes,
}

/// A client's certificate and what we think of it.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The leaf, DER.
    pub der: Bytes,
    /// `None`: it verified (`SUCCESS`). Else the reason that `$ssl_client_verify` shows after `FAILED:`.
    pub failed: Option<Box<str>>,
    /// It failed only because nobody whom we trust vouches for it; `ssl_verify_client optional_no_ca` lets that pass.
    pub only_untrusted: bool,
}
