//! What do `http` and (later) `stream` share on the way to a socket and back? Accept, PROXY protocol, TLS accept, dial,
//! pool, resolver, log writers. Knows no HTTP.

pub mod connection;
