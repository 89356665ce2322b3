//! What if several nodes look after the same certificate? Whoever's turn it is orders; a generation that another node has
//! obtained passes the gate here, ends whatever was under way, and is in force by the same path as our own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Installed, Keeper};
use crate::cert::bundle::Bundle;
use crate::cert::gate::{self, Source};
use crate::cert::stage::{Effect, Event, Held, Stage};
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;

/// While it is another node's turn, it is asked again after this time.
const OTHERS: Duration = Duration::from_secs(2);

/// Whose turn a certificate is, where several nodes look after it.
pub trait Turns: Send + Sync {
    /// Before that moment this node leaves an order to others; `None`: it may place it.
    fn not_before(&self, id: &CertId, stage: &Stage, now: UnixTime) -> Option<UnixTime>;
    /// This node has begun an order, which ends then at the latest; or (`None`) it is over.
    fn ordering(&self, id: &CertId, until: Option<UnixTime>);
}

/// Who knows whose turn it is, once somebody does; a reload may change that.
pub type SharedTurns = Arc<Mutex<Option<Arc<dyn Turns>>>>;

impl Keeper {
    /// The same, leaving orders to other nodes while it is their turn.
    pub fn taking_turns(mut self, turns: SharedTurns) -> Keeper {
        self.turns = turns;
        self
    }

    /// Until when others go before us, whether or not something is due.
    fn others_first(&self, now: UnixTime) -> Option<UnixTime> {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        turns.not_before(&self.rules.spec.id, &self.stage, now).filter(|until| *until > now)
    }

    /// Other nodes wait while an order runs here.
    pub(super) fn tell_of_order(&self, before: &Stage) {
        let until = |stage: &Stage| match stage {
            Stage::Ordering { attempt, .. } => Some(attempt.give_up_at),
            _ => None,
        };
        let now = until(&self.stage);
        if until(before) != now
            && let Some(turns) = self.turns.lock().unwrap_or_else(PoisonError::into_inner).clone()
        {
            turns.ordering(&self.rules.spec.id, now);
        }
    }

    /// When to wake, where an order that is due may be another node's to place.
    pub(super) fn wakes_among_others(&self, wake: UnixTime, now: UnixTime) -> UnixTime {
        self.waits_for_others(now).map_or(wake, |until| wake.max(until.min(now + OTHERS)))
    }

    /// Whether an event that would begin an order is heard: not while it is another node's turn.
    pub(super) fn is_our_turn(&self, event: &Event) -> bool {
        let now = self.tools.clock.now();
        match event {
            Event::Tick => self.waits_for_others(now).is_none(),
            Event::Cleared => self.others_first(now).is_none(),
            _ => true,
        }
    }

    /// Until when an order that is due now is left to others.
    fn waits_for_others(&self, now: UnixTime) -> Option<UnixTime> {
        let due = match &self.stage {
            Stage::Absent { retry_at, .. } => *retry_at <= now,
            Stage::Serving { renew_at, .. } => *renew_at <= now,
            Stage::Ordering { .. } => false,
        };
        if due { self.others_first(now) } else { None }
    }

    /// A generation that another node has obtained.
    pub(super) async fn handed(&mut self, mut bundle: Box<Bundle>) {
        let (spec, now) = (self.rules.spec.clone(), self.tools.clock.now());
        let verdict = gate::judge(&(*bundle).clone().into(), &spec.identifiers, Source::Peer, now);
        if let Some(objection) = verdict.refusals.first() {
            return tracing::warn!("{}: what another node obtained is not served here: {objection}", spec.id);
        }
        if let Some(held) = self.stage.held() {
            if !held.disowned && bundle.leaf.not_before < held.not_before {
                return;
            }
            bundle.epoch = bundle.epoch.max(held.epoch + 1);
        }
        if let Stage::Ordering { attempt, .. } = &self.stage {
            // Its authorizations are of no use any more.
            let asked = attempt.way.issuer.clone();
            self.perform(Effect::AbandonOrder, Some(&asked));
        }
        if bundle.authority != "internal" {
            self.tools.clock.accepted(bundle.leaf.not_before);
        }
        let bundle = self.store(bundle).await;
        tracing::info!(
            "{}: generation {} of {}, obtained by another node, is in force until {}",
            spec.id,
            bundle.epoch,
            bundle.issuer,
            bundle.leaf.not_after
        );
        let held = Held::for_names(&bundle, &spec.identifiers);
        (self.tools.publish)(vec![Installed { spec, bundle: Arc::new((*bundle).clone()) }]);
        self.step(Event::Issued(held)).await;
    }
}
