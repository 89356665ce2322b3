//! What does SIGKILL at any moment of an issuance cost? Never a key, never a certificate, and never a second certificate:
//! after a restart exactly one has been issued for the name, and it is served.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::{Duration, Instant};

use bed::client::Tls;
use bed::pebble::{Pebble, Settings};
use bed::server::{Semper, Site, http};
use bed::{PATIENCE, free_port, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many random moments. `SEMPER_KILLS` asks for more or fewer.
fn moments() -> u32 {
    std::env::var("SEMPER_KILLS").ok().and_then(|t| t.parse().ok()).unwrap_or(50)
}

/// A small generator, so that a failing run can be repeated from its printed seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn conf(pebble: &Pebble, http_port: u16, name: &str) -> String {
    http(&format!(
        "
    acme_issuer pebble {{
        uri {};
        ssl_trusted_certificate {};
        contact admin@site.test;
        accept_terms_of_service;
    }}
    server {{ listen 127.0.0.1:{http_port}; server_name {name}; return 204; }}
    server {{
        listen 127.0.0.1:%port2% ssl;
        server_name {name};
        acme_certificate pebble;
        ssl_certificate $acme_certificate;
        ssl_certificate_key $acme_certificate_key;
        return 200 served;
    }}",
        pebble.directory(),
        pebble.trusted()
    ))
}

#[test]
fn fifty_kills_during_issuance_lose_nothing_and_order_nothing_twice() {
    let seed = std::env::var("SEMPER_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_122);
    println!("seed {seed}");
    let mut draws = Draws(seed);
    let http_port = free_port();
    let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
    let trusted = Tls::trusting(&pebble.root());
    for moment in 0..moments() {
        let name = format!("n{moment}.site.test");
        let site = Site::new(&conf(&pebble, http_port, &name));
        site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
        let mut server = Semper::serve(&site);
        let pause = Duration::from_millis(draws.below(700));
        std::thread::sleep(pause); // the moment is the subject of the test
        let process = server.process();
        for id in process.children().into_iter().chain([process.id()]) {
            let _ = kill(Pid::from_raw(i32::try_from(id).unwrap()), Signal::SIGKILL);
        }
        wait_for("the end", PATIENCE, || server.process().ended().is_some());
        drop(server);

        let server = Semper::serve(&site);
        let begun = Instant::now();
        while !trusted.get(server.port(2), &name, "/").is_ok_and(|answer| answer.text() == "served") {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "no certificate after a kill at {pause:?} (moment {moment}):\n{}\n{}",
                server.complaints(),
                pebble.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(pebble.issued(), moment as usize + 1, "killed after {pause:?}:\n{}", server.complaints());
    }
}
