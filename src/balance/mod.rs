//! Which server of an upstream is asked next, and what does the outcome of a request say about its health?
//! nginx's algorithms, number for number: smooth weighted round robin, `least_conn`, `ip_hash`, `hash [consistent]`,
//! `random [two]`; `backup`, `max_fails`, `fail_timeout`, `max_conns`. `now` and dice are arguments; no clock, no socket,
//! no lock. Workers share what they count through atomics: a race can bend the order of two requests, never the sums.

mod choose;
mod group;
mod hash;
mod health;

pub use choose::{Choice, Key, Picked};
pub use group::{Group, Member};
pub use health::{Health, Moment, Outcome};
