//! Which of the certificates and accounts that were found does this configuration want, and how are they taken over? Through
//! the same gate as what an authority issues, and never in the place of something better.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::acme::{Inherited, inherit};
use crate::cert::bundle::{BadBundle, Bundle, Origin};
use crate::cert::gate::{self, Source};
use crate::cert::journal::{Shelf as _, ShelfError};
use crate::clock::UnixTime;
use crate::plan::Plan;
use crate::plan::acme::{Authority, Issuer};
use crate::plan::certificate::CertSpec;
use crate::store::Directory;

use super::found::{Estate, Found, FoundAccount};

/// What becomes of one thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "detail")]
pub enum Verdict {
    /// It is taken over (with `--write`), as this certificate or issuer.
    Wanted(String),
    /// It has been taken over.
    Adopted(String),
    /// It is not taken over, and that is well.
    Left(String),
    /// It is of no use, or could not be taken over.
    Refused(String),
}

/// Decides, and with `write` does it.
pub struct Adoption<'a> {
    plan: &'a Plan,
    now: UnixTime,
    write: bool,
    shelves: HashMap<PathBuf, Directory>,
}

impl<'a> Adoption<'a> {
    /// Nothing is opened yet.
    pub fn new(plan: &'a Plan, now: UnixTime, write: bool) -> Adoption<'a> {
        Adoption { plan, now, write, shelves: HashMap::new() }
    }

    /// One verdict for each certificate of `estate`.
    pub fn certificates(&mut self, estate: &Estate) -> Vec<Verdict> {
        let mut verdicts: Vec<Option<Verdict>> = estate.certificates.iter().map(|found| self.unfit(found)).collect();
        for spec in &self.plan.certificates {
            let fit = |at: &usize| {
                let leaf = estate.certificates[*at].pair.as_ref().ok().map(|pair| &pair.leaf);
                leaf.is_some_and(|leaf| spec.identifiers.iter().all(|name| leaf.covers(name)))
            };
            let good = (0..verdicts.len()).filter(|at| !matches!(verdicts[*at], Some(Verdict::Refused(_)))).filter(fit);
            // The kind of key that is asked for, then the one that lives longest.
            let best = good.max_by_key(|at| {
                let found = &estate.certificates[*at];
                (found.pair.as_ref().is_ok_and(|pair| pair.leaf.key.is(spec.key)), found.not_after())
            });
            if let Some(best) = best {
                let verdict = self.adopt(spec, &estate.certificates[best]);
                let slot = &mut verdicts[best];
                if !matches!(slot, Some(Verdict::Wanted(_) | Verdict::Adopted(_))) {
                    *slot = Some(verdict);
                }
            }
        }
        let left = || Verdict::Left("no acme_certificate of this configuration asks for these names".to_owned());
        verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(left)).collect()
    }

    fn unfit(&self, found: &Found) -> Option<Verdict> {
        match &found.pair {
            Err(why) => Some(Verdict::Refused(why.clone())),
            Ok(pair) if pair.leaf.not_after <= self.now => {
                Some(Verdict::Refused(format!("it has expired ({})", pair.leaf.not_after)))
            }
            Ok(_) => None,
        }
    }

    fn adopt(&mut self, spec: &CertSpec, found: &Found) -> Verdict {
        let what = format!("{} of issuer {}", spec.id, spec.issuer);
        let Some(issuer) = self.plan.issuers.iter().find(|issuer| issuer.name == spec.issuer) else {
            return Verdict::Left(format!("there is no issuer {}", spec.issuer));
        };
        let bundle = match self.bundle(spec, issuer, found) {
            Ok(bundle) => bundle,
            Err(bad) => return Verdict::Refused(bad.to_string()),
        };
        let verdict = gate::judge(&bundle.clone().into(), &spec.identifiers, Source::Authority, self.now);
        if let Some(objection) = verdict.refusals.first() {
            return Verdict::Refused(objection.to_string());
        }
        match self.store(issuer, bundle) {
            Ok(true) if self.write => Verdict::Adopted(what),
            Ok(true) => Verdict::Wanted(what),
            Ok(false) => Verdict::Left(format!("{what} is held already, and lives as long")),
            Err(why) => Verdict::Refused(why),
        }
    }

    fn bundle(&self, spec: &CertSpec, issuer: &Issuer, found: &Found) -> Result<Bundle, BadBundle> {
        let pair = found.pair.as_ref().map_err(|_| BadBundle::Chain)?;
        let authority = found.authority.clone().unwrap_or_else(|| match &issuer.authority {
            Authority::Acme(server) => server.directory.to_string(),
            Authority::Internal(_) => "internal".to_owned(),
        });
        let origin = Origin {
            id: spec.id.clone(),
            epoch: 1,
            issuer: spec.issuer.to_string(),
            authority,
            obtained_at: pair.leaf.not_before,
        };
        let mut chain = String::new();
        pair.chain.iter().for_each(|link| crate::cert::pem::write(&mut chain, "CERTIFICATE", link));
        Bundle::new(origin, chain.as_bytes(), pair.key.clone())
    }

    /// Puts the bundle on the shelf, unless what is there lives as long: then false.
    fn store(&mut self, issuer: &Issuer, mut bundle: Bundle) -> Result<bool, String> {
        let write = self.write;
        let Some(shelf) = self.shelf(issuer)? else { return Ok(true) };
        let held = shelf.bundle(&bundle.id).map_err(|error| error.to_string())?;
        if held.as_ref().is_some_and(|held| held.leaf.not_after >= bundle.leaf.not_after) {
            return Ok(false);
        }
        let expected = held.map(|held| held.epoch);
        bundle.epoch = expected.map_or(1, |epoch| epoch + 1);
        if write {
            shelf.replace(&bundle, expected).map_err(in_use)?;
        }
        Ok(true)
    }

    /// The state path of an issuer; `None`: there is none yet, and nothing is to be written.
    fn shelf(&mut self, issuer: &Issuer) -> Result<Option<&Directory>, String> {
        let Some(path) = issuer.state_path.clone() else {
            return Err(format!("issuer {} keeps nothing (state_path off)", issuer.name));
        };
        if !self.shelves.contains_key(&path) {
            let opened = if self.write { Directory::open(&path) } else { Directory::view(&path) };
            self.shelves.insert(path.clone(), opened.map_err(in_use)?);
        }
        Ok(self.shelves.get(&path))
    }

    /// One verdict for each account of `estate`: taken over by the issuer that stands for the same authority, if that has
    /// no account yet.
    pub fn accounts(&mut self, estate: &Estate) -> Vec<Verdict> {
        estate.accounts.iter().map(|account| self.account(account)).collect()
    }

    fn account(&mut self, account: &FoundAccount) -> Verdict {
        let key = match &account.key {
            Ok(key) => key,
            Err(why) => return Verdict::Refused(why.clone()),
        };
        let Some(url) = &account.url else { return Verdict::Refused("its URL is not written down".to_owned()) };
        let stands_for = |issuer: &&Issuer| match (&issuer.authority, &account.authority) {
            (Authority::Acme(server), Some(directory)) => *server.directory == **directory,
            // Where it is not written down, the only issuer there is must be meant.
            (Authority::Acme(_), None) => self.plan.issuers.len() == 1,
            (Authority::Internal(_), _) => false,
        };
        let Some(issuer) = self.plan.issuers.iter().find(stands_for) else {
            return Verdict::Left("no acme_issuer of this configuration stands for its authority".to_owned());
        };
        let (name, write) = (issuer.name.to_string(), self.write);
        let shelf = match self.shelf(issuer) {
            Ok(Some(shelf)) => shelf,
            Ok(None) => return Verdict::Wanted(name),
            Err(why) => return Verdict::Refused(why),
        };
        match inherit(issuer, shelf, key, url, &account.contacts, write) {
            Ok(Inherited::Taken) if write => Verdict::Adopted(name),
            Ok(Inherited::Taken) => Verdict::Wanted(name),
            Ok(Inherited::Known) => Verdict::Left(format!("issuer {name} has an account already")),
            Err(why) => Verdict::Refused(why),
        }
    }
}

fn in_use(error: ShelfError) -> String {
    match error {
        ShelfError::InUse { path } => format!("a running semper writes to {path}: stop it first (`semper -s quit`)"),
        other => other.to_string(),
    }
}
