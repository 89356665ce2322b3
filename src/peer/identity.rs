//! Which node is this? An Ed25519 key of its own, made once and kept in the state path; its id is the SHA-256 of the
//! public half. Signs what proves it on a link, and nothing else.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

const PREFIX: &str = "semper-node-key-1:";

/// The SHA-256 of a node's public key.
pub type NodeId = [u8; 32];

/// The key of this node. Never printed.
pub struct NodeKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

/// A text is no node key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no node key")]
pub struct NotANodeKey;

impl NodeKey {
    /// The key of these bytes, which somebody has drawn.
    ///
    /// # Errors
    /// When the library refuses them.
    pub fn of(seed: [u8; 32]) -> Result<NodeKey, NotANodeKey> {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| NotANodeKey)?;
        Ok(NodeKey { pair, seed })
    }

    /// Reads [`NodeKey::text`].
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &[u8]) -> Result<NodeKey, NotANodeKey> {
        let body = text.trim_ascii().strip_prefix(PREFIX.as_bytes()).ok_or(NotANodeKey)?;
        let seed = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| NotANodeKey)?);
        NodeKey::of(seed.as_slice().try_into().map_err(|_| NotANodeKey)?)
    }

    /// As it is kept.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 48));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(*self.seed, &mut text);
        text
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair.public_key().as_ref());
        public
    }

    /// Whose key it is.
    pub fn id(&self) -> NodeId {
        id_of(&self.public())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").finish_non_exhaustive()
    }
}

/// The id of whoever has this public key.
pub(super) fn id_of(public: &[u8; 32]) -> NodeId {
    let mut id = [0; 32];
    id.copy_from_slice(digest::digest(&digest::SHA256, public).as_ref());
    id
}

/// Whether `signature` is that of the key's owner.
pub(super) fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_key_comes_back_and_is_never_shown() {
        let key = NodeKey::of([3; 32]).unwrap();
        let again = NodeKey::parse(format!("{}\n", &*key.text()).as_bytes()).unwrap();
        assert_eq!(again.id(), key.id());
        assert!(verify(&key.public(), b"x", &again.sign(b"x")) && !verify(&key.public(), b"y", &again.sign(b"x")));
        assert!(!format!("{key:?}").contains(&key.text()[PREFIX.len()..]));
        assert!(NodeKey::parse(b"semper-node-key-1:AAAA").is_err() && NodeKey::parse(b"").is_err());
    }
}
