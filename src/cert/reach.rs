//! Would a validation succeed? What was found on the way to a name (its addresses, who answers there, CAA) judged before
//! the authority is asked: each cause with its own words, and "not checkable from here" wherever this node cannot know.
//! Asks nobody; `watch::preflight` looks.

use std::net::IpAddr;

use super::caa::{self, Asker, Forbidden, Property};
use crate::plan::acme::ChallengeKind;
use crate::plan::checks::{Check, Checks};
use crate::words::DomainName;

/// After so many rounds that failed, one goes to the authority whatever was found: what hinders may be seen from here alone.
const PATIENCE: u32 = 3;

/// What was found about one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The name.
    pub name: DomainName,
    /// Where it leads.
    pub addresses: Addresses,
    /// Its CAA.
    pub caa: Caa,
    /// Where the record of DNS-01 stands: its name and what its CNAMEs lead to. Empty: it was not looked at.
    pub alias: Vec<String>,
    /// Why nobody of ours can write it there.
    pub stranger: Option<String>,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Nobody who could be asked knows: why not.
    Unknown(String),
    /// The name does not exist, or has no address.
    Missing,
    /// It was not looked at.
    NotAsked,
    /// Its addresses, and what answers there.
    Found(Vec<Seen>),
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The address.
    pub ip: IpAddr,
    /// Whose it is.
    pub owner: Owner,
    /// What a question for our nonce brought.
    pub answer: Answer,
}

/// Whose an address is, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `public_address` says that it leads to us.
    Declared,
    /// It stands on an interface of this machine.
    Here,
    /// `fronted_by` says that somebody else stands there before us.
    Front,
    /// Nobody told us.
    Unknown,
}

/// What a question for our nonce brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Our nonce, or the answer of a node with our account.
    Ours,
    /// Something else.
    Other {
        /// The status.
        status: u16,
        /// Who answered: the Server field, shortened.
        by: String,
    },
    /// A TLS handshake for our probe ended elsewhere: what was shown, in words.
    Handshake(String),
    /// It leads on to a place where nobody answers.
    Astray {
        /// Where.
        to: String,
        /// Who sent us there.
        by: String,
    },
    /// It leads to HTTPS and fails there without a valid certificate behind it.
    Insists {
        /// The status.
        status: u16,
        /// Who answered.
        by: String,
    },
    /// Nobody listens there.
    Refused,
    /// No connection, or no answer in time.
    Silent,
}

/// What CAA says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caa {
    /// It was not looked at, or nobody could be asked.
    Unknown,
    /// The name servers fail when asked for it; authorities then do not issue.
    Failing(String),
    /// The relevant set (perhaps empty), and the name where it stands.
    Set(String, Vec<Property>),
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The name does not exist, or has no address.
    #[error("{0} has no address in DNS")]
    NoAddress(DomainName),
    /// Addresses of somebody else, none of ours.
    #[error("{name} leads to {at}, and not to us: {what}")]
    Elsewhere {
        /// The name.
        name: DomainName,
        /// The address.
        at: IpAddr,
        /// Who answers there, and what.
        what: String,
    },
    /// Some addresses are ours, this one is not.
    #[error("{name} also leads to {at}, and not to us there: {what}; authorities ask any address")]
    AlsoElsewhere {
        /// The name.
        name: DomainName,
        /// The address.
        at: IpAddr,
        /// Who answers there, and what.
        what: String,
    },
    /// The A record is ours, the AAAA is not: authorities prefer IPv6.
    #[error(
        "the AAAA record {at} of {name} does not lead to us ({what}): authorities prefer IPv6, so remove it or let it lead here"
    )]
    StaleIpv6 {
        /// The name.
        name: DomainName,
        /// The address.
        at: IpAddr,
        /// Who answers there, and what.
        what: String,
    },
    /// TLS ends somewhere else, so that TLS-ALPN-01 cannot pass; requests over HTTP may still reach us.
    #[error(
        "TLS for {name} does not end here: {what} at {at} port 443; tls-alpn-01 cannot pass there, http-01 or dns-01 may"
    )]
    TlsElsewhere {
        /// The name.
        name: DomainName,
        /// The address.
        at: IpAddr,
        /// What was shown.
        what: String,
    },
    /// `fronted_by` names who stands there, and it does not pass challenges on.
    #[error("{who} in front of {name} does not pass /.well-known/acme-challenge/ on to us: {what} at {at}")]
    FrontKeeps {
        /// Who.
        who: String,
        /// The name.
        name: DomainName,
        /// The address.
        at: IpAddr,
        /// What came back.
        what: String,
    },
    /// Our own address, and nobody listens.
    #[error("{name} leads to {at}, which is this machine, but nobody listens on port {port} there")]
    NobodyListens {
        /// The name.
        name: DomainName,
        /// The address.
        at: IpAddr,
        /// The port.
        port: u16,
    },
    /// Our own address, and somebody else answers.
    #[error("{name} leads to {at}, which is this machine, but another program answers on port {port} there: {what}")]
    AnotherProgram {
        /// The name.
        name: DomainName,
        /// The address.
        at: IpAddr,
        /// The port.
        port: u16,
        /// Who answers, and what.
        what: String,
    },
    /// Something sends authorities to where nobody answers.
    #[error("{by} at {at} sends challenges for {name} on to {to}, and nobody answers there")]
    Astray {
        /// The name.
        name: DomainName,
        /// The address that was asked first.
        at: IpAddr,
        /// Who sends.
        by: String,
        /// Where to.
        to: String,
    },
    /// The record of DNS-01 is a CNAME that belongs to somebody else.
    #[error("{0}")]
    Alias(String),
    /// Something in front redirects to HTTPS and wants a valid certificate behind it first.
    #[error(
        "{by} in front of {name} redirects challenges to HTTPS and insists on a valid certificate here ({status}): let it pass /.well-known/acme-challenge/ over HTTP, or accept any certificate for now"
    )]
    Insists {
        /// The name.
        name: DomainName,
        /// Who.
        by: String,
        /// With what it failed.
        status: u16,
    },
    /// CAA forbids it.
    #[error("the CAA record of {at} {why}")]
    Caa {
        /// Where it stands.
        at: String,
        /// Why.
        why: Forbidden,
    },
    /// CAA cannot be read.
    #[error("the CAA records of {name} cannot be read ({detail}); authorities do not issue then")]
    CaaFails {
        /// The name.
        name: DomainName,
        /// What happened.
        detail: String,
    },
}

impl Cause {
    /// Which check found it.
    pub fn check(&self) -> Check {
        match self {
            Cause::NoAddress(_)
            | Cause::Elsewhere { .. }
            | Cause::AlsoElsewhere { .. }
            | Cause::TlsElsewhere { .. }
            | Cause::NobodyListens { .. }
            | Cause::AnotherProgram { .. }
            | Cause::Astray { .. } => Check::Reach,
            Cause::StaleIpv6 { .. } => Check::Ipv6,
            Cause::FrontKeeps { .. } | Cause::Insists { .. } => Check::Cdn,
            Cause::Caa { .. } | Cause::CaaFails { .. } => Check::Caa,
            Cause::Alias(_) => Check::Cname,
        }
    }
}

/// What the facts mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A validation should succeed.
    Clear,
    /// It would fail.
    Hindered(Cause),
    /// The name belongs to somebody else altogether.
    Elsewhere(Cause),
    /// This node cannot tell. Never a failure.
    NotCheckable(String),
}

impl Verdict {
    /// What stands in the way, if anything is known to.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Verdict::Hindered(cause) | Verdict::Elsewhere(cause) => Some(cause),
            Verdict::Clear | Verdict::NotCheckable(_) => None,
        }
    }
}

/// Whether what was found may hold an attempt back, after `failures` rounds that failed.
pub fn heeds(failures: u32) -> bool {
    failures % PATIENCE != PATIENCE - 1
}

/// Judges what was found for a validation by `kind`; `asker` as far as it is known.
pub fn judge(facts: &Facts, kind: ChallengeKind, asker: &Asker, checks: &Checks) -> Verdict {
    let name = &facts.name;
    if checks.makes(Check::Caa, name) && !asker.identities.is_empty() {
        match &facts.caa {
            Caa::Failing(detail) => {
                return Verdict::Hindered(Cause::CaaFails { name: name.clone(), detail: detail.clone() });
            }
            Caa::Set(at, set) => {
                let asker = Asker { method: Some(kind.as_str()), wildcard: name.is_wildcard(), ..asker.clone() };
                if let Err(why) = caa::judge(set, &asker) {
                    return Verdict::Hindered(Cause::Caa { at: at.clone(), why });
                }
            }
            Caa::Unknown => {}
        }
    }
    match (kind, &facts.stranger) {
        (ChallengeKind::Dns01, Some(why)) if checks.makes(Check::Cname, name) => {
            Verdict::Hindered(Cause::Alias(why.clone()))
        }
        (ChallengeKind::Dns01, _) => Verdict::Clear,
        (ChallengeKind::Http01 | ChallengeKind::TlsAlpn01, _) => reach(facts, kind, checks),
    }
}

fn reach(facts: &Facts, kind: ChallengeKind, checks: &Checks) -> Verdict {
    let name = &facts.name;
    if !checks.makes(Check::Reach, name) {
        return Verdict::Clear;
    }
    let seen = match &facts.addresses {
        Addresses::Unknown(why) => return Verdict::NotCheckable(why.clone()),
        Addresses::NotAsked => return Verdict::Clear,
        Addresses::Missing => return Verdict::Elsewhere(Cause::NoAddress(name.clone())),
        Addresses::Found(seen) => seen,
    };
    if let Some(inner) = seen.iter().find(|seen| is_inner(seen.ip) && seen.owner != Owner::Declared) {
        return Verdict::NotCheckable(format!("the resolver here shows the inner address {}", inner.ip));
    }
    let ours = seen.iter().any(|seen| seen.answer == Answer::Ours);
    let mut unsure: Option<String> = None;
    let mut stranger: Option<Cause> = None;
    for seen in seen {
        match cause(name, seen, ours, kind, checks) {
            Judged::Fine => {}
            Judged::Unsure(why) => unsure = unsure.or(Some(why)),
            Judged::Stranger(cause) if ours => return Verdict::Hindered(cause),
            Judged::Stranger(cause) => stranger = stranger.or(Some(cause)),
            Judged::Hindered(cause) => return Verdict::Hindered(cause),
        }
    }
    match (stranger, unsure, ours) {
        // Every address answers, and none is ours. Where TLS alone was tried, requests may still come to us.
        (Some(cause), None, false) if kind == ChallengeKind::Http01 => Verdict::Elsewhere(cause),
        (Some(cause), None, false) => Verdict::Hindered(cause),
        (_, Some(why), false) => Verdict::NotCheckable(why),
        _ => Verdict::Clear,
    }
}

/// What one address means.
enum Judged {
    Fine,
    Unsure(String),
    /// Somebody else answers.
    Stranger(Cause),
    Hindered(Cause),
}

fn cause(name: &DomainName, seen: &Seen, ours: bool, kind: ChallengeKind, checks: &Checks) -> Judged {
    let (name, at) = (name.clone(), seen.ip);
    let port = if kind == ChallengeKind::TlsAlpn01 { 443 } else { 80 };
    let what = match &seen.answer {
        Answer::Ours => return Judged::Fine,
        Answer::Insists { status, by } if checks.makes(Check::Cdn, &name) => {
            return Judged::Hindered(Cause::Insists { name, by: by.clone(), status: *status });
        }
        Answer::Insists { .. } => {
            return Judged::Unsure(format!("something in front of {at} wants a certificate first"));
        }
        // What a router at our own outer address says to those inside proves nothing.
        Answer::Astray { to, by } if seen.owner != Owner::Declared => {
            return Judged::Hindered(Cause::Astray { name, at, by: by.clone(), to: to.clone() });
        }
        Answer::Refused if seen.owner == Owner::Here => {
            return Judged::Hindered(Cause::NobodyListens { name, at, port });
        }
        Answer::Refused | Answer::Silent => {
            return Judged::Unsure(format!("there is no connection to {at} from here (hairpin NAT, or no way out)"));
        }
        Answer::Astray { to, by } => format!("{by} sends on to {to}"),
        Answer::Other { status, by } => format!("{by} answers there with {status}"),
        Answer::Handshake(shown) => shown.clone(),
    };
    match (seen.owner, checks.front(at, &name)) {
        (Owner::Here, _) => Judged::Hindered(Cause::AnotherProgram { name, at, port, what }),
        (Owner::Declared, _) => {
            Judged::Unsure(format!("{at} is ours, but something else answers from here (hairpin NAT?)"))
        }
        (Owner::Front, Some(who)) if kind == ChallengeKind::Http01 => {
            if !checks.makes(Check::Cdn, &name) {
                return Judged::Unsure(format!("{who} stands in front at {at}"));
            }
            Judged::Hindered(Cause::FrontKeeps { who: who.to_owned(), name, at, what })
        }
        (Owner::Front, Some(who)) => {
            Judged::Hindered(Cause::TlsElsewhere { name, at, what: format!("{who} stands in front and {what}") })
        }
        (Owner::Unknown | Owner::Front, _) if ours && at.is_ipv6() => match checks.makes(Check::Ipv6, &name) {
            true => Judged::Stranger(Cause::StaleIpv6 { name, at, what }),
            false => Judged::Fine,
        },
        (Owner::Unknown | Owner::Front, _) => Judged::Stranger(match (ours, kind) {
            (true, _) => Cause::AlsoElsewhere { name, at, what },
            (false, ChallengeKind::TlsAlpn01) => Cause::TlsElsewhere { name, at, what },
            (false, _) => Cause::Elsewhere { name, at, what },
        }),
    }
}

/// Addresses that no authority can reach: a resolver that shows them has a horizon of its own.
pub fn is_inner(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || {
                let [a, b, ..] = ip.octets();
                a == 100 && b & 0xc0 == 64
            }
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback() || ip.is_unspecified() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
        }
    }
}

/// Names that no public resolver knows (RFC 6761, RFC 8375): that they "do not exist" there means nothing.
pub fn is_special(name: &DomainName) -> bool {
    let special = ["test", "example", "invalid", "localhost", "local", "internal", "lan", "home.arpa"];
    special.iter().any(|zone| super::dns01::below(name.as_str(), zone))
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
