//! Who gets in with a certificate? `ssl_verify_client on` and `optional`, `ssl_crl`, `ssl_verify_depth` through a whole
//! configuration, beside real nginx; and authorities, revocation lists, key passwords and password files that change while
//! semper runs, without a reload.
#![allow(clippy::unwrap_used)]

mod bed;

use std::process::Command;
use std::time::Duration;

use bed::ca::{Ca, Issued, Kind, now};
use bed::client::Tls;
use bed::server::{Nginx, Semper, Server, Site, http};
use bed::{PATIENCE, wait_for};

const CONF: &str = "
    ssl_certificate %dir%/a.pem;
    ssl_certificate_key %dir%/a.key;
    ssl_session_cache off;
    ssl_session_tickets off;
    ssl_client_certificate %dir%/ca.pem;
    server { listen 127.0.0.1:%port1% ssl; server_name a.test; ssl_verify_client on; return 200 \"$ssl_client_verify|$ssl_client_s_dn\"; }
    server { listen 127.0.0.1:%port2% ssl; server_name a.test; ssl_verify_client optional; return 200 \"$ssl_client_verify|$ssl_client_s_dn\"; }
    server { listen 127.0.0.1:%port3% ssl; server_name a.test; ssl_verify_client on; ssl_crl %dir%/crl.pem; return 200 \"$ssl_client_verify|$ssl_client_s_dn\"; }
    server { listen 127.0.0.1:%port4% ssl; server_name a.test; ssl_verify_client on; ssl_verify_depth 2; return 200 \"$ssl_client_verify|$ssl_client_s_dn\"; }
    server { listen 127.0.0.1:%port5% ssl; server_name a.test; ssl_verify_client optional_no_ca; return 200 \"$ssl_client_verify|$ssl_client_s_dn\"; }";

struct People {
    ca: Ca,
    other: Ca,
    good: Issued,
    revoked: Issued,
    stranger: Issued,
    expired: Issued,
    deep: Issued,
}

impl People {
    fn new() -> People {
        let (ca, other) = (Ca::new("Clients"), Ca::new("Strangers"));
        let day = Duration::from_secs(86_400);
        let between = ca.below("Between");
        let deep = between.issue(&["deep"]);
        People {
            good: ca.issue(&["good"]),
            revoked: ca.issue(&["revoked"]),
            stranger: other.issue(&["stranger"]),
            expired: ca.issue_between(&["expired"], Kind::P256, now() - 9 * day, now() - day),
            deep: Issued { chain: format!("{}{}", deep.certificate, between.pem()), ..deep },
            ca,
            other,
        }
    }

    fn site(&self) -> Site {
        let site = Site::new(&http(CONF));
        let own = self.ca.issue(&["a.test"]);
        site.file("a.pem", own.chain);
        site.file("a.key", own.key);
        site.file("ca.pem", self.ca.pem());
        site.file("crl.pem", self.ca.revoking(&[&self.revoked]));
        site
    }

    fn get(&self, server: &Server, port: usize, who: Option<&Issued>) -> String {
        let client = Tls::blind();
        let client = who.map_or(client.clone(), |leaf| client.showing(&leaf.chain, &leaf.key));
        let answer = client.get(server.port(port), "a.test", "/").unwrap();
        if answer.status == 200 {
            return answer.text();
        }
        let text = answer.text();
        let title = text.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        title.unwrap_or_default().to_owned()
    }
}

#[test]
fn certificates_of_clients_are_judged_as_by_nginx() {
    let people = People::new();
    let all = [
        None,
        Some(&people.good),
        Some(&people.revoked),
        Some(&people.stranger),
        Some(&people.expired),
        Some(&people.deep),
    ];
    let mut seen: Vec<Vec<String>> = Vec::new();
    for start in [Nginx::serve as fn(&Site) -> Server, Semper::serve] {
        let site = people.site();
        let server = start(&site);
        seen.push(
            (1..=5).flat_map(|port| all.map(|who| format!("{port}: {}", people.get(&server, port, who)))).collect(),
        );
    }
    assert_eq!(seen[0], seen[1], "nginx, semper");
    for expected in [
        "1: 400 No required SSL certificate was sent",
        "1: SUCCESS|CN=good",
        "1: 400 The SSL certificate error",
        "2: NONE|",
        "3: SUCCESS|CN=good",
        "3: 400 The SSL certificate error",
        "4: SUCCESS|CN=deep",
        "5: FAILED:self-signed certificate in certificate chain|CN=stranger",
    ] {
        assert!(seen[1].iter().any(|line| line == expected), "`{expected}` is missing in {:#?}", seen[1]);
    }
}

#[test]
fn replaced_authorities_and_lists_are_taken_without_a_reload() {
    let people = People::new();
    let site = people.site();
    let server = Semper::serve(&site);
    let refused = "400 The SSL certificate error";
    let becomes = |port: usize, who: &Issued, expected: &str| {
        wait_for(&format!("`{expected}`\n{}", server.complaints()), PATIENCE, || {
            people.get(&server, port, Some(who)) == expected
        });
    };
    assert_eq!(people.get(&server, 3, Some(&people.revoked)), refused);
    site.file("crl.pem", people.ca.revoking(&[]));
    becomes(3, &people.revoked, "SUCCESS|CN=revoked");
    site.file("crl.pem", people.ca.revoking(&[&people.revoked, &people.good]));
    becomes(3, &people.good, refused);
    assert_eq!(people.get(&server, 1, Some(&people.good)), "SUCCESS|CN=good");
    // Broken files change nothing, and are named.
    site.file("crl.pem", "-----BEGIN X509 CRL-----\nhalf");
    site.file("ca.pem", "");
    server.wait_for_line("error.log", "crl.pem");
    server.wait_for_line("error.log", "what was trusted before stays");
    assert_eq!(people.get(&server, 3, Some(&people.good)), refused);
    assert_eq!(people.get(&server, 1, Some(&people.good)), "SUCCESS|CN=good");
    site.file("ca.pem", people.other.pem());
    becomes(1, &people.stranger, "SUCCESS|CN=stranger");
    assert_eq!(people.get(&server, 1, Some(&people.good)), refused);
    assert!(!server.read("error.log").contains("reconfiguring"));
}

fn encrypted(site: &Site, key: &str, password: &str) {
    let plain = site.file("plain.key", key);
    let mut command = Command::new("openssl");
    command.args(["pkcs8", "-topk8", "-v2", "aes256", "-in"]).arg(plain).arg("-out").arg(site.dir().join("a.key"));
    assert!(command.args(["-passout", &format!("pass:{password}")]).output().unwrap().status.success());
}

#[test]
fn a_key_with_another_password_and_another_password_file_are_taken_without_a_reload() {
    let ca = Ca::new("root");
    let site = Site::new(&http(
        "server { listen 127.0.0.1:%port1% ssl; server_name a.test; ssl_certificate %dir%/a.pem; ssl_certificate_key %dir%/a.key;
            ssl_password_file %dir%/words; return 200 fine; }
         server { listen 127.0.0.1:%port2%; auth_basic door; auth_basic_user_file %dir%/users; root %dir%; }",
    ));
    let first = ca.issue(&["a.test"]);
    site.file("a.pem", &first.chain);
    site.file("words", "one\n");
    site.file("users", "me:{PLAIN}old\n");
    site.file("index.html", "in");
    encrypted(&site, &first.key, "one");
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&ca.pem());
    let before = tls.chain(server.port(1), "a.test").unwrap();

    let second = ca.issue(&["a.test"]);
    site.file("a.pem", &second.chain);
    encrypted(&site, &second.key, "two");
    server.wait_for_line("error.log", "a.key");
    assert_eq!(tls.chain(server.port(1), "a.test").unwrap(), before, "the old one stays until the word is there");
    site.file("words", "one\ntwo\n");
    wait_for(&format!("the new certificate\n{}", server.complaints()), PATIENCE, || {
        tls.chain(server.port(1), "a.test").is_ok_and(|chain| chain != before)
    });

    // me:old, me:new
    let asks = |word: &str| {
        let head = format!("GET / HTTP/1.0\r\nHost: a\r\nAuthorization: Basic {word}\r\n\r\n");
        String::from_utf8(server.exchange(2, head.as_bytes())).unwrap().split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!((asks("bWU6b2xk"), asks("bWU6bmV3")), ("200".to_owned(), "401".to_owned()));
    site.file("users", "me:{PLAIN}new\n");
    assert_eq!((asks("bWU6b2xk"), asks("bWU6bmV3")), ("401".to_owned(), "200".to_owned()));
    assert!(!server.read("error.log").contains("reconfiguring"));
}
