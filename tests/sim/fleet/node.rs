//! What is a node of a simulated fleet? Its machine while it is up, its disk always, its two clocks.

use semper::clock::UnixTime;
use semper::fleet::sync::Now;
use semper::fleet::{Claim, NodeId, SubjectKey, Sync};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What lies on a disk.
pub type Disk = BTreeMap<SubjectKey, Vec<Arc<Claim>>>;

pub struct Node {
    pub id: NodeId,
    /// `None`: down.
    pub sync: Option<Sync>,
    /// Counts starts.
    pub life: u32,
    pub disk: Disk,
    /// An older disk, which somebody may put back.
    pub backup: Option<Disk>,
    /// Milliseconds by which the civil clock is wrong, and since when the machine is up.
    pub skew: i64,
    pub boot: i64,
    /// The wake-up that counts, by its number in the queue.
    pub wake: u64,
    /// The latest epoch and end of each subject that this node ever knew since its disk was last put back.
    pub knew: BTreeMap<SubjectKey, (u64, bool)>,
    /// Up without a break, and linked as it should be, since then.
    pub since: i64,
    /// Open challenges of others.
    pub tokens: BTreeMap<String, i64>,
    pub removed: bool,
    /// Messages of the second that began then.
    pub second: (i64, u32),
}

impl Node {
    pub fn new(number: usize, now: i64) -> Node {
        Node {
            id: NodeId::of_key(&u64::try_from(number).unwrap_or(0).to_be_bytes()),
            sync: None,
            life: 0,
            disk: Disk::new(),
            backup: None,
            skew: 0,
            boot: now,
            wake: 0,
            knew: BTreeMap::new(),
            since: now,
            tokens: BTreeMap::new(),
            removed: false,
            second: (0, 0),
        }
    }

    /// Both clocks.
    pub fn now(&self, now: i64) -> Now {
        Now { mono: self.mono(now), civil: UnixTime(now + self.skew) }
    }

    fn mono(&self, now: i64) -> Duration {
        Duration::from_millis(u64::try_from(now - self.boot).unwrap_or(0))
    }

    /// The true time of a moment of its monotonic clock.
    pub fn true_time(&self, mono: Duration) -> i64 {
        self.boot + i64::try_from(mono.as_millis()).unwrap_or(i64::MAX / 2)
    }
}
