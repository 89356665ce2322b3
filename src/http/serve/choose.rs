//! By which plan, and by which server, is a request answered? The plan to which its connection is bound, or the newest if
//! nothing that was negotiated has changed; the server by host.

use super::Worker;
use crate::net::connection::{Bound, Connection};
use crate::plan::Plan;
use crate::plan::listener::AddressServers;
use crate::plan::pattern::Spans;
use crate::plan::server::Server;
use crate::plan::tls::VerifyClient;
use crate::route::names;
use bytes::Bytes;
use std::sync::Arc;

/// Where a connection stands when a request comes.
pub(super) struct Standing {
    pub(super) bound: Bound,
    /// What was negotiated holds no longer: the connection ends with this request.
    pub(super) closing: bool,
}

/// Binds `connection` to the newest plan if it may.
pub(super) fn standing(worker: &Worker, connection: &Connection) -> Option<Standing> {
    let bound = connection.bound()?;
    if bound.epoch >= worker.epoch.get() {
        return Some(Standing { bound, closing: false });
    }
    match renewed(&worker.plan.borrow(), worker.epoch.get(), connection, &bound) {
        Some(bound) => {
            connection.rebind(bound.clone());
            Some(Standing { bound, closing: false })
        }
        None => Some(Standing { bound, closing: true }),
    }
}

/// The same place in a newer plan; `None`: the listener is gone, or what was negotiated would now be other.
fn renewed(plan: &Arc<Plan>, epoch: u64, connection: &Connection, old: &Bound) -> Option<Bound> {
    let http = plan.http.as_ref()?;
    let listener = http.listeners.iter().find(|listener| listener.address == old.listener)?;
    let local = match connection.local {
        crate::net::connection::Endpoint::Tcp(address) => Some(address),
        crate::net::connection::Endpoint::Unix => None,
    };
    let specific = listener.addresses.iter().find(|a| a.local.is_some() && a.local == local);
    let servers = specific.or_else(|| listener.addresses.iter().find(|a| a.local.is_none()))?.clone();
    if servers.ssl != old.servers.ssl || servers.proxy_protocol != old.servers.proxy_protocol {
        return None;
    }
    let sni = connection.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    let named = sni.and_then(|name| names::find(&servers.names, name.as_bytes())).map(|named| named.server.clone());
    let server = named.unwrap_or_else(|| servers.default_server.clone());
    let same = match (&old.server.tls, &server.tls) {
        _ if connection.tls.is_none() => true,
        (Some(old), Some(new)) => old.same_connection(new),
        _ => false,
    };
    let same_protocols = connection.tls.is_none() || old.server.http2 == server.http2;
    let plan = plan.clone();
    (same && same_protocols).then(|| Bound { epoch, plan, listener: old.listener.clone(), servers, server })
}

/// Captures of a `server_name ~regex`: spans in the host, and named groups.
pub(super) type HostCaptures = Option<(Spans, Box<[(usize, usize)]>)>;

/// The server that answers for `host`.
pub(super) fn server(servers: &AddressServers, host: Option<&Bytes>) -> (Arc<Server>, HostCaptures) {
    let named = host.filter(|host| !host.is_empty()).and_then(|host| names::find(&servers.names, host));
    match named {
        Some(named) => {
            let captures = named.caught.map(|(name, spans)| (spans, name.names.clone()));
            (named.server.clone(), captures)
        }
        None => (servers.default_server.clone(), None),
    }
}

/// Whether the TLS of `connection` suffices for `server`. `Err`: the status, and nginx's words for the log.
pub(super) fn check_tls(connection: &Connection, server: &Server, host: Option<&Bytes>) -> Result<(), (u16, String)> {
    if connection.plain_on_tls {
        return Err((497, "client sent plain HTTP request to HTTPS port".into()));
    }
    let (Some(facts), Some(tls)) = (&connection.tls, &server.tls) else { return Ok(()) };
    if tls.verify_client == VerifyClient::Off {
        return Ok(());
    }
    if facts.sni.as_ref().zip(host).is_some_and(|(sni, host)| sni.as_bytes() != &host[..]) {
        let text = "client attempted to request the server name different from the one that was negotiated";
        return Err((421, text.into()));
    }
    match &facts.client {
        Some(client) => match &client.failed {
            Some(why) if tls.verify_client != VerifyClient::OptionalNoCa || !client.only_untrusted => {
                Err((495, format!("client SSL certificate verify error: ({why})")))
            }
            _ => Ok(()),
        },
        None if tls.verify_client == VerifyClient::On => Err((496, "client sent no required SSL certificate".into())),
        None => Ok(()),
    }
}
