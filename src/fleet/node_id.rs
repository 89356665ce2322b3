//! How is a node called? By the SHA-256 of its public key (Ed25519, 32 bytes), so that nobody can take another's name.
//! Says nothing about who proved it: that is `peer`.

use std::fmt;
use std::str::FromStr;

use crate::words::Fingerprint;

/// The name of a node: the digest of its public key. Written as 64 hexadecimal digits; people see the first eight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct NodeId(Fingerprint);

/// Why a text is no [`NodeId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the name of a node: 64 hexadecimal digits are expected")]
pub struct NotANodeId;

impl NodeId {
    /// The name of the node with this public key (raw Ed25519, 32 bytes).
    pub fn of_key(public_key: &[u8]) -> NodeId {
        NodeId(Fingerprint::of(public_key))
    }

    /// The name with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> NodeId {
        NodeId(Fingerprint(bytes))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }

    /// The first eight digits: enough for people to tell the nodes of a fleet apart.
    pub fn short(&self) -> String {
        let mut text = self.0.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for NodeId {
    type Err = NotANodeId;
    fn from_str(text: &str) -> Result<NodeId, NotANodeId> {
        text.parse().map(NodeId).map_err(|_| NotANodeId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_what_it_writes_and_follows_from_the_key() {
        let one = NodeId::of_key(&[1; 32]);
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_ne!(one, NodeId::of_key(&[2; 32]));
        assert_eq!(one.short().len(), 8);
        assert_eq!("abc".parse::<NodeId>(), Err(NotANodeId));
    }
}
