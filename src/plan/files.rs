//! Where do static answers come from, and with which type? (root, alias, index, autoindex, types, ETag.)

use super::template::Template;
use std::collections::HashMap;
use std::sync::Arc;

/// Static files of a location.
#[derive(Clone, Debug)]
pub struct Files {
    /// `root` (the whole URI is appended) or `alias` (the matched prefix is replaced). Made absolute against the prefix.
    pub root: Template,
    /// `alias` rather than `root`.
    pub alias: bool,
    /// With `alias`: bytes of the URI that it replaces, the length of the location where it was said; `usize::MAX`
    /// (the whole URI) where that has a regular expression.
    pub alias_replaces: usize,
    /// `index`. Default `index.html`. An item beginning with `/` is an internal redirect.
    pub index: Box<[Template]>,
    /// `autoindex`. Default off.
    pub autoindex: bool,
    /// `autoindex_exact_size`. Default on.
    pub autoindex_exact_size: bool,
    /// `autoindex_localtime`. Default off.
    pub autoindex_localtime: bool,
    /// `etag`. Default on.
    pub etag: bool,
    /// `if_modified_since`. Default exact.
    pub if_modified_since: IfModifiedSince,
    /// `max_ranges`; `None` is no limit, 0 turns ranges off.
    pub max_ranges: Option<usize>,
    /// `types`: extension in lower case → media type.
    pub types: Arc<HashMap<Box<str>, Box<str>>>,
    /// `default_type`. Default `text/plain`.
    pub default_type: Box<str>,
    /// `log_not_found`. Default on.
    pub log_not_found: bool,
    /// `disable_symlinks`. Default off.
    pub disable_symlinks: DisableSymlinks,
    /// `charset`: appended to Content-Type of `charset_types`; `None` is off.
    pub charset: Option<Template>,
    /// `charset_types`, lower case; `*` is any.
    pub charset_types: Box<[Box<str>]>,
}

impl Default for Files {
    fn default() -> Files {
        Files {
            root: Template::literal("html"),
            alias: false,
            alias_replaces: 0,
            index: Box::new([Template::literal("index.html")]),
            autoindex: false,
            autoindex_exact_size: true,
            autoindex_localtime: false,
            etag: true,
            if_modified_since: IfModifiedSince::Exact,
            max_ranges: None,
            types: Arc::default(),
            default_type: "text/plain".into(),
            log_not_found: true,
            disable_symlinks: DisableSymlinks::Off,
            charset: None,
            charset_types: Box::new([
                "text/html".into(),
                "text/xml".into(),
                "text/plain".into(),
                "text/vnd.wap.wml".into(),
                "application/javascript".into(),
                "application/rss+xml".into(),
            ]),
        }
    }
}

/// `if_modified_since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfModifiedSince {
    /// Ignore the header.
    Off,
    /// Only the very same moment is "not modified".
    Exact,
    /// Not modified if the file is not newer.
    Before,
}

/// `disable_symlinks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisableSymlinks {
    /// Follow them.
    Off,
    /// Refuse any (403), below `from` if given.
    On(Option<Template>),
    /// Refuse those whose owner differs from the target's.
    IfNotOwner(Option<Template>),
}
