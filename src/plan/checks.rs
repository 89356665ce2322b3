//! Which checks are made before a validation is spent, and what does the operator know of the way from outside?
//! `public_address`, `fronted_by`, `skip_checks`, `acme_resolver`, frozen.

use std::net::{IpAddr, SocketAddr};

use super::access::Whom;
use crate::words::DomainName;

/// The terms of all checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// `public_address`: addresses that lead to us (to this node, or to one of the fleet).
    pub public: Vec<PublicAddress>,
    /// `fronted_by`: who terminates before us.
    pub fronts: Vec<Front>,
    /// `acme_resolver`: whom names are asked of; empty: the system's resolver.
    pub resolver: Vec<SocketAddr>,
    /// `skip_checks`.
    pub skip: Vec<Skip>,
}

/// `public_address ADDRESS [via=ADDRESS:PORT] [tls_via=ADDRESS:PORT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// As the world knows it.
    pub address: IpAddr,
    /// Where this node reaches what stands at its port 80, if not there (no hairpin NAT).
    pub via: Option<SocketAddr>,
    /// The same for its port 443.
    pub tls_via: Option<SocketAddr>,
}

/// `fronted_by CDN|ADDRESS/prefix … [NAME …]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// What it is called in words for people.
    pub who: String,
    /// Where it stands; empty: wherever a name leads that is not ours.
    pub ranges: Vec<Whom>,
    /// For these names; empty: for all.
    pub names: Vec<DomainName>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// `reach`: does the name lead to us?
    Reach,
    /// `ipv6`: is a stale AAAA in the way?
    Ipv6,
    /// `caa`: may this authority issue?
    Caa,
    /// `cdn`: does something in front insist on a certificate first?
    Cdn,
    /// `cname`: does the record of DNS-01 belong to somebody else?
    Cname,
}

impl Check {
    /// Every check.
    pub const ALL: [Check; 5] = [Check::Reach, Check::Ipv6, Check::Caa, Check::Cdn, Check::Cname];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Check::Reach => "reach",
            Check::Ipv6 => "ipv6",
            Check::Caa => "caa",
            Check::Cdn => "cdn",
            Check::Cname => "cname",
        }
    }

    /// Reads its name.
    pub fn parse(text: &str) -> Option<Check> {
        Check::ALL.into_iter().find(|check| check.as_str() == text)
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

    /// Who stands in front of `name` at an address that is not ours.
    pub fn front(&self, address: IpAddr, name: &DomainName) -> Option<&str> {
        let there = |front: &&Front| {
            (front.names.is_empty() || front.names.contains(name))
                && (front.ranges.is_empty() || front.ranges.iter().any(|range| range.means(Some(address))))
        };
        self.fronts.iter().find(there).map(|front| &*front.who)
    }
}
