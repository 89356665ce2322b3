//! What does a reload do to those who are connected? Five HUPs in five seconds under kept and new connections.

use crate::cases::{block_on, wanted};
use crate::certs::Root;
use crate::load::{self, Count, Target};
use crate::peers::{Peer, port};
use crate::{Figures, Wishes, origin};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

fn conf(dir: &std::path::Path, origin: SocketAddr, port: u16, turn: usize) -> String {
    let dir = dir.display();
    format!(
        "user root;
worker_processes 1;
pid {dir}/pid;
error_log {dir}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
    uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    keepalive_requests 100000000;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    upstream origin {{ server {origin}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name bench.test;
        ssl_certificate {dir}/ecdsa.crt;
        ssl_certificate_key {dir}/ecdsa.key;
        location / {{ proxy_pass http://origin; }}
        location /turn{turn} {{ return 200 ok; }}
    }}
}}
"
    )
}

/// Failed requests and cut connections over five reloads.
pub fn run(wishes: &Wishes, peers: &[Peer]) -> (Vec<&'static str>, Figures) {
    let rows = vec!["reload: failed requests", "reload: kept connections cut", "reload: requests done"];
    let mut figures = Figures::new();
    if !wanted(wishes, "reload") {
        return (Vec::new(), figures);
    }
    let temp = tempfile::Builder::new().prefix("reload").tempdir().unwrap();
    let root = Root::new();
    root.leaf(temp.path(), "ecdsa", &["bench.test".into()], false);
    let origin = origin::start();
    for _ in 0..wishes.rounds {
        for peer in peers.iter().filter(|p| !p.is_haproxy()) {
            let port = port();
            let file = temp.path().join("nginx.conf");
            std::fs::write(&file, conf(temp.path(), origin, port, 0)).unwrap();
            let running = peer.start(&file).ready(port);
            let tls = Some(load::client(root.der(), &["http/1.1"], false));
            let target = Target { address: SocketAddr::from(([127, 0, 0, 1], port)), name: "bench.test", tls };
            let count = Rc::new(Count::default());
            block_on(async {
                for _ in 0..16 {
                    tokio::task::spawn_local(load::keep_alive(target.clone(), "/1k", count.clone()));
                }
                for _ in 0..4 {
                    tokio::task::spawn_local(load::handshakes(target.clone(), "/1k", count.clone()));
                }
                for turn in 1..=5 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    std::fs::write(&file, conf(temp.path(), origin, port, turn)).unwrap();
                    running.signal("HUP");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                count.stop.set(true);
                tokio::time::sleep(Duration::from_millis(300)).await;
            });
            for (row, figure) in rows.iter().zip([&count.failed, &count.cut, &count.done]) {
                figures.entry((*row).to_owned()).or_default().entry(peer.name).or_default().push(figure.get() as f64);
            }
            running.stop();
        }
    }
    (rows, figures)
}
