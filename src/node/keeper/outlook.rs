//! What does a keeper see of the world outside? Looks at names when the stage asks for it, and, while it waits after a
//! failure, until the cause is gone. What is seen returns as an event; nothing is decided here.

use std::sync::Arc;

use super::{Keeper, Word};
use crate::cert::stage::Event;
use crate::node::lookout::{Lookout, wakes};
use crate::plan::acme::ChallengeKind;
use crate::words::Identifier;

impl Keeper {
    /// The same, looking at names before an authority is asked for them.
    pub fn looking(mut self, lookout: Arc<Lookout>) -> Keeper {
        self.lookout = Some(lookout);
        self
    }

    /// Looks where names lead. Names that go by DNS-01 may lead anywhere.
    pub(super) fn look(&self, names: Vec<Identifier>) {
        let by_dns = self.rules.policy.ways.iter().any(|way| way.challenge == Some(ChallengeKind::Dns01));
        let (Some(lookout), reports) = (self.lookout.clone().filter(|_| !by_dns), self.reports.downgrade()) else {
            return;
        };
        tokio::spawn(async move {
            let sights = lookout.sights(&names).await;
            if let Some(reports) = reports.upgrade() {
                let _ = reports.send(Word::Event(Event::Looked(sights)));
            }
        });
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
        let (spec, unit, reports) = (self.rules.spec.clone(), self.rules.policy.minute, self.reports.downgrade());
        self.watching = Some(tokio::spawn(async move {
            lookout.cleared(&ca, &spec.identifiers, kind, unit, in_the_way).await;
            if let Some(reports) = reports.upgrade() {
                tracing::info!(level = "notice", "{}: what stood in the way is gone; it is tried again", spec.id);
                let _ = reports.send(Word::Event(Event::Cleared));
            }
        }));
    }
}
