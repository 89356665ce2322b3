//! How is TLS spoken towards upstreams? (`proxy_ssl_*`.) One configuration for equal settings, so that sessions are
//! resumed; nothing is verified unless asked for, as nginx; our own certificate comes from the table of certificates and
//! is swapped with it. Implements the port of `net::dial`.

use super::build::{Fault, Tls};
use super::certificates::Slot;
use super::suites;
use super::trust::{Role, Trust, Unverified};
use crate::cert::inspect::Leaf;
use crate::clock::Clock;
use crate::net::dial::UpstreamTlsConfigs;
use crate::net::proof::{Proof, proved_by_signature};
use crate::plan::Plan;
use crate::plan::location::{Handler, Location, LocationTree, Locations};
use crate::plan::script::Op;
use crate::plan::tls::{CertificateSource, FileCertificate, TlsProtocol, UpstreamTls};
use crate::words::Identifier;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, Error, OtherError, SignatureScheme};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// Sessions remembered for each set of settings.
const SESSIONS: usize = 1024;

/// All that shapes a configuration; the name does not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    server_name: bool,
    verify: bool,
    verify_depth: u32,
    trusted_certificate: Option<PathBuf>,
    crl: Option<PathBuf>,
    certificate: Option<Arc<FileCertificate>>,
    session_reuse: bool,
    protocol: TlsProtocol,
}

impl Key {
    fn of(tls: &UpstreamTls) -> Key {
        Key {
            server_name: tls.server_name,
            verify: tls.verify,
            verify_depth: tls.verify_depth,
            trusted_certificate: tls.trusted_certificate.clone(),
            crl: tls.crl.clone(),
            certificate: tls.certificate.clone(),
            session_reuse: tls.session_reuse,
            protocol: tls.protocol.clone(),
        }
    }
}

/// The configurations made so far.
#[derive(Debug, Default)]
pub(super) struct Upstreams(RwLock<HashMap<Key, Arc<ClientConfig>>>);

impl UpstreamTlsConfigs for Tls {
    fn config(&self, tls: &Arc<UpstreamTls>) -> Arc<ClientConfig> {
        let key = Key::of(tls);
        if let Some(known) = self.upstreams().0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        // Only where `prepare_upstreams` did not see the plan: tests, and a plan that was built at run time.
        let mut faults = Vec::new();
        let made = self.upstream_config(&key, &mut faults);
        faults.iter().for_each(|fault| tracing::error!("{fault}"));
        self.upstreams().0.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(made).clone()
    }
}

impl Tls {
    /// Makes the configurations for every upstream of `plan`, so that no worker ever reads a file for it; forgets those
    /// that the plan does not need. Call it also when a file of authorities or revocations changes: what is unchanged
    /// keeps its sessions only if the plan alone changed.
    pub fn prepare_upstreams(&self, plan: &Plan, files_changed: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        let old = self.upstreams().0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut new = HashMap::new();
        for tls in upstream_tls(plan) {
            let key = Key::of(tls);
            if new.contains_key(&key) {
                continue;
            }
            let made = match old.get(&key) {
                Some(known) if !files_changed => known.clone(),
                _ => self.upstream_config(&key, &mut faults),
            };
            new.insert(key, made);
        }
        *self.upstreams().0.write().unwrap_or_else(PoisonError::into_inner) = new;
        faults
    }

    fn upstream_config(&self, key: &Key, faults: &mut Vec<Fault>) -> Arc<ClientConfig> {
        let (provider, versions) = suites::provider(&key.protocol).unwrap_or_else(|nothing| {
            faults.push(Fault(format!("{nothing} (towards an upstream); the default is used")));
            let all = vec![&rustls::version::TLS13, &rustls::version::TLS12];
            (Arc::new(aws_lc_rs::default_provider()), all)
        });
        let trust = key.verify.then(|| self.upstream_trust(key, faults));
        let clock = self.clock().clone();
        let verifier = UpstreamVerifier { trust, depth: key.verify_depth, clock, proof: Proof::default() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("`suites` leaves out versions without a suite")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &key.certificate {
            Some(files) => {
                let slot = self.certificates().slot(&CertificateSource::File(files.clone()));
                builder.with_client_cert_resolver(Arc::new(Own(slot)))
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = key.server_name;
        config.resumption =
            if key.session_reuse { Resumption::in_memory_sessions(SESSIONS) } else { Resumption::disabled() };
        config.cert_compressors = Vec::new();
        Arc::new(config)
    }

    fn upstream_trust(&self, key: &Key, faults: &mut Vec<Fault>) -> Trust {
        let files = self.trust_files();
        let trusted = key.trusted_certificate.as_ref();
        let trusted = trusted.map(|path| files.certificates(self.reader(), path, faults)).unwrap_or_default();
        let revoked = key.crl.as_ref().map(|path| files.revoked(self.reader(), path, faults).0);
        Trust::new(trusted.to_vec(), revoked)
    }
}

/// The TLS settings towards upstreams of all locations of `plan`.
pub fn upstream_tls(plan: &Plan) -> Vec<&Arc<UpstreamTls>> {
    let mut found = Vec::new();
    for server in plan.http.iter().flat_map(|http| &http.servers) {
        of_location(&server.root, &mut found);
        of_tree(&server.locations, &mut found);
    }
    found
}

fn of_tree<'a>(tree: &'a LocationTree, found: &mut Vec<&'a Arc<UpstreamTls>>) {
    let Locations { exact, prefixes, patterns, named } = &**tree;
    let all = exact.iter().chain(prefixes).chain(patterns).chain(named.iter());
    all.for_each(|location| of_location(location, found));
}

fn of_location<'a>(location: &'a Location, found: &mut Vec<&'a Arc<UpstreamTls>>) {
    if let Handler::Proxy(proxy) = &location.handler {
        found.extend(&proxy.tls);
    }
    if let Some(other) = &location.limit_except {
        of_location(&other.otherwise, found);
    }
    for op in &location.script {
        if let Op::If { becomes: Some(inner), .. } = op {
            of_location(inner, found);
        }
    }
    of_tree(&location.nested, found);
}

/// Our certificate towards the upstream: whatever its slot holds now.
#[derive(Debug)]
struct Own(Arc<Slot>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.held()?.signer().ok()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// `proxy_ssl_verify`. The proof that the upstream holds its key is demanded in any case.
struct UpstreamVerifier {
    /// `None`: whoever it is.
    trust: Option<Trust>,
    depth: u32,
    clock: Arc<dyn Clock>,
    proof: Proof,
}

impl std::fmt::Debug for UpstreamVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamVerifier").field("verifies", &self.trust.is_some()).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for UpstreamVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let chain: Vec<_> = std::iter::once(leaf).chain(between).cloned().collect();
        trust.check(&chain, Role::Server, self.depth, self.clock.now()).map_err(refused)?;
        // As OpenSSL: the common name counts where there is no alternative name.
        let wanted: Option<Identifier> = name.to_str().parse().ok();
        let held = Leaf::read(leaf).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if wanted.is_some_and(|wanted| held.covers(&wanted)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    proved_by_signature!();
}

/// In the words of OpenSSL, which `dial` prints.
fn refused(why: Unverified) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}
