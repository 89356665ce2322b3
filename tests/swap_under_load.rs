//! Is anything dropped when things change? Under HTTP/1 (kept and new), HTTP/2, uploads, 100 MB downloads and WebSockets,
//! with four workers: renewals, replaced certificate files, reloads with changed routes, and reloads with a broken file.
//! No request may fail, no kept connection may be cut, and every change must be seen by new connections.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

mod bed;
#[path = "../benches/compare/load.rs"]
mod load;
#[path = "../benches/compare/origin.rs"]
mod origin;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bed::ca::Ca;
use bed::client::{Tls, serial};
use bed::server::{Semper, Server, Site, http};
use bed::{PATIENCE, wait_for, wait_some};
use load::{Count, Target};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How often each kind of change happens. `SEMPER_SWAPS` asks for more or fewer.
fn turns() -> usize {
    std::env::var("SEMPER_SWAPS").ok().and_then(|t| t.parse().ok()).unwrap_or(20)
}

fn conf(origin: SocketAddr, sockets: u16, turn: usize, broken: bool, workers: usize) -> String {
    let text = http(&format!(
        "
    acme_issuer own {{ uri internal; leaf_lifetime 2s; accept_terms_of_service; }}
    client_max_body_size 0;
    keepalive_requests 100000000;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream origin {{ server {origin}; keepalive 64; keepalive_requests 100000000; }}
    upstream sockets {{ server 127.0.0.1:{sockets}; }}
    server {{
        listen 127.0.0.1:%port1%;
        location / {{ proxy_pass http://origin; }}
        location /socket {{
            proxy_pass http://sockets;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
    server {{
        listen 127.0.0.1:%port2% ssl;
        http2 on;
        server_name renewed.test;
        acme_certificate own;
        ssl_certificate $acme_certificate;
        ssl_certificate_key $acme_certificate_key;
        location / {{ proxy_pass http://origin; }}
        location /turn{turn} {{ return 200 turn; }}
    }}
    server {{
        listen 127.0.0.1:%port3% ssl;
        http2 on;
        server_name replaced.test;
        ssl_certificate %dir%/replaced.crt;
        ssl_certificate_key %dir%/replaced.key;
        location / {{ proxy_pass http://origin; }}
        location /large {{ alias %dir%/large; }}
        {}
    }}",
        if broken { "proxy_passs http://nowhere;" } else { "" }
    ));
    text.replace("worker_processes 1;", &format!("worker_processes {workers};"))
        .replace("worker_connections 512;", "worker_connections 4096;")
}

/// What the load threads report.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    figures: std::sync::Mutex<Vec<(&'static str, u64, u64, u64)>>,
}

/// Runs clients made by `make` on a thread of their own until told to stop.
fn clients(
    tally: &Arc<Tally>,
    kind: &'static str,
    make: impl FnOnce(Rc<Count>) -> Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let tally = tally.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let count = Rc::new(Count::default());
            let tasks: Vec<_> = make(count.clone()).into_iter().map(tokio::task::spawn_local).collect();
            while !tally.stop.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            count.stop.set(true);
            for task in tasks {
                tokio::time::timeout(Duration::from_secs(30), task).await.expect("a client ends").unwrap();
            }
            let figures = (kind, count.done.get(), count.failed.get(), count.cut.get());
            tally.figures.lock().unwrap().push(figures);
        });
    })
}

/// Downloads `path` again and again, reading to the last byte.
async fn downloads(target: Target, path: &'static str, bytes: usize, count: Rc<Count>) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.name);
    let mut buffer = vec![0; 256 << 10];
    while !count.stop.get() {
        let once = async {
            let mut io = load::connect(&target).await?;
            io.write_all(request.as_bytes()).await?;
            io.flush().await?;
            let mut all = 0;
            loop {
                match io.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(got) => all += got,
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            }
            Ok::<usize, std::io::Error>(all)
        };
        match once.await {
            Ok(all) if all > bytes => count.one(),
            other => count.fail_with("a download", &other),
        }
    }
}

/// Opens a WebSocket and sends messages that must come back, until told to stop.
async fn socket(target: Target, count: Rc<Count>) {
    let once = async {
        let mut io = load::connect(&target).await?;
        io.write_all(b"GET /socket HTTP/1.1\r\nHost: any\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await?);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut turn = 0u32;
        while !count.stop.get() {
            io.write_all(&turn.to_be_bytes()).await?;
            if io.read_u32().await? != turn {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            turn += 1;
            count.one();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<(), std::io::Error>(())
    };
    if once.await.is_err() {
        count.fail();
    }
}

/// A server that upgrades everybody and echoes.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await?);
                    }
                    client
                        .write_all(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
                        .await?;
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
    });
    port
}

fn target(port: u16, name: &'static str, tls: Option<Arc<rustls::ClientConfig>>) -> Target {
    Target { address: SocketAddr::from(([127, 0, 0, 1], port)), name, tls }
}

fn first(pem: &str) -> CertificateDer<'static> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).next().unwrap().unwrap().into_owned()
}

/// Everybody at once: more than 200 connections.
fn everybody(tally: &Arc<Tally>, server: &Server, internal: &str, ca: &Ca) -> Vec<std::thread::JoinHandle<()>> {
    let (internal, files) = (first(internal), first(&ca.pem()));
    let client = |root: &CertificateDer<'static>, alpn: &str| Some(load::client(root.clone(), &[alpn], false));
    let plain = target(server.port(1), "any", None);
    let renewed = target(server.port(2), "renewed.test", client(&internal, "http/1.1"));
    let renewed2 = target(server.port(2), "renewed.test", client(&internal, "h2"));
    let replaced = target(server.port(3), "replaced.test", client(&files, "http/1.1"));
    let many = |number: usize, one: &dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        (0..number).map(|_| one()).collect::<Vec<_>>()
    };
    let (a, b, c, d) = (renewed.clone(), replaced.clone(), plain.clone(), plain.clone());
    let (e, f, g) = (replaced.clone(), renewed.clone(), replaced.clone());
    vec![
        clients(tally, "kept over TLS", move |count| {
            let mut all = many(60, &|| Box::pin(load::keep_alive(a.clone(), "/1k", count.clone())));
            all.extend(many(40, &|| Box::pin(load::keep_alive(b.clone(), "/64k", count.clone()))));
            all
        }),
        clients(tally, "kept plain", move |count| {
            many(40, &|| Box::pin(load::keep_alive(c.clone(), "/1k", count.clone())))
        }),
        clients(tally, "new each time", move |count| {
            let mut all = many(6, &|| Box::pin(load::handshakes(f.clone(), "/1k", count.clone())));
            all.extend(many(6, &|| Box::pin(load::handshakes(g.clone(), "/1k", count.clone()))));
            all
        }),
        clients(tally, "HTTP/2", move |count| {
            many(20, &|| Box::pin(load::http2(renewed2.clone(), "/1k", 4, count.clone())))
        }),
        clients(tally, "uploads and downloads", move |count| {
            let mut all = many(6, &|| Box::pin(load::uploads(e.clone(), 4 << 20, "/", count.clone())));
            all.extend(many(3, &|| Box::pin(downloads(e.clone(), "/large", 100 << 20, count.clone()))));
            all
        }),
        clients(tally, "WebSockets", move |count| many(40, &|| Box::pin(socket(d.clone(), count.clone())))),
    ]
}

fn replace(site: &Site, ca: &Ca) -> String {
    let leaf = ca.issue(&["replaced.test"]);
    site.file("replaced.crt", &leaf.chain); // for a moment the key does not match: the old pair must stay
    site.file("replaced.key", &leaf.key);
    serial(&first(&leaf.chain))
}

fn served(tls: &Tls, port: u16, name: &str) -> Option<String> {
    tls.chain(port, name).ok().and_then(|chain| chain.first().map(serial))
}

fn changes_under_load(workers: usize, turns: usize) {
    let (origin, sockets) = (origin::start(), echo());
    let ca = Ca::new("files");
    let site = Site::new(&conf(origin, sockets, 0, false, workers));
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    site.file("large", vec![b'l'; 100 << 20]);
    replace(&site, &ca);
    let server = Semper::serve(&site);
    let blind = Tls::blind();
    let internal = wait_some("the internal root", PATIENCE, || {
        let chain = blind.chain(server.port(2), "renewed.test").ok()?;
        let root = find_root(&site.dir().join("state"))?;
        Tls::trusting(&root).chain(server.port(2), "renewed.test").ok().map(|_| (chain, root).1)
    });

    let tally = Arc::new(Tally::default());
    let threads = everybody(&tally, &server, &internal, &ca);
    let mut slowest = Duration::ZERO;
    let mut serials = BTreeSet::new();
    for turn in 1..=turns {
        let wanted = replace(&site, &ca);
        let since = Instant::now();
        wait_for("the replaced certificate", PATIENCE, || {
            serials.extend(served(&blind, server.port(2), "renewed.test"));
            served(&blind, server.port(3), "replaced.test").as_deref() == Some(wanted.as_str())
        });
        slowest = slowest.max(since.elapsed());
        server.reload(&conf(origin, sockets, turn, false, workers));
        let trusted = Tls::trusting(&internal);
        wait_for("the new route", PATIENCE, || {
            trusted.get(server.port(2), "renewed.test", &format!("/turn{turn}")).is_ok_and(|a| a.text() == "turn")
        });
        if turn % 5 == 0 {
            server.reload(&conf(origin, sockets, turn + 1000, true, workers));
            let times = turn / 5;
            wait_for("the refusal of a broken file", PATIENCE, || {
                server.read("error.log").matches("unknown directive \"proxy_passs\"").count() >= times
            });
            assert_eq!(trusted.get(server.port(2), "renewed.test", &format!("/turn{turn}")).unwrap().text(), "turn");
        }
    }
    wait_for("the renewals", Duration::from_secs(90), || {
        serials.extend(served(&blind, server.port(2), "renewed.test"));
        serials.len() > turns
    });
    tally.stop.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    let figures = tally.figures.lock().unwrap().clone();
    println!("{workers} workers, {} renewals, slowest swap of files {slowest:?}", serials.len());
    for (kind, done, failed, cut) in &figures {
        println!("{kind:24} {done:8} done {failed:3} failed {cut:3} cut");
    }
    for (kind, done, failed, cut) in figures {
        assert!(done > 0, "{kind}: nothing was done");
        assert_eq!((failed, cut), (0, 0), "{kind}: failed, cut\n{}", server.complaints());
    }
}

/// The root of the built-in CA, somewhere in the state path.
fn find_root(state: &std::path::Path) -> Option<String> {
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.parent().is_some_and(|folder| folder.ends_with("authority"))
                && let Ok(text) = std::fs::read_to_string(&path)
                && text.contains("BEGIN CERTIFICATE")
            {
                return Some(text);
            }
        }
    }
    None
}

#[test]
fn nothing_is_dropped_when_certificates_and_routes_change_with_one_worker() {
    changes_under_load(1, turns().min(5));
}

#[test]
fn nothing_is_dropped_when_certificates_and_routes_change_with_four_workers() {
    changes_under_load(4, turns());
}
