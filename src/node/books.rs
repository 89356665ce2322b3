//! How do the keepers of one state path share its ledger? In memory under a short lock; on disk before anything that it
//! counts is done. Many keepers that wait for the disk at once are served by one write.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::cert::ledger::Ledger;
use crate::clock::UnixTime;

/// The ledger of one state path.
pub struct Books {
    shelf: Arc<dyn Shelf>,
    ledger: Mutex<Ledger>,
    /// How many changes are on disk; held while it is written.
    saved: tokio::sync::Mutex<u64>,
}

impl Books {
    /// Goes on where the shelf's record stands. One that cannot be read begins empty, and says so.
    pub fn open(shelf: Arc<dyn Shelf>) -> Books {
        let ledger = match shelf.load(&Record::Ledger) {
            Ok(None) => Ledger::default(),
            Ok(Some(text)) => Ledger::read(&text).unwrap_or_else(|| {
                tracing::error!("the ledger of the authorities' limits is damaged and begins empty");
                Ledger::default()
            }),
            Err(error) => {
                tracing::error!("the ledger of the authorities' limits cannot be read and begins empty: {error}");
                Ledger::default()
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
        let books = Books::open(shelf.clone());
        let names = ["a.example".parse().unwrap()];
        books.with(|ledger| ledger.failed("https://a/", &names, UnixTime(5)));
        books.save(UnixTime(5)).await.unwrap();
        let before = books.with(|ledger| ledger.clone());
        assert_eq!(Books::open(shelf.clone()).with(|ledger| ledger.clone()), before);
        shelf.save(&Record::Ledger, b"{").unwrap();
        assert_eq!(Books::open(shelf).with(|ledger| ledger.clone()), Ledger::default());
    }
}
