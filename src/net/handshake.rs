//! How does a connection that was just accepted become ready for HTTP? PROXY header, then the client's hello, then TLS
//! under the settings that `tls` chooses. Called by `accept`; sends no byte above TLS.

use super::connection::{Bound, Connection, Endpoint, Ends, TlsFacts};
use super::offers;
use super::proxy_protocol;
use super::stream::{ClientStream, Socket, Wire};
use super::terms::{HelloAnswer, TlsTerms};
use crate::plan::Plan;
use crate::plan::listener::{AddressServers, ListenAddress};
use crate::plan::server::Server;
use rustls::server::{Acceptor, ServerConnection};
use rustls::{HandshakeKind, ProtocolVersion};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;

/// Room for a client's first bytes: a hello with a post-quantum key share is about 1.8 KB.
const FIRST_BYTES: usize = 2048;
/// The alert `unrecognized_name`, fatal, as a record of TLS 1.2 (all versions read it).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What is known of a connection when it has been accepted.
pub(super) struct Arrival {
    pub id: u64,
    pub socket: Socket,
    pub remote: Endpoint,
    pub local: Endpoint,
    pub at: tokio::time::Instant,
    pub epoch: u64,
    pub plan: Arc<Plan>,
    pub listener: ListenAddress,
    pub servers: Arc<AddressServers>,
    pub tls: Arc<dyn TlsTerms>,
}

/// Why a connection ended before its first request. Nobody is left to answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// Not a PROXY header where one is demanded.
    #[error("{0} while reading PROXY protocol")]
    Proxy(#[from] proxy_protocol::Broken),
    /// The client went away, or spoke bad TLS; the alert has been sent.
    #[error("SSL_do_handshake() failed ({0}) while SSL handshaking")]
    Tls(io::Error),
    /// `ssl_reject_handshake`; the alert has been sent.
    #[error("handshake rejected while SSL handshaking")]
    Refused,
    /// An authority has seen its challenge certificate.
    #[error("a certificate authority has looked (TLS-ALPN-01)")]
    Challenge,
    /// It went away before it said anything.
    #[error("client closed connection while waiting for request")]
    Gone,
    /// It said nothing in time.
    #[error("client timed out ({}: Connection timed out)", libc::ETIMEDOUT)]
    TimedOut,
}

/// Makes `arrival` ready for HTTP, within the default server's `client_header_timeout`. A plain connection without a
/// PROXY header is ready at once.
pub(super) async fn prepare(arrival: Arrival) -> Result<(ClientStream, Connection), Ended> {
    let servers = arrival.servers.clone();
    if !servers.ssl && !servers.proxy_protocol {
        let server = servers.default_server.clone();
        let Arrival { id, remote, local, at, epoch, plan, listener, socket, .. } = arrival;
        let bound = Bound { epoch, plan, listener, servers, server };
        let connection = Connection::new(id, Ends { remote, local, proxied: None }, None, bound, at);
        return Ok((ClientStream::Plain(Wire::new(socket)), connection));
    }
    let deadline = arrival.at + servers.default_server.head.timeout;
    tokio::time::timeout_at(deadline, Box::pin(talk(arrival))).await.unwrap_or(Err(Ended::TimedOut))
}

async fn talk(arrival: Arrival) -> Result<(ClientStream, Connection), Ended> {
    let Arrival { id, socket, remote, local, at, epoch, plan, listener, servers, tls } = arrival;
    let asks = plan.http.as_ref().is_some_and(|http| http.asks.offers);
    let mut wire = Wire::new(socket);
    let proxied = if servers.proxy_protocol { proxy_header(&mut wire).await? } else { None };
    let ends = Ends { remote, local, proxied };
    let connection = |server: Arc<Server>, facts| {
        let bound = Bound { epoch, plan, listener, servers: servers.clone(), server };
        Connection::new(id, ends, facts, bound, at)
    };
    if !servers.ssl {
        return Ok((ClientStream::Plain(wire), connection(servers.default_server.clone(), None)));
    }
    if wire.ahead().is_empty() && wire.read_ahead(FIRST_BYTES).await.map_err(|_| Ended::Gone)? == 0 {
        return Err(Ended::Gone);
    }
    if !looks_like_tls(wire.ahead()[0]) {
        let mut connection = connection(servers.default_server.clone(), None);
        connection.plain_on_tls = true;
        return Ok((ClientStream::Plain(wire), connection));
    }
    let start = LazyConfigAcceptor::new(Acceptor::default(), wire).await.map_err(Ended::Tls)?;
    let hello = start.client_hello();
    let offered = asks.then(|| Box::new(offers::offered(hello.cipher_suites(), hello.named_groups())));
    let sni: Option<Box<str>> = hello.server_name().map(|name| name.to_ascii_lowercase().into());
    let client = proxied.map_or_else(|| remote.ip(), |(source, _)| Some(source.ip()));
    let answer = tls.answer(&hello, &servers, client);
    let (config, server) = match answer {
        HelloAnswer::Serve { config, server } => (config, server),
        HelloAnswer::Challenge(config) => {
            let mut stream = start.into_stream(config).await.map_err(Ended::Tls)?;
            // The certificate was all it wanted; whether it hears us say goodbye does not matter.
            let _ = stream.shutdown().await;
            return Err(Ended::Challenge);
        }
        HelloAnswer::Refuse => {
            let mut wire = start.io;
            let _ = wire.write_all(&UNRECOGNIZED_NAME).await;
            let _ = wire.shutdown().await;
            return Err(Ended::Refused);
        }
    };
    let stream = start.into_stream(config).await.map_err(Ended::Tls)?;
    let session = stream.get_ref().1;
    let facts = TlsFacts { sni, offered, client: tls.client_certificate(&server, session), ..facts(session) };
    let connection = connection(server, Some(facts));
    Ok((ClientStream::Tls(Box::new(stream)), connection))
}

async fn proxy_header(wire: &mut Wire) -> Result<Option<(std::net::SocketAddr, std::net::SocketAddr)>, Ended> {
    loop {
        if let Some(header) = proxy_protocol::read(wire.ahead())? {
            wire.skip(header.length);
            return Ok(header.addresses);
        }
        if wire.read_ahead(FIRST_BYTES).await.map_err(|_| Ended::Gone)? == 0 {
            return Err(Ended::Gone);
        }
    }
}

/// As nginx has it: a handshake record, or the high bit of an SSLv2 hello (which then fails as TLS).
fn looks_like_tls(first: u8) -> bool {
    first == 0x16 || first & 0x80 != 0
}

fn facts(session: &ServerConnection) -> TlsFacts {
    TlsFacts {
        sni: None,
        protocol: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        },
        cipher: session
            .negotiated_cipher_suite()
            .map_or("", |suite| offers::cipher(suite.suite().into()).unwrap_or_default()),
        alpn: session.alpn_protocol().map(|name| match name {
            b"h2" => bytes::Bytes::from_static(b"h2"),
            b"http/1.1" => bytes::Bytes::from_static(b"http/1.1"),
            other => bytes::Bytes::copy_from_slice(other),
        }),
        curve: session.negotiated_key_exchange_group().map_or("", |group| offers::negotiated(group.name())),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        offered: None,
        client: None,
    }
}
