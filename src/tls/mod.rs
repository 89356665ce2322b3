//! How is TLS spoken? rustls configurations, certificates by name from snapshots that are swapped, session tickets.
//! Decides nothing about certificates: `cert` does. Implements the ports of `net`.

pub mod build;
pub mod certificates;
mod client_auth;
pub mod load;
pub mod on_demand;
pub mod sessions;
mod suites;
pub mod terms;
pub mod tickets;
mod trust;
mod trust_files;
pub mod upstream;
