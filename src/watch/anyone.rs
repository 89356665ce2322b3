//! How does one look at what somebody shows without believing it? A TLS client that takes any certificate: for looks alone,
//! never for anything that is trusted or kept secret.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;

use crate::net::proof::AnyServer;

/// A client that takes any certificate, whose holder has its key, and remembers no session.
pub(super) fn client() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let builder = builder.expect("aws-lc-rs speaks the default versions").dangerous();
            let mut config =
                builder.with_custom_certificate_verifier(Arc::new(AnyServer::default())).with_no_client_auth();
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        })
        .clone()
}
