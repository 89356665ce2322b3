//! What shall happen to a certificate, and when? Decisions only: no I/O, no clock, no dice. `node` asks and `acme`,
//! `store` and `tls` act.

pub mod advice;
pub mod ari;
mod attempt;
pub mod bundle;
pub mod caa;
pub mod changed;
pub mod choose;
pub mod concern;
pub(crate) mod der;
pub mod dns01;
pub mod domain;
pub mod failure;
pub mod gate;
pub mod inspect;
pub mod journal;
pub mod key_file;
pub mod ledger;
pub mod left;
pub mod notice;
pub mod overdue;
pub mod pem;
pub mod policy;
pub mod preflight;
pub mod quorum;
pub mod reach;
pub mod rehearse;
pub mod rescue;
pub mod schedule;
pub mod scope;
pub mod served;
mod set_back;
mod split;
pub mod stage;
pub mod trouble;
pub mod ways;
pub mod wishes;
