//! What does a node keep, on disk and in memory? One stage for each certificate, its journal, its generations.

use semper::cert::stage::{Held, Policy, Stage};

/// One certificate on a node.
pub struct Certificate {
    /// Its name set.
    pub names: usize,
    /// Its rules.
    pub policy: Policy,
    /// In memory; lost by a crash.
    pub stage: Stage,
    /// On disk: the journal's last record.
    pub journal: String,
    /// On disk: what is held, newest last.
    pub store: Vec<Held>,
    /// On disk: the order under way (attempt number, whether what was issued is good).
    pub order: Option<(u64, bool)>,
    /// Counts restarts, so that answers to a dead process are dropped.
    pub life: u32,
    /// The number of the one tick that counts.
    pub alarm: u64,
}

impl Certificate {
    pub fn new(names: usize, policy: Policy) -> Certificate {
        let stage = Stage::new();
        let journal = serde_json::to_string(&stage).unwrap();
        Certificate { names, policy, stage, journal, store: Vec::new(), order: None, life: 0, alarm: 0 }
    }

    /// The newest generation on disk.
    pub fn newest(&self) -> Option<&Held> {
        self.store.last()
    }
}
