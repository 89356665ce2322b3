//! Do master and server process stand together? Signals, reloads, a killed server process, changes of workers, rights.
#![allow(clippy::unwrap_used)]

mod bed;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bed::ca::{Ca, Kind};
use bed::client::{Tls, exchange};
use bed::server::{Semper, Server, Site, http, semper_binary};
use bed::{PATIENCE, wait_for, write_private};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn page(text: &str) -> String {
    http(&format!("server {{ listen 127.0.0.1:%port1%; return 200 {text}; }}"))
}

fn body(server: &Server, port: usize) -> String {
    server.get(port, "/").text()
}

fn child(server: &mut Server) -> u32 {
    let process = server.process();
    wait_for("the server process", PATIENCE, || process.children().len() == 1);
    process.children()[0]
}

#[test]
fn a_reload_changes_the_answer_and_a_broken_one_changes_nothing() {
    let server = Semper::start(&page("one"));
    assert_eq!(body(&server, 1), "one");
    server.reload(&page("two"));
    wait_for("the new answer", PATIENCE, || body(&server, 1) == "two");
    server.reload(&http("wat;"));
    server.wait_for_line("error.log", "[emerg]");
    server.wait_for_line("error.log", "unknown directive \"wat\"");
    assert_eq!(body(&server, 1), "two");
    server.reload(&http("server { listen 127.0.0.1:%port1%; listen 127.0.0.1:%port2%; return 200 three; }"));
    wait_for("the new listener", PATIENCE, || {
        std::net::TcpStream::connect(("127.0.0.1", server.port(2))).is_ok() && body(&server, 2) == "three"
    });
    server.wait_for_line("error.log", "reconfiguring");
}

#[test]
fn a_killed_server_process_is_replaced_within_a_second_and_no_connection_is_refused() {
    let mut server = Semper::start(&page("one"));
    for _ in 0..3 {
        let old = child(&mut server);
        kill(Pid::from_raw(i32::try_from(old).unwrap()), Signal::SIGKILL).unwrap();
        let begun = Instant::now();
        assert_eq!(body(&server, 1), "one");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_ne!(child(&mut server), old);
    }
    server.wait_for_line("error.log", "exited on signal 9");
}

#[test]
fn logs_are_opened_again() {
    let server = Semper::start(&page("one"));
    body(&server, 1);
    server.wait_for_line("access.log", "GET / HTTP/1.1");
    std::fs::rename(server.dir().join("access.log"), server.dir().join("old.log")).unwrap();
    server.signal(Signal::SIGUSR1);
    wait_for("a new log", PATIENCE, || {
        body(&server, 1);
        server.read("access.log").contains("GET")
    });
    assert!(server.ask("reopen").status.success());
}

#[test]
fn quit_finishes_and_removes_the_pid_file() {
    let mut server = Semper::start(&page("one"));
    body(&server, 1);
    server.signal(Signal::SIGQUIT);
    assert!(server.process().wait(PATIENCE).success());
    assert!(!server.dir().join("pid").exists());
    let log = server.read("error.log");
    assert!(log.contains("gracefully shutting down") && !log.contains("[alert]"), "{log}");
}

#[test]
fn a_second_instance_fails_with_the_words_of_nginx() {
    let server = Semper::start(&page("one"));
    let site = Site::new(&page("two").replace("%port1%", &server.port(1).to_string()));
    let mut command = Command::new(semper_binary());
    command.arg("-p").arg(site.dir()).arg("-c").arg(site.conf()).arg("-e").arg(site.dir().join("error.log"));
    let output = command.args(["-g", "daemon off;"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let words = format!("bind() to 127.0.0.1:{} failed (98: Address already in use)", server.port(1));
    assert_eq!(text.matches(&words).count(), 5, "{text}");
    assert!(text.contains("still could not bind()"), "{text}");
    assert_eq!(body(&server, 1), "one");
}

#[test]
fn a_daemon_lets_its_caller_go_when_it_listens() {
    let site = Site::new(&page("one"));
    let mut command = Command::new(semper_binary());
    command.arg("-p").arg(site.dir()).arg("-c").arg(site.conf()).arg("-e").arg(site.dir().join("error.log"));
    assert!(command.output().unwrap().status.success());
    let pid: i32 = site.read("pid").trim().parse().unwrap();
    let answer = exchange(site.port(1), b"GET / HTTP/1.0\r\n\r\n");
    assert!(String::from_utf8_lossy(&answer.bytes).ends_with("one"));
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_for("its end", PATIENCE, || !site.dir().join("pid").exists());
}

#[test]
fn the_number_of_workers_changes_under_load_and_no_request_fails() {
    let conf = |workers: usize| page("one").replace("worker_processes 1;", &format!("worker_processes {workers};"));
    let server = Semper::start(&conf(4));
    let (stop, answered, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let port = server.port(1);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, answered, failed) = (stop.clone(), answered.clone(), failed.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let good = one_request(port).is_ok_and(|bytes| bytes.ends_with(b"one"));
                    if good { &answered } else { &failed }.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for (turn, workers) in [1, 3, 2, 5, 1, 4].into_iter().enumerate() {
        let before = answered.load(Ordering::Relaxed);
        server.reload(&conf(workers));
        wait_for("a reload", PATIENCE, || server.read("error.log").matches("reconfiguring").count() >= (turn + 1) * 2);
        wait_for("answers", PATIENCE, || answered.load(Ordering::Relaxed) > before + 200);
    }
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(failed.load(Ordering::Relaxed), 0);
}

fn one_request(port: u16) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `user nobody`, a key that only root reads, a folder that only root enters.
#[test]
fn keys_of_root_serve_under_nobody_and_a_replaced_one_is_seen() {
    if !nix::unistd::getuid().is_root() {
        assert!(!bed::must_be_complete() || std::env::var_os("CI").is_none(), "needs root");
        return;
    }
    let ca = Ca::new("Test root");
    let site = Site::new(
        &http("server { listen 127.0.0.1:%port1% ssl; server_name a.test; ssl_certificate keys/a.pem; ssl_certificate_key keys/a.key; return 200 one; }")
            .replace("user root;", "user nobody nogroup;"),
    );
    let issue = || {
        let issued = ca.issue_for(&["a.test"], Kind::P256, Duration::from_secs(3600));
        write_private(&site.dir().join("keys/a.key"), &issued.key);
        write_private(&site.dir().join("keys/a.pem"), &issued.chain);
    };
    issue();
    std::fs::set_permissions(site.dir().join("keys"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(site.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Semper::serve(&site);
    let tls = Tls::trusting(&ca.pem());
    assert_eq!(tls.get(server.port(1), "a.test", "/").unwrap().text(), "one");
    let id = child(&mut server);
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534") && status.contains("NoNewPrivs:\t1"), "{status}");

    let first = tls.chain(server.port(1), "a.test").unwrap();
    issue();
    server.reload(&site.fill(&http("server { listen 127.0.0.1:%port1% ssl; server_name a.test; ssl_certificate keys/a.pem; ssl_certificate_key keys/a.key; return 200 two; }").replace("user root;", "user nobody nogroup;")));
    wait_for("the new certificate", PATIENCE, || tls.chain(server.port(1), "a.test").is_ok_and(|chain| chain != first));
    assert_eq!(tls.get(server.port(1), "a.test", "/").unwrap().text(), "two");
    std::fs::rename(server.dir().join("access.log"), server.dir().join("old.log")).unwrap();
    server.signal(Signal::SIGUSR1);
    wait_for("a new log", PATIENCE, || {
        let _ = tls.get(server.port(1), "a.test", "/");
        server.read("access.log").contains("GET")
    });
}

#[test]
fn a_bad_certificate_never_stops_a_start_but_strict_start_does() {
    let ssl = "server { listen 127.0.0.1:%port1% ssl; ssl_certificate none.pem; ssl_certificate_key none.key; }
        server { listen 127.0.0.1:%port2%; return 200 one; }";
    let server = Semper::start(&http(ssl));
    assert_eq!(body(&server, 2), "one");
    assert!(server.complaints().contains("cannot load certificate"), "{}", server.complaints());
    assert!(Tls::blind().chain(server.port(1), "a.test").is_ok(), "the placeholder is shown");

    let site = Site::new(&format!("strict_start on;\n{}", http(ssl)));
    let mut command = Command::new(semper_binary());
    command.arg("-p").arg(site.dir()).arg("-c").arg(site.conf()).arg("-e").arg(site.dir().join("error.log"));
    let output = command.args(["-g", "daemon off;"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn status_tells_what_is_served_and_one_process_serves_too() {
    let inside = "acme_issuer inside { uri internal; leaf_lifetime 1h; }
        server { listen 127.0.0.1:%port1% ssl; server_name a.test; acme_certificate inside; return 200 one; }";
    let server = Semper::start(&format!("master_process off;\n{}", http(inside)));
    wait_for("a certificate", PATIENCE, || {
        let output = Semper::run(&["status", "--json", "--state", server.dir().join("state").to_str().unwrap()]);
        String::from_utf8_lossy(&output.stdout).contains("\"not_after\"")
    });
    let text = Semper::run(&["status", "--state", server.dir().join("state").to_str().unwrap()]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("a.test: valid for ") && text.contains("(issuer inside)"), "{text}");
    server.signal(Signal::SIGHUP);
    server.wait_for_line("error.log", "reconfiguring");
    assert_eq!(Tls::blind().get(server.port(1), "a.test", "/").unwrap().text(), "one");
}

#[test]
fn a_reload_over_a_bad_certificate_keeps_the_good_one_and_the_command_refuses_as_nginx_does() {
    let conf = |text: &str| {
        http(&format!(
            "server {{ listen 127.0.0.1:%port1% ssl; server_name a.test; ssl_certificate a.pem; ssl_certificate_key a.key; return 200 {text}; }}"
        ))
    };
    let ca = Ca::new("Test root");
    let issued = ca.issue(&["a.test"]);
    let site = Site::new(&conf("one"));
    site.file("a.pem", &issued.chain);
    site.file("a.key", &issued.key);
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&ca.pem());
    let before = tls.chain(server.port(1), "a.test").unwrap();
    site.file("a.pem", "no certificate at all");

    let refused = server.ask("reload");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("[emerg]") && said.contains("cannot load certificate"), "{said}");
    assert!(!server.read("error.log").contains("reconfiguring"));

    server.reload(&conf("two"));
    wait_for("the new answer", PATIENCE, || {
        tls.get(server.port(1), "a.test", "/").is_ok_and(|answer| answer.text() == "two")
    });
    assert_eq!(tls.chain(server.port(1), "a.test").unwrap(), before, "the last good one stays");
    server.wait_for_line("error.log", "cannot load certificate");
    let status = Semper::run(&["status", "--state", server.dir().join("state").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("a.pem"), "{status:?}");
}
