//! Is what clients get what we hold? Judges one look at one address: right, or one of three answers, of which only the
//! last is a fault of ours. Pure; `watch::probe` looks, `node::served` asks again and again.

use std::time::Duration;

use crate::clock::UnixTime;
use crate::words::Fingerprint;

/// Every name is looked at once in this time, however many there are …
pub const ROUND: Duration = Duration::from_secs(3600);
/// … and few names not more often than this.
const LEAST_ROUND: Duration = Duration::from_secs(300);
/// A look costs both sides together about a millisecond of processor time; never more than this many a second.
const BETWEEN: Duration = Duration::from_millis(150);

/// Whose address was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A listener of this process.
    Own,
    /// A public address of the name; `ours`: an address of this machine, or one that has shown our certificate before.
    Public {
        /// See above.
        ours: bool,
    },
}

/// What was seen there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nobody answered, or not in time.
    Nobody(String),
    /// Somebody answered, and the handshake failed.
    NoHandshake(String),
    /// A certificate: its digest, its end, who signed it; `earlier`: it is a generation that we held before.
    Certificate {
        /// SHA-256 of the leaf.
        fingerprint: Fingerprint,
        /// In force until then.
        not_after: UnixTime,
        /// Its issuer, in words.
        issuer: String,
        /// See above.
        earlier: bool,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// What we hold.
    Right,
    /// It cannot be reached from here. That says nothing about others.
    Unreachable(String),
    /// Someone else terminates here: a CDN, a load balancer, another owner.
    Elsewhere(String),
    /// One of ours serves the wrong thing.
    Wrong(String),
}

/// Judges what was seen where one of `expected` should be.
pub fn judge(whose: Whose, seen: &Seen, expected: &[Fingerprint], now: UnixTime) -> Truth {
    let ours = whose != Whose::Public { ours: false };
    match seen {
        Seen::Nobody(why) => Truth::Unreachable(why.clone()),
        Seen::NoHandshake(why) if ours => Truth::Wrong(format!("the handshake fails: {why}")),
        Seen::NoHandshake(why) => Truth::Unreachable(format!("the handshake fails: {why}")),
        Seen::Certificate { fingerprint, .. } if expected.contains(fingerprint) => Truth::Right,
        Seen::Certificate { not_after, issuer, earlier, .. } if ours || *earlier => {
            let ended = if *not_after <= now { "expired" } else { "other" };
            Truth::Wrong(format!("an {ended} certificate of {issuer:?} is shown, valid until {not_after}"))
        }
        Seen::Certificate { issuer, .. } => Truth::Elsewhere(format!("a certificate of {issuer:?} is shown")),
    }
}

/// How long to wait between two looks, so that `looks` of them make a round.
pub fn pace(looks: usize) -> Duration {
    let looks = u32::try_from(looks.max(1)).unwrap_or(u32::MAX);
    (LEAST_ROUND.max(BETWEEN * 2 * looks).min(ROUND) / looks).max(BETWEEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Fingerprint = Fingerprint([1; 32]);
    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn certificate(digest: u8, ends: i64, earlier: bool) -> Seen {
        Seen::Certificate {
            fingerprint: Fingerprint([digest; 32]),
            not_after: UnixTime::from_seconds(NOW.seconds() + ends),
            issuer: "CA".to_owned(),
            earlier,
        }
    }

    #[test]
    fn only_one_of_ours_that_serves_the_wrong_thing_is_a_fault() {
        let (own, ours, public) = (Whose::Own, Whose::Public { ours: true }, Whose::Public { ours: false });
        let is = |whose, seen: &Seen| judge(whose, seen, &[HELD], NOW);
        for whose in [own, ours, public] {
            assert_eq!(is(whose, &certificate(1, 100, false)), Truth::Right);
            assert!(matches!(is(whose, &certificate(2, 100, true)), Truth::Wrong(_)), "an older one of ours");
            assert!(matches!(is(whose, &Seen::Nobody("refused".into())), Truth::Unreachable(_)));
        }
        for (whose, fault) in [(own, true), (ours, true), (public, false)] {
            assert_eq!(matches!(is(whose, &certificate(2, 100, false)), Truth::Wrong(_)), fault);
            assert_eq!(matches!(is(whose, &Seen::NoHandshake("alert".into())), Truth::Wrong(_)), fault);
        }
        assert!(matches!(is(public, &certificate(2, 100, false)), Truth::Elsewhere(_)));
        assert!(matches!(is(own, &certificate(2, -1, false)), Truth::Wrong(why) if why.contains("expired")));
    }

    #[test]
    fn ten_thousand_names_are_seen_within_an_hour_and_one_name_costs_nothing() {
        assert!(pace(10_000) * 10_000 <= ROUND && pace(10_000) >= BETWEEN);
        assert!(pace(20_000) * 20_000 <= ROUND);
        assert_eq!(pace(1), LEAST_ROUND);
        assert!(pace(10) * 10 >= LEAST_ROUND);
        assert_eq!(pace(1_000_000), BETWEEN, "beyond the budget a round takes longer");
    }
}
