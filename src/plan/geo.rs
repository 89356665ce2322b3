//! What do `geo` and `split_clients` say? Which value a variable takes by an address (ngx_http_geo_module), and by the
//! hash of a text (ngx_http_split_clients_module).

use super::access::Whom;
use super::template::{Template, Var};
use bytes::Bytes;

/// One `geo` block, laid out for the search.
#[derive(Clone, Debug, Default)]
pub struct Geo {
    /// The variable that holds the address; `None`: the client's.
    pub address: Option<Var>,
    /// `proxy`: clients behind these are known by `X-Forwarded-For`.
    pub proxies: Box<[Whom]>,
    /// `proxy_recursive`.
    pub recursive: bool,
    /// `ranges`: only IPv4 is known; any other address is looked up as 255.255.255.255.
    pub ranges: bool,
    /// Where the value changes, in IPv4: first address, index into `values`. The first begins at 0.
    pub v4: Box<[(u32, u32)]>,
    /// The same in IPv6.
    pub v6: Box<[(u128, u32)]>,
    /// Each value once.
    pub values: Box<[Bytes]>,
}

/// One `split_clients` block.
#[derive(Clone, Debug, Default)]
pub struct Split {
    /// The text whose hash decides.
    pub source: Template,
    /// In order: the value of hashes below the bound; `None`: of all that are left (`*`).
    pub parts: Box<[(Option<u32>, Bytes)]>,
}
