//! Which of the certificates that we hold have been revoked by their authorities? Sees to it that the lists which they name
//! are fetched, each at its own pace and one at a time, and tells the keepers of those that stand on one. What a list
//! proves, `cert::revoked` says; what follows, the stage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::keeper::{Handle, Teller};
use crate::cert::bundle::Bundle;
use crate::cert::journal::Shelf;
use crate::cert::revoked::{List, lists};
use crate::cert::stage::Event;
use crate::clock::{Clock, Dice, UnixTime};
use crate::plan::acme::Issuer;
use crate::plan::certificate::{CertId, CertSpec};
use crate::watch::revocations::fetch;

/// A list is looked at so often at least, in units of the issuer (a minute): every four hours.
const LONGEST: u32 = 240;
/// And so often at most after it could not be had; doubles up to [`LONGEST`].
const AGAIN: u32 = 15;
/// The civil clock may be set, and then the moment to wake has moved.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);
/// Between two lists.
const PAUSE: Duration = Duration::from_millis(200);
/// So many certificates are read at once after a start, and so long is rested between.
const AT_ONCE: usize = 32;
const REST: Duration = Duration::from_millis(200);

/// One certificate that is held.
struct One {
    id: CertId,
    epoch: u64,
    unit: Duration,
    shelf: Arc<dyn Shelf>,
    tell: Teller,
}

/// The side of the control thread: notices what is held.
pub struct Revocations {
    known: HashMap<CertId, u64>,
    say: mpsc::UnboundedSender<Vec<One>>,
    /// The other side, until it is started.
    rests: Option<(Looker, mpsc::UnboundedReceiver<Vec<One>>)>,
}

impl Revocations {
    /// Looks at nothing yet.
    pub fn new(clock: Arc<dyn Clock>, dice: Arc<dyn Dice>) -> Revocations {
        let (say, heard) = mpsc::unbounded_channel();
        let looker = Looker { clock, dice, lists: HashMap::new() };
        Revocations { known: HashMap::new(), say, rests: Some((looker, heard)) }
    }

    /// Takes note of all that is held. To be called on the control runtime, after each new plan; reads no file.
    pub fn look<'k>(&mut self, kept: impl Iterator<Item = &'k (Arc<CertSpec>, Handle)> + Clone, issuers: &[Issuer]) {
        self.note(kept.clone(), issuers);
        let kept: HashSet<&CertId> = kept.map(|(spec, _)| &spec.id).collect();
        self.known.retain(|id, _| kept.contains(id));
    }

    /// Takes note of what is held of some. To be called on the control runtime; reads no file.
    pub fn note<'k>(&mut self, some: impl Iterator<Item = &'k (Arc<CertSpec>, Handle)>, issuers: &[Issuer]) {
        let mut fresh = Vec::new();
        for (spec, handle) in some {
            let held = |held: &crate::cert::stage::Held| {
                (held.authority != "internal" && !held.disowned).then_some(held.epoch)
            };
            let Some(epoch) = handle.glance(|stage| stage.held().and_then(held)) else { continue };
            if self.known.insert(spec.id.clone(), epoch) != Some(epoch) {
                let (id, shelf, tell) = (spec.id.clone(), handle.shelf(), handle.teller());
                let issuer = issuers.iter().find(|issuer| issuer.name == spec.issuer);
                let unit = issuer.map_or(Duration::from_secs(60), Issuer::unit);
                fresh.push(One { id, epoch, unit, shelf, tell });
            }
        }
        if !fresh.is_empty() {
            if let Some((looker, heard)) = self.rests.take() {
                // It ends when this side is dropped.
                tokio::spawn(looker.run(heard));
            }
            let _ = self.say.send(fresh);
        }
    }
}

/// A list, and who stands behind it.
struct Paper {
    due: UnixTime,
    failures: u32,
    unit: Duration,
    /// Said once, until it changes.
    trouble: Option<String>,
    holders: Vec<One>,
}

/// The side that looks.
struct Looker {
    clock: Arc<dyn Clock>,
    dice: Arc<dyn Dice>,
    lists: HashMap<Arc<str>, Paper>,
}

impl Looker {
    async fn run(mut self, mut heard: mpsc::UnboundedReceiver<Vec<One>>) {
        loop {
            let now = self.clock.now();
            let due = self.lists.values().map(|paper| paper.due).min();
            let wait = due.map_or(LONGEST_SLEEP, |due| due.since(now)).min(LONGEST_SLEEP);
            tokio::select! {
                fresh = heard.recv() => match fresh {
                    Some(fresh) => self.learn(fresh).await,
                    None => return,
                },
                () = tokio::time::sleep(wait) => self.round().await,
            }
        }
    }

    /// Reads which lists new ones name. Those that name none are forgotten.
    async fn learn(&mut self, fresh: Vec<One>) {
        let ids: HashSet<&CertId> = fresh.iter().map(|one| &one.id).collect();
        for paper in self.lists.values_mut() {
            paper.holders.retain(|one| !ids.contains(&one.id));
        }
        let mut fresh = fresh.into_iter().peekable();
        while fresh.peek().is_some() {
            let some: Vec<One> = fresh.by_ref().take(AT_ONCE).collect();
            let read = tokio::task::spawn_blocking(move || {
                let named = |one: One| {
                    let bundle = held(&one)?;
                    let first = lists(bundle.chain.first()?).into_iter().next()?;
                    Some((first, one))
                };
                some.into_iter().filter_map(named).collect::<Vec<_>>()
            });
            for (url, one) in read.await.unwrap_or_default() {
                let soon = self.clock.now() + one.unit.mul_f64(self.dice.draw());
                let paper = self.lists.entry(url.into()).or_insert_with(|| Paper {
                    due: soon,
                    failures: 0,
                    unit: one.unit,
                    trouble: None,
                    holders: Vec::new(),
                });
                paper.unit = paper.unit.min(one.unit);
                paper.holders.push(one);
            }
            if fresh.peek().is_some() {
                tokio::time::sleep(REST).await;
            }
        }
        self.lists.retain(|_, paper| !paper.holders.is_empty());
    }

    /// Looks at the lists that are due, one after the other.
    async fn round(&mut self) {
        let now = self.clock.now();
        let due: Vec<Arc<str>> =
            self.lists.iter().filter(|(_, paper)| paper.due <= now).map(|(url, _)| url.clone()).collect();
        for url in due {
            let Some(mut paper) = self.lists.remove(&url) else { continue };
            let fetched = fetch(&url).await.map_err(|why| why.to_string());
            let clock = self.clock.clone();
            let holders = std::mem::take(&mut paper.holders);
            let judged = tokio::task::spawn_blocking(move || {
                let (outcome, holders) = match fetched {
                    Ok(list) => judge(&list, holders, clock.now()),
                    Err(why) => (Err(why), holders),
                };
                (outcome, holders)
            });
            let Ok((outcome, holders)) = judged.await else { continue };
            paper.holders = holders;
            self.plan(&url, &mut paper, outcome);
            if !paper.holders.is_empty() {
                self.lists.insert(url, paper);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// When a list is looked at again. What cannot be had or believed is said once.
    fn plan(&self, url: &str, paper: &mut Paper, outcome: Result<UnixTime, String>) {
        let (now, unit) = (self.clock.now(), paper.unit);
        let longest = (unit * LONGEST).mul_f64(1.0 - self.dice.draw() / 10.0);
        match outcome {
            Ok(next_update) => {
                (paper.failures, paper.trouble) = (0, None);
                paper.due = (next_update + unit.mul_f64(self.dice.draw())).clamp(now + unit, now + longest);
            }
            Err(why) => {
                let again = unit * (AGAIN << paper.failures.min(8));
                paper.failures += 1;
                paper.due = now + again.min(longest);
                if paper.trouble.as_ref() != Some(&why) {
                    tracing::info!(level = "notice", "the list of revoked certificates at {url} is of no use: {why}");
                }
                paper.trouble = Some(why);
            }
        }
    }
}

/// The bundle of one, if it is still the same generation.
fn held(one: &One) -> Option<Bundle> {
    one.shelf.bundle(&one.id).ok().flatten().filter(|bundle| bundle.epoch == one.epoch)
}

/// Judges all that stand behind a list and tells those that are revoked. Gives when the next list comes, and who is left.
/// Blocks.
fn judge(der: &[u8], holders: Vec<One>, now: UnixTime) -> (Result<UnixTime, String>, Vec<One>) {
    let list = match List::read(der) {
        Ok(list) => list,
        Err(why) => return (Err(why.to_string()), holders),
    };
    let mut outcome = None;
    let mut left = Vec::with_capacity(holders.len());
    for one in holders {
        let Some(bundle) = held(&one) else { continue };
        // One that is not even mentioned needs no proof; the first one says whether the list is any good.
        if outcome.is_some() && !list.mentions(&bundle.leaf.serial) {
            left.push(one);
            continue;
        }
        match list.revokes(&bundle.chain, now) {
            Ok(true) => {
                tracing::error!("{}: generation {} has been revoked by its authority", one.id, one.epoch);
                one.tell.tell(Event::Disowned(one.epoch));
                outcome = Some(Ok(list.next_update));
            }
            Ok(false) => {
                outcome = Some(Ok(list.next_update));
                left.push(one);
            }
            Err(why) => {
                outcome.get_or_insert_with(|| Err(why.to_string()));
                left.push(one);
            }
        }
    }
    (outcome.unwrap_or(Ok(list.next_update)), left)
}
