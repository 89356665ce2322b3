//! What is shown for names that stand nowhere in the configuration? The table of names that are held on demand, and the bell
//! that is rung for those that are not: a name is put into a bounded queue, or nothing happens. Never waits, asks nobody,
//! decides nothing: `cert::on_demand` does, on the control thread.
//!
//! An unknown name is refused at once with the alert `unrecognized_name`, instead of being kept waiting for an order that
//! takes seconds: a waiting handshake would hold memory and a connection for whoever sends garbage, clients come again by
//! themselves, and an alert costs less than any signature. While an order for a name is under way its handshakes show the
//! placeholder, because authorities that follow a redirect to HTTPS must get through.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustls::sign::CertifiedKey;
use tokio::sync::mpsc;

use super::certificates::Slot;
use crate::cert::on_demand::fit::fit;
use crate::clock::{Clock, UnixTime};
use crate::plan::certificate::CertId;
use crate::words::{DomainName, Identifier};

/// Names that wait for the control thread at most; what comes beyond is dropped, and comes again.
const QUEUE: usize = 512;
/// Counters of clients; several may share one.
const CLIENTS: usize = 4096;
/// So many times a minute a client (or those who share its counter) may ring.
const RINGS: u64 = 60;
/// The last use of a name is noted to this many seconds, so that a busy name is not written to all the time.
const GRAIN: i64 = 600;

/// A client asks for a name that is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// The name, lower case; syntactically fit for a certificate.
    pub name: DomainName,
    /// A keyed hash of the client's address.
    pub client: u64,
}

/// What happens to a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The name is held: its certificate is shown, or the placeholder while it has none.
    Held,
    /// It is not.
    Unknown,
}

/// The names that are held on demand. One in a process; outlives plans.
pub struct Door {
    names: RwLock<HashMap<Box<str>, Place>>,
    clients: Box<[AtomicU64]>,
    key: RandomState,
    bell: mpsc::Sender<Ring>,
    rings: Mutex<Option<mpsc::Receiver<Ring>>>,
    clock: Arc<dyn Clock>,
}

struct Place {
    id: CertId,
    slot: Arc<Slot>,
    /// Seconds since the epoch.
    used: AtomicI64,
    /// It is renewed no more.
    rests: AtomicBool,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("names", &read(&self.names).len()).finish_non_exhaustive()
    }
}

impl Door {
    /// Nothing is held.
    pub fn new(clock: Arc<dyn Clock>) -> Door {
        let (bell, rings) = mpsc::channel(QUEUE);
        Door {
            names: RwLock::default(),
            clients: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
            key: RandomState::new(),
            bell,
            rings: Mutex::new(Some(rings)),
            clock,
        }
    }

    /// The end of the queue at which the control thread listens; once.
    pub fn rings(&self) -> Option<mpsc::Receiver<Ring>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A client at `client` asks for `sni`. What is not held and could be is put into the queue, if there is room and the
    /// client has not rung too often; nothing is remembered here.
    pub fn look(&self, sni: &str, client: Option<IpAddr>) -> Look {
        let now = self.clock.now();
        if let Some(place) = read(&self.names).get(&*lower(sni)) {
            let before = place.used.load(Ordering::Relaxed);
            if (now.seconds() - before).abs() >= GRAIN {
                place.used.store(now.seconds(), Ordering::Relaxed);
            }
            return Look::Held;
        }
        if fit(sni).is_ok() {
            let client = self.hashed(client);
            if self.may_ring(client, now)
                && let Ok(room) = self.bell.try_reserve()
                && let Ok(name) = sni.parse()
            {
                room.send(Ring { name, client });
            }
        }
        Look::Unknown
    }

    /// What to sign with for `sni`; `None`: it is not held, or has no certificate yet.
    pub fn choose(&self, sni: &str) -> Option<Arc<CertifiedKey>> {
        let held = read(&self.names).get(&*lower(sni))?.slot.held()?;
        held.signer().ok()
    }

    /// From now on `name` is held, and shows what is in `slot`.
    pub fn open(&self, name: &DomainName, id: CertId, slot: Arc<Slot>) {
        let mut names = write(&self.names);
        if names.get(name.as_str()).is_none_or(|known| known.id != id || !Arc::ptr_eq(&known.slot, &slot)) {
            let place = Place { id, slot, used: AtomicI64::new(0), rests: AtomicBool::new(false) };
            names.insert(name.as_str().into(), place);
        }
    }

    /// `name` is held no more.
    pub fn close(&self, name: &DomainName) {
        write(&self.names).remove(name.as_str());
    }

    /// Holds only the names that `keep` wants.
    pub fn close_all_but(&self, keep: impl Fn(&DomainName) -> bool) {
        write(&self.names).retain(|name, _| name.parse().is_ok_and(|name| keep(&name)));
    }

    /// `name` is renewed no more, or (false) again.
    pub fn rest(&self, name: &DomainName, rests: bool) {
        if let Some(place) = read(&self.names).get(name.as_str()) {
            place.rests.store(rests, Ordering::Relaxed);
        }
    }

    /// Which names were asked for since they were opened, and when, to ten minutes.
    pub fn used(&self) -> Vec<(DomainName, UnixTime)> {
        let names = read(&self.names);
        let used = names.iter().filter_map(|(name, place)| match place.used.load(Ordering::Relaxed) {
            0 => None,
            at => Some((name.parse().ok()?, UnixTime::from_seconds(at))),
        });
        used.collect()
    }

    /// The certificates of the names that are held.
    pub fn ids(&self) -> Vec<CertId> {
        read(&self.names).values().map(|place| place.id.clone()).collect()
    }

    /// Those of them that are to be renewed.
    pub fn renewed(&self) -> Vec<CertId> {
        let names = read(&self.names);
        names.values().filter(|place| !place.rests.load(Ordering::Relaxed)).map(|place| place.id.clone()).collect()
    }

    fn hashed(&self, client: Option<IpAddr>) -> u64 {
        match client {
            // Whoever has one address of a /64 has them all.
            Some(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_none() => self.key.hash_one(&ip.octets()[..8]),
            Some(ip) => self.key.hash_one(ip.to_canonical()),
            None => self.key.hash_one(()),
        }
    }

    /// Counts a ring: the minute in the upper half, how many in the lower.
    fn may_ring(&self, client: u64, now: UnixTime) -> bool {
        let counter = &self.clients[usize::try_from(client % CLIENTS as u64).unwrap_or(0)];
        let minute = u64::from(u32::try_from(now.seconds().div_euclid(60)).unwrap_or(0)) << 32;
        let counted = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| match seen & !0xffff_ffff {
            same if same == minute => (seen - minute < RINGS).then_some(seen + 1),
            _ => Some(minute + 1),
        });
        counted.is_ok()
    }
}

/// The names for which a server has certificates of its own; for all others the door is looked at.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub door: Arc<Door>,
    pub own: Box<[Identifier]>,
}

impl Scope {
    /// Whether the handshake of a client goes on. Without a name there is something to show only where certificates stand.
    pub fn lets_in(&self, sni: Option<&str>, client: Option<IpAddr>) -> bool {
        match sni {
            Some(sni) => !self.takes(sni) || self.door.look(sni, client) == Look::Held,
            None => !self.own.is_empty(),
        }
    }

    /// Whether `sni` is a matter of the door.
    pub fn takes(&self, sni: &str) -> bool {
        !self.own.iter().any(|own| matches!(own, Identifier::Dns(own) if own.covers(sni)))
    }
}

fn lower(sni: &str) -> Cow<'_, str> {
    let sni = sni.strip_suffix('.').unwrap_or(sni);
    match sni.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(sni.to_ascii_lowercase()),
        false => Cow::Borrowed(sni),
    }
}

// A panic while the lock is held leaves a whole table: every change is one call of the map.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::plan::certificate::KeyKind;

    fn door() -> (Arc<VirtualClock>, Door) {
        let clock = Arc::new(VirtualClock::default());
        clock.set(UnixTime::from_seconds(1_000_000));
        (clock.clone(), Door::new(clock))
    }

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn heard(rings: &mut mpsc::Receiver<Ring>) -> Vec<String> {
        std::iter::from_fn(|| rings.try_recv().ok()).map(|ring| ring.name.to_string()).collect()
    }

    #[test]
    fn a_name_that_is_not_held_rings_once_for_each_client_and_garbage_never() {
        let (_, door) = door();
        let mut rings = door.rings().unwrap();
        assert!(door.rings().is_none());
        for garbage in ["", "localhost", "10.0.0.1", "*.a.example", "a_b.example", "xn--.example", "a..b", "\0.example"]
        {
            assert_eq!(door.look(garbage, client(1)), Look::Unknown);
        }
        assert!(heard(&mut rings).is_empty());
        assert_eq!(door.look("Shop.Example.COM.", client(1)), Look::Unknown);
        assert_eq!(heard(&mut rings), ["shop.example.com"]);
    }

    #[test]
    fn a_flood_of_one_client_fills_no_queue_and_a_flood_of_many_only_the_queue() {
        let (clock, door) = door();
        let mut rings = door.rings().unwrap();
        for n in 0..10_000 {
            door.look(&format!("g{n}.example.com"), client(1));
        }
        assert_eq!(heard(&mut rings).len(), 60);
        let same = |last: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]));
        for n in 0..1000 {
            door.look(&format!("g{n}.example.com"), same(n));
        }
        assert_eq!(heard(&mut rings).len(), 60, "a /64 is one client");
        for n in 0..10_000_u32 {
            door.look(&format!("g{n}.example.com"), Some(IpAddr::from(n.to_be_bytes())));
        }
        assert_eq!(heard(&mut rings).len(), QUEUE);
        clock.set(UnixTime::from_seconds(1_000_060));
        door.look("late.example.com", client(1));
        assert_eq!(heard(&mut rings), ["late.example.com"]);
    }

    #[test]
    fn a_held_name_never_rings_and_its_use_is_noted() {
        let (clock, door) = door();
        let mut rings = door.rings().unwrap();
        let name: DomainName = "shop.example.com".parse().unwrap();
        let id = CertId::of(&[Identifier::Dns(name.clone())], KeyKind::default());
        door.open(&name, id.clone(), Arc::default());
        assert!(door.used().is_empty() && door.ids() == [id.clone()] && door.renewed() == [id.clone()]);
        door.rest(&name, true);
        assert!(door.renewed().is_empty());
        assert_eq!(door.look("SHOP.example.com.", client(1)), Look::Held);
        assert_eq!(door.used(), [(name.clone(), UnixTime::from_seconds(1_000_000))]);
        clock.set(UnixTime::from_seconds(1_000_599));
        door.look("shop.example.com", client(1));
        assert_eq!(door.used()[0].1, UnixTime::from_seconds(1_000_000));
        clock.set(UnixTime::from_seconds(1_000_600));
        door.look("shop.example.com", client(1));
        assert_eq!(door.used()[0].1, UnixTime::from_seconds(1_000_600));
        assert!(door.choose("shop.example.com").is_none() && heard(&mut rings).is_empty());
        door.close_all_but(|known| *known == name);
        door.open(&name, id.clone(), Arc::default());
        door.close(&name);
        assert_eq!(door.look("shop.example.com", client(1)), Look::Unknown);
        assert!(door.ids().is_empty());
    }
}
