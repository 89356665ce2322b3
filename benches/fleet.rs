//! What do many nodes cost each other? Only `fleet::Sync` runs, over the network of `tests/fleet_laws` in virtual time: how
//! long until all know the same (virtual), how many bytes that takes, and what quiet costs (bytes; real CPU of this
//! machine). `cargo bench --bench fleet`; what the link and the disk add is not in it.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, dead_code)]

#[path = "../tests/fleet_laws/network.rs"]
mod network;

use std::sync::Arc;
use std::time::{Duration, Instant};

use network::{Network, Weather};
use semper::fleet::sync::Event;
use semper::fleet::{Body, Claim, Subject};
use semper::plan::certificate::CertId;

const SECOND: Duration = Duration::from_secs(1);
/// A key and a chain of two, as they lie on disk.
const BUNDLE: usize = 4000;
const RELAY: Weather =
    Weather { loss: 0.0, doubling: 0.0, shortest: Duration::from_millis(200), longest: Duration::from_millis(210) };

fn bundle(net: &Network, number: usize, epoch: u64) -> Arc<Claim> {
    let id = CertId::try_from(format!("name{number}.example~{number:016x}")).unwrap();
    let mut body = vec![b'x'; BUNDLE];
    body[..8].copy_from_slice(&(number as u64 ^ (epoch << 40)).to_be_bytes());
    Arc::new(Claim::new(Subject::Bundle(id), epoch, net.ids[0], Body::copy(&body)))
}

/// All nodes are linked; one gets so many new bundles at once.
fn renewed(nodes: usize, bundles: usize, weather: Weather) {
    let mut net = Network::usual(nodes, 1, weather);
    net.connect_all();
    net.pass(SECOND * 5);
    net.sent.fill(0);
    let real = Instant::now();
    for number in 0..bundles {
        let claim = bundle(&net, number, 1);
        net.tell(0, Event::Claim(claim));
    }
    let took = net.until(SECOND * 600, Network::agree);
    report("new", nodes, bundles, weather, took, &net, real.elapsed());
}

/// One node knows nothing and meets the others.
fn empty(nodes: usize, bundles: usize, weather: Weather) {
    let mut net = Network::usual(nodes, 1, weather);
    for number in 0..bundles {
        let claim = bundle(&net, number, 1);
        for at in 1..nodes {
            net.tell(at, Event::Restored(claim.clone()));
        }
    }
    net.connect_all();
    let real = Instant::now();
    let took = net.until(SECOND * 600, Network::agree);
    report("empty", nodes, bundles, weather, took, &net, real.elapsed());
}

fn report(
    what: &str,
    nodes: usize,
    count: usize,
    weather: Weather,
    took: Option<Duration>,
    net: &Network,
    cpu: Duration,
) {
    let took = took.map_or_else(|| "never".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()));
    let bytes = net.sent.iter().sum::<usize>() as f64 / (nodes - 1) as f64 / (count * BUNDLE) as f64;
    println!(
        "{what:>6}  {nodes:>3} nodes  {count:>6} bundles  {:>4} ms away  {took:>8}  {bytes:>5.2} x the bundles for each  {:>8.1} ms CPU for each",
        weather.longest.as_millis(),
        cpu.as_secs_f64() * 1000.0 / nodes as f64
    );
}

/// Everybody knows everything: what does a minute cost?
fn quiet(nodes: usize, bundles: usize) {
    let mut net = Network::usual(nodes, 1, Weather::FAIR);
    for number in 0..bundles {
        let claim = bundle(&net, number, 1);
        for at in 0..nodes {
            net.tell(at, Event::Restored(claim.clone()));
        }
    }
    net.connect_all();
    net.pass(SECOND * 5);
    net.sent.fill(0);
    let real = Instant::now();
    net.pass(SECOND * 60);
    let pairs = (nodes * (nodes - 1)) as f64 * 60.0;
    println!(
        " quiet  {nodes:>3} nodes  {bundles:>6} bundles  {:>6.1} bytes a second to each peer  {:>6.2} us CPU a second for each peer",
        net.sent.iter().sum::<usize>() as f64 / pairs,
        real.elapsed().as_secs_f64() * 1e6 / pairs
    );
}

fn main() {
    for nodes in [2, 8, 32] {
        for bundles in [1, 1000] {
            renewed(nodes, bundles, Weather::FAIR);
        }
        renewed(nodes, 1, RELAY);
    }
    for nodes in [2, 8] {
        renewed(nodes, 10_000, Weather::FAIR);
        for weather in [Weather::FAIR, RELAY] {
            empty(nodes, 1000, weather);
            empty(nodes, 10_000, weather);
        }
    }
    for nodes in [2, 8, 32] {
        quiet(nodes, 1000);
    }
    quiet(8, 10_000);
}
