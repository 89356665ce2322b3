//! What should a person know, and since when? The one form in which clocks, probes and keepers say that something needs
//! eyes. Says nothing to anybody: `zone::concerns` keeps them, `node` logs and shows them, alerts will send them.

use std::fmt;

use crate::clock::UnixTime;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look in working hours.
    Warning,
    /// Clients are hurt, or soon will be.
    Error,
}

/// Which kind of thing it is; with the subject, its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A certificate should have been replaced by now.
    Overdue,
    /// A certificate is due, and nobody tries.
    NoAttempt,
    /// A loop that should turn stands still.
    Standstill,
    /// One of ours serves the wrong thing.
    Served,
    /// The time is in doubt.
    Time,
    /// Names on demand cannot be obtained.
    OnDemand,
    /// A node of the fleet is away, or serves something older than the others.
    Fleet,
}

/// Something that needs eyes, as long as it is so.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Concern {
    /// The kind.
    pub topic: Topic,
    /// What it is about: the names of a certificate, an address, a clock.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// What to know, in one line.
    pub text: String,
    /// Since when it has been so.
    pub since: UnixTime,
}

impl Concern {
    /// Whether `other` is about the same thing.
    pub fn is_about(&self, other: &Concern) -> bool {
        self.topic == other.topic && self.subject == other.subject
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}
