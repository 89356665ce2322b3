//! Do the others go on without a dead name, and are files taken over that nobody renews? A real semper and Pebble, whose
//! DNS leads the dead name to where nobody listens.
#![allow(clippy::unwrap_used)]

mod bed;

use std::path::Path;

use bed::ca::{Ca, Kind, now};
use bed::client::{Tls, serial};
use bed::pebble::{Pebble, Settings};
use bed::server::{Semper, Server, Site, http};
use bed::{PATIENCE, free_port, wait_for};
use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;

fn run(site: &Site, arguments: &[&str]) -> String {
    let state = site.dir().join("state").display().to_string();
    let out = Semper::run(&[arguments, &["--state", &state]].concat());
    [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

fn shown(server: &Server, port: usize, name: &str) -> String {
    serial(&Tls::blind().chain(server.port(port), name).unwrap()[0])
}

fn file(path: &Path) -> Option<String> {
    Some(serial(&CertificateDer::from_pem_slice(&std::fs::read(path).ok()?).ok()?))
}

fn issuer(pebble: &Pebble) -> String {
    format!(
        "acme_issuer le {{ uri {}; ssl_trusted_certificate {}; accept_terms_of_service; challenge http;
            retry_interval 1s; order_timeout 10s; limits none; }}",
        pebble.directory(),
        pebble.trusted()
    )
}

#[test]
fn a_dead_name_is_split_off_the_others_are_issued_and_it_rejoins_when_it_passes() {
    const GOOD: &str = "good.site.test";
    const DEAD: &str = "dead.site.test";
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    pebble.lead(DEAD, Some("127.0.0.9"));
    let site = Site::new(&http(&format!(
        "{}
         server {{ listen 127.0.0.1:{http_port}; server_name {GOOD} {DEAD}; return 204; }}
         server {{ listen 127.0.0.1:%port2% ssl; server_name {GOOD} {DEAD}; acme_certificate le;
             ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 served; }}",
        issuer(&pebble)
    )));
    let dir = site.dir().display().to_string();
    site.file("semper.conf", format!("state_path {dir}/state;\nexport {DEAD} to={dir}/out;\n"));
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    wait_for("a certificate without the dead name", PATIENCE * 3, || tls.chain(server.port(2), GOOD).is_ok());
    assert!(tls.chain(server.port(2), DEAD).is_err(), "nothing speaks for it yet");
    server.wait_for_line("error.log", "dead.site.test keeps failing and is split off");
    let text = run(&site, &["explain", DEAD]);
    assert!(text.contains("dead.site.test: it failed alone, and is ordered by itself until it passes"), "{text}");
    // The rest is renewed without it.
    let first = shown(&server, 2, GOOD);
    run(&site, &["renew", GOOD]);
    wait_for("a renewal without it", PATIENCE, || shown(&server, 2, GOOD) != first);
    assert!(tls.chain(server.port(2), GOOD).is_ok() && tls.chain(server.port(2), DEAD).is_err());

    pebble.lead(DEAD, None);
    run(&site, &["renew", DEAD, "--no-wait"]);
    wait_for("a certificate of its own", PATIENCE * 2, || tls.chain(server.port(2), DEAD).is_ok());
    server.wait_for_line("error.log", "dead.site.test passes again and rejoins");
    let exported = site.dir().join("out").join(DEAD).join("cert.pem");
    wait_for("what is served for it to be exported", PATIENCE, || file(&exported) == Some(shown(&server, 2, DEAD)));
    wait_for("both in one certificate again", PATIENCE * 2, || {
        run(&site, &["renew", GOOD]);
        shown(&server, 2, GOOD) == shown(&server, 2, DEAD)
    });
    assert!(tls.chain(server.port(2), GOOD).is_ok() && tls.chain(server.port(2), DEAD).is_ok());
    wait_for("that one to be exported", PATIENCE, || file(&exported) == Some(shown(&server, 2, DEAD)));
}

#[test]
fn files_that_end_or_cannot_be_read_are_taken_over_and_a_good_one_takes_over_again() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = Site::new("");
    let somebody = Ca::new("somebody else's authority");
    let day = Duration::from_secs(86_400);
    let old = somebody.issue_between(&["old.site.test"], Kind::P256, now() - day * 85, now() + day * 5);
    let dir = site.dir().display().to_string();
    site.file("old.pem", &old.chain);
    site.file("old.key", &old.key);
    site.file("broken.pem", "half a certi");
    site.file("broken.key", &old.key);
    site.rewrite(&http(&format!(
        "{}
         rescue le names=old.site.test,broken.site.test;
         server {{ listen 127.0.0.1:{http_port}; server_name old.site.test broken.site.test; return 204; }}
         server {{ listen 127.0.0.1:%port2% ssl; server_name old.site.test;
             ssl_certificate {dir}/old.pem; ssl_certificate_key {dir}/old.key; return 200 served; }}
         server {{ listen 127.0.0.1:%port3% ssl; server_name broken.site.test;
             ssl_certificate {dir}/broken.pem; ssl_certificate_key {dir}/broken.key; return 200 served; }}",
        issuer(&pebble)
    )));
    site.file("semper.conf", format!("state_path {dir}/state;\n"));
    let said = Semper::run(&["-t", "-c", site.conf().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("would be rescued by le now: old.site.test"), "{said}");
    assert!(said.contains("would be rescued by le now (it cannot be read): broken.site.test"), "{said}");

    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    wait_for("the old one to be taken over", PATIENCE * 2, || {
        // It is looked at once a minute, and when the configuration is read again.
        server.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(500));
        tls.chain(server.port(2), "old.site.test").is_ok()
    });
    wait_for("the broken one to be taken over", PATIENCE * 2, || {
        server.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(500));
        tls.chain(server.port(3), "broken.site.test").is_ok()
    });
    for name in ["old.site.test", "broken.site.test"] {
        let text = run(&site, &["explain", name]);
        assert!(text.contains("rescue     semper has taken it over by le; shown until"), "{text}");
    }
    let new = somebody.issue(&["old.site.test"]);
    std::fs::write(site.dir().join("old.key"), &new.key).unwrap();
    std::fs::write(site.dir().join("old.pem"), &new.chain).unwrap();
    let wanted = serial(&CertificateDer::from_pem_slice(new.certificate.as_bytes()).unwrap());
    wait_for("the file to take over again", PATIENCE, || shown(&server, 2, "old.site.test") == wanted);
}
