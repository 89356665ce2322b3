//! Which certificates are kept beside those of the plan? A standby from a second authority, one of its own for each name
//! that was split off, and bundles of former sets of names until the new one comes. Each derived certificate has a keeper
//! like any other; what is shown of them all, [`super::sources`] arranges.

use std::collections::HashSet;
use std::sync::Arc;

use super::keeper::Word;
use super::keepers::Keepers;
use super::sources::Sources;
use crate::cert::bundle::Bundle;
use crate::cert::choose::Provenance;
use crate::cert::journal::{Record, Shelf};
use crate::cert::left::{Fate, Left, fate};
use crate::cert::stage::Event;
use crate::clock::UnixTime;
use crate::plan::acme::Issuer;
use crate::plan::certificate::{CertId, CertSpec};
use crate::words::Identifier;

/// Left-over bundles that are looked at when a new certificate has nothing yet.
const FORMER: usize = 500;

/// One that stands behind a certificate of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its identity.
    pub id: CertId,
    /// As what it is shown.
    pub provenance: Provenance,
    /// The name for which it is there alone.
    pub name: Option<Identifier>,
}

impl Keepers {
    /// Arranges what is shown through `sources` from now on.
    pub fn arrange_with(&mut self, sources: Arc<Sources>) {
        self.sources = Some(sources);
    }

    /// The next certificate whose standing changed in a way that others must follow.
    pub async fn changed(&mut self) -> CertId {
        match self.changes.recv().await {
            Some(id) => id,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Follows a change of one certificate: what stands behind it, and whom it stands behind.
    pub fn heed(&mut self, id: &CertId) {
        let Some((_, handle)) = self.kept.get(id) else { return };
        let stage = handle.stage();
        let now = self.tools.clock.now();
        if let (Some(held), Some(sources)) = (stage.held(), &self.sources) {
            sources.mark(id, held.epoch, held.disowned, held.doubtful);
        }
        let valid = stage.held().is_some_and(|held| !held.disowned && now < held.not_after);
        let before = self.sources.as_ref().filter(|_| valid).map(|sources| sources.before(id)).unwrap_or_default();
        for main in before {
            let members = self.derived.get(&main).into_iter().flatten();
            let names = members.filter(|member| member.id == *id).filter_map(|member| member.name.clone());
            if let Some((_, handle)) = self.kept.get(&main) {
                names.for_each(|name| handle.tell(Word::Event(Event::Passed(name))));
            }
        }
        if self.planned.contains(id) && self.derive(id, &[]) {
            self.let_go();
        }
    }

    /// Sees to what stands behind every certificate of the plan.
    pub(super) fn derive_all(&mut self) {
        let ids: Vec<CertId> = self.planned.iter().cloned().collect();
        let bare = ids.iter().any(|id| self.kept.get(id).is_some_and(|(_, handle)| handle.stage().held().is_none()));
        let left = if bare { self.left_over() } else { Vec::new() };
        for id in &ids {
            self.derive(id, &left);
        }
        self.let_go();
    }

    /// Starts and stops what stands behind one certificate of the plan; false if nothing changed. `left` are bundles that
    /// nobody wants any more.
    // Longer than sixty lines: what is derived stands in the order in which it is needed.
    fn derive(&mut self, id: &CertId, left: &[Bundle]) -> bool {
        let Some(sources) = self.sources.clone() else { return false };
        let Some((spec, handle)) = self.kept.get(id) else { return false };
        let (spec, stage) = (spec.clone(), handle.stage());
        let all = self.all.clone();
        let issuer = |name: &str| all.iter().find(|issuer| *issuer.name == *name);
        let Some(own) = issuer(&spec.issuer) else { return false };
        let mut members = Vec::new();
        let mut wanted: Vec<(Issuer, CertSpec)> = Vec::new();
        let standby = spec.standby.of(own).and_then(issuer);
        if let Some(standby) = standby {
            let derived = CertSpec { id: id.variant("standby"), issuer: standby.name.clone(), ..(*spec).clone() };
            members.push(Member { id: derived.id.clone(), provenance: Provenance::Standby, name: None });
            // Its fallbacks could lead to the very authority that it stands in for.
            wanted.push((Issuer { fallback: vec![], ..standby.clone() }, derived));
        }
        for name in stage.apart() {
            let derived = CertSpec::new(spec.issuer.clone(), vec![name.clone()], spec.key, spec.place.clone());
            members.push(Member { id: derived.id.clone(), provenance: Provenance::Apart, name: Some(name) });
            wanted.push((own.clone(), derived));
        }
        if stage.held().is_none() {
            members.extend(self.former(id, &spec, left));
        }
        // Whose present generation is worth nothing shows an older one that is still in force, until another comes.
        let disowned = stage.held().is_some_and(|held| held.disowned);
        let alone = members.is_empty() && !disowned;
        let known = self.derived.get(id).map_or(&[][..], Vec::as_slice);
        let stands = if alone { !sources.is_grouped(id) } else { sources.has(id, &pairs(&members)) };
        if known == members && stands {
            return false;
        }
        for (issuer, derived) in wanted {
            let held = self.kept.contains_key(&derived.id).then_some(None);
            let installed = held.unwrap_or_else(|| self.keep_stored(&issuer, &all, &derived));
            installed.into_iter().for_each(|installed| (self.tools.publish)(vec![installed]));
        }
        let mut bundles = self.desk(own).shelf.bundles(id).unwrap_or_default();
        for member in &members {
            let shelf = match member.provenance {
                Provenance::Standby => standby.map(|standby| self.desk(standby).shelf),
                _ => Some(self.desk(own).shelf),
            };
            bundles.extend(shelf.and_then(|shelf| shelf.bundle(&member.id).ok().flatten()));
        }
        let now = self.tools.clock.now();
        for member in &members {
            // One that holds its own already has passed.
            let passed = bundles.iter().any(|bundle| bundle.id == member.id && now < bundle.leaf.not_after);
            if let (Some(name), true, Some((_, handle))) = (&member.name, passed, self.kept.get(id)) {
                handle.tell(Word::Event(Event::Passed(name.clone())));
            }
        }
        match alone {
            true => sources.ungroup(id),
            false => sources.group(id, &spec.identifiers, pairs(&members), bundles),
        }
        if let Some(held) = stage.held() {
            sources.mark(id, held.epoch, held.disowned, held.doubtful);
        }
        match members.is_empty() {
            true => drop(self.derived.remove(id)),
            false => drop(self.derived.insert(id.clone(), members)),
        }
        true
    }

    /// Bundles of former sets of names that speak for some of these names.
    fn former(&self, id: &CertId, spec: &CertSpec, left: &[Bundle]) -> Vec<Member> {
        let known = self.derived.get(id).into_iter().flatten().filter(|m| m.provenance == Provenance::Former);
        let now = self.tools.clock.now();
        let helps = |bundle: &&Bundle| {
            now < bundle.leaf.not_after && spec.identifiers.iter().any(|name| bundle.leaf.covers(name))
        };
        let found = left.iter().filter(helps);
        let found = found.map(|b| Member { id: b.id.clone(), provenance: Provenance::Former, name: None });
        let mut members: Vec<Member> = known.cloned().chain(found).collect();
        members.dedup();
        members
    }

    /// Bundles on the shelves that no certificate of the plan has.
    fn left_over(&self) -> Vec<Bundle> {
        let mut left = Vec::new();
        for desk in self.desks.values() {
            let ids = desk.shelf.ids().unwrap_or_default();
            let gone = ids.into_iter().filter(|id| !self.kept.contains_key(id)).take(FORMER);
            left.extend(gone.filter_map(|id| desk.shelf.bundle(&id).ok().flatten()));
        }
        left
    }

    /// Ends keepers that neither the plan nor any certificate of it needs.
    fn let_go(&mut self) {
        let planned = &self.planned;
        self.derived.retain(|main, _| planned.contains(main));
        let members: HashSet<&CertId> = self.derived.values().flatten().map(|member| &member.id).collect();
        let (rescued, demanded) = (&self.rescued, &self.demanded);
        let others = |id: &CertId| members.contains(id) || rescued.contains(id) || demanded.contains_key(id);
        self.kept.retain(|id, _| planned.contains(id) || others(id));
    }

    /// Whether a bundle of `spec` is on the shelf.
    pub fn holds(&mut self, spec: &CertSpec) -> bool {
        let all = self.all.clone();
        let issuer = all.iter().find(|issuer| issuer.name == spec.issuer);
        issuer.is_some_and(|issuer| self.desk(issuer).shelf.bundle(&spec.id).is_ok_and(|bundle| bundle.is_some()))
    }

    /// Keeps a certificate beside a file that nobody renews; false if its issuer is unknown.
    pub fn stand_in(&mut self, spec: &CertSpec) -> bool {
        let all = self.all.clone();
        let Some(issuer) = all.iter().find(|issuer| issuer.name == spec.issuer) else { return false };
        self.rescued.insert(spec.id.clone());
        if !self.kept.contains_key(&spec.id)
            && let Some(installed) = self.keep_stored(issuer, &all, spec)
        {
            (self.tools.publish)(vec![installed]);
        }
        true
    }

    /// Ends those beside files that are no longer needed; what they hold stays on the shelf.
    pub fn stand_down(&mut self, over: impl Fn(&CertId) -> bool) {
        let ended: Vec<CertId> = self.rescued.extract_if(|id| over(id)).collect();
        for id in ended {
            if !self.planned.contains(&id) && !self.demanded.contains_key(&id) {
                self.kept.remove(&id);
            }
        }
    }

    /// What is kept for names that stand nowhere in the next plan.
    pub fn demand(&mut self, specs: Vec<CertSpec>) {
        self.demanded = specs.into_iter().map(|spec| (spec.id.clone(), spec)).collect();
    }

    /// Keeps one more for a name that stands nowhere in the plan.
    pub fn keep_on_demand(&mut self, spec: &CertSpec) {
        let all = self.all.clone();
        let Some(issuer) = all.iter().find(|issuer| issuer.name == spec.issuer) else { return };
        self.demanded.insert(spec.id.clone(), spec.clone());
        if !self.kept.contains_key(&spec.id)
            && let Some(installed) = self.keep_stored(issuer, &all, spec)
        {
            (self.tools.publish)(vec![installed]);
        }
    }

    /// Ends these, and leaves nothing of them in memory; what they hold stays on the shelf.
    pub fn end_on_demand(&mut self, ids: &[CertId]) {
        for id in ids {
            self.demanded.remove(id);
            if !self.planned.contains(id) && !self.rescued.contains(id) {
                self.kept.remove(id);
            }
        }
        let kept = &self.kept;
        self.tools.beats.retain(|id| kept.contains_key(id));
    }

    /// Whether a certificate is kept only because clients asked for its name.
    pub fn is_on_demand(&self, id: &CertId) -> bool {
        self.demanded.contains_key(id) && !self.planned.contains(id)
    }

    /// Where certificates of an issuer lie.
    pub fn shelf(&mut self, issuer: &Issuer) -> Arc<dyn Shelf> {
        self.desk(issuer).shelf
    }

    /// Looks after what left the configuration: noted, kept for a month, put aside. To be called once a day, and after each
    /// new plan.
    pub fn tidy(&self) {
        let wanted: Arc<HashSet<CertId>> = Arc::new(self.kept.keys().cloned().collect());
        let now = self.tools.clock.now();
        for desk in self.desks.values() {
            let (shelf, wanted) = (desk.shelf.clone(), wanted.clone());
            drop(tokio::task::spawn_blocking(move || tidy(&*shelf, &wanted, now)));
        }
    }
}

fn pairs(members: &[Member]) -> Vec<(CertId, Provenance)> {
    members.iter().map(|member| (member.id.clone(), member.provenance)).collect()
}

/// One round over a shelf. A disk that refuses is tried again tomorrow.
fn tidy(shelf: &dyn Shelf, wanted: &HashSet<CertId>, now: UnixTime) {
    for id in shelf.ids().unwrap_or_default() {
        let record = Record::Left(id.clone());
        let Ok(text) = shelf.load(&record) else { continue };
        let left: Option<Left> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let done = match fate(wanted.contains(&id), left, now) {
            Fate::Rest => Ok(()),
            Fate::Return => shelf.remove(&record),
            Fate::Note(left) => {
                tracing::info!(
                    level = "notice",
                    "{id} has left the configuration: it is kept for a month, not renewed"
                );
                shelf.save(&record, &serde_json::to_vec(&left).unwrap_or_default())
            }
            Fate::Archive => {
                tracing::info!(level = "notice", "{id} left the configuration a month ago and is put aside");
                shelf.archive(&id)
            }
        };
        if let Err(error) = done {
            tracing::warn!("{id} left the configuration, and that cannot be written: {error}");
        }
    }
}

#[cfg(test)]
#[path = "derived_tests.rs"]
mod tests;
