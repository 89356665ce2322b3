//! Does a new binary take over as with nginx? USR2, WINCH, HUP, QUIT and TERM to two masters at once, under load: no
//! request fails, no kept connection is cut, pid files and unix sockets are where nginx would have them. From nginx to
//! semper and back too: that is how one moves, and moves back.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bed::ca::Ca;
use bed::client::Tls;
use bed::process::children_of;
use bed::server::{Site, nginx_binary, semper_binary};
use bed::{PATIENCE, wait_for, wait_some};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A site that is served by daemons which hand over to one another, called as `nginx`.
struct Daemons {
    site: Site,
    program: PathBuf,
}

impl Daemons {
    fn start(binary: &Path, inside: &str) -> Daemons {
        let user = if nix::unistd::getuid().is_root() { "user root;" } else { "" };
        let site = Site::new(&format!(
            "{user} worker_processes 1; pid %dir%/pid; error_log %dir%/error.log notice; events {{ worker_connections 512; }}
            http {{ access_log off; client_body_temp_path %dir%/body; proxy_temp_path %dir%/proxy;
            fastcgi_temp_path %dir%/f; uwsgi_temp_path %dir%/u; scgi_temp_path %dir%/s; {inside} }}"
        ));
        let program = site.dir().join("nginx");
        let daemons = Daemons { site, program };
        daemons.install(binary);
        let ca = Ca::new("upgrade");
        let leaf = ca.issue(&["a.test"]);
        daemons.site.file("a.pem", leaf.chain);
        daemons.site.file("a.key", leaf.key);
        let started = daemons.command().output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        daemons
    }

    /// Another program stands at the same path from now on.
    fn install(&self, binary: &Path) {
        let new = self.site.dir().join("nginx.new");
        std::os::unix::fs::symlink(binary, &new).unwrap();
        std::fs::rename(new, &self.program).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(self.site.dir()).arg("-c").arg(self.site.conf());
        command.arg("-e").arg(self.site.dir().join("error.log"));
        command
    }

    /// The process id in a pid file.
    fn pid(&self, name: &str) -> Option<u32> {
        self.site.read(name).trim().parse().ok()
    }

    fn master(&self) -> u32 {
        wait_some("the pid file", PATIENCE, || self.pid("pid"))
    }

    /// USR2, and the id of the new master once it serves.
    fn hand_over(&self) -> u32 {
        let old = self.master();
        signal(old, Signal::SIGUSR2);
        let new = wait_some("the new master", PATIENCE, || self.pid("pid").filter(|new| *new != old));
        assert_eq!(self.pid("pid.oldbin"), Some(old));
        wait_for("its server process", PATIENCE, || !children_of(new).is_empty());
        new
    }

    fn complaints(&self) -> String {
        self.site.read("error.log")
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for id in ["pid", "pid.oldbin"].iter().filter_map(|name| self.pid(name)) {
            let _ = kill(Pid::from_raw(i32::try_from(id).unwrap()), Signal::SIGTERM);
        }
        let begun = Instant::now();
        while self.pid("pid").is_some() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn signal(id: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
}

/// A zombie nobody has waited for has ended too.
fn runs(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

fn gone(id: u32) {
    wait_for(&format!("the end of {id}"), PATIENCE, || !runs(id));
}

/// Clients that keep asking until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    figures: Arc<[AtomicUsize; 3]>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// New connections and kept ones to `port`, handshakes with `tls_port`.
    fn start(port: u16, tls_port: u16) -> Load {
        let (stop, figures) = (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; 3]));
        let mut load = Load { stop, figures, threads: Vec::new() };
        for _ in 0..3 {
            load.client(move || Some(vec![once(port)]));
            load.client(move || Some(vec![handshake(tls_port)]));
            load.client(move || kept(port));
        }
        load
    }

    fn client(&mut self, turn: impl Fn() -> Option<Vec<std::io::Result<()>>> + Send + 'static) {
        let (stop, figures) = (self.stop.clone(), self.figures.clone());
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match turn() {
                    None => drop(figures[2].fetch_add(1, Ordering::Relaxed)),
                    Some(results) => results.into_iter().for_each(|result| {
                        if let Err(error) = &result {
                            eprintln!("a request failed: {error}");
                        }
                        figures[usize::from(result.is_err())].fetch_add(1, Ordering::Relaxed);
                    }),
                }
            }
        }));
    }

    /// Waits until many more requests have been answered.
    fn go_on(&self) {
        let before = self.figures[0].load(Ordering::Relaxed);
        wait_for("answers", PATIENCE, || self.figures[0].load(Ordering::Relaxed) > before + 200);
    }

    fn end(self) -> (usize, usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let [done, failed, cut] = [0, 1, 2].map(|at| self.figures[at].load(Ordering::Relaxed));
        println!("{done} done, {failed} failed, {cut} cut");
        (done, failed, cut)
    }
}

fn once(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    if bytes.ends_with(b"fine") { Ok(()) } else { Err(std::io::Error::other(String::from_utf8_lossy(&bytes))) }
}

fn handshake(port: u16) -> std::io::Result<()> {
    let answer = Tls::blind().get(port, "a.test", "/")?;
    if answer.text() == "fine" { Ok(()) } else { Err(std::io::Error::other(answer.line)) }
}

/// Requests on one connection until the server says that it is the last. `None`: it was cut between two.
fn kept(port: u16) -> Option<Vec<std::io::Result<()>>> {
    let mut results = Vec::new();
    let mut stream = match TcpStream::connect(("127.0.0.1", port)) {
        Ok(stream) => stream,
        Err(error) => return Some(vec![Err(error)]),
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    for number in 0..500 {
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        while !bytes.ends_with(b"fine") {
            match stream.read(&mut part) {
                Ok(got @ 1..) => bytes.extend_from_slice(&part[..got]),
                _ if bytes.is_empty() && number > 0 => return None,
                other => {
                    results.push(Err(std::io::Error::other(format!("{sent:?} {other:?}"))));
                    return Some(results);
                }
            }
        }
        results.push(Ok(()));
        if bytes.windows(17).any(|window| window.eq_ignore_ascii_case(b"connection: close")) {
            break;
        }
    }
    Some(results)
}

const SITE: &str = "
    server { listen 127.0.0.1:%port1%; return 200 fine; }
    server { listen unix:%dir%/sock; return 200 fine; }
    server { listen 127.0.0.1:%port2% ssl; ssl_certificate %dir%/a.pem; ssl_certificate_key %dir%/a.key; return 200 fine; }";

#[test]
fn a_new_binary_takes_over_and_gives_back_under_load_and_no_request_fails() {
    let daemons = Daemons::start(semper_binary(), SITE);
    let load = Load::start(daemons.site.port(1), daemons.site.port(2));
    load.go_on();

    // The usual way: the new one serves, the old one leaves.
    let first = daemons.master();
    let second = daemons.hand_over();
    load.go_on();
    signal(first, Signal::SIGWINCH);
    wait_for("the old server process to leave", PATIENCE, || children_of(first).iter().all(|id| *id == second));
    load.go_on();
    signal(first, Signal::SIGQUIT);
    gone(first);
    wait_for("the old pid file to go", PATIENCE, || !daemons.site.dir().join("pid.oldbin").exists());
    assert_eq!(daemons.master(), second);
    load.go_on();

    // The way back: the new one is not liked, the old one goes on as before.
    let third = daemons.hand_over();
    signal(second, Signal::SIGWINCH);
    wait_for("the old server process to leave", PATIENCE, || children_of(second).iter().all(|id| *id == third));
    load.go_on();
    signal(second, Signal::SIGHUP);
    wait_for("the old one to serve again", PATIENCE, || children_of(second).len() == 2);
    load.go_on();
    signal(third, Signal::SIGQUIT);
    gone(third);
    wait_for("the pid file to get its name back", PATIENCE, || daemons.pid("pid") == Some(second));
    load.go_on();
    let (_, failed, cut) = load.end();
    assert_eq!((failed, cut), (0, 0), "failed, cut\n{}", daemons.complaints());
}

fn ask_unix(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn two_masters_ignore_a_third_and_leave_each_other_their_files() {
    let daemons = Daemons::start(semper_binary(), SITE);
    let socket = daemons.site.dir().join("sock");
    let first = daemons.master();
    let second = daemons.hand_over();
    for (master, times) in [(first, 1), (second, 2)] {
        signal(master, Signal::SIGUSR2);
        wait_for("the refusal", PATIENCE, || {
            daemons.complaints().matches("the changing binary signal is ignored").count() == times
        });
    }
    // The new one dies first, at once: the old one keeps socket and pid file.
    signal(second, Signal::SIGTERM);
    gone(second);
    wait_for("the pid file to get its name back", PATIENCE, || daemons.pid("pid") == Some(first));
    assert!(ask_unix(&socket).unwrap().ends_with("fine"));
    once(daemons.site.port(1)).unwrap();

    // The old one leaves first: the new one keeps the socket, and takes it along at its own end.
    let third = daemons.hand_over();
    signal(first, Signal::SIGTERM);
    gone(first);
    assert!(ask_unix(&socket).unwrap().ends_with("fine"));
    assert_eq!(daemons.pid("pid"), Some(third));
    let begun = Instant::now();
    signal(third, Signal::SIGTERM);
    gone(third);
    assert!(begun.elapsed() < Duration::from_secs(3), "TERM took {:?}", begun.elapsed());
    assert!(!socket.exists() && daemons.pid("pid").is_none());
}

#[test]
fn a_binary_that_cannot_start_changes_nothing() {
    let daemons = Daemons::start(semper_binary(), SITE);
    let first = daemons.master();
    daemons.install(Path::new("/bin/false"));
    signal(first, Signal::SIGUSR2);
    wait_for("its end", PATIENCE, || daemons.complaints().contains("new binary process"));
    wait_for("the pid file to get its name back", PATIENCE, || daemons.pid("pid") == Some(first));
    once(daemons.site.port(1)).unwrap();
    daemons.install(Path::new("/no/such/program"));
    signal(first, Signal::SIGUSR2);
    wait_for("the refusal", PATIENCE, || daemons.complaints().contains("execve() failed"));
    wait_for("the pid file to get its name back", PATIENCE, || daemons.pid("pid") == Some(first));
    once(daemons.site.port(1)).unwrap();
}

#[test]
fn nginx_hands_over_to_semper_and_semper_to_nginx_and_no_request_fails() {
    let daemons = Daemons::start(nginx_binary(), SITE);
    let load = Load::start(daemons.site.port(1), daemons.site.port(2));
    load.go_on();
    let nginx = daemons.master();
    daemons.install(semper_binary());
    let semper = daemons.hand_over();
    load.go_on();
    signal(nginx, Signal::SIGQUIT);
    gone(nginx);
    load.go_on();
    assert!(ask_unix(&daemons.site.dir().join("sock")).unwrap().contains("fine"));
    daemons.install(nginx_binary());
    let again = daemons.hand_over();
    load.go_on();
    signal(semper, Signal::SIGQUIT);
    gone(semper);
    load.go_on();
    let (_, failed, _) = load.end();
    // nginx closes kept connections that are idle for an instant; what it had begun to answer it finishes.
    assert_eq!(failed, 0, "{}", daemons.complaints());
    assert_eq!(daemons.master(), again);
}
