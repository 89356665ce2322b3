//! What runs beside the workers? Keepers of certificates and the admin socket, on a runtime and a thread of their own: a
//! stuck authority or disk never slows a request.

use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::cert::bundle::Bundle;
use crate::cert::journal::ShelfError;
use crate::cert::on_demand::Word;
use crate::cert::stage::Stage;
use crate::cert::ways::Standing;
use crate::clock::{Clock as _, Dice, UnixTime};
use crate::conf::world::World as _;
use crate::net::accept::Counts;
use crate::net::terms::Terms;
use crate::plan::Plan;
use crate::plan::certificate::{CertId, CertSpec};
use crate::plan::listener::ListenAddress;
use crate::plan::tls::CertificateSource;
use crate::plan::upstream::Upstream;
use crate::tls::build::Tls;
use crate::watch::renewers::Renewers;
use crate::words::{DomainName, Fingerprint};
use crate::zone::beats::Beats;
use crate::zone::challenges::Challenges;
use crate::zone::concerns::Concerns;
use crate::zone::stats::Stats;
use crate::zone::upstreams::Upstreams;

use super::admin::{self, Caller, Question};
use super::borrowed::Borrowed;
use super::exports::Exports;
use super::fleet::Front;
use super::keeper::Tools;
use super::keepers::Keepers;
use super::on_demand::Demand;
use super::overdue::tell;
use super::rescue::Rescuer;
use super::revocations::Revocations;
use super::served::{Served, Truths};
use super::sources::Sources;
use super::status::{Certificate, Next, Shown, Status};
use super::time::JudgedClock;
use super::wishes::WishList;
use super::world::RealWorld;

mod asked;
mod demand;
mod fleet;
mod hosts;
mod rollover;

pub use asked::serves;

/// The time is judged in this interval.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// The keepers of a new plan have all turned once after this time.
const SETTLED: Duration = Duration::from_secs(3);
/// Hosts that were not found are looked up again in this interval.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);

/// What the control thread works with.
#[derive(Clone)]
pub struct Around {
    /// The clock by which certificates are kept.
    pub clock: Arc<JudgedClock>,
    /// What needs eyes.
    pub concerns: Arc<Concerns>,
    /// What keepers note.
    pub beats: Arc<Beats>,
    /// The plan in force and its handshake settings.
    pub terms: Arc<ArcSwap<Terms>>,
    /// Dice.
    pub dice: Arc<dyn Dice>,
    /// Certificates.
    pub tls: Arc<Tls>,
    /// Open challenges.
    pub challenges: Arc<Challenges>,
    /// Files and secrets.
    pub files: Borrowed,
    /// Counters of requests.
    pub stats: Arc<Stats>,
    /// Counters of connections.
    pub counts: Arc<[Arc<Counts>]>,
    /// Upstreams, for those whose host is not found yet.
    pub upstreams: Arc<Upstreams>,
    /// Certificates for others.
    pub exports: Exports,
}

/// The control thread.
#[derive(Debug)]
pub struct Control {
    say: mpsc::UnboundedSender<Said>,
    _thread: JoinHandle<()>,
}

/// A plan that is in force from now on.
#[derive(Debug)]
pub struct Adopted {
    /// The plan.
    pub plan: Arc<Plan>,
    /// How many there were.
    pub epoch: u64,
    /// What of it cannot be used.
    pub faults: Vec<String>,
    /// A digest of the text that it was made from.
    pub digest: Fingerprint,
    /// Where other nodes of the fleet come in.
    pub links: Vec<TcpListener>,
}

/// What it is told.
#[derive(Debug)]
enum Said {
    /// Keep the certificates of this plan.
    Adopt(Adopted, blocking::SyncSender<()>),
    /// Another node has obtained a generation.
    Handed(Box<Bundle>),
    /// This process goes: other nodes are told.
    Leave,
    /// An upstream's host has been found.
    Resolved(Arc<Upstream>, usize, Vec<IpAddr>),
    /// Somebody asks over the admin socket.
    Asked(Question, Caller),
    /// What `ask` said about a name on demand.
    Word(DomainName, Word),
    /// The names on demand are written down; these may begin.
    Held(Vec<DomainName>, Result<(), ShelfError>),
}

impl Control {
    /// Starts the thread; it keeps nothing yet.
    ///
    /// # Errors
    /// When the system has no room for a thread or its runtime.
    pub fn start(around: Around) -> std::io::Result<Control> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (say, inbox) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("control".to_owned());
        let own = say.downgrade();
        let thread = thread.spawn(move || runtime.block_on(Desk::new(around, own).run(inbox)))?;
        Ok(Control { say, _thread: thread })
    }

    /// Keeps the certificates of a plan from now on. Returns when what is held of them can be served.
    pub fn adopt(&self, adopted: Adopted) {
        let (done, wait) = blocking::sync_channel(1);
        if self.say.send(Said::Adopt(adopted, done)).is_ok() {
            // A control thread that is gone has said why.
            let _ = wait.recv();
        }
    }

    /// Takes leave of the other nodes: this process goes, or another one takes its place.
    pub fn leave(&self) {
        let _ = self.say.send(Said::Leave);
    }
}

/// Which kinds of listener an authority may find; ports do not matter, somebody may forward to them.
fn standing(plan: &Plan) -> Standing {
    let listeners = plan.http.iter().flat_map(|http| http.listeners.iter());
    let mut tcp = listeners.filter(|listener| matches!(listener.address, ListenAddress::Tcp(_))).peekable();
    if tcp.peek().is_none() {
        // Sockets of the file system: whoever stands before them may forward anything.
        return Standing::default();
    }
    let kinds: Vec<bool> = tcp.flat_map(|listener| listener.addresses.iter()).map(|address| address.ssl).collect();
    Standing { http: kinds.contains(&false), tls: kinds.contains(&true) }
}

/// What the control thread holds.
pub(super) struct Desk {
    around: Around,
    sources: Arc<Sources>,
    keepers: Keepers,
    rescuer: Rescuer,
    revocations: Revocations,
    front: Front,
    plan: Option<Arc<Plan>>,
    epoch: u64,
    faults: Vec<String>,
    rivals: Vec<String>,
    since: UnixTime,
    admin: Option<(PathBuf, UnixListener)>,
    say: mpsc::WeakUnboundedSender<Said>,
    unresolved: Vec<(Arc<Upstream>, usize)>,
    /// Where the operator's wishes wait.
    doomed: Vec<Arc<WishList>>,
    /// Revocations that are under way, by certificate and generation.
    errands: HashMap<(CertId, u64), tokio::task::JoinHandle<()>>,
    /// Changes of account keys that go on, by issuer.
    rolling: HashMap<String, tokio::task::JoinHandle<()>>,
    served: Arc<Mutex<Served>>,
    /// Names on demand.
    demand: Option<Demand>,
}

impl Desk {
    fn new(around: Around, say: mpsc::WeakUnboundedSender<Said>) -> Desk {
        let sources = Arc::new(Sources::new(around.tls.certificates().clone(), around.clock.clone()));
        let shown = sources.clone();
        let exports = around.exports.clone();
        sources.report_to(Box::new(move |id, shown| exports.shown(id, shown)));
        let exports = around.exports.clone();
        let front = fleet::front(&around, &say);
        let ear = front.ear();
        let publish = move |installed: Vec<super::keeper::Installed>| {
            installed.iter().for_each(|one| {
                exports.installed(&one.bundle);
                ear.installed(&one.bundle);
            });
            shown.offer(installed);
        };
        let tools = Tools {
            clock: around.clock.clone(),
            dice: around.dice.clone(),
            publish: Arc::new(publish),
            beats: around.beats.clone(),
        };
        let mut keepers = Keepers::new(tools, around.challenges.clone(), Arc::new(around.files.clone()));
        keepers.arrange_with(sources.clone());
        let roots: Arc<[_]> = webpki_roots::TLS_SERVER_ROOTS.into();
        let resolve = Arc::new(|host: &str| (RealWorld { judge_certificates: false }).resolve(host));
        let rescuer = Rescuer::new(around.tls.certificates().clone(), around.clock.clone(), roots, resolve);
        let revocations = Revocations::new(around.clock.clone(), around.dice.clone());
        let since = around.clock.now();
        Desk {
            around,
            sources,
            keepers,
            rescuer,
            revocations,
            front,
            plan: None,
            epoch: 0,
            faults: Vec::new(),
            rivals: Vec::new(),
            since,
            admin: None,
            say,
            unresolved: Vec::new(),
            doomed: Vec::new(),
            errands: HashMap::new(),
            rolling: HashMap::new(),
            served: Arc::default(),
            demand: None,
        }
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Said>) {
        let mut again = tokio::time::interval(RESOLVE_AGAIN);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut of_fleet = tokio::time::interval(Duration::from_secs(1));
        let mut minute = tokio::time::interval(Duration::from_secs(60));
        let mut day = tokio::time::interval(Duration::from_secs(86_400));
        let mut clock = tokio::time::interval(LOOK_AT_CLOCK);
        let Around { tls, terms, concerns, clock: time, .. } = self.around.clone();
        let truths = Truths::new(tls.certificates().clone(), terms, time, concerns, self.served.clone());
        let truths = truths.looking(self.keepers.lookout());
        tokio::spawn(truths.run());
        let mut rings = self.around.tls.door().rings();
        let mut minutes = 0_u32;
        loop {
            tokio::select! {
                _ = again.tick(), if !self.unresolved.is_empty() => self.resolve_again(),
                _ = second.tick(), if self.sources.is_busy() || self.rescuer.is_busy() || self.demand.is_some() => {
                    self.sources.tick();
                    self.rescuer.tick();
                    self.ask_again();
                }
                _ = minute.tick() => {
                    self.rescue();
                    self.look_at_fleet();
                    minutes = minutes.wrapping_add(1);
                    self.look_after_demand(minutes.is_multiple_of(60));
                }
                ring = demand::next_ring(&mut rings) => self.rung(ring),
                _ = of_fleet.tick(), if self.plan.as_ref().is_some_and(|plan| plan.fleet.is_some()) => self.tick_fleet(),
                _ = day.tick() => self.keepers.tidy(),
                id = self.keepers.changed() => self.heed(&id),
                _ = clock.tick() => self.look_at_clock(),
                said = inbox.recv() => match said {
                    Some(said) => self.hear(said),
                    None => return,
                },
                stream = admin::next(&self.admin) => {
                    let Some(say) = self.say.upgrade() else { return };
                    tokio::spawn(async move {
                        if let Some((caller, question)) = Caller::hear(stream).await {
                            let _ = say.send(Said::Asked(question, caller));
                        }
                    });
                }
            }
        }
    }

    /// Judges the time, says what is in doubt, and asks authorities where that would help.
    fn look_at_clock(&self) {
        let time = self.around.clock.clone();
        tell(&self.around.concerns.report("time", time.concern().into_iter().collect()));
        if time.judge().ask {
            self.keepers.hear_the_time();
        }
        tokio::task::spawn_blocking(move || time.remember());
    }

    fn hear(&mut self, said: Said) {
        let (adopted, done) = match said {
            Said::Adopt(adopted, done) => (adopted, done),
            Said::Handed(bundle) => return self.keepers.hand(bundle),
            Said::Leave => return self.front.leave(),
            Said::Resolved(upstream, index, addresses) => return self.resolved(&upstream, index, addresses),
            Said::Asked(question, caller) => return self.asked(question, caller),
            Said::Word(name, word) => return self.answered(name, word),
            Said::Held(names, done) => return self.begin(&names, done),
        };
        let Adopted { plan, epoch, faults, digest, links } = adopted;
        self.unresolved = hosts::unresolved(&plan);
        self.adopt_fleet(plan.clone(), digest, faults.clone(), links);
        self.keepers.stand(standing(&plan));
        self.keepers.look_by(&plan.checks, &plan.process.state_path);
        self.adopt_demand(&plan);
        self.keepers.adopt(&plan.issuers, &plan.certificates);
        self.recall_wishes(&plan);
        self.around.exports.adopt(&plan);
        let path = admin::path(&plan.process.state_path);
        if self.admin.as_ref().is_none_or(|(open, _)| *open != path) {
            self.admin = admin::open(&path).map(|listener| (path, listener));
        }
        self.look_for_rivals(&plan);
        (self.plan, self.epoch, self.faults) = (Some(plan.clone()), epoch, faults);
        self.show_demand();
        // Whoever doubts the time asks these authorities before anything is ordered by it.
        self.look_at_clock();
        self.rescue();
        self.resume_rollovers();
        self.revocations.look(self.keepers.kept.values(), &plan.issuers);
        // Whoever waits no longer need not know.
        let _ = done.send(());
        super::heap::give_back();
        // What the first turns of thousands of keepers leave behind too.
        tokio::spawn(super::heap::give_back_after(SETTLED));
    }

    /// Who else renews what we look after; said once, and again when it changes.
    fn look_for_rivals(&mut self, plan: &Plan) {
        if plan.certificates.is_empty() {
            return self.rivals.clear();
        }
        let names: Vec<String> =
            plan.certificates.iter().flat_map(|spec| &spec.identifiers).map(ToString::to_string).collect();
        let rivals = Renewers::below(std::path::Path::new("/")).rivals(&names);
        for rival in rivals.iter().filter(|rival| !self.rivals.contains(rival)) {
            tracing::warn!("{rival}");
        }
        self.rivals = rivals;
    }

    /// Takes over certificates of files that nobody renews.
    fn rescue(&mut self) {
        if let Some(plan) = &self.plan {
            self.rescuer.look(plan, &mut self.keepers);
        }
    }

    /// Follows a change of one certificate.
    fn heed(&mut self, id: &CertId) {
        self.keepers.heed(id);
        let issuers = self.plan.as_ref().map_or(&[][..], |plan| &plan.issuers);
        self.revocations.note(self.keepers.kept(id).into_iter(), issuers);
    }

    fn status(&self) -> Status {
        use std::sync::atomic::Ordering::Relaxed;
        let http = self.plan.as_ref().and_then(|plan| plan.http.as_ref());
        let listeners = http.map(|http| &http.listeners[..]).unwrap_or_default();
        let mut certificates: Vec<Certificate> =
            self.keepers.stages().iter().map(|(spec, stage)| self.kept(spec, stage)).collect();
        if let Some(plan) = &self.plan {
            for (source, names) in crate::tls::load::names_in_use(plan) {
                let CertificateSource::File(files) = source else { continue };
                certificates.push(Certificate {
                    names: names.iter().map(ToString::to_string).collect(),
                    source: files.certificate.display().to_string(),
                    shown: self.shown(source),
                    next: Next::Watched,
                    trouble: None,
                    paused: false,
                });
            }
        }
        certificates.sort_by(|a, b| (&a.names, &a.source).cmp(&(&b.names, &b.source)));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            now: self.around.clock.now(),
            epoch: self.epoch,
            workers: self.plan.as_ref().map_or(0, |plan| super::sockets::workers(plan)),
            connections: self.around.counts.iter().map(|counts| counts.open.load(Relaxed)).sum(),
            requests: self.around.stats.sum().requests,
            listeners: listeners.iter().map(|listener| crate::net::listen::shown(&listener.address)).collect(),
            certificates,
            faults: self
                .faults
                .iter()
                .chain(self.keepers.troubles())
                .cloned()
                .chain(self.around.exports.troubles())
                .collect(),
            concerns: self.around.concerns.all(),
            served: self.served.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            rivals: self.rivals.clone(),
            fleet: self.front.view(),
        }
    }

    fn kept(&self, spec: &CertSpec, stage: &Stage) -> Certificate {
        let next = match stage {
            Stage::Absent { retry_at, .. } => Next::Attempt(*retry_at),
            Stage::Serving { renew_at, .. } => Next::Renewal(*renew_at),
            Stage::Ordering { .. } => Next::OrderUntil(stage.wakes_at()),
        };
        let trouble = stage.trouble();
        Certificate {
            names: spec.identifiers.iter().map(ToString::to_string).collect(),
            source: match self.keepers.is_on_demand(&spec.id) {
                true => format!("issuer {}, on demand", spec.issuer),
                false => format!("issuer {}", spec.issuer),
            },
            shown: self.shown(&CertificateSource::Acme(spec.id.clone())),
            next,
            paused: self.keepers.kept(&spec.id).is_some_and(|(_, handle)| handle.paused()),
            trouble: trouble
                .last
                .as_ref()
                .filter(|_| trouble.failures > 0)
                .map(|last| format!("{} failed attempts in a row, the last: {last}", trouble.failures)),
        }
    }

    fn shown(&self, source: &CertificateSource) -> Option<Shown> {
        let held = self.around.tls.certificates().held(source)?;
        let leaf = crate::cert::inspect::Leaf::read(held.leaf()).ok()?;
        Some(Shown {
            serial: leaf.serial_text(),
            issuer: leaf.issuer.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            fingerprint: leaf.fingerprint.to_string(),
        })
    }
}
