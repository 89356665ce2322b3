//! What does the control thread do for the fleet? Tells it of each plan, hands its bundles to keepers, asks it whose turn
//! it is, and says what people should know of it.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cert::bundle::Bundle;
use crate::conf::world::World as _;
use crate::node::fleet::{self, Front, Wanted};
use crate::node::overdue::tell;
use crate::node::world::RealWorld;
use crate::plan::Plan;
use crate::words::Fingerprint;

use super::{Around, Desk, Said};

/// The part of this node in its fleet; nothing runs before a plan wants it.
pub(super) fn front(around: &Around, say: &mpsc::WeakUnboundedSender<Said>) -> Front {
    let say = say.clone();
    let hand = move |bundle: Box<Bundle>| {
        if let Some(say) = say.upgrade() {
            let _ = say.send(Said::Handed(bundle));
        }
    };
    Front::new(fleet::Around {
        clock: around.clock.clone(),
        dice: around.dice.clone(),
        secrets: Arc::new(around.files.clone()),
        challenges: around.challenges.clone(),
        hand: Arc::new(hand),
        tickets: around.tls.ticket_secrets().clone(),
    })
}

impl Desk {
    /// To be called before the keepers take a plan: what they hold is told to the other nodes, and nobody orders out of
    /// turn.
    pub(super) fn adopt_fleet(
        &mut self,
        plan: Arc<Plan>,
        digest: Fingerprint,
        faults: Vec<String>,
        listeners: Vec<TcpListener>,
    ) {
        let name = RealWorld { judge_certificates: false }.hostname();
        self.front.adopt(Wanted { plan, digest, name, faults, listeners });
        self.take_turns();
    }

    /// To be called each second.
    pub(super) fn tick_fleet(&mut self) {
        self.front.tick();
        self.take_turns();
    }

    /// To be called each minute.
    pub(super) fn look_at_fleet(&mut self) {
        tell(&self.around.concerns.report("fleet", self.front.concerns()));
    }

    fn take_turns(&self) {
        self.keepers.take_turns(self.front.turns().map(|turns| Arc::new(turns) as _));
    }
}
