//! What does a `map` say? Which value a variable takes by the value of another text (ngx_http_map_module).

use super::pattern::Pattern;
use super::template::Template;
use std::collections::HashMap;

/// One `map` block.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The text that is looked up.
    pub source: Template,
    /// Lower-cased source text → value.
    pub exact: HashMap<Box<[u8]>, Template>,
    /// With `hostnames`: `*.example.com` (suffix kept as `.example.com`), longest first.
    pub suffixes: Box<[(Box<[u8]>, Template)]>,
    /// With `hostnames`: `example.*` (prefix kept as `example.`), longest first.
    pub prefixes: Box<[(Box<[u8]>, Template)]>,
    /// In file order: pattern, named groups (group, index into `Http::variables`), value.
    pub patterns: Box<[MapPattern]>,
    /// When nothing matches; empty if not given.
    pub default: Template,
    /// `hostnames`: a trailing dot of the source is ignored too.
    pub hostnames: bool,
    /// `volatile`: the value is not kept for the request.
    pub volatile: bool,
}

/// A regular-expression line of a `map`.
#[derive(Clone, Debug)]
pub struct MapPattern {
    /// What the source is compared with.
    pub pattern: Pattern,
    /// Named groups: (group, index into `Http::variables`).
    pub names: Box<[(usize, usize)]>,
    /// The value; `$1`… are captures of this pattern.
    pub value: Template,
}
