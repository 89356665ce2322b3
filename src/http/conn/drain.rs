//! When should connections end? A flag for those that are at work, a call for those that are idle; one worker's own, so
//! asking costs nothing. Knows which connections the worker serves, so that a reload finds those that wait.

use crate::net::connection::Connection;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a connection without a first request may still send it: it may be on its way already.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

/// Says to a group of connections that they should end: after the present request, or at once if idle.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Cell<bool>,
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
        self.present.borrow().places.iter().flatten().for_each(|connection| connection.wake());
    }

    /// After a reload: `renewed` binds a connection to the new plan. One for which it cannot ends: now if it is idle, else
    /// after its request. So no old plan is kept only because nobody asks anything.
    pub fn renew(&self, renewed: impl Fn(&Connection) -> bool) {
        for connection in self.present.borrow().places.iter().flatten() {
            if !renewed(connection) {
                connection.leave();
            }
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
    pub(super) fn ends<'a>(&'a self, connection: &'a Connection) -> Ends<'a> {
        Ends { drain: self, connection, grace: None }
    }
}

/// See [`Drain::ends`]. Small, because every idle connection holds one.
pub(super) struct Ends<'a> {
    drain: &'a Drain,
    connection: &'a Connection,
    /// Time for the first request, where the end has come before it.
    grace: Option<Pin<Box<Sleep>>>,
}

impl Future for Ends<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.drain.wants(self.connection) {
            self.connection.woken_by(cx.waker());
            return Poll::Pending;
        }
        if self.connection.requests.get() > 0 {
            return Poll::Ready(());
        }
        let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(FIRST_REQUEST)));
        grace.as_mut().poll(cx)
    }
}
