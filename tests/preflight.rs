//! What does a look at a name find? Names in real BIND, servers on several addresses of the loopback: our own node, an old
//! machine, a CDN that insists on HTTPS, a port where nobody listens, name servers that fail; CAA over the whole tree.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bed::bind::Bind;
use bed::ca::Ca;
use bed::client::Tls;
use bed::pebble::{Pebble, Settings};
use bed::server::{Semper, Site, http};
use bed::{PATIENCE, free_port, wait_for};
use semper::cert::reach::{Addresses, Answer, Caa, Facts, Owner};
use semper::node::clock::RealClock;
use semper::plan::acme::ChallengeKind;
use semper::plan::checks::{Check, Checks, PublicAddress, Skip};
use semper::watch::preflight::Preflight;
use semper::zone::challenges::{Challenges, Phase};

/// Answers each request on `at` with what `answer` makes of its path and host.
fn serve(at: SocketAddr, answer: impl Fn(&str, &str) -> String + Send + 'static) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut buffer = [0; 1024];
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(length @ 1..) => head.extend_from_slice(&buffer[..length]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let host = head.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default();
            let _ = stream.write_all(answer(&path, host).as_bytes());
        }
    });
}

fn page(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

/// Our own node: what the table says.
fn ours(challenges: &Arc<Challenges>) -> impl Fn(&str, &str) -> String + Send + 'static {
    let table = challenges.clone();
    move |path, host| match table.answer("GET", path, host, Phase::BeforeLocation) {
        Some(answer) => page("200 OK", "Server: semper\r\n", std::str::from_utf8(&answer.body).unwrap()),
        None => page("404 Not Found", "Server: semper\r\n", "no"),
    }
}

fn table() -> Arc<Challenges> {
    Arc::new(Challenges::new(Arc::new(RealClock)))
}

fn checks(bind: &Bind) -> Checks {
    Checks { resolver: vec![bind.address()], ..Checks::default() }
}

fn look(preflight: &Preflight, name: &str) -> Facts {
    look_by(preflight, name, ChallengeKind::Http01)
}

fn look_by(preflight: &Preflight, name: &str, kind: ChallengeKind) -> Facts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(preflight.look(&name.parse().unwrap(), kind))
}

fn answers(facts: &Facts) -> Vec<(String, Owner, Answer)> {
    let Addresses::Found(seen) = &facts.addresses else { panic!("{facts:?}") };
    seen.iter().map(|seen| (seen.ip.to_string(), seen.owner, seen.answer.clone())).collect()
}

#[test]
fn each_address_is_asked_and_what_answers_is_told_apart() {
    let (site, challenges, port) = (Site::new(""), table(), free_port());
    let bind = Bind::start(&[(
        "site.test",
        "good IN A 127.0.0.2\nfleet IN A 127.0.0.3\nstale IN A 127.0.0.2\nstale IN AAAA ::1\nold IN A 127.0.0.4\n\
         closed IN A 127.0.0.5\nalias IN CNAME good\nmoved IN A 127.0.0.6\nround IN A 127.0.0.7\nhere IN A 127.0.0.1\n",
    )]);
    let at = |ip: &str| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port);
    serve(at("127.0.0.2"), ours(&challenges));
    // Another node of ours: it has the account, not the token.
    challenges.set_thumbprint(Some("thumb"));
    serve(at("127.0.0.3"), |path, _| {
        let body = format!("{}.thumb", path.rsplit('/').next().unwrap());
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    });
    serve(at("::1"), |_, _| page("404 Not Found", "Server: Apache/2.4 (old)\r\n", "<h1>Not here</h1>"));
    serve(at("127.0.0.4"), |_, _| page("200 OK", "", "<html>welcome</html>"));
    serve(at("127.0.0.6"), |path, _| page("302 Found", &format!("Location: http://good.site.test{path}\r\n"), ""));
    serve(at("127.0.0.7"), |path, host| page("302 Found", &format!("Location: http://{host}{path}\r\n"), ""));
    drop(site);
    let preflight =
        Preflight::new(checks(&bind), challenges, Arc::new(RealClock)).with_ports(port, free_port()).with_inner();
    let one = |name: &str| answers(&look(&preflight, name)).remove(0).2;
    assert_eq!(one("good.site.test"), Answer::Ours);
    assert_eq!(one("alias.site.test"), Answer::Ours);
    assert_eq!(one("moved.site.test"), Answer::Ours, "authorities follow redirects");
    assert_eq!(one("fleet.site.test"), Answer::Ours);
    assert_eq!(one("closed.site.test"), Answer::Refused);
    assert_eq!(one("old.site.test"), Answer::Other { status: 200, by: "a server without a name".into() });
    assert!(matches!(one("round.site.test"), Answer::Other { status: 310, .. }));
    let stale = answers(&look(&preflight, "stale.site.test"));
    assert_eq!(stale[0], ("127.0.0.2".into(), Owner::Unknown, Answer::Ours));
    assert_eq!((&*stale[1].0, &stale[1].2), ("::1", &Answer::Other { status: 404, by: "Apache/2.4 (old)".into() }));
    assert_eq!(look(&preflight, "nobody.site.test").addresses, Addresses::Missing);
    assert_eq!(answers(&look(&preflight, "here.site.test")), [("127.0.0.1".into(), Owner::Here, Answer::Refused)]);
}

#[test]
fn something_in_front_that_insists_on_a_certificate_is_seen() {
    let ca = Ca::new("front");
    let pair = ca.issue(&["insists.site.test"]);
    let site = Site::new("");
    site.file("front.pem", &pair.chain);
    site.file("front.key", &pair.key);
    site.rewrite(&http(
        "server { listen 127.0.0.1:%port1%; location / { return 301 https://$host$request_uri; } }
         server { listen 127.0.0.1:%port2% ssl; ssl_certificate %dir%/front.pem; ssl_certificate_key %dir%/front.key;
            location / { return 526 nope; } }",
    ));
    let front = Semper::serve(&site);
    let bind = Bind::start(&[("site.test", "insists IN A 127.0.0.1\nnowhere IN A 127.0.0.9\n")]);
    let preflight = Preflight::new(checks(&bind), table(), Arc::new(RealClock))
        .with_ports(front.port(1), front.port(2))
        .with_inner();
    let seen = answers(&look(&preflight, "insists.site.test"));
    assert!(matches!(&seen[0].2, Answer::Insists { status: 526, .. }), "{seen:?}");
}

#[test]
fn a_public_address_may_be_reached_another_way() {
    let (challenges, port) = (table(), free_port());
    serve(([127, 0, 0, 1], port).into(), ours(&challenges));
    let bind = Bind::start(&[("site.test", "a IN A 203.0.113.7\n")]);
    let public = PublicAddress {
        address: "203.0.113.7".parse().unwrap(),
        via: Some(([127, 0, 0, 1], port).into()),
        tls_via: None,
    };
    let checks = Checks { public: vec![public], ..checks(&bind) };
    let preflight = Preflight::new(checks, challenges, Arc::new(RealClock));
    assert_eq!(answers(&look(&preflight, "a.site.test")), [("203.0.113.7".into(), Owner::Declared, Answer::Ours)]);
}

#[test]
fn whoever_owns_a_name_cannot_send_us_to_inner_addresses() {
    let port = free_port();
    let hits = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = hits.clone();
    serve(SocketAddr::new([127, 0, 0, 2].into(), port), move |_, _| {
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        page("200 OK", "", "secret")
    });
    let bind = Bind::start(&[(
        "site.test",
        "direct IN A 127.0.0.2\nmapped IN AAAA ::ffff:127.0.0.2\nsends IN A 203.0.113.7\ninner IN A 127.0.0.2\n",
    )]);
    let sender = free_port();
    serve(([127, 0, 0, 1], sender).into(), |path, _| {
        page("302 Found", &format!("Location: http://inner.site.test{path}\r\n"), "")
    });
    let public = PublicAddress {
        address: "203.0.113.7".parse().unwrap(),
        via: Some(([127, 0, 0, 1], sender).into()),
        tls_via: None,
    };
    let checks = Checks { public: vec![public], ..checks(&bind) };
    let preflight = Preflight::new(checks, table(), Arc::new(RealClock)).with_ports(port, free_port());
    for name in ["direct.site.test", "mapped.site.test"] {
        assert_eq!(answers(&look(&preflight, name)).remove(0).2, Answer::Silent, "{name}");
    }
    let sent = answers(&look(&preflight, "sends.site.test")).remove(0).2;
    assert!(matches!(&sent, Answer::Astray { to, .. } if to.contains("inner address")), "{sent:?}");
    assert_eq!(hits.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn caa_is_found_over_the_tree_and_over_cnames() {
    let bind = Bind::start(&[
        (
            "site.test",
            "@ IN CAA 0 issue \"ca.test; accounturi=https://ca.test/1\"\n@ IN CAA 128 iodef \"mailto:a@b.test\"\n\
             own IN CAA 0 issuewild \";\"\na.b.c IN A 192.0.2.1\nalias IN CNAME x.other.test.\nnone.own IN A 192.0.2.1\n",
        ),
        ("other.test", "x IN CAA 0 issue \"other-ca.test\"\n@ IN CAA 0 issue \";\"\n"),
        ("bare.test", "a IN A 192.0.2.1\n"),
    ]);
    let skip = Skip { checks: vec![Check::Reach], names: vec![] };
    let preflight = Preflight::new(Checks { skip: vec![skip], ..checks(&bind) }, table(), Arc::new(RealClock));
    let caa = |name: &str| match look(&preflight, name).caa {
        Caa::Set(at, set) => {
            (at, set.into_iter().map(|p| format!("{} {} {}", p.critical, p.tag, p.value)).collect::<Vec<_>>())
        }
        other => panic!("{name}: {other:?}"),
    };
    let (at, mut set) = caa("a.b.c.site.test");
    set.sort();
    assert_eq!(at, "site.test");
    assert_eq!(set, ["false issue ca.test; accounturi=https://ca.test/1", "true iodef mailto:a@b.test"]);
    assert_eq!(caa("*.own.site.test"), ("own.site.test".into(), vec!["false issuewild ;".into()]));
    assert_eq!(caa("none.own.site.test").0, "own.site.test");
    // RFC 8659 3: the target of a CNAME counts, the names above the target do not.
    assert_eq!(caa("alias.site.test"), ("alias.site.test".into(), vec!["false issue other-ca.test".into()]));
    assert_eq!(caa("a.bare.test"), (String::new(), vec![]));
}

#[test]
fn a_resolver_that_does_not_answer_is_told_from_one_that_fails() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = |resolver: SocketAddr| Checks { resolver: vec![resolver], ..Checks::default() };
    let preflight = Preflight::new(at(silent.local_addr().unwrap()), table(), Arc::new(RealClock));
    let facts = look(&preflight, "a.site.com");
    assert!(matches!(facts.addresses, Addresses::Unknown(_)) && facts.caa == Caa::Unknown, "{facts:?}");
    // One name may have dead name servers of its own; with another one it is the resolver.
    assert!(
        matches!(look(&preflight, "b.site.com").addresses, Addresses::Unknown(why) if why.contains("did not answer"))
    );
    // Not again for a while: many names would otherwise wait for it one by one.
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(matches!(look(&preflight, "c.site.com").addresses, Addresses::Unknown(_)));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    let failing = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = failing.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = failing.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            (answer[2], answer[3]) = (answer[2] | 0x80, 2);
            let _ = failing.send_to(&answer, from);
        }
    });
    let facts = look(&Preflight::new(at(address), table(), Arc::new(RealClock)), "a.site.com");
    assert!(matches!(&facts.caa, Caa::Failing(why) if why.contains("Server Failure")), "{facts:?}");
}

/// A site that is looked at through `resolver` before Pebble, which asks `world`, looks.
fn node(world: &Bind, resolver: &Bind, terms: &str) -> (Site, Pebble) {
    let site = Site::new("");
    let pebble = Pebble::with(&Settings { dns: Some(world.port()), ..Settings::checking(site.port(1), site.port(2)) });
    site.rewrite(&http(
        "server { listen 127.0.0.1:%port1%; listen 127.0.0.1:%port2% ssl; server_name shop.test;
            acme_certificate test; location / { return 200 hello; } }",
    ));
    let own = format!(
        "state_path %dir%/state; acme_resolver {}; public_address 127.0.0.1 via=127.0.0.1:%port1%;\n\
         acme_issuer test {{ uri {}; ssl_trusted_certificate {}; accept_terms_of_service; challenge http-01; {terms} }}\n",
        resolver.address(),
        pebble.directory(),
        pebble.trusted(),
    );
    site.file("semper.conf", site.fill(&own));
    (site, pebble)
}

#[test]
fn a_cause_is_named_costs_no_validation_and_its_end_is_seen_before_the_next_attempt_is_due() {
    let bind = Bind::start(&[("shop.test", "")]);
    let (site, pebble) = node(&bind, &bind, "retry_interval 40s;");
    let server = Semper::serve(&site);
    let begun = Instant::now();
    wait_for("the cause", PATIENCE, || {
        server.complaints().contains("not asked for now: shop.test has no address in DNS")
    });
    assert_eq!(pebble.orders(), 0);
    bind.update("shop.test", "update add shop.test 1 A 127.0.0.1");
    let tls = Tls::trusting(&pebble.root());
    wait_for("the certificate", PATIENCE * 2, || tls.chain(server.port(2), "shop.test").is_ok());
    assert!(begun.elapsed() < Duration::from_secs(33), "{:?}: {}", begun.elapsed(), server.complaints());
    assert!(server.complaints().contains("what stood in the way is gone"));
    assert_eq!(pebble.orders(), 1);
}

#[test]
fn what_is_seen_from_here_alone_holds_nobody_back_for_ever() {
    let world = Bind::start(&[("shop.test", "@ IN A 127.0.0.1\n")]);
    // A resolver that knows nothing of the name: a split horizon.
    let inside = Bind::start(&[("shop.test", "")]);
    let (site, pebble) = node(&world, &inside, "retry_interval 1s;");
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    wait_for("the certificate", PATIENCE * 2, || tls.chain(server.port(2), "shop.test").is_ok());
    assert!(server.complaints().matches("has no address in DNS").count() >= 2, "{}", server.complaints());
    assert_eq!(pebble.orders(), 1);
}

#[test]
fn a_resolver_that_is_down_delays_an_order_by_seconds() {
    let world = Bind::start(&[("shop.test", "@ IN A 127.0.0.1\n")]);
    let gone = Bind::start(&[]);
    let (site, pebble) = node(&world, &gone, "");
    drop(gone);
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    wait_for("the certificate", PATIENCE, || tls.chain(server.port(2), "shop.test").is_ok());
    assert!(!server.complaints().contains("not asked for now"), "{}", server.complaints());
}

#[test]
fn every_name_of_a_large_certificate_is_looked_at() {
    let names: Vec<String> = (0..150).map(|n| format!("n{n}")).collect();
    let zone: String = names.iter().filter(|n| *n != "n140").map(|name| format!("{name} IN A 127.0.0.1\n")).collect();
    let bind = Bind::start(&[("shop.test", &zone)]);
    let (site, pebble) = node(&bind, &bind, "");
    let all: Vec<String> = names.iter().map(|name| format!("{name}.shop.test")).collect();
    let conf = site.read("nginx.conf").replace("server_name shop.test;", &format!("server_name {};", all.join(" ")));
    site.file("nginx.conf", conf);
    let server = Semper::serve(&site);
    wait_for("the cause", PATIENCE, || {
        server.complaints().contains("not asked for now: n140.shop.test has no address in DNS;")
    });
    assert_eq!(pebble.orders(), 0);
}

#[test]
fn what_the_operator_says_wrongly_about_the_way_from_outside_is_refused_with_its_line() {
    for (line, words) in [
        ("fronted_by example.com;", "names neither a CDN nor a network"),
        ("fronted_by cdn 203.0.113.0/33;", "invalid network \"203.0.113.0/33\""),
        ("fronted_by cdn 2001:db8::zz/32;", "invalid network"),
        ("fronted_by cdn -bad-.example.com;", "invalid domain name \"-bad-.example.com\""),
        ("public_address 203.0.113.7 tls_via=nowhere;", "invalid parameter \"tls_via=nowhere\""),
        ("skip_checks cnames;", "unknown check \"cnames\": reach, ipv6, caa, cdn, cname or all"),
    ] {
        let site = Site::new(&http("server { listen 127.0.0.1:%port1%; }"));
        site.file("semper.conf", format!("\n{line}\n"));
        let (dir, conf) = (site.dir().display().to_string(), site.conf().display().to_string());
        let output = Semper::run(&["-t", "-p", &dir, "-c", &conf, "-e", "stderr"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words) && said.contains("semper.conf:2"), "{line}: {said}");
        site.file(
            "semper.conf",
            "fronted_by big cdn 203.0.113.0/24 2001:db8::/32 shop.example.com; skip_checks cname;\n",
        );
        assert!(Semper::run(&["-t", "-p", &dir, "-c", &conf, "-e", "stderr"]).status.success());
    }
}
