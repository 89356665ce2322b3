//! Why did an order fail, whose fault is it, and what follows for the next attempt? Every failure is worth another try;
//! none switches a certificate off.

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::plan::acme::ChallengeKind;
use crate::words::Identifier;

/// Why an attempt did not end in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The authority could not be reached, or answered with a server error. Nobody counts it against us.
    #[error("the authority cannot be reached: {detail}")]
    Unreachable {
        /// What happened.
        detail: String,
    },
    /// The authority's limits are used up (429, `rateLimited`).
    #[error("the authority's rate limit is reached: {detail}")]
    Limited {
        /// Its Retry-After, if it said one.
        until: Option<UnixTime>,
        /// The authority's own words.
        detail: String,
    },
    /// The order or an authorization is unknown, expired, malformed or does not move. Begin again.
    #[error("the order is lost: {detail}")]
    Lost {
        /// What happened.
        detail: String,
    },
    /// The certificate exists, and the authority does not hand it over. The order is taken up again.
    #[error("the certificate was issued and cannot be fetched: {detail}")]
    Unfetched {
        /// When its order began.
        since: UnixTime,
        /// What happened.
        detail: String,
    },
    /// The authority looked while this node was away: that says nothing about the way, but it counts. Begin again.
    #[error("the authority looked for {} while this node was away: {detail}", list(.names))]
    Missed {
        /// The names that failed.
        names: Vec<Identifier>,
        /// The authority's own words.
        detail: String,
    },
    /// The authority looked and did not see the answer to its challenge. The network's or the configuration's fault.
    #[error("validation by {} failed for {}: {detail}", .kind.as_str(), list(.names))]
    Invalid {
        /// How it looked.
        kind: ChallengeKind,
        /// The names that failed.
        names: Vec<Identifier>,
        /// The authority's own words.
        detail: String,
    },
    /// What the challenge needs could not be put in place: name servers, a hook, or a CNAME stand in the way. No
    /// validation was spent.
    #[error("{} for {} could not be prepared: {detail}", .kind.as_str(), list(.names))]
    Unprepared {
        /// The kind that was to be prepared.
        kind: ChallengeKind,
        /// The names it was for.
        names: Vec<Identifier>,
        /// What stands in the way.
        detail: String,
    },
    /// The authority was not asked, because a look at the names from here says that it would refuse. Nothing was spent.
    #[error("not asked for now: {detail}")]
    Hindered {
        /// The names it is about.
        names: Vec<Identifier>,
        /// What stands in the way.
        detail: String,
    },
    /// The authority does not offer this kind of challenge for these names. No validation was spent.
    #[error("the authority offers no {} for {}", .kind.as_str(), list(.names))]
    NotOffered {
        /// The kind that was wanted.
        kind: ChallengeKind,
        /// The names for which it is not offered.
        names: Vec<Identifier>,
    },
    /// The authority will not issue for these names (CAA, policy, `rejectedIdentifier`); may be mended outside.
    #[error("the authority refuses: {detail}")]
    Refused {
        /// The names it spoke of; empty if it named none.
        names: Vec<Identifier>,
        /// The authority's own words.
        detail: String,
    },
    /// The authority does not accept `replaces` (RFC 9773 5). The same order without it may pass.
    #[error("the authority refuses the replacement of the present certificate: {detail}")]
    ReplacesRefused {
        /// The authority's own words.
        detail: String,
    },
    /// The account cannot be used: terms not accepted, external account missing, key unreadable, deactivated.
    #[error("the account cannot be used: {detail}")]
    Account {
        /// What is wrong with it.
        detail: String,
    },
    /// What came as a certificate is none, or not ours.
    #[error("the authority sent no usable certificate: {detail}")]
    BadCertificate {
        /// What is wrong with it.
        detail: String,
    },
    /// Our own disk, key or memory. The operator's to mend.
    #[error("this node cannot order: {detail}")]
    Local {
        /// What happened.
        detail: String,
    },
    /// Too many orders run at once; this one did not begin.
    #[error("too many orders run at once")]
    Busy,
    /// The order's deadline passed without any of the above.
    #[error("the deadline of the order passed")]
    Deadline,
}

/// What the next attempt shall look like. Each round tries every way once, at once; then comes a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same way again, after a wait; the order may be taken up again.
    Same,
    /// Another issuer at once, if this round has one left.
    OtherIssuer,
    /// The next way (challenge, then issuer) at once, if this round has one left.
    OtherWay,
    /// The same way at once with a new order; once, then as [`Next::OtherWay`].
    AgainNow,
}

impl Failure {
    /// What follows from it.
    pub fn next(&self) -> Next {
        match self {
            Failure::Busy => Next::Same,
            Failure::Unreachable { .. }
            | Failure::Unfetched { .. }
            | Failure::Limited { .. }
            | Failure::Account { .. }
            | Failure::BadCertificate { .. }
            | Failure::Local { .. } => Next::OtherIssuer,
            Failure::Invalid { .. }
            | Failure::Unprepared { .. }
            | Failure::Hindered { .. }
            | Failure::NotOffered { .. }
            | Failure::Refused { .. }
            | Failure::Deadline => Next::OtherWay,
            Failure::Lost { .. } | Failure::Missed { .. } | Failure::ReplacesRefused { .. } => Next::AgainNow,
        }
    }

    /// Whether the order under way must be given up, its authorizations deactivated and its record removed.
    pub fn ends_the_order(&self) -> bool {
        !matches!(
            self,
            Failure::Busy
                | Failure::Local { .. }
                | Failure::Hindered { .. }
                | Failure::Unreachable { .. }
                | Failure::Unfetched { .. }
                | Failure::Limited { .. }
        )
    }
}

fn list(names: &[Identifier]) -> String {
    let mut text = names.iter().take(5).map(Identifier::to_string).collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        text.push_str(&format!(" and {} more", names.len() - 5));
    }
    text
}
