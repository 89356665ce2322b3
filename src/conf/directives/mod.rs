//! What does each directive mean? One file for each feature: how its directives are read, and how a level inherits them.
//! Here: what a level of `http` has said ([`Said`]), and the chain of levels from a location up to `http` ([`Chain`]).

pub mod access;
pub mod acme;
pub mod acme_dns;
pub mod acme_limits;
pub mod checks;
pub mod cipher;
pub mod client;
pub mod error_page;
pub mod etcd;
pub mod export;
pub mod files;
pub mod fleet;
pub mod geo;
mod gzip;
pub mod headers;
pub mod http;
pub mod limit;
pub mod listen;
pub mod location;
pub mod log;
pub mod map;
pub mod names;
pub mod on_demand;
pub mod process;
pub mod proxy;
pub mod proxy_pass;
pub mod realip;
pub mod referer;
pub mod resolver;
pub mod rewrite;
pub mod server;
pub mod ssl;
pub mod stream;
pub mod unheeded;
pub mod upstream;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::location::{ErrorPage, Settings};
use crate::plan::template::Template;
use crate::plan::tls::{FileCertificate, TlsSettings};

use super::complaint::Complaint;
use super::read::Reader;
use super::settings::Level;
use super::table::{Home, Row};
use super::tree::Directive;

/// What the blocks of `http` share while they are read.
#[derive(Debug, Default)]
pub struct Shared {
    /// Addresses that servers listen on.
    pub ports: listen::Ports,
    /// `log_format`s.
    pub formats: log::Formats,
    /// `upstream`s, and those that `proxy_pass` made.
    pub upstreams: upstream::Registry,
    /// A `source_charset` other than the default was read, and a `charset` that is not UTF-8.
    pub charsets: (bool, bool),
    /// Sizes of `ssl_session_cache shared:` zones.
    pub session_zones: HashMap<Box<str>, u64>,
    /// Pairs of certificate files that were named so far; each is checked once.
    pub pairs: HashSet<Arc<FileCertificate>>,
    /// TLS settings of servers, each once: thousands of servers say the same.
    pub tls: HashSet<Arc<TlsSettings>>,
    /// Files with trusted certificates that were checked already.
    pub checked_trust: HashSet<PathBuf>,
    /// Zones of `limit_req` and `limit_conn`.
    pub limit_zones: limit::Zones,
    /// A `valid_referers` wants the names of its server.
    pub referers_want_names: bool,
    /// `acme_issuer`s.
    pub issuers: Vec<crate::plan::acme::Issuer>,
    /// `rescue`.
    pub rescue: Option<crate::plan::rescue::Rescue>,
    /// `acme_on_demand`.
    pub on_demand: Option<on_demand::Draft>,
    /// `public_address` and `skip_checks`.
    pub checks: crate::plan::checks::Checks,
    /// `acme_dns_provider`s and `acme_resolver`.
    pub dns: acme_dns::Draft,
    /// Issuers without a `state_path` of their own, by index.
    pub default_state: Vec<usize>,
}

/// Directives about certificates that may stand in `http` and outside of it.
pub const OF_CERTIFICATES: [&str; 9] = [
    "acme_issuer",
    "acme_dns_provider",
    "public_address",
    "fronted_by",
    "skip_checks",
    "acme_resolver",
    "acme_on_demand",
    "rescue",
    "acme_shared_zone",
];

/// Takes one of [`OF_CERTIFICATES`].
///
/// # Errors
/// What is wrong with it.
pub fn of_certificates(reader: &mut Reader<'_>, name: &str, directive: &Directive) -> Result<(), Complaint> {
    match name {
        "acme_issuer" => acme::issuer(reader, directive),
        "acme_dns_provider" => acme_dns::provider(reader, directive),
        "public_address" => checks::public_address(reader, directive),
        "fronted_by" => checks::fronted_by(reader, directive),
        "skip_checks" => checks::skip(reader, directive),
        "acme_resolver" => acme_dns::resolver(reader, directive),
        "acme_on_demand" => on_demand::take(reader, directive),
        "rescue" => acme_limits::rescue(reader, directive),
        // nginx's module needs it; there is nothing to share here.
        _ => Ok(()),
    }
}

/// Where in `http` a level stands.
#[derive(Clone, Debug)]
pub struct Spot {
    /// The kind of block.
    pub home: Home,
    /// The name of the location around (or of the location itself); empty outside of locations.
    pub location: Box<str>,
    /// The location has a regular expression.
    pub regex: bool,
    /// The location is `@named`.
    pub named: bool,
}

impl Spot {
    /// A block outside of locations.
    pub fn outside(home: Home) -> Spot {
        Spot { home, location: "".into(), regex: false, named: false }
    }

    /// `if` or `limit_except`.
    pub fn is_nameless(&self) -> bool {
        matches!(self.home, Home::IfInServer | Home::IfInLocation | Home::LimitExcept)
    }
}

/// What one level of `http` (http, server, location, if, limit_except) has said.
#[derive(Debug)]
pub struct Said {
    /// Where it stands.
    pub spot: Spot,
    /// Directives whose value the table's type explains.
    pub level: Level,
    /// root, alias, index, types…
    pub files: files::Said,
    /// allow, deny, auth_basic.
    pub access: access::Said,
    /// add_header, expires.
    pub headers: headers::Said,
    /// gzip_types, gzip_disable.
    pub gzip: gzip::Said,
    /// access_log, error_log.
    pub logs: log::Said,
    /// error_page.
    pub error_pages: Vec<ErrorPage>,
    /// keepalive_timeout: both times.
    pub keepalive: Option<(Duration, Option<Duration>)>,
    /// limit_req, limit_conn.
    pub limits: limit::Said,
    /// set_real_ip_from, real_ip_header.
    pub realip: realip::Said,
    /// valid_referers.
    pub referers: referer::Said,
    /// resolver.
    pub resolver: Option<resolver::Said>,
    /// proxy_*.
    pub proxy: proxy::Said,
}

impl Said {
    /// Nothing yet.
    pub fn at(spot: Spot) -> Said {
        Said {
            spot,
            level: Level::default(),
            files: files::Said::default(),
            access: access::Said::default(),
            headers: headers::Said::default(),
            gzip: gzip::Said::default(),
            logs: log::Said::default(),
            error_pages: Vec::new(),
            keepalive: None,
            limits: limit::Said::default(),
            realip: realip::Said::default(),
            referers: referer::Said::default(),
            resolver: None,
            proxy: proxy::Said::default(),
        }
    }

    /// Whether nothing was said that a location's settings depend on.
    pub fn is_silent(&self) -> bool {
        self.level.is_silent()
            && self.files.is_silent()
            && self.access.is_silent()
            && self.headers.is_silent()
            && self.gzip.is_silent()
            && self.logs.is_silent()
            && self.error_pages.is_empty()
            && self.keepalive.is_none()
            && self.limits.is_silent()
            && self.realip.is_silent()
            && self.referers.is_silent()
            && self.resolver.is_none()
    }

    /// Takes a directive that any level of `http` may have.
    ///
    /// # Errors
    /// nginx's words.
    pub fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        match row.name {
            "root" | "alias" | "index" | "types" | "disable_symlinks" | "charset" | "charset_types"
            | "source_charset" | "autoindex_format" => files::take(self, reader, row, directive),
            "allow" | "deny" | "auth_basic_user_file" => access::take(self, reader, row, directive),
            "add_header" | "add_trailer" | "expires" => headers::take(self, reader, directive),
            "gzip_types" | "gzip_disable" => gzip::take(self, reader, directive),
            "access_log" | "error_log" => log::take(self, reader, directive),
            "error_page" => error_page::take(self, reader, directive),
            "keepalive_timeout" => client::keepalive(self, directive),
            "limit_req" | "limit_conn" => limit::take(self, reader, row, directive),
            "set_real_ip_from" | "real_ip_header" => realip::take(self, reader, row, directive),
            "valid_referers" => referer::take(self, reader, directive),
            "resolver" => resolver::take(self, reader, directive),
            name if name.starts_with("proxy_") => proxy::take(self, reader, row, directive),
            _ => {
                unheeded::check(directive)?;
                self.generic(reader, row, directive)
            }
        }
    }

    /// Takes a directive whose value the table's type explains.
    ///
    /// # Errors
    /// nginx's words.
    pub fn generic(
        &mut self,
        reader: &mut Reader<'_>,
        row: &'static Row,
        directive: &Directive,
    ) -> Result<(), Complaint> {
        self.level.set(row, directive, &mut reader.variables, &mut reader.complaints)
    }
}

/// The levels from a location up to `http`; what is not said on one is looked for on the next.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// The innermost level.
    pub said: &'a Said,
    /// The level around it.
    pub above: Option<&'a Chain<'a>>,
}

impl<'a> Chain<'a> {
    /// The levels, innermost first.
    pub fn levels(self) -> impl Iterator<Item = &'a Said> {
        std::iter::successors(Some(self), |chain| chain.above.copied()).map(|chain| chain.said)
    }

    /// What the innermost level that has it gives.
    pub fn find<T>(self, look: impl FnMut(&'a Said) -> Option<T>) -> Option<T> {
        self.levels().find_map(look)
    }

    /// A flag, or its default.
    pub fn flag(self, name: &str, default: bool) -> bool {
        self.find(|said| said.level.flag(name)).unwrap_or(default)
    }

    /// A count or size, or its default.
    pub fn number(self, name: &str, default: u64) -> u64 {
        self.find(|said| said.level.number(name)).unwrap_or(default)
    }

    /// A size in memory, or its default.
    pub fn size(self, name: &str, default: usize) -> usize {
        self.find(|said| said.level.size(name)).unwrap_or(default)
    }

    /// A time, or its default.
    pub fn time(self, name: &str, default: Duration) -> Duration {
        self.find(|said| said.level.time(name)).unwrap_or(default)
    }

    /// The word of an enum.
    pub fn word(self, name: &str) -> Option<&'static str> {
        self.find(|said| said.level.word(name))
    }

    /// Text with variables.
    pub fn template(self, name: &str) -> Option<Template> {
        self.find(|said| said.level.template(name)).cloned()
    }

    /// A text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        self.find(|said| said.level.text(name))
    }
}

/// What the levels of a chain say together.
pub fn settings(chain: Chain<'_>, reader: &Reader<'_>) -> Settings {
    let (limit_requests, limit_connections) = limit::settle(chain, reader);
    Settings {
        limit_requests,
        limit_connections,
        client: client::settle(chain, reader),
        files: files::settle(chain, reader),
        access: access::settle(chain, reader),
        headers: headers::settle(chain),
        gzip: gzip::settle(chain),
        logs: log::settle(chain, reader),
        error_pages: error_page::settle(chain),
        recursive_error_pages: chain.flag("recursive_error_pages", false),
        absolute_redirect: chain.flag("absolute_redirect", true),
        server_name_in_redirect: chain.flag("server_name_in_redirect", false),
        port_in_redirect: chain.flag("port_in_redirect", true),
        msie_padding: chain.flag("msie_padding", true),
        realip: realip::settle(chain),
        referers: referer::settle(chain),
        resolver: resolver::settle(chain),
    }
}
