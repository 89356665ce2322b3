//! Do the commands about certificates do what they say, against a real semper with a real authority behind it? Text,
//! `--json` and exit codes; what must not be touched is not.
#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::process::{Command, Output};

use bed::client::{Tls, serial};
use bed::pebble::{Pebble, Settings};
use bed::process::Process;
use bed::server::{Nginx, Semper, Server, Site, http};
use bed::{PATIENCE, free_port, wait_for};

const NAME: &str = "shop.site.test";

fn run(site: &Site, arguments: &[&str]) -> (i32, String) {
    let state = site.dir().join("state").display().to_string();
    let Output { status, stdout, stderr } = Semper::run(&[arguments, &["--state", &state]].concat());
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code().unwrap(), text)
}

fn json(site: &Site, arguments: &[&str]) -> serde_json::Value {
    let (code, text) = run(site, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A site whose certificate comes from `pebble`; `more` goes into its acme_issuer.
fn site(pebble: &Pebble, http_port: u16, more: &str) -> Site {
    let site = Site::new(&http(&format!(
        "
    acme_issuer le {{
        uri {};
        ssl_trusted_certificate {};
        accept_terms_of_service;
        challenge http;
        retry_interval 1s;
        order_timeout 10s;
        {more}
    }}
    server {{ listen 127.0.0.1:{http_port}; server_name {NAME}; return 204; }}
    server {{
        listen 127.0.0.1:%port2% ssl;
        server_name {NAME};
        acme_certificate le;
        ssl_certificate $acme_certificate;
        ssl_certificate_key $acme_certificate_key;
        return 200 served;
    }}",
        pebble.directory(),
        pebble.trusted()
    )));
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    site
}

fn shown(server: &Server, name: &str) -> String {
    serial(&Tls::blind().chain(server.port(2), name).unwrap()[0])
}

/// Starts semper and waits for the certificate; its serial number.
fn certified(site: &Site, pebble: &Pebble) -> (Server, String) {
    let server = Semper::serve(site);
    let tls = Tls::trusting(&pebble.root());
    wait_for("the certificate", PATIENCE, || tls.chain(server.port(2), NAME).is_ok());
    wait_for("the journal", PATIENCE, || run(site, &["explain", NAME]).1.contains("generation 1, obtained from"));
    let serial = shown(&server, NAME);
    (server, serial)
}

#[test]
fn a_renewal_is_followed_to_its_end_and_a_dry_run_leaves_everything_as_it_was() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let staging = Pebble::with(&Settings::checking(http_port, free_port()));
    // One file with both roots, as an operator would have it.
    let site = site(&pebble, http_port, &format!("staging {};", staging.directory()));
    let roots = [&pebble, &staging].map(|pebble| std::fs::read_to_string(pebble.trusted()).unwrap()).concat();
    let both = site.file("roots.pem", roots);
    site.rewrite(
        &std::fs::read_to_string(site.conf()).unwrap().replace(&pebble.trusted(), &both.display().to_string()),
    );
    let (server, first) = certified(&site, &pebble);

    let (code, text) = run(&site, &["renew", "--dry-run", NAME]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("waits for the authority to look") && text.contains("good: a certificate of"), "{text}");
    assert!(text.contains("preflight for http-01: nothing found that stands in the way"), "{text}");
    assert_eq!((staging.issued(), pebble.issued()), (1, 1));
    assert_eq!(shown(&server, NAME), first, "nothing is installed");
    let (code, _) = run(&site, &["renew", "--dry-run"]);
    assert_eq!((code, staging.issued(), pebble.issued()), (0, 2, 1));
    assert_eq!(staging.log().matches("POST /sign-me-up").count(), 1, "the account there is kept");

    let (code, text) = run(&site, &["renew", NAME]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("attempt") && text.contains("renewed: generation 2, in force until"), "{text}");
    let second = shown(&server, NAME);
    assert_ne!(second, first);
    assert_eq!((staging.issued(), pebble.issued()), (2, 2));

    let (code, text) = run(&site, &["renew", "--all-due"]);
    assert_eq!((code, text.as_str()), (0, "nothing is due\n"));
    let list = json(&site, &["renew", NAME]);
    assert_eq!((list[0]["epoch"].as_u64(), list[0]["names"][0].as_str()), (Some(3), Some(NAME)));
    let (code, text) = run(&site, &["renew", "other.test"]);
    assert!(code == 2 && text.contains("no certificate of other.test is obtained here"), "{code} {text}");
    drop(server);
    let (code, text) = run(&site, &["renew", NAME]);
    assert!(code == 3 && text.contains("nobody answers at"), "{code} {text}");
}

#[test]
fn a_dry_run_and_a_renewal_that_fail_say_so_in_the_authoritys_words() {
    let http_port = free_port();
    // It looks where nobody listens.
    let staging = Pebble::with(&Settings::checking(free_port(), free_port()));
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, &format!("staging {};", staging.directory()));
    let roots = [&pebble, &staging].map(|pebble| std::fs::read_to_string(pebble.trusted()).unwrap()).concat();
    let both = site.file("roots.pem", roots);
    site.rewrite(
        &std::fs::read_to_string(site.conf()).unwrap().replace(&pebble.trusted(), &both.display().to_string()),
    );
    let (_server, _) = certified(&site, &pebble);
    let (code, text) = run(&site, &["renew", "--dry-run", NAME]);
    assert!(code == 1 && text.contains(&format!("{NAME}: FAILED: validation by http-01 failed")), "{code} {text}");
    assert!(text.contains("connection refused") || text.contains("connect"), "{text}");

    drop(pebble);
    let (code, text) = run(&site, &["renew", NAME]);
    assert!(code == 1 && text.contains("FAILED: the authority cannot be reached"), "{code} {text}");
    assert!(text.contains("the present certificate is in force until"), "{text}");
    let (_, text) = run(&site, &["explain", NAME]);
    assert!(text.contains("to do      see whether this machine reaches the authority"), "{text}");
    assert!(text.contains("past ") && text.contains("le by http-01 failed: the authority cannot be reached"), "{text}");
}

#[test]
fn a_revoked_certificate_is_replaced_first_and_is_never_a_source_again() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, "");
    let (server, first) = certified(&site, &pebble);
    let (code, text) = run(&site, &["revoke", NAME, "--reason", "keyCompromise"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("replaced: generation 2") && text.contains("and the old one is revoked"), "{text}");
    let standing = pebble.standing(&first);
    assert!(standing.contains("Revoked") && standing.contains("\"Reason\": 1"), "{standing}");
    let second = shown(&server, NAME);
    assert_ne!(second, first);
    assert!(!pebble.standing(&second).contains("Revoked"));
    let folder = std::fs::read_dir(site.dir().join("state/certs")).unwrap().next().unwrap().unwrap().path();
    assert!(folder.join("1.disowned").exists() && !folder.join("1.pem").exists());
    let wishes = site.read("state/wishes.json");
    assert!(!wishes.contains("PRIVATE KEY"), "{wishes}");
}

#[test]
fn a_certificate_whose_key_is_known_to_others_gives_way_to_the_standby_at_once() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, "standby second; } acme_issuer second { uri internal;");
    let (server, first) = certified(&site, &pebble);
    let standby = |path: std::path::PathBuf| path.to_string_lossy().contains("~standby") && path.join("1.pem").exists();
    let certs = site.dir().join("state/certs");
    wait_for("the standby", PATIENCE, || {
        std::fs::read_dir(&certs).unwrap().any(|entry| standby(entry.unwrap().path()))
    });
    // Nobody can issue another one now.
    drop(pebble);
    assert_eq!(shown(&server, NAME), first);
    let (code, text) = run(&site, &["revoke", NAME, "--reason", "keyCompromise", "--no-wait"]);
    assert_eq!(code, 0, "{text}");
    wait_for("the standby to be shown", PATIENCE, || shown(&server, NAME) != first);
    let wishes = site.read("state/wishes.json");
    assert!(
        wishes.contains("\"epoch\"") && !wishes.contains("~standby"),
        "the standby is not revoked with it: {wishes}"
    );
    wait_for("the cause to be told", PATIENCE, || {
        run(&site, &["explain", NAME]).1.contains("what is held is revoked, or")
    });
}

#[test]
fn a_revocation_outlives_a_restart() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, "");
    let (server, first) = certified(&site, &pebble);
    let (code, text) = run(&site, &["revoke", NAME, "--no-wait"]);
    assert_eq!(code, 0, "{text}");
    drop(server);
    let _server = Semper::serve(&site);
    wait_for("the revocation", PATIENCE, || pebble.standing(&first).contains("Revoked"));
}

#[test]
fn a_paused_certificate_is_left_alone_over_restarts_until_it_is_resumed() {
    let inside = "acme_issuer own { uri internal; leaf_lifetime 6s; }
        server { listen 127.0.0.1:%port2% ssl; server_name shop.site.test; acme_certificate own;
                 ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 served; }";
    let site = Site::new(&http(inside));
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    let server = Semper::serve(&site);
    wait_for("a certificate", PATIENCE, || run(&site, &["status"]).1.contains("valid for"));
    let (code, text) = run(&site, &["pause", NAME]);
    assert!(code == 0 && text.contains("paused; it is not renewed until"), "{code} {text}");
    let first = shown(&server, NAME);
    drop(server);
    let server = Semper::serve(&site);
    wait_for("its end", PATIENCE, || run(&site, &["status"]).1.contains("EXPIRED"));
    assert_eq!(shown(&server, NAME), first, "nothing was renewed");
    let (_, status) = run(&site, &["status"]);
    assert!(status.contains("PAUSED, `semper resume shop.site.test`"), "{status}");
    let (code, text) = run(&site, &["renew", NAME]);
    assert!(code == 2 && text.contains("is paused"), "{code} {text}");
    let (_, text) = run(&site, &["explain", NAME]);
    let me = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    assert!(text.contains("PAUSED since") && text.contains(&format!(" by {me}: nothing, until")), "{text}");
    let (code, text) = run(&site, &["resume", NAME]);
    assert!(code == 0 && text.contains("looked after again"), "{code} {text}");
    wait_for("another one", PATIENCE, || shown(&server, NAME) != first);
}

#[test]
fn explain_says_who_what_when_and_why_for_people_and_for_programs() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, "");
    let (_server, first) = certified(&site, &pebble);
    let (code, text) = run(&site, &["explain", NAME]);
    assert_eq!(code, 0, "{text}");
    for words in [
        "certificate obtained by semper",
        &format!("renewed by semper, from le ({}), key ecdsa:256", pebble.directory()),
        "nginx.conf:",
        &format!("serial {first}"),
        "generation 1, obtained from",
        "a third of its life is left then",
        "past       ",
        &format!("_validation-persist.{NAME}. IN TXT"),
        "accounturi=https://localhost",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    let value = json(&site, &["explain", NAME]);
    assert_eq!(value["kept"][0]["progress"]["epoch"], 1, "{value}");
    assert_eq!(value["kept"][0]["advice"].as_array().map(Vec::len), Some(0));
    let (code, text) = run(&site, &["explain", "unknown.test"]);
    assert!(code == 0 && text.contains("no certificate here is for this name"), "{text}");
}

/// A certificate is obtained although the authority reaches another program, with the lines that semper prints for it.
fn answered_by<T>(program: &str, start: impl FnOnce(&str, u16) -> T) {
    let (semper_port, other_port) = (free_port(), free_port());
    let pebble = Pebble::with(&Settings::checking(other_port, free_port()));
    let site = site(&pebble, semper_port, "");
    let server = Semper::serve(&site);
    wait_for("the account key", PATIENCE, || run(&site, &["explain", NAME, "--snippet", program]).0 == 0);
    let (_, snippet) = run(&site, &["explain", NAME, "--snippet", program]);
    let _other = start(&snippet, other_port);
    wait_for("the other program", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", other_port)).is_ok());
    run(&site, &["renew", NAME, "--no-wait"]);
    let tls = Tls::trusting(&pebble.root());
    wait_for("a certificate by its help", PATIENCE * 3, || tls.chain(server.port(2), NAME).is_ok());
}

#[test]
fn nginx_with_the_printed_lines_answers_for_semper() {
    answered_by("nginx", |lines, port| {
        Nginx::start(&http(&format!("server {{ listen 127.0.0.1:{port}; server_name {NAME};\n{lines} }}")))
    });
}

#[test]
fn haproxy_with_the_printed_lines_answers_for_semper() {
    answered_by("haproxy", |lines, port| {
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("haproxy.cfg");
        let head = "defaults\n mode http\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n";
        std::fs::write(&conf, format!("{head}frontend f\n bind 127.0.0.1:{port}\n{lines}\n http-request deny\n"))
            .unwrap();
        let mut command = Command::new("haproxy");
        (Process::start(command.arg("-db").arg("-f").arg(&conf), &folder.path().join("log")), folder)
    });
}

#[test]
fn caddy_with_the_printed_lines_answers_for_semper() {
    answered_by("caddy", |lines, port| {
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("Caddyfile");
        std::fs::write(&conf, format!("{{\nadmin off\nauto_https off\n}}\nhttp://{NAME}:{port} {{\n{lines}\n}}\n"))
            .unwrap();
        let mut command = Command::new("caddy");
        command.env("HOME", folder.path()).args(["run", "--adapter", "caddyfile", "--config"]).arg(&conf);
        (Process::start(&mut command, &folder.path().join("log")), folder)
    });
}

#[test]
fn a_rehearsal_tells_the_future_and_touches_nothing() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, "");
    let (server, first) = certified(&site, &pebble);
    let folder = std::fs::read_dir(site.dir().join("state/certs")).unwrap().next().unwrap().unwrap().path();
    wait_for("the order to be forgotten", PATIENCE, || !folder.join("order.json").exists());
    // The journal may be written at any moment, through a name that begins with a dot.
    let generations = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect::<BTreeSet<_>>()
    };
    let before = generations();
    let (code, text) = run(&site, &["rehearse", NAME, "--expire-in", "5d"]);
    assert!(code == 0 && text.contains("suppose that it expires") && text.contains("it is issued"), "{text}");
    let (_, text) = run(&site, &["rehearse", NAME, "--ca-down"]);
    assert!(text.contains("the authority cannot be reached") && text.contains("EXPIRES"), "{text}");
    let (_, text) = run(&site, &["rehearse", NAME, "--forget-order"]);
    assert!(text.contains("404") && text.contains("the next renewal begins"), "{text}");
    let (_, text) = run(&site, &["rehearse", NAME, "--skew", "-2d"]);
    assert!(text.contains("the clock jumps by -172800 seconds"), "{text}");
    let list = json(&site, &["rehearse", NAME]);
    assert!(list[0]["moments"].as_array().is_some_and(|moments| moments.len() > 2), "{list}");
    let (code, _) = run(&site, &["rehearse", NAME, "--expire-in", "soon"]);
    assert_eq!(code, 1);
    assert_eq!(generations(), before);
    assert_eq!((shown(&server, NAME), pebble.issued()), (first, 1));
}

#[test]
fn a_rollover_that_a_restart_has_cut_off_goes_on_by_itself() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, "");
    let (server, _) = certified(&site, &pebble);
    let before = site.read("state/accounts/shared.key");
    drop(server);
    // It ended after the new key was saved, and before the authority heard of it.
    let next = rcgen::KeyPair::generate().unwrap().serialize_pem();
    bed::write_private(&site.dir().join("state/accounts/shared.next.key"), next);
    let _server = Semper::serve(&site);
    let gone = || !site.dir().join("state/accounts/shared.next.key").exists();
    wait_for("the change to go on", PATIENCE, || gone() && site.read("state/accounts/shared.key") != before);
    assert_eq!(pebble.log().matches("POST /rollover-account-key").count(), 1);
    let (code, text) = run(&site, &["renew", NAME]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_rollover_changes_the_key_of_the_account_and_nothing_else() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, "");
    let (server, _) = certified(&site, &pebble);
    let key = site.read("state/accounts/shared.key");
    let (code, text) = run(&site, &["account", "rollover", "le"]);
    assert!(code == 0 && text.contains("le: good: its account has another key"), "{code} {text}");
    assert_ne!(site.read("state/accounts/shared.key"), key);
    assert!(!site.dir().join("state/accounts/shared.next.key").exists());
    let (code, text) = run(&site, &["renew", NAME]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        pebble.log().matches("POST /sign-me-up").count(),
        2,
        "registered once, and asked once about the new key"
    );
    let (code, _) = run(&site, &["account", "rollover", "nobody"]);
    assert_eq!(code, 2);
    drop(server);
}

#[test]
fn the_lines_of_the_page_run_from_top_to_bottom() {
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let site = site(&pebble, http_port, &format!("staging {};", pebble.directory()));
    let (_server, _) = certified(&site, &pebble);
    let page = std::fs::read_to_string(bed::root().join("docs/commands.md")).unwrap();
    let lines: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    $ semper ")).collect();
    assert!(lines.len() >= 14, "{lines:?}");
    for line in lines {
        let (code, text) = run(&site, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 0, "{line}: {text}");
    }
}
