//! Whom do we believe to be etcd, and with what certificate do we show who we are? `trusted=` or the system's roots;
//! `cert=` and `key=`. Makes TLS settings and nothing else; files come through [`Material`](super::Material).

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Material;
use crate::plan::etcd::EtcdStore;

/// TLS settings for a connection to etcd, from the files as they are now.
///
/// # Errors
/// Words that name the file.
pub fn client(store: &EtcdStore, material: &dyn Material) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &store.trusted {
        Some(file) => builder.with_root_certificates(roots(file, material)?),
        None => match rustls_platform_verifier::Verifier::new(provider) {
            Ok(system) => builder.dangerous().with_custom_certificate_verifier(Arc::new(system)),
            // A container without a root store: Mozilla's list as it was when this was built.
            Err(_) => builder.with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
        },
    };
    let mut config = match &store.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key_pem = read(key, material)?;
            let key_der = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| bad(key, &error.to_string()))?;
            let own = builder.with_client_auth_cert(certificates(chain, material)?, key_der);
            own.map_err(|error| bad(chain, &error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn roots(file: &Path, material: &dyn Material) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, material)? {
        roots.add(certificate).map_err(|error| bad(file, &error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path, material: &dyn Material) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file, material)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| bad(file, &error.to_string()))?;
    if found.is_empty() { Err(bad(file, "no certificate in it")) } else { Ok(found) }
}

fn read(file: &Path, material: &dyn Material) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    material.file(file).map_err(|error| bad(file, &error.to_string()))
}

fn bad(file: &Path, detail: &str) -> String {
    format!("{}: {detail}", file.display())
}
