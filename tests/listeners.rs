//! What becomes of connections when listeners come, go, or have no room? Who stands in the kernel's queue of a listener
//! that is taken away is answered; a process without descriptors waits and recovers; unix sockets leave no file behind.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bed::server::{Semper, Server, http};
use bed::{PATIENCE, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn child(server: &mut Server) -> Pid {
    let process = server.process();
    wait_for("the server process", PATIENCE, || process.children().len() == 1);
    Pid::from_raw(i32::try_from(process.children()[0]).unwrap())
}

fn ask(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn read(mut stream: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The server process sleeps while clients come: they wait in the kernel.
fn while_asleep(server: &mut Server, clients: usize, then: impl FnOnce(&mut Server)) -> Vec<TcpStream> {
    let process = child(server);
    kill(process, Signal::SIGSTOP).unwrap();
    let waiting = (0..clients).map(|_| ask(server.port(2))).collect();
    then(server);
    kill(process, Signal::SIGCONT).unwrap();
    waiting
}

#[test]
fn who_waits_at_a_listener_that_is_taken_away_is_answered() {
    let one = "server { listen 127.0.0.1:%port1%; return 200 one; }";
    let both = format!("{one} server {{ listen 127.0.0.1:%port2%; return 200 two; }}");
    for workers in [1, 3] {
        let many = |text: &str| http(text).replace("worker_processes 1;", &format!("worker_processes {workers};"));
        let mut server = Semper::start(&many(&both));
        for _ in 0..5 {
            let waiting = while_asleep(&mut server, 60, |server| server.reload(&many(one)));
            for stream in waiting {
                let text = read(stream).unwrap_or_else(|error| panic!("{error}\n{}", server.complaints()));
                assert!(text.ends_with("two"), "{text}");
            }
            wait_for(&format!("the port to close\n{}", server.complaints()), PATIENCE, || {
                TcpStream::connect(("127.0.0.1", server.port(2))).is_err()
            });
            assert_eq!(server.get(1, "/").text(), "one");
            server.reload(&many(&both));
            wait_for("the port to open", PATIENCE, || TcpStream::connect(("127.0.0.1", server.port(2))).is_ok());
        }
    }
}

#[test]
fn who_waits_when_all_is_over_is_answered() {
    let both =
        "server { listen 127.0.0.1:%port1%; return 200 one; } server { listen 127.0.0.1:%port2%; return 200 two; }";
    let mut server = Semper::start(&http(both));
    let waiting = while_asleep(&mut server, 60, |server| server.signal(Signal::SIGQUIT));
    for stream in waiting {
        assert!(read(stream).unwrap_or_else(|error| panic!("{error}")).ends_with("two"));
    }
    assert!(server.process().wait(PATIENCE).success());
}

#[test]
fn who_has_come_but_not_asked_yet_is_answered_when_all_is_over() {
    let mut server = Semper::start(&http("server { listen 127.0.0.1:%port1%; return 200 one; }"));
    let mut early = TcpStream::connect(("127.0.0.1", server.port(1))).unwrap();
    assert_eq!(server.get(1, "/").text(), "one"); // the early one has been let in
    server.signal(Signal::SIGQUIT);
    server.wait_for_line("error.log", "gracefully shutting down");
    std::thread::sleep(Duration::from_millis(100)); // a slow way to the server
    early.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = read(early).unwrap();
    assert!(text.ends_with("one") && text.contains("Connection: close"), "{text}");
    assert!(server.process().wait(PATIENCE).success());
}

/// Processor time that a process has used, in clock ticks.
fn ticks(process: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_descriptors_nobody_is_let_in_once_said_and_later_everybody() {
    let conf = http("keepalive_timeout 0; server { listen 127.0.0.1:%port1%; return 200 one; }");
    let mut server = Semper::start(&format!("worker_rlimit_nofile 64;\n{conf}"));
    assert_eq!(server.get(1, "/").text(), "one");
    let process = child(&mut server);
    let said = |server: &Server| server.read("error.log").matches("failed (24: Too many open files)").count();
    for _ in 0..2 {
        let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", server.port(1))).unwrap()).collect();
        wait_for("the complaint", PATIENCE, || said(&server) > 0);
        let ticks_before = ticks(process);
        std::thread::sleep(Duration::from_millis(1200)); // two more tries
        assert!(ticks(process) - ticks_before < 30, "it burns the processor");
        drop(crowd);
        wait_for("answers again", PATIENCE, || read(ask(server.port(1))).is_ok_and(|text| text.ends_with("one")));
        let again = |server: &Server| server.read("error.log").matches("connections are accepted again").count();
        wait_for("that it is said", PATIENCE, || again(&server) == 1);
        // Once in a minute, the second crowd included.
        assert_eq!((said(&server), again(&server)), (1, 1), "{}", server.complaints());
    }
    assert!(server.read("error.log").contains("[crit]"));
}

#[test]
fn a_unix_socket_listens_survives_reloads_and_leaves_no_file() {
    let with = http(
        "server { listen 127.0.0.1:%port1%; return 200 tcp; } server { listen unix:%dir%/s; return 200 \"$remote_addr|$server_port|$scheme\"; }",
    );
    let without = http("server { listen 127.0.0.1:%port1%; return 200 gone; }");
    let mut server = Semper::start(&with);
    let path = server.dir().join("s");
    let unix = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        read(stream)
    };
    assert!(unix().unwrap().ends_with("unix:||http"), "{:?}", unix());
    server.reload(&with.replace("|$scheme", "|again"));
    wait_for("the new answer", PATIENCE, || unix().is_ok_and(|text| text.ends_with("|again")));
    server.reload(&without);
    wait_for("the file to go", PATIENCE, || !path.exists());
    server.reload(&with);
    wait_for("the socket to come back", PATIENCE, || unix().is_ok());
    // A killed server leaves its file behind; the next one is not stopped by it.
    let ids = [Pid::from_raw(i32::try_from(server.process().id()).unwrap()), child(&mut server)];
    ids.iter().for_each(|id| kill(*id, Signal::SIGKILL).unwrap());
    wait_for("its end", PATIENCE, || server.process().ended().is_some());
    assert!(path.exists() && unix().is_err());
    let elsewhere =
        http("server { listen unix:%socket%; return 200 again; }").replace("%socket%", path.to_str().unwrap());
    let mut server = Semper::start(&elsewhere);
    wait_for("the socket to answer", PATIENCE, || unix().is_ok());
    server.signal(Signal::SIGQUIT);
    assert!(server.process().wait(PATIENCE).success());
    assert!(!path.exists());
}

#[test]
fn memory_with_keys_in_it_is_never_dumped() {
    let mut server = Semper::start(&http("server { listen 127.0.0.1:%port1%; return 200 one; }"));
    let ids = [Pid::from_raw(i32::try_from(server.process().id()).unwrap()), child(&mut server)];
    for id in ids {
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        if nix::unistd::getuid().is_root() {
            continue; // root's processes look the same either way
        }
        // What belongs to the super-user under /proc cannot be dumped, or traced by other processes of the account.
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{id}/mem")).unwrap());
        assert_eq!(owner, 0);
    }
}
