//! What needs eyes at present? Each watcher reports all that it sees, again and again; what is new, worse or over is
//! handed back once, to be logged (and, one day, sent). A lock for a few instructions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cert::concern::Concern;

/// What all watchers see.
#[derive(Debug, Default)]
pub struct Concerns(Mutex<BTreeMap<&'static str, Vec<Concern>>>);

/// What is different since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New, or worse than before.
    pub raised: Vec<Concern>,
    /// Over.
    pub cleared: Vec<Concern>,
}

impl Concerns {
    /// Takes all that `watcher` sees now, in place of what it saw before. What it saw before keeps its `since`.
    pub fn report(&self, watcher: &'static str, mut seen: Vec<Concern>) -> Changes {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(watcher).unwrap_or_default();
        let mut changes = Changes::default();
        for concern in &mut seen {
            match before.iter().find(|old| old.is_about(concern)) {
                Some(old) => {
                    concern.since = old.since;
                    if concern.severity > old.severity {
                        changes.raised.push(concern.clone());
                    }
                }
                None => changes.raised.push(concern.clone()),
            }
        }
        changes.cleared = before.into_iter().filter(|old| !seen.iter().any(|new| new.is_about(old))).collect();
        if !seen.is_empty() {
            all.insert(watcher, seen);
        }
        changes
    }

    /// Everything that needs eyes now, the worst first.
    pub fn all(&self) -> Vec<Concern> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut every: Vec<Concern> = all.values().flatten().cloned().collect();
        every.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
        every
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::concern::{Severity, Topic};
    use crate::clock::UnixTime;

    fn concern(subject: &str, severity: Severity, at: i64) -> Concern {
        let text = format!("seen at {at}");
        Concern { topic: Topic::Overdue, subject: subject.to_owned(), severity, text, since: UnixTime(at) }
    }

    #[test]
    fn each_is_told_once_again_when_it_is_worse_and_once_when_it_is_over() {
        let concerns = Concerns::default();
        let (warning, error) = (Severity::Warning, Severity::Error);
        assert_eq!(concerns.report("clock", vec![concern("a", warning, 1)]).raised.len(), 1);
        assert_eq!(concerns.report("clock", vec![concern("a", warning, 2)]), Changes::default());
        assert_eq!((concerns.all()[0].since, &concerns.all()[0].text[..]), (UnixTime(1), "seen at 2"));
        let worse = concerns.report("clock", vec![concern("a", error, 3), concern("b", warning, 3)]);
        assert_eq!(worse.raised.iter().map(|n| &n.subject[..]).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(concerns.report("probe", vec![]), Changes::default(), "another watcher takes nothing away");
        assert_eq!(concerns.all().len(), 2);
        let over = concerns.report("clock", vec![concern("b", warning, 4)]);
        assert_eq!((over.raised.len(), over.cleared.len(), &over.cleared[0].subject[..]), (0, 1, "a"));
        concerns.report("clock", vec![]);
        assert_eq!(concerns.all(), []);
    }
}
