//! Who is linked with this node? Listens, calls the peers of the configuration, keeps one link for each node, and hands
//! over what comes. A peer that is slow, gone or out of its mind costs itself its link, and nobody else anything.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Dice;
use crate::plan::fleet::PeerAddress;

use super::call;
use super::identity::{NodeId, NodeKey};
use super::link::{self, Ear, Me, Met, Missed, Queue};
use super::table::{Entry, Face, Table, replaces};
use super::tls::Keys;

/// Calls that may be in their handshake at once.
const MEETING: usize = 64;
/// Events that wait to be heard; then nothing more is read.
const UNHEARD: usize = 256;
/// Strangers are told of this often at most.
const STRANGERS: Duration = Duration::from_secs(60);

/// What happens on links.
#[derive(Debug)]
pub enum Event {
    /// A node is linked. A link to it that was there before counts no longer.
    Up {
        /// Which.
        node: NodeId,
        /// Tells this link from others to the same node.
        link: u64,
        /// The oldest and the newest form of messages that it understands.
        speaks: (u16, u16),
        /// Its release.
        release: String,
    },
    /// A message came.
    Message {
        /// From whom.
        node: NodeId,
        /// On which link.
        link: u64,
        /// What.
        bytes: Zeroizing<Vec<u8>>,
    },
    /// A link has ended.
    Down {
        /// To whom.
        node: NodeId,
        /// Which.
        link: u64,
        /// Why, for people; empty: another one took its place, or it was closed here.
        why: String,
    },
}

/// What the configuration says.
pub struct Settings {
    /// The keys of the fleet.
    pub keys: Keys,
    /// Where others come in, open.
    pub listeners: Vec<std::net::TcpListener>,
    /// Who is called.
    pub peers: Vec<PeerAddress>,
}

/// A message was not taken. Sending it again later is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The node is not linked.
    #[error("the node is not linked")]
    Gone,
    /// Too much waits for it already.
    #[error("too much waits for the node")]
    Full,
}

/// How a peer of the configuration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// It is being called for the first time.
    Calling,
    /// This node answers there, however the link came to be.
    Reached(NodeId),
    /// It is this node.
    Ourselves,
    /// Nobody of ours answers there.
    Failed {
        /// Why.
        why: String,
        /// How many times in a row.
        times: u32,
    },
}

/// One link, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// With whom.
    pub node: NodeId,
    /// Where it is.
    pub at: SocketAddr,
    /// Whether we called.
    pub called: bool,
    /// Its release.
    pub release: String,
    /// The name of the fleet key that it showed.
    pub key: String,
    /// For how long.
    pub lasts: Duration,
}

/// All links of this node.
#[derive(Clone)]
pub struct Links(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) me: Me,
    pub(super) dice: Arc<dyn Dice>,
    pub(super) keys: ArcSwap<Keys>,
    table: Mutex<Table>,
    pub(super) calls: Mutex<HashMap<PeerAddress, Call>>,
    tasks: Mutex<Tasks>,
    events: mpsc::Sender<Event>,
    changed: watch::Sender<u64>,
    numbers: AtomicU64,
    meeting: Arc<Semaphore>,
    strangers: Mutex<(u64, Option<Instant>)>,
}

#[derive(Default)]
struct Tasks {
    accepting: Vec<JoinHandle<()>>,
    calling: HashMap<PeerAddress, JoinHandle<()>>,
}

/// What became of a connection whose other end is known.
pub(super) enum Verdict {
    /// It is a link now, with this node.
    Linked(NodeId),
    /// There is one with this node already.
    Known(NodeId),
    /// It is this very process.
    Ourselves,
    /// Another process has our node key.
    Twin,
    /// The node was removed from the fleet.
    Banned(NodeId),
}

impl Links {
    /// Starts with nothing: nobody is called or heard before [`Links::adopt`]. Must be called on the runtime that shall
    /// carry them. `life` is drawn for each process, larger than any before it.
    pub fn new(
        key: NodeKey,
        life: u64,
        speaks: (u16, u16),
        keys: Keys,
        dice: Arc<dyn Dice>,
    ) -> (Links, mpsc::Receiver<Event>) {
        let (events, heard) = mpsc::channel(UNHEARD);
        let me = Me { key, life, speaks, release: env!("CARGO_PKG_VERSION").to_owned() };
        let inner = Inner {
            me,
            dice,
            keys: ArcSwap::from_pointee(keys),
            table: Mutex::default(),
            calls: Mutex::default(),
            tasks: Mutex::default(),
            events,
            changed: watch::Sender::new(0),
            numbers: AtomicU64::new(0),
            meeting: Arc::new(Semaphore::new(MEETING)),
            strangers: Mutex::default(),
        };
        (Links(Arc::new(inner)), heard)
    }

    /// Works by these settings from now on. Links that they still allow stay.
    pub fn adopt(&self, settings: Settings) {
        let Settings { keys, listeners, peers } = settings;
        let inner = &self.0;
        inner.keys.store(Arc::new(keys.clone()));
        lock(&inner.table).retain(|_, entry| keys.has(&entry.key));
        let mut tasks = lock(&inner.tasks);
        tasks.accepting.drain(..).for_each(|task| task.abort());
        for listener in listeners {
            let listening = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            match listening {
                Ok(listener) => tasks.accepting.push(tokio::spawn(accept(self.0.clone(), listener))),
                Err(error) => tracing::error!("nodes of the fleet cannot come in: {error}"),
            }
        }
        tasks.calling.retain(|peer, task| {
            let stays = peers.contains(peer);
            if !stays {
                task.abort();
                lock(&inner.calls).remove(peer);
            }
            stays
        });
        for peer in peers {
            let begin = || tokio::spawn(call::keep_calling(self.0.clone(), peer.clone()));
            tasks.calling.entry(peer.clone()).or_insert_with(begin);
        }
        inner.note_change();
    }

    /// Hangs up, calls nobody and hears nobody, until the next [`Links::adopt`].
    pub fn close(&self) {
        let mut tasks = lock(&self.0.tasks);
        tasks.accepting.drain(..).for_each(|task| task.abort());
        tasks.calling.drain().for_each(|(_, task)| task.abort());
        // Queues end with the entries: what waits is sent, then each link is shut.
        lock(&self.0.table).links.clear();
        self.0.note_change();
    }

    /// The id of this node.
    pub fn id(&self) -> NodeId {
        self.0.me.key.id()
    }

    /// Sends a message; it comes whole and in order, or the link ends.
    ///
    /// # Errors
    /// [`Unsent`], at once: nobody waits for a slow node.
    pub fn send(&self, node: &NodeId, message: Zeroizing<Vec<u8>>) -> Result<(), Unsent> {
        let table = lock(&self.0.table);
        let entry = table.links.get(node).ok_or(Unsent::Gone)?;
        if entry.queue.push(message) { Ok(()) } else { Err(Unsent::Full) }
    }

    /// Ends the link with a node that does not behave. It may call again.
    pub fn hang_up(&self, node: &NodeId) {
        lock(&self.0.table).retain(|other, _| other != node);
        self.0.note_change();
    }

    /// These nodes, and no others, are refused whatever they prove.
    pub fn ban(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let mut table = lock(&self.0.table);
        table.banned = nodes.into_iter().collect();
        let banned = table.banned.clone();
        table.retain(|node, _| !banned.contains(node));
        drop(table);
        self.0.note_change();
    }

    /// Who is linked, in the order of ids.
    pub fn standing(&self) -> Vec<Standing> {
        let table = lock(&self.0.table);
        let mut all: Vec<Standing> = table.links.iter().map(|(node, entry)| standing(node, entry)).collect();
        all.sort_by_key(|standing| standing.node);
        all
    }

    /// How the peers of the configuration stand.
    pub fn calls(&self) -> Vec<(PeerAddress, Call)> {
        let mut all: Vec<_> = lock(&self.0.calls).iter().map(|(peer, call)| (peer.clone(), call.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("up", &lock(&self.0.table).links.len()).finish_non_exhaustive()
    }
}

fn standing(node: &NodeId, entry: &Entry) -> Standing {
    Standing {
        node: *node,
        at: entry.at,
        called: entry.face.called,
        release: entry.release.clone(),
        key: entry.key.clone(),
        lasts: entry.since.elapsed(),
    }
}

impl Inner {
    fn note_change(&self) {
        self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Hears of every change of who is linked.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn is_linked(&self, node: &NodeId) -> bool {
        lock(&self.table).links.contains_key(node)
    }

    /// Makes a link of a connection, if it is one too few.
    pub(super) fn welcome(self: &Arc<Self>, met: Met) -> Verdict {
        let (me, node) = (self.me.key.id(), met.hello.id());
        if node == me {
            return if met.hello.life == self.me.life { Verdict::Ourselves } else { Verdict::Twin };
        }
        let face = Face { life: met.hello.life, called: met.called };
        let mut table = lock(&self.table);
        if table.banned.contains(&node) {
            return Verdict::Banned(node);
        }
        if table.links.get(&node).is_some_and(|old| !replaces(&me, &node, old.face, face)) {
            return Verdict::Known(node);
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let (queue, outbox, waiting) = Queue::new();
        let (key, release, at) = (met.key.clone(), met.hello.release.clone(), met.at);
        let entry = Entry { number, queue, face, key, release, at, since: Instant::now(), task: None };
        if let Some(task) = table.links.insert(node, entry).and_then(|old| old.task) {
            task.abort();
        }
        let inner = self.clone();
        let task = tokio::spawn(async move { inner.carry(met, node, number, outbox, waiting).await });
        if let Some(entry) = table.links.get_mut(&node) {
            entry.task = Some(task.abort_handle());
        }
        drop(table);
        self.note_change();
        Verdict::Linked(node)
    }

    async fn carry(
        self: Arc<Self>,
        met: Met,
        node: NodeId,
        link: u64,
        outbox: mpsc::Receiver<Zeroizing<Vec<u8>>>,
        waiting: Arc<std::sync::atomic::AtomicUsize>,
    ) {
        // Tells of the end even if the task is aborted: a link that was replaced, or banned.
        let mut end = End { inner: self.clone(), node, link, why: String::new() };
        let up = Event::Up { node, link, speaks: met.hello.speaks, release: met.hello.release.clone() };
        if self.events.send(up).await.is_err() {
            return;
        }
        let ear = Ear { events: self.events.clone(), node, link };
        end.why = link::carry(met, outbox, waiting, &ear).await;
    }

    /// Says that strangers called, now and then.
    fn stranger(&self, at: SocketAddr, why: &Missed) {
        let mut strangers = lock(&self.strangers);
        strangers.0 += 1;
        if strangers.1.is_none_or(|told| told.elapsed() >= STRANGERS) {
            tracing::warn!("fleet: {at} called and was refused: {why} ({} so far)", strangers.0);
            strangers.1 = Some(Instant::now());
        }
    }
}

/// Tells of the end of a link.
struct End {
    inner: Arc<Inner>,
    node: NodeId,
    link: u64,
    why: String,
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.inner.table).remove(&self.node, self.link);
        self.inner.note_change();
        let down = Event::Down { node: self.node, link: self.link, why: std::mem::take(&mut self.why) };
        if let (Err(mpsc::error::TrySendError::Full(down)), Ok(runtime)) =
            (self.inner.events.try_send(down), tokio::runtime::Handle::try_current())
        {
            let events = self.inner.events.clone();
            runtime.spawn(async move { events.send(down).await });
        }
    }
}

async fn accept(inner: Arc<Inner>, listener: TcpListener) {
    loop {
        // The semaphore is never closed.
        let Ok(place) = inner.meeting.clone().acquire_owned().await else { return };
        let (tcp, at) = match listener.accept().await {
            Ok(both) => both,
            Err(error) => {
                // Too many open files, mostly: it passes.
                tracing::debug!("fleet: accept() failed: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let inner = inner.clone();
        tokio::spawn(async move {
            received(&inner, tcp, at).await;
            drop(place);
        });
    }
}

async fn received(inner: &Arc<Inner>, tcp: TcpStream, at: SocketAddr) {
    let keys = inner.keys.load_full();
    match link::answer(tcp, at, &keys, &inner.me).await {
        Ok(met) => match inner.welcome(met) {
            Verdict::Linked(_) | Verdict::Known(_) | Verdict::Ourselves => {}
            Verdict::Twin => twin(at),
            Verdict::Banned(node) => tracing::warn!("fleet: {at} is node {}, which was removed", short(&node)),
        },
        Err(why) => inner.stranger(at, &why),
    }
}

pub(super) fn twin(at: impl std::fmt::Display) {
    tracing::error!(
        "fleet: {at} is another process with the node key of this one: a state path was copied, or two run on one"
    );
}

/// The beginning of an id, enough for people.
pub(super) fn short(node: &NodeId) -> String {
    node[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

// A panic while a lock is held leaves whole maps: every change is one call.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
