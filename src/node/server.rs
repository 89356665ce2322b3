//! What does the server process hold? Workers, their sockets, the plan in force, and everything that outlives a reload.
//! Told what to do by a master, or by the only process itself.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::clock::{Clock, Dice};
use crate::conf::world::World as _;
use crate::http::serve::Parts;
use crate::net::accept::Counts;
use crate::net::dial::NoUpstreamTls;
use crate::net::log::LogFiles;
use crate::net::opener::Opener;
use crate::net::terms::{NoTls, Terms};
use crate::plan::Plan;
use crate::plan::listener::ListenAddress;
use crate::plan::log::Level;
use crate::zone::challenges::Challenges;
use crate::zone::stats::Stats;
use crate::zone::upstreams::Upstreams;

use super::clock::{RealClock, RealDice};
use super::errorlog::{ErrorLogs, errno};
use super::sockets;
use super::worker::{Command, Worker};

/// Workers beyond this many share their counters with others.
const COUNTERS: usize = 128;

/// Listening sockets by address.
pub type Sockets = BTreeMap<ListenAddress, Vec<OwnedFd>>;

/// A plan cannot be served; whatever was served before still is. In nginx's words where it has any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The server process.
pub struct Server {
    logs: ErrorLogs,
    files: Arc<LogFiles>,
    parts: Parts,
    terms: Arc<ArcSwap<Terms>>,
    workers: Vec<Worker>,
    leaving: Vec<Worker>,
    sockets: Sockets,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// Serves `plan` on `sockets`.
    ///
    /// # Errors
    /// [`Refused`]: nothing is served then.
    pub fn start(
        plan: Arc<Plan>,
        sockets: Sockets,
        opener: Arc<dyn Opener>,
        logs: ErrorLogs,
    ) -> Result<Server, Refused> {
        let files = Arc::new(LogFiles::new(opener.clone()));
        logs.use_plan(&plan.process.error_logs, &files).map_err(Refused)?;
        let clock: Arc<dyn Clock> = Arc::new(RealClock);
        let dice: Arc<dyn Dice> = Arc::new(RealDice);
        let counters = sockets::workers(&plan).max(COUNTERS);
        let hostname = super::world::RealWorld { judge_certificates: false }.hostname();
        let parts = Parts {
            challenges: Arc::new(Challenges::new(clock.clone())),
            clock,
            dice,
            opener,
            logs: files.clone(),
            stats: Arc::new(Stats::new(counters)),
            counts: (0..counters).map(|_| Arc::new(Counts::default())).collect(),
            upstreams: Arc::new(Upstreams::default()),
            upstream_tls: Arc::new(NoUpstreamTls),
            hostname: Bytes::from(hostname),
            number: 0,
        };
        let terms = Terms { epoch: 1, plan: plan.clone(), tls: Arc::new(NoTls) };
        let mut server = Server {
            logs,
            files,
            parts,
            terms: Arc::new(ArcSwap::from_pointee(terms)),
            workers: Vec::new(),
            leaving: Vec::new(),
            sockets,
        };
        server.staff(&plan)?;
        Ok(server)
    }

    /// Serves `plan` on `sockets` from now on, in place of what was served. Everything is made before anything changes.
    ///
    /// # Errors
    /// [`Refused`]: nothing has changed then.
    pub fn replace(&mut self, plan: Arc<Plan>, sockets: Sockets) -> Result<(), Refused> {
        let epoch = self.terms.load().epoch + 1;
        let terms = Terms { epoch, plan: plan.clone(), tls: Arc::new(NoTls) };
        self.logs.use_plan(&plan.process.error_logs, &self.files).map_err(Refused)?;
        self.terms.store(Arc::new(terms));
        for worker in &self.workers {
            worker.tell(Command::Replace { connections: plan.process.worker_connections });
        }
        self.sockets = sockets;
        self.staff(&plan)?;
        self.files.forget_unused();
        Ok(())
    }

    /// As many workers as the plan wants, each with its sockets. Sockets of workers that leave go to those that stay.
    fn staff(&mut self, plan: &Plan) -> Result<(), Refused> {
        let wanted = sockets::workers(plan);
        while self.workers.len() < wanted {
            let parts = Parts { number: self.workers.len(), ..self.parts.clone() };
            let worker = Worker::start(parts, self.terms.clone());
            self.workers
                .push(worker.map_err(|error| Refused(format!("a worker cannot be started: {}", errno(&error))))?);
        }
        for number in 0..wanted {
            let mut share = Vec::new();
            for (address, sockets) in &self.sockets {
                for (index, socket) in sockets.iter().enumerate().filter(|(index, _)| index % wanted == number) {
                    let socket =
                        socket.try_clone().map_err(|error| Refused(format!("dup() failed ({})", errno(&error))))?;
                    share.push((address.clone(), index, socket));
                }
            }
            self.workers[number].tell(Command::Listen(share));
        }
        for worker in self.workers.drain(wanted..) {
            worker.tell(Command::Drain);
            self.leaving.push(worker);
        }
        self.leaving.retain(|worker| !worker.has_ended());
        Ok(())
    }

    /// Opens the logs again.
    pub fn reopen(&self) {
        for worker in &self.workers {
            worker.tell(Command::Flush);
        }
        for failed in self.files.reopen() {
            let text = format!("open() \"{}\" failed ({})", failed.path.display(), errno(&failed.source));
            self.logs.line(Level::Emerg, None, &text);
        }
    }

    /// Accepts no more, lets what is under way finish within `worker_shutdown_timeout`, and ends. `hurry` is asked
    /// meanwhile; true ends at once.
    pub fn quit(mut self, mut hurry: impl FnMut(Duration) -> bool) {
        let limit = self.terms.load().plan.process.shutdown_timeout;
        let begun = Instant::now();
        self.sockets.clear();
        self.leaving.append(&mut self.workers);
        for worker in &self.leaving {
            worker.tell(Command::Drain);
        }
        while !self.leaving.iter().all(Worker::has_ended) {
            if hurry(Duration::from_millis(5)) || limit.is_some_and(|limit| begun.elapsed() >= limit) {
                return;
            }
        }
    }
}
