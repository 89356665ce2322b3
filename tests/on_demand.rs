//! Names that stand nowhere in the configuration, against real Pebble: who is let in, who is not, what a flood costs, what an
//! `ask` that hangs, fails or lies does, what a restart costs, and what `explain` says to a tenant.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bed::bind::Bind;
use bed::ca::Ca;
use bed::client::{Tls, curl, serial};
use bed::pebble::Pebble;
use bed::server::{Semper, Server, Site, http, main};
use bed::{root, wait_for, wait_some};
use rustls::ClientConnection;

const LONG: Duration = Duration::from_secs(60);

/// Whoever has to allow names: answers by the first label of the name, and remembers what it was asked.
struct Ask {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    mood: Arc<AtomicU8>,
}

/// As the first label says.
const PLAIN: u8 = 0;
/// Hangs up on everybody.
const DOWN: u8 = 1;
/// Refuses everybody.
const SOUR: u8 = 2;

impl Ask {
    fn start() -> Ask {
        Ask::at(0)
    }

    fn at(port: u16) -> Ask {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let mood = Arc::new(AtomicU8::new(PLAIN));
        let (seen, mind) = (heard.clone(), mood.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, seen, mood) = (stream.unwrap(), seen.clone(), mind.load(Ordering::SeqCst));
                std::thread::spawn(move || answer(stream, &seen, mood));
            }
        });
        Ask { port, heard, mood }
    }

    fn be(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, heard: &Mutex<Vec<String>>, mood: u8) {
    if mood == DOWN {
        return;
    }
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => head.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().unwrap().push(target.clone());
    let name = target.rsplit_once("domain=").map_or("", |(_, name)| name);
    let reply = match name {
        name if name.starts_with("hang") => {
            std::thread::sleep(Duration::from_secs(600));
            return;
        }
        name if name.starts_with("fail") => "HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nour fault".to_owned(),
        name if name.starts_with("moved") => {
            "HTTP/1.1 302 Found\r\nLocation: /yes\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        name if name.starts_with("garbage") => "yes\r\n".to_owned(),
        name if name.starts_with("huge") => format!("HTTP/1.1 404 No\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)),
        name if mood == PLAIN && (name.starts_with("shop") || name.starts_with("lost")) => {
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        _ => "HTTP/1.1 403 No\r\nContent-Length: 12\r\n\r\nno such shop".to_owned(),
    };
    let _ = stream.write_all(reply.as_bytes());
}

/// A node with one name of its own (`known.example.com`) and a default server for all others; `terms` go into
/// `acme_on_demand`.
fn site(issuer: &str, terms: &str) -> Site {
    let site = Site::new(&http(
        "server { listen 127.0.0.1:%port1%; location / { return 200 plain; } }
         server { listen 127.0.0.1:%port2% ssl; server_name known.example.com;
            acme_certificate test; location / { return 200 known; } }
         # nginx would not start without the second line.
         server { listen 127.0.0.1:%port2% ssl default_server; server_name _;
            ssl_reject_handshake on;
            location / { default_type text/plain; return 200 \"hello $host\\n\"; } }",
    ));
    let own = format!(
        "state_path %dir%/state;\nacme_issuer test {{ {issuer} }}\nacme_on_demand {{ issuer test; {terms} }}\n"
    );
    site.file("semper.conf", site.fill(&own));
    site
}

/// The same with certificates from Pebble.
fn with_pebble(challenge: &str, terms: &str) -> (Site, Pebble) {
    let site = site("uri internal;", terms);
    let pebble = Pebble::start(site.port(1), site.port(2));
    let text = site.read("semper.conf").replace(
        "uri internal;",
        &format!(
            "uri {}; ssl_trusted_certificate {}; accept_terms_of_service; challenge {challenge}; retry_interval 1s;",
            pebble.directory(),
            pebble.trusted()
        ),
    );
    site.file("semper.conf", format!("skip_checks all;\n{text}"));
    (site, pebble)
}

fn certified(server: &Server, tls: &Tls, name: &str) -> String {
    let chain = wait_some(&format!("a certificate for {name}"), LONG, || tls.chain(server.port(2), name).ok());
    serial(&chain[0])
}

/// What a handshake for a name that is not held ends with.
fn is_refused(server: &Server, name: &str) -> bool {
    let error = Tls::blind().connect(server.port(2), name).map(drop);
    matches!(error, Err(error) if error.to_string().contains("UnrecognisedName"))
}

fn explain(site: &Site, name: &str) -> String {
    let state = site.dir().join("state").display().to_string();
    let Output { stdout, stderr, .. } = Semper::run(&["explain", name, "--state", &state]);
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

fn explained(site: &Site, name: &str) -> serde_json::Value {
    let state = site.dir().join("state").display().to_string();
    let out = Semper::run(&["explain", name, "--json", "--state", &state]);
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn an_allowed_name_is_live_after_its_first_connections_and_a_restart_orders_nothing() {
    let ask = Ask::start();
    let (site, pebble) = with_pebble("http", &format!("ask http://127.0.0.1:{}/may?key=1;", ask.port));
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    certified(&server, &tls, "known.example.com");
    assert!(is_refused(&server, "refused.customers.com"), "and not the placeholder: nothing is signed for strangers");
    let first = certified(&server, &tls, "shop.customers.com");
    let trusted = site.file("root.pem", pebble.root()).display().to_string();
    let port = server.port(2);
    let resolve = format!("shop.customers.com:{port}:127.0.0.1");
    let out = curl(&["--cacert", &trusted, "--resolve", &resolve, &format!("https://shop.customers.com:{port}/")]);
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "hello shop.customers.com\n",
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(tls.get(port, "known.example.com", "/").unwrap().text(), "known");
    // Asked once, in Caddy's words, and by nobody's redirect.
    wait_for("the no", LONG, || explain(&site, "refused.customers.com").contains("NOT OBTAINED"));
    let heard = ask.heard();
    assert_eq!(heard.iter().filter(|t| t.ends_with("shop.customers.com")).count(), 1, "{heard:?}");
    assert!(heard.contains(&"/may?key=1&domain=shop.customers.com".to_owned()), "{heard:?}");
    for garbage in ["localhost", "a_b.customers.com", "ab--c.customers.com", "db.internal", "printer.local"] {
        assert!(is_refused(&server, garbage), "{garbage}");
    }
    assert_eq!(pebble.orders(), 2);
    // `status` and `explain` know it.
    let state = site.dir().join("state").display().to_string();
    let status = String::from_utf8(Semper::run(&["status", "--state", &state]).stdout).unwrap();
    assert!(status.contains("shop.customers.com") && status.contains("on demand"), "{status}");
    let said = explain(&site, "shop.customers.com");
    assert!(said.contains("held and live") && said.contains("\"ask\" said yes"), "{said}");
    assert!(!ask.heard().iter().any(|target| target.contains("local") || target.contains("internal")));

    // Another semper, and nobody to ask: what is held is served from its first moment.
    drop(server);
    let text = site.read("semper.conf").replace(&format!("127.0.0.1:{}/", ask.port), "127.0.0.1:1/");
    site.file("semper.conf", text);
    let server = Semper::serve(&site);
    assert_eq!(serial(&tls.chain(server.port(2), "shop.customers.com").unwrap()[0]), first);
    assert!(is_refused(&server, "shop2.customers.com"));
    wait_for("the silence", LONG, || explain(&site, "shop2.customers.com").contains("gave no answer"));
    assert_eq!(pebble.orders(), 2, "a restart places no order");
    // A reload takes nothing away either.
    let conf = std::fs::read_to_string(site.conf()).unwrap();
    server.reload(&conf);
    server.wait_for_line("error.log", "reconfiguring");
    for _ in 0..20 {
        assert!(tls.chain(server.port(2), "shop.customers.com").is_ok());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_name_on_demand_is_validated_by_tls_alpn_01_too() {
    let (site, pebble) = with_pebble("tls-alpn", "allow .sites.example.com;");
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    certified(&server, &tls, "a.sites.example.com");
    assert!(is_refused(&server, "a.other.example.com"));
    let said = explain(&site, "a.other.example.com");
    assert!(said.contains("not on the allow-list"), "{said}");
    assert!(explain(&site, "b.sites.example.com").contains("nobody has asked for it yet; it is on the allow-list"));
}

#[test]
fn an_ask_that_hangs_fails_lies_or_babbles_lets_nobody_in_and_is_named() {
    let ask = Ask::start();
    let terms = format!("ask http://127.0.0.1:{}/ timeout=1s no=1s; overall 2/1h; per_client 100/1h;", ask.port);
    let site = site("uri internal;", &terms);
    let server = Semper::serve(&site);
    for (name, words) in [
        ("hang.customers.com", "gave no answer: no answer within 1s"),
        ("fail.customers.com", "gave no answer: status 500: our fault"),
        ("moved.customers.com", "gave no answer: status 302: it redirects to /yes, which is not followed"),
        ("garbage.customers.com", "gave no answer: not an answer in HTTP"),
        ("huge.customers.com", "gave no answer: not an answer in HTTP"),
        ("other.customers.com", "refused it: status 403: no such shop"),
    ] {
        assert!(is_refused(&server, name), "{name}");
        wait_for(name, LONG, || explain(&site, name).contains(words));
        assert!(is_refused(&server, name), "{name}");
    }
    assert!(!ask.heard().iter().any(|target| target == "/yes"));
    let json = explained(&site, "other.customers.com");
    assert_eq!(json["on_demand"]["standing"]["state"], "refused");
    assert_eq!(json["on_demand"]["standing"]["why"]["no"], "status 403: no such shop");
    assert_eq!(json["on_demand"]["live"], false);
    // One that says yes to whatever comes is held to the rate.
    for name in ["shop1.customers.com", "shop2.customers.com"] {
        wait_for(name, LONG, || Tls::blind().connect(server.port(2), name).is_ok());
    }
    assert!(is_refused(&server, "shop3.customers.com"));
    wait_for("the rate", LONG, || explain(&site, "shop3.customers.com").contains("(overall)"));
    assert!(!ask.heard().iter().any(|target| target.ends_with("shop3.customers.com")));
    // A question that hangs has held up nobody.
    assert_eq!(
        Tls::blind().get(server.port(2), "shop1.customers.com", "/").unwrap().text(),
        "hello shop1.customers.com\n"
    );
}

#[test]
fn a_held_name_is_renewed_while_ask_is_silent_and_no_longer_when_it_stays_with_its_no() {
    let ask = Ask::start();
    let terms = format!("ask http://127.0.0.1:{}/ yes=1s no=1s;", ask.port);
    let site = site("uri internal; leaf_lifetime 12s;", &terms);
    let server = Semper::serve(&site);
    let shop = "shop.customers.com";
    let shown = || serial(&Tls::blind().chain(server.port(2), shop).unwrap()[0]);
    assert!(is_refused(&server, shop));
    wait_for("the first one", LONG, || explain(&site, shop).contains("held and live"));
    ask.be(DOWN);
    wait_for("the silence", LONG, || explain(&site, shop).contains("that changes nothing"));
    let first = shown();
    wait_for("a renewal under silence", LONG, || shown() != first);
    ask.be(SOUR);
    wait_for("the end of its renewal", LONG, || explain(&site, shop).contains("renewed no more"));
    // A renewal that had begun may still end; half a life later another one would be due.
    std::thread::sleep(Duration::from_secs(2));
    let stays = shown();
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(shown(), stays);
    assert!(explain(&site, shop).contains("no such shop"));
    // The tenant pays again.
    ask.be(PLAIN);
    wait_for("its renewal", LONG, || shown() != stays);
    assert!(!explain(&site, shop).contains("renewed no more"));
}

#[test]
fn a_reload_without_it_takes_names_away_and_one_with_it_gives_them_back_unchanged() {
    let site = site("uri internal;", "allow .sites.example.com;");
    let server = Semper::serve(&site);
    let name = "a.sites.example.com";
    assert!(is_refused(&server, name));
    wait_for("the certificate", LONG, || explain(&site, name).contains("held and live"));
    let shown = || Tls::blind().chain(server.port(2), name).map(|chain| serial(&chain[0]));
    let (first, with) = (shown().unwrap(), site.read("semper.conf"));
    let without = with.split("acme_on_demand").next().unwrap().to_owned();
    let conf = std::fs::read_to_string(site.conf()).unwrap();
    site.file("semper.conf", &without);
    server.reload(&conf);
    wait_for("its end", LONG, || is_refused(&server, name));
    assert!(explain(&site, name).contains("no certificate here is for this name"));
    site.file("semper.conf", &with);
    server.reload(&conf);
    assert_eq!(wait_some("its return", LONG, || shown().ok()), first);
}

#[test]
fn ask_is_believed_over_https_only_by_its_own_roots() {
    let ca = Ca::new("inside");
    let pair = ca.issue(&["localhost"]);
    let keys = Site::new("");
    keys.file("ask.pem", &pair.chain);
    keys.file("ask.key", &pair.key);
    keys.file("root.pem", ca.pem());
    keys.rewrite(&http(
        "server { listen 127.0.0.1:%port1% ssl; ssl_certificate %dir%/ask.pem; ssl_certificate_key %dir%/ask.key;
            location / { return 200; } }",
    ));
    let service = Semper::serve(&keys);
    let url = format!("ask https://localhost:{}/x", service.port(1));
    let right = site("uri internal;", &format!("{url} trusted={}/root.pem;", keys.dir().display()));
    let wrong = site("uri internal;", &format!("{url};"));
    let (trusts, doubts) = (Semper::serve(&right), Semper::serve(&wrong));
    assert!(is_refused(&trusts, "shop.customers.com") && is_refused(&doubts, "shop.customers.com"));
    wait_for("the yes", LONG, || explain(&right, "shop.customers.com").contains("held and live"));
    wait_for("the doubt", LONG, || {
        explain(&wrong, "shop.customers.com").contains("gave no answer: invalid peer certificate")
    });
}

/// Sends a hello for `name` and reads what comes back first.
fn knock(config: &Arc<rustls::ClientConfig>, port: u16, name: &str) -> Vec<u8> {
    let mut session = ClientConnection::new(config.clone(), name.to_owned().try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&hello).unwrap();
    let mut back = [0; 7];
    let length = stream.read(&mut back).unwrap();
    back[..length].to_vec()
}

#[test]
fn a_flood_of_ten_thousand_garbage_names_orders_nothing_and_delays_no_known_name() {
    let ask = Ask::start();
    let (site, pebble) = with_pebble("http", &format!("ask http://127.0.0.1:{}/; per_client 10/1h;", ask.port));
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    certified(&server, &tls, "known.example.com");
    let (orders, port, before) = (pebble.orders(), server.port(2), server.resident());
    let (mut worst, mut known) = (Duration::ZERO, 0);
    std::thread::scope(|scope| {
        let flood = |from: usize| {
            let config = Tls::blind().config();
            move || {
                for n in (from..10_000).step_by(2) {
                    let name = match n % 5 {
                        0 => format!("g{n}.customers.com"),
                        1 => format!("xn--{n}.customers.com"),
                        2 => format!("under_{n}.customers.com"),
                        3 => format!("g{n}.internal"),
                        _ => format!("{n}.{}com", "a.".repeat(100)),
                    };
                    // The fatal alert `unrecognized_name`, and not one byte of a signature.
                    assert_eq!(knock(&config, port, &name), [21, 3, 3, 0, 2, 2, 112], "{name}");
                }
            }
        };
        let floods = [scope.spawn(flood(0)), scope.spawn(flood(1))];
        while !floods.iter().all(|flood| flood.is_finished()) {
            let begun = Instant::now();
            assert_eq!(tls.get(port, "known.example.com", "/").unwrap().text(), "known");
            worst = worst.max(begun.elapsed());
            known += 1;
        }
    });
    assert!(known >= 10 && worst < Duration::from_secs(5), "{known} answers, the slowest after {worst:?}");
    assert_eq!(pebble.orders(), orders, "no order");
    assert!(ask.heard().len() <= 10, "{:?}", ask.heard());
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    let said = explain(&site, "g9995.customers.com");
    assert!(said.contains("too many new names") || said.contains("nobody has asked"), "{said}");
}

#[test]
fn explain_tells_a_tenant_what_stands_between_him_and_his_certificate() {
    let bind = Bind::start(&[("customers.com", "shop IN A 127.0.0.1\n")]);
    let ask = Ask::start();
    let (site, pebble) = with_pebble("http", &format!("ask http://127.0.0.1:{}/;", ask.port));
    let text = site.read("semper.conf").replace(
        "skip_checks all;",
        &format!("acme_resolver {}; public_address 127.0.0.1 via=127.0.0.1:{};", bind.address(), site.port(1)),
    );
    site.file("semper.conf", text);
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    let words = "nobody has asked for it yet; \"ask\" decides";
    wait_for("its words", LONG, || explain(&site, "shop.customers.com").contains(words));
    let fresh = explain(&site, "shop.customers.com");
    assert!(fresh.contains("connect to https://shop.customers.com/ once"), "{fresh}");
    certified(&server, &tls, "shop.customers.com");
    assert!(explain(&site, "shop.customers.com").contains("held and live"));
    // Allowed, but its DNS leads nowhere: no validation is spent, and the reason is named.
    is_refused(&server, "lost.customers.com");
    wait_for("the cause", LONG, || {
        let said = explain(&site, "lost.customers.com");
        said.contains("NOT LIVE YET") && said.contains("lost.customers.com has no address in DNS")
    });
    let json = explained(&site, "lost.customers.com");
    assert_eq!(json["on_demand"]["standing"]["state"], "held", "{json}");
    assert_eq!(json["on_demand"]["leads"]["here"], false, "{json}");
    assert!(json["on_demand"]["advice"][0].as_str().unwrap().contains("let lost.customers.com lead here"), "{json}");
    assert!(explain(&site, "10.0.0.1").contains("it is an address and no name"));
    assert!(explain(&site, "*.customers.com").contains("it is a wildcard"));
    assert!(!explain(&site, "known.example.com").contains("acme_on_demand"), "a name of the configuration is none");
}

#[test]
fn without_ask_or_allow_it_does_not_start() {
    let judged = |block: &str| {
        let issuer = "acme_issuer test { uri internal; }";
        let server = "http { server { listen 127.0.0.1:1 ssl; server_name _; return 204; } }";
        let site = Site::new(&main(&format!("{issuer} acme_on_demand {{ {block} }} {server}")));
        let conf = site.conf().display().to_string();
        let out = Semper::run(&["-t", "--offline", "-c", &conf, "-e", "stderr"]);
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    for (block, words) in [
        ("issuer test;", "\"acme_on_demand\" needs \"ask\" or \"allow\""),
        ("allow .example.com;", "\"issuer\" is missing in \"acme_on_demand\""),
        ("issuer other; allow .example.com;", "unknown acme_issuer \"other\""),
        ("issuer test; allow .com;", "invalid parameter \".com\""),
        ("issuer test; allow *;", "invalid parameter \"*\""),
        ("issuer test; ask ftp://a.example/;", "invalid URL \"ftp://a.example/\" in \"ask\""),
        ("issuer test; ask http://a.example/ timeout=1h;", "invalid parameter \"timeout=1h\""),
        ("issuer test; allow .example.com; per_client 0/1h;", "invalid parameter \"0/1h\""),
        ("issuer test; allow .example.com; servers nobody.example;", "no server has the name \"nobody.example\""),
        ("issuer test; allow .example.com; issuer test;", "\"issuer\" directive is duplicate"),
        ("issuer test; allow .example.com; forget 5m;", "\"forget\" must be an hour or more"),
    ] {
        let (good, said) = judged(block);
        assert!(!good && said.contains("[emerg]") && said.contains(words), "{block}: {said}");
    }
    let (good, said) = judged("issuer test key=rsa; allow .example.com shop.example.org; servers _; names 5;");
    assert!(good, "{said}");
}

#[test]
fn the_sample_serves_a_customer() {
    let ask = Ask::start();
    let site = Site::new("");
    let pebble = Pebble::start(site.port(1), site.port(2));
    let mut conf = std::fs::read_to_string(root().join("config/on-demand.conf")).unwrap();
    let user = if nix::unistd::getuid().is_root() { "user root;" } else { "" };
    for (theirs, ours) in [
        ("user www-data;", user.to_owned()),
        ("worker_processes auto;", "worker_processes 2;".to_owned()),
        ("/run/semper.pid", "%dir%/pid".to_owned()),
        ("/var/log/semper/", "%dir%/".to_owned()),
        ("listen 443 ssl", "listen 127.0.0.1:%port2% ssl".to_owned()),
        ("listen 80 default_server", "listen 127.0.0.1:%port1% default_server".to_owned()),
        ("127.0.0.1:3000", format!("127.0.0.1:{}", ask.port)),
        ("contact ops@platform.example;", format!("ssl_trusted_certificate {};", pebble.trusted())),
        ("https://acme-v02.api.letsencrypt.org/directory", pebble.directory()),
    ] {
        assert!(conf.contains(theirs), "the sample lost `{theirs}`");
        conf = conf.replace(theirs, &ours);
    }
    site.rewrite(&conf);
    site.file("semper.conf", site.fill("state_path %dir%/state; skip_checks all;\n"));
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&pebble.root());
    certified(&server, &tls, "shop.customers.com");
    certified(&server, &tls, "a.sites.platform.example");
    assert!(ask.heard().contains(&"/internal/domain?domain=shop.customers.com".to_owned()));
    assert!(is_refused(&server, "other.customers.com"));
}
