//! How does a decision become deed? What `cert::deeds` says, in its order, with a crash possible between any two: that is
//! the code which `node::keeper` runs. Here are the loop around it and the hands.

use crate::authority::Name;
use crate::counters::Point;
use crate::hand::Work;
use crate::node::Role;
use crate::planted::Bug;
use crate::world::{At, What, World};
use semper::cert::deeds::{self, Deed, LONGEST_SLEEP, Rest};
use semper::cert::journal::StageRecord;
use semper::cert::ledger::Ledger;
use semper::cert::quorum::Quorum;
use semper::cert::stage::{Attempt, Effect, Event, Stage};
use std::sync::Arc;
use std::time::Duration;

/// A stage in few words.
fn story(stage: &Stage) -> String {
    let trouble = stage.trouble();
    let last = trouble.last.as_ref().map_or(String::new(), |why| format!(", last: {why}"));
    let held = stage.held().map_or("nothing".into(), |held| {
        format!("epoch {} until {} of {}", held.epoch, held.not_after, held.authority)
    });
    let what = match stage {
        Stage::Ordering { attempt, .. } => {
            format!(
                "order {} {:?} at {} until {}",
                attempt.number, attempt.way.challenge, attempt.way.issuer, attempt.give_up_at
            )
        }
        Stage::Serving { renew_at, .. } => format!("serving, next {renew_at}"),
        Stage::Absent { retry_at, .. } => format!("absent, next {retry_at}"),
    };
    format!("{what}; holds {held}; failures {}{last}; apart {:?}", trouble.failures, trouble.apart)
}

/// The process is gone; whatever was being done is not done any more.
pub struct Dead;

impl World {
    /// The process begins: every keeper goes on where its journal stands.
    pub fn start(&mut self, node: usize) {
        let of = &mut self.nodes[node];
        of.up = true;
        of.running.fill(0);
        of.known.fill(None);
        of.directories = self.cas.iter().map(|ca| ca.directory).collect();
        of.quorum = of.quorum.as_ref().map(|quorum| Quorum::new(quorum.memory()));
        self.look_at_clock(node);
        let of = &mut self.nodes[node];
        let books = of.books.read().map(|books| books.clone().write(self.now));
        of.ledger = books.and_then(|text| Ledger::read(&text)).unwrap_or_default();
        for keeping in of.keeping.iter_mut().filter(|keeping| keeping.role != Role::Own) {
            keeping.wanted = false;
        }
        for cert in 0..of.keeping.len() {
            let at = At { node, cert };
            let keeping = &self.nodes[node].keeping[cert];
            let kept = keeping.role == Role::Own && keeping.wanted;
            if kept && (self.keep(at).is_err() || self.derive(at).is_err()) {
                return;
            }
        }
    }

    /// Starts one keeper.
    pub fn keep(&mut self, at: At) -> Result<(), Dead> {
        let bug = self.bug;
        let folder = &self.nodes[at.node].folders[at.cert];
        let journal = folder.stage.read().map(StageRecord::write);
        let stage = journal.and_then(|text| StageRecord::read(&text));
        let held = match bug {
            Some(Bug::OldestAfterStart) => folder.readable().next().cloned(),
            _ => folder.newest().cloned(),
        };
        let keeping = &mut self.nodes[at.node].keeping[at.cert];
        keeping.journaled = stage.is_some();
        keeping.stage = stage.unwrap_or_default();
        keeping.unstored = None;
        keeping.work = None;
        keeping.alarm = (self.now, 0);
        keeping.watch.started = self.now;
        (keeping.served, keeping.published, keeping.served_apart) = (None, None, Vec::new());
        if let Some(held) = &held {
            self.serve(at, held.clone());
            self.choose(at);
        }
        let held = held.map(|kept| self.held(at, &kept));
        self.word(at, Event::Started(held))
    }

    /// One word to a keeper, and the alarm that follows.
    pub fn word(&mut self, at: At, event: Event) -> Result<(), Dead> {
        self.count_moment(at);
        if self.rest(at).hears(&event) {
            self.step(at, event)?;
        }
        self.store_again(at);
        self.arm(at);
        Ok(())
    }

    /// What keeps a certificate from being seen to.
    fn rest(&self, at: At) -> Rest {
        let node = &self.nodes[at.node];
        let doubt = node.in_doubt(self.now) && self.bug != Some(Bug::ClockIsBelieved);
        Rest::of(&node.keeping[at.cert].stage, false, doubt, node.civil())
    }

    /// Sets the alarm at which the keeper wants to be woken. The many idle looks are left out where nothing can come of
    /// them, for speed.
    pub fn arm(&mut self, at: At) {
        let rest = self.rest(at);
        let node = &self.nodes[at.node];
        let (keeping, civil) = (&node.keeping[at.cert], node.civil());
        let again = keeping.unstored.as_ref().map(|(_, again)| *again);
        let mut wake = rest.wakes_at(&keeping.stage, civil, again);
        if wake == civil + LONGEST_SLEEP {
            wake = again.map_or(keeping.stage.wakes_at(), |again| again.min(keeping.stage.wakes_at()));
        }
        let mut when = self.now + wake.since(civil);
        if node.clock.wrong {
            when = when.min(self.now + LONGEST_SLEEP * 12);
        } else if self.now.since(node.clock.set_at) < LONGEST_SLEEP * 12 || self.cas[0].life < LONGEST_SLEEP * 24 {
            when = when.min(self.now + LONGEST_SLEEP);
        }
        if rest.doubted {
            when = when.max(self.now + LONGEST_SLEEP);
        }
        // Who waits for leave to begin asks again with every idle look.
        if let Stage::Serving { held, trouble, .. } = &keeping.stage
            && trouble.failures == 0
            && held.not_after.since(civil) < held.lifetime() / 2
        {
            when = when.min(self.now + LONGEST_SLEEP * 12);
        }
        if let Some(until) = self.bug.and_then(|bug| Bug::sleeps_until(bug, &keeping.stage)) {
            when = when.max(until);
        }
        if keeping.alarm.1 == 0 || keeping.alarm.0 != when {
            let number = self.push(when, What::Wake(at));
            self.nodes[at.node].keeping[at.cert].alarm = (when, number);
        }
    }

    /// One step: decided, then done deed by deed.
    pub fn step(&mut self, at: At, event: Event) -> Result<(), Dead> {
        let bug = self.bug;
        let draw = Bug::draw(bug, self.dice.draw());
        let Some(event) = Bug::before(bug, self, at, event) else { return Ok(()) };
        let node = &mut self.nodes[at.node];
        let (civil, keeping) = (node.judged.now, &mut node.keeping[at.cert]);
        let failed = matches!(event, Event::Failed(..)).then(|| event.clone());
        let unplanted = (bug == Some(Bug::FailedValidationsNotCounted)).then(|| node.ledger.clone());
        let mut decision = deeds::decide(&keeping.stage, civil, event, &keeping.policy, &mut node.ledger, draw);
        Bug::after(bug, civil, failed.as_ref(), (&keeping.policy, &mut node.ledger, unplanted), &mut decision);
        keeping.stage = decision.stage;
        if self.tracing {
            self.trace_stage(at);
        }
        if !decision.deeds.contains(&Deed::SaveStage) {
            self.check(at);
        }
        if failed.is_some() && self.nodes[at.node].keeping[at.cert].served.is_none() {
            self.sudden(at, 0.1);
        }
        for deed in decision.deeds {
            if !self.deed(at, deed)? {
                break;
            }
        }
        Ok(())
    }

    fn trace_stage(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let mut text = story(&node.keeping[at.cert].stage);
        for ca in &self.cas {
            for refused in node.ledger.refusals(&ca.url) {
                text.push_str(&format!("; ca{} refuses {:?} until {}", ca.place, refused.scope, refused.until));
            }
        }
        self.trace(at, &text);
    }

    /// One deed; false if nothing follows it any more.
    fn deed(&mut self, at: At, deed: Deed) -> Result<bool, Dead> {
        let bug = self.bug;
        let synced = bug != Some(Bug::NoDirectorySync);
        match deed {
            Deed::SaveLedger => {
                self.crash(at, Point::BeforeLedger)?;
                let node = &mut self.nodes[at.node];
                if bug != Some(Bug::LedgerNotKept) {
                    let done = node.books.write(Some(node.ledger.clone()), node.health, synced);
                    if done.is_ok() {
                        node.booked = self.now;
                    }
                }
            }
            Deed::SaveStage => {
                self.crash(at, Point::BeforeJournal)?;
                let node = &mut self.nodes[at.node];
                let keeping = &mut node.keeping[at.cert];
                let written = keeping.stage.clone();
                let done = node.folders[at.cert].stage.write(Some(written), node.health, synced);
                keeping.journaled = done.is_ok();
                if done.is_err() && bug == Some(Bug::StopsOnFullDisk) {
                    return Ok(false);
                }
                self.crash(at, Point::AfterJournal)?;
                self.check(at);
            }
            Deed::Report => self.heed(at)?,
            Deed::Perform(effect, whom) => {
                self.perform(at, effect, whom.as_deref())?;
                self.crash(at, Point::AfterEffect)?;
            }
        }
        Ok(true)
    }

    /// The authority behind an issuer of this certificate; the first one if it has none of that name.
    fn issuer(&self, at: At, whom: Option<&str>) -> usize {
        let issuers = &self.nodes[at.node].keeping[at.cert].issuers;
        let named = |place: &&usize| whom.is_some_and(|whom| whom == format!("ca{place}"));
        issuers.iter().find(named).or(issuers.first()).copied().unwrap_or(0)
    }

    fn perform(&mut self, at: At, effect: Effect, whom: Option<&str>) -> Result<(), Dead> {
        if deeds::ends_what_runs(&effect) {
            self.abort(at);
        }
        match effect {
            Effect::PlaceOrder(attempt) => {
                self.ordered(at, &attempt);
                self.sudden(at, 0.01);
                let ca = self.issuer(at, whom);
                let node = &self.nodes[at.node];
                let names = self.ordered_names(at, &attempt);
                let patience = attempt.give_up_at.since(node.civil());
                let work = Work::new(attempt, ca, names, (self.now, patience), self.number + 1);
                let token = work.token;
                self.nodes[at.node].keeping[at.cert].work = Some(work);
                self.push(self.now, What::Work(at, token));
                Ok(())
            }
            Effect::AbandonOrder => {
                if self.bug == Some(Bug::AuthorizationsLeftOpen) {
                    let node = &mut self.nodes[at.node];
                    let _ = node.folders[at.cert].order.write(None, node.health, true);
                    return Ok(());
                }
                let ca = self.issuer(at, whom);
                self.abandon(at, ca)
            }
            Effect::Tell(_) => {
                self.counters.notices += 1;
                Ok(())
            }
            Effect::Look(names) => {
                let pause = self.dice.between(Duration::from_secs(1), Duration::from_secs(20));
                let node = &mut self.nodes[at.node];
                node.keeping[at.cert].looking = names;
                let life = node.life;
                self.push(self.now + pause, What::Looked(at, life));
                Ok(())
            }
            Effect::AskRenewalInfo { epoch, .. } => {
                let pause = self.dice.between(Duration::from_millis(100), Duration::from_secs(2));
                let life = self.nodes[at.node].life;
                let whom = whom.filter(|_| self.bug != Some(Bug::AsksTheFirstAboutAll));
                let ca = self.issuer(at, whom);
                self.push(self.now + pause, What::Ari(at, life, epoch, ca));
                Ok(())
            }
        }
    }

    /// The answer about renewal arrives.
    pub fn answered_about_renewal(&mut self, at: At, epoch: u64, ca: usize) -> Result<(), Dead> {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let Some(held) = keeping.stage.held().filter(|held| held.epoch == epoch) else { return Ok(()) };
        let (from, to) = (held.not_before, held.not_after);
        let mut met = Vec::new();
        // Of what another one issued an authority knows nothing.
        let info = match self.cas[ca].url == held.authority {
            true => self.cas[ca].renewal_info(from, to, self.now, &mut met),
            false => None,
        };
        if self.cas[ca].url == held.authority {
            self.nodes[at.node].keeping[at.cert].watch.asked_about = self.now;
        }
        for fault in met {
            self.met(fault, at);
        }
        self.informed(at, info.as_ref());
        let event = match info {
            Some(info) => Event::RenewalInfo(epoch, info),
            None => Event::NoRenewalInfo(epoch),
        };
        self.word(at, event)
    }

    /// The names that an attempt orders.
    fn ordered_names(&self, at: At, attempt: &Attempt) -> Arc<[Name]> {
        let names = &self.nodes[at.node].keeping[at.cert].names;
        if attempt.leave_out.is_empty() {
            return names.clone();
        }
        names.iter().copied().filter(|name| !attempt.leave_out.contains(&self.names[*name as usize])).collect()
    }

    /// Ends the order under way, as a task is ended.
    pub fn abort(&mut self, at: At) {
        let node = &mut self.nodes[at.node];
        if let Some(work) = node.keeping[at.cert].work.take()
            && work.admitted
            && self.bug != Some(Bug::LeaksItsPlaceInTheQueue)
        {
            node.running[work.ca] -= 1;
        }
    }
}
