//! Which nodes belong together, and how do they find each other? `fleet { … }`, frozen.

use std::fmt;
use std::net::SocketAddr;

use super::etcd::EtcdStore;
use crate::words::{Place, SecretRef};

/// The port of the link where none is named.
pub const PORT: u16 = 7443;

/// `fleet { key …; old_key …; listen …; peer …; hold …; store …; }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// `key`: the secret that all nodes have in common.
    pub key: SecretRef,
    /// `old_key`: the one before, while it is being changed.
    pub old_key: Option<SecretRef>,
    /// `listen`: where other nodes come in. None is possible: such a node only calls others.
    pub listen: Vec<SocketAddr>,
    /// `peer`: who is called. The node itself may be among them, so that every node can have the same lines.
    pub peers: Vec<PeerAddress>,
    /// `hold`: which certificates this node keeps.
    pub hold: Hold,
    /// `store etcd`: what the nodes share goes through etcd too.
    pub store: Option<EtcdStore>,
    /// Where the block stands.
    pub place: Place,
}

/// A node as the configuration names it. Looked up at each call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    /// A name or an address.
    pub host: Box<str>,
    /// Default 7443.
    pub port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// `hold own|all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Those whose names this node's own configuration has: the default.
    #[default]
    Own,
    /// All of the fleet: this node can then give any of them back to one that lost it.
    All,
}
