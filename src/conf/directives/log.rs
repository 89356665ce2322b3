//! log_format, access_log, error_log.

use std::path::PathBuf;
use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::clamp;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::conf::variables::Variables;
use crate::plan::log::{AccessLog, ErrorLog, Escape, Level, LogFormat, LogTarget, Logs, Syslog};
use crate::plan::template::{Segment, Template};
use crate::words::Place;

use super::Chain;

/// What one level has said about logs.
#[derive(Debug, Default)]
pub struct Said {
    access: Vec<AccessLog>,
    off: bool,
    error: Vec<ErrorLog>,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        self.access.is_empty() && !self.off && self.error.is_empty()
    }
}

/// `log_format`s by name.
#[derive(Debug, Default)]
pub struct Formats(Vec<Arc<LogFormat>>);

const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                        \"$http_referer\" \"$http_user_agent\"";

impl Formats {
    /// The format that is always there.
    pub fn combined(&mut self, variables: &mut Variables) -> Result<Arc<LogFormat>, Complaint> {
        if let Some(format) = self.0.first() {
            return Ok(Arc::clone(format));
        }
        let line = variables.log_line(COMBINED, &Place::built_in())?;
        self.0.push(Arc::new(LogFormat { name: "combined".into(), escape: Escape::Default, line }));
        Ok(Arc::clone(&self.0[0]))
    }

    fn find(&self, name: &str) -> Option<&Arc<LogFormat>> {
        self.0.iter().find(|format| format.name.eq_ignore_ascii_case(name))
    }
}

/// Takes `log_format`.
///
/// # Errors
/// nginx's words.
pub fn format(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    reader.shared.formats.combined(&mut reader.variables)?;
    let name = &directive.args[0];
    if reader.shared.formats.0.iter().any(|format| format.name == *name) {
        return Err(Complaint::emerg(format!("duplicate \"log_format\" name \"{name}\""), place));
    }
    let (escape, texts) = match directive.args[1].strip_prefix("escape=") {
        None => (Escape::Default, &directive.args[1..]),
        Some("default") => (Escape::Default, &directive.args[2..]),
        Some("json") => (Escape::Json, &directive.args[2..]),
        Some("none") => (Escape::None, &directive.args[2..]),
        Some(other) => {
            return Err(Complaint::emerg(format!("unknown log format escaping \"{other}\""), place));
        }
    };
    let mut segments: Vec<Segment> = Vec::new();
    for text in texts {
        segments.extend(reader.variables.log_line(text, place)?.segments);
    }
    let line = Template { segments: merged(segments).into() };
    reader.shared.formats.0.push(Arc::new(LogFormat { name: name.clone(), escape, line }));
    Ok(())
}

fn merged(segments: Vec<Segment>) -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::with_capacity(segments.len());
    for segment in segments {
        match (all.last_mut(), segment) {
            (Some(Segment::Text(before)), Segment::Text(text)) => *before = [&before[..], &text[..]].concat().into(),
            (_, segment) => all.push(segment),
        }
    }
    all
}

/// Takes `access_log` or `error_log` of a level of `http`.
///
/// # Errors
/// nginx's words.
pub fn take(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if &*directive.name == "error_log" {
        said.logs.error.push(error_log(reader, directive)?);
        return Ok(());
    }
    if &*directive.args[0] == "off" {
        said.logs.off = true;
        return match directive.args.get(1) {
            None => Ok(()),
            Some(text) => Err(Complaint::emerg(format!("invalid parameter \"{text}\""), &directive.place)),
        };
    }
    let log = access_log(reader, directive)?;
    said.logs.access.push(log);
    Ok(())
}

fn access_log(reader: &mut Reader<'_>, directive: &Directive) -> Result<AccessLog, Complaint> {
    let place = &directive.place;
    let emerg = |text: String| Complaint::emerg(text, place);
    reader.shared.formats.combined(&mut reader.variables)?;
    let path = &*directive.args[0];
    let target = if let Some(params) = path.strip_prefix("syslog:") {
        LogTarget::Syslog(syslog(params, place)?)
    } else if path.contains('$') {
        let path = reader.prefix_path(path).to_string_lossy().into_owned();
        LogTarget::FileTemplate(reader.template(&path, place)?)
    } else {
        LogTarget::File(reader.prefix_path(path))
    };
    let name = directive.args.get(1).map_or("combined", AsRef::as_ref);
    let format = reader.shared.formats.find(name).cloned();
    let format = format.ok_or_else(|| emerg(format!("unknown log format \"{name}\"")))?;
    let mut log = AccessLog { target, format, buffer: None, flush: None, gzip: None, condition: None };
    for text in directive.args.iter().skip(2) {
        parameter(&mut log, reader, text, place)?;
    }
    if log.flush.is_some() && log.buffer.is_none() {
        return Err(emerg(format!("no buffer is defined for access_log \"{path}\"")));
    }
    match log.target {
        LogTarget::FileTemplate(_) if log.buffer.is_some() => {
            Err(emerg("buffered logs cannot have variables in name".to_owned()))
        }
        LogTarget::Syslog(_) if log.buffer.is_some() => Err(emerg("logs to syslog cannot be buffered".to_owned())),
        _ => Ok(log),
    }
}

fn parameter(log: &mut AccessLog, reader: &mut Reader<'_>, text: &str, place: &Place) -> Result<(), Complaint> {
    let emerg = |text: String| Complaint::emerg(text, place);
    if let Some(size) = text.strip_prefix("buffer=") {
        let bytes = value::size(size).filter(|bytes| *bytes > 0);
        log.buffer = Some(clamp(bytes.ok_or_else(|| emerg(format!("invalid buffer size \"{size}\"")))?));
    } else if let Some(time) = text.strip_prefix("flush=") {
        let flush = value::milliseconds(time).filter(|time| !time.is_zero());
        log.flush = Some(flush.ok_or_else(|| emerg(format!("invalid flush time \"{time}\"")))?);
    } else if text == "gzip" {
        log.buffer.get_or_insert(64 * 1024);
        log.gzip = Some(1);
    } else if let Some(level) = text.strip_prefix("gzip=") {
        log.buffer.get_or_insert(64 * 1024);
        let number = value::number(level).and_then(|level| u32::try_from(level).ok());
        let number = number.filter(|level| (1..=9).contains(level));
        log.gzip = Some(number.ok_or_else(|| emerg(format!("invalid compression level \"{level}\"")))?);
    } else if let Some(condition) = text.strip_prefix("if=") {
        log.condition = Some(reader.template(condition, place)?);
    } else {
        return Err(emerg(format!("invalid parameter \"{text}\"")));
    }
    Ok(())
}

const LEVELS: [(&str, Level); 8] = [
    ("emerg", Level::Emerg),
    ("alert", Level::Alert),
    ("crit", Level::Crit),
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("notice", Level::Notice),
    ("info", Level::Info),
    ("debug", Level::Debug),
];

const DEBUG_LEVELS: [&str; 7] =
    ["debug_core", "debug_alloc", "debug_mutex", "debug_event", "debug_http", "debug_mail", "debug_stream"];

/// Reads `error_log`, of the main context too.
///
/// # Errors
/// nginx's words.
pub fn error_log(reader: &mut Reader<'_>, directive: &Directive) -> Result<ErrorLog, Complaint> {
    let place = &directive.place;
    let text = &*directive.args[0];
    let target = if text == "stderr" {
        LogTarget::Stderr
    } else if text.starts_with("memory:") {
        return Err(Complaint::emerg("nginx was built without debug support", place));
    } else if let Some(params) = text.strip_prefix("syslog:") {
        LogTarget::Syslog(syslog(params, place)?)
    } else {
        LogTarget::File(reader.prefix_path(text))
    };
    let mut level = None;
    for text in directive.args.iter().skip(1) {
        let found = match LEVELS.iter().find(|(name, _)| *name == &**text) {
            Some((_, found)) => *found,
            None if DEBUG_LEVELS.contains(&&**text) => Level::Debug,
            None => return Err(Complaint::emerg(format!("invalid log level \"{text}\""), place)),
        };
        if level.is_some() && !DEBUG_LEVELS.contains(&&**text) {
            return Err(Complaint::emerg(format!("duplicate log level \"{text}\""), place));
        }
        level = Some(found);
    }
    Ok(ErrorLog { target, level: level.unwrap_or(Level::Error) })
}

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp", "ntp",
    "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

/// The parameters after `syslog:`.
///
/// # Errors
/// nginx's words.
fn syslog(params: &str, place: &Place) -> Result<Syslog, Complaint> {
    let emerg = |text: String| Complaint::emerg(text, place);
    let (mut server, mut facility, mut severity, mut tag, mut no_hostname) = (None, None, None, None, false);
    let index =
        |list: &[&str], text: &str| list.iter().position(|name| *name == text).and_then(|n| u8::try_from(n).ok());
    for param in params.split(',') {
        if let Some(text) = param.strip_prefix("server=") {
            if server.replace(text.into()).is_some() {
                return Err(emerg("duplicate syslog \"server\"".to_owned()));
            }
        } else if let Some(text) = param.strip_prefix("facility=") {
            let found = index(&FACILITIES, text).ok_or_else(|| emerg(format!("unknown syslog facility \"{text}\"")))?;
            if facility.replace(found).is_some() {
                return Err(emerg("duplicate syslog \"facility\"".to_owned()));
            }
        } else if let Some(text) = param.strip_prefix("severity=") {
            let found = index(&SEVERITIES, text).ok_or_else(|| emerg(format!("unknown syslog severity \"{text}\"")))?;
            if severity.replace(found).is_some() {
                return Err(emerg("duplicate syslog \"severity\"".to_owned()));
            }
        } else if let Some(text) = param.strip_prefix("tag=") {
            if text.len() > 32 {
                return Err(emerg("syslog tag length exceeds 32".to_owned()));
            }
            if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(emerg("syslog \"tag\" only allows alphanumeric characters and underscore".to_owned()));
            }
            if tag.replace(text.into()).is_some() {
                return Err(emerg("duplicate syslog \"tag\"".to_owned()));
            }
        } else if param == "nohostname" {
            no_hostname = true;
        } else {
            return Err(emerg(format!("unknown syslog parameter \"{param}\"")));
        }
    }
    Ok(Syslog {
        server: server.ok_or_else(|| emerg("no syslog server specified".to_owned()))?,
        facility: facility.unwrap_or(23),
        severity: severity.unwrap_or(6),
        tag: tag.unwrap_or_else(|| "nginx".into()),
        no_hostname,
    })
}

/// The logs of a chain.
pub fn settle(chain: Chain<'_>, reader: &Reader<'_>) -> Logs {
    let access = chain.find(|said| (said.logs.off || !said.logs.access.is_empty()).then_some(&said.logs));
    let access = match access {
        Some(logs) if logs.off => Box::default(),
        Some(logs) => logs.access.clone().into(),
        None => default_log(reader).into_iter().collect(),
    };
    let error = chain.find(|said| Some(&said.logs.error).filter(|error| !error.is_empty()));
    Logs { access, error: error.map(|error| error.clone().into()).unwrap_or_default() }
}

fn default_log(reader: &Reader<'_>) -> Option<AccessLog> {
    let format = Arc::clone(reader.shared.formats.0.first()?);
    let path: PathBuf = reader.prefix_path(&reader.options.defaults.access_log);
    Some(AccessLog { target: LogTarget::File(path), format, buffer: None, flush: None, gzip: None, condition: None })
}
