//! What is one `location`, and how are the locations of a server laid out for the search?

use super::pattern::Pattern;
use super::script::Script;
use super::template::Template;
use crate::words::Place;
use std::sync::Arc;

/// One `location`, `if` in a location, `limit_except`, or the `server` level itself. Everything inherited is merged in.
#[derive(Clone, Debug)]
pub struct Location {
    /// As written: `/a`, `@named`, the text of the regex; empty for the server level.
    pub name: Box<str>,
    /// How it is found.
    pub kind: LocationKind,
    /// Where it stands.
    pub place: Place,
    /// What answers a request that ends here.
    pub handler: Handler,
    /// Its rewrite directives.
    pub script: Script,
    /// `try_files`.
    pub try_files: Option<Box<TryFiles>>,
    /// `internal`: only for internal redirects; 404 from outside.
    pub internal: bool,
    /// `location /x/` with a proxying handler: `/x` is answered by 301 to `/x/`.
    pub auto_redirect: bool,
    /// `limit_except METHODS { … }`: for methods other than these the inner settings and handler hold.
    pub limit_except: Option<Box<LimitExcept>>,
    /// Everything that is inherited and merged.
    pub settings: Arc<Settings>,
    /// Nested locations.
    pub nested: LocationTree,
}

/// How a location is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocationKind {
    /// The server level.
    Server,
    /// `location = /a`.
    Exact,
    /// `location /a`.
    Prefix,
    /// `location ^~ /a`: no regex is tried when this is the longest prefix.
    PrefixStop,
    /// `location ~ re`, `location ~* re`; named groups (group, index into `Http::variables`).
    Regex(Box<Pattern>, Box<[(usize, usize)]>),
    /// `location @name`.
    Named,
    /// `if (…) { … }` in a location.
    If,
    /// The body of `limit_except`.
    LimitExcept,
}

/// `limit_except`.
#[derive(Clone, Debug)]
pub struct LimitExcept {
    /// Methods that stay in the location itself (GET brings HEAD with it).
    pub methods: Box<[Box<str>]>,
    /// What holds for the others.
    pub otherwise: Arc<Location>,
}

/// The locations of one level, laid out for the search (`route::find` walks it). Most levels have none and take no room.
#[derive(Clone, Debug, Default)]
pub struct LocationTree(Option<Box<Locations>>);

/// The locations of one level by kind.
#[derive(Clone, Debug)]
pub struct Locations {
    /// `=` locations sorted by URI, bytewise.
    pub exact: Vec<Arc<Location>>,
    /// Prefix locations sorted by name, bytewise.
    pub prefixes: Vec<Arc<Location>>,
    /// Regex locations in file order.
    pub patterns: Vec<Arc<Location>>,
    /// `@name` locations, with their `@`, sorted.
    pub named: Vec<Arc<Location>>,
}

static NONE: Locations = Locations { exact: Vec::new(), prefixes: Vec::new(), patterns: Vec::new(), named: Vec::new() };

impl std::ops::Deref for LocationTree {
    type Target = Locations;
    fn deref(&self) -> &Locations {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl Locations {
    /// `= URI`.
    pub fn exact(&self, uri: &[u8]) -> Option<&Arc<Location>> {
        find(&self.exact, uri)
    }

    /// `@name`.
    pub fn named(&self, name: &[u8]) -> Option<&Arc<Location>> {
        find(&self.named, name)
    }
}

fn find<'a>(sorted: &'a [Arc<Location>], name: &[u8]) -> Option<&'a Arc<Location>> {
    let at = sorted.binary_search_by(|location| location.name.as_bytes().cmp(name)).ok()?;
    sorted.get(at)
}

impl LocationTree {
    /// Lays out `locations`, given in file order.
    pub fn new(locations: Vec<Arc<Location>>) -> LocationTree {
        if locations.is_empty() {
            return LocationTree::default();
        }
        let mut tree = NONE.clone();
        for location in locations {
            match location.kind {
                LocationKind::Exact => tree.exact.push(location),
                LocationKind::Prefix | LocationKind::PrefixStop => tree.prefixes.push(location),
                LocationKind::Regex(..) => tree.patterns.push(location),
                LocationKind::Named => tree.named.push(location),
                LocationKind::Server | LocationKind::If | LocationKind::LimitExcept => {}
            }
        }
        for sorted in [&mut tree.exact, &mut tree.prefixes, &mut tree.named] {
            sorted.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        }
        for all in [&mut tree.exact, &mut tree.prefixes, &mut tree.patterns, &mut tree.named] {
            all.shrink_to_fit();
        }
        LocationTree(Some(Box::new(tree)))
    }
}

/// What answers a request.
#[derive(Clone, Debug)]
pub enum Handler {
    /// No handler of its own: index, autoindex, static files.
    Static,
    /// `proxy_pass`.
    Proxy(Arc<super::proxy::Proxy>),
    /// `stub_status`.
    StubStatus,
}

/// `try_files`.
#[derive(Clone, Debug)]
pub struct TryFiles {
    /// Tested in order below root or alias.
    pub files: Box<[TryFile]>,
    /// When none is there.
    pub last: TryLast,
}

/// One item of `try_files`.
#[derive(Clone, Debug)]
pub struct TryFile {
    /// The path to test, without the trailing `/` of a directory item.
    pub path: Template,
    /// The item ended in `/`: a directory must be there.
    pub directory: bool,
}

/// The last item of `try_files`.
#[derive(Clone, Debug)]
pub enum TryLast {
    /// Internal redirect to this URI, with arguments if it has any.
    Uri(Template),
    /// `@name`.
    Named(Box<str>),
    /// `=code`.
    Status(u16),
}

/// `error_page`, one code of it.
#[derive(Clone, Debug)]
pub struct ErrorPage {
    /// The status that it replaces.
    pub status: u16,
    /// `=code`: the new status; `Some(None)`: `=`, take the target's; `None`: keep the old one.
    pub answer: Option<Option<u16>>,
    /// Where to go: a URI, a URL (302 unless `answer` says other), or `@name`.
    pub target: Template,
}

/// Settings of a location after inheritance, one part for each feature.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bodies, keep-alive, timeouts of the client.
    pub client: super::client::ClientLimits,
    /// root, alias, index, ETag, types.
    pub files: super::files::Files,
    /// allow/deny, auth_basic, satisfy.
    pub access: super::access::Access,
    /// add_header, expires, server_tokens.
    pub headers: super::headers::Headers,
    /// gzip.
    pub gzip: super::gzip::Gzip,
    /// access_log, error_log.
    pub logs: super::log::Logs,
    /// `error_page`s; the first of a status counts.
    pub error_pages: Box<[ErrorPage]>,
    /// `recursive_error_pages`. Default off.
    pub recursive_error_pages: bool,
    /// `absolute_redirect`. Default on.
    pub absolute_redirect: bool,
    /// `server_name_in_redirect`. Default off.
    pub server_name_in_redirect: bool,
    /// `port_in_redirect`. Default on.
    pub port_in_redirect: bool,
    /// `msie_padding`. Default on.
    pub msie_padding: bool,
    /// `limit_req`, if it stands.
    pub limit_requests: Option<Arc<super::limit::Limits>>,
    /// `limit_conn`, if it stands.
    pub limit_connections: Option<Arc<super::limit::Limits>>,
    /// `set_real_ip_from`, if it stands.
    pub realip: Option<Arc<super::realip::RealIp>>,
    /// `valid_referers`, if it stands.
    pub referers: Option<Arc<super::referer::Referers>>,
    /// `resolver`, if one is set.
    pub resolver: Option<Arc<super::resolver::Resolver>>,
}
