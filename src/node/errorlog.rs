//! Where do events go? Lines as nginx writes them, `2026/11/22 06:36:47 [notice] PID#TID: *CONN text, name: value…`,
//! to every `error_log` of the main context whose level takes them; before those are known, to one file and stderr.
//!
//! An event's level is that of `tracing` (error, warn, info, debug) unless its field `level` names another of nginx's
//! (`notice`, `crit`, `alert`, `emerg`). The field `conn` is the number of the connection.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::clock::Clock;
use crate::net::log::error::{stamp, word};
use crate::net::log::{ErrorLog, LogFiles};
use crate::net::opener::OwnRights;
use crate::plan::log::{ErrorLog as Wanted, Level, LogTarget};

use super::clock::RealClock;

/// All `error_log`s of the process. Cheap to clone.
#[derive(Clone)]
pub struct ErrorLogs(Arc<Inner>);

struct Inner {
    log: ArcSwap<ErrorLog>,
    /// One of them is stderr, for lines of this level and worse.
    stderr: ArcSwap<Option<Level>>,
    /// Severe lines also go to stderr in nginx's short form: while starting, before anybody reads the log.
    echo: AtomicBool,
    zone: jiff::tz::TimeZone,
}

impl std::fmt::Debug for ErrorLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErrorLogs").finish_non_exhaustive()
    }
}

impl ErrorLogs {
    fn nowhere() -> ErrorLogs {
        ErrorLogs(Arc::new(Inner {
            log: ArcSwap::from_pointee(ErrorLog::default()),
            stderr: ArcSwap::from_pointee(None),
            echo: AtomicBool::new(false),
            zone: jiff::tz::TimeZone::system(),
        }))
    }

    /// Catches the events of the whole process, for no log yet: the server process, before it has a plan. To be called
    /// once in a process.
    pub fn install() -> ErrorLogs {
        let logs = ErrorLogs::nowhere();
        let subscriber = tracing_subscriber::registry().with(logs.clone());
        // A second installation (unit tests) keeps the first.
        let _ = tracing::subscriber::set_global_default(subscriber);
        logs
    }

    /// The same, and takes notices and worse to `path` (`None`: stderr). A file that cannot be opened is said on stderr,
    /// which is used instead, as nginx does.
    pub fn install_at(path: Option<&Path>) -> ErrorLogs {
        let logs = ErrorLogs::install();
        logs.0.echo.store(true, Ordering::Relaxed);
        let files = LogFiles::new(Arc::new(OwnRights));
        let mut target = LogTarget::Stderr;
        if let Some(path) = path {
            match files.prepare(path) {
                Ok(_) => target = LogTarget::File(path.to_owned()),
                Err(error) => {
                    let text = format!("open() \"{}\" failed ({})", path.display(), errno(&error.source));
                    eprintln!("nginx: [alert] could not open error log file: {text}");
                }
            }
        }
        logs.point(&[Wanted { target, level: Level::Notice }], &files);
        logs
    }

    /// Whether severe lines go to stderr too.
    pub fn echo(&self, on: bool) {
        self.0.echo.store(on, Ordering::Relaxed);
    }

    /// Opens the logs of a plan and uses them from now on. `files` opens them again when it is asked to.
    ///
    /// # Errors
    /// nginx's words for the first that cannot be opened; the former ones stay in use then.
    pub fn use_plan(&self, wanted: &[Wanted], files: &LogFiles) -> Result<(), String> {
        for log in wanted {
            if let LogTarget::File(path) = &log.target {
                let failed = |error: crate::net::log::file::CannotOpen| {
                    format!("open() \"{}\" failed ({})", path.display(), errno(&error.source))
                };
                files.prepare(path).map_err(failed)?;
            }
        }
        self.point(wanted, files);
        Ok(())
    }

    fn point(&self, wanted: &[Wanted], files: &LogFiles) {
        let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.0.log.store(Arc::new(ErrorLog::open(wanted, files, &Bytes::from(hostname))));
        let stderr = wanted.iter().filter(|log| log.target == LogTarget::Stderr).map(|log| log.level).max();
        self.0.stderr.store(Arc::new(stderr));
    }

    /// Writes one line to every log that takes its level.
    pub fn line(&self, level: Level, connection: Option<u64>, text: &str) {
        let log = self.0.log.load();
        let echo = level <= Level::Warn
            && self.0.echo.load(Ordering::Relaxed)
            && self.0.stderr.load().is_none_or(|least| level > least);
        if echo {
            let _ = writeln!(std::io::stderr(), "nginx: [{}] {text}", word(level));
        }
        if log.takes(level) {
            log.write(level, &stamp(RealClock.now(), &self.0.zone), &rest(connection, text));
        }
    }
}

/// `13: Permission denied`.
pub fn errno(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{code}: {}", nix::errno::Errno::from_raw(code).desc()),
        None => error.to_string(),
    }
}

/// `PID#TID: *CONN text`.
fn rest(connection: Option<u64>, text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 32);
    let _ = write!(line, "{}#{}: ", std::process::id(), rustix::thread::gettid().as_raw_nonzero());
    if let Some(connection) = connection {
        let _ = write!(line, "*{connection} ");
    }
    // One event is one line, whatever a client has put into it.
    line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    line
}

/// Collects the fields of an event.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
    level: Option<Level>,
    connection: Option<u64>,
}

impl Visit for Words {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "conn" {
            self.connection = Some(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "level" => self.level = level_called(value),
            "message" => self.message.push_str(value),
            name => drop(write!(self.fields, ", {name}: {value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}

fn level_called(text: &str) -> Option<Level> {
    use Level::*;
    [Emerg, Alert, Crit, Error, Warn, Notice, Info, Debug].into_iter().find(|level| word(*level) == text)
}

impl<S: tracing::Subscriber> Layer<S> for ErrorLogs {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // Other crates speak at debug level about everything; only their warnings are of interest.
        metadata.target().starts_with("semper") || *metadata.level() <= tracing::Level::WARN
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
        };
        let mut words = Words::default();
        event.record(&mut words);
        words.message.push_str(&words.fields);
        self.line(words.level.unwrap_or(level), words.connection, &words.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_nginx_writes_it() {
        let line = rest(Some(7), "signal process\nstarted");
        let own = std::process::id();
        assert!(line.starts_with(&format!("{own}#")), "{line}");
        assert!(line.ends_with(": *7 signal process started"), "{line}");
    }

    #[test]
    fn an_event_carries_connection_and_fields_and_may_name_a_level_of_nginx() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let logs = ErrorLogs::nowhere();
        let plan = [Wanted { target: LogTarget::File(path.clone()), level: Level::Notice }];
        logs.use_plan(&plan, &LogFiles::new(Arc::new(OwnRights))).unwrap();
        let subscriber = tracing_subscriber::registry().with(logs.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(level = "notice", conn = 5u64, client = "192.0.2.1", "it {}", "works");
            tracing::info!("not of interest");
            tracing::error!("broken");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("[notice]") && text.contains(": *5 it works, client: 192.0.2.1\n"), "{text}");
        assert!(text.contains("[error]"), "{text}");
    }
}
