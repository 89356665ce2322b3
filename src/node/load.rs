//! How does a plan come to be? From a configuration file through `conf`, or from the quick start's words. The same source
//! gives the same plan in the master and in the server process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::conf::complaint::{Complaint, Level, SourceFile};
use crate::conf::world::World;
use crate::plan::Plan;

use super::layout::Layout;
use super::tape::{Recorder, Tape};

/// What somebody asked to be served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// A configuration file.
    Conf {
        /// Where things lie.
        layout: Layout,
        /// `-g`.
        directives: Option<String>,
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
        let refused = |complaint: &&Complaint| complaint.level == Level::Emerg;
        if loaded.plan.process.strict_start && loaded.complaints.iter().any(|complaint| refused(&complaint)) {
            return Err(Broken { complaints: loaded.complaints, files: loaded.files });
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
            Wish::Conf { layout, directives } => from_conf(layout, directives.as_deref(), world),
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

fn from_conf(layout: &Layout, directives: Option<&str>, world: &dyn World) -> Result<Loaded, Broken> {
    let _ = (layout, directives, world);
    Err(Broken { complaints: vec![Complaint::placeless("configuration files cannot be read yet")], files: Vec::new() })
}
