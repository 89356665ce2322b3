//! What changed behind our back? The file watcher, and probes of what is served. Reports, never decides.

mod anyone;
mod events;
pub mod files;
mod links;
pub mod preflight;
pub mod probe;
pub mod renewers;
pub mod revocations;
