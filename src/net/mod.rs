//! What do `http` and (later) `stream` share on the way to a socket and back? Accept, PROXY protocol, TLS accept, dial,
//! pool, resolver, log writers. Knows no HTTP.

pub mod accept;
pub mod connection;
pub mod deadline;
pub mod descriptor;
pub mod dial;
pub mod dns;
pub mod files;
pub mod handshake;
pub mod listen;
pub mod log;
pub mod offers;
pub mod opener;
pub mod own;
pub mod pool;
pub mod proof;
pub mod proxy_protocol;
pub mod question;
pub mod reresolve;
pub mod resolver;
pub mod stream;
pub mod terms;
