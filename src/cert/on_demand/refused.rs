//! What is remembered of names that were refused? Answers of `ask` while they are believed, and a few of the last names that
//! were turned away for other reasons, for whoever wants to know why. Bounded: the oldest make room.

use std::collections::{HashMap, VecDeque};

use super::Refusal;
use crate::clock::UnixTime;
use crate::words::DomainName;

/// Answers that are remembered.
const ANSWERS: usize = 4096;
/// Names that were turned away unasked.
const UNASKED: usize = 256;

#[derive(Clone, Debug)]
struct Line {
    why: Refusal,
    at: UnixTime,
    until: UnixTime,
}

/// Names that were refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    answers: HashMap<DomainName, Line>,
    /// The names of `answers`, the oldest first.
    order: VecDeque<DomainName>,
    unasked: VecDeque<(DomainName, Line)>,
}

impl Refusals {
    /// Why a name is refused at present, by an answer that is still believed.
    pub fn holds(&self, name: &DomainName, now: UnixTime) -> Option<&Refusal> {
        self.answers.get(name).filter(|line| now < line.until).map(|line| &line.why)
    }

    /// Remembers an answer.
    pub fn keep(&mut self, name: &DomainName, why: Refusal, at: UnixTime, until: UnixTime) {
        if self.answers.insert(name.clone(), Line { why, at, until }).is_none() {
            self.order.push_back(name.clone());
        }
        while self.answers.len() > ANSWERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }

    /// Remembers, for a while, that a name was turned away although nobody refused it.
    pub fn turned_away(&mut self, name: &DomainName, why: Refusal, at: UnixTime, until: UnixTime) {
        let line = Line { why, at, until };
        if let Some((_, known)) = self.unasked.iter_mut().find(|(known, _)| known == name) {
            *known = line;
            return;
        }
        if self.unasked.len() >= UNASKED {
            self.unasked.pop_front();
        }
        self.unasked.push_back((name.clone(), line));
    }

    /// The name is held now.
    pub fn forget(&mut self, name: &DomainName) {
        if self.answers.remove(name).is_some() {
            self.order.retain(|known| known != name);
        }
        self.unasked.retain(|(known, _)| known != name);
    }

    /// The last refusal of a name: why, when, and when it ends. An answer counts before what was said unasked.
    pub fn last(&self, name: &DomainName, now: UnixTime) -> Option<(Refusal, UnixTime, UnixTime)> {
        let unasked = self.unasked.iter().find(|(known, _)| known == name).map(|(_, line)| line);
        let answer = self.answers.get(name).filter(|line| now < line.until || unasked.is_none());
        answer.or(unasked).map(|line| (line.why.clone(), line.at, line.until))
    }

    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        assert_eq!(self.answers.len(), self.order.len());
        (self.answers.len(), self.unasked.len())
    }
}
