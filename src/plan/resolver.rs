//! Whom do we ask for names at run time? (`resolver`, `resolver_timeout`.)

use std::net::SocketAddr;
use std::time::Duration;

/// `resolver`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers.
    pub servers: Box<[SocketAddr]>,
    /// `valid=`: instead of the answer's TTL.
    pub valid: Option<Duration>,
    /// `ipv4=off` clears it.
    pub ipv4: bool,
    /// `ipv6=off` clears it.
    pub ipv6: bool,
    /// `resolver_timeout`. Default 30 s.
    pub timeout: Duration,
}
