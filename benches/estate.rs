//! What does a node with many certificates cost as it really runs, with master and server process? For certificates of files
//! and of a state path: the time until a listener takes a connection and until the last name answers, the processor time
//! until then, memory, what it costs while nothing happens, and what a look at one name costs (`node::served` looks at each
//! once an hour). Prints figures; judges none. `cargo bench --bench estate [-- COUNT …]`.
#![allow(clippy::unwrap_used)]

mod shelf;

use semper::watch::probe::{self, Look};
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Looks that are measured.
const LOOKS: u32 = 1000;
/// So long nothing happens.
const IDLE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let counts: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![10_000, 50_000] } else { counts };
    println!(
        "| certificates | connected | all answer | processor user + sys | PSS master + server | idle | a look, both sides |"
    );
    println!("|---|---|---|---|---|---|---|");
    for count in counts {
        for kind in ["file", "acme"] {
            // In memory where that is possible: the disk is not what is measured, and a state path is synced often.
            let shared = Path::new("/dev/shm");
            let place = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
            let dir = tempfile::Builder::new().prefix("estate").tempdir_in(place).unwrap();
            prepare(dir.path(), kind, count);
            measure(dir.path(), kind, count);
        }
    }
}

fn prepare(dir: &Path, kind: &str, count: usize) {
    let state = dir.join("state");
    match kind {
        "file" => write_pairs(dir, count),
        _ => {
            let specs: Vec<_> = (0..count).map(shelf::spec).collect();
            shelf::fill(&state, &specs, &shelf::issuer(&state));
        }
    }
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

fn conf(dir: &Path, kind: &str, count: usize, port: u16) -> String {
    let folder = dir.display();
    let issuer = if kind == "acme" { "acme_issuer inner { uri internal; }" } else { "" };
    let mut text = format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log notice;\n\
         events {{ worker_connections 512; }}\nhttp {{ access_log off; {issuer}\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
    );
    for number in 0..count {
        let _ = write!(text, "server {{ listen 127.0.0.1:{port} ssl; server_name {}; ", name(number));
        let _ = match kind {
            "file" => write!(text, "ssl_certificate {folder}/{number}.pem; ssl_certificate_key {folder}/{number}.key;"),
            _ => write!(
                text,
                "acme_certificate inner; ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key;"
            ),
        };
        text.push_str(" location / { return 200 ok; } }\n");
    }
    text.push_str("}\n");
    text
}

/// What runs; ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Running {
    /// The master, then the server process.
    fn ids(&self) -> Vec<u32> {
        let master = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
        std::iter::once(master).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }

    /// Processor seconds of all: user, system.
    fn processor(&self) -> (f64, f64) {
        self.ids().into_iter().map(times).fold((0.0, 0.0), |sum, own| (sum.0 + own.0, sum.1 + own.1))
    }

    /// Proportional set size of each, MiB.
    fn memory(&self) -> Vec<f64> {
        let of = |id| {
            let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|l| l.starts_with("Pss:")).and_then(|l| l.split_whitespace().nth(1));
            line.and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        self.ids().into_iter().map(of).collect()
    }
}

/// Processor seconds of a process: user, system.
fn times(id: u32) -> (f64, f64) {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let seconds = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    (seconds(11), seconds(12))
}

fn measure(dir: &Path, kind: &str, count: usize) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (file, address) = (dir.join("nginx.conf"), SocketAddr::from(([127, 0, 0, 1], port)));
    std::fs::write(&file, conf(dir, kind, count, port)).unwrap();
    std::fs::write(dir.join("semper.conf"), format!("state_path {}/state;\n", dir.display())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let look = |number| Look {
        address,
        name: name(number),
        proxy_protocol: false,
        own: false,
        timeout: Duration::from_secs(60),
    };
    let begun = Instant::now();
    let binary = env!("CARGO_BIN_EXE_semper");
    let child = Command::new(binary).arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
    let running = Running(child);
    while TcpStream::connect(address).is_err() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    let connected = begun.elapsed();
    while runtime.block_on(probe::look(&look(count - 1))).is_err() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (answered, started) = (begun.elapsed(), running.processor());
    std::thread::sleep(Duration::from_secs(5));
    let memory = running.memory();
    let before = running.processor();
    std::thread::sleep(IDLE);
    let after = running.processor();
    let idle = (after.0 + after.1 - before.0 - before.1) / IDLE.as_secs_f64();
    let sum = |(user, system): (f64, f64)| user + system;
    let (theirs, ours) = (sum(running.processor()), sum(times(std::process::id())));
    for number in 0..LOOKS {
        let number = usize::try_from(number).unwrap_or(0) % count;
        runtime.block_on(probe::look(&look(number))).unwrap();
    }
    let each = |seconds: f64| seconds / f64::from(LOOKS) * 1e6;
    let (theirs, ours) = (each(sum(running.processor()) - theirs), each(sum(times(std::process::id())) - ours));
    println!(
        "| {count} {kind} | {:.2} s | {:.2} s | {:.2} + {:.2} s | {} MiB | {:.2} % | {:.0} + {:.0} µs |",
        connected.as_secs_f64(),
        answered.as_secs_f64(),
        started.0,
        started.1,
        memory.iter().map(|one| format!("{one:.1}")).collect::<Vec<_>>().join(" + "),
        idle * 100.0,
        ours,
        theirs,
    );
    let share = (ours + theirs) * 1e-6 * 10_000.0 / 3600.0;
    eprintln!("ten thousand names, each looked at once an hour: {:.2} % of one core", share * 100.0);
}
