//! Where do the operator's wishes wait? In one record of each state path, read once and written before a wish counts.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::cert::wishes::{Pause, Revocation, Wishes};
use crate::plan::certificate::CertId;

/// The wishes of one state path.
pub struct WishList {
    shelf: Arc<dyn Shelf>,
    list: Mutex<Wishes>,
}

impl WishList {
    /// Reads what the shelf knows. A record that cannot be read is an error in the log, and no wish.
    pub fn open(shelf: Arc<dyn Shelf>) -> WishList {
        let list = match shelf.load(&Record::Wishes) {
            Ok(None) => Wishes::default(),
            Ok(Some(text)) => Wishes::read(&text).unwrap_or_else(|| {
                tracing::error!("wishes.json cannot be read: what was paused or to be revoked is forgotten");
                Wishes::default()
            }),
            Err(error) => {
                tracing::error!("what was paused or to be revoked is not known: {error}");
                Wishes::default()
            }
        };
        WishList { shelf, list: Mutex::new(list) }
    }

    /// Whether a certificate is to be left alone.
    pub fn paused(&self, id: &CertId) -> Option<Pause> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *list.paused.get(id.as_str())?;
        Some(Pause { since, by: list.paused_by.get(id.as_str()).cloned().unwrap_or_default() })
    }

    /// Leaves a certificate alone, or (`None`) no longer; the first who says so counts. Blocks for a moment.
    pub fn pause(&self, id: &CertId, pause: Option<Pause>) -> Result<(), ShelfError> {
        self.change(|list| match pause {
            Some(_) if list.paused.contains_key(id.as_str()) => {}
            Some(pause) => {
                list.paused.insert(id.to_string(), pause.since);
                list.paused_by.insert(id.to_string(), pause.by);
            }
            None => {
                list.paused.remove(id.as_str());
                list.paused_by.remove(id.as_str());
            }
        })
    }

    /// Notes what is to be revoked. Blocks for a moment.
    pub fn revoke(&self, doomed: Revocation) -> Result<(), ShelfError> {
        self.change(|list| {
            list.revocations.retain(|other| (&other.id, other.epoch) != (&doomed.id, doomed.epoch));
            list.revocations.push(doomed);
        })
    }

    /// What is still to be revoked.
    pub fn doomed(&self) -> Vec<Revocation> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).revocations.clone()
    }

    /// Notes how a try to revoke went: done, or in which words it was refused. Blocks for a moment.
    pub fn tried(&self, id: &CertId, epoch: u64, trouble: Option<String>) -> Result<(), ShelfError> {
        self.change(|list| {
            let is_it = |other: &Revocation| (&other.id, other.epoch) == (id, epoch);
            match trouble {
                None => list.revocations.retain(|other| !is_it(other)),
                Some(words) => {
                    list.revocations.iter_mut().filter(|o| is_it(o)).for_each(|o| o.trouble = Some(words.clone()));
                }
            }
        })
    }

    /// Written first; what cannot be written is not wished.
    fn change(&self, change: impl FnOnce(&mut Wishes)) -> Result<(), ShelfError> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = list.clone();
        change(&mut next);
        self.shelf.save(&Record::Wishes, &next.write())?;
        *list = next;
        Ok(())
    }
}
