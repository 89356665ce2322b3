//! When should connections end? A flag for those that are at work, a call for those that are idle; one worker's own, so
//! asking costs nothing.

use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Notify;

/// Says to a group of connections that they should end: after the present request, or at once if idle.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Cell<bool>,
    call: Notify,
}

impl Drain {
    /// Not begun.
    pub fn new() -> Rc<Drain> {
        Rc::default()
    }

    /// Begins. Idle connections close now, the others say `Connection: close` or GOAWAY and finish.
    pub fn begin(&self) {
        self.begun.set(true);
        self.call.notify_waiters();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Done when it has begun.
    pub async fn begun(&self) {
        // No other task of this thread can run between the check and the first poll.
        if !self.begun.get() {
            self.call.notified().await;
        }
    }
}
