//! How does a new generation come into force, and what is shown? The steps of `cert::deeds::INSTALL` on a disk that may
//! refuse, and the choice of `cert::choose` among everything that is held for a certificate.

use crate::authority::Paper;
use crate::counters::Point;
use crate::disk::Kept;
use crate::edge::Dead;
use crate::fault::Fault;
use crate::node::Role;
use crate::planted::Bug;
use crate::world::{At, What, World};
use rustls_pki_types::CertificateDer;
use semper::cert::bundle::{Bundle, PrivateKey};
use semper::cert::choose::{self, Candidate, Provenance, Wish};
use semper::cert::deeds::{self, Install, Place};
use semper::cert::failure::Failure;
use semper::cert::gate::{self, Source};
use semper::cert::inspect::{Leaf, PublicKeyKind};
use semper::cert::stage::{Attempt, Event, Held};
use semper::words::Fingerprint;
use std::time::Duration;

impl World {
    /// A new generation: through the gate, onto the disk, into force, then into the journal.
    pub fn issued(&mut self, at: At, attempt: &Attempt, mut kept: Kept) -> Result<(), Dead> {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        kept.epoch = keeping.stage.held().map_or(1, |held| held.epoch + 1);
        if self.bug != Some(Bug::SavesBeforeVerifying)
            && let Some(detail) = self.judged(at, attempt, &kept)
        {
            return self.word(at, Event::Failed(attempt.number, Failure::BadCertificate { detail }));
        }
        if self.cas[kept.paper.ca].url != "internal" {
            self.nodes[at.node].accepted(kept.paper.not_before, self.now);
        }
        for deed in self.bug.and_then(Bug::install).unwrap_or(deeds::INSTALL) {
            match deed {
                Install::Store => {
                    self.crash(at, Point::BeforeStore)?;
                    kept = self.store(at, kept)?;
                    self.crash(at, Point::AfterStore)?;
                }
                Install::Publish => {
                    self.serve(at, kept.clone());
                    self.publish(at);
                    self.crash(at, Point::AfterPublish)?;
                }
                Install::Step => {
                    let held = self.held(at, &kept);
                    self.counters.issued += 1;
                    self.step(at, Event::Issued(held))?;
                }
                Install::ForgetOrder if self.nodes[at.node].keeping[at.cert].unstored.is_none() => {
                    self.forget_order(at);
                    self.crash(at, Point::AfterForget)?;
                }
                Install::ForgetOrder => {}
            }
        }
        self.arm(at);
        Ok(())
    }

    /// What the gate has against a certificate.
    pub fn judged(&self, at: At, attempt: &Attempt, kept: &Kept) -> Option<String> {
        let node = &self.nodes[at.node];
        let ordered = attempt.names(&node.keeping[at.cert].spec.identifiers);
        // Where somebody else says that the clock is wrong, he says what time it is, too.
        let told = node.quorum.is_none() && !node.clock.is_sane(self.now);
        let civil = if told { self.now } else { node.civil() };
        let verdict = gate::judge(&self.bundle(at, kept).into(), &ordered, Source::Authority, civil);
        verdict.refusals.first().map(ToString::to_string)
    }

    fn store(&mut self, at: At, mut kept: Kept) -> Result<Kept, Dead> {
        let synced = self.bug != Some(Bug::NoDirectorySync);
        let deletes = self.bug == Some(Bug::DeletesBeforeWriting);
        if deletes {
            self.nodes[at.node].folders[at.cert].generations.clear();
            self.crash(at, Point::BeforeStore)?;
        }
        let node = &mut self.nodes[at.node];
        let again = node.civil() + deeds::STORE_AGAIN;
        let (keeping, folder) = (&mut node.keeping[at.cert], &mut node.folders[at.cert]);
        let mut place = Place::new(kept.epoch, &keeping.stage, keeping.unstored.is_some() || deletes);
        for _ in 0..deeds::TRIES {
            match folder.replace(&kept, place.expected, node.health, synced) {
                Ok(()) => {
                    keeping.unstored = None;
                    keeping.watch.stored(&kept);
                    return Ok(kept);
                }
                Err(Some(found)) => {
                    place = place.after(found);
                    kept.epoch = place.epoch;
                }
                Err(None) => break,
            }
        }
        keeping.unstored = Some((kept.clone(), again));
        Ok(kept)
    }

    pub fn store_again(&mut self, at: At) {
        let node = &mut self.nodes[at.node];
        let civil = node.judged.now;
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
    pub fn serve(&mut self, at: At, kept: Kept) {
        self.shown(at, &kept);
        self.push(kept.paper.not_after + Duration::from_secs(1), What::Expiry(at));
        let keeping = &mut self.nodes[at.node].keeping[at.cert];
        (keeping.served, keeping.published) = (Some(kept.clone()), Some(kept));
    }

    /// Whoever shows more than one bundle looks which is the best now.
    fn publish(&mut self, at: At) {
        match self.nodes[at.node].keeping[at.cert].role.behind() {
            Some(of) => self.choose(At { node: at.node, cert: of }),
            None if self.behind(at).next().is_some() => self.choose(at),
            None => {}
        }
    }

    /// Shows the best of what is held for a certificate, as a whole and for each of its names.
    pub fn choose(&mut self, at: At) {
        let node = &self.nodes[at.node];
        let keeping = &node.keeping[at.cert];
        if keeping.role != Role::Own || !keeping.wanted {
            return;
        }
        let mut all: Vec<(Provenance, Kept)> = Vec::new();
        for kept in node.folders[at.cert].readable().chain(keeping.unstored.iter().map(|(kept, _)| kept)) {
            all.push((Provenance::Generation(kept.epoch), kept.clone()));
        }
        let known = |epoch: u64| all.iter().any(|(provenance, _)| *provenance == Provenance::Generation(epoch));
        if let Some(kept) = keeping.published.as_ref().filter(|kept| !known(kept.epoch)) {
            all.push((Provenance::Generation(kept.epoch), kept.clone()));
        }
        for cert in self.behind(at) {
            let other = &node.keeping[cert];
            let provenance = match other.role {
                Role::Standby { .. } if self.bug == Some(Bug::StandbyIsNeverShown) => continue,
                Role::Standby { .. } => Provenance::Standby,
                _ => Provenance::Apart,
            };
            all.extend(other.served.iter().map(|kept| (provenance, kept.clone())));
        }
        let marks = |(provenance, kept): &(Provenance, Kept)| {
            let held = keeping.stage.held().filter(|held| *provenance == Provenance::Generation(held.epoch));
            (kept.disowned || held.is_some_and(|held| held.disowned), held.is_some_and(|held| held.doubtful))
        };
        let candidate = |one: &(Provenance, Kept)| Candidate {
            provenance: one.0,
            not_before: one.1.paper.not_before,
            not_after: one.1.paper.not_after,
            disowned: marks(one).0 && self.bug != Some(Bug::DisownedIsShown),
            doubtful: marks(one).1,
        };
        let candidates: Vec<Candidate> = all.iter().map(candidate).collect();
        let names = keeping.names.clone();
        let covers = |at: usize, name: usize| all[at].1.paper.names.contains(&names[name]);
        let shown = choose::arrange(Wish::Acme, names.len(), &candidates, covers, node.civil());
        let Some(main) = shown.main.filter(|_| self.bug != Some(Bug::ExpiredIsChosen)) else { return };
        let apart = shown.apart.iter().map(|(name, at)| (names[*name], all[*at].1.clone())).collect();
        let again = shown.look_again.map(|again| self.now + again.since(node.civil()));
        if let Some(again) = again.filter(|again| *again != keeping.look_again) {
            self.push(again, What::Expiry(at));
            self.nodes[at.node].keeping[at.cert].look_again = again;
        }
        let keeping = &mut self.nodes[at.node].keeping[at.cert];
        (keeping.served, keeping.served_apart) = (Some(all.swap_remove(main).1), apart);
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
}
