//! What is logged where? (access_log, log_format, error_log.)

use super::template::Template;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Logs of a location.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// `access_log`s; empty is `off`.
    pub access: Box<[AccessLog]>,
    /// `error_log`s of this level; the main ones if none is given.
    pub error: Box<[ErrorLog]>,
}

/// `access_log PATH format …`.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where lines go.
    pub target: LogTarget,
    /// How a line looks.
    pub format: Arc<LogFormat>,
    /// `buffer=`, bytes; without it every line is on disk before its connection closes.
    pub buffer: Option<usize>,
    /// `flush=`.
    pub flush: Option<Duration>,
    /// `gzip=`: level.
    pub gzip: Option<u32>,
    /// `if=`: not logged when it gives an empty text or `0`.
    pub condition: Option<Template>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogTarget {
    /// A file, opened for append; made absolute against the prefix.
    File(PathBuf),
    /// A path with variables, opened for each line.
    FileTemplate(Template),
    /// `stderr`.
    Stderr,
    /// `syslog:…`.
    Syslog(Syslog),
}

/// `syslog:server=…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Syslog {
    /// `server=`: `host:port` or `unix:path`.
    pub server: Box<str>,
    /// `facility=` as its number. Default local7 (23).
    pub facility: u8,
    /// `severity=` as its number. Default info (6).
    pub severity: u8,
    /// `tag=`. Default `nginx`.
    pub tag: Box<str>,
    /// `nohostname`.
    pub no_hostname: bool,
}

/// `log_format NAME [escape=…] …`.
#[derive(Clone, Debug)]
pub struct LogFormat {
    /// Its name.
    pub name: Box<str>,
    /// How values are escaped.
    pub escape: Escape,
    /// The line, without its newline.
    pub line: Template,
}

/// `escape=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// `"`, `\` and bytes below 32 or above 126 become `\xXX`; an empty value is `-`.
    #[default]
    Default,
    /// JSON string escapes.
    Json,
    /// As it is.
    None,
}

/// `error_log TARGET LEVEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLog {
    /// Where lines go.
    pub target: LogTarget,
    /// The least severity that is written.
    pub level: Level,
}

/// Severities of nginx, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `emerg`.
    Emerg,
    /// `alert`.
    Alert,
    /// `crit`.
    Crit,
    /// `error`: the default.
    Error,
    /// `warn`.
    Warn,
    /// `notice`.
    Notice,
    /// `info`.
    Info,
    /// `debug`.
    Debug,
}
