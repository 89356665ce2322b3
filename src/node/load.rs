//! How does a plan come to be? From a configuration file through `conf`, or from the quick start's words. The same source
//! gives the same plan in the master and in the server process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::conf;
use crate::conf::complaint::{Complaint, Level, SourceFile};
use crate::conf::load::{Defaults, Options};
use crate::conf::world::World;
use crate::plan::{Plan, log};
use crate::words::Fingerprint;

use super::errorlog::ErrorLogs;
use super::layout::Layout;
use super::tape::{Recorder, Tape};
use super::world::RealWorld;

/// What somebody asked to be served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// A configuration file.
    Conf {
        /// Where things lie.
        layout: Layout,
        /// `-g`.
        directives: Option<String>,
        /// `-t --offline`.
        offline: bool,
    },
    /// `semper example.com=127.0.0.1:3000 …`.
    Quick(super::quick::Quick),
}

/// A wish with everything that the world answered to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    wish: Wish,
    tape: Tape,
}

/// A plan, and what was said on the way to it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is to be run.
    pub plan: Arc<Plan>,
    /// Warnings, and errors that a start goes on with.
    pub complaints: Vec<Complaint>,
    /// Directives without effect: name and reason, each once.
    pub ignored: Vec<(String, String)>,
    /// Files that were read, in order.
    pub files: Vec<SourceFile>,
}

impl Loaded {
    /// A digest of the text that the plan was made from, wherever its files lie.
    pub fn digest(&self) -> Fingerprint {
        let mut text = Vec::new();
        for file in &self.files {
            text.extend((file.bytes.len() as u64).to_be_bytes());
            text.extend_from_slice(&file.bytes);
        }
        Fingerprint::of(&text)
    }

    /// Errors with which a start goes on, in nginx's words.
    pub fn forgiven(&self) -> Vec<String> {
        self.complaints.iter().filter(|complaint| complaint.level == Level::Emerg).map(words).collect()
    }
}

/// There is no plan.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Why; the last one is what stopped it.
    pub complaints: Vec<Complaint>,
    /// Files that were read until then.
    pub files: Vec<SourceFile>,
}

impl Wish {
    /// The plan, judged as a start does: bad certificates and names that do not resolve are forgiven, unless the
    /// configuration says `strict_start on`.
    ///
    /// # Errors
    /// [`Broken`], in nginx's words.
    pub fn load(&self, world: &dyn World) -> Result<(Loaded, Source), Broken> {
        let recorder = Recorder::new(world);
        let loaded = self.plan(&recorder)?;
        if loaded.plan.process.strict_start {
            // Certificates were not looked at yet: whoever loads them would go on without a bad one.
            self.judge(&RealWorld { judge_certificates: true })?;
        }
        Ok((loaded, Source { wish: self.clone(), tape: recorder.into_tape() }))
    }

    /// The plan, judged as `nginx -t` does: nothing is forgiven.
    ///
    /// # Errors
    /// [`Broken`], in nginx's words.
    pub fn judge(&self, world: &dyn World) -> Result<Loaded, Broken> {
        let mut loaded = self.plan(world)?;
        let Some(at) = loaded.complaints.iter().position(|complaint| complaint.level == Level::Emerg) else {
            return Ok(loaded);
        };
        // nginx stops at the first.
        loaded.complaints.truncate(at + 1);
        Err(Broken { complaints: loaded.complaints, files: loaded.files })
    }

    fn plan(&self, world: &dyn World) -> Result<Loaded, Broken> {
        match self {
            Wish::Conf { layout, directives, offline } => from_conf(layout, directives.clone(), *offline, world),
            Wish::Quick(quick) => Ok(Loaded {
                plan: Arc::new(quick.plan()),
                complaints: Vec::new(),
                ignored: Vec::new(),
                files: Vec::new(),
            }),
        }
    }
}

impl Source {
    /// The same plan again.
    ///
    /// # Errors
    /// None that the first reading did not have.
    pub fn plan(&self) -> Result<Loaded, Broken> {
        self.wish.plan(&self.tape)
    }
}

/// Says what was found, in the order in which it was found.
pub fn report(complaints: &[Complaint], logs: &ErrorLogs) {
    for complaint in complaints {
        let level = match complaint.level {
            Level::Warn => log::Level::Warn,
            Level::Emerg => log::Level::Emerg,
        };
        logs.line(level, None, &words(complaint));
    }
}

/// What stopped it, in one line.
pub fn last_words(broken: &Broken) -> String {
    broken.complaints.last().map_or_else(|| "there is no plan".to_owned(), words)
}

fn words(complaint: &Complaint) -> String {
    match &complaint.place {
        Some(place) => format!("{} in {place}", complaint.text),
        None => complaint.text.clone(),
    }
}

fn from_conf(layout: &Layout, directives: Option<String>, offline: bool, world: &dyn World) -> Result<Loaded, Broken> {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let debian = *layout == Layout { conf: layout.conf.clone(), ..Layout::debian() };
    let options = Options {
        path: layout.conf.clone(),
        prefix: layout.prefix.clone(),
        conf_prefix: layout.conf_prefix.clone(),
        command_line: directives,
        error_log: layout.error_log.as_deref().map_or_else(|| Some("stderr".to_owned()), |path| Some(text(path))),
        offline,
        defaults: Defaults {
            pid: text(&layout.pid),
            error_log: layout.error_log.as_deref().map_or_else(|| "stderr".to_owned(), text),
            access_log: text(&layout.access_log),
            client_body_temp: text(&layout.temp.join(if debian { "body" } else { "client_body_temp" })),
            proxy_temp: text(&layout.temp.join(if debian { "proxy" } else { "proxy_temp" })),
            state_path: text(&layout.state),
            user: if debian { "www-data" } else { "nobody" }.to_owned(),
        },
    };
    let conf::load::Loaded { plan, complaints, files, notes } = conf::load::load(world, &options);
    let Some(mut plan) = plan else { return Err(Broken { complaints, files }) };
    super::challenge_listener::add(&mut plan);
    let ignored = notes.into_iter().filter_map(|note| Some((note.directive, note.why?.to_owned()))).collect();
    Ok(Loaded { plan: Arc::new(plan), complaints, ignored, files })
}
