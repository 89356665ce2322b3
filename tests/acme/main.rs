//! Do keeper, stage, orders and state path bring a certificate, whatever the authority does? Against real Pebble, and
//! against an authority of our own that misbehaves on demand. No semper process: the library's own parts, wired here.
#![allow(clippy::unwrap_used)]

mod accounts;
mod authority;
#[path = "../bed/mod.rs"]
mod bed;
mod house;
mod misbehaving;
mod pebble;
