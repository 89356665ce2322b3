//! What else is asked of an authority about our account? New contacts, another key, a certificate revoked by its own key.
//! Every key is on the shelf before the authority hears of it, so that a crash never locks us out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{Registry, account, local};
use crate::acme::jws::{self, AccountKey};
use crate::acme::verdict::of_fault;
use crate::acme::{Doomed, Reason, keys};
use crate::cert::bundle::PrivateKey;
use crate::cert::failure::Failure;
use crate::cert::journal::{self, Record};
use crate::plan::acme::AccountKey as KeySource;
use crate::plan::certificate::KeyKind;

impl Registry {
    /// The account on the shelf, if it is at this authority and its key is `current` or the next one; and the next key.
    pub(super) fn stored(
        &self,
        current: &AccountKey,
    ) -> Result<Option<(journal::Account, Option<AccountKey>)>, Failure> {
        let text = self.around.shelf.load(&Record::Account(self.name.clone())).map_err(local)?;
        let next = self.next_key()?.filter(|next| next.thumbprint() != current.thumbprint());
        let ours = |account: &journal::Account| {
            let known = [Some(current), next.as_ref()].into_iter().flatten();
            account.authority == *self.server.directory
                && known.map(AccountKey::thumbprint).any(|known| known == account.thumbprint)
        };
        let stored = text.as_deref().and_then(|text| journal::Account::read(text)).filter(ours);
        Ok(stored.map(|stored| (stored, next)))
    }

    /// The URL of the account on the shelf.
    pub fn stored_url(&self) -> Option<String> {
        let text = self.around.shelf.load(&Record::Account(self.name.clone())).ok()??;
        journal::Account::read(&text).filter(|account| account.authority == *self.server.directory).map(|a| a.url)
    }

    /// Gives the account another key. Goes on with a change that was begun; without an account there is nothing to do.
    pub async fn roll(&self) -> Result<(), Failure> {
        let Some(record) = self.next_record() else {
            return Err(account("its key is a file of yours: put another one there, and semper registers with it"));
        };
        let mut known = self.known.lock().await;
        let current = self.key()?;
        if self.next_key()?.is_none_or(|next| next.thumbprint() == current.thumbprint()) {
            let kind = match &self.server.account_key {
                KeySource::Own(kind) => *kind,
                _ => KeyKind::EcdsaP256,
            };
            let fresh = keys::generate(kind).map_err(local)?;
            self.around.shelf.save(&record, fresh.to_pem().as_bytes()).map_err(local)?;
        }
        let Some((stored, Some(next))) = self.stored(&current)? else { return Ok(()) };
        if stored.thumbprint != next.thumbprint() {
            self.change(&current, &next, &stored).await?;
        }
        *known = Some(super::Account { url: stored.url, key: next.private().clone() });
        Ok(())
    }

    /// Whether a change of key was begun and not ended.
    pub fn is_rolling(&self) -> bool {
        self.next_key().is_ok_and(|next| next.is_some())
    }

    /// Ends a change of key: the next one is the only one from now on.
    pub fn promote(&self) -> Result<(), Failure> {
        let (Some(record), Some(next)) = (self.next_record(), self.next_key()?) else { return Ok(()) };
        let place = match &self.server.account_key {
            KeySource::Shared => Record::SharedAccountKey,
            _ => Record::AccountKey(self.name.clone()),
        };
        let shelf = &self.around.shelf;
        shelf.save(&place, next.private().to_pem().as_bytes()).map_err(local)?;
        shelf.remove(&record).map_err(local)?;
        // The table of challenges learns the new thumbprint.
        self.key().map(drop)
    }

    /// Makes `next` the account's key at the authority, unless it is already, and writes that down.
    pub(super) async fn change(
        &self,
        current: &AccountKey,
        next: &AccountKey,
        stored: &journal::Account,
    ) -> Result<(), Failure> {
        let directory = self.transport.directory().await.map_err(|fault| of_fault(&fault))?;
        // Perhaps it was done, and the process ended before it could be written down.
        let only = json!({ "onlyReturnExisting": true });
        let target = &directory.new_account;
        let done = match self.post(&directory, target, |nonce| next.new_account(target, nonce, &only)).await {
            Ok(_) => true,
            Err(Failure::Account { .. }) => false,
            Err(other) => return Err(other),
        };
        if !done {
            let target = directory.key_change.as_ref();
            let target = target.ok_or_else(|| account("the authority knows no change of keys"))?;
            let payload = next.takes_over(&stored.url, current, target);
            let payload = payload.ok_or_else(|| account("the request cannot be signed"))?;
            self.post(&directory, target, |nonce| current.request(&stored.url, target, nonce, &payload)).await?;
        }
        let kept = journal::Account { thumbprint: next.thumbprint(), ..stored.clone() };
        self.around.shelf.save(&Record::Account(self.name.clone()), &kept.write()).map_err(local)?;
        tracing::info!("account {} at {} has a new key", stored.url, self.name);
        Ok(())
    }

    /// Tells the authority the contacts of the configuration, if it knows others. A refusal costs nothing but a line.
    pub(super) async fn tell_contacts(&self, key: &AccountKey, stored: &journal::Account) {
        let contacts = self.contacts();
        if stored.contacts == contacts {
            return;
        }
        let told = async {
            let directory = self.transport.directory().await.map_err(|fault| of_fault(&fault))?;
            let payload = json!({ "contact": contacts });
            self.post(&directory, &stored.url, |nonce| key.request(&stored.url, &stored.url, nonce, &payload)).await?;
            let kept = journal::Account { contacts: contacts.clone(), ..stored.clone() };
            self.around.shelf.save(&Record::Account(self.name.clone()), &kept.write()).map_err(local)
        };
        match told.await {
            Ok(()) => tracing::info!("account {} at {} has the contacts {contacts:?}", stored.url, self.name),
            Err(why) => tracing::warn!("the contacts at {} stay as they were: {why}", self.name),
        }
    }

    /// Asks for a certificate to be revoked in the name of its own key.
    pub async fn revoke_by_key(&self, doomed: &Doomed, reason: Reason) -> Result<(), Failure> {
        let directory = self.transport.directory().await.map_err(|fault| of_fault(&fault))?;
        let target = directory.revoke_cert.as_ref();
        let target = target.ok_or_else(|| account("the authority knows no revocation"))?;
        let payload = json!({ "certificate": URL_SAFE_NO_PAD.encode(&doomed.leaf), "reason": reason.code() });
        let posted = self.post(&directory, target, |nonce| jws::revocation(doomed, target, nonce, &payload)).await;
        match posted {
            Err(Failure::Account { detail }) if detail.contains("alreadyRevoked") => Ok(()),
            Err(Failure::Account { detail }) => Err(Failure::Refused { names: vec![], detail }),
            other => other.map(drop),
        }
    }

    fn next_record(&self) -> Option<Record> {
        match &self.server.account_key {
            KeySource::Shared => Some(Record::NextSharedAccountKey),
            KeySource::Own(_) => Some(Record::NextAccountKey(self.name.clone())),
            KeySource::File(_) => None,
        }
    }

    fn next_key(&self) -> Result<Option<AccountKey>, Failure> {
        let Some(record) = self.next_record() else { return Ok(None) };
        let Some(text) = self.around.shelf.load(&record).map_err(local)? else { return Ok(None) };
        let key = PrivateKey::from_pem(&text).map_err(account)?;
        AccountKey::new(key).map(Some).map_err(account)
    }
}
