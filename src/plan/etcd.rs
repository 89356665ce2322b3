//! Where does a large fleet keep what its nodes share? `store etcd …`, frozen.

use std::fmt;
use std::path::PathBuf;

use crate::words::{Place, SecretRef};

/// The prefix of all keys where none is named.
pub const PREFIX: &str = "/semper/";
/// etcd's port for clients.
pub const PORT: u16 = 2379;

/// `store etcd URL … [prefix=] [user=] [password=] [cert=] [key=] [trusted=]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdStore {
    /// The members that are asked, in turn when one is away. At least one.
    pub endpoints: Box<[Endpoint]>,
    /// `prefix=`: every key begins with it. Begins and ends with a slash.
    pub prefix: String,
    /// `user=` and `password=`.
    pub user: Option<(String, SecretRef)>,
    /// `cert=` and `key=`: what we show to etcd.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `trusted=`: who may sign etcd's certificates; else the system's roots.
    pub trusted: Option<PathBuf>,
    /// Where the directive stands.
    pub place: Place,
}

/// One member of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `https://`.
    pub tls: bool,
    /// A name or an address.
    pub host: Box<str>,
    /// Default 2379.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}
