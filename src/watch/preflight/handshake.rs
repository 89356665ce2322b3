//! Who ends a TLS handshake for TLS-ALPN-01 at an address? A probe certificate of our own is put where the real one would
//! stand, and asked for as an authority asks (RFC 8737 3).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::cert::inspect::Leaf;
use crate::cert::reach::Answer;
use crate::clock::UnixTime;
use crate::watch::anyone;
use crate::zone::challenges::{Challenges, TLS_ALPN01};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(3);

/// A probe that is open until [`Probe::end`].
#[derive(Clone)]
pub struct Probe {
    name: String,
    certificate: Arc<CertifiedKey>,
    challenges: Arc<Challenges>,
}

impl Probe {
    /// Opens a probe for `name`; `None` if the table is full, or no key can be made.
    pub fn open(name: &str, challenges: &Arc<Challenges>, until: UnixTime) -> Option<Probe> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).ok()?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).ok()?;
        let certificate = Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], signer));
        challenges.open_probe(name, certificate.clone(), until).ok()?;
        Some(Probe { name: name.to_owned(), certificate, challenges: challenges.clone() })
    }

    /// Ends the probe.
    pub fn end(&self) {
        self.challenges.close_probe(&self.name, &self.certificate);
    }

    /// What is shown at `at`.
    pub async fn ask(&self, at: SocketAddr) -> Answer {
        let stream = match connect(at).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Answer::Refused,
            Err(_) => return Answer::Silent,
        };
        let Ok(name) = ServerName::try_from(self.name.clone()) else { return Answer::Silent };
        let mut config = (*anyone::client()).clone();
        config.alpn_protocols = vec![TLS_ALPN01.to_vec()];
        let stream = match TlsConnector::from(Arc::new(config)).connect(name.clone(), stream).await {
            Ok(stream) => stream,
            // Most refuse the protocol; who they are shows without it.
            Err(error) => return Answer::Handshake(refused(at, name, &error).await),
        };
        let session = stream.get_ref().1;
        let leaf = session.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        // A challenge that was opened meanwhile is ours too.
        let now = self.challenges.tls_alpn01(&self.name);
        let mut ours = [Some(&self.certificate), now.as_ref()].into_iter().flatten().map(|own| &own.cert[0]);
        let spoken = session.alpn_protocol() == Some(TLS_ALPN01);
        if spoken && leaf.is_some_and(|leaf| ours.any(|own| own == leaf)) {
            return Answer::Ours;
        }
        Answer::Handshake(shown(leaf))
    }
}

async fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    timeout(CONNECT, TcpStream::connect(at)).await.map_err(|_| ErrorKind::TimedOut)?
}

fn shown(leaf: Option<&CertificateDer<'_>>) -> String {
    let issuer = leaf.and_then(|leaf| Leaf::read(leaf).ok()).map_or_else(|| "?".to_owned(), |leaf| leaf.issuer);
    format!("a certificate of {issuer:?} is shown")
}

/// Who it is that refused acme-tls/1.
async fn refused(at: SocketAddr, name: ServerName<'static>, error: &std::io::Error) -> String {
    let plain = async { TlsConnector::from(anyone::client()).connect(name, connect(at).await?).await };
    match plain.await {
        Ok(stream) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
            format!("{}, and acme-tls/1 is refused", shown(leaf))
        }
        Err(_) => format!("a handshake for acme-tls/1 fails ({error})"),
    }
}
