//! How do certificates reach the programs beside semper? A thread of the server process compares what was obtained with
//! what lies there, and has it written by whoever may: the master, or this process itself. What fails is tried again and
//! shown in the status.

pub mod hook;
pub mod writer;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cert::bundle::Bundle;
use crate::cert::journal::Shelf as _;
use crate::plan::Plan;
use crate::plan::acme::Issuer;
use crate::plan::certificate::{CertId, CertSpec};
use crate::plan::export::{Export, lineages};
use crate::store::Directory;
use crate::store::lineage::{self, Part};
use crate::words::Identifier;

use super::sources::Shown;

/// While a hook runs, how often it is asked after.
const LOOK: Duration = Duration::from_millis(200);
/// After failures; the last for all that follow.
const AGAIN: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3600)];

/// How an export stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It lies there, and its hook ended well.
    Done,
    /// It lies there, and its hook runs.
    HookRuns,
    /// It lies there, and its hook failed: why.
    HookFailed(String),
}

/// What is to lie there, beside its parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parcel {
    /// The line of the configuration.
    pub export: Export,
    /// The name under which it is exported.
    pub lineage: String,
    /// The names of the certificate.
    pub domains: Vec<String>,
}

/// Writes parcels. Blocking.
pub trait Deliver: Send + Sync {
    /// Has the parts lie there, and the hook run if they did not.
    ///
    /// # Errors
    /// What stands in the way; trying again is safe.
    fn deliver(&self, parcel: &Parcel, parts: &[Part]) -> io::Result<Standing>;
}

/// Looks where the issuers of `plan` keep their state.
pub fn find(plan: &Plan) -> Find {
    let path = |issuer: &Issuer| Some((issuer.name.clone(), issuer.state_path.clone()?));
    let paths: HashMap<_, _> = plan.issuers.iter().filter_map(path).collect();
    Box::new(move |spec| {
        let shelf = Directory::view(paths.get(&spec.issuer)?).ok()?;
        shelf.bundle(&spec.id).unwrap_or_else(|error| {
            tracing::error!("{}: it cannot be exported: {error}", spec.id);
            None
        })
    })
}

/// The bundle in force of a certificate, from where it is kept.
pub type Find = Box<dyn Fn(&CertSpec) -> Option<Bundle> + Send>;

/// The thread that sees to it.
#[derive(Clone)]
pub struct Exports {
    say: mpsc::Sender<Said>,
    troubles: Arc<Mutex<Vec<String>>>,
    /// Whether anything is exported: else nobody copies bundles.
    wanted: Arc<AtomicBool>,
}

enum Said {
    Adopt(Vec<Work>, Find),
    /// What is shown for a certificate; `None`: its newest generation, as on the shelf.
    Shown(CertId, Option<Shown>),
    Installed(CertId, Box<Bundle>),
}

struct Work {
    parcel: Parcel,
    spec: CertSpec,
    failures: usize,
    due: Option<Instant>,
}

impl Work {
    /// What of all that is shown goes there: the one for the name that was asked for, else the main one.
    fn meant(&self, shown: &Shown) -> Bundle {
        let own = |wanted: &Identifier| shown.own.iter().find(|(name, _)| name == wanted).map(|(_, bundle)| bundle);
        let own = self.parcel.export.name.as_ref().and_then(own);
        (**own.unwrap_or(&shown.main)).clone()
    }
}

impl Exports {
    /// Starts the thread; nothing is exported yet.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(deliver: Arc<dyn Deliver>) -> io::Result<Exports> {
        let (say, heard) = mpsc::channel();
        let troubles = Arc::<Mutex<Vec<String>>>::default();
        let shown = troubles.clone();
        std::thread::Builder::new().name("exports".to_owned()).spawn(move || run(&*deliver, &heard, &shown))?;
        Ok(Exports { say, troubles, wanted: Arc::default() })
    }

    /// Sees to the exports of `plan` from now on.
    pub fn adopt(&self, plan: &Plan) {
        self.wanted.store(!plan.exports.is_empty(), Relaxed);
        let _ = self.say.send(Said::Adopt(work(plan), find(plan)));
    }

    /// A new generation is in force.
    pub fn installed(&self, bundle: &Bundle) {
        if !self.wanted.load(Relaxed) {
            return;
        }
        let _ = self.say.send(Said::Installed(bundle.id.clone(), Box::new(bundle.clone())));
    }

    /// Something else than its newest generation is shown for a certificate, or (`None`) that again.
    pub fn shown(&self, id: &CertId, shown: Option<Shown>) {
        let _ = self.say.send(Said::Shown(id.clone(), shown));
    }

    /// What stands in the way at present, for the status.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn run(deliver: &dyn Deliver, heard: &mpsc::Receiver<Said>, troubles: &Mutex<Vec<String>>) {
    let mut work: Vec<Work> = Vec::new();
    let mut find: Find = Box::new(|_| None);
    let mut fresh: HashMap<CertId, Box<Bundle>> = HashMap::new();
    let mut shown: HashMap<CertId, Shown> = HashMap::new();
    let mut said: HashMap<String, String> = HashMap::new();
    loop {
        let due = work.iter().filter_map(|work| work.due).min();
        let word = match due {
            None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => heard.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match word {
            Ok(Said::Adopt(new, place)) => {
                (work, find) = (new, place);
                said.clear();
            }
            Ok(Said::Installed(id, bundle)) => {
                let meant = work.iter_mut().filter(|work| work.spec.id == id);
                let count = meant.map(|work| (work.due, work.failures) = (Some(Instant::now()), 0)).count();
                if count > 0 {
                    fresh.insert(id, bundle);
                }
            }
            Ok(Said::Shown(id, now)) => {
                let meant = work.iter_mut().filter(|work| work.spec.id == id);
                meant.for_each(|work| (work.due, work.failures) = (Some(Instant::now()), 0));
                match now {
                    Some(now) => drop(shown.insert(id, now)),
                    None => drop(shown.remove(&id)),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for work in work.iter_mut().filter(|work| work.due.is_some_and(|due| due <= Instant::now())) {
            let home = lineage::home(&work.parcel.export, &work.parcel.lineage).display().to_string();
            let held = shown.get(&work.spec.id).map(|shown| work.meant(shown));
            let held = held.or_else(|| fresh.get(&work.spec.id).map(|bundle| (**bundle).clone()));
            match attempt(deliver, work, held.or_else(|| find(&work.spec))) {
                Some(trouble) => {
                    tracing::error!("export to \"{home}\": {trouble}");
                    said.insert(home, trouble);
                }
                None => drop(said.remove(&home)),
            }
        }
        fresh.clear();
        let mut lines: Vec<String> = said.iter().map(|(home, why)| format!("export to \"{home}\": {why}")).collect();
        lines.sort();
        *troubles.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }
}

/// The work of a plan: everything is looked at once, for nobody knows what others did to it meanwhile.
fn work(plan: &Plan) -> Vec<Work> {
    let of = |(export, lineage, spec): (&Export, String, &CertSpec)| Work {
        parcel: Parcel {
            export: export.clone(),
            lineage,
            domains: spec.identifiers.iter().map(ToString::to_string).collect(),
        },
        spec: spec.clone(),
        failures: 0,
        due: Some(Instant::now()),
    };
    lineages(&plan.exports, &plan.certificates).into_iter().map(of).collect()
}

/// One look at one export; the trouble, if there is one.
fn attempt(deliver: &dyn Deliver, work: &mut Work, held: Option<Bundle>) -> Option<String> {
    work.due = None;
    // Nothing is held yet: its first generation will be announced.
    let held = held?;
    let parts = lineage::parts(&held, work.parcel.export.layout);
    let covered = work.spec.identifiers.iter().filter(|name| held.leaf.covers(name));
    let domains = covered.map(ToString::to_string).collect();
    let parcel = Parcel { domains, ..work.parcel.clone() };
    let (trouble, wait) = match deliver.deliver(&parcel, &parts) {
        Ok(Standing::Done) => return None,
        Ok(Standing::HookRuns) => (None, LOOK),
        Ok(Standing::HookFailed(why)) => (Some(format!("the hook failed: {why}")), AGAIN[work.failures.min(3)]),
        Err(error) => (Some(error.to_string()), AGAIN[work.failures.min(3)]),
    };
    work.failures += usize::from(trouble.is_some());
    work.due = Some(Instant::now() + wait);
    trouble
}
