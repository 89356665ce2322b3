//! What is one `server` block?

use super::location::{Location, LocationTree};
use super::tls::ServerTls;
use crate::words::Place;
use std::sync::Arc;

/// One `server` block of `http`. Its identity across reloads is its first name with its listen addresses.
#[derive(Clone, Debug)]
pub struct Server {
    /// Position in the configuration; index into `Http::servers`.
    pub index: usize,
    /// Where it stands.
    pub place: Place,
    /// `$server_name`: the first name; empty if none.
    pub name: Box<str>,
    /// Every name as written (`*.a`, `.a`, `~re` included), for status and challenge answers.
    pub names: Box<[Box<str>]>,
    /// `ssl_*` settings; present when any address of the server is `ssl`.
    pub tls: Option<Arc<ServerTls>>,
    /// `http2 on` (or the deprecated parameter of `listen`).
    pub http2: bool,
    /// Settings of the HTTP/2 connection; taken from the address's default server.
    pub http2_settings: super::client::Http2,
    /// The server's own level as a location: settings before a location is found, and its rewrite script.
    pub root: Arc<Location>,
    /// Its locations.
    pub locations: LocationTree,
    /// The head's limits; taken from the address's default server until the host is known.
    pub head: super::client::HeadLimits,
}

impl Server {
    /// A server with default settings that answers nothing yet: where the quick start and tests begin.
    pub fn bare(index: usize, name: &str, tls: Option<Arc<ServerTls>>) -> Server {
        let root = Location {
            name: Box::default(),
            kind: super::location::LocationKind::Server,
            place: Place::built_in(),
            handler: super::location::Handler::Static,
            script: Default::default(),
            try_files: None,
            internal: false,
            auto_redirect: false,
            limit_except: None,
            settings: Arc::default(),
            nested: LocationTree::default(),
        };
        Server {
            index,
            place: Place::built_in(),
            name: name.into(),
            names: Box::new([name.into()]),
            tls,
            http2: false,
            http2_settings: Default::default(),
            root: Arc::new(root),
            locations: LocationTree::default(),
            head: Default::default(),
        }
    }
}
