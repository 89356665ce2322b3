//! How does semper come up? In nginx's order: configuration, logs, sockets, daemon, pid file; then master and server
//! process, or one process for both.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, mpsc};

use nix::sys::signal::Signal;

use crate::net::log::LogFiles;
use crate::net::opener::OwnRights;
use crate::plan::Plan;
use crate::plan::log::{Level, LogTarget};

use super::errorlog::{ErrorLogs, errno};
use super::exports::writer::Writer;
use super::load::{self, Loaded, Wish};
use super::master::{self, Beginning, Master};
use super::pidfile::PidFile;
use super::server::{self, Server};
use super::signals::{self, Came};
use super::sockets::Sockets;
use super::upgrade::{self, Upgrade};
use super::world::RealWorld;

/// The argument by which the binary knows that it has been detached already.
pub const DETACHED: &str = "--detached";

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What shall be served.
    pub wish: Wish,
    /// The command line, program first.
    pub program: Vec<String>,
    /// This process was started by another one only to be a daemon.
    pub detached: bool,
}

/// Starts and runs to the end.
pub fn run(launch: Launch, logs: ErrorLogs) -> ExitCode {
    match begin(launch, &logs) {
        Ok(code) => code,
        Err(Said) => ExitCode::FAILURE,
    }
}

/// It cannot start, and the log says why.
struct Said;

fn begin(launch: Launch, logs: &ErrorLogs) -> Result<ExitCode, Said> {
    let refuse = |words: String| {
        logs.line(Level::Emerg, None, &words);
        Said
    };
    super::rights::seal_memory().map_err(refuse)?;
    let (loaded, source) = match launch.wish.load(&RealWorld { judge_certificates: false }) {
        Ok(loaded) => loaded,
        Err(broken) => {
            load::report(&broken.complaints, logs);
            return Err(Said);
        }
    };
    if !launch.detached {
        load::report(&loaded.complaints, logs);
    }
    let plan = loaded.plan.clone();
    if plan.process.daemon && !launch.detached && !upgrade::is_heir() {
        return detach(&launch.program).map_err(|error| refuse(format!("the daemon cannot be started: {error}")));
    }
    if launch.detached {
        // Its own session: the terminal's signals and its end are no longer ours.
        let _ = rustix::process::setsid();
    }
    let files = master::own_files();
    logs.use_plan(&plan.process.error_logs, &files).map_err(refuse)?;
    master::prepare_logs(&plan, &files).map_err(refuse)?;
    logs.line(Level::Notice, None, "nginx/1.28.3");
    let mut sockets = Sockets::default();
    upgrade::inherit(&mut sockets, logs);
    let _fresh = sockets.open_for(&plan, logs).map_err(|_| Said)?;
    prepare_state(&plan, logs);
    let pid_file = PidFile::write(&plan.process.pid).map_err(refuse)?;
    logs.echo(false);
    quiet(&plan, launch.detached);
    let upgrade = Upgrade::new(launch.program, launch.detached);
    if !plan.process.master {
        return Ok(alone(&launch.wish, loaded, sockets, &pid_file, logs, files));
    }
    // Thousands of servers: the master needs none of them, nor the text that they were read from.
    drop(loaded);
    let wish = launch.wish;
    Ok(Master::run(Beginning { wish, plan, source, sockets, pid_file, upgrade, logs: logs.clone(), files }))
}

/// Starts this binary again without a terminal, and waits until its sockets are bound.
fn detach(program: &[String]) -> io::Result<ExitCode> {
    let (here, there) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(format!("nginx: master process {}", program.join(" "))).arg(DETACHED).args(program);
    command.stdin(OwnedFd::from(there)).stdout(Stdio::null());
    let mut child = command.spawn()?;
    drop(command);
    let mut word = [0];
    if (&here).read(&mut word)? == 1 {
        return Ok(ExitCode::SUCCESS);
    }
    let _ = child.wait();
    Ok(ExitCode::FAILURE)
}

/// stderr becomes the error log, as with nginx; a daemon lets its parent go.
fn quiet(plan: &Plan, detached: bool) {
    if detached {
        if let Ok(parent) = io::stdin().as_fd().try_clone_to_owned() {
            let _ = (&UnixStream::from(parent)).write_all(b"1");
        }
        if let Ok(nothing) = std::fs::File::options().read(true).write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(&nothing);
        }
    }
    if plan.process.error_logs.iter().any(|log| log.target == LogTarget::Stderr) {
        return;
    }
    let first = plan.process.error_logs.iter().find_map(|log| match &log.target {
        LogTarget::File(path) => Some(path),
        _ => None,
    });
    if let Some(Ok(file)) = first.map(|path| crate::net::opener::Opener::append(&OwnRights, path)) {
        let _ = rustix::stdio::dup2_stderr(&file);
    }
}

/// Makes the state path, which belongs to the account of the server process and to nobody else.
fn prepare_state(plan: &Plan, logs: &ErrorLogs) {
    use std::os::unix::fs::DirBuilderExt;
    let mut wanted: Vec<&Path> = plan.issuers.iter().filter_map(|issuer| issuer.state_path.as_deref()).collect();
    let needed = wanted.len();
    wanted.push(&plan.process.state_path);
    for (number, path) in wanted.into_iter().enumerate() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let owned = made.and_then(|()| match &plan.process.user {
            Some(user) if nix::unistd::geteuid().is_root() => give(path, user.uid, user.gid),
            _ => Ok(()),
        });
        if let Err(error) = owned
            && (number < needed || !path.is_dir())
        {
            // Without certificates to keep, only `semper status` misses it.
            let level = if number < needed { Level::Alert } else { Level::Info };
            let text = format!("the state path \"{}\" cannot be used ({})", path.display(), errno(&error));
            logs.line(level, None, &text);
        }
    }
}

/// Gives a folder of ours, with what is in it, to an account. Only what belongs to us; links are not followed.
fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let facts = std::fs::symlink_metadata(path)?;
    if facts.uid() != uid {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    if facts.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// `master_process off`: one process, for those who look for faults.
fn alone(
    wish: &Wish,
    loaded: Loaded,
    mut sockets: Sockets,
    pid_file: &PidFile,
    logs: &ErrorLogs,
    files: Arc<LogFiles>,
) -> ExitCode {
    super::rights::raise_open_files(loaded.plan.process.open_files);
    let (say, heard) = mpsc::channel::<Came>();
    if let Err(error) = signals::listen(move |came| say.send(came).unwrap_or(())) {
        logs.line(Level::Emerg, None, &format!("signalfd() failed ({})", errno(&error)));
        return ExitCode::FAILURE;
    }
    let started = copies(&sockets).and_then(|own| {
        Server::start(loaded.into(), own, Arc::new(OwnRights), Arc::new(Writer::default()), logs.clone())
    });
    let mut server = match started {
        Ok(server) => server,
        Err(refused) => {
            logs.line(Level::Emerg, None, &refused.0);
            pid_file.remove();
            return ExitCode::FAILURE;
        }
    };
    while let Ok(came) = heard.recv() {
        match came.signal {
            Signal::SIGTERM | Signal::SIGINT => {
                signals::note(logs, came, ", exiting");
                break;
            }
            Signal::SIGQUIT => {
                signals::note(logs, came, ", shutting down");
                sockets.close_all(false);
                server.quit(true, |patience| {
                    matches!(heard.recv_timeout(patience), Ok(Came { signal: Signal::SIGTERM | Signal::SIGINT, .. }))
                });
                break;
            }
            Signal::SIGHUP => {
                signals::note(logs, came, ", reconfiguring");
                logs.line(Level::Notice, None, "reconfiguring");
                reload(wish, &mut server, &mut sockets, logs, &files);
            }
            Signal::SIGUSR1 => {
                signals::note(logs, came, ", reopening logs");
                server.reopen();
            }
            _ => {}
        }
    }
    sockets.close_all(false);
    pid_file.remove();
    logs.line(Level::Notice, None, "exit");
    ExitCode::SUCCESS
}

fn copies(sockets: &Sockets) -> Result<server::Sockets, server::Refused> {
    let copied = sockets.copies();
    copied.map_err(|error| server::Refused(format!("dup() failed ({})", errno(&error))))
}

fn reload(wish: &Wish, server: &mut Server, sockets: &mut Sockets, logs: &ErrorLogs, files: &LogFiles) {
    let loaded = match wish.load(&RealWorld { judge_certificates: false }) {
        Ok((loaded, _)) => loaded,
        Err(broken) => return load::report(&broken.complaints, logs),
    };
    load::report(&loaded.complaints, logs);
    if let Err(words) = master::prepare_logs(&loaded.plan, files) {
        return logs.line(Level::Emerg, None, &words);
    }
    let Ok(fresh) = sockets.open_for(&loaded.plan, logs) else { return };
    match copies(sockets).and_then(|own| server.replace(loaded.clone().into(), own, false)) {
        Ok(()) => sockets.keep_only(&loaded.plan),
        Err(refused) => {
            logs.line(Level::Emerg, None, &refused.0);
            sockets.give_up(fresh);
        }
    }
}
