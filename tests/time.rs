//! What if the machine's clock is wrong? A whole semper under a clock of its own (libfaketime moves the civil time of that
//! process and nothing else), with a real authority whose clock is right.
#![allow(clippy::unwrap_used)]

mod bed;

use std::path::Path;
use std::time::Duration;

use bed::client::{Tls, serial};
use bed::pebble::Pebble;
use bed::server::{Semper, Server, Site, http, semper_binary};
use bed::{PATIENCE, free_port, wait_for};
use nix::sys::signal::Signal;

const NAME: &str = "shop.site.test";
const LONG: Duration = Duration::from_secs(60);

/// Where Debian keeps the library (`tests/deps.sh` installs it).
fn faketime() -> String {
    let machine = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    assert!(Path::new(&machine).exists(), "libfaketime is missing: run tests/deps.sh");
    machine
}

/// A site with a certificate from `pebble`; its clock is that of the machine, moved by what the file `clock` says.
fn site(pebble: &Pebble, http_port: u16) -> Site {
    let template = http(&format!(
        "acme_issuer le {{ uri {}; ssl_trusted_certificate {}; accept_terms_of_service; challenge http; }}
        server {{ listen 127.0.0.1:{http_port}; server_name {NAME}; return 204; }}
        server {{ listen 127.0.0.1:%port2% ssl; server_name {NAME}; acme_certificate le; return 200 served; }}",
        pebble.directory(),
        pebble.trusted()
    ));
    let site = Site::new(&template.replace("worker_processes 1;", "worker_processes 1; master_process off;"));
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    site.file("clock", "+0");
    site
}

fn start(site: &Site) -> Server {
    let clock = site.dir().join("clock").display().to_string();
    let environment = [
        ("LD_PRELOAD", &*faketime()),
        ("FAKETIME_TIMESTAMP_FILE", &*clock),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    Server::start_with(semper_binary(), site, &[], &environment)
}

fn shown(server: &Server) -> String {
    Tls::blind().chain(server.port(2), NAME).map(|chain| serial(&chain[0])).unwrap_or_default()
}

fn ask(site: &Site, arguments: &[&str]) -> String {
    let state = site.dir().join("state").display().to_string();
    let output = Semper::run(&[arguments, &["--state", &state]].concat());
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[test]
fn a_clock_that_jumps_by_years_orders_nothing_and_what_is_asked_for_is_still_obtained() {
    let http_port = free_port();
    let pebble = Pebble::start(http_port, free_port());
    let site = site(&pebble, http_port);
    let server = start(&site);
    let tls = Tls::trusting(&pebble.root());
    wait_for("a certificate", LONG, || tls.chain(server.port(2), NAME).is_ok());
    let first = shown(&server);
    assert_eq!(pebble.orders(), 1);

    // Longer than any certificate lives, that of the authority's own server (ten years) too.
    site.file("clock", "+12y");
    server.signal(Signal::SIGHUP);
    server.wait_for_line("error.log", "the clock of this machine and of an authority differ");
    assert_eq!((shown(&server), pebble.orders()), (first.clone(), 1));

    // Challenge, connection to the authority and the gate go by the time that is believed.
    let said = ask(&site, &["renew", NAME]);
    assert_ne!(shown(&server), first, "{said}\n{}", server.complaints());
    let second = shown(&server);
    assert_eq!(pebble.orders(), 2);
    let status = ask(&site, &["status"]);
    assert!(status.contains("differ by") && !status.contains("expired"), "{status}");

    // A start under that clock knows from before what to believe.
    drop(server);
    let server = start(&site);
    wait_for("the second certificate", PATIENCE, || shown(&server) == second);
    server.wait_for_line("error.log", "nothing is ordered for names whose certificate is valid");
    wait_for("the keeper to have looked", PATIENCE, || ask(&site, &["status"]).contains(NAME));
    assert_eq!((shown(&server), pebble.orders()), (second.clone(), 2), "{}", server.complaints());

    site.file("clock", "+0");
    server.signal(Signal::SIGHUP);
    server.wait_for_line("error.log", "over: time:");
    assert_eq!((shown(&server), pebble.orders()), (second, 2));
}

#[test]
fn a_machine_that_begins_years_ahead_or_in_1970_gets_its_first_certificate_all_the_same() {
    for clock in ["+3y", "@1970-01-02 00:00:00"] {
        let http_port = free_port();
        let pebble = Pebble::start(http_port, free_port());
        let site = site(&pebble, http_port);
        let wire =
            site.read("nginx.conf").replace("accept_terms_of_service;", "accept_terms_of_service; ssl_verify off;");
        site.rewrite(&wire);
        site.file("clock", clock);
        let server = start(&site);
        let tls = Tls::trusting(&pebble.root());
        wait_for("a certificate", LONG, || {
            assert!(pebble.orders() <= 1, "{}", server.complaints());
            tls.chain(server.port(2), NAME).is_ok()
        });
        let status = ask(&site, &["status"]);
        assert!(!status.contains("expired"), "{status}");
    }
}
