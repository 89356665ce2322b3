//! Who writes the records of DNS-01, and how? `acme_dns_provider NAME { … }`, frozen. Secrets are only named here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::words::{DomainName, Place, SecretRef};

/// One `acme_dns_provider NAME { … }` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsProvider {
    /// The name by which `dns_provider` of an issuer calls it.
    pub name: Arc<str>,
    /// How records are written.
    pub method: Method,
    /// `domains`: it writes names below these; empty: all. Of several providers the one with the longest match is taken.
    pub domains: Vec<DomainName>,
    /// `zone`: the zone that is written, instead of the one that the name servers tell.
    pub zone: Option<DomainName>,
    /// `ttl` of the record. Default 60 s.
    pub ttl: Duration,
    /// `propagation`: where the record must be seen before the authority is asked.
    pub seen_at: SeenAt,
    /// `propagation_timeout`: how long that is waited for; then the authority is asked all the same. Default 3 min.
    pub patience: Duration,
    /// Where it was said.
    pub place: Place,
}

/// How records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `rfc2136`: signed updates to a name server.
    Rfc2136 {
        /// Its addresses; the first that answers is taken.
        servers: Vec<SocketAddr>,
        /// `tsig`; `None` sends unsigned updates.
        key: Option<TsigKey>,
    },
    /// `exec`: a program.
    Exec(Hook),
    /// `acme_dns`: the HTTP API of an acme-dns server.
    AcmeDns {
        /// Its base URL.
        url: String,
        /// `accounts`: JSON, one account or one for each domain.
        accounts: SecretRef,
        /// `ssl_trusted_certificate`: trust these roots instead of the system's.
        trusted: Option<PathBuf>,
    },
}

/// `tsig NAME ALGORITHM SECRET` (RFC 8945).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsigKey {
    /// The key's name.
    pub name: DomainName,
    /// The algorithm.
    pub algorithm: TsigAlgorithm,
    /// The secret in base64, or a key file as `tsig-keygen` writes it.
    pub secret: SecretRef,
}

/// Algorithms that are not broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`
    Sha256,
    /// `hmac-sha384`
    Sha384,
    /// `hmac-sha512`
    Sha512,
}

impl TsigAlgorithm {
    /// Reads the registered name.
    pub fn parse(text: &str) -> Option<TsigAlgorithm> {
        match text.trim_end_matches('.') {
            "hmac-sha256" => Some(TsigAlgorithm::Sha256),
            "hmac-sha384" => Some(TsigAlgorithm::Sha384),
            "hmac-sha512" => Some(TsigAlgorithm::Sha512),
            _ => None,
        }
    }
}

/// `exec STYLE COMMAND …`: a program that writes and removes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Whose conventions it follows.
    pub style: HookStyle,
    /// `exec_timeout`: for one run; then its whole process group is killed. Default 2 min.
    pub timeout: Duration,
    /// `exec_env NAME VALUE`: variables from secrets.
    pub environment: Vec<(Box<str>, SecretRef)>,
    /// `exec_env NAME`: variables of the server process that are handed on. Of the others it gets PATH and HOME alone.
    pub passed: Vec<Box<str>>,
}

/// Whose conventions a hook follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookStyle {
    /// `lego`: `COMMAND present|cleanup FQDN VALUE`.
    Lego(Box<[Box<str>]>),
    /// `lego-raw`: `COMMAND present|cleanup -- DOMAIN TOKEN KEYAUTH`.
    LegoRaw(Box<[Box<str>]>),
    /// `certbot`: what stands behind `--manual-auth-hook` and `--manual-cleanup-hook`, run by a shell.
    Certbot {
        /// The command that writes the record.
        auth: Box<str>,
        /// The command that removes it.
        cleanup: Option<Box<str>>,
    },
}

/// Where a record must be seen before the authority is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SeenAt {
    /// At every name server of the zone: the default.
    #[default]
    Authorities,
    /// At these servers.
    Servers(Vec<SocketAddr>),
    /// `off`: nowhere.
    Nowhere,
}
