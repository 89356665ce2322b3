//! What may an authority do to a running semper? Real Pebble behind a proxy that spoils its answers, one proxy for each
//! kind of fault, one semper for all of them: each ends in a valid certificate, with two orders at most, without haste,
//! and what was served before stays served until then.
#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bed::ca::Ca;
use bed::client::{Tls, serial};
use bed::faulty::{Fault, Faulty, Forged, When, Wrong};
use bed::origin::{Origin, Reply};
use bed::pebble::{Pebble, Settings};
use bed::server::{Semper, Server, Site, http};
use bed::{free_port, wait_for};
use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;

/// From the moment of the fault to the new certificate, at the very most.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long what is held at first is valid: longer than the test, and short enough that waits stay short.
const HELD: u64 = 200;

/// A challenge that nobody looks at.
const PROCESSING: &str = r#"{"type":"http-01","url":"https://localhost/none","token":"0","status":"processing"}"#;

fn problem(status: u16, kind: &str, headers: &[&str]) -> Wrong {
    let body = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"as told","status":{status}}}"#);
    let mut headers: Vec<String> = headers.iter().map(|&h| h.to_owned()).collect();
    headers.push("Content-Type: application/problem+json".into());
    Wrong::Instead(status, headers, body)
}

fn nonced(status: u16, kind: &str, nonce: &str) -> Wrong {
    problem(status, kind, &[&format!("Replay-Nonce: {nonce}")])
}

fn html(status: u16) -> Wrong {
    Wrong::Instead(status, vec!["Content-Type: text/html".into()], "<html>Bad Gateway</html>".into())
}

/// (what it is, path, when, what)
type Case = (&'static str, &'static str, When, Wrong);

fn before_the_order(elsewhere: &str) -> Vec<Case> {
    use When::{For, Times};
    let away = |to: &str| Wrong::Instead(302, vec![format!("Location: {to}")], String::new());
    let minute = For(Duration::from_secs(60));
    vec![
        ("nothing at all", "/none", Times(0), Wrong::Reset),
        ("directory 500", "/dir", Times(2), html(500)),
        (
            "directory 503 with Retry-After",
            "/dir",
            Times(1),
            Wrong::Instead(503, vec!["Retry-After: 2".into()], "".into()),
        ),
        ("directory 404", "/dir", Times(1), html(404)),
        ("directory one byte a second", "/dir", Times(1), Wrong::Drip),
        ("directory is HTML", "/dir", Times(1), Wrong::Body("<html>Welcome</html>")),
        ("directory cut off", "/dir", Times(1), Wrong::Torn),
        ("directory silent", "/dir", Times(1), Wrong::Silence(Duration::from_secs(45))),
        ("directory reset", "/dir", Times(2), Wrong::Reset),
        ("directory redirects away", "/dir", Times(1), away(elsewhere)),
        ("directory huge", "/dir", Times(1), Wrong::Huge(8 << 20)),
        ("directory changed", "/dir", Times(1), Wrong::Replaced("/order-plz", "/former-order")),
        ("nonce missing", "/nonce-plz", Times(1), Wrong::NoNonce),
        ("nonce 503", "/nonce-plz", Times(1), html(503)),
        ("no nonce in any answer for a minute", "/", minute, Wrong::NoNonce),
        ("account 500", "/sign-me-up", Times(1), html(500)),
        ("account answer lost", "/sign-me-up", Times(1), Wrong::AnswerLost),
        ("badNonce once", "/order-plz", Times(1), nonced(400, "badNonce", "bm9uY2U")),
        ("badNonce three times", "/order-plz", Times(3), nonced(400, "badNonce", "bm9uY2U")),
        ("badNonce always for a minute", "/order-plz", minute, nonced(400, "badNonce", "bm9uY2U")),
        ("429 with Retry-After", "/order-plz", Times(1), problem(429, "rateLimited", &["Retry-After: 3"])),
        (
            "429 with Retry-After of a year",
            "/order-plz",
            Times(1),
            problem(429, "rateLimited", &["Retry-After: 31536000"]),
        ),
        ("429 without any words", "/order-plz", Times(1), Wrong::Instead(429, vec![], "".into())),
        ("503 with Retry-After", "/order-plz", Times(1), problem(503, "serverInternal", &["Retry-After: 3"])),
        ("order redirects away", "/order-plz", Times(1), away(elsewhere)),
        ("order answer lost", "/order-plz", Times(1), Wrong::AnswerLost),
        ("order bad JSON", "/order-plz", Times(1), Wrong::Body("{\"status\": ")),
        ("account unknown", "/order-plz", Times(1), problem(400, "accountDoesNotExist", &[])),
        ("CAA cannot be looked up", "/order-plz", Times(1), problem(403, "caa", &[])),
    ]
}

fn within_the_order(elsewhere: &str) -> Vec<Case> {
    use When::{FirstObject, Times};
    let away = Wrong::Instead(307, vec![format!("Location: {elsewhere}")], String::new());
    vec![
        ("order 404", "/my-order/", FirstObject, problem(404, "malformed", &[])),
        ("order stuck pending", "/my-order/", FirstObject, Wrong::Status("pending")),
        ("order stuck processing", "/my-order/", FirstObject, Wrong::Status("processing")),
        ("order invalid without a reason", "/my-order/", FirstObject, Wrong::Status("invalid")),
        ("order in an unknown status", "/my-order/", FirstObject, Wrong::Status("pondering")),
        ("order reset while polled", "/my-order/", Times(3), Wrong::Reset),
        ("authorization stuck pending", "/chalZ/", FirstObject, Wrong::Instead(200, vec![], PROCESSING.into())),
        ("authorization expired", "/authZ/", FirstObject, Wrong::Status("expired")),
        ("authorization 500", "/authZ/", Times(2), html(500)),
        ("token with path characters", "/authZ/", FirstObject, Wrong::Token("../../../../../../tmp/semper-was-here")),
        ("challenge 500", "/chalZ/", Times(1), html(500)),
        ("challenge answer lost", "/chalZ/", Times(1), Wrong::AnswerLost),
        ("finalize 500", "/finalize-order/", Times(1), html(500)),
        ("finalize answer lost", "/finalize-order/", Times(1), Wrong::AnswerLost),
        ("finalize bad JSON", "/finalize-order/", Times(1), Wrong::Body("[[[[")),
        ("certificate 500", "/certZ/", Times(1), html(500)),
        ("certificate redirects away", "/certZ/", Times(1), away),
        ("certificate is HTML", "/certZ/", FirstObject, Wrong::Body("<!DOCTYPE html><title>Sorry</title>")),
        ("certificate truncated", "/certZ/", FirstObject, Wrong::Certificate(Forged::Cut)),
        ("certificate torn off", "/certZ/", Times(1), Wrong::Torn),
        ("certificate of another key", "/certZ/", FirstObject, Wrong::Certificate(Forged::Key)),
        ("certificate for other names", "/certZ/", FirstObject, Wrong::Certificate(Forged::Names)),
        ("certificate has expired", "/certZ/", FirstObject, Wrong::Certificate(Forged::Expired)),
        ("certificate huge", "/certZ/", Times(1), Wrong::Huge(8 << 20)),
    ]
}

fn name(number: usize) -> String {
    format!("case{number}.fault.test")
}

/// A server for each case; `issuer` names who signs its certificate.
fn conf(issuers: &str, count: usize, issuer: impl Fn(usize) -> String) -> String {
    let servers: String = (0..count)
        .map(|number| {
            format!(
                "server {{ listen 127.0.0.1:%port2% ssl; server_name {}; acme_certificate {}; \
                 ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 served; }}\n",
                name(number),
                issuer(number)
            )
        })
        .collect();
    let check = "server { listen 127.0.0.1:%port1%; server_name ~.; return 204; }";
    http(&format!("acme_issuer own {{ uri internal; leaf_lifetime {HELD}s; }}\n{issuers}\n{check}\n{servers}"))
}

fn own_root(site: &Site) -> String {
    let text = std::fs::read_to_string(site.dir().join("state/authority/own.pem")).unwrap();
    text[text.find("-----BEGIN CERTIFICATE").unwrap()..].to_owned()
}

/// What is served under a name, and whether one of the two authorities stands behind it.
struct Eyes {
    old: Tls,
    new: Tls,
    port: u16,
}

impl Eyes {
    fn new_chain(&self, name: &str) -> Option<Vec<CertificateDer<'static>>> {
        self.new.chain(self.port, name).ok()
    }

    fn is_good(&self, name: &str) -> bool {
        let new = || self.new_chain(name).is_some();
        // The swap may come between two looks.
        new() || self.old.chain(self.port, name).is_ok() || new()
    }
}

/// Files below `folder` that are neither state nor logs.
fn strangers(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let shown = path.strip_prefix(folder).unwrap().display().to_string();
            if shown == "state" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            }
            found.insert(shown);
        }
    }
    found
}

/// What it said of weight.
fn words(server: &Server) -> String {
    let heavy = |line: &&str| ["[warn]", "[error]", "[crit]"].iter().any(|level| line.contains(level));
    server.complaints().lines().filter(heavy).map(|line| format!("{line}\n")).collect()
}

fn judge(case: &Case, proxy: &Faulty) -> Result<(), String> {
    let (orders, in_one, met) = (proxy.orders(), proxy.most_within(Duration::from_secs(1)), proxy.all_met());
    let met = met || matches!(case.2, When::Times(0));
    let left = ["authorization stuck pending", "token with path characters"].contains(&case.0);
    if left && proxy.deactivated() == 0 {
        return Err(format!("{}: the authorization of the first order stays open\n{}", case.0, proxy.log()));
    }
    match (met, orders, in_one) {
        (true, 1..=2, ..=10) => Ok(()),
        _ => Err(format!("{}: met {met}, {orders} orders, {in_one} requests in a second\n{}", case.0, proxy.log())),
    }
}

fn start(site: &Site, count: usize) -> (Server, Tls) {
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    site.rewrite(&conf("", count, |_| "own".to_owned()));
    let server = Semper::serve(site);
    wait_for("our own root", PATIENCE, || site.dir().join("state/authority/own.pem").exists());
    let old = Tls::trusting(&own_root(site));
    for number in 0..count {
        wait_for("the first certificate", PATIENCE, || old.chain(server.port(2), &name(number)).is_ok());
    }
    (server, old)
}

#[test]
fn whatever_an_authority_does_ends_in_its_certificate_and_the_old_one_serves_until_then() {
    let trap = Origin::start(|_| Reply::ok("trapped"));
    let elsewhere = format!("http://{}/dir", trap.address());
    let cases: Vec<Case> = before_the_order(&elsewhere).into_iter().chain(within_the_order(&elsewhere)).collect();
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let ca = Ca::new("the proxies' own");
    let proxy = |&(_, path, when, ref wrong): &Case| {
        Faulty::before(&pebble, &ca, vec![Fault { path, when, wrong: wrong.clone() }])
    };
    let proxies: Vec<Faulty> = cases.iter().map(proxy).collect();

    let site = Site::new("");
    let (server, old) = start(&site, cases.len());
    let trusted = site.file("proxies.pem", ca.pem());
    let issuers: String = proxies
        .iter()
        .enumerate()
        .map(|(number, proxy)| {
            format!(
                "acme_issuer ca{number} {{ uri {}; ssl_trusted_certificate {}; accept_terms_of_service; challenge http; \
                 order_timeout 8s; retry_interval 1s; }}\n",
                proxy.directory(),
                trusted.display()
            )
        })
        .collect();
    let before = strangers(site.dir());
    let text = conf(&issuers, cases.len(), |number| format!("ca{number}"));
    let text = text.replace("127.0.0.1:%port1%", &format!("127.0.0.1:{http_port}"));
    site.rewrite(&text);
    let eyes = Eyes { old, new: Tls::trusting(&pebble.root()), port: server.port(2) };
    let begun = Instant::now();
    server.signal(Signal::SIGHUP);

    let mut open: Vec<usize> = (0..cases.len()).collect();
    while !open.is_empty() {
        for &number in &open {
            assert!(eyes.is_good(&name(number)), "{}: the old certificate is not served", cases[number].0);
        }
        open.retain(|&number| eyes.new_chain(&name(number)).is_none());
        std::thread::sleep(Duration::from_millis(30));
        let late: Vec<String> = open.iter().map(|&n| format!("{}\n{}", cases[n].0, proxies[n].log())).collect();
        assert!(begun.elapsed() < PATIENCE, "no certificate: {}\n{}", late.join("\n"), words(&server));
    }
    println!("all after {:?}", begun.elapsed());
    let failed: Vec<String> = cases.iter().zip(&proxies).filter_map(|(case, proxy)| judge(case, proxy).err()).collect();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), words(&server));
    assert_eq!(trap.connections(), 0, "nothing went to the redirects' target");
    assert_eq!(strangers(site.dir()), before, "nothing was written beside the state path");
    assert!(!Path::new("/tmp/semper-was-here").exists());
    let serials: BTreeSet<String> =
        (0..cases.len()).map(|number| serial(&eyes.new_chain(&name(number)).unwrap()[0])).collect();
    assert_eq!(serials.len(), cases.len(), "each name has a certificate of its own");
}
