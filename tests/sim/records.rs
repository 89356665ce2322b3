//! What is written down of an order, and how is one left? Records, accounts and farewells, as `acme::order` keeps them.

use crate::authority::Status;
use crate::counters::Point;
use crate::disk::{OrderRecord, Refused};
use crate::edge::Dead;
use crate::fault::Phase;
use crate::hand::{Turn, Work, fail};
use crate::planted::Bug;
use crate::world::{At, World};
use semper::cert::failure::Failure;
use std::time::Duration;

const WORTH: Duration = Duration::from_secs(3600);
const ISSUED_WORTH: Duration = Duration::from_secs(2 * 86_400);
const BROKEN_LOOKS: u32 = 4;

impl World {
    /// A look that failed: the same look may succeed a moment later.
    pub fn broken(&mut self, at: At, work: &mut Work, why: Failure) -> Turn {
        if matches!(why, Failure::Unreachable { .. }) && work.broken < BROKEN_LOOKS {
            work.broken += 1;
            return Turn::Wait(Duration::from_secs(1) * work.broken);
        }
        self.judge(at, work.ca, why)
    }

    /// An account that the authority does not know is forgotten, to be registered again.
    pub fn judge(&mut self, at: At, ca: usize, why: Failure) -> Turn {
        let unknown = matches!(&why, Failure::Lost { detail } if detail.contains("accountDoesNotExist"));
        if unknown && self.bug != Some(Bug::AccountNeverAgain) {
            let node = &mut self.nodes[at.node];
            node.known[ca] = None;
            let _ = node.accounts[ca].write(None, node.health, true);
        }
        if matches!(why, Failure::Lost { .. }) {
            // It may be the directory that changed.
            self.nodes[at.node].directories[ca] = self.cas[ca].directory;
        }
        fail(why)
    }

    pub fn account(&self, at: At, ca: usize) -> Option<u64> {
        self.nodes[at.node].known[ca]
    }

    pub fn save(&mut self, at: At, record: OrderRecord) -> Result<(), Refused> {
        let synced = self.bug != Some(Bug::NoDirectorySync);
        let node = &mut self.nodes[at.node];
        node.folders[at.cert].order.write(Some(record), node.health, synced)
    }

    pub fn is_worth(&self, at: At, record: &OrderRecord) -> bool {
        let worth = if record.finalizing { ISSUED_WORTH } else { WORTH };
        !record.spoiled && self.nodes[at.node].civil().since(record.began_at) < worth
    }

    pub fn fulfilled(&self, at: At, record: &OrderRecord) -> bool {
        self.nodes[at.node].folders[at.cert].newest().is_some_and(|kept| kept.key == record.key)
    }

    /// The farewell of `acme::order::abandon`.
    pub fn abandon(&mut self, at: At, ca: usize) -> Result<(), Dead> {
        let record = self.nodes[at.node].folders[at.cert].order.read().cloned();
        let Some(mut record) = record.filter(|record| record.ca == ca) else { return Ok(()) };
        let entered = self.knock(at, ca, Phase::Enter).is_ok() && self.account(at, ca).is_some();
        let gone = match entered {
            true => self.let_go(at, ca, &record),
            false => !(record.finalizing && !record.stalled && self.is_worth(at, &record)),
        };
        if gone {
            self.crash(at, Point::AfterFarewell)?;
            let node = &mut self.nodes[at.node];
            let _ = node.folders[at.cert].order.write(None, node.health, true);
        } else {
            record.stalled = true;
            let _ = self.save(at, record);
        }
        Ok(())
    }

    /// False if the order should rather be fetched later.
    pub fn let_go(&mut self, at: At, ca: usize, record: &OrderRecord) -> bool {
        let Some(number) = record.number.filter(|_| record.ca == ca) else { return true };
        if self.knock(at, ca, Phase::Look).is_err() {
            return true;
        }
        let Some((status, _)) = self.see(at, ca, number) else { return true };
        let issued = match status {
            Status::Valid => true,
            Status::Processing => !record.stalled,
            _ => false,
        };
        if issued && record.finalizing && self.is_worth(at, record) {
            return false;
        }
        self.cas[ca].deactivate(&record.names, false);
        true
    }
}
