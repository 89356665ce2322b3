//! What do many ACME certificates cost on one node? A state path full of bundles is taken up by as many keepers: how long
//! until they can be served, what they keep in memory, and what they cost while nothing is due. Prints figures; judges none.
//! `cargo bench --bench keepers [-- COUNT]`.
#![allow(clippy::unwrap_used)]

use semper::cert::bundle::{Bundle, Origin, PrivateKey};
use semper::cert::journal::{Record, Shelf, StageRecord};
use semper::cert::ledger::Ledger;
use semper::cert::stage::{Event, Held, Policy, Stage};
use semper::clock::{Clock, UnixTime};
use semper::node::clock::{RealClock, RealDice};
use semper::node::keeper::{Installed, Tools};
use semper::node::keepers::Keepers;
use semper::node::secrets::OwnSecrets;
use semper::plan::acme::{Authority, InternalAuthority, Issuer};
use semper::plan::certificate::{CertSpec, KeyKind};
use semper::plan::tls::CertificateSource;
use semper::store::Directory;
use semper::tls::certificates::Certificates;
use semper::words::Place;
use semper::zone::challenges::Challenges;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let count = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(10_000);
    let dir = tempfile::tempdir().unwrap();
    let issuer = issuer(dir.path());
    let specs: Vec<CertSpec> = (0..count).map(spec).collect();
    fill(dir.path(), &specs, &issuer);
    let before = memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let certificates = Certificates::new().unwrap();
        let table = certificates.clone();
        let publish = move |installed: Vec<Installed>| {
            for Installed { spec, bundle } in installed {
                let pair = Bundle::clone(&bundle).into();
                table.install_unloaded(&CertificateSource::Acme(spec.id.clone()), pair);
            }
        };
        let clock: Arc<dyn Clock> = Arc::new(RealClock);
        let tools =
            Tools { clock: clock.clone(), dice: Arc::new(RealDice), publish: Arc::new(publish), beats: Arc::default() };
        let mut keepers = Keepers::new(tools, Arc::new(Challenges::new(clock)), Arc::new(OwnSecrets));
        let start = Instant::now();
        keepers.adopt(std::slice::from_ref(&issuer), &specs);
        println!("{count} certificates of ACME");
        println!("  taken up and served {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
        assert!(specs.iter().all(|spec| certificates.held(&CertificateSource::Acme(spec.id.clone())).is_some()));
        // Every loop has turned once.
        tokio::time::sleep(Duration::from_secs(5)).await;
        println!("  memory              {:8.1} MiB", mib(memory().saturating_sub(before)));
        let (cpu, begun) = (processor(), Instant::now());
        tokio::time::sleep(Duration::from_secs(30)).await;
        let share = (processor() - cpu) / begun.elapsed().as_secs_f64();
        println!("  processor, idle     {:8.3} %", share * 100.0);
        let start = Instant::now();
        keepers.adopt(std::slice::from_ref(&issuer), &specs);
        println!("  a reload            {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    });
}

fn spec(number: usize) -> CertSpec {
    let name = format!("n{number}.example.com").parse().unwrap();
    CertSpec::new("inner", vec![name], KeyKind::EcdsaP256, Place::built_in())
}

fn issuer(state: &Path) -> Issuer {
    let authority = Authority::Internal(InternalAuthority::default());
    Issuer::new("inner", Some(state.to_owned()), authority, Place::built_in())
}

/// Bundles and journals as they lie after the certificates were issued.
fn fill(state: &Path, specs: &[CertSpec], issuer: &Issuer) {
    let shelf = Directory::view(state).unwrap();
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().unwrap()).unwrap();
    let now = time::OffsetDateTime::now_utc();
    for spec in specs {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![spec.identifiers[0].to_string()]).unwrap();
        (params.not_before, params.not_after) = (now - time::Duration::days(1), now + time::Duration::days(89));
        let leaf = params.signed_by(&key, &root).unwrap();
        let origin = Origin {
            id: spec.id.clone(),
            epoch: 1,
            issuer: "inner".into(),
            authority: "internal".into(),
            obtained_at: UnixTime(now.unix_timestamp() * 1000),
        };
        let chain = leaf.pem() + &root.pem();
        let bundle = Bundle::new(origin, chain.as_bytes(), PrivateKey::from_pkcs8(key.serialize_der())).unwrap();
        let event = Event::Started(Some(Held::of(&bundle)));
        let (stage, _) = Stage::new().step(
            RealClock.now(),
            event,
            &Policy::of(issuer, std::slice::from_ref(issuer), &spec.identifiers[..]),
            &mut Ledger::default(),
            0.5,
        );
        shelf.save(&Record::Stage(spec.id.clone()), &StageRecord::write(&stage)).unwrap();
        shelf.replace(&bundle, None).unwrap();
    }
}

/// Processor seconds of this process so far.
fn processor() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0);
    kilobytes * 1024
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
