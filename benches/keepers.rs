//! What do many ACME certificates cost on one node? A state path full of bundles is taken up by as many keepers: how long
//! until they can be served, what they keep in memory, and what they cost while nothing is due. Prints figures; judges none.
//! `cargo bench --bench keepers [-- COUNT]`.
#![allow(clippy::unwrap_used)]

mod shelf;

use semper::cert::bundle::Bundle;
use semper::clock::Clock;
use semper::node::clock::{RealClock, RealDice};
use semper::node::keeper::{Installed, Tools};
use semper::node::keepers::Keepers;
use semper::node::secrets::OwnSecrets;
use semper::plan::certificate::CertSpec;
use semper::plan::tls::CertificateSource;
use semper::tls::certificates::Certificates;
use semper::zone::challenges::Challenges;
use shelf::{fill, issuer, spec};
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
