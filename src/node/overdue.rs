//! Who concerns that nobody renews? A thread of its own that looks at what is shown, by `cert::overdue`; it shares nothing
//! with the loops that it watches but the counters that they leave behind. Also: how concerns are said in the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::cert::concern::Severity;
use crate::cert::overdue::{Facts, Kept, OverdueClock};
use crate::clock::Clock;
use crate::net::terms::Terms;
use crate::plan::Plan;
use crate::plan::certificate::CertId;
use crate::plan::tls::CertificateSource;
use crate::tls::certificates::Certificates;
use crate::tls::on_demand::Door;
use crate::zone::beats::Beats;
use crate::zone::concerns::{Changes, Concerns};

/// Between two looks; by the monotonic clock, whatever the civil one does.
const EVERY: Duration = Duration::from_secs(60);

/// The overdue clock; it stops when dropped.
#[derive(Debug)]
pub struct Overdue {
    _stop: Sender<()>,
}

/// What it looks at.
#[derive(Clone)]
pub struct Looks {
    /// What is shown.
    pub certificates: Arc<Certificates>,
    /// What is shown on demand.
    pub door: Arc<Door>,
    /// What is wanted.
    pub terms: Arc<ArcSwap<Terms>>,
    /// What the keepers count.
    pub beats: Arc<Beats>,
    /// Where it says what it sees.
    pub concerns: Arc<Concerns>,
    /// The civil clock.
    pub clock: Arc<dyn Clock>,
}

impl Overdue {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(looks: Looks) -> std::io::Result<Overdue> {
        let (stop, stopped) = channel::<()>();
        let begun = Instant::now();
        let run = move || {
            let mut clock = OverdueClock::default();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                look(&looks, &mut clock, begun, Instant::now());
            }
        };
        std::thread::Builder::new().name("overdue".to_owned()).spawn(run)?;
        Ok(Overdue { _stop: stop })
    }
}

fn look(looks: &Looks, clock: &mut OverdueClock, begun: Instant, at: Instant) {
    let now = looks.clock.now();
    let facts = facts(looks, &looks.terms.load().plan, begun, at);
    tell(&looks.concerns.report("overdue", clock.look(&facts, now)));
}

/// Every certificate of the plan, once, and those that are held on demand.
fn facts(looks: &Looks, plan: &Plan, begun: Instant, at: Instant) -> Vec<Facts> {
    let shown = |source: &CertificateSource| {
        let held = looks.certificates.held(source)?;
        Some((held.not_before, held.not_after))
    };
    let of = |id: &CertId| Facts {
        subject: format!("certificate {id}"),
        shown: shown(&CertificateSource::Acme(id.clone())),
        kept: Some(kept(&looks.beats, id, begun, at)),
        paused: looks.beats.paused(id).map(|pause| format!("it is paused {pause}; `semper resume {id}` goes on")),
    };
    let planned: HashSet<&CertId> = plan.certificates.iter().map(|spec| &spec.id).collect();
    let mut all: Vec<Facts> = plan.certificates.iter().map(|spec| of(&spec.id)).collect();
    // A name on demand that never got its certificate is its tenant's concern, who asks `explain`.
    let on_demand = looks.door.renewed();
    let on_demand = on_demand.iter().filter(|id| !planned.contains(id)).map(of);
    all.extend(on_demand.filter(|facts| facts.shown.is_some()));
    let mut seen = HashSet::new();
    let servers = plan.http.iter().flat_map(|http| &http.servers).filter_map(|server| server.tls.as_ref());
    for source in servers.flat_map(|tls| &tls.certificates) {
        if let CertificateSource::File(files) = source
            && seen.insert(files)
        {
            let subject = format!("certificate \"{}\"", files.certificate.display());
            all.push(Facts { subject, shown: shown(source), kept: None, paused: None });
        }
    }
    all
}

/// What a keeper has left behind; one that has never turned stands still since the process began.
fn kept(beats: &Beats, id: &CertId, begun: Instant, at: Instant) -> Kept {
    let beat = beats.of(id);
    let attempts = beat.map_or(0, |beat| beat.attempts);
    Kept { attempts, turned: at.saturating_duration_since(beat.map_or(begun, |beat| beat.at)) }
}

/// Says in the log what is new, worse or over.
pub fn tell(changes: &Changes) {
    for concern in &changes.raised {
        match concern.severity {
            Severity::Error => tracing::error!("{concern}"),
            Severity::Warning => tracing::warn!("{concern}"),
        }
    }
    for concern in &changes.cleared {
        tracing::info!(level = "notice", "over: {concern}");
    }
}

#[cfg(test)]
#[path = "overdue_tests.rs"]
mod tests;
