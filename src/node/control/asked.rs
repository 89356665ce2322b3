//! What does the control thread answer to those who ask? One function for each question; what takes long is answered
//! beside everything else.

use std::sync::Arc;

use crate::acme::{Around as AcmeAround, Reason};
use crate::cert::advice;
use crate::cert::ledger::{Urgency, Wish as Limited};
use crate::cert::rehearse::{Moment, Scenario, rehearse, span};
use crate::cert::stage::{Event, Stage};
use crate::cert::trouble::Past;
use crate::cert::wishes::Pause;
use crate::clock::{Clock as _, UnixTime};
use crate::node::admin::{Caller, Progress, Question};
use crate::node::dry_run::{self, Wish};
use crate::node::explain::{Explained, Kept, Timeline, second};
use crate::node::keeper::{Handle, Word};
use crate::node::revoke::{self, Errand};
use crate::plan::Plan;
use crate::plan::acme::{Authority, Issuer};
use crate::plan::certificate::CertSpec;
use crate::plan::server::Server;
use crate::plan::tls::CertificateSource;

use super::Desk;

type Keeper = (Arc<CertSpec>, Handle);

impl Desk {
    /// Answers a question.
    pub(super) fn asked(&mut self, question: Question, caller: Caller) {
        match question {
            Question::Status => caller.answer(Ok(self.status())),
            Question::Renew(names) => caller.answer(self.renew(&names)),
            Question::Progress(ids) => caller.answer(Ok(self.progress(&ids))),
            Question::DryRun(names) => self.dry_run(&names, caller),
            Question::Revoke(name, reason) => self.revoke(&name, reason, caller),
            Question::Pause(name, pause) => self.pause(&name, pause, caller),
            Question::Explain(name) => self.explained(&name, caller),
            Question::Rehearse(name, scenario) => caller.answer(self.rehearse(&name, scenario)),
            Question::RemoveNode(node) => caller.answer(self.front.remove(&node)),
            Question::Rollover(issuer) => self.rollover(issuer.as_deref(), caller),
        }
    }

    /// The keepers of a name (or of a certificate's identity), those of an exact match.
    fn of(&self, name: &str) -> Result<Vec<&Keeper>, String> {
        let name = name.to_ascii_lowercase();
        let all = self.keepers.all();
        let exact =
            |spec: &CertSpec| spec.id.as_str() == name || spec.identifiers.iter().any(|own| own.to_string() == name);
        let found: Vec<&Keeper> = all.iter().copied().filter(|(spec, _)| exact(spec)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let files = self.plan.iter().flat_map(|plan| crate::tls::load::names_in_use(plan));
        let mut files = files.filter(|(source, _)| matches!(source, CertificateSource::File(_)));
        match files.find(|(_, names)| names.iter().any(|own| own.to_string() == name)) {
            Some((CertificateSource::File(files), _)) => Err(format!(
                "the certificate of {name} is the file {}, which somebody else renews",
                files.certificate.display()
            )),
            _ => Err(format!("no certificate of {name} is obtained here; `semper status` lists them")),
        }
    }

    fn of_all(&self, names: &[String]) -> Result<Vec<&Keeper>, String> {
        let mut found: Vec<&Keeper> = Vec::new();
        for name in names {
            for keeper in self.of(name)? {
                if !found.iter().any(|(spec, _)| spec.id == keeper.0.id) {
                    found.push(keeper);
                }
            }
        }
        Ok(found)
    }

    fn issuer(&self, spec: &CertSpec) -> Option<&Issuer> {
        self.plan.as_ref()?.issuers.iter().find(|issuer| issuer.name == spec.issuer)
    }

    fn renew(&self, names: &[String]) -> Result<Vec<Progress>, String> {
        let now = self.around.clock.now();
        let due = |stage: &Stage| match stage {
            Stage::Serving { renew_at, trouble, held, .. } => {
                *renew_at <= now || trouble.failures > 0 || held.not_after <= now
            }
            Stage::Absent { .. } => true,
            Stage::Ordering { .. } => false,
        };
        let meant = match names {
            [] => {
                self.keepers.all().into_iter().filter(|(_, keeper)| due(&keeper.stage()) && !keeper.paused()).collect()
            }
            names => self.of_all(names)?,
        };
        if let Some((spec, _)) = meant.iter().find(|(_, keeper)| keeper.paused()) {
            let name = &spec.identifiers[0];
            return Err(format!("{name} is paused; `semper resume {name}` goes first"));
        }
        let begun = meant.iter().map(|keeper| self.progress_of(keeper)).collect();
        for (_, keeper) in meant {
            keeper.tell(Word::Event(Event::Renew));
        }
        Ok(begun)
    }

    fn progress(&self, ids: &[String]) -> Vec<Progress> {
        let all = self.keepers.all();
        let meant = all.into_iter().filter(|(spec, _)| ids.iter().any(|id| id == spec.id.as_str()));
        meant.map(|keeper| self.progress_of(keeper)).collect()
    }

    fn progress_of(&self, (spec, keeper): &Keeper) -> Progress {
        let stage = keeper.stage();
        let issuer = match &stage {
            Stage::Ordering { attempt, .. } => attempt.way.issuer.clone(),
            _ => spec.issuer.to_string(),
        };
        let trouble = stage.trouble();
        let doomed = self.doomed.iter().flat_map(|list| list.doomed()).find(|doomed| doomed.id == spec.id);
        Progress {
            id: spec.id.to_string(),
            names: spec.identifiers.iter().map(ToString::to_string).collect(),
            epoch: stage.held().map(|held| held.epoch),
            not_after: stage.held().map(|held| held.not_after),
            attempts: trouble.attempts,
            ordering: matches!(stage, Stage::Ordering { .. }),
            step: self.keepers.issuer(&issuer).and_then(|ca| ca.step_of(&spec.id)),
            trouble: trouble.last.as_ref().filter(|_| trouble.failures + trouble.at_once > 0).map(ToString::to_string),
            next: stage.wakes_at(),
            paused: keeper.paused(),
            revoking: doomed.map(|doomed| match &doomed.trouble {
                Some(words) => format!("generation {} is not revoked yet: {words}", doomed.epoch),
                None => format!("generation {} is revoked when another one is in force", doomed.epoch),
            }),
            issuer,
        }
    }

    fn acme_around(&self, handle: &Handle) -> AcmeAround {
        AcmeAround {
            shelf: handle.shelf(),
            challenges: self.around.challenges.clone(),
            secrets: Arc::new(self.around.files.clone()),
            clock: self.around.clock.clone(),
        }
    }

    fn dry_run(&self, names: &[String], caller: Caller) {
        let meant = match names {
            [] => Ok(self.keepers.all()),
            names => self.of_all(names),
        };
        let meant = match meant {
            Ok(meant) => meant,
            Err(words) => return caller.answer::<()>(Err(words)),
        };
        let wish = |(spec, handle): &Keeper| {
            let issuer = self.issuer(spec)?.clone();
            Some(Wish { spec: spec.clone(), issuer, around: self.acme_around(handle), lookout: self.keepers.lookout() })
        };
        let wishes = meant.into_iter().filter_map(wish).collect();
        tokio::spawn(dry_run::run(wishes, caller));
    }

    fn pause(&mut self, name: &str, pause: bool, caller: Caller) {
        let meant: Vec<_> = match self.of(name) {
            Ok(meant) => meant.into_iter().map(|(spec, _)| spec.clone()).collect(),
            Err(words) => return caller.answer::<()>(Err(words)),
        };
        let pause = pause.then(|| Pause { since: self.around.clock.now(), by: caller.who() });
        for spec in &meant {
            let Some(issuer) = self.issuer(spec).cloned() else { continue };
            // Small, rare, and asked for by somebody who waits.
            if let Err(error) = self.keepers.wishes(&issuer).pause(&spec.id, pause.clone()) {
                return caller.answer::<()>(Err(error.to_string()));
            }
            if let Some((_, handle)) = self.keepers.kept(&spec.id) {
                handle.pause(pause.is_some());
            }
            self.around.beats.pause(&spec.id, pause.clone());
            let what = if pause.is_some() { "paused" } else { "resumed" };
            tracing::warn!("{}: {what} by {}", spec.id, caller.who());
        }
        let names = |spec: &Arc<CertSpec>| spec.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>();
        caller.answer(Ok(meant.iter().map(names).collect::<Vec<_>>()));
    }

    fn revoke(&mut self, name: &str, reason: Reason, caller: Caller) {
        let meant: Vec<_> = match self.of(name) {
            Ok(meant) => meant.into_iter().map(|(spec, handle)| (spec.clone(), handle.shelf())).collect(),
            Err(words) => return caller.answer::<()>(Err(words)),
        };
        // A standby has a key and an authority of its own: it is what helps now, unless it is called by its identity.
        let main = meant.iter().any(|(spec, _)| !spec.id.is_standby());
        let mut begun = Vec::new();
        for (spec, shelf) in meant.into_iter().filter(|(spec, _)| !(main && spec.id.is_standby())) {
            let bundle = match shelf.bundle(&spec.id) {
                Ok(Some(bundle)) => bundle,
                Ok(None) => {
                    return caller.answer::<()>(Err(format!("nothing is held of {name} that could be revoked")));
                }
                Err(error) => return caller.answer::<()>(Err(error.to_string())),
            };
            let Some(issuer) = self.issuer(&spec).cloned() else { continue };
            let doomed = revoke::wish(&bundle, reason, &*self.around.clock);
            if let Err(error) = self.keepers.wishes(&issuer).revoke(doomed.clone()) {
                return caller.answer::<()>(Err(error.to_string()));
            }
            self.carry_out(&issuer, doomed.clone());
            if let Some(keeper) = self.keepers.kept(&spec.id) {
                begun.push(self.progress_of(keeper));
                revoke::replace(&keeper.1, &doomed);
            }
        }
        caller.answer(Ok(begun));
    }

    /// Goes on with what was asked for before this plan, or before this process.
    pub(super) fn recall_wishes(&mut self, plan: &Plan) {
        self.doomed.clear();
        for issuer in &plan.issuers {
            let list = self.keepers.wishes(issuer);
            if !self.doomed.iter().any(|known| Arc::ptr_eq(known, &list)) {
                self.doomed.push(list);
            }
        }
        for doomed in self.doomed.iter().flat_map(|list| list.doomed()).collect::<Vec<_>>() {
            let issuer = plan.issuers.iter().find(|issuer| *issuer.name == *doomed.issuer);
            // Kept by now, whether the plan names it or clients asked for it.
            let spec = self.keepers.kept(&doomed.id).map(|(spec, _)| spec.clone());
            if let (Some(issuer), Some(spec)) = (issuer, spec) {
                let epoch = doomed.epoch;
                self.carry_out(issuer, doomed.clone());
                if let Some((_, handle)) = self.keepers.kept(&spec.id) {
                    let (stage, id) = (handle.stage(), &spec.id);
                    let waits = stage.held().is_none_or(|held| held.epoch <= epoch);
                    tracing::info!("{id}: the revocation of generation {epoch} goes on");
                    // The process may have ended before the keeper heard that another one is wanted.
                    if waits && !matches!(stage, Stage::Ordering { .. }) {
                        revoke::replace(handle, &doomed);
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, issuer: &Issuer, doomed: crate::cert::wishes::Revocation) {
        let wishes = self.keepers.wishes(issuer);
        let Some(ca) = self.keepers.issuer(&issuer.name) else { return };
        let Some((_, handle)) = self.keepers.kept(&doomed.id) else { return };
        let (shelf, stage, clock) = (handle.shelf(), handle.watch(), self.around.clock.clone());
        let key = (doomed.id.clone(), doomed.epoch);
        self.errands.retain(|_, task| !task.is_finished());
        let sources = self.sources.clone();
        let errand = Errand { wishes, shelf, ca, stage, clock, sources };
        self.errands.entry(key).or_insert_with(|| tokio::spawn(errand.run(doomed)));
    }

    fn rehearse(&self, name: &str, scenario: Scenario) -> Result<Vec<Timeline>, String> {
        let now = self.around.clock.now();
        let line = |(spec, handle): &Keeper| {
            let issuer = self.issuer(spec)?;
            let policy = self.keepers.policy(issuer, &self.plan.as_ref()?.issuers, spec);
            let names = spec.identifiers.iter().map(ToString::to_string).collect();
            let moments = rehearse(now, handle.stage(), &policy, self.keepers.ledger(issuer), scenario);
            Some(Timeline { names, moments })
        };
        Ok(self.of(name)?.into_iter().filter_map(line).collect())
    }

    /// What is used up of the limits of every authority that may be asked.
    fn limits(&self, issuer: &Issuer, spec: &CertSpec, now: UnixTime) -> Vec<String> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let (policy, ledger) = (self.keepers.policy(issuer, &plan.issuers, spec), self.keepers.ledger(issuer));
        let mut ways: Vec<_> = policy.ways.iter().collect();
        ways.dedup_by(|one, other| one.authority == other.authority);
        let mut lines = Vec::new();
        for way in ways {
            let wish = Limited {
                authority: &way.authority,
                limits: policy.limits(&way.authority),
                names: &spec.identifiers,
                renewal: true,
                urgency: Urgency::Ordinary,
                life: None,
            };
            let used = ledger.used(&wish, now).into_iter().filter(|used| used.used > 0);
            lines.extend(used.map(|used| {
                let span = span(std::time::Duration::from_secs(used.seconds));
                format!("{}: {} of {} {} within {span}", way.issuer, used.used, used.of, used.limit)
            }));
            let refused = ledger.refusals(&way.authority).iter().filter(|refused| now < refused.until);
            lines.extend(
                refused.map(|refused| {
                    format!("{} refuses until {}: {}", way.issuer, second(refused.until), refused.words)
                }),
            );
        }
        lines
    }

    pub(super) fn explain(&self, name: &str) -> Explained {
        let covers = |own: &str| {
            let star = own.strip_prefix("*.");
            own == name || star.is_some_and(|zone| name.split_once('.').is_some_and(|(_, rest)| rest == zone))
        };
        let all = self.keepers.all();
        let meant = all.into_iter().filter(|(spec, _)| {
            spec.id.as_str() == name || spec.identifiers.iter().any(|own| covers(&own.to_string()))
        });
        let kept = meant.map(|keeper| self.kept_by(keeper)).collect();
        let files = self.status().certificates.into_iter();
        let files = files.filter(|one| !one.source.starts_with("issuer ") && one.names.iter().any(|own| covers(own)));
        let files: Vec<_> = files.collect();
        let rescues = self.plan.iter().flat_map(|plan| self.rescuer.words(plan));
        let rescues = rescues.filter(|(path, _)| files.iter().any(|file| file.source == *path)).collect();
        Explained {
            name: name.to_owned(),
            now: self.around.clock.now(),
            servers: self.plan.as_ref().map(|plan| serves(plan, name)).unwrap_or_default(),
            kept,
            files,
            rescues,
            on_demand: None,
        }
    }

    fn kept_by(&self, keeper: &Keeper) -> Kept {
        let (spec, handle) = keeper;
        let (stage, now) = (handle.stage(), self.around.clock.now());
        let progress = self.progress_of(keeper);
        let trouble = stage.trouble();
        let issuer = self.issuer(spec);
        let authority = issuer.map(|issuer| match &issuer.authority {
            Authority::Acme(server) => server.directory.to_string(),
            Authority::Internal(_) => "internal".to_owned(),
        });
        let ca = self.keepers.issuer(&spec.issuer);
        let wishes = self.doomed.iter().find_map(|list| list.paused(&spec.id));
        Kept {
            authority: authority.unwrap_or_default(),
            key: spec.key.as_str().to_owned(),
            place: spec.place.to_string(),
            shown: self.shown(&CertificateSource::Acme(spec.id.clone())),
            obtained: stage.held().map(|held| (held.authority.clone(), held.obtained_at)),
            why_then: advice::why_then(&stage, now),
            window: stage.held().and_then(|held| held.choice),
            failures: (trouble.failures, trouble.since),
            advice: trouble
                .last
                .as_ref()
                .filter(|_| progress.trouble.is_some())
                .map(advice::advice)
                .unwrap_or_default(),
            limits: issuer.map(|issuer| self.limits(issuer, spec, now)).unwrap_or_default(),
            left_out: left_out(&stage, now),
            paused: wishes.filter(|_| handle.paused()),
            pages: advice::pages(&stage),
            past: trouble.history.iter().map(past).collect(),
            account: ca.as_ref().and_then(|ca| ca.account()),
            authority_name: ca.and_then(|ca| ca.authority_name()),
            progress,
        }
    }
}

/// Names that are not in the certificate at present, in words.
fn left_out(stage: &Stage, now: UnixTime) -> Vec<String> {
    let trouble = stage.trouble();
    let apart =
        trouble.apart.iter().map(|name| format!("{name}: it failed alone, and is ordered by itself until it passes"));
    let away = trouble.away.iter().filter(|away| away.moved(now));
    let away = away.map(|away| format!("{}: its addresses have been others' since {}", away.name, second(away.since)));
    apart.chain(away).collect()
}

fn past(past: &Past) -> Moment {
    let by = past.challenge.map_or(String::new(), |kind| format!(" by {}", kind.as_str()));
    let times = if past.times > 1 { format!(" ({} times in a row)", past.times) } else { String::new() };
    let words = match &past.failure {
        Some(failure) => format!("{}{by} failed: {failure}{times}", past.issuer),
        None => format!("{} issued{times}", past.issuer),
    };
    Moment { at: past.at, words }
}

/// One line for each address: which server takes the name there, and what it shows.
pub fn serves(plan: &Plan, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in plan.http.iter().flat_map(|http| &http.listeners) {
        for address in &listener.addresses {
            let server = crate::tls::terms::meant(address, Some(name));
            let why = if Arc::ptr_eq(server, &address.default_server) { " (or as default server)" } else { "" };
            let shown = crate::net::listen::shown(&listener.address);
            let certificate = if address.ssl { certificates(server) } else { "plain HTTP".to_owned() };
            lines.push(format!("{name} at {shown}: server at {}{why}; {certificate}", server.place));
        }
    }
    lines
}

fn certificates(server: &Server) -> String {
    let sources = server.tls.iter().flat_map(|tls| &tls.certificates).map(|source| match source {
        CertificateSource::File(files) => format!("certificate from {}", files.certificate.display()),
        CertificateSource::Acme(id) => format!("certificate obtained by semper ({id})"),
    });
    let on_demand = server.tls.as_ref().is_some_and(|tls| tls.on_demand);
    let on_demand = on_demand.then(|| "names on demand".to_owned());
    let sources: Vec<String> = sources.chain(on_demand).collect();
    if sources.is_empty() { "handshakes are refused".to_owned() } else { sources.join(", ") }
}
