//! What went wrong with a certificate so far, and what did it teach? The memory of a [`Stage`](super::stage::Stage): it is
//! journaled with it, and records of earlier releases, which lack some of it, are still read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::policy::Way;
use crate::clock::UnixTime;
use crate::plan::acme::ChallengeKind;
use crate::words::Identifier;

/// Failed attempts that are remembered in words.
const FAILURES: usize = 8;
/// The longest words of an authority that are kept.
const WORDS: usize = 400;
/// So long a name's addresses must have pointed elsewhere before it counts as moved away.
pub const MOVED_AFTER: Duration = Duration::from_secs(3 * 86_400);
/// A look at a name's addresses says nothing any more after this time.
const LOOK_HOLDS: Duration = Duration::from_secs(2 * 86_400);

/// What went wrong, and what it taught.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// Attempts so far, over all time.
    pub attempts: u64,
    /// Rounds of failures since the last success: a round tries each way once.
    pub failures: u32,
    /// When the row began.
    pub since: Option<UnixTime>,
    /// The last failure.
    pub last: Option<Failure>,
    /// The place in [`Policy::ways`](super::policy::Policy::ways) that is next.
    pub next_way: usize,
    /// Attempts of this round that repeated a way at once.
    pub at_once: u32,
    /// While an order runs: when its authority is to be asked about what is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_at: Option<UnixTime>,
    /// Leave `replaces` out.
    pub without_replaces: bool,
    /// The turn that the ledger gave: the next order begins then.
    pub turn: Option<UnixTime>,
    /// Names at which rounds failed while others of the certificate passed.
    pub blamed: Vec<Blamed>,
    /// Names that are split off: ordered by themselves until they pass. Survives success.
    pub apart: Vec<Identifier>,
    /// Names whose addresses belong to somebody else. Survives success.
    pub away: Vec<Away>,
    /// The next look at names that are away.
    pub look_at: Option<UnixTime>,
    /// The authority's page on which a person lifts its pause. Goes with success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_link: Option<String>,
    /// What happened lately, the newest last. Survives success.
    pub history: Vec<Past>,
}

/// A name that failed while others passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blamed {
    /// The name.
    pub name: Identifier,
    /// How many rounds ended with it.
    pub rounds: u32,
    /// The last of them, counted by [`Trouble::failures`].
    pub last_round: u32,
    /// Since when.
    pub since: UnixTime,
}

/// A name that points elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Away {
    /// The name.
    pub name: Identifier,
    /// First seen so.
    pub since: UnixTime,
    /// Last seen so.
    pub seen: UnixTime,
    /// People have been told.
    pub told: bool,
}

impl Away {
    /// Whether it counts as moved away: for days, and seen so lately. No validation is spent on it then.
    pub fn moved(&self, now: UnixTime) -> bool {
        self.seen.since(self.since) >= MOVED_AFTER && now.since(self.seen) <= LOOK_HOLDS
    }
}

/// One attempt that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// When it ended.
    pub at: UnixTime,
    /// Who was asked.
    pub issuer: String,
    /// How.
    pub challenge: Option<ChallengeKind>,
    /// How it ended, in the authority's own words; `None`: well.
    pub failure: Option<String>,
    /// How often in a row it ended so.
    pub times: u32,
}

impl Trouble {
    /// What is left of it after a success.
    pub(super) fn after_success(mut self, now: UnixTime, issuer: &str) -> Trouble {
        self.note(now, issuer, None, None);
        Trouble {
            attempts: self.attempts,
            apart: self.apart,
            away: self.away,
            look_at: self.look_at,
            history: self.history,
            ..Trouble::default()
        }
    }

    /// Notes a failed attempt.
    pub(super) fn note_failure(&mut self, now: UnixTime, way: &Way, why: &Failure) {
        self.note(now, &way.issuer, way.challenge, Some(shortened(&why.to_string())));
    }

    fn note(&mut self, now: UnixTime, issuer: &str, challenge: Option<ChallengeKind>, failure: Option<String>) {
        let past = Past { at: now, issuer: issuer.to_owned(), challenge, failure, times: 1 };
        let same = |old: &Past| Past { at: now, times: 1, ..old.clone() } == past;
        if let Some(last) = self.history.last_mut().filter(|last| same(last)) {
            (last.at, last.times) = (now, last.times.saturating_add(1));
            return;
        }
        if past.failure.is_none() {
            // Of what was settled, the last failure and the last success are enough.
            let failed = self.history.iter().rposition(|past| past.failure.is_some());
            let kept = failed.map(|at| self.history.swap_remove(at));
            self.history = kept.into_iter().collect();
        }
        self.history.push(past);
        let excess = self.history.len().saturating_sub(FAILURES);
        self.history.drain(..excess);
    }

    /// The names that an order leaves out at present: those that are split off and those that moved away.
    pub fn left_out(&self, names: &[Identifier], now: UnixTime) -> Vec<Identifier> {
        let moved = |name: &Identifier| self.away.iter().any(|away| away.name == *name && away.moved(now));
        let out: Vec<_> = names.iter().filter(|name| self.apart.contains(name) || moved(name)).cloned().collect();
        // Names that are all split off (their row changed since) are ordered together again.
        if out.len() == names.len() && !names.iter().all(moved) {
            return names.iter().filter(|name| moved(name)).cloned().collect();
        }
        out
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_repetitions_are_counted() {
        let mut trouble = Trouble::default();
        let way = Way { issuer: "a".into(), authority: "https://a/".into(), challenge: Some(ChallengeKind::Http01) };
        for n in 0..100 {
            let why = Failure::Unreachable { detail: "x".repeat(if n < 90 { 5000 } else { n }) };
            trouble.note_failure(UnixTime(n as i64), &way, &why);
        }
        assert_eq!(trouble.history.len(), FAILURES);
        assert!(trouble.history.iter().all(|past| past.failure.as_ref().unwrap().len() < 500));
        let trouble = trouble.after_success(UnixTime(200), "b").after_success(UnixTime(300), "b");
        assert_eq!(trouble.history.len(), 2, "{:?}", trouble.history);
        assert_eq!((trouble.history[1].at, trouble.history[1].times), (UnixTime(300), 2));
        assert!(trouble.history[0].failure.is_some(), "the last failure is still told");
    }

    #[test]
    fn the_memory_of_an_earlier_release_is_read() {
        let text = r#"{"attempts":3,"failures":2,"since":5,"last":null,"next_way":1,"at_once":0,
            "spent":[["https://a/",4]],"without_replaces":true,"blocked":[["a",9]]}"#;
        let trouble: Trouble = serde_json::from_str(text).unwrap();
        assert_eq!((trouble.attempts, trouble.failures, trouble.without_replaces), (3, 2, true));
    }
}
