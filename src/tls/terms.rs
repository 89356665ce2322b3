//! How do the servers of one plan speak TLS? Few handshake settings for many servers: one `ServerConfig` for each address
//! and each distinct set of connection-level settings, with certificates found by name within it. Implements the port of
//! `net::terms`; built anew with each plan and when a file of authorities or ticket keys changes.

use super::certificates::ServerSlots;
use super::client_auth::ClientDemands;
use super::on_demand::Scope;
use crate::clock::Clock;
use crate::net::connection::ClientCertificate;
use crate::net::terms::{HelloAnswer, TlsTerms};
use crate::plan::listener::AddressServers;
use crate::plan::server::Server;
use crate::plan::tls::VerifyClient;
use crate::route::names;
use crate::zone::challenges::{Challenges, TLS_ALPN01};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConnection};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The server that a client means: by the name it sent, else the default server.
pub fn meant<'a>(servers: &'a AddressServers, sni: Option<&str>) -> &'a Arc<Server> {
    let named = sni.and_then(|sni| {
        // rustls gives the name as it came; names of servers are lower case.
        let lower = sni.strip_suffix('.').unwrap_or(sni).to_ascii_lowercase();
        names::find(&servers.names, lower.as_bytes())
    });
    named.map_or(&servers.default_server, |named| named.server)
}

/// Which settings a server has: an index into the configurations of its address. `None`: none could be made.
pub(super) type SettingsIndex = u32;

/// How the servers of one plan speak TLS.
pub struct PlanTls {
    pub(super) challenges: Arc<Challenges>,
    pub(super) clock: Arc<dyn Clock>,
    /// By `Server::index`.
    pub(super) servers: Arc<[ServerTerms]>,
    /// By the address of the `AddressServers`, which `keep` holds.
    pub(super) addresses: HashMap<usize, AddressTerms>,
}

/// What holds for one server.
#[derive(Debug, Default)]
pub(super) struct ServerTerms {
    pub settings: Option<SettingsIndex>,
    pub slots: ServerSlots,
    pub demands: Option<Arc<ClientDemands>>,
    /// Names beyond those of its certificates are held on demand.
    pub on_demand: Option<Scope>,
}

/// The configurations of one address.
pub(super) struct AddressTerms {
    pub keep: Arc<AddressServers>,
    pub configs: HashMap<(SettingsIndex, bool), Arc<ServerConfig>>,
}

impl std::fmt::Debug for PlanTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanTls").field("servers", &self.servers.len()).finish_non_exhaustive()
    }
}

impl PlanTls {
    /// How many handshake configurations stand for all servers together.
    pub fn configurations(&self) -> usize {
        self.addresses.values().map(|address| address.configs.len()).sum()
    }

    fn challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(TLS_ALPN01) || offered.next().is_some() {
            return None;
        }
        let key = self.challenges.tls_alpn01(hello.server_name()?)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(One(key)));
        config.alpn_protocols = vec![TLS_ALPN01.to_vec()];
        config.send_tls13_tickets = 0;
        Some(Arc::new(config))
    }
}

impl TlsTerms for PlanTls {
    fn answer(&self, hello: &ClientHello<'_>, servers: &Arc<AddressServers>, client: Option<IpAddr>) -> HelloAnswer {
        if let Some(config) = self.challenge(hello) {
            return HelloAnswer::Challenge(config);
        }
        let server = meant(servers, hello.server_name());
        if server.tls.as_ref().is_none_or(|tls| tls.reject_handshake) {
            return HelloAnswer::Refuse;
        }
        let own = self.servers.get(server.index);
        if let Some(scope) = own.and_then(|own| own.on_demand.as_ref())
            && !scope.lets_in(hello.server_name(), client)
        {
            return HelloAnswer::Refuse;
        }
        let config = own.and_then(|own| {
            let address = self.addresses.get(&(Arc::as_ptr(servers) as usize))?;
            debug_assert!(Arc::ptr_eq(&address.keep, servers));
            address.configs.get(&(own.settings?, server.http2 || servers.http2))
        });
        match config {
            Some(config) => HelloAnswer::Serve { config: config.clone(), server: server.clone() },
            None => HelloAnswer::Refuse,
        }
    }

    fn client_certificate(&self, server: &Server, session: &ServerConnection) -> Option<Arc<ClientCertificate>> {
        if server.tls.as_ref()?.verify_client == VerifyClient::Off {
            return None;
        }
        let demands = self.servers.get(server.index)?.demands.as_ref()?;
        demands.judge(session.peer_certificates(), self.clock.now())
    }
}

/// One certificate for whoever asks.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// The certificate of the server that the client means.
pub(super) struct ByName {
    pub servers: Arc<AddressServers>,
    pub terms: Arc<[ServerTerms]>,
    pub placeholder: Arc<CertifiedKey>,
}

impl std::fmt::Debug for ByName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByName").finish_non_exhaustive()
    }
}

impl ByName {
    fn choose(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let server = meant(&self.servers, sni);
        let held = self.terms.get(server.index).and_then(|own| match (&own.on_demand, sni) {
            (Some(scope), Some(sni)) if scope.takes(sni) => scope.door.choose(sni),
            _ => own.slots.choose(sni, schemes),
        });
        held.unwrap_or_else(|| self.placeholder.clone())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name(), hello.signature_schemes()))
    }
}
