//! How do connections come in? One loop for each worker and listening socket: accept, count, make ready, hand on.
//! Decides nothing about requests; `node` opens the sockets and says what happens with a connection that is ready.

use super::connection::{Connection, Endpoint};
use super::handshake::{self, Arrival, Ended};
use super::listen::shown;
use super::own;
use super::stream::{ClientStream, Socket};
use super::terms::Terms;
use crate::plan::listener::{AddressServers, ListenAddress};
use arc_swap::ArcSwap;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;

/// How long a worker without a free descriptor waits before it accepts again (nginx: `accept_mutex_delay`).
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(500);
/// How long a loop whose listener is gone waits for those who were about to come in: handshakes of the kernel that are
/// under way.
const LAST_CALL: Duration = Duration::from_millis(50);
/// How long a connection whose listener is gone from the plan is held until the loop hears about it.
const HOLD: Duration = Duration::from_secs(2);

/// That there are no descriptors is said once in this time: where few are left, it ends and begins many times a second.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// `$connection`: unique in the process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// What one worker has counted since its start; summed over workers when somebody reads it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Of these, those for which there was room.
    pub handled: AtomicU64,
    /// Connections open now, handshakes included.
    pub open: AtomicU64,
    /// Handshakes that failed.
    pub failed_handshakes: AtomicU64,
}

/// One worker's room for connections; shared by its accept loops.
#[derive(Debug)]
pub struct Worker {
    counts: Arc<Counts>,
    limit: Cell<usize>,
    open: Cell<usize>,
    /// No descriptor was to be had at the last try.
    starved: Cell<bool>,
    /// When that was said last, and whether its end has been said too.
    complained: Cell<(Option<Instant>, bool)>,
}

impl Worker {
    /// A worker that holds `limit` connections at most (`worker_connections`) and counts in `counts`.
    pub fn new(limit: usize, counts: Arc<Counts>) -> Rc<Worker> {
        let (open, starved, complained) = (Cell::new(0), Cell::new(false), Cell::new((None, true)));
        Rc::new(Worker { counts, limit: Cell::new(limit), open, starved, complained })
    }

    /// Changes the limit; connections beyond it live on.
    pub fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// A place for a connection; one of our own takes none and counts for nothing.
    fn admit(self: &Rc<Worker>, own: bool) -> Option<Held> {
        if own {
            return Some(Held(None));
        }
        if self.starved.replace(false)
            && let (said, false) = self.complained.get()
        {
            self.complained.set((said, true));
            tracing::info!(level = "notice", "connections are accepted again");
        }
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        if self.open.get() >= self.limit.get() {
            return None;
        }
        self.counts.handled.fetch_add(1, Ordering::Relaxed);
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        self.open.set(self.open.get() + 1);
        Some(Held(Some(self.clone())))
    }
}

/// The place of one connection; given back when dropped, also by a panic.
struct Held(Option<Rc<Worker>>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(worker) = &self.0 {
            worker.open.set(worker.open.get() - 1);
            worker.counts.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A listening socket of one worker.
#[derive(Debug)]
pub struct Listening {
    /// Its identity: the address of the plan.
    pub address: ListenAddress,
    socket: ListeningSocket,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp { listener: TcpListener, local: SocketAddr },
    Unix(UnixListener),
}

impl Listening {
    /// Takes over a socket that listens on `address`; must be called within the worker's runtime.
    ///
    /// # Errors
    /// What the system said about the descriptor.
    pub fn new(address: ListenAddress, socket: OwnedFd) -> io::Result<Listening> {
        let socket = match &address {
            ListenAddress::Tcp(_) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                ListeningSocket::Tcp { local: listener.local_addr()?, listener }
            }
            ListenAddress::Unix(_) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                ListeningSocket::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Listening { address, socket })
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListeningSocket::Tcp { listener, .. } => listener.as_fd(),
            ListeningSocket::Unix(listener) => listener.as_fd(),
        }
    }

    async fn accept(&self) -> io::Result<(Socket, Endpoint, Endpoint)> {
        match &self.socket {
            ListeningSocket::Tcp { listener, local } => {
                let (socket, remote) = listener.accept().await?;
                let local = if local.ip().is_unspecified() { socket.local_addr()? } else { *local };
                Ok((Socket::Tcp(socket), Endpoint::Tcp(remote), Endpoint::Tcp(local)))
            }
            ListeningSocket::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok((Socket::Unix(socket), Endpoint::Unix, Endpoint::Unix))
            }
        }
    }
}

/// The servers that a connection to `local` reaches on `address`, as the plan in force has them.
fn behind<'a>(terms: &'a Terms, address: &ListenAddress, local: Endpoint) -> Option<&'a Arc<AddressServers>> {
    let addresses = &terms.listener(address)?.addresses;
    let own = match local {
        Endpoint::Tcp(local) => addresses.iter().find(|servers| servers.local == Some(local)),
        Endpoint::Unix => None,
    };
    own.or_else(|| addresses.iter().find(|servers| servers.local.is_none()))
}

/// How an accept loop ends.
#[derive(Clone, Debug)]
pub enum End {
    /// Somebody else goes on accepting on the socket.
    HandedOver,
    /// Nobody does. Who has come as far as the kernel is still let in, under these terms, and nobody new.
    Closing(Arc<Terms>),
}

/// Accepts on `listening` until `stop` is done, and gives each connection that is ready to `serve`, in a task of its own
/// on this worker. Connections live on after `stop`; whoever serves them drains them. Must run within a `LocalSet`.
pub async fn run<S, F>(
    listening: Listening,
    terms: Arc<ArcSwap<Terms>>,
    worker: Rc<Worker>,
    serve: S,
    stop: impl Future<Output = End>,
) where
    S: Fn(ClientStream, Rc<Connection>) -> F + Clone + 'static,
    F: Future<Output = ()> + 'static,
{
    tokio::pin!(stop);
    let mut door = Door { listening, worker, serve };
    loop {
        let accepted = tokio::select! {
            biased;
            end = &mut stop => return door.close(end).await,
            accepted = door.listening.accept() => accepted,
        };
        let came = match accepted {
            Ok(came) => came,
            Err(error) => {
                door.after_error(&error).await;
                continue;
            }
        };
        // Looked up each time: what is kept here would keep a plan in memory that nobody uses any more.
        let Err(came) = door.let_in(came, &terms.load()) else { continue };
        // A reload has taken the listener away; we are about to hear of it.
        match tokio::time::timeout(HOLD, &mut stop).await {
            Ok(end) => {
                if let End::Closing(last) = &end {
                    drop(door.let_in(came, last));
                }
                return door.close(end).await;
            }
            Err(_) => tracing::info!("a connection to {} came too late", shown(&door.listening.address)),
        }
    }
}

type Came = (Socket, Endpoint, Endpoint);

/// Where connections come in.
struct Door<S> {
    listening: Listening,
    worker: Rc<Worker>,
    serve: S,
}

impl<S, F> Door<S>
where
    S: Fn(ClientStream, Rc<Connection>) -> F + Clone + 'static,
    F: Future<Output = ()> + 'static,
{
    /// Serves a connection under `now`, if there is room for it. `Err`: these terms have no such listener.
    fn let_in(&self, came: Came, now: &Terms) -> Result<(), Came> {
        let Some(servers) = behind(now, &self.listening.address, came.2) else { return Err(came) };
        let own = matches!(came.1, Endpoint::Tcp(remote) if own::is_ours(remote));
        let Some(held) = self.worker.admit(own) else {
            tracing::error!("{} worker_connections are not enough", self.worker.limit.get());
            return Ok(());
        };
        let (socket, remote, local) = came;
        let arrival = Arrival {
            id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            socket,
            remote,
            local,
            at: Instant::now(),
            epoch: now.epoch,
            plan: now.plan.clone(),
            listener: self.listening.address.clone(),
            servers: servers.clone(),
            tls: now.tls.clone(),
        };
        tokio::task::spawn_local(one(arrival, held, self.serve.clone()));
        Ok(())
    }

    /// Ends; a socket that nobody listens on any more would be closed with people in its queue.
    async fn close(&self, end: End) {
        let End::Closing(last) = end else { return };
        super::listen::turn_away(self.listening.socket());
        let until = Instant::now() + LAST_CALL;
        while let Ok(accepted) = tokio::time::timeout_at(until, self.listening.accept()).await {
            match accepted {
                Ok(came) => drop(self.let_in(came, &last)),
                Err(error) if is_starved(&error) => return,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Waits where trying again at once would only burn the processor.
    async fn after_error(&mut self, error: &io::Error) {
        let address = &self.listening.address;
        if !is_starved(error) {
            tracing::info!("accept4() on {} failed ({})", shown(address), super::dial::errno(error));
            return tokio::task::yield_now().await;
        }
        let (said, _) = self.worker.complained.get();
        if !self.worker.starved.replace(true) && said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            self.worker.complained.set((Some(Instant::now()), false));
            let (address, why) = (shown(address), super::dial::errno(error));
            tracing::error!(level = "crit", "accept4() on {address} failed ({why}); tried again until it works");
        }
        tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
    }
}

/// Whether the system has no room for another connection.
fn is_starved(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

async fn one<S, F>(arrival: Arrival, held: Held, serve: S)
where
    S: Fn(ClientStream, Rc<Connection>) -> F,
    F: Future<Output = ()>,
{
    let remote = arrival.remote;
    if arrival.servers.default_server.root.settings.client.nodelay {
        // Fails only if the client has gone already.
        let _ = arrival.socket.set_nodelay(true);
    }
    let address = arrival.listener.clone();
    match handshake::prepare(arrival).await {
        // A look of our own has seen the certificate, which was all it wanted.
        _ if held.0.is_none() => {}
        Ok((stream, connection)) => {
            let connection = Rc::new(connection);
            if let Socket::Tcp(socket) = stream.socket() {
                connection.descriptor.open(socket);
            }
            serve(stream, connection.clone()).await;
            connection.descriptor.closed();
        }
        Err(ended) => {
            let client = match remote {
                Endpoint::Tcp(address) => address.ip().to_string(),
                Endpoint::Unix => "unix:".to_owned(),
            };
            let server = shown(&address);
            if matches!(ended, Ended::Tls(_) | Ended::Refused)
                && let Some(worker) = &held.0
            {
                worker.counts.failed_handshakes.fetch_add(1, Ordering::Relaxed);
            }
            match ended {
                Ended::Proxy(_) => tracing::error!("{ended}, client: {client}, server: {server}"),
                _ => tracing::info!("{ended}, client: {client}, server: {server}"),
            }
        }
    }
    drop(held);
}
