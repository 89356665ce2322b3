//! What is an order doing at this moment? One line for each certificate, for people who wait for it. No decision reads it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::plan::certificate::CertId;

/// The orders of one issuer that run, and what each does.
#[derive(Debug, Default)]
pub struct Steps(Mutex<HashMap<CertId, String>>);

impl Steps {
    /// The order for `id` does this now.
    pub fn note(&self, id: &CertId, words: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), words.into());
    }

    /// The order for `id` has ended, well or badly.
    pub fn end(&self, id: &CertId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// What the order for `id` does, if one runs.
    pub fn of(&self, id: &CertId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

/// Ends the steps of an order when dropped, also when the order is cut off.
pub struct Walk<'a> {
    /// Where they are noted.
    pub steps: &'a Steps,
    /// Whose they are.
    pub id: &'a CertId,
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        self.steps.end(self.id);
    }
}
