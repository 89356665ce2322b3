//! How are certificates of files taken over that nobody renews? Looks at each file certificate as `cert::rescue` says,
//! keeps one of our own beside it from its rescue point on, and shows that while the file does not lead. A new valid file
//! always takes over again: whoever watches the files swaps it in, and here it is only noticed.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::keepers::Keepers;
use crate::cert::inspect::Leaf;
use crate::cert::rescue::{Verdict, file_leads, is_public, judge};
use crate::clock::{Clock, UnixTime};
use crate::net::files::ReadFile;
use crate::plan::Plan;
use crate::plan::certificate::{CertId, CertSpec, KeyKind};
use crate::plan::rescue::Rescue;
use crate::plan::tls::CertificateSource;
use crate::tls::certificates::{Certificates, Held};
use crate::tls::load::{names_in_use, read_pair};
use crate::words::{Fingerprint, Identifier};

/// Looks a name up; `None`: it cannot be found.
pub type Resolve = Arc<dyn Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync>;

/// What is known of each file certificate.
pub struct Rescuer {
    certificates: Arc<Certificates>,
    clock: Arc<dyn Clock>,
    roots: Arc<[TrustAnchor<'static>]>,
    resolve: Resolve,
    cases: HashMap<CertificateSource, Case>,
}

/// One file certificate.
struct Case {
    /// The leaf of the file.
    file: Fingerprint,
    ends: UnixTime,
    /// From when on it is taken over, as what.
    from: UnixTime,
    spec: CertSpec,
    /// Ours runs beside it.
    taken: bool,
    /// What of ours is shown in its place.
    shown: Option<Fingerprint>,
    /// Its names were found outside; asked again until they are.
    found: bool,
}

impl Rescuer {
    /// Looks after `certificates`; `roots` are the public ones.
    pub fn new(
        certificates: Arc<Certificates>,
        clock: Arc<dyn Clock>,
        roots: Arc<[TrustAnchor<'static>]>,
        resolve: Resolve,
    ) -> Rescuer {
        Rescuer { certificates, clock, roots, resolve, cases: HashMap::new() }
    }

    /// Looks at every file certificate of a plan. To be called after each new plan and once a minute; reads no file.
    pub fn look(&mut self, plan: &Plan, keepers: &mut Keepers) {
        let Some(rule) = &plan.rescue else {
            self.cases.clear();
            return keepers.stand_down(|_| true);
        };
        let used = files_alone(plan);
        self.cases.retain(|source, _| used.contains_key(source));
        for (source, names) in used {
            self.meet(source, &names, rule);
        }
        self.act(rule, keepers);
    }

    /// Shows ours again where a file that does not lead was swapped in. To be called every second.
    pub fn tick(&mut self) {
        let now = self.clock.now();
        let certificates = self.certificates.clone();
        for (source, case) in self.cases.iter_mut().filter(|(_, case)| case.taken) {
            let shown = certificates.held(source).map(|held| held.fingerprint);
            // What is new is looked at within the minute.
            if shown == case.shown || shown == Some(case.file) {
                show(&certificates, source, case, now);
            }
        }
    }

    /// Whether anything is taken over at present.
    pub fn is_busy(&self) -> bool {
        self.cases.values().any(|case| case.taken)
    }

    /// Takes note of what the file of `source` is now.
    fn meet(&mut self, source: &CertificateSource, names: &[Identifier], rule: &Rescue) {
        let Some(held) = self.certificates.held(source) else { return };
        let known = self.cases.get(source);
        if known.is_some_and(|case| case.file == held.fingerprint || case.shown == Some(held.fingerprint)) {
            return;
        }
        let Ok(leaf) = Leaf::read(held.leaf()) else { return };
        let chain: Vec<CertificateDer<'_>> = held.chain();
        match judge(&leaf, is_public(&chain, leaf.not_before, &self.roots), names, rule) {
            Verdict::Never(why) => {
                if known.is_none() {
                    tracing::debug!("{} is not taken over when it ends: {why}", place(source));
                }
                self.cases.remove(source);
            }
            Verdict::From(from, names) => {
                let spec = CertSpec::new(rule.issuer.clone(), names, kind(&held), rule.place.clone());
                let spec = CertSpec { id: spec.id.variant("rescue"), ..spec };
                let (file, ends) = (held.fingerprint, held.not_after);
                let case = Case { file, ends, from, spec, taken: false, shown: None, found: false };
                self.cases.insert(source.clone(), case);
            }
        }
    }

    /// Begins and ends what is due.
    fn act(&mut self, rule: &Rescue, keepers: &mut Keepers) {
        let now = self.clock.now();
        for (source, case) in &mut self.cases {
            if file_leads(case.ends, case.from, now) {
                case.taken = false;
                continue;
            }
            if !case.taken {
                // What was taken over once needs no look-up that could last.
                case.found =
                    case.found || keepers.holds(&case.spec) || found(&case.spec.identifiers, rule, &self.resolve);
                if !case.found {
                    continue;
                }
                let (file, ends) = (place(source), case.ends);
                tracing::warn!("{file} ends {ends} and nobody has renewed it: {} takes it over", rule.issuer);
                case.taken = keepers.stand_in(&case.spec);
            }
            show(&self.certificates, source, case, now);
        }
        let taken: Vec<&CertId> = self.cases.values().filter(|case| case.taken).map(|case| &case.spec.id).collect();
        keepers.stand_down(|id| !taken.contains(&id));
    }
}

/// The file certificates that stand in a server without one of our own, and the names that servers use them for.
fn files_alone(plan: &Plan) -> HashMap<&CertificateSource, Vec<Identifier>> {
    let servers = plan.http.iter().flat_map(|http| &http.servers).filter_map(|server| server.tls.as_ref());
    let file = |source: &&CertificateSource| matches!(source, CertificateSource::File(_));
    let alone = servers.filter(|tls| tls.certificates.iter().all(|source| file(&source)));
    let alone: HashSet<&CertificateSource> = alone.flat_map(|tls| &tls.certificates).collect();
    names_in_use(plan).into_iter().filter(|(source, _)| alone.contains(source)).collect()
}

/// Shows ours if it is in force and the file does not lead.
fn show(certificates: &Certificates, source: &CertificateSource, case: &mut Case, now: UnixTime) {
    let ours = certificates.held(&CertificateSource::Acme(case.spec.id.clone()));
    let Some(ours) = ours.filter(|ours| now < ours.not_after && !file_leads(case.ends, case.from, now)) else { return };
    if certificates.held(source).is_none_or(|held| held.fingerprint != ours.fingerprint) {
        let until = ours.not_after;
        tracing::info!(level = "notice", "{} is shown as renewed by semper until {until}", place(source));
        case.shown = Some(ours.fingerprint);
        certificates.lend(&CertificateSource::Acme(case.spec.id.clone()), source);
    }
}

/// Whether all names can be found outside. Names that were named need not be.
fn found(names: &[Identifier], rule: &Rescue, resolve: &Resolve) -> bool {
    let outside = |address: &IpAddr| match address {
        IpAddr::V4(ip) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    };
    names.iter().all(|name| match name {
        name if rule.names.contains(name) => true,
        Identifier::Ip(_) => false,
        Identifier::Dns(dns) => {
            let host = dns.as_str().strip_prefix("*.").unwrap_or(dns.as_str());
            resolve(host).is_some_and(|addresses| addresses.iter().any(outside))
        }
    })
}

fn place(source: &CertificateSource) -> String {
    match source {
        CertificateSource::File(files) => format!("certificate \"{}\"", files.certificate.display()),
        CertificateSource::Acme(id) => id.to_string(),
    }
}

/// The same kind of key as the file has, as far as we make it.
fn kind(held: &Held) -> KeyKind {
    let kinds = [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096];
    kinds.into_iter().find(|kind| held.kind.is(*kind)).unwrap_or_default()
}

/// What `rescue` would do with each file certificate of `plan`, a line each: for `-t` and `check`.
pub fn forecast(plan: &Plan, reader: &dyn ReadFile, now: UnixTime) -> Vec<String> {
    let Some(rule) = &plan.rescue else { return Vec::new() };
    let mut lines = Vec::new();
    for (source, names) in files_alone(plan) {
        let CertificateSource::File(files) = source else { continue };
        let Ok(pair) = read_pair(reader, files) else { continue };
        let public = is_public(&pair.chain, pair.leaf.not_before, webpki_roots::TLS_SERVER_ROOTS);
        lines.push(match judge(&pair.leaf, public, &names, rule) {
            Verdict::From(from, names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                let when = if from <= now { "now".to_owned() } else { format!("from {from} on") };
                format!("{} would be rescued by {} {when}: {}", place(source), rule.issuer, names.join(" "))
            }
            Verdict::Never(why) => format!("{} would not be rescued: {why}", place(source)),
        });
    }
    lines.sort();
    lines
}

#[cfg(test)]
#[path = "rescue_tests.rs"]
mod tests;
