//! Would a renewal succeed? A whole order at the authority's test side, with an account of its own and answered by this
//! server as in earnest; what comes is judged and thrown away. Nothing is installed, nothing real is ordered.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::acme::{Around, Ca, Outcome};
use crate::cert::bundle::Bundle;
use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::cert::stage::{Attempt, Effect, Event, Way};
use crate::plan::acme::{AccountKey, AcmeServer, Authority, ChallengeKind, Issuer};
use crate::plan::certificate::{CertId, CertSpec, KeyKind};
use crate::store::Memory;

use super::admin::{Caller, HEARTBEAT, Rehearsed};
use super::lookout::Lookout;

/// The longest that one order may take here.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest that is looked for what stands in the way.
const PREFLIGHT: Duration = Duration::from_secs(15);
/// Steps are told when they change, looked at so often.
const LOOK: Duration = Duration::from_millis(100);

/// One certificate whose order is rehearsed.
pub struct Wish {
    /// What would be ordered.
    pub spec: Arc<CertSpec>,
    /// At whose test side.
    pub issuer: Issuer,
    /// With what around it.
    pub around: Around,
    /// Who looks first whether it can succeed.
    pub lookout: Arc<Lookout>,
}

/// Rehearses the orders one after the other, tells the caller every step, and stops when the caller hangs up.
pub async fn run(wishes: Vec<Wish>, mut caller: Caller) {
    for wish in wishes {
        let name = wish.name();
        let line = match wish.staged() {
            Err(words) => Rehearsed { name, good: Some(false), words },
            Ok(None) => {
                let words = "its authority is built in and needs no rehearsal".to_owned();
                Rehearsed { name, good: Some(true), words }
            }
            Ok(Some((ca, server))) => match wish.order(&ca, &server, &mut caller).await {
                Some(Ok(words)) => Rehearsed { name, good: Some(true), words },
                Some(Err(words)) => Rehearsed { name, good: Some(false), words },
                None => return,
            },
        };
        if !caller.say(&line).await {
            return;
        }
    }
}

impl Wish {
    fn name(&self) -> String {
        self.spec.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The issuer's test side; `None` for the built-in authority.
    fn staged(&self) -> Result<Option<(Ca, AcmeServer)>, String> {
        let Authority::Acme(server) = &self.issuer.authority else { return Ok(None) };
        let name = &self.issuer.name;
        let Some(directory) = server.staging() else {
            return Err(format!(
                "no test side of {} is known; say `staging URL;` in acme_issuer {name}",
                server.directory
            ));
        };
        let server = AcmeServer { directory, account_key: AccountKey::Own(KeyKind::EcdsaP256), ..server.clone() };
        let shelf = Arc::new(Aside { kept: self.around.shelf.clone(), thrown_away: Memory::default() });
        let around = Around { shelf, ..self.around.clone() };
        let issuer = Issuer {
            name: format!("{name} staging").into(),
            authority: Authority::Acme(server.clone()),
            ..self.issuer.clone()
        };
        Ok(Some((Ca::new(&issuer, around), server)))
    }

    /// The order by each allowed challenge until one succeeds; `None` when the caller is gone.
    async fn order(&self, ca: &Ca, server: &AcmeServer, caller: &mut Caller) -> Option<Result<String, String>> {
        let mut failures = Vec::new();
        for kind in &server.challenges {
            let words = self.preflight(ca, *kind).await;
            if !caller.say(&Rehearsed { name: self.name(), good: None, words }).await {
                return None;
            }
            let begun = self.around.clock.now();
            match self.attempt(ca, server, *kind, caller).await? {
                Ok(bundle) => {
                    let took = self.around.clock.now().since(begun).as_secs_f32();
                    let mut words = format!(
                        "a certificate of {:?} by {} came in {took:.1} s and was thrown away",
                        bundle.leaf.issuer_common_name.as_deref().unwrap_or("?"),
                        kind.as_str()
                    );
                    for failure in failures {
                        words.push_str(&format!("; before that, {failure}"));
                    }
                    return Some(Ok(words));
                }
                Err(words) => failures.push(words),
            }
        }
        Some(Err(failures.join("; and ")))
    }

    /// What stands in the way, as far as it can be told from here. It is said; the order is rehearsed all the same.
    async fn preflight(&self, ca: &Ca, kind: ChallengeKind) -> String {
        let by = kind.as_str();
        let looked = self.lookout.hindrance(ca, &self.spec.identifiers, Some(kind), PREFLIGHT);
        match tokio::time::timeout(PREFLIGHT, looked).await {
            Ok(None) => format!("preflight for {by}: nothing found that stands in the way"),
            Ok(Some((_, why))) => format!("preflight for {by}: {why}"),
            Err(_) => format!("preflight for {by}: not done within {} s", PREFLIGHT.as_secs()),
        }
    }

    async fn attempt(
        &self,
        ca: &Ca,
        server: &AcmeServer,
        kind: ChallengeKind,
        caller: &mut Caller,
    ) -> Option<Result<Bundle, String>> {
        let way = Way {
            issuer: self.issuer.name.to_string(),
            authority: server.directory.to_string(),
            challenge: Some(kind),
        };
        let give_up_at = self.around.clock.now() + server.order_timeout.min(PATIENCE);
        let attempt = Attempt { number: 1, way, give_up_at, replaces: None, leave_out: vec![] };
        let order = ca.perform(&self.spec, Effect::PlaceOrder(attempt), 1);
        tokio::pin!(order);
        let (mut told, mut silent) = (None, Duration::ZERO);
        let outcome = loop {
            tokio::select! {
                outcome = &mut order => break outcome,
                () = tokio::time::sleep(LOOK) => {
                    let step = ca.step_of(&self.spec.id);
                    silent += LOOK;
                    if step != told || silent >= HEARTBEAT {
                        let words = step.clone().filter(|_| step != told).unwrap_or_default();
                        if !caller.say(&Rehearsed { name: self.name(), good: None, words }).await {
                            ca.perform(&self.spec, Effect::AbandonOrder, 1).await;
                            return None;
                        }
                        (told, silent) = (step, Duration::ZERO);
                    }
                }
            }
        };
        match outcome {
            Outcome::Issued(bundle) => Some(Ok(*bundle)),
            Outcome::Event(Event::Failed(_, why)) => {
                ca.perform(&self.spec, Effect::AbandonOrder, 1).await;
                Some(Err(why.to_string()))
            }
            other => Some(Err(format!("it ended oddly: {other:?}"))),
        }
    }
}

/// Accounts are kept, so that each rehearsal uses the same one; everything else is thrown away.
struct Aside {
    kept: Arc<dyn Shelf>,
    thrown_away: Memory,
}

impl Aside {
    fn of(&self, record: &Record) -> &dyn Shelf {
        match record {
            Record::Account(_) | Record::AccountKey(_) => &*self.kept,
            _ => &self.thrown_away,
        }
    }
}

impl Shelf for Aside {
    fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
        self.of(record).load(record)
    }
    fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
        self.of(record).save(record, content)
    }
    fn remove(&self, record: &Record) -> Result<(), ShelfError> {
        self.of(record).remove(record)
    }
    fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
        self.thrown_away.bundle(id)
    }
    fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError> {
        self.thrown_away.replace(bundle, expected)
    }
    fn disown(&self, id: &CertId, epoch: u64) -> Result<(), ShelfError> {
        self.thrown_away.disown(id, epoch)
    }
}
