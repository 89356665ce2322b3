//! What does a client get at an address? One TLS handshake that believes nothing and asks nothing, to see which
//! certificate is shown. Judges nothing: `cert::served` does.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use super::anyone;
use crate::net::own;

/// Sent where a listener wants to hear of the client behind a balancer: there is none.
const NOBODY_BEHIND: &[u8] = b"PROXY UNKNOWN\r\n";

/// Where to look, and for what name.
#[derive(Clone, Debug)]
pub struct Look {
    /// The address.
    pub address: SocketAddr,
    /// The name for SNI; none is sent for an address.
    pub name: String,
    /// The listener wants a PROXY header.
    pub proxy_protocol: bool,
    /// It is a listener of this process: the look is in no log, count or limit.
    pub own: bool,
    /// For everything together.
    pub timeout: Duration,
}

/// Why no certificate was seen. Nothing was asked; looking again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// Nobody answered.
    #[error("{0}")]
    Unreachable(String),
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// Somebody answered, but not with a handshake that ends.
    #[error("{0}")]
    Handshake(String),
}

/// The leaf that is shown, DER.
///
/// # Errors
/// [`Unseen`].
pub async fn look(look: &Look) -> Result<Vec<u8>, Unseen> {
    tokio::time::timeout(look.timeout, shown(look)).await.unwrap_or(Err(Unseen::TimedOut))
}

async fn shown(look: &Look) -> Result<Vec<u8>, Unseen> {
    let unreachable = |error: std::io::Error| Unseen::Unreachable(error.to_string());
    let name = ServerName::try_from(look.name.clone()).map_err(|_| Unseen::Handshake("not a name".to_owned()))?;
    let socket = if look.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(unreachable)?;
    // Bound before it connects: the door must know us when we knock.
    let _announced = match look.own {
        true => {
            socket.bind(SocketAddr::new(look.address.ip(), 0)).map_err(unreachable)?;
            Some(own::announce(socket.local_addr().map_err(unreachable)?))
        }
        false => None,
    };
    let mut stream = socket.connect(look.address).await.map_err(unreachable)?;
    if look.proxy_protocol {
        stream.write_all(NOBODY_BEHIND).await.map_err(unreachable)?;
    }
    let handshake = tokio_rustls::TlsConnector::from(anyone::client()).connect(name, stream);
    let mut stream = handshake.await.map_err(|error| Unseen::Handshake(error.to_string()))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    // What was wanted is here; whether the goodbye is heard does not matter.
    let _ = stream.shutdown().await;
    leaf.ok_or_else(|| Unseen::Handshake("no certificate is shown".to_owned()))
}
