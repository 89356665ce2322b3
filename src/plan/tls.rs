//! How is TLS spoken, towards clients and towards upstreams? (`ssl_*`, `proxy_ssl_*`.)

use super::certificate::CertId;
use super::template::Template;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// TLS of one server towards its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Its certificates (several: RSA and ECDSA), in order. May be empty with `reject_handshake`.
    pub certificates: Box<[CertificateSource]>,
    /// `acme_on_demand` holds here: names that these certificates do not speak for may be obtained.
    pub on_demand: bool,
    /// Everything else, shared by servers that say the same: there may be many thousands.
    pub settings: Arc<TlsSettings>,
}

impl std::ops::Deref for ServerTls {
    type Target = TlsSettings;
    fn deref(&self) -> &TlsSettings {
        &self.settings
    }
}

impl ServerTls {
    /// Whether a connection that was negotiated under `self` may go on under `other` after a reload: everything but the
    /// certificates is the same.
    pub fn same_connection(&self, other: &ServerTls) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings) || self.settings == other.settings
    }
}

/// What the connections of a server have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// What may be negotiated.
    pub protocol: TlsProtocol,
    /// `ssl_prefer_server_ciphers`. Default off.
    pub prefer_server_ciphers: bool,
    /// `ssl_session_cache`: sessions kept by the server; 0 is none. (`shared:NAME:SIZE` is about 4000 a megabyte.)
    pub session_cache: usize,
    /// `ssl_session_timeout`. Default 5 min.
    pub session_timeout: Duration,
    /// `ssl_session_tickets`. Default on.
    pub tickets: bool,
    /// `ssl_session_ticket_key` files, the first encrypts.
    pub ticket_keys: Box<[PathBuf]>,
    /// `ssl_reject_handshake`. Default off.
    pub reject_handshake: bool,
    /// `ssl_verify_client`.
    pub verify_client: VerifyClient,
    /// `ssl_verify_depth`. Default 1.
    pub verify_depth: u32,
    /// `ssl_client_certificate`: CAs whose names are sent and that are trusted.
    pub client_certificate: Option<PathBuf>,
    /// `ssl_trusted_certificate`: CAs that are trusted, not sent.
    pub trusted_certificate: Option<PathBuf>,
    /// `ssl_crl`.
    pub crl: Option<PathBuf>,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        TlsSettings {
            protocol: TlsProtocol::default(),
            prefer_server_ciphers: false,
            session_cache: 0,
            session_timeout: Duration::from_secs(300),
            tickets: true,
            ticket_keys: Box::default(),
            reject_handshake: false,
            verify_client: VerifyClient::Off,
            verify_depth: 1,
            client_certificate: None,
            trusted_certificate: None,
            crl: None,
        }
    }
}

impl TlsSettings {
    /// A server with these settings that shows these certificates.
    pub fn with(self, certificates: impl Into<Box<[CertificateSource]>>) -> ServerTls {
        ServerTls { certificates: certificates.into(), on_demand: false, settings: Arc::new(self) }
    }
}

/// Versions, cipher suites and groups; in rustls's names, those that it lacks left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsProtocol {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
    /// IANA names of TLS 1.2 suites in order; empty: the default set.
    pub ciphers: Box<[Box<str>]>,
    /// Names of TLS 1.3 suites in order (`ssl_conf_command Ciphersuites`); empty: the default set.
    pub ciphersuites: Box<[Box<str>]>,
    /// `ssl_ecdh_curve` in order; empty: auto.
    pub curves: Box<[Box<str>]>,
}

impl Default for TlsProtocol {
    fn default() -> TlsProtocol {
        TlsProtocol {
            tls12: true,
            tls13: true,
            ciphers: Box::default(),
            ciphersuites: Box::default(),
            curves: Box::default(),
        }
    }
}

/// Where a server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateSource {
    /// `ssl_certificate FILE` with its `ssl_certificate_key`.
    File(Arc<FileCertificate>),
    /// `acme_certificate`, or `ssl_certificate $acme_certificate`.
    Acme(CertId),
}

/// A pair of files. Many places hold the same one: cheap to copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileCertificate {
    /// `ssl_certificate`: PEM, leaf first; `data:…` kept as it is.
    pub certificate: Arc<Path>,
    /// `ssl_certificate_key`.
    pub key: Arc<Path>,
    /// `ssl_password_file`.
    pub passwords: Option<Arc<Path>>,
}

/// `ssl_verify_client`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VerifyClient {
    /// `off`.
    #[default]
    Off,
    /// `on`: 400 without a valid certificate.
    On,
    /// `optional`.
    Optional,
    /// `optional_no_ca`.
    OptionalNoCa,
}

/// TLS towards an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `proxy_ssl_server_name`: send SNI. Default off.
    pub server_name: bool,
    /// `proxy_ssl_name`: the name for SNI and verification. Default `$proxy_host`.
    pub name: Template,
    /// `proxy_ssl_verify`. Default off.
    pub verify: bool,
    /// `proxy_ssl_verify_depth`. Default 1.
    pub verify_depth: u32,
    /// `proxy_ssl_trusted_certificate`.
    pub trusted_certificate: Option<PathBuf>,
    /// `proxy_ssl_crl`.
    pub crl: Option<PathBuf>,
    /// `proxy_ssl_certificate` with its key: ours towards the upstream.
    pub certificate: Option<Arc<FileCertificate>>,
    /// `proxy_ssl_session_reuse`. Default on.
    pub session_reuse: bool,
    /// `proxy_ssl_protocols`, `proxy_ssl_ciphers`.
    pub protocol: TlsProtocol,
}
