//! Which issuer takes over certificates of files that nobody renews? `rescue ISSUER [before=TIME] [names=NAME,…]`, frozen.

use std::sync::Arc;
use std::time::Duration;

use crate::words::{Identifier, Place};

/// `rescue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// The `acme_issuer` that is asked.
    pub issuer: Arc<str>,
    /// `before=`: so long before its end a file certificate is taken over. Default a sixth of its life.
    pub before: Option<Duration>,
    /// `names=`: names that are taken over although nobody outside could know them, from certificates of any origin.
    pub names: Vec<Identifier>,
    /// Where it was said.
    pub place: Place,
}
