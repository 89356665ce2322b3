//! What goes wrong, and what do people do? Strikes and mends; every fault that has a length ends by itself, and all of
//! them end when the storm does.

use crate::disk::Health;
use crate::edge::Dead;
use crate::fault::Fault;
use crate::node::Role;
use crate::planted::Bug;
use crate::scenario::Weather;
use crate::world::{At, What, World};
use semper::cert::deeds::LONGEST_SLEEP;
use semper::cert::preflight::{Finding, Sight};
use semper::cert::stage::{Event, Policy, Stage};
use semper::plan::acme::{AcmeServer, Authority, ChallengeKind, InternalAuthority, Issuer};
use semper::plan::limits::Limits;
use semper::words::{Identifier, Place};
use std::time::Duration;

impl World {
    /// The rules for a certificate that may use these authorities, the first first.
    pub fn policy(&self, issuers: &[usize], names: &[Identifier]) -> Policy {
        let of = |place: &usize| {
            let ca = &self.cas[*place];
            let limits = if ca.limits.is_some() { Limits::LETS_ENCRYPT } else { Limits::NONE };
            let authority = match &ca.url[..] {
                "internal" => Authority::Internal(InternalAuthority::default()),
                url => Authority::Acme(AcmeServer { limits: Some(limits.into()), ..AcmeServer::at(url) }),
            };
            Issuer::new(format!("ca{place}"), None, authority, Place::built_in())
        };
        let mut all: Vec<Issuer> = issuers.iter().map(of).collect();
        all[0].fallback = all[1..].iter().map(|issuer| issuer.name.clone()).collect();
        Policy::of(&all[0], &all, names)
    }

    /// Somebody looked at names from outside.
    pub fn looked(&mut self, at: At) -> Result<(), Dead> {
        let now = self.now;
        let names = std::mem::take(&mut self.nodes[at.node].keeping[at.cert].looking);
        let mut sights = Vec::new();
        for name in names {
            let Some(number) = self.names.iter().position(|known| *known == name) else { continue };
            let detail = || "simulated".to_owned();
            let finding = match self.ways.fault(number as u32, ChallengeKind::Http01, now) {
                None => Finding::Here,
                Some(Fault::MovedAway) => Finding::Elsewhere { detail: detail() },
                Some(Fault::DnsWrong) if self.dice.chance(0.5) => Finding::NotCheckable { detail: detail() },
                Some(_) => Finding::Hindered { detail: detail() },
            };
            sights.push(Sight { name, finding });
        }
        self.word(at, Event::Looked(sights))
    }

    pub fn weather(&mut self, what: What) -> Result<(), Dead> {
        let scenario = &self.scenario;
        match what {
            What::CaFault(ca) => {
                let weather = scenario.signers[ca].weather;
                let (fault, until) = self.fault(weather);
                self.cas[ca].heal(self.now);
                self.cas[ca].strike(fault, self.now, until);
                match self.scenario.apart {
                    // One cause at a time: the next one comes when this has passed for a while.
                    Some(apart) if until + apart < self.calm_from => {
                        let gap = self.dice.gap(weather.every);
                        self.push(until + apart + gap, what);
                    }
                    Some(_) => {}
                    None => self.next(weather.every, what),
                }
            }
            What::AriFault(ca) => {
                let weather = scenario.signers[ca].ari;
                let (fault, until) = self.fault(weather);
                self.cas[ca].strike(fault, self.now, until);
                self.next(weather.every, what);
            }
            What::WayFault => {
                let weather = scenario.ways;
                let (fault, until) = self.fault(weather);
                let name = self.dice.below(self.names.len());
                self.ways.strike(name as u32, fault, until);
                self.next(weather.every, what);
            }
            What::DiskFault(node) => {
                let weather = scenario.disk;
                let (fault, until) = self.fault(weather);
                let cert = self.dice.below(self.nodes[node].folders.len());
                self.strike_disk(At { node, cert }, fault);
                self.push(until, What::DiskMended(node));
                self.next(weather.every, what);
            }
            What::DiskMended(node) => {
                self.nodes[node].health = Health::Well;
                self.nodes[node].disturbed = self.now;
                self.nodes[node].refused = self.now;
            }
            What::ClockFault(node) => {
                let weather = scenario.clock;
                let (fault, until) = self.fault(weather);
                self.strike_clock(node, fault);
                self.push(until, What::ClockMended(node));
                self.next(weather.every, what);
            }
            What::ClockMended(node) => self.set_clock(node, 0, 0),
            What::People(node) => {
                let weather = scenario.people;
                self.next(weather.every, what);
                let fault = self.dice.pick(weather.kinds);
                let cert = self.dice.below(self.nodes[node].keeping.len());
                return self.people(At { node, cert }, fault);
            }
            What::Sudden(at) => {
                let node = at.node;
                let (disk, clock, people) = (scenario.disk, scenario.clock, scenario.people);
                let kinds: Vec<Weather> = [disk, clock, people].into_iter().filter(|w| !w.kinds.is_empty()).collect();
                let weather = self.dice.pick(&kinds);
                let (fault, until) = self.fault(weather);
                if weather.kinds == people.kinds {
                    return self.people(at, fault);
                } else if weather.kinds == clock.kinds {
                    self.strike_clock(node, fault);
                    self.push(until, What::ClockMended(node));
                } else {
                    self.strike_disk(at, fault);
                    self.push(until, What::DiskMended(node));
                }
            }
            What::CrashAnywhere(node) => {
                self.next(self.scenario.crash_every, what);
                if self.nodes[node].up {
                    *self.counters.crashes.entry(crate::counters::Point::Anywhere).or_default() += 1;
                    self.kill(node);
                }
            }
            _ => self.calm(),
        }
        Ok(())
    }

    /// Now and then something goes wrong just while an order runs.
    pub fn sudden(&mut self, at: At, chance: f64) {
        let scenario = &self.scenario;
        let none =
            scenario.disk.kinds.is_empty() && scenario.clock.kinds.is_empty() && scenario.people.kinds.is_empty();
        if !none && self.now < self.calm_from && self.dice.chance(chance) {
            let pause = self.dice.between(Duration::ZERO, Duration::from_secs(6));
            self.push(self.now + pause, What::Sudden(at));
        }
    }

    /// A fault and its end.
    fn fault(&mut self, weather: Weather) -> (Fault, semper::clock::UnixTime) {
        let fault = self.dice.pick(weather.kinds);
        let length = self.dice.length(weather.shortest.min(weather.longest / 10), weather.longest);
        if self.tracing {
            self.story.push(format!("{} weather: {fault:?} for {:.1} h", self.now, length.as_secs_f64() / 3600.0));
        }
        (fault, (self.now + length).min(self.calm_from))
    }

    fn all_met(&mut self, node: usize, fault: Fault) {
        for cert in 0..self.nodes[node].keeping.len() {
            if self.nodes[node].keeping[cert].wanted {
                self.met(fault, At { node, cert });
            }
        }
        self.nodes[node].disturbed = self.now;
    }

    fn strike_disk(&mut self, at: At, fault: Fault) {
        let At { node, cert } = at;
        match fault {
            Fault::DiskFull | Fault::DiskReadOnly => {
                self.all_met(node, fault);
                self.nodes[node].refused = self.now;
                self.nodes[node].health = if fault == Fault::DiskFull { Health::Full } else { Health::ReadOnly };
            }
            _ => {
                let folder = &mut self.nodes[node].folders[cert];
                match fault {
                    Fault::BitRotJournal => {
                        folder.stage.rot();
                        self.nodes[node].keeping[cert].watch.forget_choice();
                    }
                    Fault::BitRotOrder => folder.order.rot(),
                    _ => {
                        if let Some(newest) = folder.generations.last_mut() {
                            newest.rot();
                        }
                        self.rotted(at);
                    }
                }
                self.nodes[node].keeping[cert].journaled = false;
                self.nodes[node].disturbed = self.now;
                if self.nodes[node].keeping[cert].wanted {
                    self.met(fault, at);
                }
            }
        }
    }

    fn strike_clock(&mut self, node: usize, fault: Fault) {
        const YEAR: i64 = 365 * 86_400_000;
        let share = self.dice.draw();
        let (offset, drift) = match fault {
            Fault::ClockDrift => (0, ((share - 0.5) * 600_000.0) as i64),
            Fault::ClockForward => ((share * 6.0 * 3_600_000.0) as i64, 0),
            Fault::ClockBack => ((share * -6.0 * 3_600_000.0) as i64, 0),
            Fault::ClockYearsForward => (YEAR * 2 + (share * 8.0) as i64 * YEAR, 0),
            _ => (-YEAR * 2 - (share * 8.0) as i64 * YEAR, 0),
        };
        self.all_met(node, fault);
        self.set_clock(node, offset, drift);
    }

    /// The clock is set. Keepers that sleep notice when their longest sleep is over.
    fn set_clock(&mut self, node: usize, offset: i64, drift: i64) {
        self.nodes[node].disturbed = self.now;
        self.nodes[node].clock.set(self.now, offset, drift);
        self.look_at_clock(node);
        if !self.nodes[node].up {
            return;
        }
        for cert in 0..self.nodes[node].keeping.len() {
            let at = At { node, cert };
            let when = self.now + self.dice.between(Duration::ZERO, LONGEST_SLEEP);
            if self.nodes[node].keeping[cert].wanted && self.nodes[node].keeping[cert].alarm.0 > when {
                let number = self.push(when, What::Wake(at));
                self.nodes[node].keeping[cert].alarm = (when, number);
            }
        }
    }

    fn people(&mut self, at: At, fault: Fault) -> Result<(), Dead> {
        let At { node, cert } = at;
        let (wanted, role) = (self.nodes[node].keeping[cert].wanted, self.nodes[node].keeping[cert].role);
        if role != Role::Own {
            return Ok(());
        }
        let up = self.nodes[node].up;
        match fault {
            Fault::NameJoins if !wanted => {
                self.nodes[node].keeping[cert].wanted = true;
                self.met(fault, at);
                if up {
                    self.keep(at)?;
                    self.derive(at)?;
                }
                Ok(())
            }
            Fault::NameLeaves if wanted => {
                self.met(fault, at);
                self.nodes[node].keeping[cert].wanted = false;
                self.left(at);
                if self.bug != Some(Bug::KeepsOldNames) {
                    self.abort(at);
                    self.nodes[node].keeping[cert].served = None;
                }
                self.derive(at)
            }
            Fault::IssuerChanges if wanted => {
                self.met(fault, at);
                let mut issuers = self.nodes[node].keeping[cert].issuers.clone();
                issuers.rotate_left(1);
                let all: Vec<usize> = self.behind(at).chain([cert]).collect();
                for cert in all {
                    let standby = matches!(self.nodes[node].keeping[cert].role, Role::Standby { .. });
                    let issuers = issuers[if standby { issuers.len() - 1 } else { 0 }..].to_vec();
                    self.rules_change(At { node, cert }, issuers, up)?;
                }
                Ok(())
            }
            Fault::OperatorRenews if wanted && up => {
                self.met(fault, at);
                self.word(at, Event::Renew)
            }
            Fault::Revoked => {
                self.revoke(at);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A certificate is kept by other rules from now on.
    fn rules_change(&mut self, at: At, issuers: Vec<usize>, up: bool) -> Result<(), Dead> {
        let policy = self.policy(&issuers, &self.nodes[at.node].keeping[at.cert].spec.identifiers);
        let keeping = &mut self.nodes[at.node].keeping[at.cert];
        (keeping.issuers, keeping.policy) = (issuers, policy);
        // An order under way may end first.
        if !up || matches!(keeping.stage, Stage::Ordering { .. }) {
            return Ok(());
        }
        let held = keeping.stage.held().cloned();
        self.word(at, Event::Started(held))?;
        self.word(at, Event::Cleared)
    }

    /// The storm is over.
    fn calm(&mut self) {
        self.ways.calm();
        for ca in &mut self.cas {
            ca.faults.clear();
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].health = Health::Well;
            if self.nodes[node].clock.wrong {
                self.set_clock(node, 0, 0);
            }
        }
        self.calmed();
    }
}
