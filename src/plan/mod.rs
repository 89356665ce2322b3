//! What is to be run? Frozen words: no file, socket or clock is touched here, and nothing changes after it is built.

pub mod acme;
pub mod certificate;
