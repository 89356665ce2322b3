//! How is a request handed to an upstream? (ngx_http_proxy_module, merged for one location.)

use super::template::Template;
use super::tls::UpstreamTls;
use super::upstream::Upstream;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `proxy_pass` with all that goes with it.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where to.
    pub to: ProxyTo,
    /// `https://`.
    pub tls: Option<Arc<UpstreamTls>>,
    /// The URI part of `proxy_pass`; `None`: the original URI goes through.
    pub uri: Option<Template>,
    /// Bytes of the location's prefix that the URI part replaces.
    pub replaced: usize,
    /// `$proxy_host`: host and port as in `proxy_pass`, without the default port.
    pub host: Bytes,
    /// `$proxy_port`.
    pub port: Bytes,
    /// `proxy_method`.
    pub method: Option<Template>,
    /// `proxy_http_version` is 1.1. Default 1.0.
    pub http11: bool,
    /// Header fields for the upstream, defaults included (`Host $proxy_host`, `Connection close`), in order;
    /// a field with an empty value is not sent, and the client's own of that name neither.
    pub set_headers: Box<[(Box<str>, Template)]>,
    /// `proxy_pass_request_headers`. Default on.
    pub pass_headers: bool,
    /// `proxy_pass_request_body`. Default on.
    pub pass_body: bool,
    /// `proxy_set_body`.
    pub set_body: Option<Template>,
    /// Lower-case names of upstream fields that the client does not see (defaults and `proxy_hide_header`, less
    /// `proxy_pass_header`).
    pub hide: Box<[Box<str>]>,
    /// `proxy_ignore_headers`, lower case.
    pub ignore: Box<[Box<str>]>,
    /// `proxy_redirect`, in order.
    pub redirects: Box<[Redirect]>,
    /// `proxy_cookie_domain`, in order.
    pub cookie_domains: Box<[CookieRewrite]>,
    /// `proxy_cookie_path`, in order.
    pub cookie_paths: Box<[CookieRewrite]>,
    /// `proxy_cookie_flags`, in order; the first whose cookie it is counts.
    pub cookie_flags: Box<[CookieFlags]>,
    /// `proxy_connect_timeout`. Default 60 s.
    pub connect_timeout: Duration,
    /// `proxy_send_timeout`: gap between two writes. Default 60 s.
    pub send_timeout: Duration,
    /// `proxy_read_timeout`: gap between two reads, not the whole answer. Default 60 s.
    pub read_timeout: Duration,
    /// `proxy_buffering`. Default on.
    pub buffering: bool,
    /// `proxy_request_buffering`. Default on.
    pub request_buffering: bool,
    /// `proxy_buffer_size`, bytes: longest head of an answer. Default 4k (one page).
    pub buffer_size: usize,
    /// `proxy_buffers`: number and bytes. Default 8 of one page.
    pub buffers: (usize, usize),
    /// `proxy_max_temp_file_size`, bytes; 0 turns temp files off. Default 1024m.
    pub max_temp_file: u64,
    /// `proxy_temp_path`.
    pub temp_path: PathBuf,
    /// `proxy_limit_rate`, bytes a second.
    pub limit_rate: Template,
    /// `proxy_next_upstream`.
    pub next: NextUpstream,
    /// `proxy_intercept_errors`. Default off.
    pub intercept_errors: bool,
    /// `proxy_ignore_client_abort`. Default off.
    pub ignore_client_abort: bool,
    /// `proxy_pass_trailers`. Default off.
    pub pass_trailers: bool,
    /// `proxy_force_ranges`. Default off.
    pub force_ranges: bool,
    /// `proxy_socket_keepalive`. Default off.
    pub socket_keepalive: bool,
    /// `proxy_bind`: local address.
    pub bind: Option<Template>,
}

/// Fields of an upstream's answer that its client does not see unless `proxy_pass_header` names them.
pub const HIDDEN: [&str; 8] = [
    "date",
    "server",
    "x-pad",
    "x-accel-expires",
    "x-accel-redirect",
    "x-accel-limit-rate",
    "x-accel-buffering",
    "x-accel-charset",
];

impl Proxy {
    /// `proxy_pass` with nothing else said, save that no header field is set and temporary files have no place yet.
    pub fn to(to: ProxyTo, host: impl Into<Bytes>) -> Proxy {
        let (minute, page) = (Duration::from_secs(60), 4096);
        Proxy {
            to,
            tls: None,
            uri: None,
            replaced: 0,
            host: host.into(),
            port: "80".into(),
            method: None,
            http11: false,
            set_headers: Box::default(),
            pass_headers: true,
            pass_body: true,
            set_body: None,
            hide: HIDDEN.map(Into::into).into(),
            ignore: Box::default(),
            redirects: Box::default(),
            cookie_domains: Box::default(),
            cookie_paths: Box::default(),
            cookie_flags: Box::default(),
            connect_timeout: minute,
            send_timeout: minute,
            read_timeout: minute,
            buffering: true,
            request_buffering: true,
            buffer_size: page,
            buffers: (8, page),
            max_temp_file: 1 << 30,
            temp_path: PathBuf::new(),
            limit_rate: Template::default(),
            next: NextUpstream::default(),
            intercept_errors: false,
            ignore_client_abort: false,
            pass_trailers: false,
            force_ranges: false,
            socket_keepalive: false,
            bind: None,
        }
    }
}

/// Where `proxy_pass` points.
#[derive(Clone, Debug)]
pub enum ProxyTo {
    /// An `upstream` block, or addresses found at load time (then `Upstream::implicit`).
    Upstream(Arc<Upstream>),
    /// With variables: the whole URL is evaluated for each request.
    Url(Template),
}

/// `proxy_redirect`.
#[derive(Clone, Debug)]
pub enum Redirect {
    /// A prefix is replaced (`default` becomes one of these).
    Prefix {
        /// What `Location` or `Refresh` must begin with.
        from: Template,
        /// What comes in its place.
        to: Template,
    },
    /// `~re` or `~*re`.
    Pattern {
        /// What is looked for.
        pattern: super::pattern::Pattern,
        /// What the whole value becomes.
        to: Template,
    },
}

/// `proxy_cookie_domain`, `proxy_cookie_path`.
#[derive(Clone, Debug)]
pub enum CookieRewrite {
    /// A literal text (domain: whole and caseless, leading dot ignored; path: prefix).
    Literal {
        /// What is looked for.
        from: Template,
        /// What comes in its place.
        to: Template,
    },
    /// `~re`.
    Pattern {
        /// What is looked for.
        pattern: super::pattern::Pattern,
        /// What it becomes.
        to: Template,
    },
}

/// `proxy_cookie_flags`, one line of it.
#[derive(Clone, Debug)]
pub struct CookieFlags {
    /// Which cookies are meant.
    pub cookie: CookieName,
    /// What is done to them, in order: `secure`, `nosecure`, `httponly`, `nohttponly`, `samesite=strict|lax|none`,
    /// `nosamesite`; what a variable gives besides is logged and left out.
    pub flags: Box<[Template]>,
}

/// Which cookies `proxy_cookie_flags` means; caseless either way.
#[derive(Clone, Debug)]
pub enum CookieName {
    /// The whole name.
    Literal(Template),
    /// `~re`.
    Pattern(super::pattern::Pattern),
}

/// `proxy_next_upstream` with `_timeout` and `_tries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextUpstream {
    /// `error`.
    pub error: bool,
    /// `timeout`.
    pub timeout: bool,
    /// `invalid_header`.
    pub invalid_header: bool,
    /// `http_500` … as status codes.
    pub statuses: Box<[u16]>,
    /// `non_idempotent`.
    pub non_idempotent: bool,
    /// `proxy_next_upstream_timeout`; zero is no limit.
    pub within: Duration,
    /// `proxy_next_upstream_tries`; 0 is no limit.
    pub tries: u32,
}

impl Default for NextUpstream {
    fn default() -> NextUpstream {
        NextUpstream {
            error: true,
            timeout: true,
            invalid_header: false,
            statuses: Box::new([]),
            non_idempotent: false,
            within: Duration::ZERO,
            tries: 0,
        }
    }
}
