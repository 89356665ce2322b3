//! What stands behind a certificate? One of its own for each name that was split off, and a standby from another
//! authority, as `node::derived` keeps them; and what a revoked generation leads to.

use crate::disk::{Folder, Kept};
use crate::edge::Dead;
use crate::fault::Fault;
use crate::node::Role;
use crate::planted::Bug;
use crate::world::{At, What, World};
use semper::cert::stage::Event;
use std::sync::Arc;
use std::time::Duration;

/// So long it takes at most until a revoked certificate is noticed: lists are fetched some times a day.
const NOTICED: Duration = Duration::from_secs(6 * 3600);

impl World {
    /// The certificates that stand behind one of the configuration.
    pub fn behind(&self, at: At) -> impl Iterator<Item = usize> {
        let all = self.nodes[at.node].keeping.iter().enumerate();
        all.filter(move |(_, other)| other.wanted && other.role.behind() == Some(at.cert)).map(|(cert, _)| cert)
    }

    /// Follows a change of one certificate: whom it stands behind, and what stands behind it.
    pub fn heed(&mut self, at: At) -> Result<(), Dead> {
        self.passes(at);
        match self.nodes[at.node].keeping[at.cert].role {
            Role::Own => self.derive(at)?,
            Role::Standby { of } | Role::Apart { of, .. } => self.choose(At { node: at.node, cert: of }),
        }
        Ok(())
    }

    /// A name that was split off holds its own: the certificate that it belongs to is told.
    fn passes(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let keeping = &node.keeping[at.cert];
        let valid = |kept: &&Kept| !kept.disowned && node.civil() < kept.paper.not_after;
        if let (Role::Apart { of, name }, Some(_)) = (keeping.role, keeping.served.as_ref().filter(valid))
            && self.bug != Some(Bug::NobodyRejoins)
        {
            self.push(self.now, What::Passed(At { node: at.node, cert: of }, self.nodes[at.node].life, name));
        }
    }

    /// Starts and stops what stands behind a certificate.
    pub fn derive(&mut self, at: At) -> Result<(), Dead> {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let mut roles: Vec<Role> = Vec::new();
        if self.scenario.standby && self.cas.len() > 1 {
            roles.push(Role::Standby { of: at.cert });
        }
        for name in keeping.stage.apart() {
            if let Some(name) = keeping.names.iter().find(|number| self.names[**number as usize] == name) {
                roles.push(Role::Apart { of: at.cert, name: *name });
            }
        }
        if !keeping.wanted || self.bug == Some(Bug::NothingStandsBehind) {
            roles.clear();
        }
        let over: Vec<usize> =
            self.behind(at).filter(|cert| !roles.contains(&self.nodes[at.node].keeping[*cert].role)).collect();
        for cert in over {
            self.abort(At { node: at.node, cert });
            let keeping = &mut self.nodes[at.node].keeping[cert];
            (keeping.wanted, keeping.served) = (false, None);
            keeping.watch.left();
        }
        for role in roles {
            let there = self.nodes[at.node].keeping.iter().position(|keeping| keeping.role == role);
            let cert = there.unwrap_or_else(|| self.add(at, role));
            if !self.nodes[at.node].keeping[cert].wanted {
                self.nodes[at.node].keeping[cert].wanted = true;
                self.keep(At { node: at.node, cert })?;
            }
            self.passes(At { node: at.node, cert });
        }
        self.choose(at);
        Ok(())
    }

    fn add(&mut self, at: At, role: Role) -> usize {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let (names, mut issuers) = (keeping.names.clone(), keeping.issuers.clone());
        let names = match role {
            Role::Apart { name, .. } => Arc::from([name]),
            _ => names,
        };
        if let Role::Standby { .. } = role {
            issuers.drain(..issuers.len() - 1);
        }
        let new = self.keeping(&names, issuers, role);
        let node = &mut self.nodes[at.node];
        node.keeping.push(new);
        node.folders.push(Folder::default());
        node.keeping.len() - 1
    }

    /// The authority revokes what is shown; somebody notices hours later.
    pub fn revoke(&mut self, at: At) {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let Some(kept) = keeping.served.clone().filter(|_| keeping.wanted) else { return };
        self.met(Fault::Revoked, at);
        let pause = self.dice.between(Duration::from_secs(60), NOTICED);
        self.push(self.now + pause, What::Revoked(at, kept.paper.ca, kept.paper.serial));
    }

    /// Somebody noticed that a certificate is revoked: it is marked on disk, and whoever holds it is told.
    pub fn revoked(&mut self, at: At, ca: usize, serial: u64) -> Result<(), Dead> {
        let node = &mut self.nodes[at.node];
        let keeping = &mut node.keeping[at.cert];
        let is_it = |kept: &Kept| (kept.paper.ca, kept.paper.serial) == (ca, serial);
        if !keeping.wanted || !node.up {
            // Noticed again after the next start.
            self.push(self.now + NOTICED, What::Revoked(at, ca, serial));
            return Ok(());
        }
        let Some(epoch) = keeping.published.as_ref().filter(|kept| is_it(kept)).map(|kept| kept.epoch) else {
            return Ok(());
        };
        // The next list says the same: whatever a crash interrupted is done then.
        let told = keeping.stage.held().is_some_and(|held| held.epoch == epoch && held.disowned);
        self.push(self.now + NOTICED, What::Revoked(at, ca, serial));
        if told {
            return Ok(());
        }
        let node = &mut self.nodes[at.node];
        let keeping = &mut node.keeping[at.cert];
        if self.bug == Some(Bug::RevokedIsKept) {
            keeping.watch.revoked = Some((self.now, ca, serial));
            return Ok(());
        }
        node.folders[at.cert].disown(epoch);
        if let Some((kept, _)) = keeping.unstored.as_mut().filter(|(kept, _)| is_it(kept)) {
            kept.disowned = true;
        }
        if let Some(kept) = keeping.published.as_mut().filter(|kept| is_it(kept)) {
            kept.disowned = true;
        }
        keeping.watch.revoked = Some((self.now, ca, serial));
        self.word(at, Event::Disowned(epoch))?;
        self.choose(at);
        self.check_revoked(at);
        Ok(())
    }

    /// The clock of a node is looked at: judged beside its witnesses, and authorities are asked where that would help.
    pub fn look_at_clock(&mut self, node: usize) {
        self.nodes[node].judge(self.now);
        if self.nodes[node].judged.ask && self.nodes[node].up {
            for ca in 0..self.cas.len() {
                let internal = self.cas[ca].url == "internal";
                if !internal && self.cas[ca].knock(crate::fault::Phase::Enter, self.now, &mut Vec::new()).is_ok() {
                    self.nodes[node].heard(self.now);
                }
            }
            self.nodes[node].judge(self.now);
        }
        let of = &self.nodes[node];
        if of.quorum.is_some() && (of.clock.wrong || of.judged.doubt.is_some()) {
            let number = self.push(self.now + Duration::from_secs(600), What::ClockLook(node));
            self.nodes[node].clock_look = number;
        }
    }
}
