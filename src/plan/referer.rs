//! Which referers are valid? (`valid_referers`, ngx_http_referer_module.)

use super::pattern::Pattern;
use std::collections::HashMap;

/// `valid_referers` of one level.
#[derive(Clone, Debug, Default)]
pub struct Referers {
    /// `none`: requests without a `Referer`.
    pub none: bool,
    /// `blocked`: a `Referer` that is no `http://` or `https://` URL.
    pub blocked: bool,
    /// Names and wildcards.
    pub names: RefererNames,
    /// Regular expressions on what stands behind the scheme.
    pub patterns: Box<[Pattern]>,
    /// `server_names`: regular expressions of the server, on the host alone.
    pub server_patterns: Box<[Pattern]>,
}

/// How a path must begin behind a valid name; empty: any.
pub type Prefix = Box<[u8]>;

/// Names and wildcards with the prefixes of their paths, lower case.
#[derive(Clone, Debug, Default)]
pub struct RefererNames {
    /// Whole names.
    pub exact: HashMap<Box<[u8]>, Prefix>,
    /// What stands behind `*.`
    pub suffixes: HashMap<Box<[u8]>, Prefix>,
    /// What stands before `.*`
    pub prefixes: HashMap<Box<[u8]>, Prefix>,
}

impl Referers {
    /// Whether nothing is named: then every referer is valid.
    pub fn is_empty(&self) -> bool {
        let names = &self.names;
        names.exact.is_empty()
            && names.suffixes.is_empty()
            && names.prefixes.is_empty()
            && self.patterns.is_empty()
            && self.server_patterns.is_empty()
    }
}
