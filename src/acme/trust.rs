//! Whom do we believe to be the authority? The system's roots, or `ssl_trusted_certificate`, or anyone (`ssl_verify
//! off`). Makes the TLS settings of our own client and nothing else.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::fault::Fault;
use crate::net::proof::AnyServer;

/// TLS settings for requests to an authority: HTTP/1.1, roots from `trusted` or the system, or no verification.
pub fn client(trusted: Option<&Path>, verify: bool) -> Result<Arc<ClientConfig>, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Trust { detail: error.to_string() })?;
    let mut config = match (verify, trusted) {
        (false, _) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer::default())).with_no_client_auth()
        }
        (true, Some(file)) => builder.with_root_certificates(roots(file)?).with_no_client_auth(),
        (true, None) => match rustls_platform_verifier::Verifier::new(provider) {
            Ok(system) => builder.dangerous().with_custom_certificate_verifier(Arc::new(system)).with_no_client_auth(),
            // A container without a root store: Mozilla's list as it was when this was built.
            Err(error) => {
                tracing::info!("no trusted certificates of the system ({error}); the built-in list is used");
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        },
    };
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
