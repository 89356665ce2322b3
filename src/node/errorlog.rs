//! Where do events go? Lines as nginx writes them, `2026/11/22 06:36:47 [notice] PID#TID: *CONN text, name: value…`,
//! to every `error_log` of the main context whose level takes them; before those are known, to one file and stderr.
//!
//! An event's level is that of `tracing` (error, warn, info, debug) unless its field `level` names another of nginx's
//! (`notice`, `crit`, `alert`, `emerg`). The field `conn` is the number of the connection.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::net::opener::Opener;
use crate::plan::log::{ErrorLog, Level, LogTarget};

/// The lines of one `error_log`.
struct Sink {
    level: Level,
    to: To,
}

enum To {
    File(PathBuf, File),
    Stderr,
    Syslog(crate::plan::log::Syslog, Option<SyslogSocket>),
}

enum SyslogSocket {
    Udp(std::net::UdpSocket),
    Unix(std::os::unix::net::UnixDatagram),
}

/// All `error_log`s of the process. Cheap to clone.
#[derive(Clone)]
pub struct ErrorLogs {
    sinks: Arc<ArcSwap<Vec<Sink>>>,
    /// Severe lines also go to stderr in nginx's short form: while starting, before anybody reads the log.
    echo: Arc<AtomicBool>,
}

impl std::fmt::Debug for ErrorLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErrorLogs").field("sinks", &self.sinks.load().len()).finish_non_exhaustive()
    }
}

impl ErrorLogs {
    /// Logs that take notices and worse to `path` (`None`: stderr), and catches the events of the whole process. To be
    /// called once. A file that cannot be opened is said on stderr, which is used instead, as nginx does.
    pub fn install(path: Option<&Path>) -> ErrorLogs {
        let to = match path {
            None => To::Stderr,
            Some(path) => match File::options().append(true).create(true).open(path) {
                Ok(file) => To::File(path.to_owned(), file),
                Err(error) => {
                    let text = format!("open() \"{}\" failed ({})", path.display(), errno(&error));
                    eprintln!("nginx: [alert] could not open error log file: {text}");
                    To::Stderr
                }
            },
        };
        let logs = ErrorLogs {
            sinks: Arc::new(ArcSwap::from_pointee(vec![Sink { level: Level::Notice, to }])),
            echo: Arc::new(AtomicBool::new(true)),
        };
        let subscriber = tracing_subscriber::registry().with(logs.clone());
        // A second installation (unit tests) keeps the first.
        let _ = tracing::subscriber::set_global_default(subscriber);
        logs
    }

    /// Whether severe lines go to stderr too.
    pub fn echo(&self, on: bool) {
        self.echo.store(on, Ordering::Relaxed);
    }

    /// Opens the logs of a plan and uses them from now on.
    ///
    /// # Errors
    /// nginx's words for the first that cannot be opened; the former ones stay in use then.
    pub fn use_plan(&self, logs: &[ErrorLog], opener: &dyn Opener) -> Result<(), String> {
        let mut sinks = Vec::new();
        for log in logs {
            let to = match &log.target {
                LogTarget::File(path) => To::File(path.clone(), open(path, opener)?),
                LogTarget::Stderr | LogTarget::FileTemplate(_) => To::Stderr,
                LogTarget::Syslog(syslog) => To::Syslog(syslog.clone(), SyslogSocket::open(&syslog.server)),
            };
            sinks.push(Sink { level: log.level, to });
        }
        self.sinks.store(Arc::new(sinks));
        Ok(())
    }

    /// Opens every file again (USR1). One that cannot be opened keeps its old file.
    pub fn reopen(&self, opener: &dyn Opener) {
        let mut sinks = Vec::new();
        for sink in self.sinks.load().iter() {
            let to = match &sink.to {
                To::File(path, old) => match opener.append(path).or_else(|error| {
                    let text = format!("open() \"{}\" failed ({})", path.display(), errno(&error));
                    self.line(Level::Emerg, None, &text);
                    old.try_clone()
                }) {
                    Ok(file) => To::File(path.clone(), file),
                    Err(_) => To::Stderr,
                },
                To::Stderr => To::Stderr,
                To::Syslog(syslog, _) => To::Syslog(syslog.clone(), SyslogSocket::open(&syslog.server)),
            };
            sinks.push(Sink { level: sink.level, to });
        }
        self.sinks.store(Arc::new(sinks));
    }

    /// The file that stderr of a daemon shall become: the first that is a file.
    pub fn file(&self) -> Option<File> {
        self.sinks.load().iter().find_map(|sink| match &sink.to {
            To::File(_, file) => file.try_clone().ok(),
            _ => None,
        })
    }

    /// Writes one line to every log that takes its level.
    pub fn line(&self, level: Level, connection: Option<u64>, text: &str) {
        let sinks = self.sinks.load();
        let echo = level <= Level::Warn && self.echo.load(Ordering::Relaxed);
        if !echo && sinks.iter().all(|sink| level > sink.level) {
            return;
        }
        let line = render(level, connection, text);
        let mut on_stderr = false;
        for sink in sinks.iter().filter(|sink| level <= sink.level) {
            match &sink.to {
                To::File(_, file) => drop((&*file).write_all(line.as_bytes())),
                To::Stderr => {
                    on_stderr = true;
                    let _ = std::io::stderr().write_all(line.as_bytes());
                }
                To::Syslog(settings, socket) => send_syslog(settings, socket.as_ref(), level, &line),
            }
        }
        if echo && !on_stderr {
            // nginx's short form, while a person looks on.
            let _ = std::io::stderr().write_all(format!("nginx: [{}] {text}\n", name(level)).as_bytes());
        }
    }
}

fn open(path: &Path, opener: &dyn Opener) -> Result<File, String> {
    opener.append(path).map_err(|error| format!("open() \"{}\" failed ({})", path.display(), errno(&error)))
}

/// `13: Permission denied`.
pub fn errno(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{code}: {}", nix::errno::Errno::from_raw(code).desc()),
        None => error.to_string(),
    }
}

/// As nginx prints it.
pub fn name(level: Level) -> &'static str {
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

fn render(level: Level, connection: Option<u64>, text: &str) -> String {
    let now = jiff::Zoned::now();
    let mut line = String::with_capacity(text.len() + 64);
    let _ = write!(
        line,
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02} [{}] {}#{}: ",
        now.year(),
        now.month(),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        name(level),
        std::process::id(),
        rustix::thread::gettid().as_raw_nonzero()
    );
    if let Some(connection) = connection {
        let _ = write!(line, "*{connection} ");
    }
    // One event is one line, whatever a client has put into it.
    line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    line.push('\n');
    line
}

impl SyslogSocket {
    fn open(server: &str) -> Option<SyslogSocket> {
        if let Some(path) = server.strip_prefix("unix:") {
            let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
            socket.connect(path).ok()?;
            socket.set_nonblocking(true).ok()?;
            return Some(SyslogSocket::Unix(socket));
        }
        let server = if server.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            server.to_owned()
        } else {
            format!("{server}:514")
        };
        let any = if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = std::net::UdpSocket::bind(any).ok()?;
        socket.connect(&server).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(SyslogSocket::Udp(socket))
    }
}

/// RFC 3164 as nginx writes it. What cannot be sent at once is lost, as it is there.
fn send_syslog(settings: &crate::plan::log::Syslog, socket: Option<&SyslogSocket>, level: Level, line: &str) {
    let Some(socket) = socket else { return };
    let severity = level as u8;
    let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    let host = match settings.no_hostname {
        true => String::new(),
        false => nix::unistd::gethostname().map(|name| format!("{} ", name.to_string_lossy())).unwrap_or_default(),
    };
    let text = line.trim_end();
    let packet = format!("<{}>{now} {host}{}: {text}", settings.facility * 8 + severity, settings.tag);
    let _ = match socket {
        SyslogSocket::Udp(socket) => socket.send(packet.as_bytes()),
        SyslogSocket::Unix(socket) => socket.send(packet.as_bytes()),
    };
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
    [Emerg, Alert, Crit, Error, Warn, Notice, Info, Debug].into_iter().find(|level| name(*level) == text)
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
    use crate::net::opener::OwnRights;

    #[test]
    fn a_line_reads_as_nginx_writes_it() {
        let line = render(Level::Notice, Some(7), "signal process\nstarted");
        let (date, rest) = line.split_at(19);
        assert!(date.chars().enumerate().all(|(at, c)| match at {
            4 | 7 => c == '/',
            10 => c == ' ',
            13 | 16 => c == ':',
            _ => c.is_ascii_digit(),
        }));
        let own = std::process::id();
        assert!(rest.starts_with(&format!(" [notice] {own}#")), "{rest}");
        assert!(rest.ends_with(": *7 signal process started\n"), "{rest}");
    }

    #[test]
    fn an_event_carries_connection_and_fields_and_may_name_a_level_of_nginx() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let logs = ErrorLogs { sinks: Arc::default(), echo: Arc::default() };
        let plan = [ErrorLog { target: LogTarget::File(path.clone()), level: Level::Notice }];
        logs.use_plan(&plan, &OwnRights).unwrap();
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
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        logs.reopen(&OwnRights);
        logs.line(Level::Error, None, "after");
        assert!(std::fs::read_to_string(&path).unwrap().contains("after"));
    }
}
