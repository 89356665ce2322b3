//! How is a running keeper spoken to from outside? Its handle ends it when dropped; a teller only tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::JoinHandle;

use super::Word;
use super::mail::Mail;
use crate::cert::journal::Shelf;
use crate::cert::stage::{Event, Stage};

/// The handle of a running keeper. The keeper ends when this is dropped.
pub struct Handle {
    reports: Weak<Mail>,
    seen: Arc<Mutex<Stage>>,
    task: Option<JoinHandle<()>>,
    paused: Arc<AtomicBool>,
    shelf: Arc<dyn Shelf>,
}

impl Handle {
    pub(super) fn new(
        reports: &Arc<Mail>,
        seen: Arc<Mutex<Stage>>,
        paused: Arc<AtomicBool>,
        shelf: Arc<dyn Shelf>,
    ) -> Handle {
        Handle { reports: Arc::downgrade(reports), seen, task: None, paused, shelf }
    }

    /// Remembers the task that runs the keeper, to end it.
    pub fn attach(&mut self, task: JoinHandle<()>) {
        self.task = Some(task);
    }

    /// Tells the keeper something.
    pub fn tell(&self, word: Word) {
        if let Some(reports) = self.reports.upgrade() {
            reports.send(word);
        }
    }

    /// Who tells the keeper something later, if it still runs then.
    pub fn teller(&self) -> Teller {
        Teller(self.reports.clone())
    }

    /// Looks at where the certificate stands without copying it.
    pub fn glance<T>(&self, look: impl FnOnce(&Stage) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins nothing by itself from now on, or (false) goes on as ever.
    pub fn pause(&self, pause: bool) {
        self.paused.store(pause, Ordering::Relaxed);
        // It may sleep towards a moment that no longer counts, or past one that counts again.
        self.tell(Word::Event(Event::Tick));
    }

    /// Whether it begins nothing by itself.
    pub fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Where its bundles lie.
    pub fn shelf(&self) -> Arc<dyn Shelf> {
        self.shelf.clone()
    }

    /// Where the certificate stands, now and later.
    pub fn watch(&self) -> Arc<Mutex<Stage>> {
        self.seen.clone()
    }

    /// Where the certificate stands.
    pub fn stage(&self) -> Stage {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells one keeper something, and does not keep it alive.
#[derive(Clone)]
pub struct Teller(Weak<Mail>);

impl Teller {
    /// False if the keeper is gone.
    pub fn tell(&self, event: Event) -> bool {
        self.0.upgrade().map(|reports| reports.send(Word::Event(event))).is_some()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
