//! Whatever the authority does wrong for a while ends in a valid certificate, with at most two orders and without haste.

use std::sync::Arc;
use std::time::Duration;

use semper::cert::failure::Failure;
use semper::cert::stage::Policy;
use semper::plan::acme::{AcmeServer, ChallengeKind};
use semper::plan::certificate::KeyKind;
use semper::store::Directory;

use crate::authority::Bad;
use crate::authority::FakeCa;
use crate::authority::Fault::{self, *};
use crate::bed::origin::{Origin, Reply};
use crate::bed::{PATIENCE, wait_for};
use crate::house::{Gate, House, issuer, spec};

/// Orders are given up after this time here, and a "minute" is a second.
const ORDER: Duration = Duration::from_secs(4);
const MINUTE: Duration = Duration::from_secs(1);

fn problem(status: u16, kind: &str, headers: &[&str]) -> Fault {
    let body = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"as told","status":{status}}}"#);
    let mut headers: Vec<String> = headers.iter().map(|&h| h.to_owned()).collect();
    headers.push("Content-Type: application/problem+json".into());
    Instead(status, headers, body)
}

fn html(status: u16) -> Fault {
    Instead(status, vec!["Content-Type: text/html".into()], "<html>Bad Gateway</html>".into())
}

fn garbage() -> Fault {
    Instead(200, vec![], "{\"status\": ".into())
}

/// (name, endpoint, object, how often, what)
fn faults(elsewhere: &str) -> Vec<(&'static str, &'static str, Option<usize>, usize, Fault)> {
    let away = || Instead(302, vec![format!("Location: {elsewhere}")], String::new());
    vec![
        ("directory 500", "dir", None, 1, html(500)),
        ("directory is HTML", "dir", None, 1, Instead(200, vec![], "<html>".into())),
        ("directory hangs up", "dir", None, 1, HangUp),
        ("directory is silent", "dir", None, 1, Silence),
        ("directory redirects away", "dir", None, 1, away()),
        ("nonce 503", "nonce", None, 1, html(503)),
        ("nonce missing", "nonce", None, 1, Instead(204, vec![], String::new())),
        ("account 500", "acct", None, 1, html(500)),
        ("account answer lost", "acct", None, 1, AnswerLost),
        ("bad nonce for the account", "acct", None, 3, problem(400, "badNonce", &[])),
        ("order 429 with Retry-After", "order", None, 1, problem(429, "rateLimited", &["Retry-After: 2"])),
        ("order 503 with Retry-After", "order", None, 1, problem(503, "serverInternal", &["Retry-After: 2"])),
        ("order 500 HTML", "order", None, 1, html(500)),
        ("order redirects away", "order", None, 1, away()),
        ("order answer lost", "order", None, 1, AnswerLost),
        ("bad nonce once", "order", None, 1, problem(400, "badNonce", &[])),
        ("bad nonce many times", "order", None, 7, problem(400, "badNonce", &[])),
        ("account unknown", "order", None, 1, problem(400, "accountDoesNotExist", &[])),
        ("order bad JSON", "order", None, 1, garbage()),
        ("CAA forbids for a while", "order", None, 1, problem(403, "caa", &[])),
        ("order forgotten", "o", Some(0), 1, problem(404, "malformed", &[])),
        ("order forgotten for good", "o", Some(0), 99, html(404)),
        ("order stuck pending", "o", Some(0), 999, Stuck("pending")),
        ("order invalid without words", "o", Some(0), 999, Stuck("invalid")),
        ("order bad JSON while polled", "o", None, 2, garbage()),
        ("order silent while polled", "o", Some(0), 1, Silence),
        ("authorization 500", "z", None, 2, html(500)),
        ("authorization expired", "z", Some(0), 1, Stuck("expired")),
        ("authorization invalid", "z", Some(0), 9, Invalid("connection refused")),
        ("token with path characters", "z", Some(0), 9, Token("../../../../etc/passwd")),
        ("challenge 500", "c", None, 1, html(500)),
        ("challenge answer lost", "c", None, 1, AnswerLost),
        ("challenge bad JSON", "c", None, 1, garbage()),
        ("finalize 500", "f", None, 1, html(500)),
        ("finalize answer lost", "f", None, 1, AnswerLost),
        ("finalize bad CSR", "f", Some(0), 1, problem(400, "badCSR", &[])),
        ("finalize stuck processing", "o", Some(0), 999, Stuck("processing")),
        ("certificate 500", "cert", None, 2, html(500)),
        ("certificate hangs up", "cert", None, 1, HangUp),
        ("certificate redirects away", "cert", None, 1, away()),
        ("certificate is HTML", "cert", Some(0), 9, Certificate(Bad::Html)),
        ("certificate cut", "cert", Some(0), 9, Certificate(Bad::Cut)),
        ("certificate cut once", "cert", None, 1, Certificate(Bad::Cut)),
        ("certificate of another key", "cert", Some(0), 9, Certificate(Bad::Key)),
        ("certificate for other names", "cert", Some(0), 9, Certificate(Bad::Names)),
        ("certificate has ended", "cert", Some(0), 9, Certificate(Bad::Expired)),
        ("certificate is huge", "cert", Some(0), 2, Certificate(Bad::Huge)),
    ]
}

fn server(ca: &FakeCa) -> AcmeServer {
    AcmeServer { challenges: vec![ChallengeKind::Http01], ..AcmeServer::at(ca.directory()) }
}

fn one(
    gate: &Gate,
    name: &str,
    endpoint: &'static str,
    object: Option<usize>,
    times: usize,
    fault: Fault,
) -> Result<(), String> {
    let ca = FakeCa::start();
    ca.fault(endpoint, object, times, fault);
    let state = tempfile::tempdir().unwrap();
    let issuer = issuer(server(&ca), state.path());
    let shelf = Arc::new(Directory::open(state.path()).unwrap());
    let spec = spec(&["a.test"], KeyKind::EcdsaP256);
    let policy = Policy::of(&issuer, &[], spec.identifiers.as_slice());
    let policy = Policy { minute: MINUTE, order_patience: ORDER, ..policy };
    let house = House::with(gate, &issuer, &spec, shelf, policy);
    let begun = std::time::Instant::now();
    while house.installed().is_empty() {
        if begun.elapsed() > PATIENCE * 2 {
            return Err(format!("{name}: no certificate; {:?}\n{:#?}", house.stage(), ca.log()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if !ca.all_met() {
        return Err(format!("{name}: the fault was never met\n{:#?}", ca.log()));
    }
    let (orders, requests) = (ca.orders().len(), ca.log().len());
    if orders > 2 || requests > 60 {
        return Err(format!("{name}: {orders} orders, {requests} requests\n{:#?}", ca.log()));
    }
    Ok(())
}

#[test]
fn every_fault_ends_in_a_certificate_with_two_orders_at_most() {
    let trap = Origin::start(|_| Reply::ok("trapped"));
    let elsewhere = format!("http://{}/dir", trap.address());
    let gate = Gate::open();
    let failed: Vec<String> = std::thread::scope(|scope| {
        let gate = &gate;
        let run = |(name, endpoint, object, times, fault)| {
            scope.spawn(move || one(gate, name, endpoint, object, times, fault))
        };
        let all: Vec<_> = faults(&elsewhere).into_iter().map(run).collect();
        all.into_iter().filter_map(|thread| thread.join().unwrap().err()).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(trap.connections(), 0, "nothing went to the redirect's target");
}

#[test]
fn a_window_in_the_past_renews_now_and_a_refused_replacement_is_ordered_without_it() {
    for refusal in
        [problem(409, "alreadyReplaced", &[]), problem(404, "malformed", &[]), problem(400, "new words", &[])]
    {
        let (gate, ca) = (Gate::open(), FakeCa::start());
        let state = tempfile::tempdir().unwrap();
        let issuer = issuer(server(&ca), state.path());
        let shelf = Arc::new(Directory::open(state.path()).unwrap());
        let house = House::open(&gate, &issuer, &spec(&["a.test"], KeyKind::EcdsaP256), shelf, MINUTE);
        let first = house.wait(0, PATIENCE);
        wait_for("the question", PATIENCE, || ca.log().iter().any(|line| line.contains("/ari/")));
        assert_eq!(house.installed().len(), 1, "no window, no renewal");
        house.close();

        ca.suggest(Some((-7200, -3600)));
        ca.fault("order", None, 1, refusal);
        wait_for("the lock", PATIENCE, || Directory::open(state.path()).is_ok());
        std::fs::remove_file(state.path().join(format!("certs/{}/stage.json", first.id))).unwrap();
        let shelf = Arc::new(Directory::open(state.path()).unwrap());
        let house = House::open(&gate, &issuer, &spec(&["a.test"], KeyKind::EcdsaP256), shelf, MINUTE);
        let second = house.wait(0, PATIENCE);
        assert!(second.epoch > first.epoch);
        assert!(ca.all_met(), "it was refused");
        assert_eq!(ca.orders()[..2], [None, None], "and then ordered without");
        house.close();
    }
}

#[test]
fn a_replacement_that_is_not_echoed_is_the_same_order_all_the_same() {
    let (gate, ca) = (Gate::open(), FakeCa::start());
    ca.suggest(Some((-7200, -3600)));
    let state = tempfile::tempdir().unwrap();
    let issuer = issuer(server(&ca), state.path());
    let shelf = Arc::new(Directory::open(state.path()).unwrap());
    ca.fault("order", None, 9, NoEcho);
    let house = House::open(&gate, &issuer, &spec(&["a.test"], KeyKind::EcdsaP256), shelf, MINUTE);
    house.wait(1, PATIENCE);
    house.close();
    let orders = ca.orders();
    assert!(orders[0].is_none() && orders[1].as_ref().is_some_and(|id| id.contains('.')), "{orders:?}");
    let fetched = ca.log().iter().filter(|line| line.contains("/cert/")).count();
    assert!(fetched >= 2, "each order was brought to its end");
    assert!(!ca.log().iter().any(|line| line.contains("/cert/2")) || orders.len() > 2);
}

#[test]
fn an_authority_that_fails_is_not_hurried() {
    let (gate, ca) = (Gate::open(), FakeCa::start());
    ca.fault("order", None, 99, html(502));
    let state = tempfile::tempdir().unwrap();
    let issuer = issuer(server(&ca), state.path());
    let shelf = Arc::new(Directory::open(state.path()).unwrap());
    let house = House::open(&gate, &issuer, &spec(&["a.test"], KeyKind::EcdsaP256), shelf, MINUTE);
    wait_for("two failures", PATIENCE, || house.stage().trouble().failures >= 2);
    assert!(matches!(house.stage().trouble().last, Some(Failure::Unreachable { .. })));
    let orders = ca.log().iter().filter(|line| line.ends_with("/order")).count();
    assert!(orders <= 3, "{orders}");
}
