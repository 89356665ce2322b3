//! What happens when a file of certificates changed behind our back? A thread of its own reads it again, waits while a
//! pair is half written, swaps in what passes the gate, and says by name what does not. No reload is needed.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::cert::changed::{Found, Next, Pair};
use crate::clock::Clock;
use crate::net::files::ReadFile;
use crate::net::terms::Terms;
use crate::plan::Plan;
use crate::plan::tls::{CertificateSource, FileCertificate};
use crate::tls::build::Tls;
use crate::tls::load::{Loaded, names_in_use};
use crate::tls::upstream::upstream_tls;
use crate::watch::files::{FileWatch, Patience};
use crate::words::Identifier;

/// With nothing to look at again, the thread sleeps this long at most.
const IDLE: Duration = Duration::from_secs(3600);

/// The watch over the files of the plan in force; ends when dropped.
#[derive(Debug)]
pub struct Watched {
    files: FileWatch,
    say: Sender<Said>,
}

#[derive(Debug)]
enum Said {
    Adopt(Box<Files>),
    Changed(Arc<Path>),
    Stop,
}

/// The files of one plan.
#[derive(Debug, Default)]
struct Files {
    pairs: HashMap<Arc<FileCertificate>, Box<[Identifier]>>,
    /// Authorities, revocation lists, ticket keys: they shape the handshake settings.
    settings: HashSet<Arc<Path>>,
}

impl Files {
    fn of(plan: &Plan) -> Files {
        let mut files = Files::default();
        for (source, names) in names_in_use(plan) {
            if let CertificateSource::File(pair) = source {
                files.pairs.insert(pair.clone(), names.into());
            }
        }
        for tls in upstream_tls(plan) {
            files.pairs.extend(tls.certificate.clone().map(|pair| (pair, Box::default())));
            files.settings.extend([&tls.trusted_certificate, &tls.crl].into_iter().flatten().map(shared));
        }
        for tls in plan.http.iter().flat_map(|http| &http.servers).filter_map(|server| server.tls.as_ref()) {
            files.settings.extend(tls.ticket_keys.iter().map(shared));
            let trusted = [&tls.client_certificate, &tls.trusted_certificate, &tls.crl];
            files.settings.extend(trusted.into_iter().flatten().map(shared));
        }
        files
    }

    fn paths(&self) -> impl Iterator<Item = Arc<Path>> {
        let pairs = self.pairs.keys().flat_map(|pair| parts(pair)).cloned();
        let all: HashSet<Arc<Path>> = pairs.chain(self.settings.iter().cloned()).collect();
        // `data:…` stands for itself.
        all.into_iter().filter(|path| !path.to_string_lossy().starts_with("data:"))
    }
}

fn shared(path: impl AsRef<Path>) -> Arc<Path> {
    Arc::from(path.as_ref())
}

fn parts(pair: &FileCertificate) -> impl Iterator<Item = &Arc<Path>> {
    [&pair.certificate, &pair.key].into_iter().chain(&pair.passwords)
}

impl Watched {
    /// Starts watching; there is nothing to watch yet. What changes is swapped into `tls` and `terms`.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(
        tls: Arc<Tls>,
        terms: Arc<ArcSwap<Terms>>,
        clock: Arc<dyn Clock>,
        reader: Arc<dyn ReadFile>,
    ) -> std::io::Result<Watched> {
        let (say, inbox) = channel();
        let report = say.clone();
        let files = FileWatch::start(reader, Patience::default(), move |path| drop(report.send(Said::Changed(path))))?;
        let thread = Thread { tls, terms, clock, files: Files::default(), pairs: HashMap::new(), due: HashMap::new() };
        std::thread::Builder::new().name("certificates".into()).spawn(move || thread.run(&inbox))?;
        Ok(Watched { files, say })
    }

    /// Watches the files of `plan` from now on. Call it before they are loaded: then no change slips through.
    pub fn adopt(&self, plan: &Plan) {
        let files = Files::of(plan);
        self.files.watch(files.paths());
        // The thread ends only with us.
        let _ = self.say.send(Said::Adopt(Box::new(files)));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.say.send(Said::Stop);
    }
}

struct Thread {
    tls: Arc<Tls>,
    terms: Arc<ArcSwap<Terms>>,
    clock: Arc<dyn Clock>,
    files: Files,
    pairs: HashMap<Arc<FileCertificate>, Pair>,
    /// Pairs that are to be looked at again.
    due: HashMap<Arc<FileCertificate>, Instant>,
}

impl Thread {
    fn run(mut self, inbox: &Receiver<Said>) {
        loop {
            let next = self.due.values().min().copied().unwrap_or_else(|| Instant::now() + IDLE);
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Said::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Said::Adopt(files)) => {
                    self.files = *files;
                    self.pairs.retain(|pair, _| self.files.pairs.contains_key(pair));
                    self.due.retain(|pair, _| self.files.pairs.contains_key(pair));
                }
                Ok(Said::Changed(path)) => self.changed(&path),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            let due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= now).map(|(pair, _)| pair.clone()).collect();
            due.iter().for_each(|pair| self.look(pair, false));
        }
    }

    fn changed(&mut self, path: &Arc<Path>) {
        let concerned = self.files.pairs.keys().filter(|pair| parts(pair).any(|part| part == path));
        let concerned: Vec<_> = concerned.cloned().collect();
        concerned.iter().for_each(|pair| self.look(pair, true));
        if self.files.settings.contains(path) {
            tracing::info!(level = "notice", "\"{}\" has changed and is read again", path.display());
            self.rebuild();
        }
    }

    fn look(&mut self, pair: &Arc<FileCertificate>, changed: bool) {
        self.due.remove(pair);
        let names = self.files.pairs.get(pair).map(AsRef::as_ref).unwrap_or_default();
        let now = self.clock.now();
        let loaded = self.tls.reload_file(pair, names, now);
        let found = match &loaded {
            Loaded::Installed(..) => Found::Taken,
            Loaded::Same => Found::Same,
            Loaded::HeldBack(_) => Found::Worse,
            Loaded::Bad(_) => Found::Bad,
        };
        let shown = pair.certificate.display();
        match self.pairs.entry(pair.clone()).or_default().seen(found, changed, now) {
            Next::LookAgain(wait) => drop(self.due.insert(pair.clone(), Instant::now() + wait)),
            Next::Rest { mended } => match &loaded {
                Loaded::Installed(held, warnings) => {
                    let until = held.not_after;
                    tracing::info!(
                        level = "notice",
                        "certificate \"{shown}\" has changed and is in force until {until}"
                    );
                    warnings.iter().for_each(|warning| tracing::warn!("certificate \"{shown}\": {warning}"));
                    self.introduce_again(pair);
                }
                Loaded::Same if mended => tracing::info!(level = "notice", "certificate \"{shown}\" is well again"),
                _ => {}
            },
            Next::Refuse => {
                if let Loaded::Bad(fault) = &loaded {
                    tracing::error!("{fault}; what was served before stays");
                }
            }
            Next::HoldBack => {
                if let Loaded::HeldBack(why) = &loaded {
                    tracing::error!("certificate \"{shown}\" is held back: {why}; what was served before stays");
                }
            }
        }
    }

    /// If `pair` is what we show to upstreams: sessions that they know from the old one are not resumed.
    fn introduce_again(&self, pair: &FileCertificate) {
        let plan = self.terms.load().plan.clone();
        if upstream_tls(&plan).iter().any(|tls| tls.certificate.as_deref() == Some(pair)) {
            let faults = self.tls.prepare_upstreams(&plan, true);
            faults.iter().for_each(|fault| tracing::error!("{fault}; what was trusted before stays"));
        }
    }

    /// Makes the handshake settings anew, unless a reload does so at this very moment.
    fn rebuild(&self) {
        let now = self.terms.load_full();
        let (tls, mut faults) = self.tls.terms(&now.plan);
        faults.extend(self.tls.prepare_upstreams(&now.plan, true));
        faults.iter().for_each(|fault| tracing::error!("{fault}; what was trusted before stays"));
        let new = Arc::new(Terms { epoch: now.epoch, plan: now.plan.clone(), tls });
        self.terms.compare_and_swap(&now, new);
    }
}
