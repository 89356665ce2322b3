//! How does an order move from pending to a chain in hand? Looks at its status, takes the one step that is due, waits,
//! looks again. Every wait is bounded here, and the whole by `until`.

use std::time::Duration;

use instant_acme::{Account, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Order, OrderStatus};

use super::{AcmeCa, chain, key_of, local};
use crate::acme::challenge::{Opened, is_token};
use crate::acme::dns01::Wish;
use crate::acme::fault::Fault;
use crate::acme::keys;
use crate::acme::transport::Session;
use crate::acme::verdict::of_problem;
use crate::cert::bundle::{Bundle, Origin};
use crate::cert::failure::Failure;
use crate::cert::gate::{self, Source};
use crate::cert::journal;
use crate::cert::stage::Attempt;
use crate::cert::ways;
use crate::clock::UnixTime;
use crate::plan::acme::ChallengeKind;
use crate::plan::certificate::CertSpec;
use crate::words::Identifier;

/// The first wait between two looks; it doubles up to [`SLOWEST`]. A Retry-After of the authority leads, within both.
const FIRST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(10);
/// Looks that may fail in a row before the authority counts as unreachable.
const BROKEN_LOOKS: u32 = 4;
/// While an order stays pending, its authorizations are looked at with every so many looks.
const AUTHORIZATION_LOOKS: u32 = 4;

/// What an order needs to be finished.
pub struct Work<'a> {
    pub ca: &'a AcmeCa,
    pub session: &'a Session,
    pub account: &'a Account,
    pub spec: &'a CertSpec,
    pub attempt: &'a Attempt,
    /// The end of the order: the attempt's or the authority's, whichever comes first.
    pub until: UnixTime,
    pub epoch: u64,
}

impl Work<'_> {
    /// Takes the order, wherever it stands, to a bundle.
    pub async fn finish(&self, mut order: Order, record: &mut journal::Order) -> Result<Bundle, Failure> {
        let mut opened = Opened::none(self.ca.around.challenges.clone(), self.ca.dns01.clone());
        let (mut looks, mut broken, mut wait) = (0u32, 0u32, FIRST);
        // What the authority said to the request for the certificate, while it may still come of it.
        let mut said = None;
        loop {
            let step = match order.state().status {
                OrderStatus::Pending if looks.is_multiple_of(AUTHORIZATION_LOOKS) => {
                    self.authorize(&mut order, &mut opened).await
                }
                OrderStatus::Pending | OrderStatus::Processing => Ok(()),
                OrderStatus::Ready => self.finalize(&mut order, record).await,
                OrderStatus::Valid => return self.fetch(&mut order, record).await,
                OrderStatus::Invalid => {
                    return Err(match (self.why_invalid(&mut order).await, said) {
                        (Failure::Lost { .. }, Some(detail)) => Failure::Refused { names: vec![], detail },
                        (why, _) => why,
                    });
                }
            };
            let moved = match step {
                // The answer to finalize tells the new status by itself.
                Ok(()) => matches!(order.state().status, OrderStatus::Valid | OrderStatus::Invalid),
                Err(Stop::Failed(why)) => return Err(why),
                Err(Stop::Error(error)) if transient(&error) && broken < BROKEN_LOOKS => {
                    if matches!(order.state().status, OrderStatus::Ready) {
                        said = Some(error.to_string());
                    }
                    broken += 1;
                    false
                }
                Err(Stop::Error(error)) => return Err(self.ca.judge(&error).await),
            };
            if moved {
                continue;
            }
            if self.ca.around.clock.now() >= self.until {
                return Err(Failure::Lost { detail: format!("it stayed {:?} until it ended", order.state().status) });
            }
            tokio::time::sleep(self.pause(&order, wait)).await;
            wait = (wait * 2).min(SLOWEST);
            looks += 1;
            match order.refresh().await {
                Ok(_) => broken = 0,
                Err(error) if transient(&error) && broken < BROKEN_LOOKS => broken += 1,
                Err(error) => return Err(self.ca.judge(&error).await),
            }
        }
    }

    fn pause(&self, order: &Order, usual: Duration) -> Duration {
        match self.session.note(order.url()).retry_after {
            Some(at) => at.since(self.ca.around.clock.now()).clamp(FIRST, SLOWEST),
            None => usual,
        }
    }

    /// Opens the challenge of every authorization that waits for one, then asks the authority to look.
    async fn authorize(&self, order: &mut Order, opened: &mut Opened) -> Result<(), Stop> {
        let Some(kind) = self.attempt.way.challenge else {
            return Err(Stop::Failed(Failure::Local { detail: "no challenge is configured".into() }));
        };
        // All are opened before the authority looks at the first: slow ones (records of DNS) are waited for once.
        let wishes = self.open(order, kind, opened).await?;
        if !wishes.is_empty() {
            let left = self.until.since(self.ca.around.clock.now());
            opened.write(wishes, left / 2).await.map_err(Stop::Failed)?;
        }
        opened.spread(&self.spec.id).await;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let Ok(identifier) = authorization.identifier().to_string().parse::<Identifier>() else { continue };
            let Some(mut challenge) = authorization.challenge(kind_of(ways::for_name(kind, &identifier))) else {
                continue;
            };
            if challenge.status == ChallengeStatus::Pending {
                let words = format!("waits for the authority to look at {identifier} by {}", kind.as_str());
                self.ca.steps.note(&self.spec.id, words);
                match challenge.set_ready().await {
                    // The validation failed already: the authorization tells more at the next look.
                    Ok(()) | Err(Error::Api(_)) => {}
                    Err(error) if looked_already(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Opens the challenge of every authorization that waits for one; returns the records that have to be written.
    async fn open(&self, order: &mut Order, kind: ChallengeKind, opened: &mut Opened) -> Result<Vec<Wish>, Stop> {
        let mut wishes: Vec<Wish> = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            let identifier = name.parse::<Identifier>().map_err(|_| {
                Stop::Failed(Failure::Lost { detail: format!("it holds a name that was not ordered: {name:?}") })
            })?;
            let kind = ways::for_name(kind, &identifier);
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Invalid => {
                    return Err(Stop::Failed(invalid(kind, identifier, &authorization.challenges)));
                }
                other => return Err(Stop::Failed(Failure::Lost { detail: format!("{name} is {other:?}") })),
            }
            let Some(challenge) = authorization.challenge(kind_of(kind)) else {
                return Err(Stop::Failed(Failure::NotOffered { kind, names: vec![identifier] }));
            };
            if challenge.status != ChallengeStatus::Pending {
                continue;
            }
            let token = challenge.token.clone();
            let no_key = || Stop::Failed(local("the session has no account key"));
            let key_authorization = self.session.key_authorization(&token).ok_or_else(no_key)?;
            match (kind, &identifier) {
                (ChallengeKind::Dns01, Identifier::Dns(name)) => {
                    is_token(&identifier, &token).map_err(Stop::Failed)?;
                    let all = self.spec.identifiers.iter().map(ToString::to_string).collect();
                    wishes.push(Wish { name: name.clone(), token, key_authorization, all, remaining: 0 });
                }
                _ => opened.open(kind, &identifier, &token, &key_authorization, self.until).map_err(Stop::Failed)?,
            }
        }
        let count = wishes.len();
        wishes.iter_mut().enumerate().for_each(|(at, wish)| wish.remaining = count - at - 1);
        Ok(wishes)
    }

    async fn finalize(&self, order: &mut Order, record: &mut journal::Order) -> Result<(), Stop> {
        let key = key_of(record).map_err(Stop::Failed)?;
        let csr = keys::request(&key, &self.spec.identifiers, self.ca.server.common_name_in_csr);
        let csr = csr.map_err(|error| Stop::Failed(local(error)))?;
        // From here on the certificate may exist: written down before the authority hears of it.
        if !record.finalizing {
            record.finalizing = true;
            self.ca.save(&self.spec.id, record).await;
        }
        self.ca.steps.note(&self.spec.id, "is validated, and waits for the certificate");
        match order.finalize_csr(&csr).await {
            Ok(()) => Ok(()),
            // It was finalized before, and the answer was lost: the next look tells.
            Err(error) if Fault::of(&error).and_then(Fault::kind) == Some("orderNotReady") => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn fetch(&self, order: &mut Order, record: &journal::Order) -> Result<Bundle, Failure> {
        self.ca.steps.note(&self.spec.id, "fetches the certificate");
        let mut wait = FIRST * 2;
        let mut left = 3;
        loop {
            let failed = match chain::fetch(self, order).await {
                Ok(pem) => match self.bundle(&pem, record) {
                    Ok(bundle) => return Ok(bundle),
                    Err(why) => why,
                },
                Err(error) => match self.ca.judge(&error).await {
                    Failure::Lost { detail } | Failure::Refused { detail, .. } => Failure::BadCertificate { detail },
                    Failure::Unreachable { detail } => Failure::Unfetched { since: record.began_at, detail },
                    other => other,
                },
            };
            left -= 1;
            if left == 0 || matches!(failed, Failure::Local { .. }) {
                return Err(failed);
            }
            tracing::info!("the chain for {} is fetched once more: {failed}", self.spec.id);
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// What came is a bundle only if the key is ours and the gate lets it pass.
    fn bundle(&self, pem: &[u8], record: &journal::Order) -> Result<Bundle, Failure> {
        let bad = |detail: String| Failure::BadCertificate { detail };
        let now = self.ca.around.clock.now();
        let origin = Origin {
            id: self.spec.id.clone(),
            epoch: self.epoch,
            issuer: self.ca.name.clone(),
            authority: self.ca.server.directory.to_string(),
            obtained_at: now,
        };
        let bundle = Bundle::new(origin, pem, key_of(record)?).map_err(|error| bad(error.to_string()))?;
        let verdict = gate::judge(&bundle.clone().into(), &self.spec.identifiers, Source::Authority, now);
        if let Some(objection) = verdict.refusals.first() {
            return Err(bad(objection.to_string()));
        }
        Ok(bundle)
    }

    /// Asks the authorizations of an invalid order which of them failed.
    async fn why_invalid(&self, order: &mut Order) -> Failure {
        let kind = self.attempt.way.challenge.unwrap_or(ChallengeKind::Http01);
        let of_order = order.state().error.as_ref().map(of_problem);
        let mut failed: Option<(Vec<Identifier>, String)> = None;
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let Ok(identifier) = authorization.identifier().to_string().parse() else { continue };
            if authorization.status == AuthorizationStatus::Invalid {
                let (names, _) = failed.get_or_insert_with(|| (vec![], words(&authorization.challenges)));
                names.push(identifier);
            }
        }
        match (failed, of_order) {
            (Some((names, detail)), _) => Failure::Invalid { kind, names, detail },
            (None, Some(why)) => why,
            (None, None) => Failure::Lost { detail: "it became invalid, and nothing says why".into() },
        }
    }
}

/// Why a step did not succeed.
enum Stop {
    Failed(Failure),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

/// Whether a challenge is refused only because the authority has looked at it before: an answer was lost, or the order is
/// taken up after a kill. What came of it, the authorization tells at the next look.
fn looked_already(error: &Error) -> bool {
    Fault::of(error).and_then(Fault::kind).is_some_and(|kind| matches!(kind, "malformed" | "unauthorized"))
}

fn kind_of(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

/// Whether the same look may succeed a moment later.
fn transient(error: &Error) -> bool {
    match Fault::of(error) {
        Some(Fault::Connect { .. } | Fault::Broken { .. } | Fault::TimedOut { .. }) => true,
        Some(Fault::Status { status, retry_after: None, .. }) => *status >= 500,
        Some(_) => false,
        None => match error {
            Error::Api(problem) => crate::acme::fault::kind(problem) == Some("badNonce"),
            Error::Json(_) => true,
            Error::Str(_) => true,
            _ => false,
        },
    }
}

fn invalid(kind: ChallengeKind, name: Identifier, challenges: &[instant_acme::Challenge]) -> Failure {
    Failure::Invalid { kind, names: vec![name], detail: words(challenges) }
}

fn words(challenges: &[instant_acme::Challenge]) -> String {
    let error = challenges.iter().find_map(|challenge| challenge.error.as_ref());
    error.map_or_else(|| "the authority gives no reason".into(), ToString::to_string)
}
