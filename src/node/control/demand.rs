//! What does the control thread do for names on demand? Hears the door, has questions asked, writes down what is held before
//! a keeper begins, and ends what nobody needs. `cert::on_demand` decides all of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cert::concern::{Concern, Severity, Topic};
use crate::cert::journal::{Record, ShelfError};
use crate::cert::on_demand::fit::fit;
use crate::cert::on_demand::{Dropped, Knock, Refusal, Standing, Then, Word};
use crate::clock::Clock as _;
use crate::node::admin::Caller;
use crate::node::demanded::{self, Demanded};
use crate::node::on_demand::{AGAIN_AT_ONCE, Demand};
use crate::node::overdue::tell;
use crate::plan::Plan;
use crate::plan::certificate::{CertId, CertSpec};
use crate::plan::tls::CertificateSource;
use crate::tls::on_demand::Ring;
use crate::words::DomainName;

use super::{Desk, Said};

/// The next name that a client asked for in vain; never, if somebody else listens.
pub(super) async fn next_ring(rings: &mut Option<mpsc::Receiver<Ring>>) -> Ring {
    match rings {
        Some(rings) => match rings.recv().await {
            Some(ring) => ring,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Desk {
    /// Takes the terms of a plan; to be called before the keepers take it.
    pub(super) fn adopt_demand(&mut self, plan: &Plan) {
        let wanted = plan.on_demand.as_ref().and_then(|terms| {
            let issuer = plan.issuers.iter().find(|issuer| issuer.name == terms.issuer)?;
            Some((terms.clone(), self.keepers.shelf(issuer)))
        });
        let known = self.demand.take();
        self.demand = match (known, wanted) {
            (Some(mut known), Some((terms, shelf))) if Arc::ptr_eq(&known.shelf, &shelf) => {
                known.adopt(terms);
                Some(known)
            }
            (_, Some((terms, shelf))) => Some(Demand::open(terms, shelf, self.around.clock.clone())),
            (_, None) => None,
        };
        let specs = self.demand.as_ref().map(Demand::specs).unwrap_or_default();
        let door = self.around.tls.door();
        let names: HashSet<&DomainName> = specs.iter().map(|(name, _)| name).collect();
        door.close_all_but(|name| names.contains(name));
        self.keepers.demand(specs.into_iter().map(|(_, spec)| spec).collect());
    }

    /// Shows what the keepers hold of names on demand; to be called after they took the plan.
    pub(super) fn show_demand(&mut self) {
        let specs = self.demand.as_ref().map(Demand::specs).unwrap_or_default();
        for (name, spec) in &specs {
            self.open(name, spec);
            self.arrange(name);
        }
    }

    fn open(&self, name: &DomainName, spec: &CertSpec) {
        let slot = self.around.tls.certificates().slot(&CertificateSource::Acme(spec.id.clone()));
        self.around.tls.door().open(name, spec.id.clone(), slot);
    }

    /// Renewed or not, as the desk says and the operator wishes.
    fn arrange(&mut self, name: &DomainName) {
        let Some(demand) = &self.demand else { return };
        let (spec, renews) = (demand.spec(name), demand.desk.renews(name));
        self.around.tls.door().rest(name, !renews);
        let Some(issuer) =
            self.plan.as_ref().and_then(|plan| plan.issuers.iter().find(|issuer| issuer.name == spec.issuer).cloned())
        else {
            return;
        };
        let paused = self.keepers.wishes(&issuer).paused(&spec.id).is_some();
        if let Some((_, handle)) =
            self.keepers.kept(&spec.id).filter(|(_, handle)| handle.paused() != (paused || !renews))
        {
            handle.pause(paused || !renews);
        }
    }

    /// A client asked for a name that is not held.
    pub(super) fn rung(&mut self, ring: Ring) {
        let Ring { name, client } = ring;
        let now = self.around.clock.now();
        let Some(demand) = &mut self.demand else { return };
        match demand.desk.knock(&name, client, now) {
            Knock::Hold => self.hold(name, "it is on the allow-list"),
            Knock::Ask => self.ask(name),
            Knock::Refused(why) => self.refused(&name, &why),
            Knock::Held | Knock::Asking => {}
        }
    }

    fn ask(&self, name: DomainName) {
        let Some(asker) = self.demand.as_ref().and_then(|demand| demand.asker.clone()) else { return };
        let say = self.say.clone();
        tokio::spawn(async move {
            let word = asker.ask(&name).await;
            if let Some(say) = say.upgrade() {
                let _ = say.send(Said::Word(name, word));
            }
        });
    }

    /// What `ask` said.
    pub(super) fn answered(&mut self, name: DomainName, word: Word) {
        let now = self.around.clock.now();
        let Some(demand) = &mut self.demand else { return };
        demand.heard(&word, now);
        let then = demand.desk.answered(&name, word, now);
        match then {
            Then::Nothing => {}
            Then::Hold => self.hold(name, "\"ask\" allows it"),
            Then::Refused(why) => self.refused(&name, &why),
            Then::Stop => {
                tracing::warn!("{name}: \"ask\" stays with its no: it is served to its end, and renewed no more");
                self.arrange(&name);
                self.write_demand(true);
            }
            Then::Resume => {
                tracing::info!(level = "notice", "{name}: \"ask\" allows it again, and it is renewed");
                self.arrange(&name);
                self.write_demand(true);
            }
        }
    }

    fn refused(&self, name: &DomainName, why: &Refusal) {
        // Strangers choose the names: nothing of this belongs into an operator's log by default.
        tracing::debug!("{name} is not obtained on demand: {why}");
    }

    fn hold(&mut self, name: DomainName, why: &str) {
        tracing::info!(level = "notice", "{name} is obtained on demand: {why}");
        if let Some(demand) = &mut self.demand {
            demand.begin(name);
        }
        self.write_demand(false);
    }

    /// Writes the record, if something changed; what waits for it begins afterwards.
    pub(super) fn write_demand(&mut self, changed: bool) {
        let now = self.around.clock.now();
        let Some(demand) = &mut self.demand else { return };
        if changed {
            demand.changed();
        }
        let Some((text, names)) = demand.to_write(now) else { return };
        let (shelf, say) = (demand.shelf.clone(), self.say.clone());
        tokio::task::spawn_blocking(move || {
            let done = shelf.save(&Record::OnDemand, &text);
            if let Some(say) = say.upgrade() {
                let _ = say.send(Said::Held(names, done));
            }
        });
    }

    /// The record is written: what waited for it begins.
    pub(super) fn begin(&mut self, names: &[DomainName], done: Result<(), ShelfError>) {
        let Some(demand) = &mut self.demand else { return };
        demand.written(done);
        for name in names {
            let Some(demand) = &self.demand else { return };
            // A reload may have come between.
            if !demand.desk.renews(name) {
                continue;
            }
            let spec = demand.spec(name);
            self.keepers.keep_on_demand(&spec);
            self.open(name, &spec);
            self.arrange(name);
        }
        self.write_demand(false);
    }

    /// Asks again about what is held, a few at a time. To be called every second.
    pub(super) fn ask_again(&mut self) {
        let now = self.around.clock.now();
        let Some(demand) = &mut self.demand else { return };
        for name in demand.desk.questions(AGAIN_AT_ONCE, now) {
            self.ask(name);
        }
    }

    /// Notes what was used, and once an hour drops what nobody asks for and writes it all down. To be called once a minute.
    pub(super) fn look_after_demand(&mut self, hourly: bool) {
        let now = self.around.clock.now();
        let Some(demand) = &mut self.demand else { return };
        for (name, at) in self.around.tls.door().used() {
            demand.desk.used(&name, at);
        }
        let silent = demand.silent.as_ref().map(|(since, words)| Concern {
            topic: Topic::OnDemand,
            subject: "\"ask\" of acme_on_demand".to_owned(),
            severity: Severity::Error,
            text: format!("gives no answer, so that no new name is obtained: {words}"),
            since: *since,
        });
        let full = demand.desk.held().count() >= demand.desk.terms().names;
        let full = full.then(|| Concern {
            topic: Topic::OnDemand,
            subject: "acme_on_demand".to_owned(),
            severity: Severity::Error,
            text: "holds as many names as it may (\"names\"): no new one is obtained".to_owned(),
            since: now,
        });
        tell(&self.around.concerns.report("on demand", silent.into_iter().chain(full).collect()));
        // While nobody knows what time it is, nothing is too old.
        if !hourly || self.around.clock.in_doubt() {
            return;
        }
        let certificates = self.around.tls.certificates().clone();
        let specs: HashMap<DomainName, CertSpec> = demand.specs().into_iter().collect();
        let gone = demand.desk.forget(now, |name| {
            let id = specs.get(name)?.id.clone();
            Some(certificates.held(&CertificateSource::Acme(id))?.not_after)
        });
        let mut ended = Vec::new();
        for (name, why) in gone {
            let words = match why {
                Dropped::Unused => "no client has asked for it for long",
                Dropped::Ended => "\"ask\" stays with its no, and its certificate has ended",
            };
            tracing::info!(level = "notice", "{name} is no longer obtained on demand: {words}");
            self.around.tls.door().close(&name);
            ended.extend(specs.get(&name).map(|spec| spec.id.clone()));
        }
        if !ended.is_empty() {
            self.keepers.end_on_demand(&ended);
            let over = |id: &CertId| ended.contains(id) && self.keepers.kept(id).is_none();
            certificates.retain(|source| !matches!(source, CertificateSource::Acme(id) if over(id)));
        }
        self.write_demand(true);
    }

    /// Everything about a name. Where it could be held on demand and is not live, it is looked at from outside first.
    pub(super) fn explained(&self, name: &str, caller: Caller) {
        let mut explained = self.explain(name);
        let planned = explained.kept.iter().any(|kept| !self.is_on_demand(&kept.progress.id));
        let Some((standing, parsed)) = self.standing(name).filter(|_| !planned && explained.files.is_empty()) else {
            return caller.answer(Ok(explained));
        };
        let now = explained.now;
        let live = explained.kept.iter().any(|kept| kept.shown.as_ref().is_some_and(|shown| now < shown.not_after));
        let lookout = self.keepers.lookout();
        tokio::spawn(async move {
            let leads = match parsed.filter(|_| !live) {
                Some(name) => demanded::look(lookout, &name).await,
                None => None,
            };
            let demanded = Demanded { standing, live, leads, advice: Vec::new() };
            explained.on_demand = Some(demanded.advised(&explained.name));
            caller.answer(Ok(explained));
        });
    }

    fn is_on_demand(&self, id: &str) -> bool {
        id.to_owned().try_into().is_ok_and(|id| self.keepers.is_on_demand(&id))
    }

    /// How a name stands, where names are served on demand.
    fn standing(&self, name: &str) -> Option<(Standing, Option<DomainName>)> {
        let demand = self.demand.as_ref()?;
        let listeners = self.plan.iter().flat_map(|plan| &plan.http).flat_map(|http| &http.listeners);
        let mut addresses = listeners.flat_map(|listener| &listener.addresses).filter(|address| address.ssl);
        let takes = |server: &crate::plan::server::Server| server.tls.as_ref().is_some_and(|tls| tls.on_demand);
        addresses.find(|address| takes(crate::tls::terms::meant(address, Some(name))))?;
        let unfit = |why| Standing::Refused { why: Refusal::Unfit(why), at: None, again: None };
        match (fit(name), name.parse::<DomainName>()) {
            (Err(why), _) => Some((unfit(why), None)),
            (Ok(()), Ok(name)) => Some((demand.desk.standing(&name, self.around.clock.now()), Some(name))),
            (Ok(()), Err(_)) => None,
        }
    }
}
