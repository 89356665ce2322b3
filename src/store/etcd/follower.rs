//! Who listens to etcd? One task that lists, watches and resumes as [`Follow`] decides, and tells what it found. It waits
//! for whoever takes that in: a slow taker slows the task and nothing else.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::carrier::{Carrier, Found, NODES, TOKENS};
use super::client::{Kept, Page};
use super::fault::EtcdError;
use super::watcher::{Change, Seen, Watcher};
use crate::clock::Dice;
use crate::fleet::SubjectKey;
use crate::fleet::follow::{Effect, Event, Follow};

/// What the follower tells.
#[derive(Debug)]
pub enum Told {
    /// This stands under `claims/`.
    Claims(Found),
    /// This answer to a challenge is shown.
    Token(Found),
    /// This answer is no longer shown.
    TokenGone(SubjectKey),
    /// A node says that it is there.
    Node(Found),
    /// A node is there no longer.
    NodeGone(SubjectKey),
    /// A claim was taken away, which no node does: bring it again.
    ClaimGone(SubjectKey),
    /// From here on everything that stands there is told anew: what was shown and is not told again is gone.
    Anew,
    /// Everything that stands there has now been told. What this node knows beyond that is to be brought.
    Whole,
    /// Whether changes are seen as they happen.
    Live(bool),
    /// An attempt failed; it goes on by itself.
    Trouble(EtcdError),
}

type Work<T> = Pin<Box<dyn Future<Output = Result<T, EtcdError>> + Send>>;

/// What is under way.
enum Hand {
    Nothing,
    Listing(Work<Page>),
    Opening(Work<Watcher>),
    Watching(Box<Watcher>),
}

enum Report {
    Page(Result<Page, EtcdError>),
    Opened(Result<Watcher, EtcdError>),
    Seen(Result<Seen, EtcdError>),
}

impl Hand {
    async fn report(&mut self) -> Report {
        match self {
            Hand::Nothing => pending().await,
            Hand::Listing(page) => Report::Page(page.await),
            Hand::Opening(watch) => Report::Opened(watch.await),
            Hand::Watching(watcher) => Report::Seen(watcher.next().await),
        }
    }
}

/// Follows until nobody listens to `told` any more.
pub async fn follow(carrier: Arc<Carrier>, dice: Arc<dyn Dice>, told: mpsc::Sender<Told>) {
    let begun = Instant::now();
    let mut task = Task { carrier, told, hand: Hand::Nothing, live: false };
    let mut follow = Follow::default();
    loop {
        let event = select! {
            () = sleep_until(begun + follow.wakes_at()) => Some(Event::Tick),
            report = task.hand.report() => task.hear(report).await,
        };
        if task.told.is_closed() {
            return;
        }
        let Some(event) = event else { continue };
        let now: Duration = begun.elapsed();
        let (next, effect) = follow.step(now, event, dice.draw());
        follow = next;
        if let Some(effect) = effect {
            task.perform(effect);
        }
        if effect == Some(Effect::List) {
            task.tell(Told::Anew).await;
        }
        if task.live != follow.is_live() {
            task.live = follow.is_live();
            task.tell(Told::Live(task.live)).await;
        }
    }
}

struct Task {
    carrier: Arc<Carrier>,
    told: mpsc::Sender<Told>,
    hand: Hand,
    live: bool,
}

impl Task {
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Ask => {
                if let Hand::Watching(watcher) = &self.hand {
                    watcher.ask();
                }
            }
            Effect::Drop => self.hand = Hand::Nothing,
            Effect::List => {
                self.carrier.forget();
                self.hand = Hand::Listing(self.page(None));
            }
            Effect::Watch(from) => {
                let client = self.carrier.client().clone();
                self.hand = Hand::Opening(Box::pin(async move { client.watch("", from).await }));
            }
        }
    }

    fn page(&self, before: Option<Page>) -> Work<Page> {
        let client = self.carrier.client().clone();
        Box::pin(async move { client.page("", before.as_ref()).await })
    }

    /// Tells what was found; returns what it means for the progress.
    async fn hear(&mut self, report: Report) -> Option<Event> {
        match report {
            Report::Page(Ok(mut page)) => {
                for kept in page.values.drain(..) {
                    self.tell_of(&kept).await;
                }
                if !page.is_last() {
                    self.hand = Hand::Listing(self.page(Some(page)));
                    return None;
                }
                self.hand = Hand::Nothing;
                self.tell(Told::Whole).await;
                Some(Event::Listed(page.revision))
            }
            Report::Opened(Ok(watcher)) => {
                self.hand = Hand::Watching(Box::new(watcher));
                Some(Event::Opened)
            }
            Report::Seen(Ok(seen)) => {
                let changed = !seen.changes.is_empty();
                for change in seen.changes {
                    match change {
                        Change::Written(kept) => self.tell_of(&kept).await,
                        Change::Gone(key) => self.tell_gone(&key).await,
                    }
                }
                Some(match seen.up_to {
                    Some(revision) if changed => Event::Changed(revision),
                    Some(revision) => Event::Alive(revision),
                    None => return None,
                })
            }
            Report::Page(Err(error)) | Report::Opened(Err(error)) | Report::Seen(Err(error)) => {
                self.hand = Hand::Nothing;
                let compacted = matches!(error, EtcdError::Compacted { .. });
                self.tell(Told::Trouble(error)).await;
                Some(if compacted { Event::Compacted } else { Event::Ended })
            }
        }
    }

    async fn tell_of(&mut self, kept: &Kept) {
        if let Some(found) = self.carrier.read(kept) {
            self.tell(match () {
                () if kept.key.starts_with(TOKENS) => Told::Token(found),
                () if kept.key.starts_with(NODES) => Told::Node(found),
                () => Told::Claims(found),
            })
            .await;
        }
    }

    async fn tell_gone(&mut self, path: &str) {
        if let Some(key) = self.carrier.gone(path) {
            self.tell(match () {
                () if path.starts_with(TOKENS) => Told::TokenGone(key),
                () if path.starts_with(NODES) => Told::NodeGone(key),
                () => Told::ClaimGone(key),
            })
            .await;
        }
    }

    async fn tell(&mut self, told: Told) {
        // An error means that nobody listens, which the loop sees.
        let _ = self.told.send(told).await;
    }
}
