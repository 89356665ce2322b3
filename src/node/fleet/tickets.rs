//! Which secrets seal session tickets on this node? Those of the fleet, so that a session begun on one node goes on at
//! another. Made by the node whose turn it is; what `fleet::tickets` decides is done here.

use std::sync::Arc;

use crate::clock::UnixTime;
use crate::fleet::tickets::{self, Secret};
use crate::fleet::{Claim, NodeId, State};
use crate::tls::tickets::TicketKeys;

/// The tickets of this node, while it is in a fleet.
pub struct Tickets {
    keys: Arc<TicketKeys>,
    since: UnixTime,
    again: UnixTime,
    /// What was handed to the workers last; the first seals.
    held: Vec<Secret>,
}

impl Tickets {
    /// For `keys`, by a node that met its fleet at `since`.
    pub fn new(keys: Arc<TicketKeys>, since: UnixTime) -> Tickets {
        Tickets { keys, since, again: UnixTime::default(), held: Vec::new() }
    }

    /// Hands what holds at `now` to the workers, and answers what this node is to claim. `draw` gives 32 random bytes.
    pub fn keep(
        &mut self,
        state: &State,
        me: NodeId,
        live: &[NodeId],
        now: UnixTime,
        draw: impl Fn() -> Option<[u8; tickets::SECRET]>,
    ) -> Vec<Claim> {
        let open = tickets::secrets(state, now).open;
        if open != self.held {
            self.keys.share(open.iter().map(|secret| &*secret.bytes));
            self.held = open;
        }
        if now < self.again {
            return Vec::new();
        }
        let duty = tickets::duty(state, me, live, self.since, now);
        // Nodes come and go, and with them the ranks: no longer than a minute.
        self.again = duty.again.min(now + std::time::Duration::from_secs(60));
        let made = duty.make.iter().filter_map(|epoch| {
            let secret = zeroize::Zeroizing::new(draw()?);
            Some(tickets::make(*epoch, &secret, me))
        });
        let over = duty.end.into_iter();
        made.chain(over.map(|(subject, epoch)| Claim::tombstone(subject, epoch, me, "its time is over"))).collect()
    }
}

impl Drop for Tickets {
    /// Without a fleet this node's own keys seal again.
    fn drop(&mut self) {
        self.keys.share([]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use std::time::Duration;

    #[test]
    fn the_secrets_of_the_fleet_reach_the_workers_and_leave_them_with_the_fleet() {
        let keys = TicketKeys::random(Arc::new(VirtualClock::default()));
        let me = NodeId::of_key(b"me");
        let start = UnixTime::from_seconds(1_800_000_000);
        let mut tickets = Tickets::new(keys, start);
        let mut state = State::default();
        assert!(tickets.keep(&state, me, &[me], start, || Some([7; 32])).is_empty(), "first it listens");
        let later = start + Duration::from_secs(120);
        let claims = tickets.keep(&state, me, &[me], later, || Some([7; 32]));
        assert!(!claims.is_empty() && claims.iter().all(|claim| !claim.is_tombstone()));
        for claim in claims {
            state.admit(Arc::new(claim)).unwrap();
        }
        assert!(tickets.keep(&state, me, &[me], later, || None).is_empty());
        assert_eq!(tickets.held.first().map(|secret| *secret.bytes), Some([7; 32]));
    }
}
