//! How does this node take part in its fleet? Started when the configuration has a `fleet` block, told of what is installed
//! and opened here, asked whose turn it is. Without the block nothing runs and nothing is paid.

mod answers;
mod bundles;
mod core;
mod disk;
mod etcd;
mod report;
mod tickets;
mod tokens;
mod turns;
pub mod view;

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::acme::Secrets;
use crate::cert::bundle::Bundle;
use crate::cert::concern::{Concern, Severity, Topic};
use crate::clock::{Clock, Dice};
use crate::fleet::message::Token;
use crate::fleet::report::Report;
use crate::fleet::sync::{Event, Terms};
use crate::fleet::{Digest, NodeId, Sync};
use crate::peer::{self, Keys, Links, NodeKey, Settings};
use crate::plan::Plan;
use crate::plan::fleet::{Fleet, Hold};
use crate::tls::tickets::TicketKeys;
use crate::words::{Fingerprint, FleetKey, SecretRef};
use crate::zone::challenges::Challenges;

use self::answers::Answers;
use self::core::{Core, Hand, Tools};
use self::disk::Disk;
use self::etcd::EtcdShare;
use self::tickets::Tickets;
use self::tokens::Tokens;

pub use self::turns::FleetTurns;

/// Key files are looked at this often.
const LOOK_AT_KEYS: Duration = Duration::from_secs(5);
/// Who was seen when is written down this often.
const SELDOM: Duration = Duration::from_secs(600);
/// What a node says of itself is gathered for so long.
const GATHER: Duration = Duration::from_millis(250);

/// What the fleet needs of the process around it.
#[derive(Clone)]
pub struct Around {
    /// The civil clock.
    pub clock: Arc<dyn Clock>,
    /// Dice.
    pub dice: Arc<dyn Dice>,
    /// Where key files are read.
    pub secrets: Arc<dyn Secrets>,
    /// The table of open challenges.
    pub challenges: Arc<Challenges>,
    /// Takes bundles to keepers.
    pub hand: Hand,
    /// The keys of session tickets.
    pub tickets: Arc<TicketKeys>,
}

/// What a configuration means to the fleet.
pub struct Wanted {
    /// The plan.
    pub plan: Arc<Plan>,
    /// A digest of the text that it was made from.
    pub digest: Fingerprint,
    /// How this machine is called.
    pub name: String,
    /// What of it cannot be used.
    pub faults: Vec<String>,
    /// Where other nodes come in.
    pub listeners: Vec<TcpListener>,
}

/// The part of this node in its fleet, if there is one.
pub struct Front {
    around: Around,
    ear: Ear,
    running: Option<Running>,
    /// What could not be started yet, for want of a key.
    wanted: Option<Wanted>,
    told: Option<String>,
    looked: Instant,
    /// What was wrong at the last look: once is nothing, a renewal needs a moment.
    wrong: Vec<(String, String)>,
}

struct Running {
    core: Arc<Mutex<Core>>,
    state: PathBuf,
    fleet: Fleet,
    keys: Vec<Arc<FleetKey>>,
    listeners: Vec<TcpListener>,
    task: JoinHandle<()>,
}

/// Tells the fleet what happens here; says nothing while there is none.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Option<mpsc::UnboundedSender<Said>>>>);

enum Said {
    Installed(Arc<Bundle>),
    Opened(Token),
    Closed(String),
    Spread(Vec<String>, oneshot::Sender<()>),
    Ask(String, oneshot::Sender<()>),
}

impl Ear {
    fn say(&self, said: Said) {
        if let Some(say) = &*lock(&self.0) {
            let _ = say.send(said);
        }
    }

    /// A generation is in force.
    pub fn installed(&self, bundle: &Arc<Bundle>) {
        self.say(Said::Installed(bundle.clone()));
    }
}

impl Front {
    /// No fleet yet.
    pub fn new(around: Around) -> Front {
        let (ear, looked) = (Ear::default(), Instant::now());
        Front { around, ear, running: None, wanted: None, told: None, looked, wrong: Vec::new() }
    }

    /// By which the fleet hears of what happens here.
    pub fn ear(&self) -> Ear {
        self.ear.clone()
    }

    /// Takes part as this configuration says; begins, or ends, if it must.
    pub fn adopt(&mut self, wanted: Wanted) {
        let Some(fleet) = wanted.plan.fleet.clone() else {
            self.wanted = None;
            return self.leave();
        };
        let state = wanted.plan.process.state_path.clone();
        if self.running.as_ref().is_some_and(|running| running.state != state) {
            self.leave();
        }
        let keys = match self.read_keys(&fleet) {
            Ok(keys) => keys,
            Err(why) => {
                self.tell(why);
                self.wanted = Some(wanted);
                return;
            }
        };
        self.told = None;
        match &mut self.running {
            Some(running) => {
                let same = running.fleet.store == fleet.store && running.keys == keys;
                running.adopt(fleet, keys, wanted);
                if !same {
                    running.share(&self.around);
                }
            }
            None => match self.start(&state, fleet, keys, &wanted) {
                Ok(mut running) => {
                    running.share(&self.around);
                    running.say(&wanted);
                    self.running = Some(running);
                }
                Err(why) => {
                    self.tell(why);
                    self.wanted = Some(wanted);
                }
            },
        }
    }

    /// Hangs up: another process takes this node's place, or there is no fleet any more.
    pub fn leave(&mut self) {
        if let Some(running) = self.running.take() {
            lock(&self.ear.0).take();
            self.around.challenges.share_with(None);
            lock(&running.core).on(Event::Leaving);
            lock(&running.core).links.close();
            lock(&running.core).share_through(None);
            running.task.abort();
        }
    }

    /// To be called each second: looks whether key files have changed, or have come at last.
    pub fn tick(&mut self) {
        if self.looked.elapsed() < LOOK_AT_KEYS || (self.running.is_none() && self.wanted.is_none()) {
            return;
        }
        self.looked = Instant::now();
        if let Some(wanted) = self.wanted.take() {
            return self.adopt(wanted);
        }
        let Some(fleet) = self.running.as_ref().map(|running| running.fleet.clone()) else { return };
        match self.read_keys(&fleet) {
            Ok(keys) => {
                self.told = None;
                if let Some(running) = self.running.as_mut().filter(|running| running.keys != keys) {
                    tracing::info!(level = "notice", "fleet: the fleet key has changed and is in force");
                    running.take_keys(keys);
                    running.share(&self.around);
                }
            }
            Err(why) => self.tell(format!("{why}; the key that was in force stays")),
        }
    }

    /// Whose turn it is, for keepers.
    pub fn turns(&self) -> Option<FleetTurns> {
        self.running.as_ref().map(|running| FleetTurns(Arc::downgrade(&running.core)))
    }

    /// How the fleet stands, for people.
    pub fn view(&self) -> Option<view::FleetView> {
        match (&self.running, &self.wanted) {
            (Some(running), _) => Some(view::of(&lock(&running.core), &running.keys)),
            (None, Some(_)) => Some(view::FleetView { trouble: self.told.clone(), ..Default::default() }),
            (None, None) => None,
        }
    }

    /// Removes a node for good, by its id or the beginning of it; the id.
    ///
    /// # Errors
    /// In words: no fleet, no such node, more than one, or this one.
    pub fn remove(&self, node: &str) -> Result<String, String> {
        let running = self.running.as_ref().ok_or("this node is in no fleet")?;
        lock(&running.core).remove(node)
    }

    /// What people should know: what was wrong at this look and at the one before. To be called each minute or so.
    pub fn concerns(&mut self) -> Vec<Concern> {
        let now = self.view().map(|view| view.wrong()).unwrap_or_default();
        let before = std::mem::replace(&mut self.wrong, now);
        let since = self.around.clock.now();
        let lasting = self.wrong.iter().filter(|(subject, _)| before.iter().any(|(old, _)| old == subject));
        let concern = |(subject, text): &(String, String)| Concern {
            topic: Topic::Fleet,
            subject: subject.clone(),
            severity: Severity::Warning,
            text: text.clone(),
            since,
        };
        lasting.map(concern).collect()
    }

    fn tell(&mut self, why: String) {
        if self.told.as_ref() != Some(&why) {
            tracing::error!("fleet: {why}");
            self.told = Some(why);
        }
    }

    fn read_keys(&self, fleet: &Fleet) -> Result<Vec<Arc<FleetKey>>, String> {
        let read = |secret: &SecretRef| -> Result<Arc<FleetKey>, String> {
            let text = self.around.secrets.read(secret).map_err(|error| format!("{secret} cannot be read: {error}"))?;
            FleetKey::parse(&text).map(Arc::new).map_err(|error| format!("{secret}: {error}"))
        };
        let mut keys = vec![read(&fleet.key)?];
        if let Some(old) = &fleet.old_key {
            keys.push(read(old)?);
        }
        Ok(keys)
    }

    fn start(
        &mut self,
        state: &Path,
        fleet: Fleet,
        keys: Vec<Arc<FleetKey>>,
        wanted: &Wanted,
    ) -> Result<Running, String> {
        let own = disk::node_key(state, draw).or_else(|error| match error.kind() {
            // Another node would be worse than none: what is there is not ours to throw away.
            io::ErrorKind::InvalidData => Err(error),
            _ => {
                tracing::error!("fleet: this node's key cannot be kept over a restart: {error}");
                draw().and_then(|seed| NodeKey::of(seed).map_err(io::Error::other))
            }
        });
        let own = own.map_err(|error| error.to_string())?;
        let life = draw().map_err(|error| error.to_string())?;
        // Later runs have larger numbers; two that begin in the same moment have different ones.
        let begun = self.around.clock.now().0.cast_unsigned();
        let life = (begun << 16) | u64::from(u16::from_be_bytes([life[0], life[1]]));
        let me = NodeId::from_bytes(own.id());
        let link_keys = of_link(&keys)?;
        let (links, events) = Links::new(own, life, (1, 1), link_keys, self.around.dice.clone());
        let mut terms = Terms::new(env!("CARGO_PKG_VERSION"), life);
        terms.hello.holds_all = fleet.hold == Hold::All;
        let disk = Disk::start(state, keys[0].clone()).map_err(|error| error.to_string())?;
        let Around { clock, dice, hand, challenges, .. } = self.around.clone();
        let tickets = Tickets::new(self.around.tickets.clone(), clock.now());
        let tools = Tools { clock, dice, hand, disk, tickets };
        let core = Core::new(Sync::new(me, terms), links, Tokens::new(challenges.clone()), tools);
        let core = Arc::new(Mutex::new(core));
        let (say, said) = mpsc::unbounded_channel();
        *lock(&self.ear.0) = Some(say);
        challenges.share_with(Some(Arc::new(Answers::new(self.ear.clone(), core.clone()))));
        tracing::info!(level = "notice", "fleet: this is node {me}, fleet key {}", keys[0].name());
        let task = tokio::spawn(run(core.clone(), state.to_owned(), keys.clone(), events, said));
        let listeners = copies(&wanted.listeners);
        Ok(Running { core, state: state.to_owned(), fleet, keys, listeners, task })
    }
}

impl Running {
    fn adopt(&mut self, fleet: Fleet, keys: Vec<Arc<FleetKey>>, wanted: Wanted) {
        (self.fleet, self.listeners) = (fleet, copies(&wanted.listeners));
        if self.keys != keys {
            self.keys = keys;
            self.seal_again();
        }
        self.say(&wanted);
    }

    /// What the plan says is in force from now on.
    fn say(&mut self, wanted: &Wanted) {
        self.connect();
        let mut core = lock(&self.core);
        let now = core.clock().now();
        let before = core.reports.own().clone();
        let started = if before.started == Default::default() { now } else { before.started };
        let complaint = match wanted.faults.split_first() {
            None => String::new(),
            Some((first, [])) => first.clone(),
            Some((first, more)) => format!("{first} (and {} more)", more.len()),
        };
        core.reports.is(Report {
            name: wanted.name.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: Digest(wanted.digest.0),
            started,
            reloaded: now,
            complaint,
            addresses: self.fleet.listen.iter().map(ToString::to_string).collect(),
            holds_all: self.fleet.hold == Hold::All,
            left: false,
        });
        core.want(&wanted.plan.certificates, self.fleet.hold == Hold::Own);
    }

    /// Shares through etcd, if the configuration says so, with the keys that are in force.
    fn share(&self, around: &Around) {
        let me = lock(&self.core).me;
        let start = |store| EtcdShare::start(store, around.secrets.clone(), &self.keys, &self.core, me, &around.dice);
        let share = self.fleet.store.as_ref().and_then(start);
        lock(&self.core).share_through(share);
    }

    fn connect(&self) {
        let keys = match of_link(&self.keys) {
            Ok(keys) => keys,
            Err(why) => return tracing::error!("fleet: {why}"),
        };
        let settings = Settings { keys, listeners: copies(&self.listeners), peers: self.fleet.peers.clone() };
        lock(&self.core).links.adopt(settings);
    }

    fn take_keys(&mut self, keys: Vec<Arc<FleetKey>>) {
        self.keys = keys;
        self.seal_again();
        self.connect();
    }

    /// What is remembered opens with the present key alone, once the old one is gone.
    fn seal_again(&self) {
        let core = lock(&self.core);
        core.disk().seal_with(self.keys[0].clone());
        let keys: std::collections::BTreeSet<_> = core.sync.state().all().map(|claim| claim.mark().key).collect();
        for key in keys {
            core.disk().put(key, core.sync.state().claims(&key).cloned().collect());
        }
    }
}

fn of_link(keys: &[Arc<FleetKey>]) -> Result<Keys, String> {
    let (present, before) = keys.split_first().ok_or("there is no fleet key")?;
    Keys::new(present, before.first().map(AsRef::as_ref)).map_err(|error| error.to_string())
}

fn copies(listeners: &[TcpListener]) -> Vec<TcpListener> {
    // One that cannot be copied now is missed until the next reload; the others still hear.
    listeners.iter().filter_map(|listener| listener.try_clone().ok()).collect()
}

fn draw() -> io::Result<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(*bytes)
}

/// The one loop of the fleet.
async fn run(
    core: Arc<Mutex<Core>>,
    state: PathBuf,
    keys: Vec<Arc<FleetKey>>,
    mut events: mpsc::Receiver<peer::Event>,
    mut said: mpsc::UnboundedReceiver<Said>,
) {
    let folder = state.clone();
    let read = move || (disk::remembered(&folder, &keys), disk::sightings(&folder));
    let (claims, sightings) = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    lock(&core).load(claims, sightings);
    let mut seldom = tokio::time::interval(SELDOM);
    let moved = lock(&core).moved.clone();
    let mut gather = tokio::time::interval(GATHER);
    loop {
        let wakes = lock(&core).wakes_at();
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => lock(&core).heard(event),
                None => return,
            },
            word = said.recv() => match word {
                Some(word) => hear(&mut lock(&core), word),
                None => return,
            },
            () = tokio::time::sleep_until(wakes.into()) => lock(&core).on(Event::Tick),
            () = moved.notified() => {}
            _ = gather.tick() => lock(&core).report(),
            _ = seldom.tick() => {
                let (state, seen) = (state.clone(), lock(&core).sightings().clone());
                tokio::task::spawn_blocking(move || disk::keep_sightings(&state, &seen));
            }
        }
    }
}

fn hear(core: &mut Core, word: Said) {
    match word {
        Said::Installed(bundle) => core.installed(&bundle),
        Said::Opened(token) => {
            core.tokens.opened(&token.token);
            core.etcd.iter().for_each(|etcd| etcd.open_token(token.clone()));
            core.on(Event::OpenToken(token));
        }
        Said::Closed(token) => {
            core.tokens.closed(&token);
            core.etcd.iter().for_each(|etcd| etcd.close_token(&token));
            core.on(Event::CloseToken(token));
        }
        Said::Spread(tokens, done) => core.tokens.wait(tokens, done),
        Said::Ask(token, done) => {
            if core.tokens.ask(&token, done) {
                core.on(Event::AskToken(token));
            }
        }
    }
}

// A panic elsewhere while it is held leaves whole values: effects are performed one by one.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
