//! How does this node share through etcd? What changes here is brought there, what others brought is taken in, and before a
//! certificate is ordered etcd is asked whose duty it is. All of this may fail or stand still for a day: nothing waits for
//! it, and what was not brought is brought when etcd is back.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::acme::Secrets;
use crate::clock::Dice;
use crate::fleet::message::Token;
use crate::fleet::{Body, Claim, Message, NodeId, Subject, SubjectKey};
use crate::plan::etcd::EtcdStore;
use crate::store::etcd::carrier::{Found, NODES, TOKENS};
use crate::store::etcd::envelope::Sealer;
use crate::store::etcd::{Carrier, Client, Duties, EtcdError, Material, Told, Verdict, follow};
use crate::words::{FleetKey, SecretRef};

use super::core::Core;

/// Claims that are on their way to etcd at the same time.
const BRINGERS: usize = 4;
/// After a failure nothing is brought for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// etcd is asked again whose duty a certificate is after this time.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// An answer that did not come lets the fleet's own order decide for so long.
const UNKNOWN: Duration = Duration::from_secs(30);
/// A node that has not brought a certificate within this time lets others try, for as long.
const TURN: Duration = Duration::from_secs(900);
/// For a token to be shown, and then to be seen by other nodes.
const SHOWN: Duration = Duration::from_secs(4);
const SEEN: Duration = Duration::from_millis(300);
/// What could not be shown is shown again after this time.
const SHOW_AGAIN: Duration = Duration::from_secs(1);
/// A new lease is noticed within this time.
const ANNOUNCE: Duration = Duration::from_millis(500);
/// An order that has failed keeps others from trying for so long.
const OVER: Duration = Duration::from_secs(5);

/// Whose turn etcd says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This node's.
    Ours,
    /// Another one's, or it is not yet known.
    Others,
    /// etcd does not say: the fleet's own order decides.
    Unknown,
}

/// The part of this node in what is shared through etcd.
pub struct EtcdShare {
    carrier: Arc<Carrier>,
    duties: Arc<Duties>,
    me: NodeId,
    core: Weak<Mutex<Core>>,
    inner: Mutex<Inner>,
    bell: Notify,
    /// Ended when this is dropped.
    _tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Inner {
    dirty: BTreeSet<SubjectKey>,
    live: bool,
    turns: HashMap<SubjectKey, Asked>,
    /// Answers to challenges that other nodes show, and nodes that are there.
    shown: HashMap<SubjectKey, Shown>,
    /// What of that was told since everything began to be told anew.
    anew: HashSet<SubjectKey>,
    /// Challenges of this node.
    open: HashSet<String>,
    told: Option<String>,
    announced: bool,
}

enum Shown {
    Token(String),
    Node(NodeId),
}

#[derive(Clone, Copy)]
enum Asked {
    Asking(Instant),
    Ours(Instant),
    Theirs(Instant),
    Unknown(Instant),
    /// Held too long without a result.
    Rested(Instant),
}

/// Reads what the client of etcd needs, with the rights that the fleet has.
struct Borrowed(Arc<dyn Secrets>);

impl Material for Borrowed {
    fn file(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        self.0.read(&SecretRef::File(path.to_owned()))
    }

    fn secret(&self, secret: &SecretRef) -> io::Result<Zeroizing<Vec<u8>>> {
        self.0.read(secret)
    }
}

impl EtcdShare {
    /// Takes part from now on, until it is dropped.
    pub fn start(
        store: &EtcdStore,
        secrets: Arc<dyn Secrets>,
        keys: &[Arc<FleetKey>],
        core: &Arc<Mutex<Core>>,
        me: NodeId,
        dice: &Arc<dyn Dice>,
    ) -> Option<Arc<EtcdShare>> {
        let (present, before) = keys.split_first()?;
        let old = before.first().map(|key| key.sealing_key());
        let sealer = Sealer::new(&present.sealing_key(), old.as_deref());
        // Nodes spread themselves over the members.
        let client = Arc::new(Client::new(store.clone(), Arc::new(Borrowed(secrets)), usize::from(me.as_bytes()[0])));
        let carrier = Arc::new(Carrier::new(client.clone(), sealer));
        let duties = Duties::new(client, me.to_string().into_bytes());
        let (tell, told) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(carrier.clone(), dice.clone(), tell));
        tasks.spawn(duties.clone().keep(dice.clone()));
        let (inner, bell) = (Mutex::default(), Notify::new());
        let share = Arc::new_cyclic(|share: &Weak<EtcdShare>| {
            for _ in 0..BRINGERS {
                tasks.spawn(bring(share.clone(), Arc::downgrade(core)));
            }
            tasks.spawn(listen(share.clone(), Arc::downgrade(core), told));
            tasks.spawn(announce(share.clone()));
            EtcdShare { carrier, duties, me, core: Arc::downgrade(core), inner, bell, _tasks: Mutex::new(tasks) }
        });
        Some(share)
    }

    /// What is known of this subject has changed here.
    pub fn changed(&self, key: SubjectKey) {
        self.inner().dirty.insert(key);
        self.bell.notify_one();
    }

    /// Whether changes of other nodes are seen as they happen.
    pub fn is_live(&self) -> bool {
        self.inner().live
    }

    /// Whether etcd arbitrates: it is followed, this node holds a lease there, and has said that it is there.
    pub fn is_ready(&self) -> bool {
        let inner = self.inner();
        inner.live && inner.announced && self.duties.lease().is_some()
    }

    /// How it stands, for people.
    pub fn standing(&self) -> String {
        let inner = self.inner();
        match (inner.live, &inner.told) {
            (true, None) => "followed".to_owned(),
            (true, Some(why)) => format!("followed, but {why}"),
            (false, None) => "not reached yet".to_owned(),
            (false, Some(why)) => format!("not followed: {why}"),
        }
    }

    /// Whose turn the certificate of this subject is. Does not wait: asks, and knows more the next time.
    pub fn turn(self: &Arc<EtcdShare>, key: SubjectKey) -> Turn {
        let name = name(&key);
        let mut inner = self.inner();
        if !inner.live || self.duties.lease().is_none() {
            return Turn::Unknown;
        }
        let now = Instant::now();
        match inner.turns.get(&key).copied() {
            Some(Asked::Ours(since)) if self.duties.fence(&name).is_some() => {
                if now.duration_since(since) < TURN {
                    return Turn::Ours;
                }
                inner.turns.insert(key, Asked::Rested(now));
                drop(inner);
                let share = self.clone();
                tokio::spawn(async move { share.duties.give_back(&name).await });
                return Turn::Others;
            }
            Some(Asked::Rested(since)) if now.duration_since(since) < TURN => return Turn::Others,
            Some(Asked::Unknown(at)) if now.duration_since(at) < UNKNOWN => return Turn::Unknown,
            Some(Asked::Asking(at)) if now.duration_since(at) < UNKNOWN => return Turn::Others,
            Some(Asked::Theirs(at)) if now.duration_since(at) < ASK_AGAIN => return Turn::Others,
            _ => {}
        }
        inner.turns.insert(key, Asked::Asking(now));
        drop(inner);
        let share = self.clone();
        tokio::spawn(async move {
            let verdict = share.duties.take(&name).await;
            let now = Instant::now();
            let asked = match verdict {
                Verdict::Ours(_) => Asked::Ours(now),
                Verdict::Theirs(_) => Asked::Theirs(now),
                Verdict::Unknown => Asked::Unknown(now),
            };
            share.inner().turns.insert(key, asked);
        });
        Turn::Others
    }

    /// Shows the answer to a challenge of this node to the others.
    pub fn open_token(self: &Arc<EtcdShare>, token: Token) {
        let name = token.token.clone();
        self.inner().open.insert(name.clone());
        let claim = self.token(token);
        let share = self.clone();
        tokio::spawn(async move {
            while share.inner().open.contains(&name) {
                if let Some(lease) = share.duties.lease() {
                    match share.carrier.show(TOKENS, &claim, lease).await {
                        Ok(()) => return,
                        Err(error) => share.tell(&error),
                    }
                }
                tokio::time::sleep(SHOW_AGAIN).await;
            }
        });
    }

    /// Its challenge is over.
    pub fn close_token(self: &Arc<EtcdShare>, token: &str) {
        self.inner().open.remove(token);
        let key = Subject::Token(token.to_owned()).key();
        let share = self.clone();
        tokio::spawn(async move {
            // Else it goes with the lease.
            let _ = share.carrier.hide(TOKENS, &key).await;
        });
    }

    /// Waits until these tokens stand in etcd and had time to be seen; not for long.
    pub async fn spread(&self, tokens: &[String]) {
        let all = async {
            for token in tokens {
                let key = Subject::Token(token.clone()).key();
                while self.is_live() && !matches!(self.carrier.token(&key).await, Ok(Some(_))) {
                    tokio::time::sleep(SEEN).await;
                }
            }
            tokio::time::sleep(SEEN).await;
        };
        let _ = tokio::time::timeout(SHOWN, all).await;
    }

    /// A token that some node shows, if one does.
    pub async fn find_token(&self, token: &str) -> Option<Token> {
        let found = self.carrier.token(&Subject::Token(token.to_owned()).key()).await.ok()??;
        tokens(&found).find(|found| found.token == token)
    }

    fn token(&self, token: Token) -> Arc<Claim> {
        let subject = Subject::Token(token.token.clone());
        let body = Body::new(Message::Tokens(vec![token]).encode());
        Arc::new(Claim::new(subject, 1, self.me, body))
    }

    /// An order of this node is over. If it brought something, that is published under the duty, and then the duty is
    /// given back; if not, others may try.
    pub fn order_over(self: &Arc<EtcdShare>, key: SubjectKey) {
        let name = name(&key);
        let Some(held) = self.duties.fence(&name) else { return };
        let share = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(OVER).await;
            if share.duties.fence(&name) == Some(held) {
                share.inner().turns.remove(&key);
                share.duties.give_back(&name).await;
            }
        });
    }

    /// Fetches what stands under these keys: it is wanted here from now on.
    pub fn fetch(self: &Arc<EtcdShare>, keys: Vec<SubjectKey>) {
        let (share, core) = (self.clone(), self.core.clone());
        tokio::spawn(async move {
            for key in keys {
                let found = share.carrier.claims(&key).await;
                if let (Ok(Some(found)), Some(core)) = (found, core.upgrade()) {
                    take_in(&share, &core, found);
                }
            }
        });
    }

    fn shows(&self, key: SubjectKey, shown: Shown) {
        let mut inner = self.inner();
        inner.anew.insert(key);
        inner.shown.insert(key, shown);
    }

    fn gone(&self, core: &Mutex<Core>, key: &SubjectKey) {
        let gone = self.inner().shown.remove(key);
        match gone {
            Some(Shown::Token(token)) => lock(core).foreign_token_over(&token),
            Some(Shown::Node(node)) => lock(core).present(node, false),
            None => {}
        }
    }

    /// What was not told again is gone.
    fn forget_old(&self, core: &Mutex<Core>) {
        let inner = self.inner();
        let old: Vec<SubjectKey> = inner.shown.keys().filter(|key| !inner.anew.contains(*key)).copied().collect();
        drop(inner);
        old.iter().for_each(|key| self.gone(core, key));
    }

    fn next(&self) -> Option<SubjectKey> {
        self.inner().dirty.pop_first()
    }

    /// Said once, until it is another fault or none.
    fn tell(&self, error: &EtcdError) {
        let words = error.to_string();
        let mut inner = self.inner();
        if inner.told.as_ref() != Some(&words) {
            match error.needs_the_operator() {
                true => tracing::error!("fleet: etcd: {words}"),
                false => tracing::warn!("fleet: etcd: {words}"),
            }
            inner.told = Some(words);
        }
    }

    // Every change is one assignment or one call of a map, so a panic elsewhere leaves it whole.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Under which name the duty for a certificate stands.
fn name(key: &SubjectKey) -> String {
    key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tokens(found: &Found) -> impl Iterator<Item = Token> {
    let bodies = found.claims.iter().filter_map(|claim| Message::decode(claim.body().as_bytes()).ok().flatten());
    let lists = bodies.filter_map(|message| if let Message::Tokens(tokens) = message { Some(tokens) } else { None });
    lists.flatten().collect::<Vec<_>>().into_iter()
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    // As everywhere in the fleet: effects are performed one by one.
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings what has changed.
async fn bring(share: Weak<EtcdShare>, core: Weak<Mutex<Core>>) {
    loop {
        let Some(share) = share.upgrade() else { return };
        let Some(key) = share.next() else {
            // Looked at again from time to time: the bell rings for one bringer alone.
            let _ = tokio::time::timeout(PAUSE, share.bell.notified()).await;
            continue;
        };
        let claims: Vec<Arc<Claim>> = match core.upgrade() {
            Some(core) => lock(&core).sync.state().claims(&key).cloned().collect(),
            None => return,
        };
        let name = name(&key);
        let fence = share.duties.fence(&name);
        match share.carrier.publish(key, &claims, fence.as_ref()).await {
            Ok(more) => {
                if let Some(core) = core.upgrade() {
                    more.into_iter().for_each(|claim| lock(&core).carried(claim));
                }
                if fence.is_some() {
                    share.inner().turns.remove(&key);
                    share.duties.give_back(&name).await;
                }
            }
            // Another node has taken over meanwhile: what it brings is in force.
            Err(error @ EtcdError::DutyLost { .. }) => share.tell(&error),
            Err(error @ EtcdError::TooLarge { .. }) => share.tell(&error),
            Err(error) => {
                share.inner().dirty.insert(key);
                share.tell(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Says that this node is there, under each lease that it gets.
async fn announce(share: Weak<EtcdShare>) {
    let mut said = None;
    loop {
        tokio::time::sleep(ANNOUNCE).await;
        let Some(share) = share.upgrade() else { return };
        let Some(lease) = share.duties.lease().filter(|lease| said != Some(*lease)) else { continue };
        let claim = Arc::new(Claim::new(Subject::Report(share.me), 1, share.me, Body::empty()));
        match share.carrier.show(NODES, &claim, lease).await {
            Ok(()) => {
                said = Some(lease);
                share.inner().announced = true;
            }
            Err(error) => share.tell(&error),
        }
    }
}

/// Takes in what the follower tells.
async fn listen(share: Weak<EtcdShare>, core: Weak<Mutex<Core>>, mut told: mpsc::Receiver<Told>) {
    while let Some(told) = told.recv().await {
        let (Some(share), Some(core)) = (share.upgrade(), core.upgrade()) else { return };
        match told {
            Told::Claims(found) => take_in(&share, &core, found),
            Told::ClaimGone(key) => share.changed(key),
            Told::Token(found) => {
                for token in tokens(&found) {
                    share.shows(found.key, Shown::Token(token.token.clone()));
                    lock(&core).foreign_token(token);
                }
            }
            Told::Node(found) => {
                for node in found.claims.iter().map(|claim| claim.origin()) {
                    share.shows(found.key, Shown::Node(node));
                    lock(&core).present(node, true);
                }
            }
            Told::TokenGone(key) | Told::NodeGone(key) => share.gone(&core, &key),
            Told::Anew => share.inner().anew.clear(),
            Told::Whole => {
                share.forget_old(&core);
                let mut here: HashMap<SubjectKey, Vec<Arc<Claim>>> = HashMap::new();
                for claim in lock(&core).sync.state().all() {
                    here.entry(claim.mark().key).or_default().push(claim.clone());
                }
                let lacks = here.iter().filter(|(key, claims)| !share.carrier.has(key, claims));
                lacks.for_each(|(key, _)| share.changed(*key));
            }
            Told::Live(live) => {
                let mut inner = share.inner();
                inner.live = live;
                if live {
                    inner.told = None;
                    tracing::info!(level = "notice", "fleet: etcd is followed");
                }
            }
            Told::Trouble(error) => share.tell(&error),
        }
    }
}

fn take_in(share: &EtcdShare, core: &Mutex<Core>, found: Found) {
    if found.unopened {
        tracing::warn!(
            "fleet: claims/{} in etcd does not open with this fleet key; it is written anew",
            name(&found.key)
        );
    }
    let mut core = lock(core);
    found.claims.iter().for_each(|claim| core.carried(claim.clone()));
    let here: Vec<Arc<Claim>> = core.sync.state().claims(&found.key).cloned().collect();
    drop(core);
    if !here.is_empty() && !share.carrier.has(&found.key, &here) {
        share.changed(found.key);
    }
}
