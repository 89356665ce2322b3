//! What does a request cost semper, and what does it cost nginx and HAProxy? Every peer runs in turn, round by round, on
//! the same configuration, pinned to one core with one worker; load and origin stand on the other. Printed: CPU
//! microseconds of the proxy per request (user + system of all its processes), medians, and the ratio to nginx.
//!
//! `make bench`, or `cargo bench --bench compare -- --rounds 3 --seconds 2 --only h1-tls,h2`.
#![allow(clippy::unwrap_used, missing_docs)]

mod cases;
mod certs;
mod fleet;
mod load;
mod origin;
mod peers;
mod reload;

use std::collections::BTreeMap;

/// How long and how often.
pub struct Wishes {
    pub rounds: usize,
    pub seconds: f64,
    pub only: Vec<String>,
    pub peers: Vec<String>,
}

fn wishes() -> Wishes {
    let mut wishes = Wishes { rounds: 3, seconds: 2.0, only: Vec::new(), peers: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    let list = |text: String| text.split(',').map(str::to_owned).collect();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--rounds" => wishes.rounds = value().parse().expect("--rounds N"),
            "--seconds" => wishes.seconds = value().parse().expect("--seconds S"),
            "--only" => wishes.only = list(value()),
            "--peers" => wishes.peers = list(value()),
            _ => {}
        }
    }
    wishes
}

/// The middle of some figures.
pub fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Row → peer → figures.
pub type Figures = BTreeMap<String, BTreeMap<&'static str, Vec<f64>>>;

fn print(title: &str, order: &[&str], peers: &[&'static str], figures: &mut Figures) {
    println!("\n### {title}\n");
    println!("| row | {} |", peers.iter().map(|p| p.to_string()).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(peers.len()));
    for row in order {
        let Some(of_row) = figures.get_mut(*row) else { continue };
        let base = of_row.get_mut("nginx").and_then(|f| median(f));
        let mut line = format!("| {row} |");
        for peer in peers {
            let text = match of_row.get_mut(peer).map(|f| (f.first().copied(), median(f), f.last().copied())) {
                Some((_, Some(middle), _)) => {
                    let all = &of_row[peer];
                    let spread = format!("[{:.1}..{:.1}]", all[0], all[all.len() - 1]);
                    match base {
                        Some(base) if *peer != "nginx" => {
                            format!(" {middle:.1} {spread} x{:.2} |", middle / base.max(1e-9))
                        }
                        _ => format!(" {middle:.1} {spread} |"),
                    }
                }
                _ => " - |".to_owned(),
            };
            line.push_str(&text);
        }
        println!("{line}");
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split(':').nth(1)).unwrap_or("?");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = cpu.lines().filter(|l| l.starts_with("processor")).count();
    format!("{cores} x{model}, Linux {}", kernel.trim())
}

fn main() {
    if std::env::args().any(|a| a == "--test") {
        return; // `cargo test --benches` must not start a load run
    }
    let wishes = wishes();
    peers::pin_self();
    let found = peers::all(&wishes);
    let names: Vec<&'static str> = found.iter().map(|p| p.name).collect();
    println!("{}", machine());
    for peer in &found {
        println!("{}: {}", peer.name, peer.version());
    }
    let (order, mut figures) = cases::run(&wishes, &found);
    print("CPU microseconds per request (handshakes: per connection with one request)", &order, &names, &mut figures);
    let (order, mut figures) = cases::idle(&wishes, &found);
    print("Memory of an idle TLS connection, bytes (growth of PSS)", &order, &names, &mut figures);
    let (order, mut figures) = fleet::run(&wishes, &found);
    print("Many certificates: start in seconds until the last name answers, PSS in MiB", &order, &names, &mut figures);
    let (order, mut figures) = reload::run(&wishes, &found);
    print("Five reloads under load", &order, &names, &mut figures);
}
