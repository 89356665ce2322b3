//! What shall happen to a certificate, and when? Decisions only: no I/O, no clock, no dice. `node` asks and `acme`,
//! `store` and `tls` act.

pub mod ari;
pub mod bundle;
pub mod inspect;
