//! How does a certificate leave for good? Another one with a new key first; when that is in force the old one is revoked,
//! tried until the authority has heard it, over restarts too; then its generation is no source any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::acme::{Ca, Doomed, Reason};
use crate::cert::bundle::{Bundle, PrivateKey};
use crate::cert::inspect::Leaf;
use crate::cert::journal::Shelf;
use crate::cert::stage::{Event, Stage};
use crate::cert::wishes::Revocation;
use crate::clock::Clock;

use super::keeper::{Handle, Word};
use super::sources::Sources;
use super::wishes::WishList;

/// How often it is looked whether another generation is in force.
const LOOK: Duration = Duration::from_millis(200);
/// The first and the longest wait after the authority did not do it.
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// What revoking one certificate needs.
#[derive(Clone)]
pub struct Errand {
    /// Where its wish is noted.
    pub wishes: Arc<WishList>,
    /// Where its generations lie.
    pub shelf: Arc<dyn Shelf>,
    /// Who is asked.
    pub ca: Arc<Ca>,
    /// Where the certificate stands.
    pub stage: Arc<Mutex<Stage>>,
    /// The civil clock.
    pub clock: Arc<dyn Clock>,
    /// Who shows what.
    pub sources: Arc<Sources>,
}

/// The wish to revoke `bundle`.
pub fn wish(bundle: &Bundle, reason: Reason, clock: &dyn Clock) -> Revocation {
    let chain = bundle.chain_text();
    let end = chain.find("-----END CERTIFICATE-----").map_or(chain.len(), |at| at + 26);
    Revocation {
        id: bundle.id.clone(),
        epoch: bundle.epoch,
        issuer: bundle.issuer.clone(),
        leaf: chain[..end.min(chain.len())].to_owned(),
        key: bundle.key.to_pem().to_string(),
        reason: reason.code(),
        asked_at: clock.now(),
        trouble: None,
    }
}

/// Has another generation brought. One whose key others may know is worth nothing from this moment on: whatever else is
/// held is shown at once.
pub fn replace(keeper: &Handle, doomed: &Revocation) {
    if doomed.reason == Reason::KeyCompromise.code() {
        keeper.tell(Word::Event(Event::Disowned(doomed.epoch)));
    }
    keeper.tell(Word::Event(Event::Renew));
}

impl Errand {
    /// Waits for another generation, then asks until it is done.
    pub async fn run(self, doomed: Revocation) {
        while self.epoch() <= doomed.epoch {
            tokio::time::sleep(LOOK).await;
        }
        // From now on it is nobody's any more, however long the authority takes to hear of it.
        self.sources.mark(&doomed.id, doomed.epoch, true, false);
        self.put_away(&doomed).await;
        let (id, mut wait) = (&doomed.id, AGAIN.0);
        loop {
            let trouble = self.ask(&doomed).await.err();
            if let Some(words) = &trouble {
                tracing::warn!("{id}: generation {} is not revoked yet: {words}", doomed.epoch);
            } else {
                tracing::info!(level = "notice", "{id}: generation {} is revoked", doomed.epoch);
            }
            let (done, wishes, shelf) = (trouble.is_none(), self.wishes.clone(), self.shelf.clone());
            let (id, epoch) = (doomed.id.clone(), doomed.epoch);
            let kept = tokio::task::spawn_blocking(move || {
                if done {
                    shelf.disown(&id, epoch)?;
                }
                wishes.tried(&id, epoch, trouble)
            });
            if let Ok(Err(error)) = kept.await {
                tracing::error!("{}: what became of its revocation cannot be written: {error}", doomed.id);
            }
            if done {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    async fn put_away(&self, doomed: &Revocation) {
        let (shelf, id, epoch) = (self.shelf.clone(), doomed.id.clone(), doomed.epoch);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || shelf.disown(&id, epoch)).await {
            tracing::error!("{}: generation {epoch} cannot be put away yet: {error}", doomed.id);
        }
    }

    fn epoch(&self) -> u64 {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner).held().map_or(0, |held| held.epoch)
    }

    async fn ask(&self, doomed: &Revocation) -> Result<(), String> {
        let leaf = CertificateDer::from_pem_slice(doomed.leaf.as_bytes()).map_err(|error| error.to_string())?;
        let key = PrivateKey::from_pem(doomed.key.as_bytes()).map_err(|error| error.to_string())?;
        // Authorities refuse to revoke what has ended by itself.
        if Leaf::read(&leaf).is_ok_and(|leaf| leaf.not_after < self.clock.now()) {
            return Ok(());
        }
        let reason = reason(doomed.reason);
        self.ca.revoke(&Doomed { leaf, key }, reason).await.map_err(|why| why.to_string())
    }
}

fn reason(code: u8) -> Reason {
    let known = [Reason::KeyCompromise, Reason::AffiliationChanged, Reason::Superseded, Reason::CessationOfOperation];
    known.into_iter().find(|reason| reason.code() == code).unwrap_or_default()
}
