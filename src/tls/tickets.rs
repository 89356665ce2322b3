//! How are sessions handed to clients and taken back? Tickets sealed with AES-256-GCM; random keys that rotate, keys that the
//! nodes of a fleet share, or keys from `ssl_session_ticket_key` files. A ticket is bound to what its server demands of client certificates, so that a
//! session can never be carried from a server that asked for nothing to one that asks.

use crate::clock::{Clock, UnixTime};
use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A random key seals for so long, and opens for as long again.
const KEY_LIFE: Duration = Duration::from_secs(12 * 3600);
const NAME: usize = 16;
const TIME: usize = 8;

/// What a ticket is bound to: a digest of the demands on client certificates.
pub type Identity = [u8; 32];

struct Key {
    name: [u8; NAME],
    cipher: LessSafeKey,
    made: UnixTime,
}

impl Key {
    fn new(name: [u8; NAME], secret: &[u8; 32], made: UnixTime) -> Option<Arc<Key>> {
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).ok()?);
        Some(Arc::new(Key { name, cipher, made }))
    }

    fn random(made: UnixTime) -> Option<Arc<Key>> {
        let (mut name, mut secret) = ([0; NAME], zeroize::Zeroizing::new([0; 32]));
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(&mut *secret).ok()?;
        Key::new(name, &secret, made)
    }

    /// The key that every node makes of a secret that it shares with others; its name says nothing about the secret.
    fn shared(secret: &[u8; 32]) -> Option<Arc<Key>> {
        let derive = |label: &[u8]| {
            let mut context = aws_lc_rs::digest::Context::new(&SHA256);
            context.update(label);
            context.update(secret);
            context.finish()
        };
        let mut name = [0; NAME];
        name.copy_from_slice(&derive(b"semper ticket name 1\0").as_ref()[..NAME]);
        let mut key = zeroize::Zeroizing::new([0; 32]);
        key.copy_from_slice(derive(b"semper ticket key 1\0").as_ref());
        Key::new(name, &key, UnixTime::default())
    }
}

/// The keys of tickets; the first seals, all open. Shared by workers and plans.
pub struct TicketKeys {
    keys: ArcSwap<Vec<Arc<Key>>>,
    /// Keys that others have too; while there are any, the first of them seals.
    shared: ArcSwap<Vec<Arc<Key>>>,
    rotates: bool,
    turning: Mutex<()>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("keys", &self.keys.load().len()).finish_non_exhaustive()
    }
}

/// A ticket key file has the wrong length. Whose fault: the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 48 or 80 bytes")]
pub struct BadTicketKey;

impl TicketKeys {
    /// Random keys that rotate by themselves; the first is made at first use.
    pub fn random(clock: Arc<dyn Clock>) -> Arc<TicketKeys> {
        let (keys, shared) = Default::default();
        Arc::new(TicketKeys { keys, shared, rotates: true, turning: Mutex::default(), clock })
    }

    /// Takes these secrets in place of those that were shared before: the first seals, all open, everywhere where the same
    /// are shared. Whose turn it is decides the caller. Without any, the own random keys seal again; what they sealed goes
    /// on opening here all the while. Keys from files are not touched by this.
    pub fn share<'a>(&self, secrets: impl IntoIterator<Item = &'a [u8; 32]>) {
        self.shared.store(Arc::new(secrets.into_iter().filter_map(Key::shared).collect()));
    }

    /// Keys from the contents of `ssl_session_ticket_key` files, in order. Other servers with the same files accept the
    /// tickets; nginx itself does not, its sessions look different inside.
    ///
    /// # Errors
    /// [`BadTicketKey`].
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = &'a [u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<TicketKeys>, BadTicketKey> {
        let mut keys = Vec::new();
        for file in files {
            if !matches!(file.len(), 48 | 80) {
                return Err(BadTicketKey);
            }
            let mut name = [0; NAME];
            name.copy_from_slice(&file[..NAME]);
            let mut secret = zeroize::Zeroizing::new([0; 32]);
            secret.copy_from_slice(digest(&SHA256, file).as_ref());
            keys.push(Key::new(name, &secret, UnixTime::default()).ok_or(BadTicketKey)?);
        }
        let (keys, shared) = (ArcSwap::from_pointee(keys), ArcSwap::default());
        Ok(Arc::new(TicketKeys { keys, shared, rotates: false, turning: Mutex::default(), clock }))
    }

    /// The key that seals at `now`.
    fn sealing(&self, now: UnixTime) -> Option<Arc<Key>> {
        if let Some(key) = self.shared.load().first() {
            return Some(key.clone());
        }
        let fresh = |key: &Arc<Key>| !self.rotates || (key.made <= now && now.since(key.made) < KEY_LIFE);
        if let Some(key) = self.keys.load().first().filter(|key| fresh(key)) {
            return Some(key.clone());
        }
        if !self.rotates {
            return None;
        }
        let _turning = self.turning.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let keys = self.keys.load_full();
        if let Some(key) = keys.first().filter(|key| fresh(key)) {
            return Some(key.clone());
        }
        let new = Key::random(now)?;
        // The one before goes on opening; older ones are dropped, and their secrets with them.
        self.keys.store(Arc::new(std::iter::once(new.clone()).chain(keys.first().cloned()).collect()));
        Some(new)
    }

    fn seal(&self, identity: &Identity, plain: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.now();
        let key = self.sealing(now)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut out = Vec::with_capacity(NAME + NONCE_LEN + TIME + plain.len() + 16);
        out.extend_from_slice(&key.name);
        out.extend_from_slice(&nonce);
        let sealed_at = out.len();
        out.extend_from_slice(&now.0.to_be_bytes());
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.cipher.seal_in_place_separate_tag(nonce, Aad::from(identity), &mut out[sealed_at..]).ok()?;
        out.extend_from_slice(tag.as_ref());
        Some(out)
    }

    fn open(&self, identity: &Identity, ticket: &[u8], lifetime: Duration) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let now = self.clock.now();
        let (shared, own) = (self.shared.load(), self.keys.load());
        let aged = |key: &&Arc<Key>| self.rotates && now.since(key.made) >= KEY_LIFE * 2;
        let named = |key: &&Arc<Key>| key.name == name;
        let key = shared.iter().find(named).or_else(|| own.iter().find(named).filter(|key| !aged(key)))?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = key.cipher.open_in_place(nonce, Aad::from(identity), &mut text).ok()?;
        let (time, plain) = plain.split_at_checked(TIME)?;
        let sealed_at = UnixTime(i64::from_be_bytes(time.try_into().ok()?));
        (now.since(sealed_at) <= lifetime).then(|| plain.to_vec())
    }
}

/// The ticketer of one configuration: shared keys, its own identity and lifetime.
#[derive(Debug)]
pub(super) struct Ticketer {
    pub keys: Arc<TicketKeys>,
    pub identity: Identity,
    pub lifetime: Duration,
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.seal(&self.identity, plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.keys.open(&self.identity, cipher, self.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ticketer(keys: &Arc<TicketKeys>, identity: u8) -> Ticketer {
        Ticketer { keys: keys.clone(), identity: [identity; 32], lifetime: HOUR * 20 }
    }

    #[test]
    fn a_ticket_opens_under_the_same_demands_only() {
        let keys = TicketKeys::random(Arc::new(VirtualClock::default()));
        let ticket = ticketer(&keys, 1).encrypt(b"session").unwrap();
        assert_eq!(ticketer(&keys, 1).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(ticketer(&keys, 2).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(ticketer(&keys, 1).decrypt(&damaged), None, "byte {at}");
            assert_eq!(ticketer(&keys, 1).decrypt(&ticket[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn keys_rotate_the_old_one_opens_for_a_while_and_is_then_dropped() {
        let clock = Arc::new(VirtualClock::default());
        let keys = TicketKeys::random(clock.clone());
        let ticketer = ticketer(&keys, 1);
        let first = ticketer.encrypt(b"1").unwrap();
        clock.set(UnixTime::default() + HOUR * 13);
        let second = ticketer.encrypt(b"2").unwrap();
        assert_ne!(first[..NAME], second[..NAME]);
        assert!(ticketer.decrypt(&first).is_some() && ticketer.decrypt(&second).is_some());
        clock.set(UnixTime::default() + HOUR * 21);
        assert!(ticketer.decrypt(&first).is_none() && ticketer.decrypt(&second).is_some());
        clock.set(UnixTime::default() + HOUR * 60);
        assert!(ticketer.decrypt(&second).is_none());
    }

    #[test]
    fn nodes_with_the_same_secrets_open_each_others_tickets_until_a_secret_is_gone() {
        let clock = Arc::new(VirtualClock::default());
        let (here, there) = (TicketKeys::random(clock.clone()), TicketKeys::random(clock.clone()));
        let own = ticketer(&here, 1).encrypt(b"own").unwrap();
        assert!(ticketer(&there, 1).decrypt(&own).is_none());
        let (old, current, next) = ([1; 32], [2; 32], [3; 32]);
        here.share([&current, &old, &next]);
        there.share([&next, &current]);
        let (one, other) = (ticketer(&here, 1).encrypt(b"1").unwrap(), ticketer(&there, 1).encrypt(b"2").unwrap());
        assert_eq!(ticketer(&there, 1).decrypt(&one).as_deref(), Some(&b"1"[..]));
        assert_eq!(ticketer(&here, 1).decrypt(&other).as_deref(), Some(&b"2"[..]));
        assert_eq!(ticketer(&there, 2).decrypt(&one), None, "other demands on clients");
        assert!(ticketer(&here, 1).decrypt(&own).is_some(), "sessions from before go on");
        there.share([&next]);
        assert!(ticketer(&there, 1).decrypt(&one).is_none(), "forgotten");
        there.share([]);
        assert!(ticketer(&there, 1).decrypt(&other).is_none());
        let alone = ticketer(&there, 1).encrypt(b"3").unwrap();
        assert!(ticketer(&there, 1).decrypt(&alone).is_some() && ticketer(&here, 1).decrypt(&alone).is_none());
        assert!(![&one, &other].iter().any(|ticket| ticket.windows(4).any(|w| w == [2; 4] || w == [3; 4])));
    }

    #[test]
    fn key_files_are_shared_between_servers_and_the_first_seals() {
        let clock: Arc<VirtualClock> = Arc::default();
        let (one, two) = ([1; 48], [2; 80]);
        let here = TicketKeys::from_files([&one[..], &two[..]], clock.clone()).unwrap();
        let there = TicketKeys::from_files([&two[..], &one[..]], clock.clone()).unwrap();
        let ticket = ticketer(&here, 1).encrypt(b"x").unwrap();
        assert_eq!(ticket[..NAME], [1; NAME]);
        assert!(ticketer(&there, 1).decrypt(&ticket).is_some());
        assert_eq!(TicketKeys::from_files([&[0; 47][..]], clock).unwrap_err(), BadTicketKey);
    }
}
