//! How are the handshake settings of a plan made? Reads the files of authorities, revocation lists and ticket keys, and
//! makes one configuration for each distinct set of settings. What cannot be read is said by name; the last good content
//! of that file stays, and without one nobody is trusted: a fault never lets anyone in.

use super::certificates::{Certificates, ServerSlots};
use super::client_auth::{AnyCertificate, ClientDemands};
use super::load::names_in_use;
use super::on_demand::{Door, Scope};
use super::sessions::Sessions;
use super::suites;
use super::terms::{AddressTerms, ByName, PlanTls, ServerTerms, SettingsIndex};
use super::tickets::{TicketKeys, Ticketer};
use super::trust::Trust;
use super::trust_files::TrustFiles;
use super::upstream::Upstreams;
use crate::clock::Clock;
use crate::net::files::{ReadFile, content};
use crate::plan::Plan;
use crate::plan::listener::AddressServers;
use crate::plan::tls::{CertificateSource, ServerTls, TlsSettings, VerifyClient};
use crate::zone::challenges::Challenges;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::server::{NoServerSessionStorage, StoresServerSessions};
use rustls::{DistinguishedName, ServerConfig};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use zeroize::Zeroizing;

/// Tickets sent after a full TLS 1.3 handshake. OpenSSL sends two; each costs the server 3 % of a handshake.
const TICKETS: usize = 1;
/// What nginx offers beside `h2`.
const HTTP1: [&[u8]; 3] = [b"http/1.1", b"http/1.0", b"http/0.9"];

/// Something of a plan's TLS that cannot be used; what it says stands in nginx's words where nginx has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// What of TLS outlives plans: certificates, ticket keys, sessions, the last good authorities. One in a process.
pub struct Tls {
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
    clock: Arc<dyn Clock>,
    reader: Arc<dyn ReadFile>,
    tickets: Arc<TicketKeys>,
    door: Arc<Door>,
    trusted: TrustFiles,
    ticket_files: Mutex<HashMap<Box<[PathBuf]>, TicketFiles>>,
    sessions: Mutex<HashMap<[u8; 32], Weak<Sessions>>>,
    upstreams: Upstreams,
}

/// The contents of ticket key files, and the keys made from them.
struct TicketFiles {
    contents: Vec<Zeroizing<Vec<u8>>>,
    keys: Arc<TicketKeys>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// The TLS of a process: `certificates` are filled by others, `challenges` too; files are read through `reader`.
    pub fn new(
        certificates: Arc<Certificates>,
        challenges: Arc<Challenges>,
        clock: Arc<dyn Clock>,
        reader: Arc<dyn ReadFile>,
    ) -> Tls {
        let tickets = TicketKeys::random(clock.clone());
        let door = Arc::new(Door::new(clock.clone()));
        Tls {
            certificates,
            challenges,
            clock,
            reader,
            tickets,
            door,
            trusted: TrustFiles::default(),
            ticket_files: Mutex::default(),
            sessions: Mutex::default(),
            upstreams: Upstreams::default(),
        }
    }

    /// The certificates that are held.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// The names that are held on demand.
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// The keys of tickets of servers without key files, for who shares their secrets with other nodes.
    pub fn ticket_secrets(&self) -> &Arc<TicketKeys> {
        &self.tickets
    }

    pub(super) fn reader(&self) -> &dyn ReadFile {
        &*self.reader
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn trust_files(&self) -> &TrustFiles {
        &self.trusted
    }

    pub(super) fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// Makes the handshake settings of `plan`, and says what of them cannot be used. Reads files: not for workers.
    pub fn terms(&self, plan: &Plan) -> (Arc<PlanTls>, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut made = Made::default();
        let http = plan.http.as_ref();
        let servers = http.map(|http| &http.servers[..]).unwrap_or_default();
        let on_demand = |tls: &ServerTls| tls.on_demand.then(|| self.scope(tls, plan));
        let servers: Arc<[ServerTerms]> = servers
            .iter()
            .map(|server| match &server.tls {
                Some(tls) => ServerTerms { on_demand: on_demand(tls), ..self.server(tls, &mut made, &mut faults) },
                None => ServerTerms::default(),
            })
            .collect();
        let listeners = http.map(|http| &http.listeners[..]).unwrap_or_default();
        let addresses = listeners.iter().flat_map(|listener| &listener.addresses).filter(|address| address.ssl);
        let addresses = addresses
            .map(|address| (Arc::as_ptr(address) as usize, self.address(address, &servers, &made.settings)))
            .collect();
        let terms = PlanTls { challenges: self.challenges.clone(), clock: self.clock.clone(), servers, addresses };
        (Arc::new(terms), faults)
    }

    fn server(&self, tls: &ServerTls, made: &mut Made, faults: &mut Vec<Fault>) -> ServerTerms {
        let slots = ServerSlots::new(&self.certificates, &tls.certificates);
        if tls.reject_handshake {
            return ServerTerms { slots, ..ServerTerms::default() };
        }
        let (settings, demands) = match made.known.get(&tls.settings) {
            Some(known) => known.clone(),
            None => {
                let known = self.settings(&tls.settings, made, faults);
                made.known.insert(tls.settings.clone(), known.clone());
                known
            }
        };
        ServerTerms { settings, slots, demands, on_demand: None }
    }

    /// What of a server with `acme_on_demand` is left to its own certificates: the names that they are used for, and those
    /// that they are obtained for.
    fn scope(&self, tls: &ServerTls, plan: &Plan) -> Scope {
        let mut own = Vec::new();
        for (source, names) in names_in_use(plan).into_iter().filter(|(source, _)| tls.certificates.contains(source)) {
            let spec = plan.certificates.iter().find(|spec| CertificateSource::Acme(spec.id.clone()) == *source);
            own.extend(names);
            own.extend(spec.into_iter().flat_map(|spec| spec.identifiers.iter().cloned()));
        }
        Scope { door: self.door.clone(), own: own.into() }
    }

    fn settings(&self, tls: &TlsSettings, made: &mut Made, faults: &mut Vec<Fault>) -> Known {
        let demands = (tls.verify_client != VerifyClient::Off).then(|| Arc::new(self.demands(tls, faults)));
        let identity = demands.as_ref().map_or([0; 32], |demands| demands.identity);
        let (provider, versions) = match suites::provider(&tls.protocol) {
            Ok(found) => found,
            Err(nothing) => {
                faults.push(Fault(nothing.to_string()));
                return (None, demands);
            }
        };
        let tickets = tls.tickets.then(|| Ticketer {
            keys: self.ticket_keys(&tls.ticket_keys, faults),
            identity,
            lifetime: tls.session_timeout,
        });
        let index = SettingsIndex::try_from(made.settings.len()).unwrap_or(SettingsIndex::MAX);
        made.settings.push(Settings {
            provider,
            versions,
            prefer_server_ciphers: tls.prefer_server_ciphers,
            demands: demands.clone(),
            sessions: self.sessions(tls, identity),
            tickets: tickets.map(Arc::new),
        });
        (Some(index), demands)
    }

    fn demands(&self, tls: &TlsSettings, faults: &mut Vec<Fault>) -> ClientDemands {
        let mut identity = Context::new(&SHA256);
        identity.update(format!("{:?} {}", tls.verify_client, tls.verify_depth).as_bytes());
        let mut read = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            let found = self.trusted.certificates(&*self.reader, path, faults);
            found.iter().for_each(|der| identity.update(der));
            Some(found)
        };
        let sent = read(&tls.client_certificate).unwrap_or_default();
        let only_trusted = read(&tls.trusted_certificate).unwrap_or_default();
        let hints: Arc<[DistinguishedName]> = Trust::subjects(&sent).map(DistinguishedName::from).collect();
        let revoked = tls.crl.as_ref().map(|path| {
            let (lists, bytes) = self.trusted.revoked(&*self.reader, path, faults);
            identity.update(&bytes);
            lists
        });
        let trust = Trust::new(sent.iter().chain(only_trusted.iter()).cloned().collect(), revoked);
        let mut digest = [0; 32];
        digest.copy_from_slice(identity.finish().as_ref());
        ClientDemands { trust: Arc::new(trust), depth: tls.verify_depth, hints, identity: digest }
    }

    /// The keys of these files, the same as long as their contents are; random ones without files, or if they are bad.
    fn ticket_keys(&self, paths: &[PathBuf], faults: &mut Vec<Fault>) -> Arc<TicketKeys> {
        if paths.is_empty() {
            return self.tickets.clone();
        }
        let mut known = self.ticket_files.lock().unwrap_or_else(PoisonError::into_inner);
        let last_good = known.get(paths).map_or(&self.tickets, |files| &files.keys).clone();
        let mut contents = Vec::with_capacity(paths.len());
        for path in paths {
            match content(&*self.reader, path) {
                Ok(file) if matches!(file.len(), 48 | 80) => contents.push(file),
                Ok(_) => {
                    faults.push(Fault(format!("\"{}\" must be 48 or 80 bytes", path.display())));
                    return last_good;
                }
                Err(error) => {
                    faults.push(Fault(format!("open() \"{}\" failed ({error})", path.display())));
                    return last_good;
                }
            }
        }
        if known.get(paths).is_some_and(|same| same.contents == contents) {
            return last_good;
        }
        match TicketKeys::from_files(contents.iter().map(|file| &file[..]), self.clock.clone()) {
            Ok(keys) => {
                known.insert(paths.into(), TicketFiles { contents, keys: keys.clone() });
                keys
            }
            Err(_) => last_good,
        }
    }

    /// The cache of sessions for these settings; it outlives a reload that leaves them alone.
    fn sessions(&self, tls: &TlsSettings, identity: [u8; 32]) -> Option<Arc<Sessions>> {
        if tls.session_cache == 0 {
            return None;
        }
        let mut key = Context::new(&SHA256);
        key.update(&identity);
        key.update(format!("{} {:?}", tls.session_cache, tls.session_timeout).as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(key.finish().as_ref());
        let mut known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, sessions| sessions.strong_count() > 0);
        if let Some(sessions) = known.get(&digest).and_then(Weak::upgrade) {
            return Some(sessions);
        }
        let sessions = Arc::new(Sessions::new(tls.session_cache, tls.session_timeout));
        known.insert(digest, Arc::downgrade(&sessions));
        Some(sessions)
    }

    /// A configuration for each set of settings that the servers of one address have.
    fn address(
        &self,
        address: &Arc<AddressServers>,
        terms: &Arc<[ServerTerms]>,
        settings: &[Settings],
    ) -> AddressTerms {
        let names = &address.names;
        let named = names.exact.values().chain(names.suffixes.values()).chain(names.prefixes.values());
        let patterns = names.patterns.iter().map(|pattern| &pattern.server);
        let mut configs = HashMap::new();
        for server in named.chain(patterns).chain(std::iter::once(&address.default_server)) {
            let Some(index) = terms.get(server.index).and_then(|own| own.settings) else { continue };
            let Some(settings) = usize::try_from(index).ok().and_then(|index| settings.get(index)) else { continue };
            let http2 = server.http2 || address.http2;
            configs.entry((index, http2)).or_insert_with(|| {
                let resolver = ByName {
                    servers: address.clone(),
                    terms: terms.clone(),
                    placeholder: self.certificates.placeholder().clone(),
                };
                settings.config(resolver, http2)
            });
        }
        let configs = configs.into_iter().filter_map(|(key, config)| Some((key, config?))).collect();
        AddressTerms { keep: address.clone(), configs }
    }
}

type Known = (Option<SettingsIndex>, Option<Arc<ClientDemands>>);

/// What has been made so far for one plan.
#[derive(Default)]
struct Made {
    known: HashMap<Arc<TlsSettings>, Known>,
    settings: Vec<Settings>,
}

/// One distinct set of connection-level settings.
struct Settings {
    provider: Arc<rustls::crypto::CryptoProvider>,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    prefer_server_ciphers: bool,
    demands: Option<Arc<ClientDemands>>,
    sessions: Option<Arc<Sessions>>,
    tickets: Option<Arc<Ticketer>>,
}

impl Settings {
    fn config(&self, resolver: ByName, http2: bool) -> Option<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)
            // `suites` leaves out versions without a suite.
            .inspect_err(|error| tracing::error!("TLS settings cannot be used: {error}"))
            .ok()?;
        let builder = match &self.demands {
            Some(demands) => builder.with_client_cert_verifier(Arc::new(AnyCertificate::new(demands.hints.clone()))),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.ignore_client_order = self.prefer_server_ciphers;
        config.alpn_protocols = HTTP1.iter().map(|name| name.to_vec()).collect();
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        config.session_storage = match &self.sessions {
            Some(sessions) => sessions.clone() as Arc<dyn StoresServerSessions>,
            None => Arc::new(NoServerSessionStorage {}),
        };
        if let Some(tickets) = &self.tickets {
            config.ticketer = tickets.clone();
        }
        let resumable = self.tickets.is_some() || self.sessions.is_some();
        config.send_tls13_tickets = if resumable { TICKETS } else { 0 };
        // nginx does not compress certificates either; with thousands of them no cache would help.
        config.cert_compressors = Vec::new();
        config.cert_decompressors = Vec::new();
        Some(Arc::new(config))
    }
}
