//! How does one see the product at work, with no domain, no network and no configuration? `semper demo`: a sample
//! upstream, semper before it with certificates from the built-in authority that live for a minute, a small load that
//! verifies every chain, and a view of it all until Ctrl-C.

mod load;
mod upstream;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::Signal;

use crate::clock::Clock;
use crate::net::opener::OwnRights;
use crate::node::clock::RealClock;
use crate::node::errorlog::ErrorLogs;
use crate::node::exports::writer::Writer;
use crate::node::quick::{Quick, Site};
use crate::node::server::{Server, Sockets, Work};
use crate::node::signals;
use crate::node::status::span;
use crate::plan::log::{ErrorLog, Level, LogTarget};
use crate::plan::tls::CertificateSource;
use crate::words::Fingerprint;
use crate::words::Identifier;

use load::Load;

/// The name that the demo serves; resolved by nobody, `curl` is told.
const NAME: &str = "demo.semper.test";
/// How often the view changes on a terminal.
const BLINK: Duration = Duration::from_millis(250);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(5);

/// `semper demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Stops by itself after this time, for example 10s or 2m. Default: at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    within: Option<Duration>,
    /// How long a certificate lives.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "60s")]
    lifetime: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("{text} is no time"))?;
    match unit {
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(format!("{text} is no time")),
    }
}

/// Runs the demo. The exit code is 1 if a request failed.
pub fn run(demo: &Demo) -> ExitCode {
    let state = std::env::temp_dir().join(format!("semper-demo-{}", std::process::id()));
    let code = show(demo, &state).unwrap_or_else(|error| {
        eprintln!("semper: the demo cannot go on: {error}");
        ExitCode::FAILURE
    });
    // Whatever cannot be removed lies in a folder for temporary things.
    let _ = std::fs::remove_dir_all(&state);
    code
}

fn show(demo: &Demo, state: &Path) -> io::Result<ExitCode> {
    let (say, stopped) = mpsc::channel();
    signals::listen(move |came| {
        if matches!(came.signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT) {
            let _ = say.send(());
        }
    })?;
    std::fs::create_dir_all(state)?;
    let upstream = upstream::start()?;
    let (http, https) = (free()?, free()?);
    let quick = quick(demo, state, upstream, http, https)?;
    let mut plan = quick.plan();
    let target = LogTarget::File(state.join("error.log"));
    plan.process.error_logs = Box::new([ErrorLog { target, level: Level::Notice }]);
    let source = CertificateSource::Acme(plan.certificates[0].id.clone());

    let mut sockets = Sockets::new();
    for listener in plan.http.iter().flat_map(|http| &http.listeners) {
        let opened = crate::net::listen::open(&listener.address, &listener.options, 2).map_err(io::Error::other)?;
        sockets.insert(listener.address.clone(), opened);
    }
    let work = Work { plan: Arc::new(plan), faults: Vec::new(), digest: Fingerprint::of(b"") };
    let server = Server::start(work, sockets, Arc::new(OwnRights), Arc::new(Writer::default()), ErrorLogs::install())
        .map_err(io::Error::other)?;
    let root = wait_for_root(&server, &source)?;
    let root_file = state.join("root.pem");
    let mut text = String::new();
    crate::cert::pem::write(&mut text, "CERTIFICATE", &root);
    std::fs::write(&root_file, text)?;
    introduce(upstream, http, https, &root_file);

    let load = Load::start(https, NAME, &root).map_err(io::Error::other)?;
    watch(&load, &stopped, demo.within);
    let seen = load.stop();
    server.quit(true, |patience| stopped.recv_timeout(patience).is_ok());
    println!("{}", view(&seen));
    println!("stopped; {} requests answered, {} failed", seen.answered, seen.failed);
    Ok(if seen.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn quick(demo: &Demo, state: &Path, upstream: SocketAddr, http: SocketAddr, https: SocketAddr) -> io::Result<Quick> {
    let name: Identifier = NAME.parse().map_err(|_| io::Error::other("the demo's name is none"))?;
    Ok(Quick {
        sites: vec![Site { name, upstream }],
        http: vec![http],
        https: vec![https],
        authority: "internal".to_owned(),
        contact: None,
        leaf_lifetime: Some(demo.lifetime),
        state: PathBuf::from(state),
        user: None,
        workers: Some(2),
    })
}

/// A port of the loopback that the kernel gave and that is free again.
fn free() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The root, as soon as the first certificate is there.
fn wait_for_root(server: &Server, source: &CertificateSource) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if let Some(root) = server.root_of(source) {
            return Ok(root);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("no certificate came within 20 seconds"))
}

fn introduce(upstream: SocketAddr, http: SocketAddr, https: SocketAddr, root: &Path) {
    println!("a sample upstream on {upstream}; semper before it: https on {https}, http on {http}");
    println!("its certificates come from the built-in authority and are renewed while you watch. Try it yourself:");
    println!();
    println!(
        "  curl --cacert {} --resolve {NAME}:{port}:127.0.0.1 https://{NAME}:{port}/",
        root.display(),
        port = https.port()
    );
    println!();
    println!("Ctrl-C stops it.");
}

/// Shows how it stands until somebody stops it or the time is up.
fn watch(load: &Load, stopped: &mpsc::Receiver<()>, within: Option<Duration>) {
    let terminal = io::stdout().is_terminal();
    let begun = Instant::now();
    let mut last_line: Option<Instant> = None;
    let mut last_renewals = 0;
    loop {
        let left = within.map(|within| within.saturating_sub(begun.elapsed()));
        let pause = left.map_or(BLINK, |left| left.min(BLINK));
        if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) || left == Some(Duration::ZERO) {
            break;
        }
        let seen = load.seen();
        if terminal {
            // Erase the line, write it anew.
            print!("\r\x1b[2K{}", view(&seen));
            let _ = io::stdout().flush();
        } else if last_line.is_none_or(|at| at.elapsed() >= LINE) || seen.renewals != last_renewals {
            println!("{}", view(&seen));
            (last_line, last_renewals) = (Some(Instant::now()), seen.renewals);
        }
    }
    if terminal {
        println!();
    }
}

fn view(seen: &load::Seen) -> String {
    let certificate = match &seen.certificate {
        Some((serial, until)) => {
            let short: String = serial.chars().take(8).collect();
            format!("serial {short}…, {:>6} left", span(RealClock.now(), *until))
        }
        None => "no certificate seen yet".to_owned(),
    };
    let failed = match &seen.last_failure {
        Some(why) => format!("{} ({why})", seen.failed),
        None => seen.failed.to_string(),
    };
    format!("{NAME}: {certificate}, {} renewals | requests answered {}, failed {failed}", seen.renewals, seen.answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert!(time("soon").is_err() && time("3x").is_err());
    }
}
