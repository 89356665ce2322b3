//! What did a look at a name from outside find, before or instead of a validation? The words alone: other rooms look, and
//! the stage machine hears of it through [`Event::Looked`](super::stage::Event::Looked).

use serde::{Deserialize, Serialize};

use crate::words::Identifier;

/// What was found about one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The name.
    pub name: Identifier,
    /// What was found.
    pub finding: Finding,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// To us: a nonce came back through its public addresses.
    Here,
    /// To somebody else altogether: it does not exist, or every address answers and none of them is ours or in front of us.
    /// Seen for days, the name counts as moved away.
    Elsewhere {
        /// What stands there instead, for people: `CNAME shop.example.net`, `does not exist` …
        detail: String,
    },
    /// To us, but something stands in the way of a validation (a stale AAAA, CAA, a CNAME of `_acme-challenge`).
    Hindered {
        /// What, by name, for people.
        detail: String,
    },
    /// This node cannot tell (split horizon, no way out, hairpin NAT). Never a failure.
    NotCheckable {
        /// Why not, for people.
        detail: String,
    },
}
