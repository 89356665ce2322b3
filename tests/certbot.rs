//! Does certbot go on working when semper stands in front? Its webroot and its own small server behind `proxy_pass`, with
//! Pebble, unchanged; what it writes is served without a reload; and `semper migrate` reads what it wrote. Beside it semper
//! obtains a certificate of its own, on the same port.
#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use bed::client::{Tls, serial};
use bed::namespace::{inside, run};
use bed::pebble::Pebble;
use bed::server::{Semper, Server, Site, http};
use bed::wait_some;

const LONG: Duration = Duration::from_secs(60);

/// `files.test` is certbot's, with its webroot; `own.test` has an ACME client behind it; `ours.test` is semper's.
const CONF: &str = "
    acme_issuer pebble { uri %directory%; ssl_trusted_certificate %trusted%; challenge http; accept_terms_of_service; state_path %dir%/state; }
    server {
        listen 127.0.0.1:%port1%;
        server_name files.test;
        location /.well-known/acme-challenge/ { root %dir%/webroot; }
        location / { return 301 https://$host$request_uri; }
    }
    server {
        listen 127.0.0.1:%port1%;
        server_name own.test;
        location / { proxy_pass http://127.0.0.1:%port3%; }
    }
    server {
        listen 127.0.0.1:%port2% ssl;
        server_name files.test;
        ssl_certificate /etc/letsencrypt/live/files.test/fullchain.pem;
        ssl_certificate_key /etc/letsencrypt/live/files.test/privkey.pem;
        return 200 files;
    }
    server {
        listen 127.0.0.1:%port2% ssl;
        server_name ours.test;
        acme_certificate pebble;
        ssl_certificate $acme_certificate;
        ssl_certificate_key $acme_certificate_key;
        return 200 ours;
    }";

fn started() -> (Site, Pebble, Server) {
    let site = Site::new("");
    let pebble = Pebble::start(site.port(1), site.port(2));
    site.rewrite(&http(CONF).replace("%directory%", &pebble.directory()).replace("%trusted%", &pebble.trusted()));
    std::fs::create_dir_all(site.dir().join("webroot")).unwrap();
    let server = Semper::serve(&site);
    (site, pebble, server)
}

fn certbot(site: &Site, pebble: &Pebble, arguments: &[&str]) -> Output {
    let mut command = Command::new("certbot");
    command.args(arguments).args(["--server", &pebble.directory(), "--agree-tos", "-m", "admin@files.test"]);
    command.args(["--non-interactive", "--no-eff-email"]).env("REQUESTS_CA_BUNDLE", pebble.trusted());
    for (option, folder) in [("--work-dir", "work"), ("--logs-dir", "logs")] {
        command.arg(option).arg(site.dir().join(folder));
    }
    command.output().expect("certbot is installed")
}

fn succeeds(site: &Site, pebble: &Pebble, arguments: &[&str]) {
    let output = certbot(site, pebble, arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}\n{}\n{}", site.read("error.log"), pebble.log());
}

/// The certificate that Pebble signed for `name`, once it is served.
fn served(server: &Server, pebble: &Pebble, name: &str, not: Option<&str>) -> String {
    let tls = Tls::trusting(&pebble.root());
    wait_some(&format!("the certificate of {name}"), LONG, || {
        let chain = tls.chain(server.port(2), name).ok()?;
        Some(serial(&chain[0])).filter(|serial| Some(serial.as_str()) != not)
    })
}

#[test]
fn certbots_webroot_works_unchanged_and_its_files_are_served_without_a_reload() {
    if !inside("certbots_webroot_works_unchanged_and_its_files_are_served_without_a_reload") {
        return;
    }
    // certbot's own place, empty.
    run("mount", &["-t", "tmpfs", "tmpfs", "/etc/letsencrypt"]);
    let (site, pebble, server) = started();
    assert!(Tls::blind().chain(server.port(2), "files.test").is_ok(), "a placeholder until certbot has been here");
    let webroot = site.dir().join("webroot");
    let first = ["certonly", "--webroot", "-w", webroot.to_str().unwrap(), "-d", "files.test"];
    succeeds(&site, &pebble, &first);
    let before = served(&server, &pebble, "files.test", None);
    served(&server, &pebble, "ours.test", None);
    succeeds(&site, &pebble, &["renew", "--force-renewal", "--no-random-sleep-on-renew"]);
    served(&server, &pebble, "files.test", Some(&before));
    assert!(!site.read("error.log").contains("reconfiguring"), "{}", server.complaints());
    migrate_reads_it(&site);
}

#[test]
fn an_upstream_with_its_own_acme_client_works_unchanged() {
    if !inside("an_upstream_with_its_own_acme_client_works_unchanged") {
        return;
    }
    run("mount", &["-t", "tmpfs", "tmpfs", "/etc/letsencrypt"]);
    let (site, pebble, server) = started();
    served(&server, &pebble, "ours.test", None);
    let port = site.port(3).to_string();
    let standalone =
        ["certonly", "--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", &port, "-d", "own.test"];
    succeeds(&site, &pebble, &standalone);
    assert!(
        std::fs::read_to_string("/etc/letsencrypt/live/own.test/fullchain.pem").unwrap().contains("BEGIN CERTIFICATE")
    );
    // A client that has gone leaves 502 behind, and then semper answers for an account of its own: harmless, for a token
    // proves nothing without its account.
    let path = "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
    let answer = |port: u16, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n");
        String::from_utf8(bed::client::exchange(port, head.as_bytes()).bytes).unwrap()
    };
    assert!(answer(site.port(1), "/else").contains(" 502 "), "{}", answer(site.port(1), "/else"));
    println!("{}", answer(site.port(1), path));
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// `semper migrate` on what certbot made, where certbot has it; changes nothing.
fn migrate_reads_it(site: &Site) {
    let before = files(Path::new("/etc/letsencrypt"));
    let output = Semper::run(&["migrate", "-c", site.conf().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "file /etc/letsencrypt/live/files.test/fullchain.pem  renewed by certbot",
        "certbot files.test: https://localhost:",
        "/etc/letsencrypt/renewal/files.test.conf",
        "through webroot",
        "ours.test",
        "to switch back",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing in:\n{text}");
    }
    assert_eq!(files(Path::new("/etc/letsencrypt")), before, "it changed something");
}
