//! How do the keepers of one state path share its ledger? In memory under a short lock; on disk before anything that it
//! counts is done. Many keepers that wait for the disk at once are served by one write.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::cert::ledger::Ledger;
use crate::clock::UnixTime;

/// Whether a ledger that is found, or missing, tells what was ordered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It does: one that is missing is new.
    Full,
    /// One that is found does; before one that is missing there was another.
    Found,
    /// What was ordered lately may not stand in it.
    Nothing,
}

/// The ledger of one state path.
pub struct Books {
    shelf: Arc<dyn Shelf>,
    ledger: Mutex<Ledger>,
    /// How many changes are on disk; held while it is written.
    saved: tokio::sync::Mutex<u64>,
}

impl Books {
    /// Goes on where the shelf's record stands. One that cannot be read is replaced by a doubtful one, and says so.
    pub fn open(shelf: Arc<dyn Shelf>, trust: Trust) -> Books {
        let ledger = match shelf.load(&Record::Ledger) {
            Ok(None) if trust == Trust::Full => Ledger::default(),
            Ok(None) => Ledger::doubtful(),
            Ok(Some(text)) => match Ledger::read(&text) {
                Some(ledger) if trust == Trust::Nothing => ledger.doubted(),
                Some(ledger) => ledger,
                None => {
                    tracing::error!(
                        "the ledger of the authorities' limits is damaged; orders are held back for a while"
                    );
                    Ledger::doubtful()
                }
            },
            Err(error) => {
                tracing::error!(
                    "the ledger of the authorities' limits cannot be read; orders are held back for a while: {error}"
                );
                Ledger::doubtful()
            }
        };
        let saved = tokio::sync::Mutex::new(ledger.changes());
        Books { shelf, ledger: Mutex::new(ledger), saved }
    }

    /// Works with the ledger; must not block.
    pub fn with<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when everything that was noted so far is on disk, or cannot be written.
    pub async fn save(&self, now: UnixTime) -> Result<(), ShelfError> {
        let wanted = self.with(|ledger| ledger.changes());
        let mut saved = self.saved.lock().await;
        if *saved >= wanted {
            return Ok(());
        }
        let (text, changes) = self.with(|ledger| (ledger.write(now), ledger.changes()));
        let shelf = self.shelf.clone();
        super::keeper::blocking(move || shelf.save(&Record::Ledger, &text)).await?;
        *saved = changes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[tokio::test]
    async fn what_was_noted_is_there_after_a_restart() {
        let shelf: Arc<dyn Shelf> = Arc::new(Memory::default());
        let books = Books::open(shelf.clone(), Trust::Full);
        let names = ["a.example".parse().unwrap()];
        books.with(|ledger| ledger.failed("https://a/", &names, UnixTime(5)));
        books.save(UnixTime(5)).await.unwrap();
        let before = books.with(|ledger| ledger.clone());
        assert_eq!(Books::open(shelf.clone(), Trust::Full).with(|ledger| ledger.clone()), before);
        shelf.save(&Record::Ledger, b"{").unwrap();
        assert_eq!(Books::open(shelf, Trust::Full).with(|ledger| ledger.clone()), Ledger::doubtful());
    }
}
