//! What shall people hear of a certificate beyond its failures? Each notice is given once, names what it is about and says
//! what to do; the edge logs it and hands it to whoever alerts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::words::Identifier;

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A name kept failing alone: the others go on without it, and it is tried by itself.
    SplitOff {
        /// The name.
        name: Identifier,
        /// The last failure, in the authority's words.
        why: String,
    },
    /// A name that was split off passed: it rejoins with the next renewal.
    Rejoined {
        /// The name.
        name: Identifier,
    },
    /// A name has pointed elsewhere for days: no validation is spent on it.
    MovedAway {
        /// The name.
        name: Identifier,
        /// Where it leads.
        detail: String,
    },
    /// A name that had moved away leads here again.
    CameBack {
        /// The name.
        name: Identifier,
    },
    /// The authority has paused names of this account; a person lifts that on the page behind the link.
    Paused {
        /// The authority's page.
        link: String,
    },
    /// The authority wants the certificate replaced soon, and says why on a page.
    Explained {
        /// The page.
        link: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::SplitOff { name, why } => write!(
                f,
                "{name} keeps failing and is split off: the other names are renewed without it, it keeps the old \
                 certificate while that is valid and is tried by itself; the last failure: {why}"
            ),
            Notice::Rejoined { name } => write!(f, "{name} passes again and rejoins with the next renewal"),
            Notice::MovedAway { name, detail } => write!(
                f,
                "{name} has pointed elsewhere for days ({detail}): no validation is spent on it; if it is gone for good, \
                 delete it from the server_name or acme_certificate line that names it"
            ),
            Notice::CameBack { name } => write!(f, "{name} points here again"),
            Notice::Paused { link } => {
                write!(f, "the authority has paused names of this account; lift it here: {link}")
            }
            Notice::Explained { link } => write!(f, "the authority wants it replaced early and says why: {link}"),
        }
    }
}
