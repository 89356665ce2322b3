//! What holds for connections that come now? The plan in force with its epoch, and the port to `tls`, which alone knows
//! how handshakes are made. `node` swaps [`Terms`] as a whole; a connection is accepted under one of them.

use super::connection::ClientCertificate;
use crate::plan::Plan;
use crate::plan::listener::{AddressServers, ListenAddress, Listener};
use crate::plan::server::Server;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ServerConnection};
use std::net::IpAddr;
use std::sync::Arc;

/// The plan in force. Shared by all workers in an `ArcSwap`.
pub struct Terms {
    /// Counted up by each reload.
    pub epoch: u64,
    /// What is run.
    pub plan: Arc<Plan>,
    /// How its servers speak TLS.
    pub tls: Arc<dyn TlsTerms>,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Terms {
    /// The listener that is bound to `address`; `None` if the plan has none.
    pub fn listener(&self, address: &ListenAddress) -> Option<&Listener> {
        self.plan.http.as_ref()?.listeners.iter().find(|listener| listener.address == *address)
    }
}

/// What is done about a client's hello.
#[derive(Clone, Debug)]
pub enum HelloAnswer {
    /// The handshake goes on with these settings, for this server.
    Serve {
        /// Settings of the handshake.
        config: Arc<ServerConfig>,
        /// The server: by name, else the default server of the address.
        server: Arc<Server>,
    },
    /// A certificate authority asks (TLS-ALPN-01): handshake, then close.
    Challenge(Arc<ServerConfig>),
    /// `ssl_reject_handshake`, or a name that is not held on demand: the alert `unrecognized_name`.
    Refuse,
}

/// How the servers of one plan speak TLS; `tls` implements it.
pub trait TlsTerms: Send + Sync {
    /// Which settings hold for a client (its address, if it has one) that says `hello` at these servers. Must not block.
    fn answer(&self, hello: &ClientHello<'_>, servers: &Arc<AddressServers>, client: Option<IpAddr>) -> HelloAnswer;

    /// The certificate that the client of a finished handshake has shown, and what `server` thinks of it. `None` if it
    /// showed none. A bad one never fails the handshake: the request is answered with 400 instead, as nginx does.
    fn client_certificate(&self, server: &Server, session: &ServerConnection) -> Option<Arc<ClientCertificate>>;
}

/// For plans without TLS, and tests: refuses every handshake.
#[derive(Clone, Copy, Debug)]
pub struct NoTls;

impl TlsTerms for NoTls {
    fn answer(&self, _: &ClientHello<'_>, _: &Arc<AddressServers>, _: Option<IpAddr>) -> HelloAnswer {
        HelloAnswer::Refuse
    }

    fn client_certificate(&self, _: &Server, _: &ServerConnection) -> Option<Arc<ClientCertificate>> {
        None
    }
}
