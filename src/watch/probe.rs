//! What does a client get at an address? One TLS handshake that believes nothing and asks nothing, to see which
//! certificate is shown. Judges nothing: `cert::served` does.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

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
    let handshake = tokio_rustls::TlsConnector::from(config()).connect(name, stream);
    let mut stream = handshake.await.map_err(|error| Unseen::Handshake(error.to_string()))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    // What was wanted is here; whether the goodbye is heard does not matter.
    let _ = stream.shutdown().await;
    leaf.ok_or_else(|| Unseen::Handshake("no certificate is shown".to_owned()))
}

fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
            let builder = builder.expect("aws-lc-rs speaks the default versions").dangerous();
            let mut config =
                builder.with_custom_certificate_verifier(Arc::new(Anything(provider))).with_no_client_auth();
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        })
        .clone()
}

/// Takes any certificate, whose holder has its key.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
