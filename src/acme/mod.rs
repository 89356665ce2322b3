//! How is a certificate obtained? Performs what `cert` decided: orders at ACME servers (RFC 8555, through
//! instant-acme over a transport of our own) and the built-in authority. Decides nothing about when or whether.

mod account;
mod challenge;
pub mod dns01;
pub mod fault;
mod inherited;
pub mod internal;
mod jws;
mod keys;
mod order;
mod pacing;
mod proxy;
mod renewal;
mod steps;
pub mod transport;
pub mod trust;
mod verdict;
mod wire;

pub use self::challenge::challenge_certificate;
pub use self::inherited::{Inherited, inherit};

use std::io;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::cert::ari::RenewalInfo;
use crate::cert::bundle::{Bundle, PrivateKey};
use crate::cert::caa::Asker;
use crate::cert::failure::Failure;
use crate::cert::journal::Shelf;
use crate::cert::stage::{Attempt, Effect, Event};
use crate::clock::Clock;
use crate::plan::acme::{Authority, Issuer};
use crate::plan::certificate::{CertId, CertSpec};
use crate::words::{DomainName, SecretRef};
use crate::zone::challenges::Challenges;

/// Reads what a [`SecretRef`] points to; `node` knows how.
pub trait Secrets: Send + Sync {
    /// The secret's bytes, without one trailing newline.
    fn read(&self, secret: &SecretRef) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// What an issuer needs of the world around it.
#[derive(Clone)]
pub struct Around {
    /// Where accounts, orders and the built-in root are kept.
    pub shelf: Arc<dyn Shelf>,
    /// Where challenges are opened.
    pub challenges: Arc<Challenges>,
    /// Where secrets come from.
    pub secrets: Arc<dyn Secrets>,
    /// The civil clock.
    pub clock: Arc<dyn Clock>,
}

/// A certificate that shall be revoked, with its key: authorities take the word of either account or key.
#[derive(Clone, Debug)]
pub struct Doomed {
    /// The leaf, DER.
    pub leaf: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKey,
}

/// Why a certificate is revoked (RFC 5280 5.3.1, those that an owner may say).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// No reason is given.
    #[default]
    Unspecified,
    /// Others may know the key.
    KeyCompromise,
    /// The owner's name or the like has changed.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The names are no longer served.
    CessationOfOperation,
}

impl Reason {
    /// The number in CRLs and revocation requests.
    pub fn code(self) -> u8 {
        match self {
            Reason::Unspecified => 0,
            Reason::KeyCompromise => 1,
            Reason::AffiliationChanged => 3,
            Reason::Superseded => 4,
            Reason::CessationOfOperation => 5,
        }
    }
}

/// One issuer, ready to be asked; shared by all certificates that name it.
pub enum Ca {
    /// An ACME server.
    Acme(Box<order::AcmeCa>),
    /// The built-in authority.
    Internal(Arc<internal::BuiltIn>),
}

/// How an effect ended.
#[derive(Debug)]
pub enum Outcome {
    /// A new generation. Whoever receives it stores it, puts it in force, and then calls [`Ca::forget`].
    Issued(Box<Bundle>),
    /// An event for the stage.
    Event(Event),
    /// Nothing to tell.
    Done,
}

impl Ca {
    /// The issuer as the plan describes it. Nothing is read or asked yet.
    pub fn new(issuer: &Issuer, around: Around) -> Ca {
        match &issuer.authority {
            Authority::Acme(server) => Ca::Acme(Box::new(order::AcmeCa::new(&issuer.name, server.clone(), around))),
            Authority::Internal(settings) => {
                let Around { shelf, clock, .. } = around;
                Ca::Internal(Arc::new(internal::BuiltIn::new(&issuer.name, settings.clone(), shelf, clock)))
            }
        }
    }

    /// Reads or makes the account key, so that challenges can be answered from the start. Blocks for a moment.
    pub fn prepare(&self) -> Result<(), Failure> {
        match self {
            Ca::Acme(ca) => ca.prepare(),
            Ca::Internal(_) => Ok(()),
        }
    }

    /// Performs an effect. `epoch` is the number of the generation that an order shall bring.
    pub async fn perform(&self, spec: &CertSpec, effect: Effect, epoch: u64) -> Outcome {
        match effect {
            Effect::PlaceOrder(attempt) => match self.obtain(spec, &attempt, epoch).await {
                Ok(bundle) => Outcome::Issued(Box::new(bundle)),
                Err(why) => Outcome::Event(Event::Failed(attempt.number, why)),
            },
            Effect::AbandonOrder => {
                if let Ca::Acme(ca) = self {
                    ca.abandon(&spec.id).await;
                }
                Outcome::Done
            }
            Effect::AskRenewalInfo { epoch, ari_id } => Outcome::Event(match self.renewal_info(&ari_id).await {
                Some(info) => Event::RenewalInfo(epoch, info),
                None => Event::NoRenewalInfo(epoch),
            }),
            // Not for an authority to do.
            Effect::Look(_) | Effect::Tell(_) => Outcome::Done,
        }
    }

    /// As whom CAA will judge this authority and us; `None` where CAA does not count.
    pub async fn asker(&self) -> Option<Asker> {
        match self {
            Ca::Acme(ca) => Some(ca.asker().await),
            Ca::Internal(_) => None,
        }
    }

    /// Why nobody of ours can write the record of DNS-01 for `name` where the CNAMEs of `chain` lead, if that is known.
    pub fn stranger(&self, name: &DomainName, chain: &[String]) -> Option<String> {
        match self {
            Ca::Acme(ca) => ca.stranger(name, chain),
            Ca::Internal(_) => None,
        }
    }

    /// Hears the authority's clock, which it puts on every answer. The built-in one has none of its own.
    pub async fn hear_the_time(&self) {
        if let Ca::Acme(ca) = self {
            ca.hear_the_time().await;
        }
    }

    /// Forgets the order of a certificate, because its bundle is stored.
    pub async fn forget(&self, id: &CertId) {
        if let Ca::Acme(ca) = self {
            ca.forget(id).await;
        }
    }

    /// What the order for a certificate does at this moment, in words, if one runs.
    pub fn step_of(&self, id: &CertId) -> Option<String> {
        match self {
            Ca::Acme(ca) => ca.step_of(id),
            Ca::Internal(_) => None,
        }
    }

    /// Asks the authority to revoke a certificate (RFC 8555 7.6); one that is revoked already is no error. The built-in
    /// authority keeps no list: there is nothing to ask.
    pub async fn revoke(&self, doomed: &Doomed, reason: Reason) -> Result<(), Failure> {
        match self {
            Ca::Acme(ca) => ca.revoke(doomed, reason).await,
            Ca::Internal(_) => Ok(()),
        }
    }

    /// Gives our account here another key, which is on the shelf before the authority hears of it (RFC 8555 7.3.5).
    /// Repeating it goes on where it stopped.
    pub async fn roll_key(&self) -> Result<(), Failure> {
        match self {
            Ca::Acme(ca) => ca.registry().roll().await,
            Ca::Internal(_) => Ok(()),
        }
    }

    /// Whether a change of key was begun and not ended: the next key lies on the shelf.
    pub fn key_is_changing(&self) -> bool {
        match self {
            Ca::Acme(ca) => ca.registry().is_rolling(),
            Ca::Internal(_) => false,
        }
    }

    /// Ends a change of key: the new one is the only one from now on. Call it when [`Ca::roll_key`] has succeeded for
    /// every issuer that shares the key.
    pub fn settle_key(&self) -> Result<(), Failure> {
        match self {
            Ca::Acme(ca) => ca.registry().promote(),
            Ca::Internal(_) => Ok(()),
        }
    }

    /// The digest of the account key, by which challenges are answered without knowing their tokens; and the URL of our
    /// account, if there is one.
    pub fn account(&self) -> Option<(String, Option<String>)> {
        match self {
            Ca::Acme(ca) => Some((ca.registry().key().ok()?.thumbprint(), ca.registry().stored_url())),
            Ca::Internal(_) => None,
        }
    }

    /// The name by which CAA and dns-persist-01 records call this authority, if it has said one; nothing is asked.
    pub fn authority_name(&self) -> Option<String> {
        match self {
            Ca::Acme(ca) => ca.authority_name(),
            Ca::Internal(_) => None,
        }
    }

    async fn obtain(&self, spec: &CertSpec, attempt: &Attempt, epoch: u64) -> Result<Bundle, Failure> {
        match self {
            Ca::Acme(ca) => ca.obtain(spec, attempt, epoch).await,
            Ca::Internal(built_in) => {
                let (built_in, spec) = (built_in.clone(), spec.clone());
                let issued = tokio::task::spawn_blocking(move || built_in.issue(&spec, epoch)).await;
                issued.unwrap_or_else(|error| Err(Failure::Local { detail: error.to_string() }))
            }
        }
    }

    async fn renewal_info(&self, ari_id: &str) -> Option<RenewalInfo> {
        match self {
            Ca::Acme(ca) => ca.renewal_info(ari_id).await,
            Ca::Internal(_) => None,
        }
    }
}
