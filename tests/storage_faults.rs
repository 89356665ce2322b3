//! What does a bad disk cost? Real semper processes: killed at random moments while certificates are renewed, on a full
//! file system, on one that may only be read, with damaged bundles and torn journals, on a state path of another format.
//! A start takes less than a second, a valid certificate is served, nothing that was held is lost.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bed::client::{Tls, serial};
use bed::namespace::{inside, run};
use bed::origin::{Origin, Reply};
use bed::pebble::Pebble;
use bed::server::{Semper, Server, Site, http};
use bed::{PATIENCE, free_port, wait_for, wait_some};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LONG: Duration = Duration::from_secs(60);
const NAME: &str = "a.test";

/// A small generator, so that a failing run can be repeated from its printed seed.
struct Draws(u64);

impl Draws {
    fn new() -> Draws {
        let seed = std::env::var("SEMPER_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_122);
        println!("seed {seed}");
        Draws(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One name, its certificate from the built-in authority.
fn internal(life: &str) -> Site {
    site(&format!("uri internal; leaf_lifetime {life};"))
}

/// The same from Pebble.
fn public(pebble: &Pebble, http_port: u16) -> Site {
    let site = site(&format!(
        "uri {}; ssl_trusted_certificate {}; challenge http; accept_terms_of_service;",
        pebble.directory(),
        pebble.trusted()
    ));
    let listen = format!("state_path {}/state;\nacme_challenge_listen 127.0.0.1:{http_port};\n", site.dir().display());
    site.file("semper.conf", listen);
    site
}

fn site(issuer: &str) -> Site {
    let site = Site::new(&http(&format!(
        "acme_issuer own {{ {issuer} }}
        server {{ listen 127.0.0.1:%port1% ssl; server_name {NAME}; acme_certificate own;
            ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 fine; }}"
    )));
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    site
}

fn state(site: &Site) -> PathBuf {
    site.dir().join("state")
}

/// Every regular file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            all.extend(files(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all.sort();
    all
}

/// The one file of the state path with this name.
fn kept(site: &Site, name: &str) -> PathBuf {
    let found = files(&state(site)).into_iter().find(|path| path.file_name().is_some_and(|own| own == name));
    found.unwrap_or_else(|| panic!("no {name} in {:?}", files(&state(site))))
}

/// The chain that is served, if it is real: more than a placeholder, and in force.
fn served(port: u16) -> Option<Vec<rustls::pki_types::CertificateDer<'static>>> {
    let chain = Tls::blind().chain(port, NAME).ok().filter(|chain| chain.len() > 1)?;
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).ok()?;
    leaf.validity().is_valid().then_some(()).map(|()| chain.clone())
}

fn certified(server: &Server) -> String {
    let chain = wait_some(&format!("a certificate\n{}", server.complaints()), LONG, || served(server.port(1)));
    serial(&chain[0])
}

fn root_of(server: &Server) -> String {
    serial(served(server.port(1)).unwrap().last().unwrap())
}

fn kill_all(server: &mut Server) {
    let process = server.process();
    for id in process.children().into_iter().chain([process.id()]) {
        let _ = kill(Pid::from_raw(i32::try_from(id).unwrap()), Signal::SIGKILL);
    }
    wait_for("the end", PATIENCE, || server.process().ended().is_some());
}

/// Starts on what is there; the time until a valid certificate was served.
fn timed(site: &Site) -> (Server, Duration) {
    let begun = Instant::now();
    let server = Semper::serve(site);
    wait_for(&format!("a valid certificate\n{}", server.complaints()), LONG, || served(site.port(1)).is_some());
    (server, begun.elapsed())
}

/// How many kills; the full number behind `make kills`.
fn kills() -> u32 {
    std::env::var("SEMPER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12)
}

#[test]
fn kills_at_random_moments_of_renewals_lose_nothing() {
    let mut draws = Draws::new();
    let site = internal("4s");
    let mut server = Semper::serve(&site);
    certified(&server);
    let root = root_of(&server);
    let mut slowest = Duration::ZERO;
    let mut before = epoch(&site);
    for turn in 0..kills() {
        std::thread::sleep(Duration::from_millis(draws.below(2500))); // the moment is the subject of the test
        kill_all(&mut server);
        drop(server);
        let now = epoch(&site);
        assert!(now >= before, "turn {turn}: generation {now} after {before}");
        before = now;
        let took;
        (server, took) = timed(&site);
        slowest = slowest.max(took);
        assert_eq!(root_of(&server), root, "turn {turn}: another root\n{}", server.complaints());
        let torn: Vec<_> =
            files(&state(&site)).into_iter().filter(|path| path.metadata().is_ok_and(|m| m.len() == 0)).collect();
        assert!(torn.iter().all(|path| path.ends_with("LOCK") || is_temporary(path)), "turn {turn}: {torn:?}");
    }
    println!("{} kills, slowest start until a valid certificate was served {slowest:?}", kills());
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    let left = files(&state(&site)).into_iter().filter(|path| is_temporary(path)).count();
    assert!(left < 8, "temporary files pile up: {:?}", files(&state(&site)));
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    name.starts_with('.') || name.contains("tmp")
}

/// The newest generation on disk.
fn epoch(site: &Site) -> u64 {
    let number = |path: PathBuf| path.file_stem()?.to_str()?.parse().ok();
    files(&state(site)).into_iter().filter_map(number).max().unwrap_or(0)
}

#[test]
fn damaged_bundles_and_torn_journals_cost_one_generation_at_most() {
    let http_port = free_port();
    let pebble = Pebble::start(http_port, free_port());
    let site = public(&pebble, http_port);
    let server = Semper::serve(&site);
    let first = certified(&server);
    // A second generation, so that there is an older one.
    let renewed = Semper::run(&["renew", NAME, "--state", state(&site).to_str().unwrap()]);
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    let second = wait_some("a second generation", LONG, || {
        served(server.port(1)).map(|chain| serial(&chain[0])).filter(|now| *now != first)
    });
    wait_for("the second generation on disk", PATIENCE, || epoch(&site) == 2);
    drop(server);

    // Torn journals: the bundle leads.
    for (name, text) in [("stage.json", "{\"version\":1,\"sta"), ("stage.json", ""), ("order.json", "\0\0\0\0")] {
        let folder = kept(&site, "bundle.pem").parent().unwrap().to_owned();
        std::fs::write(folder.join(name), text).unwrap();
        let (server, took) = timed(&site);
        assert_eq!(certified(&server), second, "after a torn {name}");
        println!("start with a torn {name}: {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert_eq!(pebble.issued(), 2, "no certificate is ordered for a torn journal");

    // The bundle in force is damaged: the generation before it is served, and no order is placed for it.
    let bundle = kept(&site, "bundle.pem");
    std::fs::remove_file(&bundle).unwrap();
    std::fs::write(&bundle, "-----BEGIN PRIV").unwrap();
    std::fs::write(bundle.with_file_name("2.pem"), "").unwrap();
    let (server, took) = timed(&site);
    println!("start with a damaged bundle: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(certified(&server), first, "{}", server.complaints());
    assert!(server.complaints().contains("bundle.pem"), "{}", server.complaints());
    drop(server);

    // All of them: a new one comes.
    for path in files(bundle.parent().unwrap()) {
        std::fs::write(path, "rot").unwrap();
    }
    let server = Semper::serve(&site);
    certified(&server);
    assert_eq!(pebble.issued(), 3, "{}", server.complaints());
    drop(server);

    // The account's key and the account: a new account, and what is held is served meanwhile.
    std::fs::write(kept(&site, "shared.key"), "-----BEGIN PRIVATE KEY-----\nrot").unwrap();
    std::fs::write(kept(&site, "own.json"), "{").unwrap();
    let (server, _) = timed(&site);
    let held = certified(&server);
    Semper::run(&["renew", NAME, "--state", state(&site).to_str().unwrap()]);
    wait_for(&format!("a renewal with a new account\n{}", server.complaints()), LONG, || {
        served(server.port(1)).is_some_and(|chain| serial(&chain[0]) != held)
    });
}

#[test]
fn a_state_path_of_another_format_is_not_touched_and_no_certificate_is_ordered_at_each_start() {
    let http_port = free_port();
    let pebble = Pebble::start(http_port, free_port());
    let site = public(&pebble, http_port);
    let server = Semper::serve(&site);
    let first = certified(&server);
    wait_for("it to be kept", PATIENCE, || epoch(&site) == 1);
    drop(server);
    std::fs::write(state(&site).join("FORMAT"), "semper state 99\n").unwrap();
    let before: Vec<_> = files(&state(&site)).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    let mut serials = Vec::new();
    for _ in 0..3 {
        let (server, took) = timed(&site);
        println!("start on another format: {took:?}");
        serials.push(certified(&server));
        assert!(server.complaints().contains("is not a state path of this version"), "{}", server.complaints());
    }
    assert!(pebble.issued() <= 2, "{} certificates for three starts: {serials:?}, first {first}", pebble.issued());
    for (content, path) in before {
        assert_eq!(std::fs::read(&path).unwrap(), content, "{} was touched", path.display());
    }
}

/// A file system of its own at the state path, with what `site` has there.
fn mount(site: &Site, options: &str) {
    let path = state(site);
    std::fs::create_dir_all(&path).unwrap();
    run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", path.to_str().unwrap()]);
}

fn fill(path: &Path) {
    let mut size = 1 << 16;
    let mut file = std::fs::File::create(path).unwrap();
    while size > 0 {
        if file.write_all(&vec![b'x'; size]).is_err() {
            size /= 2;
        }
    }
}

#[test]
fn a_full_disk_stops_no_certificate_and_what_was_issued_is_kept_when_there_is_room() {
    if !inside("a_full_disk_stops_no_certificate_and_what_was_issued_is_kept_when_there_is_room") {
        return;
    }
    let http_port = free_port();
    let pebble = Pebble::start(http_port, free_port());
    let site = public(&pebble, http_port);
    mount(&site, "size=256k,mode=700");
    let ballast = state(&site).join("ballast");
    fill(&ballast);
    // First issuance: nothing can be kept, the certificate comes all the same.
    let server = Semper::serve(&site);
    let first = certified(&server);
    assert!(server.complaints().contains("No space left on device"), "{}", server.complaints());
    std::fs::remove_file(&ballast).unwrap();
    wait_for("it to be kept", LONG, || epoch(&site) == 1);
    drop(server);
    let (server, took) = timed(&site);
    println!("start after the disk was full: {took:?}");
    assert_eq!((certified(&server), pebble.issued()), (first.clone(), 1));
    // A renewal.
    fill(&ballast);
    Semper::run(&["renew", NAME, "--state", state(&site).to_str().unwrap()]);
    let second = wait_some("a renewal on a full disk", LONG, || {
        served(server.port(1)).map(|chain| serial(&chain[0])).filter(|now| *now != first)
    });
    drop(server);
    // And a start on it: the old generation was never given up for one that could not be written.
    let (server, took) = timed(&site);
    println!("start on a full disk: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let now = certified(&server);
    assert!(now == first || now == second);
}

#[test]
fn a_disk_that_may_only_be_read_stops_no_certificate() {
    if !inside("a_disk_that_may_only_be_read_stops_no_certificate") {
        return;
    }
    let site = internal("90d");
    mount(&site, "size=1m,mode=700");
    let server = Semper::serve(&site);
    let first = certified(&server);
    wait_for("it to be kept", PATIENCE, || epoch(&site) == 1);
    drop(server);
    let path = state(&site);
    run("mount", &["-o", "remount,ro", path.to_str().unwrap()]);
    let (server, took) = timed(&site);
    println!("start on a read-only disk: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(certified(&server), first, "{}", server.complaints());
    drop(server);
    // Nothing on it at all.
    run("mount", &["-o", "remount,rw", path.to_str().unwrap()]);
    for entry in std::fs::read_dir(&path).unwrap().flatten() {
        let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
    }
    run("mount", &["-o", "remount,ro", path.to_str().unwrap()]);
    let server = Semper::serve(&site);
    certified(&server);
    assert!(server.complaints().contains("Read-only file system"), "{}", server.complaints());
}

#[test]
fn a_state_path_that_cannot_be_read_is_said_and_certificates_are_served() {
    if !inside("a_state_path_that_cannot_be_read_is_said_and_certificates_are_served") {
        return;
    }
    let site = internal("90d");
    let server = Semper::serve(&site);
    certified(&server);
    drop(server);
    // A file where a folder should be: not even the super-user can read below it.
    let path = state(&site);
    std::fs::rename(&path, site.dir().join("aside")).unwrap();
    std::fs::write(&path, "").unwrap();
    let server = Semper::serve(&site);
    certified(&server);
    assert!(server.complaints().contains("state"), "{}", server.complaints());
    drop(server);
    // Back in its place: nothing was lost.
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(site.dir().join("aside"), &path).unwrap();
    let (server, _) = timed(&site);
    assert_eq!(epoch(&site), 1, "{}", server.complaints());
}

#[test]
fn what_is_left_of_an_unreadable_state_path_is_served_and_restarts_order_nothing() {
    let http_port = free_port();
    let pebble = Pebble::start(http_port, free_port());
    let site = site(&format!(
        "uri {}; ssl_trusted_certificate {}; challenge http; accept_terms_of_service; limits orders=300/3h set=5/7d;",
        pebble.directory(),
        pebble.trusted()
    ));
    let path = state(&site);
    let more = format!("state_path {};\nacme_challenge_listen 127.0.0.1:{http_port};\n", path.display());
    site.file("semper.conf", more);
    let server = Semper::serve(&site);
    let first = certified(&server);
    wait_for("it to be kept", PATIENCE, || epoch(&site) == 1);
    drop(server);
    // Nobody can read a folder as a file, the super-user neither.
    std::fs::rename(path.join("FORMAT"), site.dir().join("FORMAT")).unwrap();
    std::fs::create_dir(path.join("FORMAT")).unwrap();
    let server = Semper::serve(&site);
    assert_eq!(certified(&server), first, "{}", server.complaints());
    drop(server);
    // And nothing is left of the certificate: it is not ordered with each start, but when somebody asks.
    std::fs::rename(path.join("certs"), site.dir().join("certs")).unwrap();
    for _ in 0..3 {
        let server = Semper::serve(&site);
        wait_for("the reason", PATIENCE, || server.complaints().contains("Put the state path in order"));
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(pebble.issued(), 1, "{}", server.complaints());
    }
    let server = Semper::serve(&site);
    let status = || format!("{:?}", Semper::run(&["status", "--state", path.to_str().unwrap()]));
    wait_for("the status to say it", PATIENCE, || status().contains("Put the state path in order"));
    Semper::run(&["renew", NAME, "--state", path.to_str().unwrap()]);
    assert_ne!(certified(&server), first);
    assert_eq!(pebble.issued(), 2);
    drop(server);
    // Put in order again, it has all that it had.
    std::fs::remove_dir(path.join("FORMAT")).unwrap();
    let _ = std::fs::remove_dir_all(path.join("certs"));
    std::fs::rename(site.dir().join("FORMAT"), path.join("FORMAT")).unwrap();
    std::fs::rename(site.dir().join("certs"), path.join("certs")).unwrap();
    let server = Semper::serve(&site);
    assert_eq!((certified(&server), pebble.issued()), (first, 2), "{}", server.complaints());
}

/// The answer's pace is the client's, and the upstream's the disk's: neither costs a byte.
#[test]
fn an_answer_that_no_longer_fits_the_disk_arrives_whole() {
    if !inside("an_answer_that_no_longer_fits_the_disk_arrives_whole") {
        return;
    }
    const LENGTH: usize = 48 << 20;
    let origin = Origin::start(|_| Reply::ok((0..LENGTH).map(|at| (at / 4096) as u8).collect::<Vec<_>>()));
    let site = Site::new(&http(&format!(
        "proxy_buffers 4 8k; server {{ listen 127.0.0.1:%port1%; location / {{ proxy_pass http://{}; }} }}",
        origin.address()
    )));
    let folder = site.dir().join("proxy");
    std::fs::create_dir(&folder).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=2m,mode=777", "tmpfs", folder.to_str().unwrap()]);
    let server = Semper::serve(&site);
    let mut client = TcpStream::connect(("127.0.0.1", server.port(1))).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    server.wait_for_line("error.log", "No space left on device");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(all.len() - head, LENGTH, "{}", server.complaints());
    assert!(all[head..].iter().enumerate().all(|(at, byte)| *byte == (at / 4096) as u8), "out of order");
}
