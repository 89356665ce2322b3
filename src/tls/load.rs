//! How do certificates from files get into the table? Reads pairs, passes them through the gate, swaps them in: at a
//! start, at a reload, and when a watcher saw a change. One bad file hurts only itself.

use super::build::{Fault, Tls};
use super::certificates::Held;
use super::upstream::upstream_tls;
use crate::cert::gate::{self, FileBytes, Objection, Pair, Replacement, Source};
use crate::cert::inspect::Leaf;
use crate::clock::UnixTime;
use crate::net::files::{ReadFile, content};
use crate::plan::Plan;
use crate::plan::tls::{CertificateSource, FileCertificate};
use crate::words::Identifier;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// So many pairs are read before another thread is worth its start.
const FEW: usize = 200;

/// What became of a pair of files.
#[derive(Debug)]
pub enum Loaded {
    /// It is shown from now on; what an operator should know of it.
    Installed(Arc<Held>, Vec<Objection>),
    /// It is what is shown already.
    Same,
    /// It is worse than what is shown, which stays.
    HeldBack(Objection),
    /// It cannot be used; what was shown stays. nginx's words.
    Bad(Fault),
}

/// Reads a pair of files through `reader` and checks that it can be served.
///
/// # Errors
/// What nginx prints behind `[emerg]`.
pub fn read_pair(reader: &dyn ReadFile, files: &FileCertificate) -> Result<Pair, Fault> {
    let read = |what, path| content(reader, path).map_err(|error| Fault(gate::open_failed(what, path, &error)));
    let certificate = read("certificate", &files.certificate)?;
    let key = read("certificate key", &files.key)?;
    let passwords = match &files.passwords {
        Some(path) => Some(
            content(reader, path).map_err(|error| Fault(format!("open() \"{}\" failed ({error})", path.display())))?,
        ),
        None => None,
    };
    let bytes = FileBytes { certificate: &certificate, key: &key, passwords: passwords.as_ref().map(|p| &p[..]) };
    gate::read_files(bytes).map_err(|fault| Fault(fault.message(&files.certificate, &files.key)))
}

/// The names that servers use each source for, as far as they are names (no regular expressions).
pub fn names_in_use(plan: &Plan) -> HashMap<&CertificateSource, Vec<Identifier>> {
    let mut names: HashMap<&CertificateSource, Vec<Identifier>> = HashMap::new();
    for server in plan.http.iter().flat_map(|http| &http.servers) {
        for source in server.tls.iter().flat_map(|tls| &tls.certificates) {
            let all = names.entry(source).or_default();
            for name in &server.names {
                match name.strip_prefix('.') {
                    Some(rest) => {
                        all.extend([rest.to_owned(), format!("*.{rest}")].iter().filter_map(|n| n.parse().ok()))
                    }
                    None => all.extend(name.parse().ok()),
                }
            }
        }
    }
    names
}

/// Every pair of files that `plan` names, also for upstreams, each once and in order.
fn files_of(plan: &Plan) -> Vec<Arc<FileCertificate>> {
    let mut seen = HashSet::new();
    let servers = plan.http.iter().flat_map(|http| &http.servers).filter_map(|server| server.tls.as_ref());
    let shown = servers.flat_map(|tls| &tls.certificates).filter_map(|source| match source {
        CertificateSource::File(files) => Some(files),
        CertificateSource::Acme(_) => None,
    });
    let ours = upstream_tls(plan).into_iter().filter_map(|tls| tls.certificate.as_ref());
    shown.chain(ours).filter(|files| seen.insert(Arc::clone(files))).cloned().collect()
}

impl Tls {
    /// Reads every pair of files that `plan` names, also for upstreams, and that is not held yet. Keys are loaded when they first sign.
    /// Says which cannot be used: for these servers the placeholder is shown.
    pub fn load_files(&self, plan: &Plan) -> Vec<Fault> {
        let missing: Vec<_> = files_of(plan)
            .into_iter()
            .map(CertificateSource::File)
            .filter(|s| self.certificates().held(s).is_none())
            .collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len() / FEW + 1);
        if threads == 1 {
            return self.load(&missing);
        }
        let share = missing.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let each = missing.chunks(share).map(|some| scope.spawn(|| self.load(some)));
            let each: Vec<_> = each.collect();
            // A panic while one is read must not pass for a good file.
            let done = each.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            done.flatten().collect()
        })
    }

    fn load(&self, sources: &[CertificateSource]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for source in sources {
            let CertificateSource::File(files) = source else { continue };
            match read_pair(self.reader(), files) {
                Ok(pair) => drop(self.certificates().install_unloaded(source, pair)),
                Err(fault) => faults.push(fault),
            }
        }
        faults
    }

    /// Reads one pair of files again and swaps it in, if the gate lets it; `names` are those in use.
    pub fn reload_file(&self, files: &Arc<FileCertificate>, names: &[Identifier], now: UnixTime) -> Loaded {
        match read_pair(self.reader(), files) {
            Ok(pair) => self.offer(&CertificateSource::File(files.clone()), pair, names, Source::File, now),
            Err(fault) => Loaded::Bad(fault),
        }
    }

    /// Passes a bundle that parses through the rest of the gate and swaps it in.
    pub fn offer(
        &self,
        source: &CertificateSource,
        pair: Pair,
        names: &[Identifier],
        from: Source,
        now: UnixTime,
    ) -> Loaded {
        let present = self.certificates().held(source);
        if present.as_ref().is_some_and(|held| held.shows(&pair)) {
            return Loaded::Same;
        }
        let verdict = gate::judge(&pair, names, from, now);
        if let Some(refusal) = verdict.refusals.into_iter().next() {
            return Loaded::HeldBack(refusal);
        }
        let present = present.and_then(|held| Leaf::read(held.leaf()).ok());
        if from == Source::File
            && let Replacement::HoldBack(why) = gate::replaces(present.as_ref(), &pair.leaf, names, now)
        {
            return Loaded::HeldBack(why);
        }
        match self.certificates().install(source, pair) {
            Ok(held) => Loaded::Installed(held, verdict.warnings),
            Err(dead) => Loaded::Bad(Fault(dead.to_string())),
        }
    }
}
