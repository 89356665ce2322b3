//! What is shown where more than one bundle could be? Groups the generations of a certificate with its standby, with what
//! split-off names have of their own and with what former names left behind; lets `cert::choose` decide, swaps, and looks
//! again when something begins or ends. A certificate that stands alone is swapped in as it comes and kept nowhere here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::keeper::Installed;
use crate::cert::bundle::Bundle;
use crate::cert::choose::{Candidate, Provenance, Wish, arrange};
use crate::clock::{Clock, UnixTime};
use crate::plan::certificate::CertId;
use crate::plan::tls::CertificateSource;
use crate::tls::certificates::Certificates;
use crate::words::Identifier;

/// What could be shown, and what is.
pub struct Sources {
    certificates: Arc<Certificates>,
    clock: Arc<dyn Clock>,
    groups: Mutex<Groups>,
    told: OnceLock<Tell>,
}

/// Hears what is shown for a certificate with a group; `None`: it stands alone again. Must not block.
pub type Tell = Box<dyn Fn(&CertId, Option<Shown>) + Send + Sync>;

/// What is shown for one certificate.
#[derive(Clone, Debug)]
pub struct Shown {
    /// For every name without one of its own.
    pub main: Arc<Bundle>,
    /// For single names.
    pub own: Vec<(Identifier, Arc<Bundle>)>,
}

/// The groups by their certificate, and in which of them a bundle belongs.
#[derive(Default)]
struct Groups {
    all: HashMap<CertId, Group>,
    of: HashMap<CertId, Vec<CertId>>,
}

/// The candidates for one certificate of the plan.
struct Group {
    names: Vec<Identifier>,
    /// Whose bundles belong to it, and as what. The certificate's own are [`Provenance::Generation`].
    members: Vec<(CertId, Provenance)>,
    offers: Vec<Offer>,
    look_again: Option<UnixTime>,
    /// The bundles that are shown: the main one, then those for single names.
    shown: Vec<(CertId, u64)>,
}

struct Offer {
    provenance: Provenance,
    bundle: Arc<Bundle>,
    disowned: bool,
    doubtful: bool,
}

impl Sources {
    /// Nothing is grouped yet.
    pub fn new(certificates: Arc<Certificates>, clock: Arc<dyn Clock>) -> Sources {
        Sources { certificates, clock, groups: Mutex::default(), told: OnceLock::new() }
    }

    /// Says whom to tell of what is shown; once, before anything is grouped.
    pub fn report_to(&self, tell: Tell) {
        let _ = self.told.set(tell);
    }

    /// Generations came into force.
    pub fn offer(&self, installed: Vec<Installed>) {
        // Many come from the shelf after a start: their keys were matched when they were read.
        let many = installed.len() > 1;
        let mut groups = self.groups();
        for Installed { spec, bundle } in installed {
            for id in groups.of(&bundle.id) {
                let Some(group) = groups.all.get_mut(&id) else { continue };
                group.take(bundle.clone());
                self.show(&id, group);
            }
            if groups.all.contains_key(&spec.id) {
                continue;
            }
            let source = CertificateSource::Acme(spec.id.clone());
            let pair = (*bundle).clone().into();
            let held = match many {
                true => Ok(self.certificates.install_unloaded(&source, pair)),
                false => self.certificates.install(&source, pair),
            };
            match held {
                Ok(held) => {
                    let until = held.not_after;
                    tracing::info!(level = "notice", "certificate {} is in force until {until}", spec.id);
                }
                Err(dead) => tracing::error!("certificate {}: {dead}", spec.id),
            }
        }
    }

    /// Groups the bundles of `members` behind the certificate `id`; `held` is what the shelves have of them all, its own
    /// generations included. Replaces an earlier group; marks of generations stay.
    pub fn group(&self, id: &CertId, names: &[Identifier], members: Vec<(CertId, Provenance)>, held: Vec<Bundle>) {
        let mut groups = self.groups();
        let old = groups.take(id);
        let mut group = Group { names: names.to_vec(), members, offers: vec![], look_again: None, shown: vec![] };
        group.members.push((id.clone(), Provenance::Generation(0)));
        // The oldest first: the newest of a member replaces what it had before.
        held.into_iter().rev().for_each(|bundle| group.take(Arc::new(bundle)));
        for offer in &mut group.offers {
            let known = old.iter().flat_map(|old| &old.offers).find(|known| same(&known.bundle, &offer.bundle));
            (offer.disowned, offer.doubtful) = known.map_or((false, false), |known| (known.disowned, known.doubtful));
        }
        self.show(id, &mut group);
        for (member, _) in &group.members {
            groups.of.entry(member.clone()).or_default().push(id.clone());
        }
        groups.all.insert(id.clone(), group);
    }

    /// The certificate stands alone again; what is shown for it stays.
    pub fn ungroup(&self, id: &CertId) {
        if self.groups().take(id).is_some() {
            self.certificates.install_apart(&CertificateSource::Acme(id.clone()), vec![]);
            self.told.get().into_iter().for_each(|tell| tell(id, None));
        }
    }

    /// Whether a certificate has a group.
    pub fn is_grouped(&self, id: &CertId) -> bool {
        self.groups().all.contains_key(id)
    }

    /// Whether a certificate is grouped with these members.
    pub fn has(&self, id: &CertId, members: &[(CertId, Provenance)]) -> bool {
        let groups = self.groups();
        let Some(group) = groups.all.get(id) else { return false };
        group.members.len() == members.len() + 1 && members.iter().all(|member| group.members.contains(member))
    }

    /// A generation is disowned, or its authority wants it replaced before its time.
    pub fn mark(&self, id: &CertId, epoch: u64, disowned: bool, doubtful: bool) {
        let mut groups = self.groups();
        for main in groups.of(id) {
            let Some(group) = groups.all.get_mut(&main) else { continue };
            let offer = group.offers.iter_mut().find(|offer| offer.bundle.id == *id && offer.bundle.epoch == epoch);
            let Some(offer) = offer.filter(|offer| (offer.disowned, offer.doubtful) != (disowned, doubtful)) else {
                continue;
            };
            (offer.disowned, offer.doubtful) = (disowned, doubtful);
            self.show(&main, group);
        }
    }

    /// Whether anything is grouped.
    pub fn is_busy(&self) -> bool {
        !self.groups().all.is_empty()
    }

    /// The certificates behind which this one stands.
    pub fn before(&self, id: &CertId) -> Vec<CertId> {
        self.groups().of(id).into_iter().filter(|main| main != id).collect()
    }

    /// Looks again where something has begun or ended. To be called every second.
    pub fn tick(&self) {
        let now = self.clock.now();
        for (id, group) in &mut self.groups().all {
            if group.look_again.is_some_and(|at| at <= now) {
                self.show(id, group);
            }
        }
    }

    /// Decides and swaps; a key that cannot sign takes its bundle out of the choice.
    fn show(&self, id: &CertId, group: &mut Group) {
        let source = CertificateSource::Acme(id.clone());
        loop {
            let candidates: Vec<Candidate> = group.offers.iter().map(Offer::candidate).collect();
            let covers = |at: usize, name: usize| group.offers[at].bundle.leaf.covers(&group.names[name]);
            let shown = arrange(Wish::Acme, group.names.len(), &candidates, covers, self.clock.now());
            group.look_again = shown.look_again;
            let Some(main) = shown.main else { return };
            let all = std::iter::once(main).chain(shown.apart.iter().map(|(_, at)| *at));
            let now_shown: Vec<_> = all.map(|at| group.offers[at].key()).collect();
            if now_shown == group.shown {
                return;
            }
            let offer = &group.offers[main];
            if group.shown.first() != now_shown.first() {
                if let Err(dead) = self.certificates.install(&source, (*offer.bundle).clone().into()) {
                    tracing::error!("certificate {}: {dead}", offer.bundle.id);
                    group.offers.remove(main);
                    continue;
                }
                let (from, until) = (&offer.bundle.issuer, offer.bundle.leaf.not_after);
                let what = if offer.provenance == Provenance::Standby { "the standby" } else { "certificate" };
                tracing::info!(level = "notice", "{what} {id} of {from} is in force until {until}");
            }
            let own = shown.apart.iter();
            let own = own.map(|(name, at)| (group.names[*name].clone(), group.offers[*at].bundle.clone()));
            let own: Vec<(Identifier, Arc<Bundle>)> = own.collect();
            let pair = |(name, bundle): &(Identifier, Arc<Bundle>)| (name.clone(), (**bundle).clone().into());
            self.certificates.install_apart(&source, own.iter().map(pair).collect());
            if let Some(tell) = self.told.get() {
                tell(id, Some(Shown { main: offer.bundle.clone(), own }));
            }
            group.shown = now_shown;
            return;
        }
    }

    // Every change of the map is whole when a panic elsewhere could strike.
    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Groups {
    /// The certificates behind which a bundle of `member` stands.
    fn of(&self, member: &CertId) -> Vec<CertId> {
        self.of.get(member).cloned().unwrap_or_default()
    }

    fn take(&mut self, id: &CertId) -> Option<Group> {
        let group = self.all.remove(id)?;
        for (member, _) in &group.members {
            if let Some(mains) = self.of.get_mut(member) {
                mains.retain(|main| main != id);
            }
        }
        self.of.retain(|_, mains| !mains.is_empty());
        Some(group)
    }
}

impl Group {
    fn member(&self, id: &CertId) -> Option<Provenance> {
        self.members.iter().find(|(member, _)| member == id).map(|(_, provenance)| *provenance)
    }

    /// Takes a bundle in. Of the certificate itself older generations stay; of others only the newest counts.
    fn take(&mut self, bundle: Arc<Bundle>) {
        let Some(provenance) = self.member(&bundle.id) else { return };
        let provenance = match provenance {
            Provenance::Generation(_) => Provenance::Generation(bundle.epoch),
            other => other,
        };
        let own = matches!(provenance, Provenance::Generation(_));
        self.offers.retain(|offer| {
            let replaced = offer.bundle.id == bundle.id && (!own || offer.bundle.epoch == bundle.epoch);
            !replaced
        });
        self.offers.push(Offer { provenance, bundle, disowned: false, doubtful: false });
        // A few are enough, as on the shelf.
        let owns = |offer: &Offer| matches!(offer.provenance, Provenance::Generation(_));
        if self.offers.iter().filter(|offer| owns(offer)).count() > 4
            && let Some(oldest) = self.offers.iter().position(owns)
        {
            self.offers.remove(oldest);
        }
    }
}

impl Offer {
    fn candidate(&self) -> Candidate {
        let leaf = &self.bundle.leaf;
        let Offer { provenance, disowned, doubtful, .. } = *self;
        Candidate { provenance, not_before: leaf.not_before, not_after: leaf.not_after, disowned, doubtful }
    }

    fn key(&self) -> (CertId, u64) {
        (self.bundle.id.clone(), self.bundle.epoch)
    }
}

fn same(one: &Bundle, other: &Bundle) -> bool {
    one.id == other.id && one.epoch == other.epoch
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
