//! What if the disk refuses? Then records live in memory until it takes them again: a full, read-only or unreadable state
//! path must not stop a renewal, and costs one order at most if the process ends meanwhile. What could not be read on the
//! disk is never overwritten there. Bundles are not remembered here: their keeper does that.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::cert::bundle::Bundle;
use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::plan::certificate::CertId;

/// A shelf that lives on when the one below it fails.
pub struct Enduring {
    disk: Arc<dyn Shelf>,
    waiting: Mutex<Waiting>,
}

/// What the disk has not got.
#[derive(Default)]
struct Waiting {
    /// Content to be written; `None`: to be removed.
    records: HashMap<Record, Option<Zeroizing<Vec<u8>>>>,
    /// What stands there cannot be read, and may be worth more than ours.
    unread: HashSet<Record>,
}

impl Enduring {
    /// Over `disk`.
    pub fn new(disk: Arc<dyn Shelf>) -> Enduring {
        Enduring { disk, waiting: Mutex::default() }
    }

    /// Changes one record: on the disk, with all that waits, or else in memory.
    fn change(&self, record: &Record, content: Option<&[u8]>) -> Result<(), ShelfError> {
        // Every change is one call of the maps, so a panic elsewhere leaves them whole.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let content = content.map(|content| Zeroizing::new(content.to_vec()));
        if waiting.unread.contains(record) {
            waiting.records.insert(record.clone(), content);
            return Ok(());
        }
        match self.write(record, content.as_deref()) {
            Ok(()) => {
                waiting.records.remove(record);
                self.settle(&mut waiting);
                Ok(())
            }
            Err(ShelfError::Io { path, source }) => {
                if waiting.records.is_empty() {
                    tracing::error!("{path}: {source}; kept in memory until the disk takes it");
                }
                waiting.records.insert(record.clone(), content);
                Ok(())
            }
            // Another process is in charge of the disk, or of another version: neither is overruled from memory.
            Err(other) => Err(other),
        }
    }

    fn write(&self, record: &Record, content: Option<&Vec<u8>>) -> Result<(), ShelfError> {
        match content {
            Some(content) => self.disk.save(record, content),
            None => self.disk.remove(record),
        }
    }

    /// The disk works: it gets what it has missed.
    fn settle(&self, waiting: &mut Waiting) {
        let Waiting { records, unread } = waiting;
        let before = records.len();
        records.retain(|record, content| {
            unread.contains(record) || self.write(record, content.as_ref().map(|c| &**c)).is_err()
        });
        if records.len() < before {
            tracing::info!(level = "notice", "the state path takes what was kept in memory");
        }
    }
}

impl Shelf for Enduring {
    fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = waiting.records.get(record) {
            return Ok(content.clone());
        }
        match self.disk.load(record) {
            Err(ShelfError::Io { path, source }) => {
                tracing::error!("{path}: {source}; it is left as it is, and a new one is kept in memory");
                waiting.unread.insert(record.clone());
                Ok(None)
            }
            other => other,
        }
    }

    fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
        self.change(record, Some(content))
    }

    fn remove(&self, record: &Record) -> Result<(), ShelfError> {
        self.change(record, None)
    }

    fn set_aside(&self, record: &Record) -> Result<(), ShelfError> {
        self.disk.set_aside(record)
    }

    fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
        self.disk.bundle(id)
    }

    fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError> {
        self.disk.replace(bundle, expected)?;
        self.settle(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    fn bundles(&self, id: &CertId) -> Result<Vec<Bundle>, ShelfError> {
        self.disk.bundles(id)
    }

    fn ids(&self) -> Result<Vec<CertId>, ShelfError> {
        self.disk.ids()
    }

    fn archive(&self, id: &CertId) -> Result<(), ShelfError> {
        self.disk.archive(id)
    }

    fn disown(&self, id: &CertId, epoch: u64) -> Result<(), ShelfError> {
        self.disk.disown(id, epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// Memory that refuses what it is told to refuse.
    #[derive(Default)]
    struct Moody {
        memory: Memory,
        full: AtomicBool,
        unreadable: AtomicBool,
        in_use: AtomicBool,
    }

    impl Moody {
        fn refuses(&self, mood: &AtomicBool) -> Result<(), ShelfError> {
            if self.in_use.load(Relaxed) {
                return Err(ShelfError::InUse { path: "state".into() });
            }
            let source = io::ErrorKind::StorageFull.into();
            if mood.load(Relaxed) { Err(ShelfError::Io { path: "state".into(), source }) } else { Ok(()) }
        }
    }

    impl Shelf for Moody {
        fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
            self.refuses(&self.unreadable).and_then(|()| self.memory.load(record))
        }
        fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
            self.refuses(&self.full).and_then(|()| self.memory.save(record, content))
        }
        fn remove(&self, record: &Record) -> Result<(), ShelfError> {
            self.refuses(&self.full).and_then(|()| self.memory.remove(record))
        }
        fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
            self.memory.bundle(id)
        }
        fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError> {
            self.refuses(&self.full).and_then(|()| self.memory.replace(bundle, expected))
        }
        fn disown(&self, id: &CertId, epoch: u64) -> Result<(), ShelfError> {
            self.refuses(&self.full).and_then(|()| self.memory.disown(id, epoch))
        }
    }

    fn text(shelf: &dyn Shelf, record: &Record) -> Option<String> {
        shelf.load(record).unwrap().map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    #[test]
    fn what_a_full_disk_refuses_is_remembered_and_written_when_there_is_room() {
        let disk = Arc::new(Moody::default());
        let shelf = Enduring::new(disk.clone());
        let (one, two) = (Record::SharedAccountKey, Record::Account("a".into()));
        shelf.save(&one, b"old").unwrap();
        disk.full.store(true, Relaxed);
        shelf.save(&two, b"new").unwrap();
        shelf.remove(&one).unwrap();
        assert_eq!((text(&shelf, &one), text(&shelf, &two).as_deref()), (None, Some("new")));
        assert_eq!((text(&*disk, &one).as_deref(), text(&*disk, &two)), (Some("old"), None));
        disk.full.store(false, Relaxed);
        shelf.save(&Record::Authority("x".into()), b"x").unwrap();
        assert_eq!((text(&*disk, &one), text(&*disk, &two).as_deref()), (None, Some("new")));
    }

    #[test]
    fn what_cannot_be_read_is_never_overwritten() {
        let disk = Arc::new(Moody::default());
        let shelf = Enduring::new(disk.clone());
        disk.save(&Record::SharedAccountKey, b"worth much").unwrap();
        disk.unreadable.store(true, Relaxed);
        assert_eq!(text(&shelf, &Record::SharedAccountKey), None);
        shelf.save(&Record::SharedAccountKey, b"for now").unwrap();
        assert_eq!(text(&shelf, &Record::SharedAccountKey).as_deref(), Some("for now"));
        disk.unreadable.store(false, Relaxed);
        shelf.save(&Record::Account("a".into()), b"x").unwrap();
        assert_eq!(text(&*disk, &Record::SharedAccountKey).as_deref(), Some("worth much"));
    }

    #[test]
    fn another_process_in_charge_is_not_overruled() {
        let disk = Arc::new(Moody::default());
        let shelf = Enduring::new(disk.clone());
        disk.in_use.store(true, Relaxed);
        assert!(matches!(shelf.save(&Record::SharedAccountKey, b"x"), Err(ShelfError::InUse { .. })));
        disk.in_use.store(false, Relaxed);
        assert_eq!(text(&shelf, &Record::SharedAccountKey), None);
    }
}
