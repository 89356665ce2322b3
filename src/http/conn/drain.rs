//! When should connections end? A flag for those that are at work, a call for those that are idle; one worker's own, so
//! asking costs nothing. Knows which connections the worker serves, so that a reload finds those that wait.

use crate::net::connection::Connection;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a connection without a first request may still send it: it may be on its way already.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

/// Says to a group of connections that they should end: after the present request, or at once if idle.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Cell<bool>,
    call: Notify,
    present: RefCell<Present>,
}

/// The connections that are served, each at a place of its own.
#[derive(Debug, Default)]
struct Present {
    places: Vec<Option<Rc<Connection>>>,
    free: Vec<usize>,
}

/// A connection's place; given up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    drain: Rc<Drain>,
    number: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.drain.present.borrow_mut();
        let gone = present.places[self.number].take();
        present.free.push(self.number);
        drop(present);
        drop(gone);
    }
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

    /// After a reload: `renewed` binds a connection to the new plan. One for which it cannot ends: now if it is idle, else
    /// after its request. So no old plan is kept only because nobody asks anything.
    pub fn renew(&self, renewed: impl Fn(&Connection) -> bool) {
        let mut some_leave = false;
        for connection in self.present.borrow().places.iter().flatten() {
            if !renewed(connection) {
                connection.leave();
                some_leave = true;
            }
        }
        if some_leave {
            self.call.notify_waiters();
        }
    }

    /// Notes that `connection` is served, until the place is dropped.
    pub(super) fn enter(self: &Rc<Drain>, connection: &Rc<Connection>) -> Place {
        let mut present = self.present.borrow_mut();
        let number = present.free.pop().unwrap_or(present.places.len());
        if number == present.places.len() {
            present.places.push(None);
        }
        present.places[number] = Some(connection.clone());
        Place { drain: self.clone(), number }
    }

    /// Whether `connection` should end after its present request.
    pub(super) fn wants(&self, connection: &Connection) -> bool {
        self.begun.get() || connection.is_leaving()
    }

    /// Done when `connection` should end though it is idle. One that has just come gets time for its first request: it
    /// was let in, so it is answered.
    pub(super) async fn ends(&self, connection: &Connection) {
        // No other task of this thread can run between the check and the first poll.
        while !self.wants(connection) {
            self.call.notified().await;
        }
        if connection.requests.get() == 0 {
            // In a box: hardly any idle connection needs room for it.
            Box::pin(tokio::time::sleep(FIRST_REQUEST)).await;
        }
    }
}
