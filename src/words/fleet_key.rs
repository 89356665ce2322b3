//! What do the nodes of a fleet have in common? One secret of 32 bytes. From it, by HKDF (RFC 5869) with a label for each
//! use, come the key of the link and the key that seals what is stored elsewhere; neither leads back to it or to the other.
//!
//! ```text
//! semper-fleet-key-1:BASE64URL(32 bytes, then the first 4 bytes of their SHA-256)
//! ```

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

const PREFIX: &str = "semper-fleet-key-1:";
const CHECK: usize = 4;

/// The root secret of a fleet. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetKey(Zeroizing<[u8; 32]>);

/// Why a text is no fleet key. None of them repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAFleetKey {
    /// Another file altogether.
    #[error("this is no fleet key: it does not begin with \"{PREFIX}\" (`semper fleet keygen` makes one)")]
    Foreign,
    /// Cut, or mistyped.
    #[error("this fleet key is damaged: its check digits do not fit")]
    Damaged,
}

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Link,
    Seal,
    Name,
    Hint,
}

impl Use {
    fn label(self) -> &'static [u8] {
        match self {
            Use::Link => b"semper fleet 1 link",
            Use::Seal => b"semper fleet 1 seal",
            Use::Name => b"semper fleet 1 name",
            Use::Hint => b"semper fleet 1 hint",
        }
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl FleetKey {
    /// The key of these bytes, which somebody has drawn.
    pub fn of(bytes: [u8; 32]) -> FleetKey {
        FleetKey(Zeroizing::new(bytes))
    }

    /// Reads the text form; white space around it does not count.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &[u8]) -> Result<FleetKey, NotAFleetKey> {
        let body = text.trim_ascii().strip_prefix(PREFIX.as_bytes()).ok_or(NotAFleetKey::Foreign)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| NotAFleetKey::Damaged)?);
        let (secret, check) = bytes.split_last_chunk::<CHECK>().ok_or(NotAFleetKey::Damaged)?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| NotAFleetKey::Damaged)?;
        if digest::digest(&digest::SHA256, &secret).as_ref()[..CHECK] != *check {
            return Err(NotAFleetKey::Damaged);
        }
        Ok(FleetKey::of(secret))
    }

    /// The text form, without an end of line.
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(32 + CHECK));
        bytes.extend_from_slice(&*self.0);
        bytes.extend_from_slice(&digest::digest(&digest::SHA256, &*self.0).as_ref()[..CHECK]);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 64));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
        text
    }

    /// The seed of the Ed25519 key with which members know each other on the link.
    pub fn link_seed(&self) -> Zeroizing<[u8; 32]> {
        self.derive(Use::Link)
    }

    /// The key that seals what is stored where others can read it (AES-256-GCM).
    pub fn sealing_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(Use::Seal)
    }

    /// Seals `plain` so that members alone can open it, and only together with the same `context`. `nonce` is drawn for
    /// each call and stands in front.
    pub fn seal(&self, nonce: [u8; NONCE_LEN], context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + 16));
        body.extend_from_slice(plain);
        let tag = self
            .sealer()
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut body)
            .expect("what is sealed is far shorter than AES-GCM allows");
        [&nonce, &body[..], tag.as_ref()].concat()
    }

    /// Opens what [`FleetKey::seal`] made; `None`: another key or context, or it was changed.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.sealer().open_in_place(nonce, Aad::from(context), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }

    fn sealer(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &*self.sealing_key());
        LessSafeKey::new(key.expect("the sealing key has the length of the cipher's"))
    }

    /// How people tell fleet keys apart; says nothing about the secret.
    pub fn name(&self) -> String {
        self.derive(Use::Name)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The server name under which a member that holds this key is asked on the link: who holds two shows the one that
    /// the other side knows. Seen by everybody on the way, and says nothing about the secret.
    pub fn hint(&self) -> String {
        let digits: String = self.derive(Use::Hint)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digits}.semper")
    }

    fn derive(&self, purpose: Use) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        let secret = Salt::new(HKDF_SHA256, b"semper fleet 1").extract(&*self.0);
        secret
            .expand(&[purpose.label()], Length(out.len()))
            .and_then(|derived| derived.fill(&mut *out))
            .expect("32 bytes are far less than HKDF-SHA-256 can give");
        out
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetKey({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back_and_a_wrong_or_mistyped_file_is_named() {
        let key = FleetKey::of([7; 32]);
        let text = format!("\n{}\n", &*key.text());
        assert_eq!(FleetKey::parse(text.as_bytes()), Ok(key.clone()));
        assert_eq!(FleetKey::parse(b"-----BEGIN PRIVATE KEY-----"), Err(NotAFleetKey::Foreign));
        let text = key.text();
        for at in PREFIX.len()..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(FleetKey::parse(&wrong), Err(NotAFleetKey::Damaged), "{at}");
            assert_eq!(FleetKey::parse(&text.as_bytes()[..at]), Err(NotAFleetKey::Damaged), "{at}");
        }
    }

    #[test]
    fn what_is_sealed_opens_for_members_in_its_own_place_alone() {
        let key = FleetKey::of([7; 32]);
        let sealed = key.seal([1; 12], b"here", b"a private key");
        assert!(!sealed.windows(7).any(|window| window == b"private"));
        assert_eq!(key.open(b"here", &sealed).unwrap().as_slice(), b"a private key");
        assert_eq!(key.open(b"there", &sealed), None);
        assert_eq!(FleetKey::of([8; 32]).open(b"here", &sealed), None);
        for at in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[at] ^= 1;
            assert!(key.open(b"here", &wrong).is_none() && key.open(b"here", &sealed[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn each_use_has_a_key_of_its_own_that_shows_nothing_of_the_root() {
        let key = FleetKey::of([7; 32]);
        let all = [Use::Link, Use::Seal, Use::Name, Use::Hint].map(|purpose| *key.derive(purpose));
        for (at, one) in all.iter().enumerate() {
            assert_ne!(*one, [7; 32]);
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
        let shown = format!("{key:?}");
        assert!(shown.len() < 30 && !shown.contains(&key.text()[PREFIX.len()..]));
        assert!(key.hint().ends_with(".semper") && key.hint() != FleetKey::of([8; 32]).hint());
    }
}
