//! How is a value sealed so that whoever runs etcd can neither read it nor put it elsewhere? AES-256-GCM under a key of
//! its own for every key of the store, derived from the fleet's sealing key (HKDF-SHA-256, RFC 5869); bound to the key
//! and to how often it was written. Touches no socket; random nonces are all it takes from outside.
//!
//! ```text
//! 1 (version), NONCE (12 bytes), then what is sealed, then the tag (16 bytes)
//! ```
//!
//! An old value that is put back has the wrong count and does not open. Who takes a key away and writes it anew often
//! enough can bring an old count back: the value then opens, and loses against the same claim of any node that is newer.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const SALT: &[u8] = b"semper etcd 1";

/// Seals and opens values of one fleet. Holds the present key and perhaps the one before.
pub struct Sealer {
    keys: Vec<Zeroizing<[u8; 32]>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} keys)", self.keys.len())
    }
}

/// It does not open: sealed with another key, for another place or count, changed, or none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("does not open: another fleet key, moved or put back from an earlier time, or damaged")]
pub struct Unopened;

impl Sealer {
    /// Seals with `key`; opens with it or with `old`, while the fleet key is being changed.
    pub fn new(key: &[u8; 32], old: Option<&[u8; 32]>) -> Sealer {
        Sealer { keys: std::iter::once(key).chain(old).map(|key| Zeroizing::new(*key)).collect() }
    }

    /// Seals `plain` for `path`, where it will be the `version`th value. `None` if the system has no randomness.
    pub fn seal(&self, path: &str, version: i64, plain: &[u8]) -> Option<Vec<u8>> {
        let cipher = cipher(self.keys.first()?, path)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        // Room from the start: it holds the plain content until it is sealed in place.
        let mut out = Vec::with_capacity(1 + NONCE_LEN + plain.len() + MAX_TAG_LEN);
        out.push(FORMAT);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let bound = bound(path, version);
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(bound), &mut out[1 + NONCE_LEN..]).ok()?;
        out.extend_from_slice(tag.as_ref());
        Some(out)
    }

    /// Opens the `version`th value of `path`. Says too whether it was sealed with the old key: then it is to be written
    /// anew.
    ///
    /// # Errors
    /// [`Unopened`]; the reasons cannot be told apart.
    pub fn open(&self, path: &str, version: i64, sealed: &[u8]) -> Result<(Zeroizing<Vec<u8>>, bool), Unopened> {
        let rest = sealed.strip_prefix(&[FORMAT]).ok_or(Unopened)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(Unopened)?;
        for (at, key) in self.keys.iter().enumerate() {
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened)?;
            let cipher = cipher(key, path).ok_or(Unopened)?;
            let mut text = Zeroizing::new(body.to_vec());
            let Ok(plain) = cipher.open_in_place(nonce, Aad::from(bound(path, version)), &mut text) else { continue };
            let length = plain.len();
            text.truncate(length);
            return Ok((text, at > 0));
        }
        Err(Unopened)
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

/// A key of its own for every path, so that the number of random nonces under one key stays far from where they repeat.
fn cipher(key: &[u8; 32], path: &str) -> Option<LessSafeKey> {
    let mut own = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, SALT).extract(key).expand(&[path.as_bytes()], Length).ok()?.fill(&mut *own).ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*own).ok()?))
}

fn bound(path: &str, version: i64) -> Vec<u8> {
    [&[FORMAT], &version.to_be_bytes()[..], path.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn what_was_sealed_opens_in_its_own_place_and_count_alone_and_shows_nothing() {
        let sealer = Sealer::new(&KEY, None);
        let sealed = sealer.seal("claims/a", 3, b"-----BEGIN PRIVATE KEY-----").unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"PRIVATE"));
        let (plain, old) = sealer.open("claims/a", 3, &sealed).unwrap();
        assert_eq!((plain.as_slice(), old), (&b"-----BEGIN PRIVATE KEY-----"[..], false));
        assert_eq!(sealer.open("claims/b", 3, &sealed), Err(Unopened));
        assert_eq!(sealer.open("claims/a", 4, &sealed), Err(Unopened));
        assert_eq!(sealer.open("claims/a", 2, &sealed), Err(Unopened));
        assert_eq!(Sealer::new(&[8; 32], None).open("claims/a", 3, &sealed), Err(Unopened));
    }

    #[test]
    fn what_is_cut_or_changed_does_not_open() {
        let sealer = Sealer::new(&KEY, None);
        let sealed = sealer.seal("a", 1, b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open("a", 1, &changed), Err(Unopened), "byte {at}");
            assert_eq!(sealer.open("a", 1, &sealed[..at]), Err(Unopened), "cut at {at}");
        }
    }

    #[test]
    fn while_the_fleet_key_changes_both_open_and_the_new_one_seals() {
        let before = Sealer::new(&KEY, None).seal("a", 1, b"x").unwrap();
        let during = Sealer::new(&[9; 32], Some(&KEY));
        assert_eq!(during.open("a", 1, &before).map(|(_, old)| old), Ok(true));
        let now = during.seal("a", 2, b"x").unwrap();
        assert_eq!(Sealer::new(&[9; 32], None).open("a", 2, &now).map(|(_, old)| old), Ok(false));
        assert_eq!(Sealer::new(&KEY, None).open("a", 2, &now), Err(Unopened));
    }
}
