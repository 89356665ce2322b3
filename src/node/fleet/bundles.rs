//! Which generation of a certificate counts, among those that the nodes of a fleet have? A total order over what the
//! certificates themselves say, so that all nodes choose alike. Remembers what is shown here.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cert::bundle::Bundle;
use crate::clock::UnixTime;
use crate::fleet::Claim;
use crate::plan::certificate::{CertId, CertSpec};
use crate::words::Fingerprint;

/// What is shown here of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// In force from then on, and which: the order of choice.
    pub rank: (UnixTime, Fingerprint),
    /// Serial number, hexadecimal.
    pub serial: String,
    /// In force until then.
    pub not_after: UnixTime,
}

/// What this node wants, and shows.
#[derive(Debug, Default)]
pub struct Bundles {
    /// With the moment since when.
    wanted: HashMap<CertId, (Arc<CertSpec>, UnixTime)>,
    shown: HashMap<CertId, Shown>,
}

fn rank(bundle: &Bundle) -> (UnixTime, Fingerprint) {
    (bundle.leaf.not_before, bundle.leaf.fingerprint)
}

impl Bundles {
    /// Wants exactly these from now on; those that are new.
    pub fn want(&mut self, specs: &[CertSpec], now: UnixTime) -> Vec<CertId> {
        let before = std::mem::take(&mut self.wanted);
        let since = |id: &CertId| before.get(id).map_or(now, |(_, since)| *since);
        let one = |spec: &CertSpec| (spec.id.clone(), (Arc::new(spec.clone()), since(&spec.id)));
        self.wanted = specs.iter().map(one).collect();
        self.shown.retain(|id, _| self.wanted.contains_key(id) || id.is_variant());
        self.wanted.keys().filter(|id| !before.contains_key(*id)).cloned().collect()
    }

    /// Whether this node's configuration has it.
    pub fn wants(&self, id: &CertId) -> bool {
        self.wanted.contains_key(id)
    }

    /// All that this node's configuration has.
    pub fn wanted(&self) -> impl Iterator<Item = &CertId> {
        self.wanted.keys()
    }

    /// The specification of a certificate that is wanted here.
    pub fn spec(&self, id: &CertId) -> Option<&Arc<CertSpec>> {
        self.wanted.get(id).map(|(spec, _)| spec)
    }

    /// Since when this node wants a certificate.
    pub fn since(&self, id: &CertId) -> UnixTime {
        self.wanted.get(id).map(|(_, since)| *since).unwrap_or_default()
    }

    /// Notes what is shown from now on.
    pub fn shown(&mut self, bundle: &Bundle) {
        let shown = Shown { rank: rank(bundle), serial: bundle.leaf.serial_text(), not_after: bundle.leaf.not_after };
        self.shown.insert(bundle.id.clone(), shown);
    }

    /// What is shown of a certificate.
    pub fn shows(&self, id: &CertId) -> Option<&Shown> {
        self.shown.get(id)
    }

    /// The best of what is claimed, if it goes before what is shown.
    pub fn better(&self, id: &CertId, claims: &[Arc<Claim>]) -> Option<Bundle> {
        let best = claims.iter().filter_map(|claim| read(id, claim)).max_by_key(rank)?;
        self.shown.get(id).is_none_or(|shown| shown.rank < rank(&best)).then_some(best)
    }

    /// Whether the others lack this one, and nothing that they have goes before it.
    pub fn is_news(&self, bundle: &Bundle, claims: &[Arc<Claim>]) -> bool {
        !bundle.id.is_variant()
            && claims.iter().filter_map(|claim| read(&bundle.id, claim)).all(|known| rank(&known) < rank(bundle))
    }
}

/// The bundle in a claim, if it is one of that certificate.
fn read(id: &CertId, claim: &Claim) -> Option<Bundle> {
    let bundle = Bundle::from_text(claim.body().as_bytes()).ok()?;
    (bundle.id == *id).then_some(bundle)
}
