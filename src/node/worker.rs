//! What does one worker thread do? Accepts on its own sockets and serves its connections, all on one runtime of its own,
//! by the plan that is in force. Told what to do over a channel; shares nothing on the path of a request but snapshots.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::http::conn::{self, Drain};
use crate::http::serve::{Parts, Worker as Service};
use crate::net::accept::{self, End, Listening};
use crate::net::terms::Terms;
use crate::plan::listener::ListenAddress;

/// How often a draining worker looks whether its last connection has gone.
const GLANCE: Duration = Duration::from_millis(5);

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// The plan in [`Terms`] is a new one; hold `connections` at most.
    Replace {
        /// `worker_connections`.
        connections: usize,
    },
    /// Accept on these sockets and on no others.
    Listen(Share),
    /// Write out what logs hold back, and forget closed files.
    Flush,
    /// Accept no more, finish what is under way, end. `last`: nobody accepts on our sockets after us.
    Drain {
        /// Whether who has come as far as the kernel is ours to serve.
        last: bool,
    },
}

/// One worker's share of the listening sockets.
#[derive(Debug, Default)]
pub struct Share {
    /// The number tells sockets of one address apart.
    pub sockets: Vec<(ListenAddress, usize, OwnedFd)>,
    /// Addresses on which nobody listens any more, and the terms under which who has come as far as the kernel is served.
    pub closed: Option<(Arc<[ListenAddress]>, Arc<Terms>)>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts a worker thread that has no sockets yet.
    ///
    /// # Errors
    /// When the system has no room for a thread or its runtime.
    pub fn start(parts: Parts, terms: Arc<ArcSwap<Terms>>) -> io::Result<Worker> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (tell, made) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("worker {}", parts.number)).spawn(move || {
            // A runtime whose tasks never leave this thread has to be made on it.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            let told = tell.send(runtime.as_ref().map(drop).map_err(|error| io::Error::from(error.kind())));
            if let (Ok(runtime), Ok(())) = (runtime, told) {
                runtime.block_on(run(parts, terms, inbox));
            }
        })?;
        made.recv().map_err(|_| io::Error::from(io::ErrorKind::Other))??;
        Ok(Worker { commands, thread })
    }

    /// Tells it something. A worker that has ended hears nothing.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

type Loops = BTreeMap<(ListenAddress, usize), (oneshot::Sender<End>, JoinOfLoop)>;
type JoinOfLoop = tokio::task::JoinHandle<()>;

async fn run(parts: Parts, terms: Arc<ArcSwap<Terms>>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let counts = parts.counts[parts.number % parts.counts.len()].clone();
    let (service, places) = {
        let now = terms.load();
        let service = Service::new(parts, now.plan.clone(), now.epoch);
        (service, accept::Worker::new(now.plan.process.worker_connections, counts))
    };
    let drain = Drain::new();
    let mut loops = Loops::new();
    let mut end = End::HandedOver;
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Replace { connections } => {
                let now = terms.load();
                places.set_limit(connections);
                service.replace(now.plan.clone(), now.epoch);
                drop(now);
                drain.renew(|connection| service.renew(connection));
            }
            Command::Listen(share) => {
                listen(&mut loops, share, &terms, &places, &service, &drain);
            }
            Command::Flush => service.flush(),
            Command::Drain { last } => {
                if last {
                    end = End::Closing(terms.load_full());
                }
                break;
            }
        }
    }
    drain.begin();
    let (stops, ends): (Vec<_>, Vec<_>) = std::mem::take(&mut loops).into_values().unzip();
    stops.into_iter().for_each(|stop| drop(stop.send(end.clone())));
    for ended in ends {
        let _ = ended.await;
    }
    while places.open() > 0 {
        tokio::time::sleep(GLANCE).await;
    }
    service.flush();
}

/// Starts loops on sockets that are new and stops those that are not among `sockets`.
fn listen(
    loops: &mut Loops,
    share: Share,
    terms: &Arc<ArcSwap<Terms>>,
    places: &Rc<accept::Worker>,
    service: &Rc<Service>,
    drain: &Rc<Drain>,
) {
    let mut kept = Loops::new();
    for (address, number, socket) in share.sockets {
        let name = (address.clone(), number);
        if let Some(running) = loops.remove(&name) {
            kept.insert(name, running);
            continue;
        }
        let listening = match Listening::new(address, socket) {
            Ok(listening) => listening,
            Err(error) => {
                tracing::error!(level = "alert", "a listening socket cannot be used: {error}");
                continue;
            }
        };
        let (stop, stopped) = oneshot::channel::<End>();
        let (service, drain) = (Rc::new(service.clone()), drain.clone());
        let serve = move |stream, connection| conn::serve(stream, connection, service.clone(), drain.clone());
        let stopped = async move { stopped.await.unwrap_or(End::HandedOver) };
        let accepting = accept::run(listening, terms.clone(), places.clone(), serve, stopped);
        kept.insert(name, (stop, tokio::task::spawn_local(accepting)));
    }
    for ((address, _), (stop, _)) in std::mem::replace(loops, kept) {
        let closed = share.closed.as_ref().filter(|(closed, _)| closed.contains(&address));
        let _ = stop.send(closed.map_or(End::HandedOver, |(_, terms)| End::Closing(terms.clone())));
    }
}
