//! What must never happen, and what must happen in the end? The safety rules after every event, the liveness rules after
//! the storm; nothing here knows how the decisions are made.

use crate::counters::Standing;
use crate::disk::{Health, Kept};
use crate::fault::Fault;
use crate::hand::Work;
use crate::node::Role;
use crate::scenario::{DAY, HOUR, MINUTE};
use crate::watch::Watch;
use crate::world::{At, What, World};
use semper::cert::ari::RenewalInfo;
use semper::cert::failure::Failure;
use semper::cert::stage::{Attempt, Stage};
use semper::clock::UnixTime;
use std::time::Duration;

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    pub rule: &'static str,
    pub at: UnixTime,
    pub cert: usize,
    pub detail: String,
}

impl World {
    fn watch(&mut self, at: At) -> &mut Watch {
        &mut self.nodes[at.node].keeping[at.cert].watch
    }

    /// Notes that a rule is broken; the first one counts.
    pub fn breaks(&mut self, rule: &'static str, at: At, detail: String) {
        if self.broken.is_none() {
            if self.tracing {
                self.trace(at, &format!("BROKEN {rule}: {detail}"));
            }
            self.broken = Some(Broken { rule, at: self.now, cert: at.cert, detail });
        }
    }

    /// A generation is shown to clients.
    pub fn shown(&mut self, at: At, kept: &Kept) {
        let names = &self.nodes[at.node].keeping[at.cert].names;
        // A clock that was wrong cannot tell what has expired.
        let fooled = kept.paper.flaw == Some(Fault::CertificateExpired) && kept.obtained_at < kept.paper.not_after;
        if (kept.paper.flaw.is_some() && !fooled)
            || kept.paper.key != kept.key
            || kept.paper.names.iter().any(|name| !names.contains(name))
        {
            let detail = format!("{:?}", kept.paper);
            return self.breaks("only what is verified is served", at, detail);
        }
        let (shown, stored) = (self.watch(at).shown, self.watch(at).stored);
        if kept.epoch < stored {
            let detail = format!("epoch {} after {stored} was stored", kept.epoch);
            return self.breaks("the last good bundle is never lost", at, detail);
        }
        if kept.epoch < shown {
            let detail = format!("epoch {} after {shown}", kept.epoch);
            return self.breaks("a generation never goes back", at, detail);
        }
        let watch = self.watch(at);
        watch.shown = kept.epoch;
        // What was chosen for a generation that is gone is gone with it.
        watch.choice = watch.choice.filter(|(epoch, _)| *epoch <= kept.epoch);
    }

    /// The newest generation on disk was damaged: an older one may come back.
    pub fn rotted(&mut self, at: At) {
        let folder = &self.nodes[at.node].folders[at.cert];
        let newest = folder.newest().map_or(0, |kept| kept.epoch);
        let watch = self.watch(at);
        watch.choice = None;
        (watch.shown, watch.stored) = (newest.min(watch.shown), newest.min(watch.stored));
    }

    /// The process of a node died: what the disk refused is gone.
    pub fn died(&mut self, node: usize) {
        for cert in 0..self.nodes[node].keeping.len() {
            let keeping = &mut self.nodes[node].keeping[cert];
            keeping.watch.urged = None;
            if keeping.unstored.is_some() {
                keeping.watch.shown = keeping.watch.stored;
            }
            if !keeping.journaled {
                keeping.watch.choice = None;
            }
        }
    }

    /// A name left the configuration.
    pub fn left(&mut self, at: At) {
        self.watch(at).left();
    }

    /// After every step.
    pub fn check(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let keeping = &node.keeping[at.cert];
        let civil = node.civil();
        let stage = &keeping.stage;
        let wait = stage.wakes_at().since(civil);
        let wake = stage.wakes_at();
        let stored = || node.folders[at.cert].newest().is_some();
        if keeping.served.is_some() && stage.held().is_none() && stored() {
            return self.breaks("the last good bundle is never lost", at, "the stage forgot it".into());
        }
        if let Stage::Ordering { attempt, .. } = stage
            && attempt.give_up_at.since(civil) > HOUR * 2
            && self.now.since(node.clock.set_at) > HOUR * 2
        {
            return self.breaks("nothing waits beyond its deadline", at, format!("an order until {wake}"));
        }
        let most = match stage.held() {
            Some(held) if held.answers_about_renewal() => DAY,
            Some(held) => held.lifetime().max(HOUR),
            // At its limits an authority lets nobody in for a week.
            None => DAY * 7,
        };
        let set = self.now.since(node.clock.set_at) < HOUR * 2;
        if wait > most + MINUTE && node.clock.is_sane(self.now) && !set {
            return self.breaks("nothing waits beyond its deadline", at, format!("sleeps until {wake}"));
        }
        self.check_urged(at);
        self.check_choice(at);
        self.check_asked(at);
    }

    /// What is known to be revoked is shown only while there is nothing else in force.
    pub fn check_revoked(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let keeping = &node.keeping[at.cert];
        let Some((_, ca, serial)) = keeping.watch.revoked else { return };
        let is_it = |kept: &Kept| (kept.paper.ca, kept.paper.serial) == (ca, serial);
        if keeping.role != Role::Own || !keeping.served.as_ref().is_some_and(is_it) {
            return;
        }
        let standbys = self.behind(at).filter(|cert| matches!(node.keeping[*cert].role, Role::Standby { .. }));
        let mut others = standbys.filter_map(|cert| node.keeping[cert].served.as_ref());
        let good = |kept: &&Kept| kept.paper.not_before <= self.now && self.now < kept.paper.not_after;
        // Two that wanted the very same may have got the very same.
        let better = others.find(|kept| good(kept) && !is_it(kept)).map(|kept| kept.epoch);
        drop(others);
        if let Some(epoch) = better {
            let detail = format!("while epoch {epoch} of a standby is in force");
            self.breaks("what is revoked is shown only if nothing else is there", at, detail);
        }
    }

    /// The authority that issued what is held is asked about it every day.
    fn check_asked(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let keeping = &node.keeping[at.cert];
        let Stage::Serving { held, .. } = &keeping.stage else { return };
        let since = keeping.watch.asked_about.max(keeping.watch.started).max(held.obtained_at).max(node.disturbed);
        let ours = keeping.issuers.iter().any(|ca| self.cas[*ca].url == held.authority);
        let due = ours && held.answers_about_renewal() && self.now < held.not_after && !node.clock.wrong;
        if due && self.now.since(since) > DAY + HOUR * 2 {
            self.breaks("its authority is asked about it", at, format!("not since {since}"));
        }
    }

    /// No hot loop.
    pub fn count_moment(&mut self, at: At) {
        let now = self.now;
        let watch = self.watch(at);
        if watch.burst.0 == now {
            watch.burst.1 += 1;
            if watch.burst.1 > 40 {
                self.breaks("no hot loop", at, "40 steps at one moment".into());
            }
        } else {
            watch.burst = (now, 1);
        }
    }

    /// A request to an authority.
    pub fn requested(&mut self, at: At) {
        let now = self.now;
        let watch = self.watch(at);
        if now.since(watch.requests.0) > MINUTE * 10 {
            watch.requests = (now, 0);
        }
        watch.requests.1 += 1;
        if watch.requests.1 > 600 {
            self.breaks("requests are bounded", at, "more than one a second for ten minutes".into());
        }
    }

    /// An order is placed, or taken up again.
    pub fn ordered(&mut self, at: At, attempt: &Attempt) {
        self.check_herd(at);
        self.counters.orders += 1;
        let now = self.now;
        let life = self.cas.iter().map(|ca| ca.life).min().unwrap_or(DAY);
        let crashes = self.scenario.crash > 0.0;
        let most = if life < DAY { 600 } else { 40 };
        if !self.nodes[at.node].keeping[at.cert].wanted {
            return self.breaks("only names of the configuration are ordered", at, format!("{attempt:?}"));
        }
        let off = (self.nodes[at.node].clock.shows(now).0 - now.0).unsigned_abs();
        let valid = self.standing(at) == Standing::OrderingRenewal;
        // In truth in the last sixth of its life: a doubt may last longer than that.
        let late = self.nodes[at.node].keeping[at.cert]
            .stage
            .held()
            .is_some_and(|held| held.not_after.since(now) <= held.not_after.since(held.not_before) / 6 + MINUTE * 10);
        if valid && !late && u128::from(off) > DAY.as_millis() && self.scenario.people.every == Duration::ZERO {
            return self.breaks("a clock that jumps orders nothing", at, format!("{off} ms off"));
        }
        let watch = self.watch(at);
        if now.since(watch.orders.0) > HOUR {
            watch.orders = (now, 0);
        }
        watch.orders.1 += 1;
        let orders = watch.orders.1;
        if orders > if crashes { most * 2 } else { most } {
            self.breaks("requests are bounded", at, format!("{most} orders in an hour"));
        }
    }

    /// Certificates that were born together must not fall due together.
    fn check_herd(&mut self, at: At) {
        let Some(most) = self.scenario.herd else { return };
        let now = self.now;
        if now.since(self.began) < DAY {
            return;
        }
        if now.since(self.minute.0) >= MINUTE {
            self.minute = (now, 0);
        }
        self.minute.1 += 1;
        if self.minute.1 > most {
            self.breaks("no herd", at, format!("{most} orders within a minute"));
        }
    }

    /// newOrder is about to be asked: nothing that was issued and is good may wait to be fetched.
    pub fn places(&mut self, at: At, ca: usize) {
        let (now, names) = (self.now, self.nodes[at.node].keeping[at.cert].names.clone());
        let disturbed = match self.nodes[at.node].health {
            Health::Well if !self.nodes[at.node].clock.wrong => self.nodes[at.node].disturbed,
            _ => now,
        };
        // There is one record for a certificate: whoever asks another authority gives up what waits at the first.
        let before = self.nodes[at.node].keeping[at.cert].watch.asked;
        self.nodes[at.node].keeping[at.cert].watch.asked = Some(ca);
        if before.is_some_and(|before| before != ca) {
            return;
        }
        let authority = &self.cas[ca];
        let folder = &self.nodes[at.node].folders[at.cert];
        let had = |serial: u64| folder.readable().any(|kept| (kept.paper.ca, kept.paper.serial) == (ca, serial));
        let waiting = authority.orders.iter().find(|(_, order)| {
            order.names == names
                && order.is_issued()
                && order.paper.as_ref().is_some_and(|paper| paper.flaw.is_none() && !had(paper.serial))
                && now.since(order.issued_at) < MINUTE * 50
                && order.issued_at > disturbed
        });
        // A standby from the authority that others fall back to: two that want the very same.
        if self.nodes[at.node].keeping.iter().filter(|other| other.names == names).count() > 1 {
            return;
        }
        if let Some((number, _)) = waiting
            && authority.is_well(now)
        {
            let detail = format!("order {number} at {}", authority.url);
            self.breaks("what was issued is fetched, not ordered again", at, detail);
        }
    }

    /// An order ended badly.
    pub fn refused(&mut self, at: At, work: &Work, why: &Failure) {
        let now = self.now;
        match why {
            Failure::Unreachable { .. } | Failure::Account { .. } | Failure::Local { .. } | Failure::Busy => {}
            Failure::Limited { .. } => self.watch(at).limited = Some(now),
            Failure::BadCertificate { detail } => {
                let node = &self.nodes[at.node];
                // What was signed with a flaw may be fetched long after the authority is well again.
                let flawed = work.number().and_then(|number| self.cas[work.ca].orders.get(&number)?.paper.as_ref());
                let flawed = flawed.is_some_and(|paper| paper.flaw.is_some());
                let names = &node.keeping[at.cert].names;
                let twins = node.keeping.iter().filter(|other| other.names == *names).count() > 1;
                let well = !twins && self.cas[work.ca].is_well(now) && now.since(node.disturbed) > HOUR && !flawed;
                if well && detail.contains("private key") {
                    self.breaks("the key of a request is kept", at, detail.clone());
                }
            }
            _ => {}
        }
        if !matches!(why, Failure::Unreachable { .. } | Failure::Account { .. } | Failure::Local { .. } | Failure::Busy)
        {
            self.watch(at).invalid = Some(now);
        }
        self.check_limits(at);
    }

    /// How near we came to the limits of the authorities.
    pub fn check_limits(&mut self, at: At) {
        let node = &self.nodes[at.node];
        // What cannot be written down is forgotten by a crash: then nobody can count.
        if node.health != Health::Well || self.now.since(node.refused) < DAY * 7 {
            return;
        }
        let names = node.keeping[at.cert].names.clone();
        // Whoever has the wrong time cannot tell what was within the hour, or the week.
        let set = self.now.since(node.clock.set_at) < HOUR * 2;
        let leapt = node.clock.leapt_at.is_some_and(|leapt| self.now.since(leapt) < DAY * 8);
        for place in 0..self.cas.len() {
            let ca = &mut self.cas[place];
            if ca.limits.is_none() {
                continue;
            }
            let (_, failed, row) = ca.books.of(&names, self.now);
            let issued = ca.books.most_issued(&names, self.now);
            let (url, detail) = (ca.url.clone(), |what: String, url: &str| format!("{what} at {url}"));
            if !leapt && issued > 4 {
                self.breaks("at most 4 certificates a week", at, detail(format!("{issued} issued"), &url));
            } else if failed > 4 && !set {
                self.breaks("at most 4 failed validations an hour", at, detail(format!("{failed} failed"), &url));
            } else if row >= 1100 {
                self.breaks("no pause for failures in a row", at, detail(format!("{row} in a row"), &url));
            }
        }
    }

    /// An authority answered about renewal.
    pub fn informed(&mut self, at: At, info: Option<&RenewalInfo>) {
        let now = self.now;
        let past = info.is_some_and(|info| info.start < info.end && info.end < now);
        let names = self.nodes[at.node].keeping[at.cert].names.clone();
        let spent = self.cas.iter_mut().any(|ca| ca.books.most_issued(&names, now) >= 3);
        let meant = self.cas.iter().any(|ca| ca.suffers(Fault::AriPast, now));
        let sane = self.nodes[at.node].clock.is_sane(now) && meant && !spent;
        let watch = self.watch(at);
        match past && sane {
            true => _ = watch.urged.get_or_insert(now),
            false => watch.urged = None,
        }
    }

    /// A window in the past means now.
    fn check_urged(&mut self, at: At) {
        let Some(since) = self.nodes[at.node].keeping[at.cert].watch.urged else { return };
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let trouble = keeping.stage.trouble();
        let idle = matches!(keeping.stage, Stage::Serving { .. }) && trouble.failures == 0;
        if idle && self.now.since(since) > MINUTE * 30 {
            self.breaks("a window in the past means now", at, format!("wanted since {since}"));
        }
        if !matches!(self.nodes[at.node].keeping[at.cert].stage, Stage::Serving { .. }) {
            self.watch(at).urged = None;
        }
    }

    /// The moment chosen in a window stays while the window stays.
    fn check_choice(&mut self, at: At) {
        let held = self.nodes[at.node].keeping[at.cert].stage.held();
        let Some((epoch, choice)) = held.and_then(|held| Some((held.epoch, held.choice?))) else { return };
        let rotten = self.now.since(self.nodes[at.node].disturbed) < HOUR;
        let before = self.watch(at).choice.replace((epoch, choice));
        if let Some((of, before)) = before
            && (of, before.start, before.end) == (epoch, choice.start, choice.end)
            && before.at != choice.at
            && !rotten
        {
            self.breaks("a choice within a window is kept", at, format!("{} became {}", before.at, choice.at));
        }
    }

    /// Something that is shown reached its end.
    pub fn may_have_expired(&mut self, at: At) {
        if self.nodes[at.node].up {
            self.choose(at);
        }
        let node = &self.nodes[at.node];
        let keeping = &node.keeping[at.cert];
        if !keeping.wanted || keeping.role != Role::Own || keeping.served.is_none() {
            return;
        }
        let over: Vec<_> = keeping.names.iter().copied().filter(|name| !self.is_covered(at, *name)).collect();
        let Some(name) = over.first().copied() else { return };
        self.counters.expired += 1;
        let ended = keeping.served.as_ref().map_or(self.now, |kept| kept.paper.not_after);
        let detail = format!("{} after {ended}", self.names[name as usize]);
        let others = self.behind(at).filter_map(|cert| node.keeping[cert].served.as_ref());
        let mut held = node.folders[at.cert].readable().chain(others);
        let good = |kept: &&Kept| kept.paper.names.contains(&name) && self.now < kept.paper.not_after;
        let better = held.find(|kept| good(kept) && kept.paper.not_before <= self.now && !kept.disowned);
        let better = better.map(|kept| (kept.epoch, kept.paper.not_after));
        drop(held);
        let late = self.now.since(ended) >= MINUTE * 6;
        let awake = node.up && node.clock.is_sane(self.now);
        if let Some((epoch, until)) = better.filter(|_| late && awake) {
            let detail = format!("{detail}, while epoch {epoch} holds until {until}");
            return self.breaks("never an expired one while a valid one is held", at, detail);
        }
        if !late {
            self.push(self.now + MINUTE * 7, What::Expiry(at));
        }
        if self.scenario.nothing_expires {
            self.breaks("no name expires", at, detail);
        }
    }

    /// Whether what is shown for a name is in force and speaks for it.
    fn is_covered(&self, at: At, name: crate::authority::Name) -> bool {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let own = keeping.served_apart.iter().find(|(of, _)| *of == name).map(|(_, kept)| kept);
        let shown = own.or(keeping.served.as_ref());
        shown.is_some_and(|kept| {
            let paper = &kept.paper;
            paper.not_before <= self.now && self.now < paper.not_after && paper.names.contains(&name)
        })
    }

    /// The storm is over: from now on everything must come right.
    pub fn calmed(&mut self) {
        for at in self.everywhere() {
            let grace = self.grace(at);
            self.push(self.now + grace, What::Recovered(at));
        }
    }

    /// How long after the storm a certificate may take: an hour, and what the limits of the authorities add.
    fn grace(&mut self, at: At) -> Duration {
        let names = self.nodes[at.node].keeping[at.cert].names.clone();
        let calm = self.calm_from;
        // What was split off has failures, and waits, of its own.
        let node = &self.nodes[at.node];
        let all = self.behind(at).chain([at.cert]).map(|cert| &node.keeping[cert].watch);
        let lately = |moment: Option<UnixTime>| moment.is_some_and(|moment| calm.since(moment) < DAY);
        let mut grace = HOUR;
        if all.into_iter().any(|watch| lately(watch.invalid) || lately(watch.limited)) {
            grace += HOUR * 7;
        }
        let spent = self.cas.iter_mut().any(|ca| ca.limits.is_some() && ca.books.most_issued(&names, calm) >= 3);
        if spent { grace + DAY * 7 } else { grace }
    }

    /// When the run ends.
    pub fn at_the_end(&mut self) {
        for at in self.everywhere() {
            self.is_valid(at, "every name is valid in the end");
            self.check_limits(at);
            let keeping = &self.nodes[at.node].keeping[at.cert];
            if keeping.wanted && keeping.role == Role::Own && !keeping.stage.trouble().apart.is_empty() {
                let detail = format!("{:?}", keeping.stage.trouble().apart);
                self.breaks("a name that passes by itself rejoins", at, detail);
            }
        }
    }

    /// Whether every name of a certificate of the configuration is shown one that is in force and not revoked.
    pub fn is_valid(&mut self, at: At, rule: &'static str) {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        if !keeping.wanted || keeping.role != Role::Own {
            return;
        }
        let bad = keeping.names.iter().find(|name| !self.is_covered(at, **name));
        if let Some(name) = bad {
            let shown =
                keeping.served.as_ref().map(|kept| (kept.epoch, kept.paper.not_after, kept.paper.names.clone()));
            let apart: Vec<_> = keeping.served_apart.iter().map(|(name, kept)| (*name, kept.paper.not_after)).collect();
            let name = &self.names[*name as usize];
            let detail = format!("{name}; {shown:?} is shown, and {apart:?}; {:?}", keeping.stage);
            return self.breaks(rule, at, detail);
        }
        let noticed = |kept: &Kept| {
            keeping.watch.revoked.is_some_and(|(_, ca, serial)| (ca, serial) == (kept.paper.ca, kept.paper.serial))
        };
        if keeping.served.as_ref().is_some_and(noticed) {
            self.breaks("what is revoked is replaced", at, format!("{:?}", keeping.stage));
        }
    }
}
