//! What do many certificates cost? One server block and one ECDSA certificate for each name, as on a CDN node.

use crate::cases::{block_on, wanted};
use crate::certs::Root;
use crate::load::{self, Target};
use crate::peers::{Peer, port};
use crate::{Figures, Wishes};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

fn conf(peer: &Peer, dir: &Path, port: u16, number: usize) -> String {
    let folder = dir.display();
    if peer.is_haproxy() {
        let mut list = String::new();
        for n in 0..number {
            let _ = writeln!(list, "{folder}/n{n}.pem n{n}.test");
        }
        std::fs::write(dir.join("list"), list).unwrap();
        return format!(
            "global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend all
    bind 127.0.0.1:{port} ssl crt-list {folder}/list
    http-request return status 200 content-type text/plain string ok
"
        );
    }
    let mut text = format!(
        "user root;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log crit;\nevents {{ worker_connections 512; }}\n\
         http {{ access_log off; server_names_hash_max_size 200000; server_names_hash_bucket_size 128;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; \
         uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
    );
    for n in 0..number {
        let _ = writeln!(
            text,
            "server {{ listen 127.0.0.1:{port} ssl; server_name n{n}.test; ssl_certificate {folder}/n{n}.crt; \
             ssl_certificate_key {folder}/n{n}.key; location / {{ return 200 ok; }} }}"
        );
    }
    text.push_str("}\n");
    text
}

async fn asks(target: &Target) -> bool {
    let once = async {
        let mut io = load::connect(target).await?;
        use tokio::io::AsyncWriteExt;
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.name);
        io.write_all(request.as_bytes()).await?;
        io.flush().await?;
        load::answer(&mut *io, &mut vec![0; 4096]).await
    };
    matches!(once.await, Ok(Some(200)))
}

/// Start and memory with 1,000 and 10,000 certificates.
pub fn run(wishes: &Wishes, peers: &[Peer]) -> (Vec<&'static str>, Figures) {
    let all = [
        (1000, "certificates 1,000: start", "certificates 1,000: memory"),
        (10_000, "certificates 10,000: start", "certificates 10,000: memory"),
    ];
    let mut rows = Vec::new();
    let mut figures = Figures::new();
    if !wanted(wishes, "certificates") {
        return (rows, figures);
    }
    for (number, start, memory) in all {
        rows.extend([start, memory]);
        let temp = tempfile::Builder::new().prefix("fleet").tempdir().unwrap();
        let root = Root::new();
        eprintln!("making {number} certificates");
        for n in 0..number {
            root.leaf(temp.path(), &format!("n{n}"), &[format!("n{n}.test")], false);
        }
        for _ in 0..wishes.rounds {
            for peer in peers {
                let port = port();
                let file = temp.path().join(if peer.is_haproxy() { "haproxy.cfg" } else { "nginx.conf" });
                std::fs::write(&file, conf(peer, temp.path(), port, number)).unwrap();
                let name: &'static str = Box::leak(format!("n{}.test", number - 1).into_boxed_str());
                let tls = Some(load::client(root.der(), &["http/1.1"], false));
                let target = Target { address: SocketAddr::from(([127, 0, 0, 1], port)), name, tls };
                let began = Instant::now();
                let running = peer.start(&file);
                let took = block_on(async {
                    while !asks(&target).await {
                        if began.elapsed() > Duration::from_secs(120) {
                            return None;
                        }
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    Some(began.elapsed().as_secs_f64())
                });
                if let Some(took) = took {
                    figures.entry(start.to_owned()).or_default().entry(peer.name).or_default().push(took);
                    let mebibytes = running.memory() / f64::from(1 << 20);
                    figures.entry(memory.to_owned()).or_default().entry(peer.name).or_default().push(mebibytes);
                }
                running.stop();
            }
        }
    }
    (rows, figures)
}
