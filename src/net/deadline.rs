//! Is it too late? One timer for a connection, towards a client or an upstream, as long as it lives. Moving the deadline
//! costs nothing: the timer is set anew only when it rings too early.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that moves with every read and write.
#[derive(Debug, Default)]
pub struct Deadline {
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Moves it.
    pub fn set(&mut self, due: Instant) {
        self.due = Some(due);
    }

    /// Nothing is due.
    pub fn clear(&mut self) {
        self.due = None;
    }

    /// When it is, if anything is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Ready when it has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        loop {
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if sleep.deadline() >= due => return Poll::Ready(()),
                Poll::Ready(()) => sleep.as_mut().reset(due),
            }
        }
    }
}
