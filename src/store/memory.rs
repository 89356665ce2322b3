//! How is state kept where nothing may be written (`state_path off`)? In memory, until the process ends; every start
//! then orders anew, so this is for tests and for authorities without limits.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::cert::bundle::Bundle;
use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::plan::certificate::CertId;

/// State that ends with the process.
#[derive(Default)]
pub struct Memory {
    records: Mutex<HashMap<Record, Zeroizing<Vec<u8>>>>,
    bundles: Mutex<HashMap<CertId, Bundle>>,
}

impl Shelf for Memory {
    fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
        Ok(lock(&self.records).get(record).cloned())
    }

    fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
        lock(&self.records).insert(record.clone(), Zeroizing::new(content.to_vec()));
        Ok(())
    }

    fn remove(&self, record: &Record) -> Result<(), ShelfError> {
        lock(&self.records).remove(record);
        Ok(())
    }

    fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
        Ok(lock(&self.bundles).get(id).cloned())
    }

    fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError> {
        let mut bundles = lock(&self.bundles);
        let found = bundles.get(&bundle.id).map(|bundle| bundle.epoch);
        if found != expected {
            return Err(ShelfError::Conflict { expected, found });
        }
        bundles.insert(bundle.id.clone(), bundle.clone());
        Ok(())
    }

    fn disown(&self, _id: &CertId, _epoch: u64) -> Result<(), ShelfError> {
        // One generation is kept, and it is the newest.
        Ok(())
    }
}

// Every change is one call of the map, so a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
