//! Does semper answer as nginx does? Each test runs one configuration on a real nginx 1.28 and on semper, sends both the
//! same bytes, and compares status, headers, body, what the origin saw and the lines in the log. One file per module.
//! Masked: Date, the name and version in Server and in built-in pages, ports and folders of the two servers.
#![allow(clippy::unwrap_used)]

#[path = "../bed/mod.rs"]
mod bed;
mod compare;

mod access;
mod browsers;
mod conditions;
mod encoding;
mod errors;
mod headers;
mod hostile;
mod limits;
mod locations;
mod logging;
mod maps;
mod messages;
mod passing;
mod proxy;
mod rewrite;
mod statics;
mod upstreams;
