//! Does the test bed itself stand? nginx, Pebble, an origin, TLS and curl, without semper.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::ca::{Ca, Kind};
use bed::client::{Tls, curl};
use bed::origin::{Origin, Reply};
use bed::pebble::{Pebble, Settings};
use bed::server::{Nginx, Site, http, main, nginx_binary};

#[test]
fn nginx_is_1_28_and_proxies_to_the_origin() {
    let version = std::process::Command::new(nginx_binary()).arg("-v").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stderr).contains("nginx/1.28."));
    let origin = Origin::start(|request| Reply::with(201, &["X-Seen: yes"], request.target()));
    let inside =
        format!("server {{ listen 127.0.0.1:%port1%; location / {{ proxy_pass http://{}; }} }}", origin.address());
    let nginx = Nginx::start(&http(&inside));
    let answer = nginx.get(1, "/a?b");
    assert_eq!((answer.status, answer.header("x-seen"), answer.text().as_str()), (201, Some("yes"), "/a?b"));
    assert_eq!(origin.take()[0].line, "GET /a?b HTTP/1.0");
    nginx.wait_for_line("access.log", "GET /a?b HTTP/1.1");
}

#[test]
fn tls_clients_see_the_chain_of_the_name_they_ask_for() {
    let ca = Ca::new("Test root");
    let template = http(
        "server { listen 127.0.0.1:%port1% ssl; server_name a.test; ssl_certificate a.pem; ssl_certificate_key a.key; http2 on; return 200 a; }
         server { listen 127.0.0.1:%port1% ssl; server_name b.test; ssl_certificate b.pem; ssl_certificate_key b.key; return 200 b; }",
    );
    let site = Site::new(&template);
    for (name, kind) in [("a", Kind::P256), ("b", Kind::Rsa2048)] {
        let issued = ca.issue_for(&[&format!("{name}.test")], kind, std::time::Duration::from_secs(3600));
        site.file(&format!("{name}.pem"), &issued.chain);
        site.file(&format!("{name}.key"), &issued.key);
    }
    site.file("root.pem", ca.pem());
    let nginx = Nginx::serve(&site);
    let tls = Tls::trusting(&ca.pem());
    assert_eq!(tls.get(nginx.port(1), "b.test", "/").unwrap().text(), "b");
    assert!(tls.connect(nginx.port(1), "c.test").is_err());
    assert_eq!(Tls::blind().chain(nginx.port(1), "c.test").unwrap(), tls.chain(nginx.port(1), "a.test").unwrap());
    let url = format!("https://a.test:{}/", nginx.port(1));
    let to = format!("a.test:{}:127.0.0.1", nginx.port(1));
    let root = site.dir().join("root.pem");
    let out = curl(&["--http2", "-w", " %{http_version}", "--resolve", &to, "--cacert", root.to_str().unwrap(), &url]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "a 2", "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn pebble_gives_its_root_and_listens_with_its_own_certificate() {
    let pebble = Pebble::with(&Settings { life: 60, ..Settings::checking(bed::free_port(), bed::free_port()) });
    assert!(pebble.root().contains("BEGIN CERTIFICATE") && pebble.intermediate().contains("BEGIN CERTIFICATE"));
    let out = curl(&["--cacert", &pebble.trusted(), &pebble.directory()]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("newOrder"), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!((pebble.orders(), pebble.issued()), (0, 0));
}

#[test]
fn a_stream_block_serves_too() {
    let nginx = Nginx::start(&main("stream { server { listen 127.0.0.1:%port1%; return hello; } }"));
    assert_eq!(nginx.exchange(1, b""), b"hello");
}

#[test]
fn ports_are_not_given_twice() {
    let ports: std::collections::HashSet<u16> = (0..200).map(|_| bed::free_port()).collect();
    assert_eq!(ports.len(), 200);
}
