//! How does an account get another key? Everybody who shares the key changes it together; the old one is needed until the
//! last of them knows the new one. What a restart has cut off goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use crate::acme::Ca;
use crate::node::admin::{Caller, Rehearsed};
use crate::plan::acme::{AccountKey, Authority};

use super::Desk;

/// The first and the longest wait after an authority did not take the new key.
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// An issuer, and the way to it.
type Member = (String, Arc<Ca>);

impl Desk {
    /// The issuers in use that change their key with `name`; `None`: all of them.
    fn sharing(&self, name: Option<&str>) -> Vec<Member> {
        let issuers = self.plan.iter().flat_map(|plan| plan.issuers.iter());
        let acme = issuers.filter_map(|issuer| match &issuer.authority {
            Authority::Acme(server) => Some((issuer, &server.account_key, self.keepers.issuer(&issuer.name)?)),
            Authority::Internal(_) => None,
        });
        let all: Vec<_> = acme.collect();
        let meant = all.iter().filter(|(own, key, _)| {
            let shares = all.iter().any(|(other, its_key, _)| {
                Some(&*other.name) == name
                    && (&own.state_path, key) == (&other.state_path, its_key)
                    && **key == AccountKey::Shared
            });
            name.is_none_or(|name| name == &*own.name) || shares
        });
        meant.map(|(issuer, _, ca)| (issuer.name.to_string(), ca.clone())).collect()
    }

    /// Changes the key of `name`, or of everybody, and tells the caller of each.
    pub(super) fn rollover(&self, name: Option<&str>, mut caller: Caller) {
        let meant = self.sharing(name);
        if meant.is_empty() {
            return caller.answer::<()>(Err("no such acme_issuer is in use".to_owned()));
        }
        tokio::spawn(async move {
            let mut good = true;
            for (name, ca) in &meant {
                let rolled = ca.roll_key().await;
                good &= rolled.is_ok();
                let words = rolled.map_or_else(|why| why.to_string(), |()| "its account has another key".to_owned());
                if !caller.say(&Rehearsed { name: name.clone(), good: Some(good), words }).await {
                    return;
                }
            }
            // The old key is needed until everyone knows the new one.
            for (name, ca) in meant.iter().filter(|_| good) {
                if let Err(why) = ca.settle_key() {
                    caller.say(&Rehearsed { name: name.clone(), good: Some(false), words: why.to_string() }).await;
                }
            }
        });
    }

    /// Goes on with changes that were begun before this process, or before this plan.
    pub(super) fn resume_rollovers(&mut self) {
        self.rolling.retain(|_, task| !task.is_finished());
        for (name, ca) in self.sharing(None) {
            if self.rolling.contains_key(&name) || !ca.key_is_changing() {
                continue;
            }
            let members = self.sharing(Some(&name));
            if members.iter().any(|(member, _)| self.rolling.contains_key(member)) {
                continue;
            }
            tracing::info!(level = "notice", "acme_issuer {name}: the change of its account key goes on");
            self.rolling.insert(name, tokio::spawn(go_on(members)));
        }
    }
}

async fn go_on(members: Vec<Member>) {
    let mut wait = AGAIN.0;
    loop {
        let mut good = true;
        for (name, ca) in &members {
            if let Err(why) = ca.roll_key().await {
                tracing::warn!("acme_issuer {name}: its account key is not changed yet: {why}");
                good = false;
            }
        }
        let known_to_all = good;
        for (name, ca) in members.iter().filter(|_| known_to_all) {
            match ca.settle_key() {
                Ok(()) => tracing::info!(level = "notice", "acme_issuer {name}: its account has another key"),
                Err(why) => {
                    tracing::error!("acme_issuer {name}: the new account key cannot be kept: {why}");
                    good = false;
                }
            }
        }
        if good {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN.1);
    }
}
