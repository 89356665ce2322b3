//! What do certificates and connections cost? Time and memory to load many pairs of files and make the handshake settings
//! of as many servers, then the same after each has been shown once. Prints figures; judges none.
//! `cargo bench --bench certificates [-- COUNT]`.
#![allow(clippy::unwrap_used)]

use semper::clock::{Clock, VirtualClock};
use semper::net::files::Disk;
use semper::plan::listener::{AddressServers, ListenAddress, Listener, NameTable, SocketOptions};
use semper::plan::server::Server;
use semper::plan::tls::{CertificateSource, FileCertificate, ServerTls};
use semper::plan::{Http, Plan};
use semper::tls::build::Tls;
use semper::tls::certificates::Certificates;
use semper::zone::challenges::Challenges;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let count = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(10_000);
    let dir = tempfile::tempdir().unwrap();
    write_pairs(dir.path(), count);
    let before = memory();
    let plan = plan(dir.path(), count);
    let with_plan = memory();
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::default());
    let challenges = Arc::new(Challenges::new(clock.clone()));
    let tls = Tls::new(Certificates::new().unwrap(), challenges, clock, Arc::new(Disk));
    let start = Instant::now();
    let faults = tls.load_files(&plan);
    let loaded = start.elapsed();
    let (terms, more) = tls.terms(&plan);
    let made = start.elapsed();
    assert!(faults.is_empty() && more.is_empty(), "{faults:?} {more:?}");
    let with_certificates = memory();
    println!("{count} certificates, {} handshake configurations", terms.configurations());
    println!("  read and judged     {:8.1} ms", loaded.as_secs_f64() * 1e3);
    println!("  settings made       {:8.1} ms", (made - loaded).as_secs_f64() * 1e3);
    println!("  memory: plan        {:8.1} MiB", mib(with_plan - before));
    println!("  memory: with them   {:8.1} MiB more", mib(with_certificates.saturating_sub(with_plan)));
    let start = Instant::now();
    for server in &plan.http.as_ref().unwrap().servers {
        let source = &server.tls.as_ref().unwrap().certificates[0];
        tls.certificates().held(source).unwrap().signer().unwrap();
    }
    println!("  every key loaded    {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    println!("  memory: with keys   {:8.1} MiB more", mib(memory().saturating_sub(with_certificates)));
}

/// Chains of a leaf and one common issuer, as a certificate authority gives them.
fn write_pairs(dir: &Path, count: usize) {
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().unwrap()).unwrap();
    for number in 0..count {
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![name(number)]).unwrap().signed_by(&key, &root).unwrap();
        std::fs::write(dir.join(format!("{number}.pem")), leaf.pem() + &root.pem()).unwrap();
        std::fs::write(dir.join(format!("{number}.key")), key.serialize_pem()).unwrap();
    }
}

fn name(number: usize) -> String {
    format!("n{number}.example.com")
}

fn plan(dir: &Path, count: usize) -> Plan {
    let server = |number: usize| {
        let at = |kind: &str| dir.join(format!("{number}.{kind}"));
        let files = FileCertificate { certificate: at("pem").into(), key: at("key").into(), passwords: None };
        let certificates = Box::new([CertificateSource::File(files.into())]);
        let tls = ServerTls { certificates, ..ServerTls::default() };
        Arc::new(Server::bare(number, &name(number), Some(Arc::new(tls))))
    };
    let servers: Box<[Arc<Server>]> = (0..count).map(server).collect();
    let exact = servers.iter().map(|server| (server.name.as_bytes().into(), server.clone())).collect();
    let names = NameTable { exact, ..NameTable::default() };
    let default_server = servers[0].clone();
    let address = AddressServers { local: None, ssl: true, http2: false, proxy_protocol: false, default_server, names };
    let listener = Listener {
        address: ListenAddress::Tcp(([127, 0, 0, 1], 443).into()),
        options: SocketOptions::default(),
        addresses: Box::new([Arc::new(address)]),
    };
    Plan { http: Some(Http { listeners: Box::new([listener]), servers, ..Http::default() }), ..Plan::default() }
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
