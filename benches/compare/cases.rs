//! Which rows are measured? Requests over kept connections, handshakes, bodies, uploads, idle connections.

use crate::certs::Root;
use crate::load::{self, Count, Shared, Target};
use crate::peers::{Peer, Running, port};
use crate::{Figures, Wishes, origin};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The ports of one configuration.
#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    ecdsa: u16,
    rsa: u16,
}

const ROWS: [&str; 11] = [
    "h1-tls 1 KiB x64",
    "h2 1 KiB 64x32",
    "h1-plain 1 KiB x64",
    "handshake full ECDSA",
    "handshake full RSA",
    "handshake resumed",
    "h1-tls 64 KiB",
    "h1-tls 1 MiB",
    "upload 10 MiB streamed",
    "upload 10 MiB buffered",
    "static 1 KiB",
];

fn nginx_conf(dir: &Path, origin: SocketAddr, ports: Ports) -> String {
    let dir = dir.display();
    let Ports { plain, ecdsa, rsa } = ports;
    let locations = "location / { proxy_pass http://origin; }
        location /streamed { proxy_pass http://origin; proxy_request_buffering off; }
        location /file { alias %dir%/file; }"
        .replace("%dir%", &dir.to_string());
    format!(
        "user root;
worker_processes 1;
pid {dir}/pid;
error_log {dir}/error.log crit;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
    ssl_session_cache shared:tls:10m;
    ssl_protocols TLSv1.3;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    upstream origin {{ server {origin}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{plain};
        {locations}
    }}
    server {{
        listen 127.0.0.1:{ecdsa} ssl;
        http2 on;
        http2_max_concurrent_streams 256;
        server_name bench.test;
        ssl_certificate {dir}/ecdsa.crt;
        ssl_certificate_key {dir}/ecdsa.key;
        {locations}
    }}
    server {{
        listen 127.0.0.1:{rsa} ssl;
        server_name bench.test;
        ssl_certificate {dir}/rsa.crt;
        ssl_certificate_key {dir}/rsa.key;
        {locations}
    }}
}}
"
    )
}

fn haproxy_conf(dir: &Path, origin: SocketAddr, ports: Ports) -> String {
    let dir = dir.display();
    let Ports { plain, ecdsa, rsa } = ports;
    format!(
        "global
    nbthread 1
    maxconn 6000
    tune.ssl.default-dh-param 2048
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout server 60s
    http-reuse always
frontend plain
    bind 127.0.0.1:{plain}
    default_backend origin
frontend ecdsa
    bind 127.0.0.1:{ecdsa} ssl crt {dir}/ecdsa.pem alpn h2,http/1.1
    default_backend origin
frontend rsa
    bind 127.0.0.1:{rsa} ssl crt {dir}/rsa.pem
    default_backend origin
backend origin
    server origin {origin}
"
    )
}

struct Bench {
    dir: PathBuf,
    _temp: tempfile::TempDir,
    root: Root,
    ports: Ports,
    origin: SocketAddr,
}

impl Bench {
    fn new() -> Bench {
        let temp = tempfile::Builder::new().prefix("compare").tempdir().unwrap();
        let dir = temp.path().to_owned();
        let root = Root::new();
        root.leaf(&dir, "ecdsa", &["bench.test".into()], false);
        root.leaf(&dir, "rsa", &["bench.test".into()], true);
        std::fs::write(dir.join("file"), vec![b'x'; 1024]).unwrap();
        let ports = Ports { plain: port(), ecdsa: port(), rsa: port() };
        Bench { dir, _temp: temp, root, ports, origin: origin::start() }
    }

    fn start(&self, peer: &Peer) -> Running {
        let conf = self.dir.join(if peer.is_haproxy() { "haproxy.cfg" } else { "nginx.conf" });
        let text = if peer.is_haproxy() { haproxy_conf } else { nginx_conf }(&self.dir, self.origin, self.ports);
        std::fs::write(&conf, text).unwrap();
        peer.start(&conf).ready(self.ports.rsa)
    }

    fn target(&self, port: u16, alpn: &[&str], resume: bool) -> Target {
        let tls = (port != self.ports.plain).then(|| load::client(self.root.der(), alpn, resume));
        Target { address: SocketAddr::from(([127, 0, 0, 1], port)), name: "bench.test", tls }
    }

    /// Starts the clients of `row`; false: this peer has no such row.
    fn clients(&self, row: &str, peer: &Peer, count: &Shared) -> bool {
        let Ports { plain, ecdsa, rsa } = self.ports;
        let one = ["http/1.1"];
        let keep = |port, path: &'static str, number: usize| {
            let target = self.target(port, &one, false);
            for _ in 0..number {
                tokio::task::spawn_local(load::keep_alive(target.clone(), path, count.clone()));
            }
        };
        let shake = |port, resume| {
            let target = self.target(port, &one, resume);
            for _ in 0..16 {
                tokio::task::spawn_local(load::handshakes(target.clone(), "/1k", count.clone()));
            }
        };
        let upload = |path: &'static str| {
            for _ in 0..2 {
                let target = self.target(ecdsa, &one, false);
                tokio::task::spawn_local(load::uploads(target, 10 << 20, path, count.clone()));
            }
        };
        match row {
            "h1-tls 1 KiB x64" => keep(ecdsa, "/1k", 64),
            "h1-plain 1 KiB x64" => keep(plain, "/1k", 64),
            "h1-tls 64 KiB" => keep(ecdsa, "/64k", 16),
            "h1-tls 1 MiB" => keep(ecdsa, "/1m", 8),
            "h2 1 KiB 64x32" => {
                let target = self.target(ecdsa, &["h2"], false);
                for _ in 0..64 {
                    tokio::task::spawn_local(load::http2(target.clone(), "/1k", 32, count.clone()));
                }
            }
            "handshake full ECDSA" => shake(ecdsa, false),
            "handshake full RSA" => shake(rsa, false),
            "handshake resumed" => shake(ecdsa, true),
            "upload 10 MiB streamed" => upload("/streamed"),
            "upload 10 MiB buffered" if !peer.is_haproxy() => upload("/"),
            "static 1 KiB" if !peer.is_haproxy() => keep(ecdsa, "/file", 64),
            _ => return false,
        }
        true
    }
}

/// Runs `future` on a runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

fn measure(bench: &Bench, row: &str, peer: &Peer, seconds: f64) -> Option<f64> {
    let running = bench.start(peer);
    let figure = block_on(async {
        let count = Rc::new(Count::default());
        if !bench.clients(row, peer, &count) {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (cpu, done) = (running.cpu(), count.done.get());
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let (cpu, done) = (running.cpu() - cpu, count.done.get() - done);
        count.stop.set(true);
        eprintln!("  {row:24} {:8} {done:8} done {:4} failed {cpu:12.0} us", peer.name, count.failed.get());
        (done > 0).then(|| cpu / done as f64)
    });
    running.stop();
    figure
}

/// Every wanted row, every peer, round by round.
pub fn run(wishes: &Wishes, peers: &[Peer]) -> (Vec<&'static str>, Figures) {
    let rows: Vec<_> = ROWS.into_iter().filter(|r| wanted(wishes, r)).collect();
    let mut figures = Figures::new();
    if rows.is_empty() {
        return (rows, figures);
    }
    let bench = Bench::new();
    for round in 1..=wishes.rounds {
        eprintln!("round {round} of {}", wishes.rounds);
        for row in &rows {
            for peer in peers {
                if let Some(figure) = measure(&bench, row, peer, wishes.seconds) {
                    figures.entry((*row).to_owned()).or_default().entry(peer.name).or_default().push(figure);
                }
            }
        }
    }
    (rows, figures)
}

/// Whether a row was asked for.
pub fn wanted(wishes: &Wishes, row: &str) -> bool {
    wishes.only.is_empty() || wishes.only.iter().any(|w| row.starts_with(w.as_str()))
}

/// How many connections idle.
const IDLE: usize = 2000;

/// Memory of idle connections.
pub fn idle(wishes: &Wishes, peers: &[Peer]) -> (Vec<&'static str>, Figures) {
    let rows = vec!["idle after one request", "idle, nothing asked"];
    let rows: Vec<_> = rows.into_iter().filter(|r| wanted(wishes, r)).collect();
    let mut figures = Figures::new();
    if rows.is_empty() {
        return (rows, figures);
    }
    let bench = Bench::new();
    for row in &rows {
        for peer in peers {
            let running = bench.start(peer);
            let target = bench.target(bench.ports.ecdsa, &["http/1.1"], false);
            let asks = row.ends_with("request");
            let figure = block_on(async {
                let mut kept = Vec::new();
                let mut before = 0.0;
                let mut buffer = vec![0; 64 << 10];
                for number in 0..IDLE + 100 {
                    if number == 100 {
                        before = running.memory(); // after a warm-up: what one more connection costs
                    }
                    let mut io = load::connect(&target).await.unwrap();
                    if asks {
                        use tokio::io::AsyncWriteExt;
                        io.write_all(b"GET /1k HTTP/1.1\r\nHost: bench.test\r\n\r\n").await.unwrap();
                        io.flush().await.unwrap();
                        load::answer(&mut *io, &mut buffer).await.unwrap();
                    }
                    kept.push(io);
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
                (running.memory() - before) / IDLE as f64
            });
            figures.entry((*row).to_owned()).or_default().entry(peer.name).or_default().push(figure);
            running.stop();
        }
    }
    (rows, figures)
}
