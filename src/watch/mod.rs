//! What changed behind our back? The file watcher and (later) probes. Reports, never decides.

mod events;
pub mod files;
mod links;
pub mod preflight;
