//! How does a line of the error log look, and where does it go? `error_log`s of a location or of the main context, each
//! with its own level; and a [`tracing`] layer that brings events of the other rooms there.

use super::file::{LogFile, LogFiles};
use super::syslog::SyslogSocket;
use crate::clock::{Clock, UnixTime};
use crate::plan::log::{Level, LogTarget};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// nginx's word for a level.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::Emerg => "emerg",
        Level::Alert => "alert",
        Level::Crit => "crit",
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// The error logs of one place of the configuration, opened.
#[derive(Debug, Default)]
pub struct ErrorLog {
    sinks: Vec<(Level, Sink)>,
}

#[derive(Debug)]
enum Sink {
    File(Arc<LogFile>),
    Stderr,
    /// Sockets are not shared between threads at once; a line is rare enough for a lock.
    Syslog(Mutex<SyslogSocket>),
}

impl ErrorLog {
    /// Opens `logs`.
    pub fn open(logs: &[crate::plan::log::ErrorLog], files: &LogFiles, hostname: &Bytes) -> ErrorLog {
        let sink = |target: &LogTarget| match target {
            LogTarget::File(path) => Some(Sink::File(files.file(path))),
            LogTarget::Stderr => Some(Sink::Stderr),
            LogTarget::Syslog(to) => Some(Sink::Syslog(Mutex::new(SyslogSocket::new(to.clone(), hostname.clone())))),
            LogTarget::FileTemplate(_) => None,
        };
        ErrorLog { sinks: logs.iter().filter_map(|log| Some((log.level, sink(&log.target)?))).collect() }
    }

    /// Whether any log takes lines of `level`.
    pub fn takes(&self, level: Level) -> bool {
        self.sinks.iter().any(|(least, _)| level <= *least)
    }

    /// Writes a line. `stamp`: `2026/11/22 06:36:47`. `rest` begins with the process id.
    pub fn write(&self, level: Level, stamp: &str, rest: &str) {
        let mut line = String::with_capacity(stamp.len() + rest.len() + 16);
        let _ = writeln!(line, "{stamp} [{}] {rest}", word(level));
        for (_, sink) in self.sinks.iter().filter(|(least, _)| level <= *least) {
            match sink {
                Sink::File(file) => drop(file.write(line.as_bytes())),
                Sink::Stderr => drop(std::io::stderr().write_all(line.as_bytes())),
                Sink::Syslog(socket) => {
                    let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
                    let line = line.trim_end().as_bytes();
                    socket.send(line, &syslog_stamp_of(stamp), Some(severity(level)));
                }
            }
        }
    }
}

/// The number by which syslog knows a level.
fn severity(level: Level) -> u8 {
    match level {
        Level::Emerg => 0,
        Level::Alert => 1,
        Level::Crit => 2,
        Level::Error => 3,
        Level::Warn => 4,
        Level::Notice => 5,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

/// `2026/11/22 06:36:47` as syslog writes it: `Nov 22 06:36:47`.
pub fn syslog_stamp_of(stamp: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = stamp.get(5..7).and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
    let day = stamp.get(8..10).and_then(|text| text.parse::<u8>().ok()).unwrap_or(1);
    let time = stamp.get(11..).unwrap_or("00:00:00");
    format!("{} {day:2} {time}", MONTHS[(month.max(1) - 1) % 12])
}

/// `2026/11/22 06:36:47` in the machine's time zone.
pub fn stamp(now: UnixTime, zone: &jiff::tz::TimeZone) -> String {
    let now = jiff::Timestamp::from_second(now.seconds()).unwrap_or_default().to_zoned(zone.clone());
    now.strftime("%Y/%m/%d %H:%M:%S").to_string()
}

/// Brings events of [`tracing`] to the error logs of the main context: ERROR is `error`, WARN `warn`, INFO `notice`,
/// DEBUG and TRACE `debug`.
pub struct Layer {
    log: Arc<ArcSwap<ErrorLog>>,
    clock: Arc<dyn Clock>,
    zone: jiff::tz::TimeZone,
}

impl Layer {
    /// Writes to whatever `log` holds at the time (a reload replaces it).
    pub fn new(log: Arc<ArcSwap<ErrorLog>>, clock: Arc<dyn Clock>) -> Layer {
        Layer { log, clock, zone: jiff::tz::TimeZone::system() }
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Notice,
            tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
        };
        let log = self.log.load();
        if !log.takes(level) {
            return;
        }
        let mut words = Words(String::with_capacity(120));
        let pid = std::process::id();
        let _ = write!(words.0, "{pid}#{pid}:");
        event.record(&mut words);
        log.write(level, &stamp(self.clock.now(), &self.zone), &words.0);
    }
}

/// The text of an event: its message, then its other fields as `, name: value`.
struct Words(String);

impl tracing::field::Visit for Words {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        // A value that holds a line break must not begin a line of its own.
        let text = match field.name() {
            "message" => format!(" {value:?}"),
            name => format!(", {name}: {value:?}"),
        };
        self.0.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn events_become_lines_of_the_error_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let target = LogTarget::File(path.clone());
        let logs = [crate::plan::log::ErrorLog { target, level: Level::Warn }];
        let log = ErrorLog::open(&logs, &LogFiles::new(Arc::new(crate::net::opener::OwnRights)), &Bytes::new());
        let layer = Layer::new(Arc::new(ArcSwap::from_pointee(log)), Arc::new(VirtualClock::default()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(name = "a\nb", "it happened");
            tracing::info!("too quiet");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains(" [warn] ") && text.ends_with(": it happened, name: a b\n"), "{text}");
        assert_eq!(syslog_stamp_of("2026/11/02 06:36:47"), "Nov  2 06:36:47");
    }
}
