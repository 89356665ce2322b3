//! How does an order go? Account, order, challenges, finalize, chain: each step journaled before it is taken, each wait
//! with an end, and an order that the journal knows is taken up instead of placed again. Whether there shall be another
//! attempt is not asked here.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, CertificateIdentifier, Error, NewOrder, OrderStatus, RevocationReason, RevocationRequest};
use tokio::sync::Semaphore;

use super::account::Registry;
use super::dns01::Dns01;
use super::fault::Fault;
use super::jws::AccountKey;
use super::steps::{Steps, Walk};
use super::transport::{Session, Transport};
use super::verdict::{account_unknown, blames_replaces, failure, of_fault};
use super::{Around, Doomed, Reason, keys};
use crate::cert::ari::RenewalInfo;
use crate::cert::bundle::{Bundle, PrivateKey};
use crate::cert::caa::Asker;
use crate::cert::failure::Failure;
use crate::cert::journal::{self, Record, Shelf, ShelfError};
use crate::cert::stage::Attempt;
use crate::net::dns::Dns;
use crate::plan::acme::AcmeServer;
use crate::plan::certificate::{CertId, CertSpec, KeyKind};
use crate::words::{DomainName, Identifier};

mod chain;
mod drive;

/// Orders of one issuer that run at once.
const AT_ONCE: usize = 8;
/// For everything that is only tidying up.
const TIDY: Duration = Duration::from_secs(60);
/// A directory that does not come in this time is done without.
const KNOWN: Duration = Duration::from_secs(5);
/// An order is worth coming back to for this long.
const WORTH: Duration = Duration::from_secs(3600);
/// One whose certificate may exist, for this long: four of them in a week.
const ISSUED_WORTH: Duration = Duration::from_secs(2 * 86_400);

/// An ACME server with our account there.
pub struct AcmeCa {
    name: String,
    server: AcmeServer,
    transport: Arc<Transport>,
    registry: Registry,
    around: Around,
    running: Semaphore,
    steps: Steps,
    dns01: Option<Arc<Dns01>>,
}

impl AcmeCa {
    /// Asks for something small, only to hear the authority's clock.
    pub async fn hear_the_time(&self) {
        if let Err(fault) = self.transport.hear_the_time().await {
            tracing::info!("the time of {} cannot be heard: {fault}", self.name);
        }
    }

    /// Nothing is read or asked yet.
    pub fn new(name: &str, server: AcmeServer, around: Around) -> AcmeCa {
        let transport = Arc::new(Transport::new(&server, around.clock.clone()));
        let registry = Registry::new(name, server.clone(), transport.clone(), around.clone());
        let dns01 = (!server.dns.is_empty()).then(|| {
            let dns = Dns::new(&server.resolver);
            Arc::new(Dns01::new(&server.dns, around.secrets.clone(), around.clock.clone(), dns))
        });
        let running = Semaphore::new(AT_ONCE);
        AcmeCa { name: name.to_owned(), server, transport, registry, around, running, steps: Steps::default(), dns01 }
    }

    /// Reads or makes the account key.
    pub fn prepare(&self) -> Result<(), Failure> {
        self.registry.key().map(drop)
    }

    /// What the order for a certificate does at this moment, if one runs.
    pub fn step_of(&self, id: &CertId) -> Option<String> {
        self.steps.of(id)
    }

    /// Our account.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The name by which DNS records call this authority, if its directory is at hand and says one.
    pub fn authority_name(&self) -> Option<String> {
        self.transport.kept_directory()?.meta.caa_identities.into_iter().next()
    }

    /// Asks for a certificate to be revoked, in the account's name, else in that of its key.
    pub async fn revoke(&self, doomed: &Doomed, reason: Reason) -> Result<(), Failure> {
        let by_account = async {
            let (_, account) = self.enter().await?;
            let reason = revocation(reason);
            let request = RevocationRequest { certificate: &doomed.leaf, reason: Some(reason) };
            account.revoke(&request).await.map_err(|error| match Fault::of(&error).and_then(Fault::kind) {
                Some("alreadyRevoked") => Failure::Busy,
                _ => failure(&error),
            })
        };
        match by_account.await {
            Ok(()) | Err(Failure::Busy) => Ok(()),
            // The account is another one than that which ordered it, or unknown.
            Err(Failure::Lost { .. } | Failure::Account { .. } | Failure::Refused { .. }) => {
                self.registry.revoke_by_key(doomed, reason).await
            }
            Err(other) => Err(other),
        }
    }

    /// Brings a certificate for `spec`, or says why not before `attempt.give_up_at`.
    pub async fn obtain(&self, spec: &CertSpec, attempt: &Attempt, epoch: u64) -> Result<Bundle, Failure> {
        let left = attempt.give_up_at.since(self.around.clock.now());
        let _walk = Walk { steps: &self.steps, id: &spec.id };
        self.steps.note(&spec.id, format!("waits for its turn at {}", self.name));
        let Ok(Ok(_running)) = tokio::time::timeout(left / 2, self.running.acquire()).await else {
            return Err(Failure::Busy);
        };
        let left = attempt.give_up_at.since(self.around.clock.now());
        // A little earlier than the stage itself gives up, so that the reason is known.
        match tokio::time::timeout(left.mul_f64(0.95), self.order(spec, attempt, epoch)).await {
            Ok(done) => done,
            Err(_) => Err(Failure::Lost { detail: "it did not move on before its deadline".into() }),
        }
    }

    async fn order(&self, spec: &CertSpec, attempt: &Attempt, epoch: u64) -> Result<Bundle, Failure> {
        self.steps.note(&spec.id, format!("asks {} for the account", self.name));
        let (session, account) = self.enter().await?;
        let mut record = self.record(&account, spec).await?;
        let taken_up = record.url.is_some();
        let what = if taken_up { "takes up its order" } else { "places an order" };
        self.steps.note(&spec.id, format!("{what} at {}", self.name));
        let order = match record.url.clone() {
            Some(url) => account.order(url).await,
            None => self.place(&account, &session, &mut record, spec, attempt).await?,
        };
        let order = match order {
            Ok(order) => order,
            Err(error) => return Err(self.judge(&error).await),
        };
        let until = session.note(order.url()).expires.map_or(attempt.give_up_at, |end| end.min(attempt.give_up_at));
        let work = drive::Work { ca: self, session: &session, account: &account, spec, attempt, until, epoch };
        let done = work.finish(order, &mut record).await;
        if let Err(Failure::BadCertificate { .. }) = &done {
            record.spoiled = true;
            self.save(&spec.id, &record).await;
        }
        match done {
            Err(Failure::Invalid { names, detail, .. }) if taken_up => Err(Failure::Missed { names, detail }),
            done => done,
        }
    }

    /// The order under way if there is one that fits, else a new one with a new key; journaled either way.
    async fn record(&self, account: &Account, spec: &CertSpec) -> Result<journal::Order, Failure> {
        if let Some(kept) = self.load(&spec.id).await? {
            let fits = kept.authority == *self.server.directory && kept.identifiers == spec.identifiers;
            if fits && self.is_worth(&kept) && !self.fulfilled(spec, &kept).await? {
                return Ok(kept);
            }
            self.let_go(account, &kept).await;
        }
        let kind = spec.key;
        let key = tokio::task::spawn_blocking(move || keys::generate(kind)).await.map_err(local)?.map_err(local)?;
        let record = journal::Order {
            version: journal::VERSION,
            issuer: self.name.clone(),
            authority: self.server.directory.to_string(),
            identifiers: spec.identifiers.clone(),
            key: key.to_pem().to_string(),
            began_at: self.around.clock.now(),
            url: None,
            finalizing: false,
            spoiled: false,
            stalled: false,
        };
        self.save(&spec.id, &record).await;
        Ok(record)
    }

    /// Whether an order may still be taken up: nothing bad came of it, and it is not so old that another is better. One
    /// whose certificate may exist is worth more: each that is left behind counts against the authority's limits.
    fn is_worth(&self, record: &journal::Order) -> bool {
        let worth = if record.finalizing { ISSUED_WORTH } else { WORTH };
        !record.spoiled && self.around.clock.now().since(record.began_at) < worth
    }

    /// Whether the bundle of this order is on the shelf already: the process ended before it could forget the order.
    async fn fulfilled(&self, spec: &CertSpec, kept: &journal::Order) -> Result<bool, Failure> {
        let id = spec.id.clone();
        let held = self.shelved(move |shelf| shelf.bundle(&id)).await?;
        let ordered = key_of(kept).ok().and_then(|key| key.public_key().ok());
        Ok(held.is_some_and(|held| Some(held.leaf.key_fingerprint) == ordered))
    }

    async fn place(
        &self,
        account: &Account,
        session: &Session,
        record: &mut journal::Order,
        spec: &CertSpec,
        attempt: &Attempt,
    ) -> Result<Result<instant_acme::Order, Error>, Failure> {
        let directory = self.transport.directory().await.map_err(|fault| of_fault(&fault))?;
        let identifiers: Vec<_> = spec.identifiers.iter().map(named).collect();
        let mut wish = NewOrder::new(&identifiers);
        if let Some(profile) = &self.server.profile {
            if directory.meta.profiles.contains_key(&profile.name) {
                wish = wish.profile(&profile.name);
            } else if profile.required {
                let detail = format!("it has no profile {:?}", profile.name);
                return Err(Failure::Refused { names: vec![], detail });
            }
        }
        let replaces = attempt.replaces.as_deref().filter(|_| directory.renewal_info.is_some());
        let replaces = replaces.and_then(|id| id.split_once('.'));
        if let Some((key_id, serial)) = replaces {
            let (authority_key_identifier, serial) = (key_id.into(), serial.into());
            wish = wish.replaces(CertificateIdentifier { authority_key_identifier, serial });
        }
        let placed = account.new_order(&wish).await;
        let url = match &placed {
            Ok(order) => Some(order.url().to_owned()),
            // The order stands, only without an echo of `replaces`: its URL is in our notes.
            Err(error) if replaces.is_some() && Fault::of(error).is_none() => {
                session.note(&directory.new_order).location
            }
            Err(_) => None,
        };
        let Some(url) = url else {
            return match placed {
                Err(error) if replaces.is_some() => {
                    let why = failure(&error);
                    if blames_replaces(&why, &error) {
                        return Err(Failure::ReplacesRefused { detail: why.to_string() });
                    }
                    Ok(Err(error))
                }
                other => Ok(other),
            };
        };
        record.url = Some(url.clone());
        self.save(&spec.id, record).await;
        match placed {
            Ok(order) => Ok(Ok(order)),
            Err(_) => Ok(account.order(url).await),
        }
    }

    /// Deactivates what the order under way holds open, and forgets it; an order whose certificate may already exist
    /// is kept for a while, so that the next attempt fetches it.
    pub async fn abandon(&self, id: &CertId) {
        // What waits at another authority is not ours to drop.
        let kept = self.load(id).await.ok().flatten().filter(|record| record.authority == *self.server.directory);
        let Some(mut record) = kept else { return };
        let tidy = async {
            let (_, account) = self.enter().await?;
            Ok::<bool, Failure>(self.let_go(&account, &record).await)
        };
        let gone = match tokio::time::timeout(TIDY, tidy).await {
            Ok(Ok(gone)) => gone,
            // The authority does not answer: its authorizations end by themselves.
            Ok(Err(_)) | Err(_) => !(record.finalizing && !record.stalled && self.is_worth(&record)),
        };
        if gone {
            return self.forget(id).await;
        }
        record.stalled = true;
        self.save(id, &record).await;
    }

    /// Forgets the order under way.
    pub async fn forget(&self, id: &CertId) {
        if let Err(why) = self.drop_record(id).await {
            tracing::error!("the order for {id} cannot be forgotten: {why}");
        }
    }

    /// Deactivates pending authorizations of an order; false if the order should rather be fetched later.
    async fn let_go(&self, account: &Account, record: &journal::Order) -> bool {
        let Some(url) = record.url.clone().filter(|_| record.authority == *self.server.directory) else {
            return true;
        };
        let Ok(mut order) = account.order(url).await else { return true };
        let issued = match order.state().status {
            OrderStatus::Valid => true,
            OrderStatus::Processing => !record.stalled,
            _ => false,
        };
        if issued && record.finalizing && self.is_worth(record) {
            return false;
        }
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if authorization.status == instant_acme::AuthorizationStatus::Pending
                && let Err(error) = authorization.deactivate().await
            {
                tracing::debug!("an authorization stays open: {error}");
            }
        }
        true
    }

    /// The authority's wish about a certificate; `None` if it has none or does not answer.
    pub async fn renewal_info(&self, ari_id: &str) -> Option<RenewalInfo> {
        super::renewal::ask(&self.transport, ari_id, self.around.clock.now()).await
    }

    /// As whom CAA will judge this authority and us, as far as it is known without asking for anything to be made.
    pub async fn asker(&self) -> Asker {
        let directory = tokio::time::timeout(KNOWN, self.transport.directory()).await;
        let identities = directory.ok().and_then(Result::ok).map(|directory| directory.meta.caa_identities);
        let name = Record::Account(self.name.clone());
        let kept = self.shelved(move |shelf| shelf.load(&name)).await.ok().flatten();
        let account = kept.and_then(|text| journal::Account::read(&text));
        let account = account.filter(|account| account.authority == *self.server.directory).map(|account| account.url);
        Asker { identities: identities.unwrap_or_default(), account, ..Asker::default() }
    }

    /// See [`super::Ca::stranger`].
    pub fn stranger(&self, name: &DomainName, chain: &[String]) -> Option<String> {
        self.dns01.as_ref()?.stranger(name, chain).map(|error| error.to_string())
    }

    /// Our account, over a client of its own.
    async fn enter(&self) -> Result<(Session, Account), Failure> {
        let ours = self.registry.account().await?;
        let own = AccountKey::new(ours.key.clone()).map_err(local)?;
        // What the library cannot sign with, it signs with another, and the session once more with ours.
        let key = match own.is_known_to_library() {
            true => ours.key,
            false => keys::generate(KeyKind::EcdsaP256).map_err(local)?,
        };
        let session = self.transport.session().of_account(own);
        let builder = Account::builder_with_http(Box::new(session.clone()));
        let directory = self.server.directory.to_string();
        let account = builder.from_parts(ours.url, key.der(), directory).await.map_err(|e| failure(&e))?;
        Ok((session, account))
    }

    /// What an error means; an account that the authority does not know is forgotten, to be registered again.
    async fn judge(&self, error: &Error) -> Failure {
        if account_unknown(error) {
            self.registry.forget().await;
        }
        let why = failure(error);
        if matches!(why, Failure::Lost { .. }) {
            // It may be the directory that changed.
            self.transport.forget_directory();
        }
        why
    }

    async fn load(&self, id: &CertId) -> Result<Option<journal::Order>, Failure> {
        let name = Record::Order(id.clone());
        let text = self.shelved(move |shelf| shelf.load(&name)).await?;
        Ok(text.as_deref().and_then(|text| journal::Order::read(text)))
    }

    /// A disk that refuses must not stop an order: without its record a crash costs one more, at most.
    async fn save(&self, id: &CertId, record: &journal::Order) {
        let (name, text) = (Record::Order(id.clone()), record.write());
        if let Err(why) = self.shelved(move |shelf| shelf.save(&name, &text)).await {
            tracing::error!("the order for {id} cannot be written down: {why}");
        }
    }

    async fn drop_record(&self, id: &CertId) -> Result<(), Failure> {
        let name = Record::Order(id.clone());
        self.shelved(move |shelf| shelf.remove(&name)).await
    }

    async fn shelved<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Shelf) -> Result<T, ShelfError> + Send + 'static,
    ) -> Result<T, Failure> {
        let shelf = self.around.shelf.clone();
        tokio::task::spawn_blocking(move || work(&*shelf)).await.map_err(local)?.map_err(local)
    }
}

fn revocation(reason: Reason) -> RevocationReason {
    match reason {
        Reason::Unspecified => RevocationReason::Unspecified,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
    }
}

fn named(identifier: &Identifier) -> instant_acme::Identifier {
    match identifier {
        Identifier::Dns(name) => instant_acme::Identifier::Dns(name.to_string()),
        Identifier::Ip(ip) => instant_acme::Identifier::Ip(*ip),
    }
}

fn key_of(record: &journal::Order) -> Result<PrivateKey, Failure> {
    PrivateKey::from_pem(record.key.as_bytes()).map_err(local)
}

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::Local { detail: error.to_string() }
}
