//! How does a certificate meet the world? One loop for each: waits for the moment that its stage names or for a report,
//! steps, writes the decision down, performs the effects. Decides nothing itself; [`super::keepers`] starts and stops it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::books::Books;
use super::lookout::Lookout;
use crate::acme::{Ca, Outcome};
use crate::cert::bundle::Bundle;
use crate::cert::deeds::{self, Deed, Install, Place, Rest};
use crate::cert::failure::Failure;
use crate::cert::gate::{self, Source};
use crate::cert::journal::{Record, Shelf, ShelfError, StageRecord};
use crate::cert::stage::{Effect, Event, Held, Policy, Stage};
use crate::clock::{Clock, Dice, UnixTime};
use crate::plan::certificate::{CertId, CertSpec};
use crate::zone::beats::Beats;

mod desk;
mod handle;
mod mail;
mod outlook;
mod turn;

pub use turn::{SharedTurns, Turns};

pub use self::desk::Desk;
pub use self::handle::{Handle, Teller};
use self::mail::Mail;

/// A generation that is in force from now on.
#[derive(Clone, Debug)]
pub struct Installed {
    /// What it is for.
    pub spec: Arc<CertSpec>,
    /// Key and chain.
    pub bundle: Arc<Bundle>,
}

/// Told of the generations that come into force, several at once after a start. Called on the control runtime; must not
/// block.
pub type Publish = Arc<dyn Fn(Vec<Installed>) + Send + Sync>;

/// What a keeper works with.
#[derive(Clone)]
pub struct Tools {
    /// The civil clock.
    pub clock: Arc<dyn Clock>,
    /// Real dice.
    pub dice: Arc<dyn Dice>,
    /// Where generations are announced.
    pub publish: Publish,
    /// Where loops note that they turn.
    pub beats: Arc<Beats>,
}

/// The rules of one certificate and who can be asked; a reload may change them.
#[derive(Clone)]
pub struct Rules {
    /// What is wanted.
    pub spec: Arc<CertSpec>,
    /// When and how.
    pub policy: Policy,
    /// The issuers that the policy names, the first one first.
    pub issuers: Vec<(String, Arc<Ca>)>,
}

/// What a keeper is told.
pub enum Word {
    /// A report for the stage.
    Event(Event),
    /// Another node has obtained this generation.
    Handed(Box<Bundle>),
    /// The order of this attempt, for these names, brought a generation.
    Issued(u64, Arc<CertSpec>, Box<Bundle>),
    /// The configuration changed.
    Rules(Box<Rules>),
}

/// The loop of one certificate.
pub struct Keeper {
    rules: Rules,
    tools: Tools,
    shelf: Arc<dyn Shelf>,
    books: Arc<Books>,
    report: Option<mpsc::UnboundedSender<CertId>>,
    stage: Stage,
    seen: Arc<Mutex<Stage>>,
    reports: Arc<Mail>,
    order: Option<JoinHandle<()>>,
    /// Held while an order is placed or abandoned: never both at once.
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
    unstored: Option<(Box<Bundle>, UnixTime)>,
    /// A disowned generation, to be put away as soon as its successor is stored.
    disowned: Option<u64>,
    /// Nothing is begun by itself while it is set; what runs is brought to its end.
    paused: Arc<AtomicBool>,
    lookout: Option<Arc<Lookout>>,
    /// Looks, while this waits after a failure, whether what stood in the way is gone.
    watching: Option<JoinHandle<()>>,
    turns: SharedTurns,
}

impl Keeper {
    /// A keeper that goes on where the journal stands; `held` is what the shelf holds.
    pub fn new(rules: Rules, tools: Tools, desk: Desk, held: Option<&Bundle>) -> (Keeper, Handle) {
        let Desk { shelf, books, report } = desk;
        let record = shelf.load(&Record::Stage(rules.spec.id.clone()));
        let stage = record.ok().flatten().and_then(|text| StageRecord::read(&text)).unwrap_or_default();
        let reports = Arc::new(Mail::default());
        let seen = Arc::new(Mutex::new(stage.clone()));
        let paused = Arc::new(AtomicBool::new(false));
        let handle = Handle::new(&reports, seen.clone(), paused.clone(), shelf.clone());
        let one_at_a_time = Arc::default();
        // The first word of all.
        let wanted = &rules.spec.identifiers;
        reports.send(Word::Event(Event::Started(held.map(|bundle| Held::for_names(bundle, wanted)))));
        let (order, unstored, disowned, lookout, watching) = (None, None, None, None, None);
        let keeper = Keeper {
            rules,
            tools,
            shelf,
            books,
            report,
            stage,
            seen,
            reports,
            order,
            one_at_a_time,
            unstored,
            disowned,
            paused,
            lookout,
            watching,
            turns: SharedTurns::default(),
        };
        (keeper, handle)
    }

    /// Runs until the task is aborted.
    pub fn run(self) -> impl Future<Output = ()> + Send {
        Box::new(self).turn()
    }

    /// There is one of these for each certificate, and nearly all of them sleep: what happens rarely is in boxes, so that
    /// the room for it is not held meanwhile.
    async fn turn(mut self: Box<Self>) {
        loop {
            let now = self.tools.clock.now();
            self.tools.beats.turned(&self.rules.spec.id, self.stage.trouble().attempts);
            let rest = self.rest(now);
            let wake = rest.wakes_at(&self.stage, now, self.unstored.as_ref().map(|(_, again)| *again));
            let wake = self.wakes_among_others(wake, now);
            let word = tokio::select! {
                word = self.reports.next() => word,
                () = tokio::time::sleep(wake.since(now)) => Word::Event(Event::Tick),
            };
            match word {
                // A pause or a doubt may have come meanwhile, or it may be another node's turn.
                Word::Event(event) if !self.rest(self.tools.clock.now()).hears(&event) => {}
                Word::Event(event) if !self.is_our_turn(&event) => {}
                Word::Event(event) => Box::pin(self.step(event)).await,
                Word::Handed(bundle) => Box::pin(self.handed(bundle)).await,
                Word::Issued(attempt, ordered, bundle) => Box::pin(self.issued(attempt, &ordered, bundle)).await,
                Word::Rules(rules) => Box::pin(self.obey(*rules)).await,
            }
            if self.unstored.is_some() {
                Box::pin(self.store_again()).await;
            }
        }
    }

    async fn obey(&mut self, rules: Rules) {
        self.rules = rules;
        // An order under way may end first; its certificate is judged by the new rules then.
        if !matches!(self.stage, Stage::Ordering { .. }) {
            let held = self.stage.held().cloned();
            self.step(Event::Started(held)).await;
            self.step(Event::Cleared).await;
        }
    }

    /// What keeps this certificate from being seen to.
    fn rest(&self, now: UnixTime) -> Rest {
        let paused = self.paused.load(Ordering::Relaxed);
        Rest::of(&self.stage, paused, self.tools.clock.in_doubt(), now)
    }

    /// One step: decided first, written second, done third, in the order that [`deeds`] says.
    async fn step(&mut self, event: Event) {
        let now = self.tools.clock.now();
        let (draw, policy, stage) = (self.tools.dice.draw(), &self.rules.policy, &self.stage);
        let decision = self.books.with(|ledger| deeds::decide(stage, now, event, policy, ledger, draw));
        let before = std::mem::replace(&mut self.stage, decision.stage);
        self.tell_of_order(&before);
        let mut failed = decision.failed;
        for deed in decision.deeds {
            match deed {
                Deed::SaveLedger => {
                    if let Err(error) = self.books.save(now).await {
                        tracing::error!("{}: the ledger cannot be written: {error}", self.rules.spec.id);
                    }
                }
                Deed::SaveStage => {
                    let (shelf, id) = (self.shelf.clone(), self.rules.spec.id.clone());
                    let text = StageRecord::write(&self.stage);
                    if let Err(error) = blocking(move || shelf.save(&Record::Stage(id), &text)).await {
                        tracing::error!("{}: the journal cannot be written: {error}", self.rules.spec.id);
                    }
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.stage.clone();
                    if let Some(why) = failed.take() {
                        self.tell(&why, now);
                    }
                }
                Deed::Report => {
                    if let Some(report) = &self.report {
                        // Whoever no longer listens is gone.
                        let _ = report.send(self.rules.spec.id.clone());
                    }
                }
                Deed::Perform(effect, whom) => self.perform(effect, whom.as_deref()),
            }
        }
        self.watch();
    }

    fn perform(&mut self, effect: Effect, whom: Option<&str>) {
        let epoch = self.stage.held().map_or(1, |held| held.epoch + 1);
        let number = match &effect {
            Effect::PlaceOrder(attempt) => Some(attempt.number),
            Effect::AbandonOrder | Effect::AskRenewalInfo { .. } => None,
            Effect::Tell(notice) => return tracing::warn!("{}: {notice}", self.rules.spec.id),
            Effect::Look(names) => return self.look(names.clone()),
        };
        let issuers = &self.rules.issuers;
        let ca = issuers.iter().find(|(name, _)| whom.is_none_or(|wanted| wanted == name));
        let Some((_, ca)) = ca.or(issuers.first()) else { return };
        let takes_over = deeds::ends_what_runs(&effect);
        if let Some(order) = self.order.take_if(|_| takes_over) {
            order.abort();
        }
        let (ca, spec, reports) = (ca.clone(), self.ordered(&effect), Arc::downgrade(&self.reports));
        let turns = takes_over.then(|| self.one_at_a_time.clone());
        let foresight = self.foresight();
        let task = tokio::spawn(async move {
            if let (Effect::PlaceOrder(attempt), Some(foresight)) = (&effect, foresight)
                && foresight.holds_back(&ca, &spec, attempt, &reports).await
            {
                return;
            }
            let _one_at_a_time = match &turns {
                Some(turns) => Some(turns.lock().await),
                None => None,
            };
            let word = match ca.perform(&spec, effect, epoch).await {
                Outcome::Issued(bundle) => Word::Issued(number.unwrap_or_default(), spec.clone(), bundle),
                Outcome::Event(event) => Word::Event(event),
                Outcome::Done => return,
            };
            if let Some(reports) = reports.upgrade() {
                reports.send(word);
            }
        });
        if number.is_some() {
            self.order = Some(task);
        }
    }

    /// What is ordered: the specification, without the names that the attempt leaves out.
    fn ordered(&self, effect: &Effect) -> Arc<CertSpec> {
        let spec = &self.rules.spec;
        match effect {
            Effect::PlaceOrder(attempt) if !attempt.leave_out.is_empty() => {
                Arc::new(CertSpec { identifiers: attempt.names(&spec.identifiers), ..(**spec).clone() })
            }
            _ => spec.clone(),
        }
    }

    /// A new generation: through the gate, onto the shelf, into force, then into the journal.
    async fn issued(&mut self, attempt: u64, ordered: &CertSpec, bundle: Box<Bundle>) {
        let (spec, now) = (self.rules.spec.clone(), self.tools.clock.now());
        let verdict = gate::judge(&(*bundle).clone().into(), &ordered.identifiers, Source::Authority, now);
        if let Some(objection) = verdict.refusals.first() {
            let why = Failure::BadCertificate { detail: objection.to_string() };
            return self.step(Event::Failed(attempt, why)).await;
        }
        for warning in &verdict.warnings {
            tracing::warn!("{}: {warning}", spec.id);
        }
        if bundle.authority != "internal" {
            self.tools.clock.accepted(bundle.leaf.not_before);
        }
        self.learn(attempt, &ordered.identifiers, &bundle.leaf);
        self.disowned = self.stage.held().filter(|held| held.disowned).map(|held| held.epoch).or(self.disowned);
        let mut bundle = bundle;
        for deed in deeds::INSTALL {
            match deed {
                Install::Store => {
                    bundle = self.store(bundle).await;
                    let (epoch, issuer, until) = (bundle.epoch, &bundle.issuer, bundle.leaf.not_after);
                    tracing::info!("{}: generation {epoch} of {issuer} is in force until {until}", spec.id);
                }
                Install::Publish => {
                    let installed = Installed { spec: spec.clone(), bundle: Arc::new((*bundle).clone()) };
                    (self.tools.publish)(vec![installed]);
                }
                Install::Step => {
                    let held = Held::for_names(&bundle, &spec.identifiers);
                    self.step(Event::Issued(held)).await;
                }
                Install::ForgetOrder if self.unstored.is_none() => self.forget_order().await,
                Install::ForgetOrder => {}
            }
        }
        self.put_away().await;
    }

    /// Puts a bundle on the shelf; one that cannot be stored is served all the same, and tried again.
    async fn store(&mut self, mut bundle: Box<Bundle>) -> Box<Bundle> {
        let mut place = Place::new(bundle.epoch, &self.stage, self.unstored.is_some());
        for _ in 0..deeds::TRIES {
            let (shelf, copy) = (self.shelf.clone(), bundle.clone());
            match blocking(move || shelf.replace(&copy, place.expected)).await {
                Ok(()) => {
                    self.unstored = None;
                    return bundle;
                }
                Err(ShelfError::Conflict { found, .. }) => {
                    place = place.after(found);
                    bundle.epoch = place.epoch;
                }
                Err(error) => {
                    tracing::error!("{}: the new certificate cannot be stored: {error}", self.rules.spec.id);
                    break;
                }
            }
        }
        self.unstored = Some((bundle.clone(), self.tools.clock.now() + deeds::STORE_AGAIN));
        bundle
    }

    /// A generation that is worth nothing is no source any more, after a restart either.
    async fn put_away(&mut self) {
        // Until its successor is stored it is all that a restart would find.
        let Some(epoch) = self.disowned.take_if(|_| self.unstored.is_none()) else { return };
        let (shelf, id) = (self.shelf.clone(), self.rules.spec.id.clone());
        if let Err(error) = blocking(move || shelf.disown(&id, epoch)).await {
            tracing::error!("{}: generation {epoch} cannot be put away: {error}", self.rules.spec.id);
        }
    }

    async fn store_again(&mut self) {
        let now = self.tools.clock.now();
        if let Some((bundle, _)) = self.unstored.take_if(|(_, again)| *again <= now) {
            // Whatever is on the shelf is older: nobody but this keeper writes this certificate.
            self.unstored = Some((bundle.clone(), now));
            self.store(bundle).await;
            if self.unstored.is_none() {
                self.put_away().await;
                self.forget_order().await;
            }
        }
    }

    async fn forget_order(&self) {
        for (_, ca) in &self.rules.issuers {
            ca.forget(&self.rules.spec.id).await;
        }
    }

    fn tell(&self, why: &Failure, now: UnixTime) {
        let (id, again) = (&self.rules.spec.id, self.stage.wakes_at());
        match self.stage.held() {
            Some(held) if now < held.not_after => {
                tracing::warn!(
                    "{id}: {why}; the present certificate is valid until {}; next attempt {again}",
                    held.not_after
                );
            }
            _ => tracing::error!("{id}: {why}; no valid certificate is held; next attempt {again}"),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        for task in [self.order.take(), self.watching.take()].into_iter().flatten() {
            task.abort();
        }
    }
}

/// Does what blocks on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ShelfError> + Send + 'static,
) -> Result<T, ShelfError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ShelfError::Io { path: "a blocking thread".into(), source: std::io::Error::other(error) }),
    }
}
