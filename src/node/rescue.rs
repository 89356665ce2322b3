//! How are certificates of files taken over that nobody renews? Looks at each file certificate as `cert::rescue` says,
//! keeps one of our own beside it from its rescue point on, and shows that while the file does not lead. A new valid file
//! always takes over again: whoever watches the files swaps it in, and here it is only noticed.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::clock::RealClock;
use super::keepers::Keepers;
use super::load::Wish;
use super::world::RealWorld;
use crate::cert::inspect::Leaf;
use crate::cert::rescue::{Reason, Verdict, file_leads, is_public, judge, judge_unreadable};
use crate::clock::{Clock, UnixTime};
use crate::net::files::{Disk, ReadFile};
use crate::plan::Plan;
use crate::plan::acme::Issuer;
use crate::plan::certificate::{CertId, CertSpec, KeyKind};
use crate::plan::rescue::Rescue;
use crate::plan::tls::CertificateSource;
use crate::tls::certificates::{Certificates, Held};
use crate::tls::load::{names_in_use, read_pair};
use crate::words::{Fingerprint, Identifier};

/// A file that could never be read is left to whoever may be about to write it for so many units of the issuer.
const UNREADABLE: u32 = 5;
const MINUTE: Duration = Duration::from_secs(60);
const NEVER: UnixTime = UnixTime(i64::MAX);

/// Looks a name up; `None`: it cannot be found.
pub type Resolve = Arc<dyn Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync>;

/// What is known of each file certificate.
pub struct Rescuer {
    certificates: Arc<Certificates>,
    clock: Arc<dyn Clock>,
    roots: Arc<[TrustAnchor<'static>]>,
    resolve: Resolve,
    cases: HashMap<CertificateSource, Case>,
    /// Why the others are left alone.
    left: HashMap<CertificateSource, Reason>,
}

/// One file certificate.
struct Case {
    /// The leaf of the file; `None`: it could never be read.
    file: Option<Fingerprint>,
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
        Rescuer { certificates, clock, roots, resolve, cases: HashMap::new(), left: HashMap::new() }
    }

    /// Looks at every file certificate of a plan. To be called after each new plan and once a minute; reads no file.
    pub fn look(&mut self, plan: &Plan, keepers: &mut Keepers) {
        let Some(rule) = &plan.rescue else {
            self.cases.clear();
            self.left.clear();
            return keepers.stand_down(|_| true);
        };
        let used = files_alone(plan);
        self.cases.retain(|source, _| used.contains_key(source));
        self.left.retain(|source, _| used.contains_key(source));
        let unit = plan.issuers.iter().find(|issuer| issuer.name == rule.issuer).map_or(MINUTE, Issuer::unit);
        for (source, names) in used {
            self.meet(source, &names, rule, unit * UNREADABLE);
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
            if shown == case.shown || shown == case.file {
                show(&certificates, source, case, now);
            }
        }
    }

    /// Whether anything is taken over at present.
    pub fn is_busy(&self) -> bool {
        self.cases.values().any(|case| case.taken)
    }

    /// Takes note of what the file of `source` is now.
    fn meet(&mut self, source: &CertificateSource, names: &[Identifier], rule: &Rescue, patience: Duration) {
        let held = self.certificates.held(source);
        let file = held.as_ref().map(|held| held.fingerprint);
        let known = self.cases.get(source);
        if known.is_some_and(|case| case.file == file || (file.is_some() && case.shown == file)) {
            return;
        }
        let (verdict, ends, kind) = match &held {
            // Somebody may be about to write it: a start is no time to jump to conclusions.
            None => (judge_unreadable(names, rule, self.clock.now() + patience), NEVER, KeyKind::default()),
            Some(held) => {
                let Ok(leaf) = Leaf::read(held.leaf()) else { return };
                let chain: Vec<CertificateDer<'_>> = held.chain();
                let public = is_public(&chain, leaf.not_before, &self.roots);
                (judge(&leaf, public, names, rule), held.not_after, kind(held))
            }
        };
        match verdict {
            Verdict::Never(why) => {
                if self.left.insert(source.clone(), why.clone()).as_ref() != Some(&why) {
                    tracing::debug!("{} is not taken over when it ends: {why}", place(source));
                }
                self.cases.remove(source);
            }
            Verdict::From(from, names) => {
                self.left.remove(source);
                let spec = CertSpec::new(rule.issuer.clone(), names, kind, rule.place.clone());
                let spec = CertSpec { id: spec.id.variant("rescue"), ..spec };
                let case = Case { file, ends, from, spec, taken: false, shown: None, found: false };
                self.cases.insert(source.clone(), case);
            }
        }
    }

    /// What becomes of each file certificate of `plan`, by the path of the file: for `explain`.
    pub fn words(&self, plan: &Plan) -> Vec<(String, String)> {
        let Some(rule) = &plan.rescue else { return Vec::new() };
        let now = self.clock.now();
        let path = |source: &CertificateSource| match source {
            CertificateSource::File(files) => files.certificate.display().to_string(),
            CertificateSource::Acme(id) => id.to_string(),
        };
        let by = &rule.issuer;
        let cases = self.cases.iter().map(|(source, case)| {
            let held = self.certificates.held(&CertificateSource::Acme(case.spec.id.clone()));
            let shown = held.filter(|held| Some(held.fingerprint) == case.shown);
            let from = case.from;
            let words = match (shown, case.taken) {
                (Some(ours), _) => format!("semper has taken it over by {by}; shown until {}", ours.not_after),
                (None, true) => format!("semper takes it over by {by}; nothing has been obtained yet"),
                (None, false) if from <= now => format!("its names are not found outside: {by} does not take it over"),
                (None, false) => format!("taken over by {by} on {from} if nobody renews it until then"),
            };
            (path(source), words)
        });
        let left = self.left.iter().map(|(source, why)| (path(source), format!("never taken over: {why}")));
        cases.chain(left).collect()
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
                let (file, ends, by) = (place(source), case.ends, &rule.issuer);
                match case.file {
                    Some(_) => tracing::warn!("{file} ends {ends} and nobody has renewed it: {by} takes it over"),
                    None => tracing::warn!("{file} cannot be read and nobody has mended it: {by} takes it over"),
                }
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

/// [`forecast`] for a configuration that was refused, if nothing but its certificates is the reason.
pub fn forecast_refused(wish: &Wish) -> Vec<String> {
    match wish.judge(&RealWorld { judge_certificates: false }) {
        Ok(loaded) => forecast(&loaded.plan, &Disk, RealClock.now()),
        Err(_) => Vec::new(),
    }
}

/// What `rescue` would do with each file certificate of `plan`, a line each: for `-t` and `check`.
pub fn forecast(plan: &Plan, reader: &dyn ReadFile, now: UnixTime) -> Vec<String> {
    let Some(rule) = &plan.rescue else { return Vec::new() };
    let mut lines = Vec::new();
    for (source, names) in files_alone(plan) {
        let CertificateSource::File(files) = source else { continue };
        let (verdict, unreadable) = match read_pair(reader, files) {
            Ok(pair) => {
                let public = is_public(&pair.chain, pair.leaf.not_before, webpki_roots::TLS_SERVER_ROOTS);
                (judge(&pair.leaf, public, &names, rule), "")
            }
            Err(_) => (judge_unreadable(&names, rule, now), " (it cannot be read)"),
        };
        lines.push(match verdict {
            Verdict::From(from, names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                let when = if from <= now { "now".to_owned() } else { format!("from {from} on") };
                let when = format!("{when}{unreadable}");
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
