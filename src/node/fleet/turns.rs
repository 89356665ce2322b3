//! Whose turn is a certificate? Asked by keepers before they order.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::cert::stage::Stage;
use crate::clock::UnixTime;
use crate::fleet::{NodeId, Subject};
use crate::node::keeper::Turns;
use crate::plan::certificate::CertId;
use crate::words::Fingerprint;

use super::core::Core;
use super::etcd::Turn;

/// While others are heard, it is asked again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// Without any certificate, each rank waits so much longer than the one before it.
const BETWEEN_RANKS: Duration = Duration::from_secs(300);

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
        if let Some(until) = core.ordered_elsewhere(id, now) {
            return Some(until);
        }
        let rank = ranked(id, &core.having(id)).iter().position(|node| *node == core.me).unwrap_or(0);
        if let Some(later) = moment(rank, stage).filter(|at| *at > now) {
            return Some(later);
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

/// Nodes in the order in which they look after a certificate: the same at all of them.
pub(super) fn ranked(id: &CertId, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut ranked: Vec<(Fingerprint, NodeId)> = nodes
        .iter()
        .map(|node| (Fingerprint::of(&[node.as_bytes(), id.as_str().as_bytes()].concat()), *node))
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, node)| node).collect()
}

/// When the node of this rank may act; `None`: when it is due.
fn moment(rank: usize, stage: &Stage) -> Option<UnixTime> {
    let rank32 = u32::try_from(rank).unwrap_or(u32::MAX);
    match (rank, stage) {
        (0, _) | (_, Stage::Ordering { .. }) => None,
        (_, Stage::Absent { retry_at, .. }) => {
            let due = (*retry_at).max(UnixTime(0));
            Some(due + BETWEEN_RANKS.saturating_mul(rank32))
        }
        (_, Stage::Serving { held, renew_at, .. }) => {
            let life = held.not_after.since(held.not_before);
            // A third, a quarter, a fifth …; half, a third … of a short one.
            let first = if life < Duration::from_secs(10 * 86_400) { 2 } else { 3 };
            let left = life / rank32.saturating_add(first);
            let scaled = held.not_before + life.saturating_sub(left);
            Some(scaled.max(*renew_at))
        }
    }
}
