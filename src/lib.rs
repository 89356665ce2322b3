//! The map of the house. semper stands where nginx stands: it reads `nginx.conf`, terminates TLS, proxies and serves,
//! and looks after its certificates by itself.
//!
//! Rooms, from the top floor down; a room may import only rooms below it (`tests/tidy.rs` keeps this):
//!
//! | floor | rooms |
//! |---|---|
//! | wiring | `cli`, `node` |
//! | hands | `http`, `tls`, `acme`, `peer`, `store`, `watch` (hands never import each other) |
//! | shared hands | `net`, `zone` |
//! | decide (no I/O, no clock, no dice) | `h1`, `cert`, `fleet`, `route`, `balance`, `conf` |
//! | words | `plan`, `words`, `clock` |

pub mod acme;
pub mod balance;
pub mod cert;
pub mod cli;
pub mod clock;
pub mod conf;
pub mod fleet;
pub mod h1;
pub mod http;
pub mod net;
pub mod node;
pub mod peer;
pub mod plan;
pub mod route;
pub mod store;
pub mod tls;
pub mod watch;
pub mod words;
pub mod zone;
