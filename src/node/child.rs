//! What is the life of the server process? It is started by the master with a channel as its stdin, gives up the rights
//! it does not need, serves, and does what the master or a signal says. Without a master it finishes and ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::plan::log::Level;

use super::channel::Channel;
use super::errand::Master;
use super::errorlog::ErrorLogs;
use super::orders::{Job, Order};
use super::server::{Refused, Server, Sockets, Work};
use super::signals::{self, Came};
use super::{heap, load, rights};

enum Heard {
    Order(Order, Vec<OwnedFd>),
    MasterGone,
    Signal(Came),
}

/// Runs the server process to its end. nginx's exit codes: 2 is "do not start me again".
pub fn run() -> ExitCode {
    match begin() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nginx: [alert] the server process cannot begin: {error}");
            ExitCode::from(2)
        }
    }
}

fn begin() -> io::Result<ExitCode> {
    let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let orders = Channel::from_fd(io::stdin().as_fd().try_clone_to_owned()?);
    let (Order::Hello, fds) = orders.receive()?.ok_or_else(gone)? else { return Err(gone()) };
    let asks = Channel::from_fd(fds.into_iter().next().ok_or_else(gone)?);
    let (Order::Run(job), fds) = orders.receive()?.ok_or_else(gone)? else { return Err(gone()) };

    let logs = ErrorLogs::install();
    let master = Arc::new(Master::new(asks));
    let work = match job.source.plan() {
        Ok(loaded) => Work::from(loaded),
        Err(broken) => {
            let why = load::last_words(&broken);
            master.done(job.generation, Some(why));
            return Ok(ExitCode::from(2));
        }
    };
    let plan = work.plan.clone();
    rights::raise_open_files(plan.process.open_files);
    if let Err(words) = rights::drop_to(&plan.process) {
        eprintln!("nginx: [emerg] {words}");
        return Ok(ExitCode::from(2));
    }
    if let Some(folder) = &plan.process.working_directory
        && let Err(error) = std::env::set_current_dir(folder)
    {
        tracing::error!(level = "alert", "chdir(\"{}\") failed ({})", folder.display(), super::errorlog::errno(&error));
        return Ok(ExitCode::from(2));
    }
    let (say, heard) = mpsc::channel();
    let tell = say.clone();
    signals::listen(move |came| drop(tell.send(Heard::Signal(came))))?;
    let server = match Server::start(work, sort(&job, fds), master.clone(), master.clone(), logs.clone()) {
        Ok(server) => server,
        Err(Refused(why)) => {
            master.done(job.generation, Some(why));
            return Ok(ExitCode::from(2));
        }
    };
    master.done(job.generation, None);
    // This process goes on for weeks: neither the first plan nor its text shall stay behind a later one.
    drop((job, plan));
    heap::give_back();
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
        while let Ok(Some((order, fds))) = orders.receive() {
            if say.send(Heard::Order(order, fds)).is_err() {
                return;
            }
        }
        let _ = say.send(Heard::MasterGone);
    })?;
    serve(server, &master, &heard, &logs);
    logs.line(Level::Notice, None, "exit");
    Ok(ExitCode::SUCCESS)
}

fn sort(job: &Job, fds: Vec<OwnedFd>) -> Sockets {
    let mut fds = fds.into_iter();
    let take = |(address, count): &(super::orders::Address, usize)| {
        (address.clone().into(), fds.by_ref().take(*count).collect::<Vec<_>>())
    };
    job.sockets.iter().map(take).collect()
}

/// Does what it hears until it has ended: at once, or when all is finished; `last`: nobody accepts after us.
fn serve(mut server: Server, master: &Master, heard: &mpsc::Receiver<Heard>, logs: &ErrorLogs) {
    let last = loop {
        match heard.recv().unwrap_or(Heard::MasterGone) {
            Heard::Order(Order::Run(job), fds) => {
                let done = match job.source.plan() {
                    Ok(loaded) => {
                        let replaced = server.replace(loaded.into(), sort(&job, fds), job.shared);
                        replaced.map_err(|refused| refused.0)
                    }
                    Err(broken) => Err(load::last_words(&broken)),
                };
                master.done(job.generation, done.err());
                drop(job);
                heap::give_back();
            }
            Heard::Order(Order::Reopen, _) => server.reopen(),
            Heard::Order(Order::Stop, _) => break None,
            Heard::Order(Order::Quit { last }, _) => break Some(last),
            Heard::Order(Order::Hello, _) => {}
            Heard::MasterGone => {
                logs.line(Level::Alert, None, "the master process is gone");
                break Some(false);
            }
            Heard::Signal(came) => match came.signal {
                Signal::SIGTERM | Signal::SIGINT => {
                    signals::note(logs, came, ", exiting");
                    break None;
                }
                Signal::SIGQUIT | Signal::SIGWINCH => {
                    signals::note(logs, came, ", shutting down");
                    break Some(false);
                }
                Signal::SIGUSR1 => {
                    signals::note(logs, came, ", reopening logs");
                    server.reopen();
                }
                _ => signals::note(logs, came, ", ignoring"),
            },
        }
    };
    let Some(last) = last else {
        return logs.line(Level::Notice, None, "exiting");
    };
    logs.line(Level::Notice, None, "gracefully shutting down");
    server.quit(last, |patience| match heard.recv_timeout(patience) {
        Ok(Heard::Order(Order::Stop, _)) => true,
        Ok(Heard::Signal(came)) => matches!(came.signal, Signal::SIGTERM | Signal::SIGINT),
        Ok(_) => false,
        Err(mpsc::RecvTimeoutError::Timeout) => false,
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::thread::sleep(patience.min(Duration::from_millis(50)));
            false
        }
    });
    logs.line(Level::Notice, None, "exiting");
}
