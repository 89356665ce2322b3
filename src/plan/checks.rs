//! Which checks are made before a validation is spent, and what does the operator know of the way from outside?
//! `public_address`, `skip_checks`, `acme_resolver`, frozen.

use std::net::{IpAddr, SocketAddr};

use crate::words::DomainName;

/// The terms of all checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// `public_address`: addresses that lead to us (to this node, or to one of the fleet).
    pub public: Vec<PublicAddress>,
    /// `acme_resolver`: whom names are asked of; empty: the system's resolver.
    pub resolver: Vec<SocketAddr>,
    /// `skip_checks`.
    pub skip: Vec<Skip>,
}

/// `public_address ADDRESS [via=ADDRESS:PORT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// As the world knows it.
    pub address: IpAddr,
    /// Where this node reaches what stands at its port 80, if not there (no hairpin NAT).
    pub via: Option<SocketAddr>,
}

/// `skip_checks CHECK … [NAME …]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Those that are not made.
    pub checks: Vec<Check>,
    /// For these names; empty: for all.
    pub names: Vec<DomainName>,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// `reach`: does the name lead to us?
    Reach,
    /// `ipv6`: is a stale AAAA in the way?
    Ipv6,
    /// `caa`: may this authority issue?
    Caa,
    /// `cdn`: does something in front insist on a certificate first?
    Cdn,
}

impl Check {
    /// Every check.
    pub const ALL: [Check; 4] = [Check::Reach, Check::Ipv6, Check::Caa, Check::Cdn];

    /// Reads its name.
    pub fn parse(text: &str) -> Option<Check> {
        match text {
            "reach" => Some(Check::Reach),
            "ipv6" => Some(Check::Ipv6),
            "caa" => Some(Check::Caa),
            "cdn" => Some(Check::Cdn),
            _ => None,
        }
    }
}

impl Checks {
    /// Whether a check is made for a name.
    pub fn makes(&self, check: Check, name: &DomainName) -> bool {
        let meant = |skip: &Skip| skip.names.is_empty() || skip.names.contains(name);
        !self.skip.iter().any(|skip| skip.checks.contains(&check) && meant(skip))
    }

    /// What is known of an address of ours.
    pub fn public(&self, address: IpAddr) -> Option<&PublicAddress> {
        self.public.iter().find(|public| public.address == address)
    }
}
