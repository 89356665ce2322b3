//! Whose duty is it, by etcd? One lease for this node, kept alive as [`Tenure`] decides; under it the duties that this node
//! has taken. What is written under a duty carries its fence. With etcd away nothing can be taken: the fleet's own order
//! of nodes then decides alone, as it does without etcd.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Fence, Taken};
use super::fault::EtcdError;
use crate::clock::Dice;
use crate::fleet::tenure::{Effect, Event, TTL, Tenure};

/// The duties of this node.
pub struct Duties {
    client: Arc<Client>,
    /// What other nodes read about the holder: its id and nothing secret.
    holder: Vec<u8>,
    begun: Instant,
    ttl: Duration,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    tenure: Tenure,
    held: HashMap<String, Fence>,
}

/// Who may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This node, and what it writes goes under this fence.
    Ours(Fence),
    /// Another one, which is named.
    Theirs(Vec<u8>),
    /// etcd does not say: it is away, or our lease is. The fleet's own order decides.
    Unknown,
}

impl Duties {
    /// Duties of the node that `holder` names.
    pub fn new(client: Arc<Client>, holder: Vec<u8>) -> Arc<Duties> {
        Duties::lasting(client, holder, TTL)
    }

    /// The same with leases of another length.
    pub fn lasting(client: Arc<Client>, holder: Vec<u8>, ttl: Duration) -> Arc<Duties> {
        let (inner, changed) = (Mutex::default(), Notify::new());
        Arc::new(Duties { client, holder, begun: Instant::now(), ttl, inner, changed })
    }

    /// Keeps the lease until it is dropped.
    pub async fn keep(self: Arc<Duties>, dice: Arc<dyn Dice>) {
        let mut event = Event::Tick;
        loop {
            let effect = self.step(event, dice.draw());
            event = match effect {
                Some(Effect::Grant) => match self.client.grant(self.ttl).await {
                    Ok((lease, ttl)) => Event::Granted { lease, ttl },
                    Err(_) => Event::Failed,
                },
                Some(Effect::Renew(lease)) => match self.client.keep_alive(lease).await {
                    Ok(ttl) => Event::Granted { lease, ttl },
                    Err(EtcdError::LeaseGone) => Event::Gone,
                    Err(_) => Event::Failed,
                },
                Some(Effect::Lost) => {
                    self.inner().held.clear();
                    tracing::warn!("this node's lease in etcd has ended; its duties there are lost");
                    Event::Tick
                }
                None => {
                    let wakes = self.inner().tenure.wakes_at();
                    sleep_until(self.begun + wakes).await;
                    Event::Tick
                }
            };
        }
    }

    fn step(&self, event: Event, draw: f64) -> Option<Effect> {
        let now = self.begun.elapsed();
        let mut inner = self.inner();
        let (next, effect) = std::mem::take(&mut inner.tenure).step(now, event, draw);
        inner.tenure = next;
        self.changed.notify_waiters();
        effect
    }

    /// The lease of this node, if it holds one.
    pub fn lease(&self) -> Option<i64> {
        self.inner().tenure.lease(self.begun.elapsed())
    }

    /// Waits until there is a lease, at most until `patience` is over.
    pub async fn ready(&self, patience: Duration) -> Option<i64> {
        let end = Instant::now() + patience;
        loop {
            let changed = self.changed.notified();
            if let Some(lease) = self.lease() {
                return Some(lease);
            }
            tokio::time::timeout_at(end, changed).await.ok()?;
        }
    }

    /// Takes the duty for `name`, or says who has it. Does not wait for a lease.
    pub async fn take(&self, name: &str) -> Verdict {
        let Some(lease) = self.lease() else { return Verdict::Unknown };
        let taken = self.client.take_duty(&format!("duty/{name}"), &self.holder, lease).await;
        let mut inner = self.inner();
        match taken {
            // The lease may have ended while we asked.
            Ok(Taken::Ours(fence)) if inner.tenure.lease(self.begun.elapsed()) == Some(lease) => {
                inner.held.insert(name.to_owned(), fence.clone());
                Verdict::Ours(fence)
            }
            Ok(Taken::Ours(_)) => Verdict::Unknown,
            Ok(Taken::Theirs(who)) => Verdict::Theirs(who.to_vec()),
            Err(error) => {
                tracing::info!("the duty for {name} cannot be taken in etcd: {error}");
                Verdict::Unknown
            }
        }
    }

    /// The fence of a duty that this node holds at present.
    pub fn fence(&self, name: &str) -> Option<Fence> {
        let inner = self.inner();
        inner.tenure.lease(self.begun.elapsed())?;
        inner.held.get(name).cloned()
    }

    /// The work is done: others may take the duty.
    pub async fn give_back(&self, name: &str) {
        let fence = self.inner().held.remove(name);
        if let Some(fence) = fence {
            // Else it ends with the lease.
            let _ = self.client.give_back(&fence).await;
        }
    }

    // Every change is one assignment or one call of the map, so a panic elsewhere leaves it whole.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
