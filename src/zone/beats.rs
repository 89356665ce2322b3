//! Do the keepers turn, and do they try? Each notes here that its loop has turned and how many attempts it has made; the
//! overdue clock reads it from another thread. A lock for a few instructions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::cert::wishes::Pause;
use crate::plan::certificate::CertId;

/// What keepers note.
#[derive(Debug, Default)]
pub struct Beats {
    turns: Mutex<HashMap<CertId, Beat>>,
    /// Those that somebody said to leave alone.
    paused: Mutex<HashMap<CertId, Pause>>,
}

/// The last turn of one keeper.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// Attempts so far, over all time.
    pub attempts: u64,
    /// When its loop last turned.
    pub at: Instant,
}

impl Beats {
    /// The keeper of `id` has turned.
    pub fn turned(&self, id: &CertId, attempts: u64) {
        let beat = Beat { attempts, at: Instant::now() };
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(id) {
            Some(known) => *known = beat,
            None => drop(all.insert(id.clone(), beat)),
        }
    }

    /// The last turn of the keeper of `id`, if it has turned at all.
    pub fn of(&self, id: &CertId) -> Option<Beat> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    /// Forgets the keepers that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(&CertId) -> bool) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| keep(id));
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| keep(id));
    }

    /// Notes that somebody said to leave `id` alone, or (`None`) to look after it again.
    pub fn pause(&self, id: &CertId, pause: Option<Pause>) {
        let mut all = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        match pause {
            Some(pause) => drop(all.insert(id.clone(), pause)),
            None => drop(all.remove(id)),
        }
    }

    /// Whether `id` is to be left alone.
    pub fn paused(&self, id: &CertId) -> Option<Pause> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}
