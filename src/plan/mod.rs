//! What is to be run? Frozen words: no file, socket or clock is touched here, and nothing changes after it is built.
//! `conf` builds a [`Plan`] from nginx.conf, the quick start builds one directly; everything else only reads it.
//! What changes while serving (health, pools, certificates, zones) lives elsewhere, keyed by the identities named here.

pub mod access;
pub mod acme;
pub mod certificate;
pub mod checks;
pub mod client;
pub mod dns;
pub mod etcd;
pub mod export;
pub mod files;
pub mod fleet;
pub mod geo;
pub mod gzip;
pub mod headers;
pub mod limit;
pub mod limits;
pub mod listener;
pub mod location;
pub mod log;
pub mod map;
pub mod on_demand;
pub mod pattern;
pub mod process;
pub mod proxy;
pub mod realip;
pub mod referer;
pub mod rescue;
pub mod resolver;
pub mod script;
pub mod server;
pub mod template;
pub mod tls;
pub mod upstream;

use std::sync::Arc;

/// Everything that is to be run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The main context.
    pub process: process::Process,
    /// The `http` block; `None` if there is none.
    pub http: Option<Http>,
    /// `acme_issuer`s.
    pub issuers: Box<[acme::Issuer]>,
    /// Certificates that are obtained; files stand in their servers.
    pub certificates: Box<[certificate::CertSpec]>,
    /// `rescue`: who takes over certificates of files that nobody renews.
    pub rescue: Option<rescue::Rescue>,
    /// `acme_on_demand`: certificates for names that stand nowhere here.
    pub on_demand: Option<Arc<on_demand::OnDemand>>,
    /// What is checked before a validation is spent.
    pub checks: checks::Checks,
    /// `export`s: who else gets them.
    pub exports: Box<[export::Export]>,
    /// `fleet`: the other nodes; `None`: this one stands alone.
    pub fleet: Option<fleet::Fleet>,
}

/// The `http` block.
#[derive(Clone, Debug, Default)]
pub struct Http {
    /// Sockets.
    pub listeners: Box<[listener::Listener]>,
    /// Servers in file order; `Server::index` is the position.
    pub servers: Box<[Arc<server::Server>]>,
    /// `upstream` blocks and implicit upstreams; a `Proxy` holds its own `Arc` of one of these.
    pub upstreams: Box<[Arc<upstream::Upstream>]>,
    /// Variables of the configuration; [`template::Var::User`] is an index into this.
    pub variables: Box<[template::UserVariable]>,
    /// What variables ask for that costs something to keep.
    pub asks: template::Asks,
}
