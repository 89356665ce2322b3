//! How does semper speak TLS to upstreams? `proxy_pass https://` through a whole configuration, beside real nginx, with
//! real nginx as the upstream: names, trust, dates, depth, revocation, our own certificate, sessions; and what happens when
//! the files behind these settings change while it runs.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::ca::{Ca, Issued, Kind, now};
use bed::server::{Nginx, Semper, Server, Site, http};
use bed::{PATIENCE, wait_for};

const DAY: Duration = Duration::from_secs(86_400);

/// Authorities, and an nginx that shows a certificate of each kind on a port of its own.
struct Upstream {
    trusted: Ca,
    other: Ca,
    revoked: Issued,
    server: Server,
}

impl Upstream {
    fn start() -> Upstream {
        let (trusted, other) = (Ca::new("Trusted root"), Ca::new("Other root"));
        let (first, second) = (now() - 9 * DAY, now() - DAY);
        let revoked = trusted.issue(&["back.test"]);
        let between = trusted.below("Between");
        let deep = between.issue(&["back.test"]);
        let shown = [
            trusted.issue(&["back.test"]),
            trusted.issue_between(&["back.test"], Kind::P256, first, second),
            other.issue(&["back.test"]),
            Issued { chain: format!("{}{}", deep.certificate, between.pem()), ..deep },
            revoked.clone(),
        ];
        let site = Site::new("");
        let mut servers = String::new();
        for (number, leaf) in (1..).zip(&shown) {
            site.file(&format!("{number}.pem"), &leaf.chain);
            site.file(&format!("{number}.key"), &leaf.key);
            servers += &format!(
                "server {{ listen 127.0.0.1:%port{number}% ssl; ssl_certificate %dir%/{number}.pem; ssl_certificate_key %dir%/{number}.key;
                  ssl_client_certificate %dir%/ca.pem; ssl_verify_client optional;
                  return 200 \"$ssl_server_name|$ssl_client_verify|$ssl_client_s_dn|$ssl_session_reused|$ssl_protocol\"; }}\n"
            );
        }
        site.file("ca.pem", trusted.pem());
        site.rewrite(&http(&servers));
        let server = Nginx::serve(&site);
        // The folder must outlive the server, and nothing but the test's process.
        std::mem::forget(site);
        Upstream { trusted, other, revoked, server }
    }

    /// A site with everything that the locations of [`PLACES`] name.
    fn site(&self) -> Site {
        let (mut groups, mut locations) = (String::new(), String::new());
        for (name, number, settings) in PLACES {
            let port = self.server.port(usize::from(number));
            groups += &format!("upstream u-{name} {{ server 127.0.0.1:{port}; }}\n");
            locations += &format!("location /{name} {{ proxy_pass https://u-{name}; {settings} }}\n");
        }
        let site = Site::new(&http(&format!(
            "{groups} server {{ listen 127.0.0.1:%port1%; proxy_ssl_trusted_certificate %dir%/ca.pem; proxy_ssl_name back.test;
             {locations} }}"
        )));
        site.file("ca.pem", self.trusted.pem());
        site.file("crl.pem", self.trusted.revoking(&[&self.revoked]));
        let ours = self.trusted.issue(&["our-client"]);
        site.file("our.pem", ours.chain);
        site.file("our.key", ours.key);
        site
    }
}

/// Location, upstream, and what is said about TLS there. Each has an upstream block of its own name: nginx keeps sessions
/// by upstream, and would resume in one place what another place never verified.
const PLACES: [(&str, u16, &str); 17] = [
    ("plain", 1, ""),
    ("any", 3, ""),
    ("sni", 1, "proxy_ssl_server_name on;"),
    ("host", 1, "proxy_ssl_server_name on; proxy_ssl_name $http_host;"),
    ("good", 1, "proxy_ssl_verify on;"),
    ("name", 1, "proxy_ssl_verify on; proxy_ssl_name else.test;"),
    ("group", 1, "proxy_ssl_verify on; proxy_ssl_name $proxy_host;"),
    ("expired", 2, "proxy_ssl_verify on;"),
    ("untrusted", 3, "proxy_ssl_verify on;"),
    ("deep", 4, "proxy_ssl_verify on; proxy_ssl_verify_depth 2;"),
    ("shallow", 4, "proxy_ssl_verify on; proxy_ssl_verify_depth 0;"),
    ("revoked", 5, "proxy_ssl_verify on; proxy_ssl_crl %dir%/crl.pem;"),
    ("listed", 1, "proxy_ssl_verify on; proxy_ssl_crl %dir%/crl.pem;"),
    ("own", 1, "proxy_ssl_certificate %dir%/our.pem; proxy_ssl_certificate_key %dir%/our.key;"),
    ("afresh", 1, "proxy_ssl_session_reuse off; proxy_ssl_protocols TLSv1.2;"),
    ("again", 1, "proxy_ssl_protocols TLSv1.2;"),
    ("again3", 1, "proxy_ssl_protocols TLSv1.3;"),
];

/// What nginx answers, and what it writes to its error log; `None`: nothing.
const CASES: [(&str, &str, Option<&str>); 21] = [
    ("/plain", "|NONE||.|TLSv1.3", None),
    ("/any", "|NONE||.|TLSv1.3", None),
    ("/sni", "back.test|NONE||.|TLSv1.3", None),
    ("/host", "localhost|NONE||.|TLSv1.3", None),
    ("/good", "|NONE||.|TLSv1.3", None),
    ("/name", "502", Some("upstream SSL certificate does not match \"else.test\" while SSL handshaking to upstream")),
    ("/group", "502", Some("upstream SSL certificate does not match \"u-group\" while SSL handshaking to upstream")),
    ("/expired", "502", Some("upstream SSL certificate verify error: (10:certificate has expired) while SSL")),
    (
        "/untrusted",
        "502",
        Some("upstream SSL certificate verify error: (19:self-signed certificate in certificate chain)"),
    ),
    ("/deep", "|NONE||.|TLSv1.3", None),
    ("/shallow", "502", Some("upstream SSL certificate verify error: (2")),
    ("/revoked", "502", Some("upstream SSL certificate verify error: (23:certificate revoked) while SSL handshaking")),
    ("/listed", "|NONE||.|TLSv1.3", None),
    ("/own", "|SUCCESS|CN=our-client|.|TLSv1.3", None),
    ("/afresh", "|NONE||.|TLSv1.2", None),
    ("/afresh", "|NONE||.|TLSv1.2", None),
    ("/again", "|NONE||.|TLSv1.2", None),
    ("/again", "|NONE||r|TLSv1.2", None),
    ("/again3", "|NONE||.|TLSv1.3", None),
    ("/again3", "|NONE||r|TLSv1.3", None),
    ("/again3", "|NONE||r|TLSv1.3", None),
];

/// The body of a 200, else the status.
fn told(server: &Server, target: &str) -> String {
    let answer = server.get(1, target);
    if answer.status == 200 { answer.text() } else { answer.status.to_string() }
}

#[test]
fn names_trust_dates_and_certificates_are_judged_as_by_nginx_and_logged_in_its_words() {
    let upstream = Upstream::start();
    for (who, start) in [("nginx", Nginx::serve as fn(&Site) -> Server), ("semper", Semper::serve)] {
        let site = upstream.site();
        let server = start(&site);
        let mut faults = Vec::new();
        for (target, expected, words) in CASES {
            let before = server.read("error.log").len();
            let found = told(&server, target);
            if found != expected {
                faults.push(format!("{target}: `{found}` instead of `{expected}`"));
            }
            let said = || server.read("error.log").split_off(before);
            let well = words.map_or(!said().contains("[error]"), |words| said().contains(words));
            if !well {
                faults.push(format!("{target}: the log says\n{}", said()));
            }
        }
        assert!(faults.is_empty(), "{who}:\n{}", faults.join("\n"));
    }
}

#[test]
fn replaced_bundles_lists_and_certificates_are_taken_without_a_reload() {
    let upstream = Upstream::start();
    let site = upstream.site();
    let server = Semper::serve(&site);
    let becomes = |target: &str, expected: &str| {
        wait_for(&format!("`{expected}` at {target}\n{}", server.complaints()), PATIENCE, || {
            told(&server, target) == expected
        });
    };
    // The bundle of authorities: another one, a broken one, both.
    becomes("/good", "|NONE||.|TLSv1.3");
    site.file("ca.pem", upstream.other.pem());
    becomes("/good", "502");
    becomes("/untrusted", "|NONE||.|TLSv1.3");
    site.file("ca.pem", "-----BEGIN CERTIFICATE-----\nhalf of it");
    server.wait_for_line("error.log", "what was trusted before stays");
    assert!(server.complaints().contains(&format!("{}/ca.pem", site.dir().display())), "{}", server.complaints());
    assert_eq!(told(&server, "/good"), "502", "what was trusted before stays");
    site.file("ca.pem", format!("{}{}", upstream.other.pem(), upstream.trusted.pem()));
    becomes("/good", "|NONE||.|TLSv1.3");

    // The list of what is revoked.
    assert_eq!(told(&server, "/revoked"), "502");
    site.file("crl.pem", upstream.trusted.revoking(&[]));
    becomes("/revoked", "|NONE||.|TLSv1.3");
    site.file("crl.pem", upstream.trusted.revoking(&[&upstream.revoked]));
    becomes("/revoked", "502");

    // Our own certificate: first half of a new pair, then all of it.
    becomes("/own", "|SUCCESS|CN=our-client|.|TLSv1.3");
    let ours = upstream.trusted.issue(&["our-new-client"]);
    site.file("our.pem", ours.chain);
    assert_eq!(told(&server, "/own").split('|').nth(2), Some("CN=our-client"));
    site.file("our.key", ours.key);
    wait_for("the new client certificate", PATIENCE, || told(&server, "/own").contains("|SUCCESS|CN=our-new-client|"));
    assert!(!server.read("error.log").contains("reconfiguring"));
}
