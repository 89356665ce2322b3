//! Which listening sockets are open? Held by the master (or the only process), opened once, one for each worker and more
//! when there are more workers, closed only when no plan wants their address any more.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;
use std::time::Duration;

use crate::net::listen::{self, ListenError};
use crate::plan::Plan;
use crate::plan::listener::{ListenAddress, SocketOptions};
use crate::plan::log::Level;

use super::challenge_listener;
use super::errorlog::ErrorLogs;
use super::orders::Address;

/// nginx tries this often.
const TRIES: usize = 5;
/// nginx waits this long between two tries.
const BETWEEN: Duration = Duration::from_millis(500);

/// Sockets by address.
#[derive(Debug, Default)]
pub struct Sockets(BTreeMap<ListenAddress, Vec<OwnedFd>>);

/// Addresses that were opened for a plan which is not in force yet.
#[derive(Debug, Default)]
#[must_use]
pub struct Fresh(Vec<ListenAddress>);

/// An address could not be bound; why has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address could not be bound")]
pub struct StillClosed;

impl Sockets {
    /// Takes over sockets that somebody else has opened.
    pub fn adopt(&mut self, address: ListenAddress, socket: OwnedFd) {
        self.0.entry(address).or_default().push(socket);
    }

    /// Opens what `plan` wants and is not open. An address in use is tried five times, as nginx does, and each failure
    /// goes to `logs` in its words.
    ///
    /// # Errors
    /// When an address stays closed; what was opened is closed again.
    pub fn open_for(&mut self, plan: &Plan, logs: &ErrorLogs) -> Result<Fresh, StillClosed> {
        let workers = workers(plan);
        let mut fresh = Fresh::default();
        for tries_left in (0..TRIES).rev() {
            let mut in_use = false;
            for (address, options, optional) in wanted(plan) {
                let workers = if is_link(plan, &address) { 1 } else { workers };
                match self.open_one(&address, options, workers) {
                    Ok(true) => fresh.0.push(address),
                    Ok(false) => {}
                    Err(error) if optional => {
                        let text = format!("{error}: challenges cannot be answered there");
                        logs.line(Level::Warn, None, &text);
                    }
                    Err(error) => {
                        logs.line(Level::Emerg, None, &error.to_string());
                        if !error.in_use() {
                            self.give_up(fresh);
                            return Err(StillClosed);
                        }
                        in_use = true;
                    }
                }
            }
            if !in_use {
                return Ok(fresh);
            }
            logs.line(Level::Notice, None, "try again to bind() after 500ms");
            if tries_left > 0 {
                std::thread::sleep(BETWEEN);
            }
        }
        logs.line(Level::Emerg, None, "still could not bind()");
        self.give_up(fresh);
        Err(StillClosed)
    }

    /// Opens what is missing at one address; whether the address is new.
    fn open_one(
        &mut self,
        address: &ListenAddress,
        options: &SocketOptions,
        workers: usize,
    ) -> Result<bool, ListenError> {
        match self.0.get_mut(address) {
            None => {
                let sockets = listen::open(address, options, workers).or_else(|error| {
                    if error.in_use() && is_stale(address) {
                        listen::open(address, options, workers)
                    } else {
                        Err(error)
                    }
                })?;
                self.0.insert(address.clone(), sockets);
                Ok(true)
            }
            Some(sockets) => {
                if let Some(first) = sockets.first().filter(|_| sockets.len() < workers) {
                    let more = listen::open_more(first, address, options, workers - sockets.len())?;
                    sockets.extend(more);
                }
                Ok(false)
            }
        }
    }

    /// Closes what was opened for a plan that is not used after all.
    pub fn give_up(&mut self, fresh: Fresh) {
        for address in fresh.0 {
            self.close(&address);
        }
    }

    /// Closes every address that `plan` does not want.
    pub fn keep_only(&mut self, plan: &Plan) {
        let gone: Vec<ListenAddress> = self.0.keys().filter(|held| !wants(plan, held)).cloned().collect();
        for address in gone {
            self.close(&address);
        }
    }

    /// Closes all and removes the files of unix sockets, unless another master listens on them too.
    pub fn close_all(&mut self, shared: bool) {
        if shared {
            return self.0.clear();
        }
        for address in self.0.keys().cloned().collect::<Vec<_>>() {
            self.close(&address);
        }
    }

    fn close(&mut self, address: &ListenAddress) {
        if self.0.remove(address).is_some()
            && let ListenAddress::Unix(path) = address
        {
            // Whoever comes now shall find nothing rather than nobody.
            let _ = std::fs::remove_file(path);
        }
    }

    /// A duplicate of each.
    ///
    /// # Errors
    /// When the process has too many files open.
    pub fn copies(&self) -> std::io::Result<BTreeMap<ListenAddress, Vec<OwnedFd>>> {
        let copy = |sockets: &Vec<OwnedFd>| sockets.iter().map(OwnedFd::try_clone).collect::<std::io::Result<_>>();
        self.0.iter().map(|(address, sockets)| Ok((address.clone(), copy(sockets)?))).collect()
    }

    /// Addresses with the number of their sockets, and all descriptors in that order.
    pub fn all(&self) -> (Vec<(Address, usize)>, Vec<BorrowedFd<'_>>) {
        let names = self.0.iter().map(|(address, sockets)| (Address::from(address), sockets.len())).collect();
        (names, self.0.values().flatten().map(AsFd::as_fd).collect())
    }
}

/// `-t`: whether everything could be bound; an address in use is forgiven, as nginx does.
///
/// # Errors
/// nginx's words.
pub fn test(plan: &Plan) -> Result<(), String> {
    for (address, options, optional) in wanted(plan) {
        match listen::open(&address, options, 1) {
            Ok(_) => {
                if let ListenAddress::Unix(path) = &address {
                    let _ = std::fs::remove_file(path);
                }
            }
            Err(error) if error.in_use() || optional => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// How many worker threads a plan wants.
pub fn workers(plan: &Plan) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    plan.process.workers.unwrap_or_else(all).max(1)
}

/// Whether `plan` listens on `address`.
pub fn wants(plan: &Plan, address: &ListenAddress) -> bool {
    wanted(plan).any(|(wanted, ..)| wanted == *address)
}

/// Address, options, and whether it may stay closed.
fn wanted(plan: &Plan) -> impl Iterator<Item = (ListenAddress, &SocketOptions, bool)> {
    static LINK: LazyLock<SocketOptions> = LazyLock::new(SocketOptions::default);
    let listeners = plan.http.iter().flat_map(|http| http.listeners.iter());
    let optional = challenge_listener::is_optional;
    let clients = listeners.map(move |listener| (listener.address.clone(), &listener.options, optional(listener)));
    clients.chain(links(plan).map(|address| (address, &*LINK, false)))
}

/// Where other nodes of the fleet come in.
fn links(plan: &Plan) -> impl Iterator<Item = ListenAddress> {
    plan.fleet.iter().flat_map(|fleet| fleet.listen.iter().map(|at| ListenAddress::Tcp(*at)))
}

/// Whether other nodes come in at an address, and no clients.
pub fn is_link(plan: &Plan, address: &ListenAddress) -> bool {
    links(plan).any(|link| link == *address)
}

/// A unix socket whose process is gone: its file is removed. A live one answers, and stays.
fn is_stale(address: &ListenAddress) -> bool {
    let ListenAddress::Unix(path) = address else { return false };
    let nobody = std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    nobody && std::fs::remove_file(path).is_ok()
}
