//! Whom do we believe to be the authority? The system's roots, or `ssl_trusted_certificate`, or anyone (`ssl_verify
//! off`). Makes the TLS settings of our own client and nothing else.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::fault::Fault;
use crate::clock::Clock;
use crate::net::proof::AnyServer;

/// TLS settings for requests to an authority: HTTP/1.1, roots from `trusted` or the system, or no verification. `clock` is
/// the one by which certificates are kept; see `AtEitherTime`.
pub fn client(trusted: Option<&Path>, verify: bool, clock: Arc<dyn Clock>) -> Result<Arc<ClientConfig>, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Trust { detail: error.to_string() })?;
    let believed = |by: RootCertStore| -> Result<Arc<dyn ServerCertVerifier>, Fault> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(by), provider.clone()).build();
        verifier
            .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
            .map_err(|e| Fault::Trust { detail: e.to_string() })
    };
    let verifier: Arc<dyn ServerCertVerifier> = match (verify, trusted) {
        (false, _) => Arc::new(AnyServer::default()),
        (true, Some(file)) => believed(roots(file)?)?,
        (true, None) => match rustls_platform_verifier::Verifier::new(provider.clone()) {
            Ok(system) => Arc::new(system),
            // A container without a root store: Mozilla's list as it was when this was built.
            Err(error) => {
                tracing::info!("no trusted certificates of the system ({error}); the built-in list is used");
                believed(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })?
            }
        },
    };
    let verifier = Arc::new(AtEitherTime { inner: verifier, clock });
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore, Fault> {
    let bad = |detail: String| Fault::Trust { detail: format!("{}: {detail}", file.display()) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("no certificate in it".into())) } else { Ok(roots) }
}

/// Verifies at the time of the machine's clock and, where that finds a certificate outside of its dates, once more at the
/// time that is believed. A machine whose clock is years off must still be able to ask an authority what time it is; and
/// one that lay in a drawer for years believes less than its clock knows.
struct AtEitherTime {
    inner: Arc<dyn ServerCertVerifier>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for AtEitherTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtEitherTime").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for AtEitherTime {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = self.inner.verify_server_cert(leaf, chain, name, ocsp, now);
        let Err(Error::InvalidCertificate(error)) = &found else { return found };
        let by_date = matches!(
            error,
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        );
        let believed = u64::try_from(self.clock.now().seconds()).ok().filter(|at| by_date && *at != now.as_secs());
        let Some(believed) = believed else { return found };
        let believed = UnixTime::since_unix_epoch(std::time::Duration::from_secs(believed));
        self.inner.verify_server_cert(leaf, chain, name, ocsp, believed)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
