//! When are answers compressed? (ngx_http_gzip_module.)

/// `gzip*` of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gzip {
    /// `gzip`. Default off.
    pub on: bool,
    /// `gzip_comp_level`, 1 to 9. Default 1.
    pub level: u32,
    /// `gzip_min_length`, bytes, compared with Content-Length. Default 20.
    pub min_length: u64,
    /// `gzip_types`, lower case; `text/html` always counts, `*` is any. Default `text/html`.
    pub types: Box<[Box<str>]>,
    /// `gzip_http_version` is 1.1 (default); else 1.0 clients get it too.
    pub http11_only: bool,
    /// `gzip_vary`. Default off.
    pub vary: bool,
    /// `gzip_proxied`. Default off.
    pub proxied: GzipProxied,
    /// `gzip_disable`: patterns against User-Agent.
    pub disable: Box<[super::pattern::Pattern]>,
}

impl Default for Gzip {
    fn default() -> Gzip {
        Gzip {
            on: false,
            level: 1,
            min_length: 20,
            types: Box::new(["text/html".into()]),
            http11_only: true,
            vary: false,
            proxied: GzipProxied::default(),
            disable: Box::new([]),
        }
    }
}

/// `gzip_proxied`: which answers to requests with a `Via` header are compressed; all false is `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GzipProxied {
    /// `expired`.
    pub expired: bool,
    /// `no-cache`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `private`.
    pub private: bool,
    /// `no_last_modified`.
    pub no_last_modified: bool,
    /// `no_etag`.
    pub no_etag: bool,
    /// `auth`.
    pub auth: bool,
    /// `any`.
    pub any: bool,
}
