//! Where do the operator's wishes wait? In one record of each state path, read once and written before a wish counts.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::cert::wishes::{Revocation, Wishes};
use crate::clock::UnixTime;
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

    /// Whether a certificate is to be left alone, and since when.
    pub fn paused(&self, id: &CertId) -> Option<UnixTime> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).paused.get(id.as_str()).copied()
    }

    /// Leaves a certificate alone from `since` on, or (`None`) no longer. Blocks for a moment.
    pub fn pause(&self, id: &CertId, since: Option<UnixTime>) -> Result<(), ShelfError> {
        self.change(|list| match since {
            Some(since) => drop(list.paused.entry(id.to_string()).or_insert(since)),
            None => drop(list.paused.remove(id.as_str())),
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
