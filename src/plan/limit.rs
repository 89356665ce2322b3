//! How much may one client do? Zones that all workers share, and the limits that a level sets on them (`limit_req`,
//! `limit_conn`; ngx_http_limit_req_module, ngx_http_limit_conn_module).

use super::log::Level;
use super::template::Template;
use std::sync::Arc;

/// What a zone counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// `limit_req_zone`: requests; how many thousandths of one drain away each second.
    Requests {
        /// `rate=`, in thousandths of a request for each second.
        rate: u64,
    },
    /// `limit_conn_zone`: requests that are under way.
    Connections,
}

/// A zone. What has been counted outlives a reload as long as all of this stays the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitZone {
    /// Its name.
    pub name: Box<str>,
    /// What tells clients apart. A request for which it is empty is not counted.
    pub key: Template,
    /// Its text, for messages.
    pub key_text: Box<str>,
    /// Bytes of memory; bounds how many clients are remembered.
    pub size: u64,
    /// What it counts.
    pub counted: Counted,
}

/// One `limit_req` or `limit_conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Where it is counted.
    pub zone: Arc<LimitZone>,
    /// `limit_conn`: how many at once. `limit_req`: `burst=`, in thousandths of a request.
    pub most: u64,
    /// `limit_req`: how much of the burst is not delayed, in thousandths; `nodelay` is all of it.
    pub undelayed: u64,
}

/// The limits of one kind on one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In the order of the file.
    pub limits: Box<[Limit]>,
    /// `limit_…_status`. Default 503.
    pub status: u16,
    /// `limit_…_log_level`: of refusals. Default error; delays are one level below.
    pub level: Level,
    /// `limit_…_dry_run`: counted and logged, and let through.
    pub dry_run: bool,
}

impl Limits {
    /// The level of the lines about delays.
    pub fn delay_level(&self) -> Level {
        match self.level {
            Level::Error => Level::Warn,
            Level::Warn => Level::Notice,
            _ => Level::Info,
        }
    }
}
