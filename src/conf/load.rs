//! From files to a plan: `-g`, the main file, `semper.conf` beside it, then everything that can only be checked when all
//! is read. Called by `node` (start, HUP), by `-t`, `-T` and `-s`, by `migrate`, and by a fuzzer with a world in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::plan::Plan;
use crate::words::Place;

use super::complaint::{Complaint, Kind, Level, SourceFile};
use super::directives::process::{self, MainDraft};
use super::directives::{acme_dns, files, http};
use super::read::Reader;
use super::tree;
use super::world::World;

/// What is asked for on the command line, and the defaults of the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The main file (`-c`), absolute.
    pub path: PathBuf,
    /// The prefix (`-p`): logs, root, pid and temp paths are relative to it.
    pub prefix: PathBuf,
    /// The directory of the main file: includes, certificates and password files are relative to it.
    pub conf_prefix: PathBuf,
    /// `-g`: directives of the main context, read first.
    pub command_line: Option<String>,
    /// `-e`: the error log where none is named.
    pub error_log: Option<String>,
    /// `-t --offline`: no look-ups of hosts and users, no certificates opened.
    pub offline: bool,
    /// What holds where nothing is said.
    pub defaults: Defaults,
}

/// Paths and names that hold where the configuration says nothing; relative ones are relative to the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// `pid`.
    pub pid: String,
    /// `error_log`.
    pub error_log: String,
    /// `access_log`.
    pub access_log: String,
    /// `client_body_temp_path`.
    pub client_body_temp: String,
    /// `proxy_temp_path`.
    pub proxy_temp: String,
    /// `state_path`.
    pub state_path: String,
    /// `user`.
    pub user: String,
}

impl Defaults {
    /// nginx's own, below the prefix.
    pub fn nginx() -> Defaults {
        Defaults {
            pid: "logs/nginx.pid".to_owned(),
            error_log: "logs/error.log".to_owned(),
            access_log: "logs/access.log".to_owned(),
            client_body_temp: "client_body_temp".to_owned(),
            proxy_temp: "proxy_temp".to_owned(),
            state_path: "state".to_owned(),
            user: "nobody".to_owned(),
        }
    }

    /// Those of Debian's package.
    pub fn debian() -> Defaults {
        Defaults {
            pid: "/run/nginx.pid".to_owned(),
            error_log: "/var/log/nginx/error.log".to_owned(),
            access_log: "/var/log/nginx/access.log".to_owned(),
            client_body_temp: "/var/lib/nginx/body".to_owned(),
            proxy_temp: "/var/lib/nginx/proxy".to_owned(),
            state_path: "/var/lib/semper".to_owned(),
            user: "www-data".to_owned(),
        }
    }
}

impl Options {
    /// The main file at `path` (absolute), with everything else as nginx has it.
    pub fn new(path: impl Into<PathBuf>, prefix: impl Into<PathBuf>) -> Options {
        let path = path.into();
        let conf_prefix = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let (prefix, defaults) = (prefix.into(), Defaults::nginx());
        Options { path, prefix, conf_prefix, command_line: None, error_log: None, offline: false, defaults }
    }

    /// Where semper's own directives may stand: `semper.conf` beside the main file.
    pub fn own_file(&self) -> PathBuf {
        self.conf_prefix.join("semper.conf")
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is to be run; `None` if something fatal was said.
    pub plan: Option<Plan>,
    /// Warnings and errors in order. With a plan there may still be errors that `-t` does not forgive and a start does.
    pub complaints: Vec<Complaint>,
    /// The files that were read, in order, each once (`-T`).
    pub files: Vec<SourceFile>,
    /// What is not honoured, each directive once: for the end of `-t`.
    pub notes: Vec<Note>,
}

impl Loaded {
    /// Whether `-t` says that the test is successful: no error of any kind.
    pub fn is_good(&self) -> bool {
        self.plan.is_some() && self.first_error().is_none()
    }

    /// The error that nginx would have stopped at.
    pub fn first_error(&self) -> Option<&Complaint> {
        self.complaints.iter().find(|complaint| complaint.level == Level::Emerg)
    }
}

/// A directive that is not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub directive: String,
    /// Why that is harmless; `None` if it is refused.
    pub why: Option<&'static str>,
    /// Where it stands first.
    pub first: Place,
    /// In how many places it stands.
    pub places: usize,
}

/// Reads and judges a configuration. Never panics, whatever the files hold; how deep and how many is bounded.
pub fn load(world: &dyn World, options: &Options) -> Loaded {
    let mut reader = Reader::new(world, options);
    reader.default_types = files::default_types();
    let plan = match read(&mut reader) {
        Ok(plan) => Some(plan),
        Err(complaint) => {
            reader.complaints.push(complaint);
            None
        }
    };
    let notes = notes(&reader);
    let mut complaints = reader.complaints;
    let mut plan = plan;
    if plan.is_some() && !reader.not_yet.is_empty() {
        plan = None;
        complaints.append(&mut reader.not_yet);
    }
    Loaded { plan, complaints, files: reader.files, notes }
}

fn read(reader: &mut Reader<'_>) -> Result<Plan, Complaint> {
    let mut main = MainDraft::default();
    if let Some(text) = &reader.options.command_line {
        reader.walk(&tree::parse_command_line(text), &mut main)?;
    }
    let (path, own) = (reader.options.path.clone(), reader.options.own_file());
    reader.file(&path, None, &mut main)?;
    if path != own && reader.world.metadata(&own).is_ok() {
        reader.file(&own, None, &mut main)?;
    }
    let named = std::mem::take(&mut main.named);
    let built = match main.http.take() {
        Some(draft) => Some(http::finish(draft, named, reader)?),
        None => None,
    };
    if !main.has_events() {
        let text = "no \"events\" section in configuration";
        return Err(Complaint::placeless(text).of_kind(Kind::Late));
    }
    if !reader.late.is_empty() {
        return Err(reader.late.remove(0));
    }
    let process = process::finish(&main, reader);
    for index in std::mem::take(&mut reader.shared.default_state) {
        reader.shared.issuers[index].state_path = Some(process.state_path.clone());
    }
    acme_dns::settle(reader)?;
    let issuers = std::mem::take(&mut reader.shared.issuers);
    let rescue = reader.shared.rescue.take();
    super::directives::acme_limits::check(&issuers, rescue.as_ref())?;
    let on_demand = super::directives::on_demand::finish(reader.shared.on_demand.take(), &issuers)?;
    let issuers = issuers.into();
    let (http, certificates) = built.map_or_else(Default::default, |built| (Some(built.http), built.certificates));
    let checks = std::mem::take(&mut reader.shared.checks);
    if let (Some(fleet), Some(http)) = (&main.fleet, &http) {
        super::directives::fleet::check(fleet, &http.listeners)?;
    }
    super::directives::export::check(reader, &main.exports, &certificates);
    let exports = main.exports.into_iter().map(|(export, _)| export).collect();
    let certificates = certificates.into();
    Ok(Plan { process, http, issuers, certificates, on_demand, checks, rescue, exports, fleet: main.fleet })
}

fn notes(reader: &Reader<'_>) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    let refused = reader.not_yet.iter().filter_map(|complaint| {
        let what = complaint.text.strip_prefix('"')?.split('"').next()?;
        Some((what, None, complaint.place.as_ref()?))
    });
    let ignored = reader.ignored.iter().map(|(name, why, place)| (*name, Some(*why), place));
    for (directive, why, place) in refused.chain(ignored) {
        match notes.iter_mut().find(|note| note.directive == directive && note.why == why) {
            Some(note) => note.places += 1,
            None => {
                notes.push(Note { directive: directive.to_owned(), why, first: place.clone(), places: 1 });
            }
        }
    }
    notes
}

/// Types that hold where no `types` stands, shared by every level.
pub type Types = Arc<std::collections::HashMap<Box<str>, Box<str>>>;
