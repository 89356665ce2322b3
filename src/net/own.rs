//! Which connections and addresses are our own? Probes of what we serve come through the same door as clients, and shall be in no log,
//! no count and no limit: they announce their local address here before they connect, and the door asks.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

static ANNOUNCED: AtomicUsize = AtomicUsize::new(0);
static ADDRESSES: Mutex<Option<HashSet<SocketAddr>>> = Mutex::new(None);

/// A probe under way; taken back when dropped.
#[derive(Debug)]
pub struct Announced(SocketAddr);

/// Announces a connection from `local`.
pub fn announce(local: SocketAddr) -> Announced {
    let mut addresses = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
    addresses.get_or_insert_default().insert(local);
    ANNOUNCED.fetch_add(1, Ordering::SeqCst);
    Announced(local)
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut addresses = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get_or_insert_default().remove(&self.0);
        ANNOUNCED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the connection from `remote` is one of these. Costs one load while no probe is under way.
pub fn is_ours(remote: SocketAddr) -> bool {
    if ANNOUNCED.load(Ordering::SeqCst) == 0 {
        return false;
    }
    let addresses = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
    addresses.as_ref().is_some_and(|addresses| addresses.contains(&remote))
}

/// Whether an address stands on an interface of this machine. Asks the system each time: interfaces come and go.
pub fn is_interface(ip: IpAddr) -> bool {
    nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| interface.address).any(|address| {
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip()))) == Some(ip)
    })
}
