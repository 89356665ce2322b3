//! How do fleets beyond tens of nodes share what they know? Through etcd (version 3), as one more carrier of the claims
//! that nodes tell each other. It is a shared view and never the only copy: every node goes on from its own directory
//! when etcd is away, empty or set back.
//!
//! Spoken is etcd's own gRPC, over hyper and rustls as they are here anyway, with the dozen messages that are needed
//! (`wire.rs`). A ready client (`etcd-client`) brings tonic, axum's router and some sixty other crates, and asks for
//! `protoc` wherever this is built; etcd's JSON gateway may be switched off, knows no users by client certificate
//! and has no way to ask a watch for a sign of life.

pub mod carrier;
pub mod channel;
pub mod client;
pub mod duty;
pub mod envelope;
pub mod fault;
pub mod follower;
mod trust;
pub mod watcher;
#[allow(missing_docs)] // etcd's names; its documentation explains them.
mod wire;

pub use carrier::{Carrier, Found};
pub use client::{Client, Expected, Fence, Kept, Taken};
pub use duty::{Duties, Verdict};
pub use fault::EtcdError;
pub use follower::{Told, follow};
pub use watcher::{Change, Seen, Watcher};

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::words::SecretRef;

/// Files and secrets as they are at present, read with whatever rights that takes. `node` implements it.
pub trait Material: Send + Sync {
    /// A whole file.
    fn file(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>>;
    /// A secret, without one trailing newline.
    fn secret(&self, secret: &SecretRef) -> io::Result<Zeroizing<Vec<u8>>>;
}
