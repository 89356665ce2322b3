//! Where are keys, certificates, accounts and journals kept? In a directory ([`Directory`], the default), or nowhere
//! ([`Memory`], `state_path off`). Both keep the promises of [`Shelf`](crate::cert::journal::Shelf); neither decides.
//! [`Enduring`] goes on where the directory cannot.

pub mod archive;
pub mod atomic;
pub mod directory;
pub mod enduring;
pub mod etcd;
pub mod lineage;
pub mod memory;
pub mod seal;

pub use directory::Directory;
pub use enduring::Enduring;
pub use memory::Memory;
