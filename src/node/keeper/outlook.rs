//! What does a keeper see of the world outside? Looks at names when the stage asks for it, and, while it waits after a
//! failure, until the cause is gone. What is seen returns as an event; nothing is decided here.

use std::sync::{Arc, Weak};

use super::{Keeper, Mail, Word};
use crate::acme::Ca;
use crate::cert::inspect::Leaf;
use crate::cert::reach;
use crate::cert::stage::{Attempt, Event, Stage};
use crate::clock::UnixTime;
use crate::node::lookout::{Lookout, wakes};
use crate::plan::acme::ChallengeKind;
use crate::plan::certificate::CertSpec;
use crate::words::Identifier;

/// A look at the names of an order before it is placed.
pub(super) struct Foresight {
    lookout: Arc<Lookout>,
    /// Whether what is found may hold the order back.
    heeds: bool,
    now: UnixTime,
}

impl Foresight {
    /// Looks; true if the order is not to be placed. What is found is reported either way.
    pub(super) async fn holds_back(&self, ca: &Ca, spec: &CertSpec, attempt: &Attempt, reports: &Weak<Mail>) -> bool {
        let within = attempt.give_up_at.since(self.now) / 4;
        let found = self.lookout.hindrance(ca, &spec.identifiers, attempt.way.challenge, within).await;
        let Some((sights, why)) = found else { return false };
        let Some(reports) = reports.upgrade() else { return true };
        reports.send(Word::Event(Event::Looked(sights)));
        match self.heeds {
            true => reports.send(Word::Event(Event::Failed(attempt.number, why))),
            false => {
                tracing::info!(level = "notice", "{}: the authority is asked for it now, in spite of: {why}", spec.id)
            }
        }
        self.heeds
    }
}

impl Keeper {
    /// The same, looking at names before an authority is asked for them.
    pub fn looking(mut self, lookout: Arc<Lookout>) -> Keeper {
        self.lookout = Some(lookout);
        self
    }

    /// Looks where names lead. Names that go by DNS-01 may lead anywhere.
    pub(super) fn look(&self, names: Vec<Identifier>) {
        let by_dns = self.rules.policy.ways.iter().any(|way| way.challenge == Some(ChallengeKind::Dns01));
        let (Some(lookout), reports) = (self.lookout.clone().filter(|_| !by_dns), Arc::downgrade(&self.reports)) else {
            return;
        };
        tokio::spawn(async move {
            let sights = lookout.sights(&names).await;
            if let Some(reports) = reports.upgrade() {
                reports.send(Word::Event(Event::Looked(sights)));
            }
        });
    }

    /// What is needed to look before an order is placed; `None`: nobody looks.
    pub(super) fn foresight(&self) -> Option<Foresight> {
        let heeds = reach::heeds(self.stage.trouble().failures);
        self.lookout.clone().map(|lookout| Foresight { lookout, heeds, now: self.tools.clock.now() })
    }

    /// An authority has validated names and issued for them: that teaches what our own looks are worth.
    pub(super) fn learn(&self, number: u64, names: &[Identifier], leaf: &Leaf) {
        let kind = match &self.stage {
            Stage::Ordering { attempt, .. } if attempt.number == number => attempt.way.challenge,
            _ => None,
        };
        let (Some(kind), Some(lookout)) = (kind, self.lookout.clone()) else { return };
        let (names, life) = (names.to_vec(), leaf.not_after.since(leaf.not_before));
        drop(tokio::task::spawn_blocking(move || lookout.passed(&names, kind, life)));
    }

    /// While this waits after a failure that has a cause outside, watches for its end.
    pub(super) fn watch(&mut self) {
        let kind = self.lookout.as_ref().and_then(|_| wakes(&self.stage, &self.rules.policy));
        let Some((kind, in_the_way)) = kind else {
            return self.watching.take().into_iter().for_each(|task| task.abort());
        };
        if self.watching.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (Some(lookout), Some((_, ca))) = (self.lookout.clone(), self.rules.issuers.first().cloned()) else {
            return;
        };
        let (spec, unit, reports) = (self.rules.spec.clone(), self.rules.policy.minute, Arc::downgrade(&self.reports));
        self.watching = Some(tokio::spawn(async move {
            lookout.cleared(&ca, &spec.identifiers, kind, unit, in_the_way).await;
            if let Some(reports) = reports.upgrade() {
                tracing::info!(level = "notice", "{}: what stood in the way is gone; it is tried again", spec.id);
                reports.send(Word::Event(Event::Cleared));
            }
        }));
    }
}
