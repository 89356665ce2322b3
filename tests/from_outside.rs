//! What does a node find out about names that lead elsewhere, and about who terminates TLS for them? In a network of its own
//! with public addresses: ours stand on its interface, those of strangers answer without one; a resolver that sees what a
//! node sees, another that the authority asks.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bed::bind::{Bind, SECRET};
use bed::ca::Ca;
use bed::client::Tls;
use bed::faulty::{Fault, Faulty, When, Wrong};
use bed::namespace::{inside, run};
use bed::pebble::{Pebble, Settings};
use bed::server::{Nginx, Semper, Server, Site, http};
use bed::{PATIENCE, wait_for};

const LONG: Duration = Duration::from_secs(100);
const OURS: &str = "198.51.100.1";
const OURS6: &str = "2001:db8:1::1";

/// Addresses of ours on the interface; all of 203.0.113.0/24 and 2001:db8:9::/64 answers without being there.
fn network() {
    for address in [OURS, "198.51.100.2"] {
        run("ip", &["addr", "add", &format!("{address}/32"), "dev", "lo"]);
    }
    run("ip", &["addr", "add", &format!("{OURS6}/128"), "dev", "lo", "nodad"]);
    run("ip", &["route", "add", "local", "203.0.113.0/24", "dev", "lo"]);
    run("ip", &["route", "add", "local", "2001:db8:9::/64", "dev", "lo"]);
    std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").unwrap();
}

/// Somebody who answers everything on port 80 of `ip` in the same way.
fn stranger(ip: &str, server: &'static str, status: &'static str) {
    let listener = TcpListener::bind(SocketAddr::new(ip.parse().unwrap(), 80)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let answer =
                format!("HTTP/1.1 {status}\r\nServer: {server}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

const LISTEN: &str = "listen 198.51.100.1:80; listen [2001:db8:1::1]:80; listen 198.51.100.1:443 ssl; listen [2001:db8:1::1]:443 ssl; listen 127.0.0.1:443 ssl;";

/// What the node's own resolver shows; the authority's sends every name to us.
const INSIDE: &str = "good IN A 198.51.100.1\nforeign IN A 203.0.113.9\nstale IN A 198.51.100.1\nstale IN AAAA 2001:db8:9::9\n\
    also IN A 198.51.100.1\nalso IN A 203.0.113.9\nothers IN A 198.51.100.1\nothers IN CAA 0 issue \"other-ca.test\"\n\
    methods IN A 198.51.100.1\nmethods IN CAA 0 issue \"ca.test; validationmethods=dns-01\"\n\
    account IN A 198.51.100.1\naccount IN CAA 0 issue \"ca.test; accounturi=https://ca.test/acct/9\"\n\
    x.y.tree IN A 198.51.100.1\ntree IN CAA 0 issue \";\"\nalias IN CNAME x.other.test.\n\
    wild IN CAA 0 issue \"ca.test\"\nwild IN CAA 0 issuewild \";\"\nhorizon IN A 10.9.9.9\nclosed IN A 192.0.2.77\n\
    hairpin IN A 203.0.113.20\nskipped IN A 203.0.113.9\nlearns IN A 203.0.113.9\ncdn IN A 203.0.113.30\n\
    front IN A 203.0.113.31\nempty IN A 198.51.100.2\nalpn IN A 198.51.100.1\nended IN A 203.0.113.30\n\
    _acme-challenge.taken IN CNAME x.cdn.test.\n";

/// A CDN that sends everybody to HTTPS and verifies what stands behind it.
fn cdn(ca: &Ca) -> (Server, Site) {
    let site = Site::new("");
    let pair = ca.issue(&["cdn.site.test", "ended.site.test"]);
    site.file("front.pem", &pair.chain);
    site.file("front.key", &pair.key);
    site.file("root.pem", ca.pem());
    site.rewrite(&http(
        "server { listen 203.0.113.30:80; location / { return 301 https://$host$request_uri; } }
         server { listen 203.0.113.30:443 ssl; ssl_certificate %dir%/front.pem; ssl_certificate_key %dir%/front.key;
            location / { proxy_pass https://198.51.100.1; proxy_ssl_verify on; proxy_ssl_server_name on;
                proxy_ssl_name $host; proxy_ssl_trusted_certificate %dir%/root.pem; } }",
    ));
    (Nginx::serve(&site), site)
}

/// Twenty names before Pebble, which says that CAA calls it ca.test and asks `world`.
fn node(world: &Bind, inside: &Bind) -> (Site, Pebble, Faulty) {
    let pebble = Pebble::with(&Settings { dns: Some(world.port()), ..Settings::checking(80, 443) });
    let ca = Ca::new("the way to the authority");
    let named = Wrong::Replaced("\"meta\": {", "\"meta\": { \"caaIdentities\": [\"ca.test\"],");
    let faults = vec![Fault { path: "/dir", when: When::For(LONG * 100), wrong: named }];
    let authority = Faulty::before(&pebble, &ca, faults);
    let mut servers = String::new();
    let mut serve = |issuer: &str, names: &[&str]| {
        for name in names {
            servers.push_str(&format!(
                "server {{ {LISTEN} server_name {name}.site.test; acme_certificate {issuer}; return 200 hello; }}\n"
            ));
        }
    };
    serve("web", &["good", "foreign", "stale", "also", "others", "methods", "account", "x.y.tree", "alias", "horizon"]);
    serve("web", &["closed", "hairpin", "skipped", "learns", "cdn", "front", "empty"]);
    serve("tls", &["alpn", "ended"]);
    serve("dns", &["taken", "*.wild"]);
    let site = Site::new(&http(&servers));
    let trusted = site.file("authority.pem", ca.pem()).display().to_string();
    let issuer = |name: &str, terms: &str| {
        format!(
            "acme_issuer {name} {{ uri {}; ssl_trusted_certificate {trusted}; accept_terms_of_service; retry_interval 1s; {terms} }}\n",
            authority.directory()
        )
    };
    let dns = inside.address();
    let own = [
        format!(
            "state_path %dir%/state; acme_resolver {dns}; public_address 203.0.113.20; fronted_by bigcdn 203.0.113.31/32;\n"
        ),
        "skip_checks reach skipped.site.test;\n".to_owned(),
        format!(
            "acme_dns_provider own {{ rfc2136 {dns}; tsig semper hmac-sha256 file:%dir%/tsig; domains site.test; }}\n"
        ),
        issuer("web", "challenge http-01;"),
        issuer("tls", "challenge tls-alpn-01;"),
        issuer("dns", "challenge dns-01; dns_provider own;"),
    ];
    bed::write_private(&site.dir().join("tsig"), SECRET);
    site.file("semper.conf", site.fill(&own.concat()));
    (site, pebble, authority)
}

fn ask(site: &Site, arguments: &[&str]) -> String {
    let state = site.dir().join("state").display().to_string();
    let output = Semper::run(&[arguments, &["--state", &state]].concat());
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[test]
fn every_situation_has_its_own_words_and_what_cannot_be_checked_from_here_is_none() {
    if !inside("every_situation_has_its_own_words_and_what_cannot_be_checked_from_here_is_none") {
        return;
    }
    network();
    let other = ("other.test", "x IN A 198.51.100.1\nx IN CAA 0 issue \"elsewhere-ca.test\"\n");
    let seen = Bind::start(&[("site.test", INSIDE), other, ("cdn.test", "x IN TXT \"theirs\"\n")]);
    let world = Bind::start(&[("site.test", "* IN A 198.51.100.1\nx.y.tree IN A 198.51.100.1\n")]);
    stranger("203.0.113.9", "Apache", "404 Not Found");
    stranger("2001:db8:9::9", "old", "404 Not Found");
    stranger("203.0.113.20", "router", "401 Unauthorized");
    stranger("203.0.113.31", "bigcdn", "404 Not Found");
    let _cdn = cdn(&Ca::new("CDN CA"));
    let (site, pebble, _authority) = node(&world, &seen);
    let server = Semper::serve(&site);
    let said = || server.complaints();
    for words in [
        "foreign.site.test leads to 203.0.113.9, and not to us: Apache answers there with 404",
        "the AAAA record 2001:db8:9::9 of stale.site.test does not lead to us (old answers there with 404)",
        "also.site.test also leads to 203.0.113.9, and not to us there",
        "the CAA record of others.site.test lets only other-ca.test issue, not ca.test",
        "the CAA record of methods.site.test lets ca.test validate by dns-01 alone, not by http-01",
        "the CAA record of tree.site.test lets nobody issue",
        "the CAA record of alias.site.test lets only elsewhere-ca.test issue, not ca.test",
        "the CAA record of wild.site.test lets nobody issue",
        "in front of cdn.site.test redirects challenges to HTTPS and insists on a valid certificate here (502)",
        "bigcdn in front of front.site.test does not pass /.well-known/acme-challenge/ on to us",
        "empty.site.test leads to 198.51.100.2, which is this machine, but nobody listens on port 80 there",
        "TLS for ended.site.test does not end here: a certificate of",
        "_acme-challenge.taken.site.test is a CNAME to x.cdn.test, which this provider does not write",
    ] {
        wait_for(&format!("`{words}`"), PATIENCE, || said().contains(words));
    }
    let tls = Tls::trusting(&pebble.root());
    let shown = |name: &str| tls.chain(443, name).ok().map(|chain| bed::client::serial(&chain[0]));
    for name in ["good", "account", "alpn", "horizon", "closed", "hairpin", "skipped", "learns"] {
        wait_for(&format!("a certificate of {name}"), LONG, || shown(&format!("{name}.site.test")).is_some());
    }
    for name in ["good", "alpn", "horizon", "closed", "hairpin", "skipped"] {
        assert!(!said().contains(&format!("not asked for now: {name}.")), "{name}: {}", said());
        assert!(!said().contains(&format!("for {name}.")), "{name}: {}", said());
    }

    // Now that the account is known, CAA is judged by it too.
    ask(&site, &["renew", "account.site.test"]);
    let account =
        "the CAA record of account.site.test lets ca.test issue for the account https://ca.test/acct/9 alone; ours is";
    wait_for("the account", PATIENCE, || said().contains(account));

    // The authority found nothing wrong: neither does this node from now on, nor after a restart.
    server.wait_for_line(
        "error.log",
        "learns.site.test: the check \"reach\" found something in the way and the authority did not",
    );
    let before = said().matches("not asked for now: learns.").count();
    assert!(before >= 2, "{}", said());
    let mut serial = shown("learns.site.test");
    let renewed = |server: &Server, serial: &mut Option<String>| {
        let told = ask(&site, &["renew", "learns.site.test"]);
        wait_for(&format!("a renewal\n{told}"), PATIENCE, || shown("learns.site.test") != *serial);
        *serial = shown("learns.site.test");
        assert_eq!(
            server.complaints().matches("not asked for now: learns.").count(),
            before,
            "{}",
            server.complaints()
        );
    };
    renewed(&server, &mut serial);
    drop(server);
    let server = Semper::serve(&site);
    wait_for("what it held", PATIENCE, || shown("learns.site.test") == serial);
    renewed(&server, &mut serial);
}

#[test]
fn who_terminates_where_is_told_apart_and_only_our_own_fault_is_one() {
    if !inside("who_terminates_where_is_told_apart_and_only_our_own_fault_is_one") {
        return;
    }
    network();
    let zone = "right IN A 198.51.100.1\nfronted IN A 203.0.113.40\nstranger IN A 203.0.113.41\nprogram IN A 198.51.100.2\n\
        hairpin IN A 203.0.113.42\ncdn IN A 203.0.113.43\nsilent IN A 192.0.2.77\n";
    let bind = Bind::start(&[("site.test", zone)]);
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let others = Site::new("");
    let mut blocks = String::new();
    for (ip, name, on_80) in [
        ("203.0.113.40", "fronted.site.test", "proxy_pass http://198.51.100.1;"),
        ("203.0.113.41", "stranger.site.test", "return 404;"),
        ("198.51.100.2", "program.site.test", "proxy_pass http://198.51.100.1;"),
        ("203.0.113.42", "router.test", "return 401;"),
        ("203.0.113.43", "another.test", "return 404;"),
    ] {
        let pair = theirs.issue(&[name]);
        others.file(&format!("{name}.pem"), &pair.chain);
        others.file(&format!("{name}.key"), &pair.key);
        blocks.push_str(&format!(
            "server {{ listen {ip}:80; listen {ip}:443 ssl; ssl_certificate %dir%/{name}.pem; ssl_certificate_key %dir%/{name}.key;
                location / {{ proxy_set_header Host $host; {on_80} }} }}\n"
        ));
    }
    others.rewrite(&http(&blocks));
    let _others = Nginx::serve(&others);
    let names =
        ["right", "fronted", "stranger", "program", "hairpin", "cdn", "silent"].map(|name| format!("{name}.site.test"));
    let site = Site::new("");
    let pair = ours.issue(&names.each_ref().map(|name| &**name));
    site.file("own.pem", &pair.chain);
    site.file("own.key", &pair.key);
    site.rewrite(&http(&format!(
        "server {{ {LISTEN} server_name {} *.right.site.test; ssl_certificate %dir%/own.pem; ssl_certificate_key %dir%/own.key; return 200 hello; }}",
        names.join(" ")
    )));
    let own = "public_address 203.0.113.42; fronted_by bigcdn 203.0.113.43/32 cdn.site.test;";
    site.file("semper.conf", site.fill(&format!("state_path %dir%/state; acme_resolver {}; {own}\n", bind.address())));
    let server = Semper::serve(&site);
    let served = || -> serde_json::Value {
        let status: serde_json::Value = serde_json::from_str(&ask(&site, &["status", "--json"])).unwrap_or_default();
        status["served"].clone()
    };
    let lines = |list: &str| -> Vec<String> {
        let all = served()[list].as_array().cloned().unwrap_or_default();
        all.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    let has = |list: &str, name: &str, words: &str| {
        lines(list).iter().any(|line| line.starts_with(&format!("{name}.site.test at ")) && line.contains(words))
    };
    for (list, name, words) in [
        ("elsewhere", "fronted", "someone terminates here in front of us"),
        ("elsewhere", "stranger", "someone else is here"),
        ("elsewhere", "cdn", "bigcdn stands in front"),
        ("unreachable", "hairpin", "hairpin NAT?"),
        ("unreachable", "silent", ""),
        ("wrong", "program", "an other certificate of"),
    ] {
        wait_for(&format!("{name} among {list}"), LONG, || {
            has(list, name, words) || {
                std::thread::sleep(Duration::from_millis(200));
                false
            }
        });
    }
    assert_eq!(lines("wrong").len(), 1, "{}", served());
    // Seven names and a wildcard on three listeners of ours; where one leads is among them.
    wait_for("everything of ours", LONG, || served()["right"].as_u64() == Some(24));
    assert!(server.complaints().contains("program.site.test at 198.51.100.2:443: an other certificate"));
}
