//! The main context and `events`: user, pid, worker_processes, error_log and the like.

use std::path::PathBuf;

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::{Level, clamp, directive_is};
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::export::Export;
use crate::plan::fleet::Fleet;
use crate::plan::log::{ErrorLog, Level as Severity, LogTarget};
use crate::plan::process::{ChallengeListen, EnvironmentVariable, Process, User};
use crate::words::Place;

use super::http::{self, HttpDraft};
use super::{acme, export, fleet, log, stream};

/// The main context as it was read.
#[derive(Debug, Default)]
pub struct MainDraft {
    level: Level,
    events: Option<Level>,
    user: Option<User>,
    workers: Option<Option<usize>>,
    environment: Vec<EnvironmentVariable>,
    error_logs: Vec<ErrorLog>,
    /// The `http` block.
    pub http: Option<HttpDraft>,
    stream: bool,
    /// `server_certificates` outside of `http`.
    pub named: Vec<acme::Named>,
    /// `export`s, and where they stand.
    pub exports: Vec<(Export, Place)>,
    /// `fleet`.
    pub fleet: Option<Fleet>,
}

impl MainDraft {
    /// Whether `events` was read.
    pub fn has_events(&self) -> bool {
        self.events.is_some()
    }
}

impl Scope for MainDraft {
    fn home(&self) -> Home {
        Home::Main
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        match row.name {
            "events" => {
                if self.events.is_some() {
                    return Err(directive_is(directive, "is duplicate"));
                }
                let mut events = Events(Level::default());
                let block = directive.block.as_ref().expect("the reader lets `events` through only with a block");
                reader.walk(block, &mut events)?;
                self.events = Some(events.0);
                Ok(())
            }
            "http" => {
                self.http = Some(http::take(reader, directive, self.http.is_some())?);
                Ok(())
            }
            "stream" => {
                let earlier = std::mem::replace(&mut self.stream, true);
                stream::take(reader, directive, earlier)
            }
            "server_certificates" => {
                self.named.push(acme::named(reader, directive)?);
                Ok(())
            }
            "export" => {
                self.exports.push(export::export(reader, directive)?);
                Ok(())
            }
            "fleet" if self.fleet.is_some() => Err(directive_is(directive, "is duplicate")),
            "fleet" => fleet::fleet(reader, directive).map(|fleet| self.fleet = Some(fleet)),
            name if super::OF_CERTIFICATES.contains(&name) => super::of_certificates(reader, name, directive),
            "user" => self.user(reader, row, directive),
            "worker_processes" => self.workers(directive),
            "env" => {
                self.environment.push(environment(&directive.args[0]));
                Ok(())
            }
            "error_log" => {
                self.error_logs.push(log::error_log(reader, directive)?);
                Ok(())
            }
            "state_path" if self.level.has(row.name) => Err(directive_is(directive, "is duplicate")),
            "acme_challenge_listen" if challenge_listen(&directive.args[0]).is_none() => {
                let text = format!("invalid parameter \"{}\"", directive.args[0]);
                Err(Complaint::emerg(text, &directive.place))
            }
            _ => self.level.set(row, directive, &mut reader.variables, &mut reader.complaints),
        }
    }
}

struct Events(Level);

impl Scope for Events {
    fn home(&self) -> Home {
        Home::Events
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        let own = matches!(row.name, "worker_connections" | "use");
        if own && self.0.has(row.name) {
            return Err(directive_is(directive, "is duplicate"));
        }
        if row.name == "worker_connections" && value::number(&directive.args[0]).is_none() {
            let text = format!("invalid number \"{}\"", directive.args[0]);
            return Err(Complaint::emerg(text, &directive.place));
        }
        if row.name == "use" && !["epoll", "select", "poll"].contains(&&*directive.args[0]) {
            return Err(Complaint::emerg(format!("invalid event type \"{}\"", directive.args[0]), &directive.place));
        }
        self.0.set(row, directive, &mut reader.variables, &mut reader.complaints)
    }
}

fn environment(text: &str) -> EnvironmentVariable {
    match text.split_once('=') {
        None => EnvironmentVariable { name: text.into(), value: None },
        Some((name, value)) => EnvironmentVariable { name: name.into(), value: Some(value.into()) },
    }
}

impl MainDraft {
    fn user(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        if self.level.has(row.name) {
            return Err(directive_is(directive, "is duplicate"));
        }
        if !reader.options.offline {
            if reader.world.is_root() {
                self.user = Some(look_up(reader, directive)?);
            } else {
                let text = "the \"user\" directive makes sense only if the master process runs with super-user \
                            privileges, ignored";
                reader.warn(text, &directive.place);
                return Ok(());
            }
        }
        self.level.set(row, directive, &mut reader.variables, &mut reader.complaints)
    }

    fn workers(&mut self, directive: &Directive) -> Result<(), Complaint> {
        if self.workers.is_some() {
            return Err(directive_is(directive, "is duplicate"));
        }
        let text = &*directive.args[0];
        self.workers = Some(if text == "auto" {
            None
        } else {
            let count = value::number(text).ok_or_else(|| directive_is(directive, "invalid value"))?;
            Some(clamp(count))
        });
        Ok(())
    }
}

fn look_up(reader: &Reader<'_>, directive: &Directive) -> Result<User, Complaint> {
    let name = &directive.args[0];
    let group = directive.args.get(1);
    let failed = |what: &str, name: &str| Complaint::emerg(format!("{what}(\"{name}\") failed"), &directive.place);
    let (uid, _) = reader.world.user(name).ok_or_else(|| failed("getpwnam", name))?;
    let group_name = group.unwrap_or(name);
    let gid = reader.world.group(group_name).ok_or_else(|| failed("getgrnam", group_name))?;
    Ok(User { name: name.clone(), group: group.cloned(), uid, gid })
}

/// The plan of the main context.
pub fn finish(draft: &MainDraft, reader: &Reader<'_>) -> Process {
    let level = &draft.level;
    let defaults = &reader.options.defaults;
    let path = |text: &str| reader.prefix_path(text);
    let mut error_logs = draft.error_logs.clone();
    if error_logs.is_empty() {
        let target = match &reader.options.error_log {
            Some(text) if text == "stderr" => LogTarget::Stderr,
            Some(text) => LogTarget::File(path(text)),
            None => LogTarget::File(path(&defaults.error_log)),
        };
        error_logs.push(ErrorLog { target, level: Severity::Error });
    }
    let events = draft.events.as_ref();
    let connections = events.and_then(|events| value::number(events.text("worker_connections")?));
    let user = draft.user.clone().or_else(|| default_user(reader));
    Process {
        user,
        pid: path(level.text("pid").unwrap_or(&defaults.pid)),
        daemon: level.flag("daemon").unwrap_or(true),
        master: level.flag("master_process").unwrap_or(true),
        workers: draft.workers.unwrap_or(Some(1)),
        worker_connections: connections.map_or(512, clamp),
        open_files: level.number("worker_rlimit_nofile"),
        shutdown_timeout: level.time("worker_shutdown_timeout").filter(|time| !time.is_zero()),
        working_directory: level.text("working_directory").map(PathBuf::from),
        error_logs: error_logs.into(),
        environment: draft.environment.clone().into(),
        state_path: path(level.text("state_path").unwrap_or(&defaults.state_path)),
        strict_start: level.flag("strict_start").unwrap_or(false),
        challenge_listen: level.text("acme_challenge_listen").and_then(challenge_listen).unwrap_or_default(),
    }
}

/// `off`, a port, or an address with a port.
fn challenge_listen(text: &str) -> Option<ChallengeListen> {
    if text == "off" {
        return Some(ChallengeListen::Off);
    }
    let port = || Some(std::net::SocketAddr::from(([0, 0, 0, 0], text.parse().ok()?)));
    text.parse().ok().or_else(port).map(ChallengeListen::At)
}

/// The account that the server process takes when none is named and the master is root.
fn default_user(reader: &Reader<'_>) -> Option<User> {
    if reader.options.offline || !reader.world.is_root() {
        return None;
    }
    let name = reader.options.defaults.user.as_str();
    let (uid, own) = reader.world.user(name)?;
    let group = ["nogroup", name].into_iter().find_map(|group| reader.world.group(group));
    Some(User { name: name.into(), group: None, uid, gid: group.unwrap_or(own) })
}
