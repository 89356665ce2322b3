//! What becomes of a certificate that the configuration no longer names? It is not renewed; its bundle stays for a month,
//! in case the line comes back, and is then put aside. Nothing is destroyed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;

/// So long a bundle is kept ready after its line is gone.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The record of a certificate that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Since when.
    pub at: UnixTime,
}

/// What to do with what is kept of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it is wanted, or its month is not over.
    Rest,
    /// Note that it left at this moment.
    Note(Left),
    /// It is wanted again: the note goes.
    Return,
    /// Put it aside.
    Archive,
}

/// What becomes of it. A clock that was set forward archives nothing that is not known to have left; one that was set back
/// begins the month anew.
pub fn fate(wanted: bool, left: Option<Left>, now: UnixTime) -> Fate {
    match (wanted, left) {
        (true, None) => Fate::Rest,
        (true, Some(_)) => Fate::Return,
        (false, None) => Fate::Note(Left { at: now }),
        (false, Some(left)) if now < left.at => Fate::Note(Left { at: now }),
        (false, Some(left)) if now.since(left.at) >= KEPT_FOR => Fate::Archive,
        (false, Some(_)) => Fate::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_kept_for_a_month_and_comes_back_with_its_line() {
        let at = |days: i64| UnixTime::from_seconds(days * 86_400);
        let Fate::Note(left) = fate(false, None, at(10)) else { panic!("not noted") };
        assert_eq!(fate(false, Some(left), at(39)), Fate::Rest);
        assert_eq!(fate(false, Some(left), at(40)), Fate::Archive);
        assert_eq!(fate(true, Some(left), at(39)), Fate::Return);
        assert_eq!(fate(true, None, at(39)), Fate::Rest);
        assert_eq!(fate(false, Some(left), at(1)), Fate::Note(Left { at: at(1) }), "a clock that was set back");
    }
}
