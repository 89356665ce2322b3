//! Who signs our certificates, and on what terms? `acme_issuer NAME { … }` of nginx's ACME module, frozen, and the
//! built-in authority (`uri internal`). No network, no file: paths and secrets are only named here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::certificate::KeyKind;
use super::dns::DnsProvider;
use super::limits::Limits;
use crate::words::{Place, SecretRef};

/// One `acme_issuer NAME { … }` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The name by which `acme_certificate` calls it.
    pub name: Arc<str>,
    /// Where it keeps keys, certificates, accounts and journals; `None` for `state_path off` (memory only). Absolute.
    pub state_path: Option<PathBuf>,
    /// Who it is.
    pub authority: Authority,
    /// `fallback NAME …`: the issuers that are asked, in this order, when this one does not issue.
    pub fallback: Vec<Arc<str>>,
    /// `standby NAME`: the issuer that keeps a second certificate ready, with a key of its own.
    pub standby: Option<Arc<str>>,
    /// Where it was said.
    pub place: Place,
}

impl Issuer {
    /// An issuer with neither fallback nor standby.
    pub fn new(name: impl Into<Arc<str>>, state_path: Option<PathBuf>, authority: Authority, place: Place) -> Issuer {
        Issuer { name: name.into(), state_path, authority, fallback: Vec::new(), standby: None, place }
    }

    /// The authority as journals and bundles write it: directory URL or `internal`.
    pub fn authority_name(&self) -> &str {
        match &self.authority {
            Authority::Acme(server) => &server.directory,
            Authority::Internal(_) => "internal",
        }
    }

    /// The unit of its waits: `retry_interval`, a minute where there is none.
    pub fn unit(&self) -> Duration {
        match &self.authority {
            Authority::Acme(server) => server.retry_interval,
            Authority::Internal(_) => Duration::from_secs(60),
        }
    }

    /// What it allows.
    pub fn limits(&self) -> Limits {
        match &self.authority {
            Authority::Acme(server) => {
                server.limits.as_deref().cloned().unwrap_or_else(|| Limits::of_directory(&server.directory))
            }
            Authority::Internal(_) => Limits::OWN,
        }
    }
}

/// What stands behind an issuer.
// There are a handful of these in a plan.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// An ACME server (RFC 8555).
    Acme(AcmeServer),
    /// The built-in authority: `uri internal`.
    Internal(InternalAuthority),
}

/// An ACME server and how we stand with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeServer {
    /// `uri`: the directory's URL, `https://…`.
    pub directory: Arc<str>,
    /// `account_key`: default [`AccountKey::Shared`].
    pub account_key: AccountKey,
    /// `challenge`: the kinds that may be tried, in order; never empty. Default HTTP-01, then TLS-ALPN-01, then DNS-01 if
    /// there is a `dns_provider`.
    pub challenges: Vec<ChallengeKind>,
    /// `contact`: URLs (`mailto:…`); a bare address gets `mailto:` in front.
    pub contacts: Vec<String>,
    /// `external_account_key KID KEY` (RFC 8555 7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// `preferred_chain`: take the chain whose topmost certificate was issued by this common name, if it is offered.
    pub preferred_chain: Option<String>,
    /// `profile NAME [require]`.
    pub profile: Option<Profile>,
    /// `ssl_trusted_certificate`: trust these roots (PEM) for the server's own TLS, instead of the system's.
    pub trusted_certificate: Option<PathBuf>,
    /// `ssl_verify`: default true.
    pub verify: bool,
    /// `accept_terms_of_service`. Default false, as nginx; a server with terms then refuses to make an account.
    pub terms_accepted: bool,
    /// `dns_provider`: who writes the records of DNS-01. Default nobody.
    pub dns: Vec<Arc<DnsProvider>>,
    /// `acme_resolver` of the main context: whom names are asked of before records are written. Default the system's.
    pub resolver: Vec<SocketAddr>,
    /// `common_name_in_csr`: put the first name into the subject too. Default false.
    pub common_name_in_csr: bool,
    /// `order_timeout`: the longest that one order may take. Default a quarter of an hour.
    pub order_timeout: Duration,
    /// `retry_interval`: the first wait after a failure, and the unit of the longer ones. Default one minute, which suits
    /// the limits of public authorities; a private one without limits bears less.
    pub retry_interval: Duration,
    /// `staging`: the directory of the authority's test side, for `semper renew --dry-run`. Let's Encrypt's is known.
    pub staging: Option<Arc<str>>,
    /// `limits`: what it allows. `None`: what follows from the directory ([`Limits::of_directory`]).
    pub limits: Option<Box<Limits>>,
}

impl AcmeServer {
    /// The server at `directory` with every default.
    pub fn at(directory: impl Into<Arc<str>>) -> AcmeServer {
        AcmeServer {
            directory: directory.into(),
            account_key: AccountKey::Shared,
            challenges: vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
            contacts: Vec::new(),
            external_account: None,
            preferred_chain: None,
            profile: None,
            trusted_certificate: None,
            verify: true,
            terms_accepted: false,
            dns: Vec::new(),
            resolver: Vec::new(),
            common_name_in_csr: false,
            order_timeout: Duration::from_secs(900),
            retry_interval: Duration::from_secs(60),
            staging: None,
            limits: None,
        }
    }

    /// The directory on which a rehearsed order costs nothing, if the authority has one.
    pub fn staging(&self) -> Option<Arc<str>> {
        const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
        const ITS_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
        self.staging.clone().or_else(|| (*self.directory == *LETS_ENCRYPT).then(|| ITS_STAGING.into()))
    }
}

/// Which key signs for the account.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AccountKey {
    /// One ECDSA P-256 key for every issuer of the state path, so that one thumbprint answers for all of them.
    #[default]
    Shared,
    /// `account_key ecdsa:256`, `rsa:2048` and the like: a key of its own, made on first use.
    Own(KeyKind),
    /// `account_key FILE`: PEM, PKCS #8, SEC 1 or PKCS #1; ECDSA P-256 or P-384, or RSA.
    File(PathBuf),
}

/// How control over a name is shown (RFC 8555 8, RFC 8737).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ChallengeKind {
    /// A file below `/.well-known/acme-challenge/` on port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate under ALPN `acme-tls/1` on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record at `_acme-challenge.NAME`.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl ChallengeKind {
    /// The registered name: `http-01`, `tls-alpn-01`, `dns-01`.
    pub fn as_str(self) -> &'static str {
        match self {
            ChallengeKind::Http01 => "http-01",
            ChallengeKind::TlsAlpn01 => "tls-alpn-01",
            ChallengeKind::Dns01 => "dns-01",
        }
    }

    /// Reads the registered name, or nginx's short `http` and `tls-alpn`.
    pub fn parse(text: &str) -> Option<ChallengeKind> {
        match text {
            "http-01" | "http" => Some(ChallengeKind::Http01),
            "tls-alpn-01" | "tls-alpn" => Some(ChallengeKind::TlsAlpn01),
            "dns-01" | "dns" => Some(ChallengeKind::Dns01),
            _ => None,
        }
    }
}

/// An account that the authority made for us beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key identifier that the authority gave.
    pub kid: String,
    /// The HMAC key, base64url as the authority gave it.
    pub key: SecretRef,
}

/// A certificate profile of the authority (draft-ietf-acme-profiles).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name, for example `shortlived`.
    pub name: String,
    /// `require`: no certificate rather than one of another profile.
    pub required: bool,
}

/// The built-in authority: it signs by itself, asks nobody and has no limits. For inner names, tests and the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalAuthority {
    /// `root_lifetime`: how long its root is valid. Default ten years.
    pub root_lifetime: Duration,
    /// `leaf_lifetime`: how long what it issues is valid, down to seconds. Default seven days.
    pub leaf_lifetime: Duration,
}

impl Default for InternalAuthority {
    fn default() -> InternalAuthority {
        const DAY: Duration = Duration::from_secs(86_400);
        InternalAuthority { root_lifetime: DAY * 3650, leaf_lifetime: DAY * 7 }
    }
}
