//! What is written about a request? The access log's line when all has been sent, before the connection is closed; lines
//! of the error log with nginx's context. Writers are found once for each set of settings.

use super::Worker;
use crate::http::exchange::Exchange;
use crate::net::connection::Endpoint;
use crate::net::log::error::{ErrorLog, syslog_stamp_of};
use crate::net::log::{Writer, Writers};
use crate::plan::location::Settings;
use crate::plan::log::{ErrorLog as ErrorLogPlan, Escape, Level, LogFormat, LogTarget};
use crate::plan::template::Segment;
use crate::route::values::{Values, is_true, text};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Weak};

/// Writers of the access logs of some settings, in their order.
type OpenLogs = Rc<[Rc<Writer>]>;
/// Error logs as the plan has them, opened.
type OpenErrorLogs = (Box<[ErrorLogPlan]>, Rc<ErrorLog>);

/// The logs of one worker.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) writers: Writers,
    /// By address of the settings; the weak pointer keeps the address from being used again.
    access: RefCell<HashMap<usize, (Weak<Settings>, OpenLogs)>>,
    error: RefCell<Vec<OpenErrorLogs>>,
    line: RefCell<Vec<u8>>,
}

impl Logs {
    pub(super) fn new(writers: Writers) -> Logs {
        Logs { writers, access: RefCell::default(), error: RefCell::default(), line: RefCell::default() }
    }

    /// After a reload: writers of settings that are gone are closed.
    pub(super) fn forget_unused(&self) {
        self.access.borrow_mut().retain(|_, (settings, _)| settings.strong_count() > 0);
        self.error.borrow_mut().clear();
        self.writers.forget_unused();
    }

    fn writers_of(&self, settings: &Arc<Settings>) -> OpenLogs {
        let mut known = self.access.borrow_mut();
        let made = known.entry(Arc::as_ptr(settings) as usize).or_insert_with(|| {
            let writers = settings.logs.access.iter().map(|log| self.writers.writer(log)).collect();
            (Arc::downgrade(settings), writers)
        });
        made.1.clone()
    }

    fn error_log(&self, logs: &[ErrorLogPlan], hostname: &bytes::Bytes) -> Rc<ErrorLog> {
        let mut known = self.error.borrow_mut();
        if let Some((_, log)) = known.iter().find(|(plan, _)| **plan == *logs) {
            return log.clone();
        }
        let log = Rc::new(ErrorLog::open(logs, self.writers.files(), hostname));
        known.push((logs.into(), log.clone()));
        log
    }
}

/// Writes the access log's lines for `exchange`.
pub(super) fn access(exchange: &Exchange) {
    let settings = exchange.settings();
    if settings.logs.access.is_empty() {
        return;
    }
    let logs = &exchange.worker.logs;
    let writers = logs.writers_of(settings);
    for (log, writer) in settings.logs.access.iter().zip(writers.iter()) {
        if log.condition.as_ref().is_some_and(|condition| !is_true(&text(condition, exchange))) {
            continue;
        }
        let mut line = logs.line.borrow_mut();
        line.clear();
        format_line(&log.format, exchange, &mut line);
        line.push(b'\n');
        if let LogTarget::FileTemplate(path) = &log.target {
            // As nginx: a host that is not served has no log either.
            let root = text(&settings.files.root, exchange);
            if std::fs::metadata(OsStr::from_bytes(&root)).is_err() {
                let root = String::from_utf8_lossy(&root).into_owned();
                exchange.note(Level::Error, format_args!("testing \"{root}\" existence failed while logging request"));
                continue;
            }
            let path = text(path, exchange);
            writer.write_to(Path::new(OsStr::from_bytes(&path)), &line);
            continue;
        }
        let stamp = || syslog_stamp_of(&String::from_utf8_lossy(&exchange.worker.time().error()));
        if let Some(wait) = writer.write(&line, stamp) {
            let writer = writer.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(wait).await;
                writer.flush();
            });
        }
    }
}

/// Writes one line behind `out`, values escaped as the format says.
pub(super) fn format_line(format: &LogFormat, values: &(impl Values + ?Sized), out: &mut Vec<u8>) {
    for segment in &format.line.segments {
        let begin = out.len();
        let set = match segment {
            Segment::Text(text) => {
                out.extend_from_slice(text);
                continue;
            }
            Segment::Var(var) => values.append(var, out),
            Segment::Capture(number) => values.capture(*number).is_some_and(|value| {
                out.extend_from_slice(&value);
                true
            }),
        };
        match format.escape {
            Escape::Default if !set => out.push(b'-'),
            Escape::Default => {
                escape_from(out, begin, |b| !(0x20..0x7f).contains(&b) || b"\"\\".contains(&b), hex_escape)
            }
            Escape::Json => escape_from(out, begin, |b| b < 0x20 || b"\"\\".contains(&b), json_escape),
            Escape::None => {}
        }
    }
}

/// Escapes what was written behind `begin`; nothing is copied where nothing needs it.
fn escape_from(out: &mut Vec<u8>, begin: usize, hit: impl Fn(u8) -> bool, escape: impl Fn(u8, &mut Vec<u8>)) {
    let Some(first) = out[begin..].iter().position(|b| hit(*b)) else { return };
    let rest = out.split_off(begin + first);
    for byte in rest {
        if hit(byte) { escape(byte, out) } else { out.push(byte) }
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn hex_escape(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

fn json_escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

impl Worker {
    /// Writes a line to the error log, with the context of `exchange`.
    pub(in crate::http) fn note(
        &self,
        exchange: &Exchange,
        level: Level,
        what: fmt::Arguments<'_>,
        upstream: Option<&dyn fmt::Display>,
    ) {
        let settings = exchange.settings();
        let main = self.plan.borrow();
        let own = &settings.logs.error;
        let logs = if own.is_empty() { &main.process.error_logs } else { own };
        let log = self.logs.error_log(logs, &self.parts.hostname);
        if !log.takes(level) {
            return;
        }
        let mut line = String::with_capacity(200);
        // Writes to memory cannot fail.
        let _ = write!(line, "{}#{}: *{} {what}", self.pid, self.thread, exchange.connection.id);
        let _ = match exchange.client {
            Endpoint::Tcp(address) => write!(line, ", client: {}", address.ip()),
            Endpoint::Unix => write!(line, ", client: unix:"),
        };
        let mut put = |name: &str, value: Option<&[u8]>, quote: &str| {
            if let Some(value) = value {
                let _ = write!(line, ", {name}: {quote}{}{quote}", String::from_utf8_lossy(value));
            }
        };
        let head = &exchange.head;
        put("server", Some(&exchange.server_name()), "");
        put("request", Some(&head.line).filter(|line| !line.is_empty()).map(|line| &line[..]), "\"");
        put("upstream", upstream.map(ToString::to_string).as_ref().map(String::as_bytes), "\"");
        put("host", head.fields.get("host").map(|host| &host[..]), "\"");
        put("referrer", head.fields.get("referer").map(|referer| &referer[..]), "\"");
        // A client's bytes must not begin a line of their own.
        if line.contains(|c: char| c.is_control()) {
            line = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        }
        log.write(level, &String::from_utf8_lossy(&self.time().error()), &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::template::{Builtin, Template, Var};
    use bytes::Bytes;

    struct Line;
    impl Values for Line {
        fn value(&self, var: &Var) -> Option<Bytes> {
            match var {
                Var::Builtin(Builtin::Request) => Some(Bytes::from_static(b"GET /\"\\\n\x7f\xff HTTP/1.1")),
                Var::Builtin(Builtin::Https) => Some(Bytes::new()),
                _ => None,
            }
        }
        fn capture(&self, _: u8) -> Option<Bytes> {
            None
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_place() {
        let var = |builtin| Segment::Var(Var::Builtin(builtin));
        let segments = [
            var(Builtin::Request),
            Segment::Text(" ".into()),
            var(Builtin::Https),
            Segment::Text(" ".into()),
            var(Builtin::RemoteUser),
        ];
        let show = |escape| {
            let line = Template { segments: Box::new(segments.clone()) };
            let mut out = Vec::new();
            format_line(&LogFormat { name: "f".into(), escape, line }, &Line, &mut out);
            out
        };
        assert_eq!(show(Escape::Default), br"GET /\x22\x5C\x0A\x7F\xFF HTTP/1.1  -");
        assert_eq!(show(Escape::Json), b"GET /\\\"\\\\\\n\x7f\xff HTTP/1.1  ");
        assert_eq!(show(Escape::None), b"GET /\"\\\n\x7f\xff HTTP/1.1  ");
    }
}
