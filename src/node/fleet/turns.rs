//! Whose turn is a certificate? Asked by keepers before they order; `fleet::duty` decides.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::cert::stage::Stage;
use crate::clock::UnixTime;
use crate::fleet::Subject;
use crate::fleet::duty::{Duty, Newest, Question, duty};
use crate::node::keeper::Turns;
use crate::plan::certificate::CertId;

use super::core::Core;
use super::etcd::Turn;

/// While others are heard, it is asked again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// The turns of this node.
pub struct FleetTurns(pub(super) Weak<Mutex<Core>>);

impl Turns for FleetTurns {
    fn not_before(&self, id: &CertId, stage: &Stage, now: UnixTime) -> Option<UnixTime> {
        // Without a fleet it is always ours.
        let core = self.0.upgrade()?;
        let core = core.lock().unwrap_or_else(PoisonError::into_inner);
        if !core.settled() {
            return Some(now + AGAIN);
        }
        match core.duty(id, newest(stage, now), now) {
            Duty::Act => {}
            Duty::WaitUntil(until) | Duty::NotMine { until, .. } => return Some(until),
        }
        // Its turn by rank; with etcd there, by its lease too.
        match core.etcd.as_ref().map_or(Turn::Unknown, |etcd| etcd.turn(Subject::Bundle(id.clone()).key())) {
            Turn::Ours | Turn::Unknown => None,
            Turn::Others => Some(now + AGAIN),
        }
    }

    fn ordering(&self, id: &CertId, until: Option<UnixTime>) {
        if let Some(core) = self.0.upgrade() {
            let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
            core.orders(id, until);
            if let (Some(etcd), None) = (&core.etcd, until) {
                etcd.order_over(Subject::Bundle(id.clone()).key());
            }
        }
    }
}

/// What is held and may be served, as duty counts it.
fn newest(stage: &Stage, now: UnixTime) -> Option<Newest> {
    let Stage::Serving { held, renew_at, .. } = stage else { return None };
    let good = !held.disowned && held.not_after > now;
    good.then_some(Newest { not_before: held.not_before, not_after: held.not_after, due: *renew_at })
}

impl Core {
    /// Whose turn it is.
    pub(super) fn duty(&self, id: &CertId, newest: Option<Newest>, now: UnixTime) -> Duty {
        let holders = self.holders(id);
        let (me, since, ordering) = (self.me, self.bundles.since(id), self.ordered_elsewhere(id, now));
        duty(now, &Question { cert: id, me, holders: &holders, newest, since, ordering })
    }
}
