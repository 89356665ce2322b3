//! What does the master do? It holds the listening sockets, the pid file and the rights, starts the server process and
//! starts it again when it dies, reads the configuration and hands it over, and hears all signals. It reads no byte
//! from clients, upstreams or authorities.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::net::log::LogFiles;
use crate::net::opener::OwnRights;
use crate::plan::Plan;
use crate::plan::log::Level;
use crate::plan::process::Process;

use super::errand::{Allowed, InForce};
use super::errorlog::{ErrorLogs, errno};
use super::exports::writer::Writer;
use super::load::{self, Loaded, Source, Wish};
use super::orders::{Job, Order};
use super::pidfile::PidFile;
use super::servant::{Ended, Servant};
use super::signals::{self, Came};
use super::sockets::{Fresh, Sockets};
use super::upgrade::Upgrade;
use super::world::RealWorld;
use super::{heap, named, signals::note};

/// A server process that lived this long is started again at once.
const SETTLED: Duration = Duration::from_secs(2);
/// Between the first two starts of one that dies at once; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// And never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a server process may take to stop before it is killed; nginx's order of time.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// What the master hears.
#[derive(Debug)]
pub enum Heard {
    /// A signal.
    Signal(Came),
    /// The server process (by its id) serves a job, or does not.
    Done(u32, u64, Option<String>),
}

/// The master process.
pub struct Master {
    wish: Wish,
    logs: ErrorLogs,
    files: Arc<LogFiles>,
    /// All that is kept of the plan in force: the server process has the rest.
    process: Process,
    source: Source,
    generation: u64,
    sockets: Sockets,
    allowed: InForce,
    writer: Writer,
    pid_file: PidFile,
    upgrade: Upgrade,
    servant: Option<Servant>,
    /// Those that were told to leave while they still have requests to finish.
    leaving: Vec<Servant>,
    pending: Option<Pending>,
    reload_again: bool,
    /// The server process was told to leave (WINCH): none is started until HUP.
    resting: bool,
    deaths: u32,
    start_at: Option<Instant>,
    ending: Option<Ending>,
    ever_served: bool,
    say: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    later: VecDeque<Heard>,
}

/// A reload on its way.
struct Pending {
    plan: Arc<Plan>,
    source: Source,
    generation: u64,
    fresh: Fresh,
    allowed: Arc<Allowed>,
}

#[derive(Clone, Copy)]
enum Ending {
    Graceful,
    Fast { kill_at: Instant },
}

/// What a master is made of: everything that is ready before it begins.
pub struct Beginning {
    /// What is served.
    pub wish: Wish,
    /// The plan.
    pub plan: Arc<Plan>,
    /// What it is made from.
    pub source: Source,
    /// Sockets, open.
    pub sockets: Sockets,
    /// Its pid file, written.
    pub pid_file: PidFile,
    /// How it was started and may start a successor.
    pub upgrade: Upgrade,
    /// Where events go.
    pub logs: ErrorLogs,
    /// Logs that are open.
    pub files: Arc<LogFiles>,
}

impl Master {
    /// Runs the master to its end.
    pub fn run(beginning: Beginning) -> ExitCode {
        let Beginning { wish, plan, source, sockets, pid_file, upgrade, logs, files } = beginning;
        let (say, heard) = mpsc::channel();
        let tell = say.clone();
        if let Err(error) = signals::listen(move |came| drop(tell.send(Heard::Signal(came)))) {
            logs.line(Level::Emerg, None, &format!("signalfd() failed ({})", errno(&error)));
            return ExitCode::FAILURE;
        }
        let allowed = Arc::new(RwLock::new(vec![Arc::new(named::by(&plan))]));
        let process = plan.process.clone();
        drop(plan);
        let mut master = Master {
            wish,
            logs,
            files,
            process,
            source,
            generation: 1,
            sockets,
            allowed,
            writer: Writer::default(),
            pid_file,
            upgrade,
            servant: None,
            leaving: Vec::new(),
            pending: None,
            reload_again: false,
            resting: false,
            deaths: 0,
            start_at: None,
            ending: None,
            ever_served: false,
            say,
            heard,
            later: VecDeque::new(),
        };
        master.start_servant();
        heap::give_back();
        let code = master.cycle();
        master.pid_file.remove();
        master.sockets.close_all(master.upgrade.is_under_way());
        master.logs.line(Level::Notice, None, "exit");
        code
    }

    fn cycle(&mut self) -> ExitCode {
        loop {
            if self.servant.is_none() {
                if self.ending.is_some() && self.leaving.is_empty() {
                    return ExitCode::SUCCESS;
                }
                if self.start_at.is_some_and(|at| Instant::now() >= at) {
                    self.start_servant();
                }
            }
            if let Some(Ending::Fast { kill_at }) = self.ending
                && Instant::now() >= kill_at
            {
                self.servant.iter_mut().chain(&mut self.leaving).for_each(Servant::kill);
            }
            match self.next() {
                Some(Heard::Signal(came)) => self.signal(came),
                Some(Heard::Done(from, generation, refused)) => {
                    let ours = self.servant.as_ref().is_some_and(|servant| servant.id() == from);
                    let over = ours && self.done(generation, refused).is_break();
                    if over {
                        return ExitCode::FAILURE;
                    }
                }
                None => {}
            }
        }
    }

    /// The next thing to do; nothing when a deadline has come.
    fn next(&mut self) -> Option<Heard> {
        if let Some(kept) = self.later.pop_front() {
            return Some(kept);
        }
        let mut until = self.start_at.filter(|_| self.servant.is_none());
        if let Some(Ending::Fast { kill_at }) = self.ending {
            until = Some(until.map_or(kill_at, |at| at.min(kill_at)));
        }
        match until {
            None => self.heard.recv().ok(),
            Some(at) => self.heard.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
        }
    }

    fn signal(&mut self, came: Came) {
        match came.signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGTERM | Signal::SIGINT => {
                note(&self.logs, came, ", exiting");
                self.ending = Some(Ending::Fast { kill_at: Instant::now() + STOP_WITHIN });
                self.order(&Order::Stop);
            }
            Signal::SIGQUIT => {
                note(&self.logs, came, ", shutting down");
                if self.ending.is_none() {
                    self.ending = Some(Ending::Graceful);
                    let shared = self.upgrade.is_under_way();
                    self.order(&Order::Quit { last: !shared });
                    self.sockets.close_all(shared);
                }
            }
            Signal::SIGHUP => {
                note(&self.logs, came, ", reconfiguring");
                self.hup();
            }
            Signal::SIGUSR1 => {
                note(&self.logs, came, ", reopening logs");
                self.logs.line(Level::Notice, None, "reopening logs");
                for failed in self.files.reopen() {
                    let text = format!("open() \"{}\" failed ({})", failed.path.display(), errno(&failed.source));
                    self.logs.line(Level::Emerg, None, &text);
                }
                self.order(&Order::Reopen);
            }
            Signal::SIGWINCH if self.upgrade.is_daemon() => {
                note(&self.logs, came, ", stop accepting connections");
                self.resting = true;
                if let Some(pending) = self.pending.take() {
                    self.sockets.give_up(pending.fresh);
                }
                self.order(&Order::Quit { last: false });
                self.leaving.extend(self.servant.take());
            }
            Signal::SIGUSR2 => self.change_binary(came),
            _ => {}
        }
    }

    fn hup(&mut self) {
        if self.ending.is_some() {
            return;
        }
        if self.upgrade.successor() && std::mem::take(&mut self.resting) {
            // As nginx: back to the old ways, by the old configuration.
            return self.start_servant();
        }
        self.logs.line(Level::Notice, None, "reconfiguring");
        self.reload();
        if std::mem::take(&mut self.resting) {
            self.start_servant();
        }
    }

    /// Reads the configuration again and offers it to the server process. A broken one changes nothing.
    fn reload(&mut self) {
        if self.pending.is_some() {
            self.reload_again = true;
            return;
        }
        let (loaded, source) = match self.wish.load(&RealWorld { judge_certificates: false }) {
            Ok(loaded) => loaded,
            Err(broken) => return load::report(&broken.complaints, &self.logs),
        };
        let Loaded { plan, complaints, .. } = loaded;
        load::report(&complaints, &self.logs);
        if let Err(words) = prepare_logs(&plan, &self.files) {
            return self.logs.line(Level::Emerg, None, &words);
        }
        let Ok(fresh) = self.sockets.open_for(&plan, &self.logs) else { return };
        self.generation += 1;
        let allowed = Arc::new(named::by(&plan));
        self.allowed.write().unwrap_or_else(PoisonError::into_inner).push(allowed.clone());
        let pending = Pending { plan, source, generation: self.generation, fresh, allowed };
        if self.servant.is_none() {
            return self.commit(pending);
        }
        let (generation, source) = (pending.generation, pending.source.clone());
        self.pending = Some(pending);
        self.send_job(generation, source);
    }

    fn send_job(&self, generation: u64, source: Source) {
        let (sockets, fds) = self.sockets.all();
        let job = Job { generation, source, sockets, shared: self.upgrade.is_under_way() };
        if let Some(servant) = &self.servant {
            // One that is gone is started again with the right job.
            let _ = servant.order(&Order::Run(Box::new(job)), &fds);
        }
    }

    /// A plan is in force.
    fn commit(&mut self, pending: Pending) {
        let Pending { plan, source, generation, allowed, fresh: _ } = pending;
        if let Err(words) = self.logs.use_plan(&plan.process.error_logs, &self.files) {
            self.logs.line(Level::Emerg, None, &words);
        }
        self.sockets.keep_only(&plan);
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = vec![allowed];
        self.pid_file.move_to(&plan.process.pid, &self.logs);
        (self.process, self.source, self.generation) = (plan.process.clone(), source, generation);
        drop(plan);
        heap::give_back();
    }

    fn done(&mut self, generation: u64, refused: Option<String>) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        if let Some(why) = &refused {
            self.logs.line(Level::Emerg, None, why);
        }
        match self.pending.take() {
            Some(pending) if pending.generation == generation => {
                if refused.is_none() {
                    self.commit(pending);
                } else {
                    self.sockets.give_up(pending.fresh);
                    self.allowed.write().unwrap_or_else(PoisonError::into_inner).truncate(1);
                }
                if std::mem::take(&mut self.reload_again) {
                    self.reload();
                }
            }
            other => {
                self.pending = other;
                if refused.is_some() && !self.ever_served {
                    // It never served: whoever started it shall know.
                    return Break(());
                }
                self.ever_served |= refused.is_none();
            }
        }
        Continue(())
    }

    fn order(&self, order: &Order) {
        for servant in self.servant.iter().chain(&self.leaving) {
            let _ = servant.order(order, &[]);
        }
    }

    fn start_servant(&mut self) {
        self.start_at = None;
        match Servant::start(&self.process, self.allowed.clone(), self.writer.clone(), self.say.clone()) {
            Ok(servant) => {
                self.logs.line(Level::Notice, None, &format!("start worker process {}", servant.id()));
                self.servant = Some(servant);
                self.send_job(self.generation, self.source.clone());
            }
            Err(error) => {
                self.logs.line(Level::Alert, None, &format!("could not start the server process ({})", errno(&error)));
                self.start_later();
            }
        }
    }

    fn start_later(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.deaths.min(10)).min(LONGEST_PAUSE);
        self.deaths += 1;
        self.start_at = Some(Instant::now() + pause);
    }

    fn reap(&mut self) {
        if self.upgrade.reap(&self.logs) {
            self.pid_file.move_back(&self.logs);
            if std::mem::take(&mut self.resting) {
                self.start_servant();
            }
        }
        let logs = &self.logs;
        self.leaving.retain_mut(|servant| {
            let ended = servant.ended();
            if let Some(Ended { id, how, .. }) = ended {
                let (level, text) = super::servant::words(id, how);
                logs.line(level, None, &text);
            }
            ended.is_none()
        });
        let Some(Ended { id, how, lived }) = self.servant.as_mut().and_then(Servant::ended) else { return };
        self.servant = None;
        let (level, text) = super::servant::words(id, how);
        self.logs.line(level, None, &text);
        if let Some(pending) = self.pending.take() {
            self.sockets.give_up(pending.fresh);
            self.allowed.write().unwrap_or_else(PoisonError::into_inner).truncate(1);
            self.later.push_back(Heard::Signal(Came { signal: Signal::SIGHUP, from: 0 }));
        }
        if self.ending.is_some() || self.resting {
            return;
        }
        if lived >= SETTLED {
            self.deaths = 0;
        }
        if self.deaths == 0 {
            self.deaths = 1;
            self.start_servant();
        } else {
            self.start_later();
        }
    }

    fn change_binary(&mut self, came: Came) {
        if self.upgrade.is_under_way() {
            note(&self.logs, came, ", ignoring");
            let text = "the changing binary signal is ignored: you should shutdown or terminate before either old or \
                        new binary's process";
            return self.logs.line(Level::Crit, None, text);
        }
        note(&self.logs, came, ", changing binary");
        self.logs.line(Level::Notice, None, "changing binary");
        if !self.pid_file.move_aside(&self.logs) {
            return;
        }
        let (_, fds) = self.sockets.all();
        if let Err(error) = self.upgrade.start(&fds) {
            self.logs.line(
                Level::Alert,
                None,
                &format!("execve() failed while executing new binary process ({})", errno(&error)),
            );
            self.pid_file.move_back(&self.logs);
        }
    }
}

/// Opens every log of `plan`.
///
/// # Errors
/// nginx's words for the first that cannot be opened.
pub fn prepare_logs(plan: &Plan, files: &LogFiles) -> Result<(), String> {
    let mut paths: Vec<_> = named::by(plan).append.into_iter().collect();
    paths.sort();
    for path in paths {
        let failed = |error: crate::net::log::file::CannotOpen| {
            format!("open() \"{}\" failed ({})", error.path.display(), errno(&error.source))
        };
        files.prepare(&path).map_err(failed)?;
    }
    Ok(())
}

/// Log files opened with the master's own rights.
pub fn own_files() -> Arc<LogFiles> {
    Arc::new(LogFiles::new(Arc::new(OwnRights)))
}
