//! Which checks are wrong about which names? What a look from here found in the way while the authority, asked all the
//! same, found nothing: a split horizon, a router, a name server that answers others otherwise. Such a check then says "not
//! checkable from here" for that name, for a while. Pure; `node::lookout` writes it down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::plan::acme::ChallengeKind;
use crate::plan::checks::Check;
use crate::words::DomainName;

/// A finding is about the attempt that follows it, not about one of another day.
const FRESH: Duration = Duration::from_secs(2 * 3600);
/// The shortest and the longest while. In between: twice the life of the certificate, so that its renewal is spared.
const WHILE: (Duration, Duration) = (Duration::from_secs(86_400), Duration::from_secs(400 * 86_400));
/// So much is remembered; the oldest goes first.
const MOST: usize = 10_000;

/// What was learned from authorities about our own checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lessons {
    /// Found in the way lately: nobody knows yet whether that is so.
    found: Vec<Found>,
    /// The authority found nothing there.
    mistaken: Vec<Mistaken>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    name: DomainName,
    kind: ChallengeKind,
    check: Check,
    at: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mistaken {
    name: DomainName,
    kind: ChallengeKind,
    check: Check,
    until: UnixTime,
}

impl Lessons {
    /// A look at `name` before a validation by `kind` found this in the way; `None`: nothing.
    pub fn looked(&mut self, name: &DomainName, kind: ChallengeKind, check: Option<Check>, now: UnixTime) {
        self.found.retain(|found| found.name != *name || found.kind != kind);
        if let Some(check) = check {
            self.found.push(Found { name: name.clone(), kind, check, at: now });
            shorten(&mut self.found);
        }
    }

    /// The authority validated these names by `kind`, and issued for `life`: whatever was found in the way was not there.
    /// What is new of that.
    pub fn passed<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a DomainName>,
        kind: ChallengeKind,
        life: Duration,
        now: UnixTime,
    ) -> Vec<(DomainName, Check)> {
        let until = now + (life * 2).clamp(WHILE.0, WHILE.1);
        let mut new = Vec::new();
        for name in names {
            let about = |found: &mut Found| found.name == *name && found.kind == kind;
            for Found { check, at, .. } in self.found.extract_if(.., about) {
                if now.since(at) > FRESH || at > now {
                    continue;
                }
                let known = self.mistaken.iter_mut().find(|m| m.name == *name && m.kind == kind && m.check == check);
                match known {
                    Some(known) => known.until = until,
                    None => {
                        self.mistaken.push(Mistaken { name: name.clone(), kind, check, until });
                        new.push((name.clone(), check));
                    }
                }
            }
        }
        self.mistaken.retain(|mistaken| now < mistaken.until);
        shorten(&mut self.mistaken);
        new
    }

    /// Whether this check was wrong about `name` before, and that is not too long ago.
    pub fn is_mistaken(&self, name: &DomainName, kind: ChallengeKind, check: Check, now: UnixTime) -> bool {
        let about = |m: &Mistaken| m.name == *name && m.kind == kind && m.check == check;
        // A clock that was set back must not make a lesson last for ever.
        self.mistaken.iter().any(|m| about(m) && now < m.until && m.until.since(now) <= WHILE.1)
    }

    /// The text to keep: what was found but not judged is of this day alone, and left out.
    pub fn write(&self) -> Vec<u8> {
        let kept = Lessons { found: Vec::new(), mistaken: self.mistaken.clone() };
        serde_json::to_vec(&kept).unwrap_or_default()
    }

    /// Reads [`Lessons::write`]; a damaged text teaches nothing.
    pub fn read(text: &[u8]) -> Lessons {
        serde_json::from_slice(text).unwrap_or_default()
    }
}

fn shorten<T>(list: &mut Vec<T>) {
    let excess = list.len().saturating_sub(MOST);
    list.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);
    const HTTP: ChallengeKind = ChallengeKind::Http01;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn a_success_in_spite_of_a_finding_silences_that_check_for_that_name_and_a_while() {
        let (a, b) = (name("a.example"), name("b.example"));
        let mut lessons = Lessons::default();
        lessons.looked(&a, HTTP, Some(Check::Reach), NOW);
        lessons.looked(&b, HTTP, Some(Check::Caa), NOW);
        let passed = lessons.passed([&a], HTTP, DAY * 90, NOW + Duration::from_secs(60));
        assert_eq!(passed, [(a.clone(), Check::Reach)]);
        let mut lessons = Lessons::read(&lessons.write());
        let later = NOW + DAY * 60;
        assert!(lessons.is_mistaken(&a, HTTP, Check::Reach, later));
        assert!(!lessons.is_mistaken(&a, HTTP, Check::Caa, later) && !lessons.is_mistaken(&b, HTTP, Check::Caa, later));
        assert!(!lessons.is_mistaken(&a, ChallengeKind::TlsAlpn01, Check::Reach, later));
        assert!(!lessons.is_mistaken(&a, HTTP, Check::Reach, NOW + DAY * 181));
        assert!(!lessons.is_mistaken(&a, HTTP, Check::Reach, NOW - DAY * 4000), "a clock that was set back");
        // Found again before the renewal, and wrong again.
        lessons.looked(&a, HTTP, Some(Check::Reach), later);
        assert_eq!(lessons.passed([&a], HTTP, DAY * 90, later), []);
        assert!(lessons.is_mistaken(&a, HTTP, Check::Reach, NOW + DAY * 181));
    }

    #[test]
    fn a_cause_that_was_seen_to_end_or_that_is_of_another_day_or_kind_teaches_nothing() {
        let a = name("a.example");
        let mut lessons = Lessons::default();
        lessons.looked(&a, HTTP, Some(Check::Reach), NOW);
        lessons.looked(&a, HTTP, None, NOW);
        assert_eq!(lessons.passed([&a], HTTP, DAY, NOW), []);
        lessons.looked(&a, HTTP, Some(Check::Reach), NOW);
        assert_eq!(lessons.passed([&a], ChallengeKind::Dns01, DAY, NOW), []);
        assert_eq!(lessons.passed([&a], HTTP, DAY, NOW + DAY), []);
        assert_eq!(lessons, Lessons::default());
        assert_eq!(Lessons::read(b"{ damaged"), Lessons::default());
    }
}
