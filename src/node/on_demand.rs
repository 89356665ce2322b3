//! How do names on demand meet the world? The desk of `cert::on_demand` with its record on the shelf, the door through which
//! handshakes find them, and whoever has to allow them. What becomes of keepers, [`super::control`] sees to.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::Semaphore;

use crate::acme::trust;
use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::cert::on_demand::{Desk, Word};
use crate::clock::{Clock, UnixTime};
use crate::net::question::{self, Question};
use crate::plan::certificate::CertSpec;
use crate::plan::on_demand::{Ask, OnDemand};
use crate::words::{DomainName, Identifier};

/// Questions under way at once; the others wait for their turn.
const AT_ONCE: usize = 8;
/// Questions about held names that are begun in one second.
pub const AGAIN_AT_ONCE: usize = 4;

/// The names on demand of this node.
pub struct Demand {
    /// What decides.
    pub desk: Desk,
    /// Where their certificates and the record lie.
    pub shelf: Arc<dyn Shelf>,
    clock: Arc<dyn Clock>,
    /// Who is asked.
    pub asker: Option<Arc<Asker>>,
    /// Since when `ask` has given no answer, and what it did instead.
    pub silent: Option<(UnixTime, String)>,
    /// Names that are held and wait for the record to be written.
    waiting: Vec<DomainName>,
    writing: bool,
    changed: bool,
}

impl Demand {
    /// Goes on where the record on `shelf` stands. One that cannot be read begins empty, and says so: the names come in again,
    /// and what is held of them is found.
    pub fn open(terms: Arc<OnDemand>, shelf: Arc<dyn Shelf>, clock: Arc<dyn Clock>) -> Demand {
        let now = clock.now();
        let desk = match shelf.load(&Record::OnDemand) {
            Ok(None) => None,
            Ok(Some(text)) => {
                let desk = Desk::read(terms.clone(), &text, now);
                if desk.is_none() {
                    tracing::error!("on-demand.json is damaged: names on demand are served when they come in again");
                }
                desk
            }
            Err(error) => {
                tracing::error!("the names on demand are not known, and served when they come in again: {error}");
                None
            }
        };
        let asker = Asker::of(&terms, &clock);
        let desk = desk.unwrap_or_else(|| Desk::new(terms));
        Demand { desk, shelf, clock, asker, silent: None, waiting: Vec::new(), writing: false, changed: false }
    }

    /// Takes the terms of a new plan.
    pub fn adopt(&mut self, terms: Arc<OnDemand>) {
        if self.desk.terms().ask != terms.ask {
            (self.asker, self.silent) = (Asker::of(&terms, &self.clock), None);
        }
        self.desk.adopt(terms);
    }

    /// The certificate of a held name.
    pub fn spec(&self, name: &DomainName) -> CertSpec {
        let terms = self.desk.terms();
        CertSpec::new(terms.issuer.clone(), vec![Identifier::Dns(name.clone())], terms.key, terms.place.clone())
    }

    /// The certificates of all held names.
    pub fn specs(&self) -> Vec<(DomainName, CertSpec)> {
        self.desk.held().map(|(name, _)| (name.clone(), self.spec(name))).collect()
    }

    /// A name is held, and begins when that is written.
    pub fn begin(&mut self, name: DomainName) {
        self.waiting.push(name);
        self.changed = true;
    }

    /// What is held has changed.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// What is to be written, if anything is and nothing is being written: the text, and the names that wait for it.
    pub fn to_write(&mut self, now: UnixTime) -> Option<(Vec<u8>, Vec<DomainName>)> {
        if self.writing || !self.changed {
            return None;
        }
        (self.writing, self.changed) = (true, false);
        Some((self.desk.write(now), std::mem::take(&mut self.waiting)))
    }

    /// It was written, or cannot be: a disk that refuses must not keep a tenant from his certificate.
    pub fn written(&mut self, done: Result<(), ShelfError>) {
        self.writing = false;
        if let Err(error) = done {
            tracing::error!("the names on demand cannot be written down: {error}");
        }
    }

    /// Notes whether `ask` answers.
    pub fn heard(&mut self, word: &Word, now: UnixTime) {
        match word {
            Word::Silence(words) if self.silent.is_none() => {
                tracing::warn!("\"ask\" of acme_on_demand gives no answer: {words}");
                self.silent = Some((now, words.clone()));
            }
            Word::Silence(_) => {}
            Word::Yes | Word::No(_) => {
                if self.silent.take().is_some() {
                    tracing::info!(level = "notice", "\"ask\" of acme_on_demand answers again");
                }
            }
        }
    }
}

/// Who is asked, and how.
pub struct Asker {
    ask: Ask,
    authority: String,
    tls: Option<Result<Arc<ClientConfig>, String>>,
    turns: Semaphore,
}

impl Asker {
    fn of(terms: &OnDemand, clock: &Arc<dyn Clock>) -> Option<Arc<Asker>> {
        let ask = terms.ask.clone()?;
        let trusted = ask.trusted.clone();
        let tls =
            ask.tls.then(|| trust::client(trusted.as_deref(), true, clock.clone()).map_err(|why| why.to_string()));
        if let Some(Err(why)) = &tls {
            tracing::error!("\"ask\" of acme_on_demand cannot be asked: {why}");
        }
        let authority = ask.authority();
        Some(Arc::new(Asker { ask, authority, tls, turns: Semaphore::new(AT_ONCE) }))
    }

    /// Asks about a name, when it is its turn.
    pub async fn ask(&self, name: &DomainName) -> Word {
        let tls = match &self.tls {
            None => None,
            Some(Ok(config)) => Some(config.clone()),
            Some(Err(why)) => return Word::Silence(why.clone()),
        };
        // Closed by nobody.
        let _turn = self.turns.acquire().await;
        let target = format!("{}{name}", self.ask.target);
        let question = Question {
            host: &self.ask.host,
            port: self.ask.port,
            tls,
            authority: &self.authority,
            target: &target,
            patience: self.ask.timeout,
        };
        match question::ask(&question).await {
            Ok(answer) => word(answer.status, &answer.words),
            Err(why) => Word::Silence(why.to_string()),
        }
    }
}

/// What a status means. Only 200 is a yes; only what says that the question was understood is a no.
fn word(status: u16, words: &str) -> Word {
    let said = if words.is_empty() { format!("status {status}") } else { format!("status {status}: {words}") };
    match status {
        200 => Word::Yes,
        // The way is wrong, or the server is busy: nothing was said about the name.
        401 | 405 | 407 | 408 | 421 | 425 | 426 | 429 | 431 => Word::Silence(said),
        400..=499 => Word::No(said),
        _ => Word::Silence(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::store::Memory;
    use crate::words::Place;

    #[test]
    fn only_200_is_a_yes_and_only_a_plain_refusal_a_no() {
        assert_eq!(word(200, "whatever"), Word::Yes);
        for no in [400, 403, 404, 410, 422, 451] {
            assert!(matches!(word(no, ""), Word::No(_)), "{no}");
        }
        for silence in
            [101, 201, 202, 204, 206, 301, 302, 304, 307, 401, 407, 408, 429, 500, 502, 503, 504, 599, 999, 0]
        {
            assert!(matches!(word(silence, ""), Word::Silence(_)), "{silence}");
        }
        assert_eq!(word(403, "plan expired"), Word::No("status 403: plan expired".into()));
    }

    #[test]
    fn what_is_held_is_written_before_it_begins_and_found_after_a_restart() {
        let (shelf, now) = (Arc::new(Memory::default()), UnixTime::from_seconds(1_800_000_000));
        let clock = Arc::new(VirtualClock::default());
        clock.set(now);
        let terms = Arc::new(OnDemand {
            allow: vec![crate::plan::on_demand::Allowed::parse(".example.com").unwrap()],
            ..OnDemand::of("le", Place::built_in())
        });
        let mut demand = Demand::open(terms.clone(), shelf.clone(), clock.clone());
        assert!(demand.to_write(now).is_none());
        let (one, two): (DomainName, DomainName) = ("a.example.com".parse().unwrap(), "b.example.com".parse().unwrap());
        demand.desk.knock(&one, 1, now);
        demand.begin(one.clone());
        let (text, begin) = demand.to_write(now).unwrap();
        assert_eq!(begin, std::slice::from_ref(&one));
        demand.desk.knock(&two, 1, now);
        demand.begin(two.clone());
        assert!(demand.to_write(now).is_none(), "one write at a time");
        shelf.save(&Record::OnDemand, &text).unwrap();
        demand.written(Ok(()));
        assert_eq!(demand.to_write(now).unwrap().1, [two]);
        let again = Demand::open(terms.clone(), shelf.clone(), clock.clone());
        assert_eq!(again.specs().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [one]);
        shelf.save(&Record::OnDemand, b"{").unwrap();
        assert!(Demand::open(terms, shelf, clock).specs().is_empty());
    }
}
