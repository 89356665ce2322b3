//! How is a certificate obtained? Performs what `cert` decided: orders at ACME servers (RFC 8555, through
//! instant-acme over a transport of our own) and the built-in authority. Decides nothing about when or whether.

mod account;
mod challenge;
pub mod dns01;
pub mod fault;
pub mod internal;
mod jws;
mod keys;
mod order;
mod proxy;
mod renewal;
pub mod transport;
mod trust;
mod verdict;
mod wire;

use std::io;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cert::ari::RenewalInfo;
use crate::cert::bundle::Bundle;
use crate::cert::failure::Failure;
use crate::cert::journal::Shelf;
use crate::cert::stage::{Attempt, Effect, Event};
use crate::clock::Clock;
use crate::plan::acme::{Authority, Issuer};
use crate::plan::certificate::{CertId, CertSpec};
use crate::words::SecretRef;
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
        }
    }

    /// Forgets the order of a certificate, because its bundle is stored.
    pub async fn forget(&self, id: &CertId) {
        if let Ca::Acme(ca) = self {
            ca.forget(id).await;
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
