//! How does a decision become deed? The order of `node::keeper`, step by step, with a crash possible between any two:
//! decided, written, done; judged, stored, put in force, told, forgotten.

use crate::authority::{Name, Paper};
use crate::counters::Point;
use crate::disk::Kept;
use crate::fault::Fault;
use crate::hand::Work;
use crate::node::LONGEST_SLEEP;
use crate::planted::Bug;
use crate::world::{At, What, World};
use rustls_pki_types::CertificateDer;
use semper::cert::bundle::{Bundle, PrivateKey};
use semper::cert::choose::{self, Candidate, Provenance, Wish};
use semper::cert::failure::Failure;
use semper::cert::gate::{self, Source};
use semper::cert::inspect::{Leaf, PublicKeyKind};
use semper::cert::journal::StageRecord;
use semper::cert::ledger::Ledger;
use semper::cert::stage::{Attempt, Effect, Event, Held, Stage};
use semper::words::Fingerprint;
use std::sync::Arc;
use std::time::Duration;

const STORE_AGAIN: Duration = Duration::from_secs(30);

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
        self.nodes[node].up = true;
        self.nodes[node].running.fill(0);
        self.nodes[node].known.fill(None);
        self.nodes[node].directories = self.cas.iter().map(|ca| ca.directory).collect();
        let books = self.nodes[node].books.read().map(|books| books.clone().write(self.now));
        self.nodes[node].ledger = books.and_then(|text| Ledger::read(&text)).unwrap_or_default();
        for cert in 0..self.nodes[node].keeping.len() {
            if self.nodes[node].keeping[cert].wanted && self.keep(At { node, cert }).is_err() {
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
        self.nodes[at.node].keeping[at.cert].served = None;
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
        self.step(at, event)?;
        self.store_again(at);
        self.arm(at);
        Ok(())
    }

    /// Sets the alarm at which the keeper wants to be woken.
    pub fn arm(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let keeping = &node.keeping[at.cert];
        let mut wake = keeping.stage.wakes_at();
        if let Some((_, again)) = &keeping.unstored {
            wake = wake.min(*again);
        }
        let mut when = self.now + wake.since(node.clock.shows(self.now));
        // A clock that runs wrong is looked at every few minutes.
        if node.clock.wrong {
            when = when.min(self.now + LONGEST_SLEEP * 12);
        } else if self.now.since(node.clock.set_at) < LONGEST_SLEEP * 12 || self.cas[0].life < LONGEST_SLEEP * 24 {
            // Elsewhere the many idle looks are left out, for speed.
            when = when.min(self.now + LONGEST_SLEEP);
        }
        // Who waits for leave to begin asks again with every idle look.
        if let Stage::Serving { held, trouble, .. } = &keeping.stage
            && trouble.failures == 0
            && held.not_after.since(node.clock.shows(self.now)) < held.lifetime() / 2
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

    fn step(&mut self, at: At, event: Event) -> Result<(), Dead> {
        let draw = self.dice.draw();
        let now = self.now;
        let bug = self.bug;
        let event = Bug::before(bug, self, at, event);
        let Some(event) = event else { return Ok(()) };
        let node = &mut self.nodes[at.node];
        let civil = node.clock.shows(now);
        let keeping = &mut node.keeping[at.cert];
        let asked = match &keeping.stage {
            Stage::Ordering { attempt, .. } => Some(attempt.way.authority.clone()),
            _ => None,
        };
        let draw = Bug::draw(bug, draw);
        let failed = matches!(event, Event::Failed(..)).then(|| event.clone());
        let old = (!keeping.journaled).then(|| keeping.stage.clone());
        let noted = node.ledger.changes();
        let unplanted = (bug == Some(Bug::FailedValidationsNotCounted)).then(|| node.ledger.clone());
        let stage = std::mem::take(&mut keeping.stage);
        // The others agree upon the time, and the node hears of it.
        let doubted = !node.clock.is_sane(now) && bug != Some(Bug::ClockIsBelieved);
        keeping.policy.believed = doubted.then_some(now);
        let (mut next, mut effects) = stage.step(civil, event, &keeping.policy, &mut node.ledger, draw);
        if let (Some(before), Some(Event::Failed(_, Failure::Invalid { .. }))) = (unplanted, &failed) {
            node.ledger = before;
        }
        Bug::after(bug, civil, failed.as_ref(), &keeping.policy, &mut node.ledger, &mut next, &mut effects);
        if node.ledger.changes() > noted && bug != Some(Bug::LedgerNotKept) {
            let synced = bug != Some(Bug::NoDirectorySync);
            let _ = node.books.write(Some(node.ledger.clone()), node.health, synced);
        }
        let folder = &mut node.folders[at.cert];
        let changed = match &old {
            Some(old) => *old != next,
            None => folder.stage.read() != Some(&next),
        };
        keeping.stage = next;
        if self.tracing {
            let mut text = story(&self.nodes[at.node].keeping[at.cert].stage);
            for ca in &self.cas {
                for refused in self.nodes[at.node].ledger.refusals(&ca.url) {
                    text.push_str(&format!("; ca{} refuses {:?} until {}", ca.place, refused.scope, refused.until));
                }
            }
            self.trace(at, &text);
        }
        if changed {
            self.crash(at, Point::BeforeJournal)?;
            let node = &mut self.nodes[at.node];
            let keeping = &mut node.keeping[at.cert];
            let written = keeping.stage.clone();
            let synced = bug != Some(Bug::NoDirectorySync);
            let done = node.folders[at.cert].stage.write(Some(written), node.health, synced);
            keeping.journaled = done.is_ok();
            if done.is_err() && bug == Some(Bug::StopsOnFullDisk) {
                return Ok(());
            }
            self.crash(at, Point::AfterJournal)?;
        }
        self.check(at);
        if failed.is_some() && self.nodes[at.node].keeping[at.cert].served.is_none() {
            self.sudden(at, 0.1);
        }
        for effect in effects {
            self.perform(at, effect, asked.as_deref())?;
            self.crash(at, Point::AfterEffect)?;
        }
        Ok(())
    }

    fn perform(&mut self, at: At, effect: Effect, asked: Option<&str>) -> Result<(), Dead> {
        match effect {
            Effect::PlaceOrder(attempt) => {
                self.abort(at);
                self.ordered(at, &attempt);
                self.sudden(at, 0.01);
                let Some(ca) = self.ca_of(&attempt.way.authority) else { return Ok(()) };
                let node = &self.nodes[at.node];
                let names = self.ordered_names(at, &attempt);
                let patience = attempt.give_up_at.since(node.clock.shows(self.now));
                let work = Work::new(attempt, ca, names, (self.now, patience), self.number + 1);
                let token = work.token;
                self.nodes[at.node].keeping[at.cert].work = Some(work);
                self.push(self.now, What::Work(at, token));
                Ok(())
            }
            Effect::AbandonOrder => {
                self.abort(at);
                if self.bug == Some(Bug::AuthorizationsLeftOpen) {
                    let node = &mut self.nodes[at.node];
                    let _ = node.folders[at.cert].order.write(None, node.health, true);
                    return Ok(());
                }
                let ca = asked.and_then(|url| self.ca_of(url));
                ca.map_or(Ok(()), |ca| self.abandon(at, ca))
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
                self.push(self.now + pause, What::Ari(at, life, epoch));
                Ok(())
            }
        }
    }

    /// The answer about renewal arrives.
    pub fn answered_about_renewal(&mut self, at: At, epoch: u64) -> Result<(), Dead> {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let Some(held) = keeping.stage.held().filter(|held| held.epoch == epoch) else { return Ok(()) };
        let (from, to) = (held.not_before, held.not_after);
        let mut met = Vec::new();
        let info = match self.ca_of(&held.authority) {
            Some(ca) => self.cas[ca].renewal_info(from, to, self.now, &mut met),
            None => None,
        };
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

    /// A new generation: through the gate, onto the disk, into force, then into the journal.
    pub fn issued(&mut self, at: At, attempt: &Attempt, mut kept: Kept) -> Result<(), Dead> {
        let number = attempt.number;
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let epoch = keeping.stage.held().map_or(1, |held| held.epoch + 1);
        kept.epoch = epoch;
        if self.bug != Some(Bug::SavesBeforeVerifying)
            && let Some(detail) = self.judged(at, attempt, &kept)
        {
            return self.word(at, Event::Failed(number, Failure::BadCertificate { detail }));
        }
        if self.bug == Some(Bug::ForgetsOrderBeforeStoring) {
            self.forget_order(at);
        }
        if self.bug == Some(Bug::PublishesBeforeStoring) {
            self.serve(at, kept.clone());
        }
        self.crash(at, Point::BeforeStore)?;
        let kept = self.store(at, kept)?;
        self.crash(at, Point::AfterStore)?;
        self.serve(at, kept.clone());
        self.crash(at, Point::AfterPublish)?;
        let held = self.held(at, &kept);
        self.counters.issued += 1;
        self.step(at, Event::Issued(held))?;
        if self.nodes[at.node].keeping[at.cert].unstored.is_none() {
            self.forget_order(at);
            self.crash(at, Point::AfterForget)?;
        }
        self.arm(at);
        Ok(())
    }

    /// What the gate has against a certificate.
    pub fn judged(&self, at: At, attempt: &Attempt, kept: &Kept) -> Option<String> {
        let node = &self.nodes[at.node];
        let ordered = attempt.names(&node.keeping[at.cert].spec.identifiers);
        // Where the clock is doubted, the time that the others agree upon counts.
        let civil = if node.clock.is_sane(self.now) { node.clock.shows(self.now) } else { self.now };
        let verdict = gate::judge(&self.bundle(at, kept).into(), &ordered, Source::Authority, civil);
        verdict.refusals.first().map(ToString::to_string)
    }

    fn store(&mut self, at: At, mut kept: Kept) -> Result<Kept, Dead> {
        if self.bug == Some(Bug::DeletesBeforeWriting) {
            self.nodes[at.node].folders[at.cert].generations.clear();
            self.crash(at, Point::BeforeStore)?;
        }
        let synced = self.bug != Some(Bug::NoDirectorySync);
        let node = &mut self.nodes[at.node];
        let (keeping, folder) = (&mut node.keeping[at.cert], &mut node.folders[at.cert]);
        let mut expected = keeping.stage.held().map(|held| held.epoch).filter(|_| keeping.unstored.is_none());
        if self.bug == Some(Bug::DeletesBeforeWriting) {
            expected = None;
        }
        for _ in 0..2 {
            match folder.replace(&kept, expected, node.health, synced) {
                Ok(()) => {
                    keeping.unstored = None;
                    keeping.watch.stored(&kept);
                    return Ok(kept);
                }
                Err(Some(found)) => {
                    expected = found;
                    kept.epoch = kept.epoch.max(found.map_or(1, |found| found + 1));
                }
                Err(None) => break,
            }
        }
        let again = node.clock.shows(self.now) + STORE_AGAIN;
        keeping.unstored = Some((kept.clone(), again));
        Ok(kept)
    }

    fn store_again(&mut self, at: At) {
        let node = &mut self.nodes[at.node];
        let civil = node.clock.shows(self.now);
        if let Some((kept, _)) = node.keeping[at.cert].unstored.take_if(|(_, again)| *again <= civil) {
            node.keeping[at.cert].unstored = Some((kept.clone(), civil));
            let _ = self.store(at, kept);
            if self.nodes[at.node].keeping[at.cert].unstored.is_none() {
                self.forget_order(at);
            }
        }
    }

    fn forget_order(&mut self, at: At) {
        let node = &mut self.nodes[at.node];
        let _ = node.folders[at.cert].order.write(None, node.health, true);
    }

    /// Puts a generation in force.
    fn serve(&mut self, at: At, kept: Kept) {
        self.shown(at, &kept);
        self.push(kept.paper.not_after + Duration::from_secs(1), What::Expiry(at));
        self.nodes[at.node].keeping[at.cert].served = Some(kept);
    }

    /// The names that an attempt orders.
    fn ordered_names(&self, at: At, attempt: &Attempt) -> Arc<[Name]> {
        let names = &self.nodes[at.node].keeping[at.cert].names;
        if attempt.leave_out.is_empty() {
            return names.clone();
        }
        names.iter().copied().filter(|name| !attempt.leave_out.contains(&self.names[*name as usize])).collect()
    }

    /// Shows the best of what is held.
    pub fn choose(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let mut all: Vec<Kept> = node.folders[at.cert].readable().cloned().collect();
        all.extend(node.keeping[at.cert].unstored.iter().map(|(kept, _)| kept.clone()));
        let candidate = |kept: &Kept| Candidate {
            provenance: Provenance::Generation(kept.epoch),
            not_before: kept.paper.not_before,
            not_after: kept.paper.not_after,
            disowned: false,
            doubtful: false,
        };
        let candidates: Vec<Candidate> = all.iter().map(candidate).collect();
        let best = choose::best(Wish::Acme, &candidates, node.clock.shows(self.now));
        if let Some(best) = best.filter(|_| self.bug != Some(Bug::ExpiredIsChosen)) {
            self.nodes[at.node].keeping[at.cert].served = Some(all.swap_remove(best));
        }
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

    /// What the decisions know of a generation.
    pub fn held(&self, at: At, kept: &Kept) -> Held {
        Held::for_names(&self.bundle(at, kept), &self.nodes[at.node].keeping[at.cert].spec.identifiers)
    }

    /// A bundle as the gate sees it. Chains of one are taken from an authority only if they are their own issuer, so that
    /// is how a whole chain and a truncated one are told apart here.
    fn bundle(&self, at: At, kept: &Kept) -> Bundle {
        let paper: &Paper = &kept.paper;
        let ca = &self.cas[paper.ca];
        let wrong = paper.flaw == Some(Fault::CertificateWrongNames);
        let identifiers =
            if wrong { vec![] } else { paper.names.iter().map(|name| self.names[*name as usize].clone()).collect() };
        let leaf = Leaf {
            identifiers,
            subject: String::new(),
            issuer: String::new(),
            issuer_common_name: None,
            not_before: paper.not_before,
            not_after: paper.not_after,
            serial: paper.serial.to_be_bytes().into(),
            authority_key_id: (ca.url != "internal").then(|| vec![paper.ca as u8].into()),
            key: PublicKeyKind::Ecdsa(256),
            self_issued: paper.flaw != Some(Fault::CertificateTruncated),
            is_authority: false,
            fingerprint: Fingerprint::of(&[]),
            key_fingerprint: Fingerprint::of(&[]),
        };
        Bundle {
            id: self.nodes[at.node].keeping[at.cert].spec.id.clone(),
            epoch: kept.epoch,
            issuer: format!("ca{}", paper.ca),
            authority: ca.url.clone(),
            obtained_at: kept.obtained_at,
            chain: vec![CertificateDer::from(Vec::new())],
            key: PrivateKey::from_pkcs8(Vec::new()),
            leaf,
        }
    }

    pub fn ca_of(&self, url: &str) -> Option<usize> {
        self.cas.iter().position(|ca| ca.url == url)
    }
}
