//! How is an order carried out? The steps of `acme::order` against a simulated authority: the record is written before
//! each step that could not be repeated, every wait ends, an order that the journal knows is taken up again.

use crate::authority::{Name, Status};
use crate::counters::Point;
use crate::disk::{Kept, OrderRecord};
use crate::edge::Dead;
use crate::fault::{Fault, Phase};
use crate::planted::Bug;
use crate::world::{At, What, World};
use semper::cert::failure::Failure;
use semper::cert::stage::{Attempt, Event};
use semper::clock::UnixTime;
use semper::words::Identifier;
use std::sync::Arc;
use std::time::Duration;

const AT_ONCE: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Queue,
    Enter,
    Place,
    Look,
    Fetch { left: u32 },
}

/// One order that runs.
#[derive(Debug)]
pub struct Work {
    pub token: u64,
    pub attempt: Attempt,
    pub ca: usize,
    pub admitted: bool,
    names: Arc<[Name]>,
    step: Step,
    /// True time: waiting goes by the clock that nobody sets.
    began: UnixTime,
    patience: Duration,
    record: Option<OrderRecord>,
    taken_up: bool,
    looks: u32,
    /// Looks that failed in a row.
    pub broken: u32,
}

/// What a step led to.
pub enum Turn {
    Wait(Duration),
    Done(Result<Kept, Failure>),
}

use Turn::{Done, Wait};

/// It ends badly.
pub fn fail(why: Failure) -> Turn {
    Done(Err(why))
}

fn lost(detail: &str) -> Turn {
    fail(Failure::Lost { detail: detail.to_owned() })
}

fn local() -> Turn {
    fail(Failure::Local { detail: "simulated: the disk refuses".to_owned() })
}

impl Work {
    pub fn new(attempt: Attempt, ca: usize, names: Arc<[Name]>, time: (UnixTime, Duration), token: u64) -> Work {
        Work {
            token,
            attempt,
            ca,
            admitted: false,
            names,
            step: Step::Queue,
            began: time.0,
            patience: time.1,
            record: None,
            taken_up: false,
            looks: 0,
            broken: 0,
        }
    }

    /// Its number at the authority, if it has one.
    pub fn number(&self) -> Option<u64> {
        self.record.as_ref()?.number
    }

    /// The key that is being certified, if there is one.
    fn key(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.key)
    }
}

impl World {
    /// An order takes its next step.
    pub fn work(&mut self, at: At, token: u64) -> Result<(), Dead> {
        let node = &mut self.nodes[at.node];
        let known = node.keeping[at.cert].work.as_ref().is_some_and(|work| work.token == token);
        let Some(mut work) = node.keeping[at.cert].work.take_if(|_| known) else { return Ok(()) };
        let turn = self.turn(at, &mut work)?;
        match turn {
            Wait(pause) => {
                self.push(self.now + pause, What::Work(at, token));
                self.nodes[at.node].keeping[at.cert].work = Some(work);
                Ok(())
            }
            Done(done) => {
                if work.admitted && self.bug != Some(Bug::LeaksItsPlaceInTheQueue) {
                    self.nodes[at.node].running[work.ca] -= 1;
                }
                self.ended(at, work, done)
            }
        }
    }

    fn ended(&mut self, at: At, mut work: Work, done: Result<Kept, Failure>) -> Result<(), Dead> {
        let number = work.attempt.number;
        match done {
            Ok(kept) => self.issued(at, &work.attempt, kept),
            Err(mut why) => {
                if let (Failure::BadCertificate { .. }, Some(record)) = (&why, &mut work.record) {
                    record.spoiled = true;
                    let _ = self.save(at, record.clone());
                }
                if let (Failure::Invalid { names, detail, .. }, true) = (&why, work.taken_up) {
                    why = Failure::Missed { names: names.clone(), detail: detail.clone() };
                }
                self.refused(at, &work, &why);
                self.word(at, Event::Failed(number, why))
            }
        }
    }

    fn turn(&mut self, at: At, work: &mut Work) -> Result<Turn, Dead> {
        let left = work.patience;
        let spent = self.now.since(work.began);
        if work.step != Step::Queue && spent >= left.mul_f64(0.95) && self.bug != Some(Bug::WaitsForEver) {
            return Ok(lost("it did not move on before its deadline"));
        }
        if self.cas[work.ca].url == "internal" {
            return Ok(self.sign(at, work));
        }
        match work.step {
            Step::Queue => {
                let running = &mut self.nodes[at.node].running[work.ca];
                if *running < AT_ONCE {
                    *running += 1;
                    work.admitted = true;
                    work.step = Step::Enter;
                    return Ok(Wait(Duration::ZERO));
                }
                let over = spent >= left / 2;
                Ok(if over { fail(Failure::Busy) } else { Wait(Duration::from_secs(5)) })
            }
            Step::Enter => self.enter(at, work),
            Step::Place => self.place(at, work),
            Step::Look => self.look(at, work),
            Step::Fetch { left } => self.fetch(at, work, left),
        }
    }

    /// The built-in authority signs at once.
    fn sign(&mut self, at: At, work: &mut Work) -> Turn {
        work.step = Step::Fetch { left: 1 };
        let names = work.names.clone();
        let key = self.number;
        let obtained_at = self.nodes[at.node].civil();
        let paper = self.cas[work.ca].sign(names, key, obtained_at);
        Done(Ok(Kept { epoch: 0, obtained_at, key, paper, disowned: false }))
    }

    /// One request; faults that struck are counted against the stage of this certificate.
    pub fn knock(&mut self, at: At, ca: usize, phase: Phase) -> Result<Duration, Failure> {
        let mut met = Vec::new();
        let mut done = self.cas[ca].knock(phase, self.now, &mut met);
        if phase != Phase::Enter && done.is_ok() && self.nodes[at.node].directories[ca] != self.cas[ca].directory {
            met.push(Fault::DirectoryMoved);
            done = Err(Failure::Lost { detail: "simulated: 404".into() });
        }
        self.requested(at);
        if done.is_ok() {
            self.nodes[at.node].heard(self.now);
        }
        for fault in met {
            self.met(fault, at);
        }
        done
    }

    fn met_all(&mut self, at: At, met: Vec<Fault>) {
        for fault in met {
            self.met(fault, at);
        }
    }

    /// Directory, account, and the record of the order.
    fn enter(&mut self, at: At, work: &mut Work) -> Result<Turn, Dead> {
        let delay = match self.knock(at, work.ca, Phase::Enter) {
            Ok(delay) => delay,
            Err(why) => return Ok(fail(why)),
        };
        if self.account(at, work.ca).is_none() {
            let stored = self.nodes[at.node].accounts[work.ca].read().copied();
            let account = stored.unwrap_or_else(|| self.cas[work.ca].register());
            let node = &mut self.nodes[at.node];
            if stored.is_none() {
                let _ = node.accounts[work.ca].write(Some(account), node.health, true);
            }
            node.known[work.ca] = Some(account);
            self.crash(at, Point::AfterAccount)?;
        }
        let names = work.names.clone();
        let kept = self.nodes[at.node].folders[at.cert].order.read().cloned();
        if let Some(kept) = kept {
            let fits = kept.ca == work.ca && kept.names == names;
            if fits && self.is_worth(at, &kept) && !self.fulfilled(at, &kept) {
                work.taken_up = kept.number.is_some();
                work.step = if work.taken_up { Step::Look } else { Step::Place };
                work.record = Some(kept);
                return Ok(Wait(delay));
            }
            self.let_go(at, work.ca, &kept);
        }
        let began_at = self.nodes[at.node].civil();
        let record = OrderRecord {
            ca: work.ca,
            names,
            key: self.number,
            began_at,
            number: None,
            finalizing: false,
            spoiled: false,
            stalled: false,
        };
        if self.bug != Some(Bug::KeyNotSavedBeforeFinalize) {
            let _ = self.save(at, record.clone());
        }
        self.crash(at, Point::AfterOrderRecord)?;
        work.record = Some(record);
        work.step = Step::Place;
        Ok(Wait(delay))
    }

    fn place(&mut self, at: At, work: &mut Work) -> Result<Turn, Dead> {
        let delay = match self.knock(at, work.ca, Phase::Place) {
            Ok(delay) => delay,
            Err(why) => return Ok(self.judge(at, work.ca, why)),
        };
        let Some(record) = work.record.as_mut() else { return Ok(lost("no record")) };
        let Some(account) = self.account(at, work.ca) else { return Ok(lost("no account")) };
        let mut met = Vec::new();
        self.places(at, work.ca);
        let ca = &mut self.cas[work.ca];
        let replaces = work.attempt.replaces.is_some();
        let placed = ca.new_order(account, &record.names, replaces, self.now, &mut met);
        let gone = ca.suffers(Fault::NewOrderAnswerLost, self.now);
        if gone && placed.is_ok() {
            met.push(Fault::NewOrderAnswerLost);
        }
        self.met_all(at, met);
        let number = match placed {
            Ok(_) if gone => return Ok(fail(Failure::Unreachable { detail: "simulated: the answer is lost".into() })),
            Ok(number) => number,
            Err(why) => return Ok(self.judge(at, work.ca, why)),
        };
        self.crash(at, Point::AfterNewOrder)?;
        record.number = Some(number);
        let record = record.clone();
        if self.bug != Some(Bug::KeyNotSavedBeforeFinalize) {
            let _ = self.save(at, record);
        }
        self.crash(at, Point::AfterOrderUrl)?;
        work.step = Step::Look;
        Ok(Wait(delay))
    }

    fn look(&mut self, at: At, work: &mut Work) -> Result<Turn, Dead> {
        let looked = self.knock(at, work.ca, Phase::Look);
        if let Err(why) = looked {
            return Ok(self.broken(at, work, why));
        }
        let Some(number) = work.record.as_ref().and_then(|record| record.number) else { return Ok(lost("no order")) };
        let known = self.cas[work.ca].account.is_some() && self.cas[work.ca].account == self.account(at, work.ca);
        if !known {
            self.met(Fault::AccountUnknown, at);
            return Ok(self.judge(at, work.ca, Failure::Lost { detail: "accountDoesNotExist".into() }));
        }
        let status = self.see(at, work.ca, number);
        let usual = Duration::from_millis(250) * 2_u32.pow(work.looks.min(5));
        let wait = usual.min(Duration::from_secs(10));
        work.looks += 1;
        let Some((status, failed)) = status else { return Ok(lost("the order is unknown")) };
        match status {
            Status::Pending if (work.looks - 1).is_multiple_of(4) => match self.authorize(at, work) {
                Ok(()) => Ok(Wait(wait)),
                Err(turn) => Ok(turn),
            },
            Status::Pending | Status::Processing => Ok(Wait(wait)),
            Status::Ready => self.finalize(at, work, number, wait),
            Status::Valid => {
                work.step = Step::Fetch { left: 3 };
                Ok(Wait(Duration::from_millis(100)))
            }
            Status::Invalid if failed.is_empty() => Ok(lost("it became invalid, and nothing says why")),
            Status::Invalid => {
                let Some(kind) = work.attempt.way.challenge else { return Ok(local()) };
                let names: Vec<Identifier> = failed.iter().map(|name| self.names[*name as usize].clone()).collect();
                Ok(fail(Failure::Invalid { kind, names, detail: "simulated: not seen".into() }))
            }
        }
    }

    pub fn see(&mut self, at: At, ca: usize, number: u64) -> Option<(Status, Vec<Name>)> {
        let authority = &mut self.cas[ca];
        let mut met: Vec<Fault> = Vec::new();
        let blind = authority.suffers(Fault::CannotSee, self.now);
        let one = self.bug == Some(Bug::TokenForOneAuthority) && ca != 0;
        let (ways, up) = (&self.ways, self.nodes.iter().any(|node| node.up));
        let now = self.now;
        let mut passes = |name: Name, kind| {
            let fault = if blind { Some(Fault::CannotSee) } else { ways.fault(name, kind, now) };
            met.extend(fault);
            fault.is_none() && up && !one
        };
        let order = authority.look(number, now, &mut passes);
        let seen = order.map(|order| (order.status, order.failed.clone()));
        self.met_all(at, met);
        seen
    }

    /// Opens the challenges that wait, and asks the authority to look.
    fn authorize(&mut self, at: At, work: &mut Work) -> Result<(), Turn> {
        if let Err(why) = self.knock(at, work.ca, Phase::Authorize) {
            return Err(self.broken(at, work, why));
        }
        let Some(kind) = work.attempt.way.challenge else { return Err(local()) };
        if self.cas[work.ca].suffers(Fault::OffersOneKind, self.now)
            && kind != semper::plan::acme::ChallengeKind::Http01
        {
            self.met(Fault::OffersOneKind, at);
            return Err(fail(Failure::NotOffered { kind, names: vec![] }));
        }
        let names = work.record.as_ref().map(|record| record.names.clone()).unwrap_or_default();
        for name in names.iter() {
            let took = self.dice.between(Duration::from_secs(1), Duration::from_secs(8));
            self.cas[work.ca].challenge(*name, kind, self.now, took);
        }
        Ok(())
    }

    fn finalize(&mut self, at: At, work: &mut Work, number: u64, wait: Duration) -> Result<Turn, Dead> {
        if let Some(record) = work.record.as_mut().filter(|record| !record.finalizing) {
            record.finalizing = true;
            let record = record.clone();
            if self.bug != Some(Bug::KeyNotSavedBeforeFinalize) {
                let _ = self.save(at, record);
            }
            self.crash(at, Point::BeforeFinalize)?;
        }
        if let Err(why) = self.knock(at, work.ca, Phase::Finalize) {
            return Ok(self.broken(at, work, why));
        }
        let mut met = Vec::new();
        self.cas[work.ca].finalize(number, work.key(), self.now, &mut self.dice, &mut met);
        let gone = self.cas[work.ca].suffers(Fault::FinalizeAnswerLost, self.now);
        if gone {
            met.push(Fault::FinalizeAnswerLost);
        }
        self.met_all(at, met);
        self.crash(at, Point::AfterFinalize)?;
        if let (Some(Bug::KeyNotSavedBeforeFinalize), Some(record)) = (self.bug, work.record.clone()) {
            let _ = self.save(at, record);
        }
        if gone && self.bug == Some(Bug::LostFinalizeOrdersAnew) {
            self.nodes[at.node].folders[at.cert].order.put(None, true);
            return Ok(lost("the answer to finalize is lost"));
        }
        Ok(if gone { self.broken(at, work, Failure::Unreachable { detail: "lost".into() }) } else { Wait(wait) })
    }

    fn fetch(&mut self, at: At, work: &mut Work, left: u32) -> Result<Turn, Dead> {
        let answer = self.knock(at, work.ca, Phase::Fetch);
        let number = work.record.as_ref().and_then(|record| record.number);
        let order = number.and_then(|number| self.cas[work.ca].orders.get(&number));
        let paper = order.and_then(|order| order.paper.clone());
        let bad = |detail: &str| Failure::BadCertificate { detail: detail.to_owned() };
        let failed = match (answer, paper) {
            (Err(Failure::Lost { detail }), _) => bad(&detail),
            (Err(Failure::Unreachable { detail }), _) => {
                let since = work.record.as_ref().map_or(self.now, |record| record.began_at);
                Failure::Unfetched { since, detail }
            }
            (Err(why), _) => why,
            (Ok(_), None) => bad("none came"),
            (Ok(_), Some(paper)) => match self.read(at, work, &paper) {
                Ok(kept) => {
                    self.crash(at, Point::AfterFetch)?;
                    return Ok(Done(Ok(kept)));
                }
                Err(why) => why,
            },
        };
        if left <= 1 {
            return Ok(self.judge(at, work.ca, failed));
        }
        work.step = Step::Fetch { left: left - 1 };
        Ok(Wait(Duration::from_millis(500)))
    }

    /// What came is a bundle only if it can be read and the key is ours.
    fn read(&self, at: At, work: &Work, paper: &Arc<crate::authority::Paper>) -> Result<Kept, Failure> {
        let bad = |detail: &str| Err(Failure::BadCertificate { detail: detail.to_owned() });
        let unverified = self.bug == Some(Bug::SavesBeforeVerifying);
        match paper.flaw {
            Some(Fault::CertificateHtml) => return bad("no readable certificate chain"),
            Some(Fault::CertificateWrongKey) if !unverified => return bad("the private key does not match"),
            _ if paper.key != work.key() => return bad("the private key does not match"),
            _ => {}
        }
        let obtained_at = self.nodes[at.node].civil();
        let kept = Kept { epoch: 0, obtained_at, key: work.key(), paper: paper.clone(), disowned: false };
        if !unverified && let Some(objection) = self.judged(at, &work.attempt, &kept) {
            return bad(&objection);
        }
        Ok(kept)
    }
}
