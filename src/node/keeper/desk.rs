//! Where do the keepers of one state path write? On one shelf, in one ledger, and to whoever follows their changes.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cert::journal::Shelf;
use crate::node::books::{Books, Trust};
use crate::plan::certificate::CertId;

/// Where the keepers of one state path write.
#[derive(Clone)]
pub struct Desk {
    /// Journals and bundles.
    pub shelf: Arc<dyn Shelf>,
    /// The ledger.
    pub books: Arc<Books>,
    /// Who hears of changes that others must follow.
    pub(super) report: Option<mpsc::UnboundedSender<CertId>>,
}

impl Desk {
    /// A desk over a shelf.
    pub fn over(shelf: Arc<dyn Shelf>) -> Desk {
        Desk { books: Arc::new(Books::open(shelf.clone(), Trust::Full)), shelf, report: None }
    }

    /// A desk over a shelf that stands in for one that cannot be used.
    pub fn in_need(shelf: Arc<dyn Shelf>, trust: Trust) -> Desk {
        Desk { books: Arc::new(Books::open(shelf.clone(), trust)), shelf, report: None }
    }

    /// The same desk, from which changes are reported.
    pub fn reporting(self, report: &mpsc::UnboundedSender<CertId>) -> Desk {
        Desk { report: Some(report.clone()), ..self }
    }
}
