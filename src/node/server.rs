//! What does the server process hold? Workers, their sockets, the plan in force, and everything that outlives a reload.
//! Told what to do by a master, or by the only process itself.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::clock::{Clock, Dice};
use crate::conf::world::World as _;
use crate::http::serve::Parts;
use crate::net::accept::Counts;
use crate::net::log::LogFiles;
use crate::net::opener::Opener;
use crate::net::terms::{NoTls, Terms};
use crate::plan::Plan;
use crate::plan::listener::ListenAddress;
use crate::plan::log::Level;
use crate::plan::tls::CertificateSource;
use crate::tls::build::Tls;
use crate::tls::certificates::Certificates;
use crate::tls::load::{self, Loaded};
use crate::tls::upstream::upstream_tls;
use crate::words::Fingerprint;
use crate::zone::beats::Beats;
use crate::zone::challenges::Challenges;
use crate::zone::concerns::Concerns;
use crate::zone::stats::Stats;
use crate::zone::upstreams::Upstreams;

use super::borrowed::Borrowed;
use super::clock::{RealClock, RealDice};
use super::control::{self, Adopted, Control};
use super::errorlog::{ErrorLogs, errno};
use super::exports::{Deliver, Exports};
use super::overdue::{self, Overdue};
use super::sockets;
use super::time::{self, JudgedClock};
use super::watched::Watched;
use super::worker::{Command, Share, Worker};

/// Workers beyond this many share their counters with others.
const COUNTERS: usize = 128;

/// Listening sockets by address.
pub type Sockets = BTreeMap<ListenAddress, Vec<OwnedFd>>;

/// A plan cannot be served; whatever was served before still is. In nginx's words where it has any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What is to be served.
#[derive(Clone, Debug)]
pub struct Work {
    /// The plan.
    pub plan: Arc<Plan>,
    /// What of it cannot be used at present, and is served around.
    pub faults: Vec<String>,
    /// A digest of the text that it was made from.
    pub digest: Fingerprint,
}

impl From<super::load::Loaded> for Work {
    fn from(loaded: super::load::Loaded) -> Work {
        Work { faults: loaded.forgiven(), digest: loaded.digest(), plan: loaded.plan }
    }
}

/// Says what is served around: loudly, for a start goes on where nginx would not.
fn say(logs: &ErrorLogs, faults: &[String]) {
    for fault in faults {
        logs.line(Level::Emerg, None, fault);
    }
}

/// Starts what runs beside the workers: the control thread and the overdue clock.
fn beside(
    time: Arc<JudgedClock>,
    parts: &Parts,
    terms: &Arc<ArcSwap<Terms>>,
    tls: &Arc<Tls>,
    files: Borrowed,
    deliver: Arc<dyn Deliver>,
) -> Result<(Control, Overdue), Refused> {
    let (concerns, beats) = (Arc::new(Concerns::default()), Arc::new(Beats::default()));
    let around = control::Around {
        clock: time.clone(),
        concerns: concerns.clone(),
        beats: beats.clone(),
        terms: terms.clone(),
        dice: parts.dice.clone(),
        tls: tls.clone(),
        challenges: parts.challenges.clone(),
        files,
        stats: parts.stats.clone(),
        counts: parts.counts.clone(),
        upstreams: parts.upstreams.clone(),
        exports: Exports::start(deliver).map_err(|error| refused("starting the thread of exports", &error))?,
    };
    let control = Control::start(around).map_err(|error| refused("starting the control thread", &error))?;
    let looks = overdue::Looks {
        certificates: tls.certificates().clone(),
        door: tls.door().clone(),
        terms: terms.clone(),
        beats,
        concerns,
        clock: time,
    };
    let overdue = Overdue::start(looks).map_err(|error| refused("starting the overdue clock", &error))?;
    Ok((control, overdue))
}

/// The sockets on which other nodes of the fleet come in: no worker listens there.
fn take_links(sockets: &mut Sockets, plan: &Plan) -> Vec<TcpListener> {
    let links: Vec<ListenAddress> = sockets.keys().filter(|at| sockets::is_link(plan, at)).cloned().collect();
    links.iter().filter_map(|at| sockets.remove(at)).flatten().map(TcpListener::from).collect()
}

fn refused(what: &str, why: &dyn std::fmt::Display) -> Refused {
    Refused(format!("{what} failed: {why}"))
}

/// The server process.
pub struct Server {
    logs: ErrorLogs,
    files: Arc<LogFiles>,
    parts: Parts,
    /// The clock by which certificates are judged; requests and logs go by the machine's own, that of `parts`.
    time: Arc<JudgedClock>,
    tls: Arc<Tls>,
    control: Control,
    terms: Arc<ArcSwap<Terms>>,
    watched: Watched,
    _overdue: Overdue,
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
    /// Serves `job` on `sockets`.
    ///
    /// # Errors
    /// [`Refused`]: nothing is served then.
    pub fn start(
        job: Work,
        mut sockets: Sockets,
        opener: Arc<dyn Opener>,
        deliver: Arc<dyn Deliver>,
        logs: ErrorLogs,
    ) -> Result<Server, Refused> {
        let Work { plan, mut faults, digest } = job;
        let files = Arc::new(LogFiles::new(opener.clone()));
        logs.use_plan(&plan.process.error_logs, &files).map_err(Refused)?;
        let (clock, dice): (Arc<dyn Clock>, Arc<dyn Dice>) = (Arc::new(RealClock), Arc::new(RealDice));
        let counters = sockets::workers(&plan).max(COUNTERS);
        let files_of_others = Borrowed(opener.clone());
        let time = Arc::new(JudgedClock::new(clock.clone(), time::uptime, Some(&plan.process.state_path)));
        let challenges = Arc::new(Challenges::new(time.clone()));
        let certificates = Certificates::new().map_err(|error| refused("making a placeholder certificate", &error))?;
        let tls = Arc::new(Tls::new(certificates, challenges.clone(), time.clone(), Arc::new(files_of_others.clone())));
        let parts = Parts {
            challenges,
            clock,
            dice,
            opener,
            logs: files.clone(),
            stats: Arc::new(Stats::new(counters)),
            counts: (0..counters).map(|_| Arc::new(Counts::default())).collect(),
            limits: Arc::default(),
            upstreams: Arc::new(Upstreams::default()),
            upstream_tls: tls.clone(),
            hostname: Bytes::from(super::world::RealWorld { judge_certificates: false }.hostname()),
            number: 0,
        };
        let terms = Arc::new(ArcSwap::from_pointee(Terms { epoch: 0, plan: plan.clone(), tls: Arc::new(NoTls) }));
        let (control, overdue) = beside(time.clone(), &parts, &terms, &tls, files_of_others.clone(), deliver)?;
        let watched = Watched::start(tls.clone(), terms.clone(), time.clone(), Arc::new(files_of_others));
        let watched = watched.map_err(|error| refused("starting the file watcher", &error))?;
        watched.adopt(&plan);
        faults.extend(tls.load_files(&plan).into_iter().map(|fault| fault.0));
        let (plan_tls, more) = tls.terms(&plan);
        faults.extend(more.into_iter().chain(tls.prepare_upstreams(&plan, true)).map(|fault| fault.0));
        say(&logs, &faults);
        let links = take_links(&mut sockets, &plan);
        control.adopt(Adopted { plan: plan.clone(), epoch: 1, faults, digest, links });
        terms.store(Arc::new(Terms { epoch: 1, plan: plan.clone(), tls: plan_tls }));
        let mut server = Server {
            logs,
            files,
            parts,
            time,
            tls,
            control,
            terms,
            watched,
            _overdue: overdue,
            workers: Vec::new(),
            leaving: Vec::new(),
            sockets,
        };
        server.staff(&plan, None)?;
        Ok(server)
    }

    /// Serves `job` on `sockets` from now on, in place of what was served. Everything is made before anything changes.
    /// `shared`: another process listens on our sockets too, also on those that we give up.
    ///
    /// # Errors
    /// [`Refused`]: nothing has changed then.
    pub fn replace(&mut self, job: Work, mut sockets: Sockets, shared: bool) -> Result<(), Refused> {
        let Work { plan, mut faults, digest } = job;
        self.logs.use_plan(&plan.process.error_logs, &self.files).map_err(Refused)?;
        self.watched.adopt(&plan);
        faults.extend(self.read_again(&plan));
        faults.extend(self.tls.load_files(&plan).into_iter().map(|fault| fault.0));
        let (tls, more) = self.tls.terms(&plan);
        faults.extend(more.into_iter().map(|fault| fault.0));
        faults.extend(self.tls.prepare_upstreams(&plan, true).into_iter().map(|fault| fault.0));
        say(&self.logs, &faults);
        let epoch = self.terms.load().epoch + 1;
        let links = take_links(&mut sockets, &plan);
        self.control.adopt(Adopted { plan: plan.clone(), epoch, faults, digest, links });
        let before = self.terms.swap(Arc::new(Terms { epoch, plan: plan.clone(), tls }));
        for worker in &self.workers {
            worker.tell(Command::Replace { connections: plan.process.worker_connections });
        }
        // The master holds the others until it knows that this plan is in force.
        sockets.retain(|address, _| sockets::wants(&plan, address));
        let gone = self.sockets.keys().filter(|address| !shared && !sockets.contains_key(*address));
        let gone: Arc<[ListenAddress]> = gone.cloned().collect();
        self.sockets = sockets;
        self.staff(&plan, Some((gone, before)))?;
        self.files.forget_unused();
        let mut wanted: std::collections::HashSet<_> = load::names_in_use(&plan).into_keys().cloned().collect();
        let ours = upstream_tls(&plan).into_iter().filter_map(|tls| tls.certificate.clone());
        wanted.extend(ours.map(CertificateSource::File));
        let behind = |source: &CertificateSource| matches!(source, CertificateSource::Acme(id) if id.is_variant());
        let on_demand: std::collections::HashSet<_> =
            self.tls.door().ids().into_iter().map(CertificateSource::Acme).collect();
        let stays =
            |source: &CertificateSource| wanted.contains(source) || behind(source) || on_demand.contains(source);
        self.tls.certificates().retain(stays);
        Ok(())
    }

    /// A reload reads certificate files again, as nginx does, whether or not somebody saw them change. What cannot be
    /// used, or is held back, is told; what was shown stays.
    fn read_again(&self, plan: &Plan) -> Vec<String> {
        let now = self.time.now();
        let mut faults = Vec::new();
        for (source, names) in load::names_in_use(plan) {
            let CertificateSource::File(files) = source else { continue };
            if self.tls.certificates().held(source).is_none() {
                continue;
            }
            match self.tls.reload_file(files, &names, now) {
                Loaded::Bad(fault) => faults.push(fault.0),
                Loaded::HeldBack(why) => {
                    faults.push(format!("certificate \"{}\" is held back: {why}", files.certificate.display()));
                }
                Loaded::Installed(..) | Loaded::Same => {}
            }
        }
        faults
    }

    /// As many workers as the plan wants, each with its sockets. Sockets of workers that leave go to those that stay.
    /// `closed`: addresses on which nobody listens any more, with the terms that held for them.
    fn staff(&mut self, plan: &Plan, closed: Option<(Arc<[ListenAddress]>, Arc<Terms>)>) -> Result<(), Refused> {
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
            self.workers[number].tell(Command::Listen(Share { sockets: share, closed: closed.clone() }));
        }
        for worker in self.workers.drain(wanted..) {
            // Its sockets of closed addresses have nobody else; of the others, the next worker has them.
            worker.tell(Command::Listen(Share { sockets: Vec::new(), closed: closed.clone() }));
            worker.tell(Command::Drain { last: false });
            self.leaving.push(worker);
        }
        self.leaving.retain(|worker| !worker.has_ended());
        Ok(())
    }

    /// The last certificate of the chain that is shown for `source`, DER: where the built-in authority signs, its root.
    pub fn root_of(&self, source: &CertificateSource) -> Option<Vec<u8>> {
        let signer = self.tls.certificates().held(source)?.signer().ok()?;
        Some(signer.cert.last()?.to_vec())
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

    /// Accepts no more, lets what is under way finish within `worker_shutdown_timeout`, and ends. `last`: nobody accepts
    /// on our sockets after us. `hurry` is asked meanwhile; true ends at once.
    pub fn quit(mut self, last: bool, mut hurry: impl FnMut(Duration) -> bool) {
        let limit = self.terms.load().plan.process.shutdown_timeout;
        let begun = Instant::now();
        self.control.leave();
        self.sockets.clear();
        self.leaving.append(&mut self.workers);
        for worker in &self.leaving {
            worker.tell(Command::Drain { last });
        }
        while !self.leaving.iter().all(Worker::has_ended) {
            if hurry(Duration::from_millis(5)) || limit.is_some_and(|limit| begun.elapsed() >= limit) {
                return;
            }
        }
    }
}
