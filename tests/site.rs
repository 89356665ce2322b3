//! Does semper do its main job? A whole site configuration (`config/social.conf`) with `acme_certificate` runs against
//! Pebble with real nginx as its upstream: the certificate comes by HTTP-01 and by TLS-ALPN-01, pages come over HTTP/1.1
//! and HTTP/2, a WebSocket echoes, and a restart orders nothing.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use bed::client::{Tls, curl, serial};
use bed::pebble::Pebble;
use bed::server::{Nginx, Semper, Server, Site, http};
use bed::{root, wait_for, wait_some};

const NAME: &str = "social.example";
/// What Pebble writes when it looks by HTTP-01.
const BY_HTTP: &str = "Attempting to validate w/ HTTP";
const LONG: Duration = Duration::from_secs(60);

/// The sample with the test's ports and paths in place of the public ones.
fn site(challenge: &str) -> (Site, Pebble, Server) {
    let sample = std::fs::read_to_string(root().join("config/social.conf")).unwrap();
    let site = Site::new("");
    let pebble = Pebble::start(site.port(1), site.port(2));
    let upstream = Nginx::start(&http(
        "server { listen 127.0.0.1:%port1%; location / { default_type text/plain; return 200 \"upstream saw $request_uri from $http_x_forwarded_for over $http_x_forwarded_proto\\n\"; } }",
    ));
    let own = [
        ("user www-data;", "user root;".to_owned()),
        ("worker_processes auto;", "worker_processes 2;".to_owned()),
        ("/run/semper.pid", "%dir%/pid".to_owned()),
        ("/var/log/semper/", "%dir%/".to_owned()),
        ("listen 80;", "listen 127.0.0.1:%port1%;".to_owned()),
        ("listen [::]:80;", String::new()),
        ("listen 443 ssl;", "listen 127.0.0.1:%port2% ssl;".to_owned()),
        ("listen [::]:443 ssl;", String::new()),
        ("/srv/social/public", "%dir%/public".to_owned()),
        ("127.0.0.1:3000", format!("127.0.0.1:{}", upstream.port(1))),
        ("127.0.0.1:4000", "127.0.0.1:%port3%".to_owned()),
        (
            "uri https://acme-v02.api.letsencrypt.org/directory;",
            format!("uri {}; ssl_trusted_certificate {}; challenge {challenge};", pebble.directory(), pebble.trusted()),
        ),
    ];
    let mut conf = sample;
    for (theirs, ours) in own {
        assert!(conf.contains(theirs), "the sample lost `{theirs}`");
        conf = conf.replace(theirs, &ours);
    }
    if !nix::unistd::getuid().is_root() {
        conf = conf.replace("user root;", "");
    }
    site.file("mime.types", "types { text/html html; application/javascript js; text/plain txt; }");
    site.file("public/sw.js", "// worker\n");
    site.file("public/500.html", "<h1>sorry</h1>\n");
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    site.rewrite(&conf);
    (site, pebble, upstream)
}

/// Waits until the certificate of Pebble is served and returns a client that trusts it.
fn certified(server: &Server, pebble: &Pebble) -> Tls {
    let tls = Tls::trusting(&pebble.root());
    wait_for("a certificate from Pebble", LONG, || tls.chain(server.port(2), NAME).is_ok());
    tls
}

/// A TCP server that upgrades and sends back what it gets.
fn echo_websocket(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut buffer = vec![0; 4096];
        let mut filled = 0;
        while !buffer[..filled].windows(4).any(|w| w == b"\r\n\r\n") {
            filled += stream.read(&mut buffer[filled..]).unwrap();
        }
        let head = String::from_utf8_lossy(&buffer[..filled]).to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
            .unwrap();
        while let Ok(got @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..got]).unwrap();
        }
    });
}

fn root_file(site: &Site, pebble: &Pebble) -> PathBuf {
    site.file("root.pem", pebble.root())
}

#[test]
fn a_whole_site_gets_its_certificate_by_http_01_and_serves_its_upstream() {
    let (site, pebble, _upstream) = site("http");
    echo_websocket(site.port(3));
    let server = Semper::serve(&site);
    let tls = certified(&server, &pebble);
    let chain = tls.chain(server.port(2), NAME).unwrap();
    let trusted = root_file(&site, &pebble);

    let port = server.port(2);
    let resolve = format!("{NAME}:{port}:127.0.0.1");
    let url = format!("https://{NAME}:{port}/hello?x=1");
    for (version, said) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let out = curl(&["-i", version, "--cacert", &trusted.to_string_lossy(), "--resolve", &resolve, &url]);
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.starts_with(said), "{version}: {text} {}", String::from_utf8_lossy(&out.stderr));
        assert!(text.contains("upstream saw /hello?x=1 from 127.0.0.1 over https"), "{text}");
        assert!(text.to_ascii_lowercase().contains("strict-transport-security: max-age=63072000"), "{text}");
    }

    let redirect = server.exchange(1, b"GET /a?b HTTP/1.1\r\nHost: social.example\r\nConnection: close\r\n\r\n");
    let redirect = String::from_utf8_lossy(&redirect).into_owned();
    assert!(redirect.contains("301") && redirect.contains("Location: https://social.example/a?b"), "{redirect}");
    let worker = tls.get(port, NAME, "/sw.js").unwrap();
    assert_eq!((worker.status, worker.text().as_str()), (200, "// worker\n"));
    assert_eq!(worker.header("cache-control"), Some("public, max-age=604800, must-revalidate"));

    let mut socket = tls.connect(port, NAME).unwrap();
    socket
        .write_all(b"GET /api/v1/streaming HTTP/1.1\r\nHost: social.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    for message in ["one", "and another"] {
        socket.write_all(message.as_bytes()).unwrap();
        let mut back = vec![0; message.len()];
        socket.read_exact(&mut back).unwrap();
        assert_eq!(back, message.as_bytes());
    }

    drop(socket);
    drop(server);
    let server = Semper::serve(&site);
    let again = wait_some("the same certificate after a restart", LONG, || tls.chain(server.port(2), NAME).ok());
    assert_eq!(serial(&again[0]), serial(&chain[0]));
    assert_eq!(pebble.orders(), 1, "a restart places no order");
    assert!(pebble.log().contains(BY_HTTP), "Pebble checked another way:\n{}", pebble.log());
}

#[test]
fn the_same_site_gets_its_certificate_by_tls_alpn_01() {
    let (site, pebble, _upstream) = site("tls-alpn");
    let server = Semper::serve(&site);
    let tls = certified(&server, &pebble);
    assert_eq!(tls.get(server.port(2), NAME, "/hello").unwrap().status, 200);
    assert!(!pebble.log().contains(BY_HTTP), "Pebble checked another way:\n{}", pebble.log());
}
