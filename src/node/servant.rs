//! How does the master hold the server process? As a child with a channel for orders, and a thread that answers what it
//! asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::plan::log::Level;
use crate::plan::process::Process;

use super::channel::Channel;
use super::errand::{self, InForce};
use super::exports::writer::Writer;
use super::master::Heard;
use super::orders::Order;

/// The argument by which the binary knows that it is the server process.
pub const ARGUMENT: &str = "--as-server-process";

/// The server process, as its master sees it.
#[derive(Debug)]
pub struct Servant {
    child: Child,
    orders: Channel,
    begun: Instant,
}

/// A server process that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its id.
    pub id: u32,
    /// How.
    pub how: ExitStatus,
    /// After how long.
    pub lived: Duration,
}

impl Servant {
    /// Starts a server process: the very binary that runs now, even if another lies at its path already.
    ///
    /// # Errors
    /// What the system said.
    pub fn start(process: &Process, allowed: InForce, writer: Writer, say: mpsc::Sender<Heard>) -> io::Result<Servant> {
        let (orders, far_orders) = Channel::pair()?;
        let (asks, far_asks) = Channel::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("nginx: worker process").arg(ARGUMENT).stdin(OwnedFd::from(far_orders));
        for variable in &process.environment {
            if let Some(value) = &variable.value {
                command.env(&*variable.name, &**value);
            }
        }
        let child = command.spawn()?;
        let id = child.id();
        std::thread::Builder::new().name("errands".to_owned()).spawn(move || {
            errand::serve(&asks, &allowed, &writer, |generation, refused| {
                let _ = say.send(Heard::Done(id, generation, refused));
            });
        })?;
        let servant = Servant { child, orders, begun: Instant::now() };
        servant.order(&Order::Hello, &[far_asks.as_fd()])?;
        Ok(servant)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something.
    ///
    /// # Errors
    /// When it is gone.
    pub fn order(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.orders.send(order, fds)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ended> {
        let how = self.child.try_wait().ok().flatten()?;
        Some(Ended { id: self.id(), how, lived: self.begun.elapsed() })
    }
}

/// nginx's words for the end of a process.
pub fn words(id: u32, how: ExitStatus) -> (Level, String) {
    match how.signal() {
        Some(signal) => {
            let core = if how.core_dumped() { " (core dumped)" } else { "" };
            (Level::Alert, format!("worker process {id} exited on signal {signal}{core}"))
        }
        None => (Level::Notice, format!("worker process {id} exited with code {}", how.code().unwrap_or(0))),
    }
}
