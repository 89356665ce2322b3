//! Which certificates are kept? Starts a keeper for each specification of the plan, with its shelf and its issuer; takes a
//! new plan without disturbing those that stay. Lives on the control runtime.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;

use super::books::Trust;
use super::derived::Member;
use super::keeper::{Desk, Handle, Installed, Keeper, Rules, SharedTurns, Tools, Turns, Word};
use super::lookout::Lookout;
use super::sources::Sources;
use super::wishes::WishList;
use crate::acme::{Around, Ca, Secrets};
use crate::cert::bundle::Bundle;
use crate::cert::journal::{Shelf, ShelfError};
use crate::cert::ledger::Ledger;
use crate::cert::policy::Way;
use crate::cert::stage::{Event, Policy, Stage};
use crate::cert::ways::{self, Standing};
use crate::plan::acme::Issuer;
use crate::plan::certificate::{CertId, CertSpec};
use crate::plan::checks::Checks;
use crate::plan::limits::Limits;
use crate::store::{Directory, Enduring, Memory};
use crate::zone::challenges::Challenges;

/// So many bundles are read, and published, at once.
const AT_ONCE: usize = 1024;
/// So many bundles are read before another thread is worth its start.
const FEW: usize = 100;

/// The parts of a policy that certificates of one issuer have in common: ways, and limits by authority.
type Shared = (Arc<[Way]>, Arc<[(String, Limits)]>);

/// All keepers of this node.
pub struct Keepers {
    pub(super) tools: Tools,
    challenges: Arc<Challenges>,
    secrets: Arc<dyn Secrets>,
    pub(super) desks: HashMap<PathBuf, Desk>,
    troubles: Vec<String>,
    nowhere: Desk,
    issuers: HashMap<Arc<str>, (Issuer, Arc<Ca>)>,
    pub(super) kept: HashMap<CertId, (Arc<CertSpec>, Handle)>,
    standing: Standing,
    wishes: HashMap<PathBuf, Arc<WishList>>,
    /// The few ways to certificates, and the limits on them, that the policies of all keepers are made of.
    ways: Vec<Shared>,
    /// The issuers of the plan, and the certificates that it names itself.
    pub(super) all: Arc<[Issuer]>,
    pub(super) planned: HashSet<CertId>,
    /// What stands behind certificates of the plan.
    pub(super) derived: HashMap<CertId, Vec<Member>>,
    /// What is kept beside files that nobody renews.
    pub(super) rescued: HashSet<CertId>,
    /// What is kept for names that stand nowhere in the plan.
    pub(super) demanded: HashMap<CertId, CertSpec>,
    pub(super) sources: Option<Arc<Sources>>,
    report: mpsc::UnboundedSender<CertId>,
    pub(super) changes: mpsc::UnboundedReceiver<CertId>,
    pub(super) lookout: Arc<Lookout>,
    turns: SharedTurns,
}

impl Keepers {
    /// Keeps nothing yet. Everything below must be called on the control runtime.
    pub fn new(tools: Tools, challenges: Arc<Challenges>, secrets: Arc<dyn Secrets>) -> Keepers {
        let (report, changes) = mpsc::unbounded_channel();
        Keepers {
            tools,
            challenges,
            secrets,
            desks: HashMap::new(),
            troubles: Vec::new(),
            nowhere: Desk::over(Arc::new(Memory::default())),
            issuers: HashMap::new(),
            kept: HashMap::new(),
            standing: Standing::default(),
            wishes: HashMap::new(),
            ways: Vec::new(),
            all: Arc::default(),
            planned: HashSet::new(),
            derived: HashMap::new(),
            rescued: HashSet::new(),
            demanded: HashMap::new(),
            sources: None,
            report,
            changes,
            lookout: Arc::default(),
            turns: SharedTurns::default(),
        }
    }

    /// Says what stands on this node, so that ways that cannot work are not tried. Holds for the next plan.
    pub fn stand(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Says who knows whose turn it is, where several nodes look after the same certificates.
    pub fn take_turns(&self, turns: Option<Arc<dyn Turns>>) {
        *self.turns.lock().unwrap_or_else(PoisonError::into_inner) = turns;
    }

    /// Hands a generation that another node has obtained to the keeper of that certificate.
    pub fn hand(&self, bundle: Box<Bundle>) {
        if let Some((_, handle)) = self.kept.get(&bundle.id) {
            handle.tell(Word::Handed(bundle));
        }
    }

    /// Says by which terms names are looked at before an authority is asked.
    /// What they teach is kept in `state`.
    pub fn look_by(&self, checks: &Checks, state: &std::path::Path) {
        self.lookout.adopt(checks, state, &self.challenges, &self.tools.clock);
    }

    /// The eyes of all keepers.
    pub fn lookout(&self) -> Arc<Lookout> {
        self.lookout.clone()
    }

    /// Keeps exactly the certificates of a plan: starts the new ones, tells the old ones their new rules, stops the rest.
    /// What the shelves hold is published before this returns, so that it can be served from the first moment.
    pub fn adopt(&mut self, issuers: &[Issuer], specs: &[CertSpec]) {
        self.issuers.retain(|name, (old, _)| issuers.iter().any(|new| new.name == *name && new == old));
        (self.all, self.planned) = (issuers.into(), specs.iter().map(|spec| spec.id.clone()).collect());
        let behind: HashSet<&CertId> = self.derived.values().flatten().map(|member| &member.id).collect();
        let stays = |id: &CertId| {
            self.planned.contains(id)
                || behind.contains(id)
                || self.rescued.contains(id)
                || self.demanded.contains_key(id)
        };
        self.kept.retain(|id, _| stays(id));
        self.ways.clear();
        let kept = &self.kept;
        self.tools.beats.retain(|id| kept.contains_key(id));
        let on_demand = self.demanded.values().filter(|spec| !self.planned.contains(&spec.id));
        let on_demand: Vec<CertSpec> = on_demand.cloned().collect();
        self.challenges.manage(specs.iter().chain(&on_demand).flat_map(|spec| &spec.identifiers));
        for some in specs.chunks(AT_ONCE).chain(on_demand.chunks(AT_ONCE)) {
            let mut held = Vec::new();
            for (spec, found) in some.iter().zip(self.read(some, issuers)) {
                let Some(issuer) = issuers.iter().find(|issuer| issuer.name == spec.issuer) else {
                    tracing::error!("{}: there is no issuer {:?}", spec.id, spec.issuer);
                    continue;
                };
                held.extend(self.keep(issuer, issuers, spec, found));
            }
            if !held.is_empty() {
                (self.tools.publish)(held);
            }
        }
        self.derive_all();
        self.tidy();
    }

    /// What is held of those that are not kept yet, read on all cores: a start waits for it.
    fn read(&mut self, specs: &[CertSpec], issuers: &[Issuer]) -> Vec<Option<Bundle>> {
        let mut wanted = Vec::with_capacity(specs.len());
        for spec in specs {
            let issuer = issuers.iter().find(|issuer| issuer.name == spec.issuer);
            let issuer = issuer.filter(|_| !self.kept.contains_key(&spec.id));
            wanted.push((spec, issuer.map(|issuer| self.desk(issuer).shelf)));
        }
        let read = |some: &[(&CertSpec, Option<Arc<dyn Shelf>>)]| -> Vec<Option<Bundle>> {
            some.iter().map(|(spec, shelf)| held(spec, shelf.as_ref()?)).collect()
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len() / FEW + 1);
        if threads == 1 {
            return read(&wanted);
        }
        std::thread::scope(|scope| {
            let shares = wanted.chunks(wanted.len().div_ceil(threads));
            let each: Vec<_> = shares.map(|share| scope.spawn(|| read(share))).collect();
            // A panic while one is read must not pass for nothing held.
            each.into_iter().flat_map(|one| one.join().unwrap_or_else(|why| std::panic::resume_unwind(why))).collect()
        })
    }

    /// Renews a certificate now; false if none of that identity is kept.
    pub fn renew(&self, id: &CertId) -> bool {
        match self.kept.get(id) {
            Some((_, handle)) => {
                handle.tell(Word::Event(Event::Renew));
                true
            }
            None => false,
        }
    }

    /// The keeper of a certificate, and what it keeps.
    pub fn kept(&self, id: &CertId) -> Option<&(Arc<CertSpec>, Handle)> {
        self.kept.get(id)
    }

    /// All keepers, in the order of their first names.
    pub fn all(&self) -> Vec<&(Arc<CertSpec>, Handle)> {
        let mut all: Vec<_> = self.kept.values().collect();
        all.sort_by(|(one, _), (other, _)| one.identifiers.cmp(&other.identifiers).then(one.id.cmp(&other.id)));
        all
    }

    /// The wishes of the state path where a certificate lies.
    pub fn wishes(&mut self, issuer: &Issuer) -> Arc<WishList> {
        let shelf = self.desk(issuer).shelf;
        let path = issuer.state_path.clone().unwrap_or_default();
        self.wishes.entry(path).or_insert_with(|| Arc::new(WishList::open(shelf))).clone()
    }

    /// The rules for a certificate of `issuer`, on this node.
    pub fn policy(&self, issuer: &Issuer, all: &[Issuer], spec: &CertSpec) -> Policy {
        let mut policy = Policy::of(issuer, all, spec.identifiers.as_slice());
        policy.ways = ways::workable(policy.ways.to_vec(), &spec.identifiers, self.standing).into();
        policy
    }

    /// What of the authorities' limits is used up, as the state path of `issuer` knows it.
    pub fn ledger(&self, issuer: &Issuer) -> Ledger {
        let desk = issuer.state_path.as_ref().and_then(|path| self.desks.get(path)).unwrap_or(&self.nowhere);
        desk.books.with(|ledger| ledger.clone())
    }

    /// Where every certificate stands.
    pub fn stages(&self) -> Vec<(Arc<CertSpec>, Stage)> {
        self.kept.values().map(|(spec, handle)| (spec.clone(), handle.stage())).collect()
    }

    /// Hears the clocks of all authorities, in tasks of their own.
    pub fn hear_the_time(&self) {
        for (_, ca) in self.issuers.values() {
            let ca = ca.clone();
            tokio::spawn(async move { ca.hear_the_time().await });
        }
    }

    /// The issuer of that name, if a certificate uses it.
    pub fn issuer(&self, name: &str) -> Option<Arc<Ca>> {
        self.issuers.get(name).map(|(_, ca)| ca.clone())
    }

    /// The same as [`Keepers::keep`] for one alone: what is held of it is read here.
    pub(super) fn keep_stored(&mut self, issuer: &Issuer, all: &[Issuer], spec: &CertSpec) -> Option<Installed> {
        let known = self.kept.contains_key(&spec.id);
        let found = if known { None } else { held(spec, &self.desk(issuer).shelf) };
        self.keep(issuer, all, spec, found)
    }

    /// The same policy, with those of its parts that others have too held once for all.
    fn shared(&mut self, mut policy: Policy) -> Policy {
        match self.ways.iter().find(|(ways, limits)| *ways == policy.ways && *limits == policy.limits) {
            Some((ways, limits)) => (policy.ways, policy.limits) = (ways.clone(), limits.clone()),
            None => self.ways.push((policy.ways.clone(), policy.limits.clone())),
        }
        policy
    }

    /// Starts or instructs one keeper; what a new one finds held is returned.
    pub(super) fn keep(
        &mut self,
        issuer: &Issuer,
        all: &[Issuer],
        spec: &CertSpec,
        held: Option<Bundle>,
    ) -> Option<Installed> {
        let desk = self.desk(issuer).reporting(&self.report);
        let spec = Arc::new(spec.clone());
        let fallbacks = issuer.fallback.iter().filter_map(|name| all.iter().find(|other| other.name == *name));
        let asked = std::iter::once(issuer).chain(fallbacks);
        // The authority itself does not depend on who stands in for it.
        let asked = asked.map(|issuer| all.iter().find(|said| said.name == issuer.name).unwrap_or(issuer));
        let issuers = asked.map(|issuer| (issuer.name.to_string(), self.ca(issuer))).collect();
        let policy = self.policy(issuer, all, &spec);
        let rules = Rules { spec: spec.clone(), policy: self.shared(policy), issuers };
        if let Some((known, handle)) = self.kept.get_mut(&spec.id) {
            *known = spec;
            handle.tell(Word::Rules(Box::new(rules)));
            return None;
        }
        let (keeper, mut handle) = Keeper::new(rules, self.tools.clone(), desk, held.as_ref());
        let pause = self.wishes(issuer).paused(&spec.id);
        handle.pause(pause.is_some());
        self.tools.beats.pause(&spec.id, pause);
        handle.attach(tokio::spawn(keeper.looking(self.lookout.clone()).taking_turns(self.turns.clone()).run()));
        self.kept.insert(spec.id.clone(), (spec.clone(), handle));
        held.map(|bundle| Installed { spec, bundle: Arc::new(bundle) })
    }

    pub(super) fn desk(&mut self, issuer: &Issuer) -> Desk {
        let Some(path) = &issuer.state_path else { return self.nowhere.clone() };
        if let Some(desk) = self.desks.get(path) {
            return desk.clone();
        }
        let desk = match Directory::view(path) {
            Ok(directory) => Desk::over(Arc::new(Enduring::new(Arc::new(directory)))),
            Err(error) => {
                let trouble = format!(
                    "{error}: nothing in it is touched, and what of its certificates can be read is served. What was ordered \
                     before nobody knows: where authorities have limits, nothing is ordered in the first quarter of an hour \
                     unless `semper renew` asks for it, then one certificate a week for the same names and fifty a day. Put \
                     the state path in order, or name another one, and restart"
                );
                tracing::error!("{trouble}");
                self.troubles.push(trouble);
                let shelf = Enduring::new(Arc::new(Directory::in_need(path, &error)));
                // Beside a state of another format one of ours grows; elsewhere nothing can be written down.
                let ours = matches!(error, ShelfError::Format { .. });
                Desk::in_need(Arc::new(shelf), if ours { Trust::Found } else { Trust::Nothing })
            }
        };
        self.desks.insert(path.clone(), desk.clone());
        desk
    }

    /// State paths that cannot be used, and what to do; for the status.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    fn ca(&mut self, issuer: &Issuer) -> Arc<Ca> {
        if let Some((_, ca)) = self.issuers.get(&issuer.name) {
            return ca.clone();
        }
        let around = Around {
            shelf: self.desk(issuer).shelf,
            challenges: self.challenges.clone(),
            secrets: self.secrets.clone(),
            clock: self.tools.clock.clone(),
        };
        let ca = Arc::new(Ca::new(issuer, around));
        if let Err(why) = ca.prepare() {
            tracing::error!("acme_issuer {}: {why}", issuer.name);
        }
        self.issuers.insert(issuer.name.clone(), (issuer.clone(), ca.clone()));
        ca
    }
}

/// What is held of a certificate. A shelf that cannot be read holds nothing, and says so.
fn held(spec: &CertSpec, shelf: &Arc<dyn Shelf>) -> Option<Bundle> {
    shelf.bundle(&spec.id).unwrap_or_else(|error| {
        tracing::error!("{}: what is held cannot be read: {error}", spec.id);
        None
    })
}

#[cfg(test)]
#[path = "keepers_tests.rs"]
mod tests;
