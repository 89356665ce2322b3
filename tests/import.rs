//! Can somebody bring along what a real certbot made? certbot orders from Pebble; `semper import` shows it and takes it over;
//! semper then serves that very certificate and places no order.
#![allow(clippy::unwrap_used)]

mod bed;

use std::process::{Command, Output};
use std::time::Duration;

use bed::client::Tls;
use bed::pebble::Pebble;
use bed::server::{Semper, Site, http, semper_binary};
use bed::wait_for;

const NAME: &str = "brought.example";

fn certbot(site: &Site, pebble: &Pebble, arguments: &[&str]) -> Output {
    let folder = |name: &str| site.dir().join(name).to_string_lossy().into_owned();
    let out = Command::new("certbot")
        .args(["--non-interactive", "--agree-tos", "--register-unsafely-without-email"])
        .args(["--config-dir", &folder("letsencrypt"), "--work-dir", &folder("work"), "--logs-dir", &folder("logs")])
        .args(["--server", &pebble.directory(), "--http-01-port", &site.port(1).to_string()])
        .args(["--http-01-address", "127.0.0.1"])
        .args(arguments)
        .env("REQUESTS_CA_BUNDLE", pebble.trusted())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), pebble.log());
    out
}

fn import(site: &Site, more: &[&str]) -> serde_json::Value {
    let out = Command::new(semper_binary())
        .arg("import")
        .arg(site.dir().join("letsencrypt"))
        .args(["--json", "--conf", &site.conf().to_string_lossy(), "--prefix", &site.dir().to_string_lossy()])
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn what_a_real_certbot_made_is_taken_over_and_served_without_an_order() {
    let site = Site::new("");
    let pebble = Pebble::start(site.port(1), site.port(2));
    let order = |name: &str, domains: &[&str]| {
        let mut arguments = vec!["certonly", "--standalone", "--key-type", "ecdsa", "--cert-name", name];
        domains.iter().for_each(|domain| arguments.extend(["-d", domain]));
        certbot(&site, &pebble, &arguments);
    };
    order(NAME, &[NAME, "www.brought.example"]);
    order("orphan.example", &["orphan.example"]);
    std::fs::remove_file(site.dir().join("letsencrypt/renewal/orphan.example.conf")).unwrap();
    // A renewal makes number 2; number 1 stays in the archive.
    certbot(&site, &pebble, &["renew", "--force-renewal", "--cert-name", NAME, "--no-random-sleep-on-renew"]);
    let orders = pebble.orders();
    assert!(orders >= 3, "{orders}");

    let issuer = format!(
        "acme_issuer le {{ uri {}; ssl_trusted_certificate {}; accept_terms_of_service; }}",
        pebble.directory(),
        pebble.trusted()
    );
    let server = format!(
        "server {{ listen 127.0.0.1:%port1%; listen 127.0.0.1:%port2% ssl; server_name {NAME} www.{NAME}; acme_certificate le; \
         ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 here; }}"
    );
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    site.rewrite(&http(&format!("{issuer} {server}")));

    let seen = import(&site, &[]);
    assert_eq!(seen["program"], "certbot");
    let certificate = |report: &serde_json::Value, name: &str| {
        report["certificates"].as_array().unwrap().iter().find(|line| line["name"] == name).unwrap().clone()
    };
    assert_eq!(certificate(&seen, NAME)["verdict"], "wanted", "{seen:#}");
    assert_eq!(certificate(&seen, NAME)["authority"], pebble.directory());
    assert_eq!(certificate(&seen, NAME)["file"], format!("live/{NAME}/fullchain.pem"));
    assert!(certificate(&seen, "orphan.example")["notes"].to_string().contains("orphan"), "{seen:#}");
    assert!(!site.dir().join("state").exists());
    let taken = import(&site, &["--write"]);
    assert_eq!(certificate(&taken, NAME)["verdict"], "adopted", "{taken:#}");
    // certbot's account comes along too, whatever its key is.
    assert_eq!(taken["accounts"][0]["authority"], pebble.directory());
    assert_eq!(taken["accounts"][0]["verdict"], "adopted", "{taken:#}");

    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    wait_for("the certificate", Duration::from_secs(20), || tls.chain(server.port(2), NAME).is_ok());
    let live = std::fs::read(site.dir().join(format!("letsencrypt/live/{NAME}/cert.pem"))).unwrap();
    let live =
        <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(&live).unwrap();
    assert_eq!(tls.chain(server.port(2), NAME).unwrap()[0], live);
    assert_eq!(pebble.orders(), orders, "an order was placed");
}
