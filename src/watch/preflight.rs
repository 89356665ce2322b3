//! What does an authority find that looks for a name of ours? Asks DNS with a resolver of its own, asks each address for a
//! nonce below the path of challenges or for a probe of TLS-ALPN-01, follows what redirects, climbs the tree of CAA. Finds;
//! `cert::reach` judges.

mod fetch;
mod handshake;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_proto::rr::{RData, RecordType};

use crate::cert::caa::Property;
use crate::cert::dns01;
use crate::cert::reach::{Addresses, Answer, Caa, Facts, Owner, Seen, is_inner, is_special};
use crate::clock::{Clock, UnixTime};
use crate::net::dns::{self, Dns, DnsError};
use crate::net::own;
use crate::plan::acme::ChallengeKind;
use crate::plan::checks::{Check, Checks};
use crate::words::DomainName;
use crate::zone::challenges::Challenges;

/// Everything about one name.
const WHOLE: Duration = Duration::from_secs(12);
/// For each name server, and each address.
const ONE: Duration = Duration::from_secs(3);
/// Addresses of a name that are looked at.
const MOST: usize = 8;
/// Names that are looked at at once.
const AT_ONCE: usize = 16;
/// A resolver that said nothing is left alone for so long, and everybody told that nothing can be checked.
const REST: Duration = Duration::from_secs(60);

/// What the resolver did not answer.
#[derive(Default)]
struct Silence {
    about: Option<DomainName>,
    until: Option<tokio::time::Instant>,
}

/// Looks at names as an authority would.
pub struct Preflight {
    checks: Checks,
    dns: Dns,
    challenges: Arc<Challenges>,
    clock: Arc<dyn Clock>,
    running: tokio::sync::Semaphore,
    silence: std::sync::Mutex<Silence>,
    ports: (u16, u16),
    inner: bool,
}

impl Preflight {
    /// Asks nobody yet.
    pub fn new(checks: Checks, challenges: Arc<Challenges>, clock: Arc<dyn Clock>) -> Preflight {
        let dns = Dns::new(&checks.resolver).within(ONE);
        let running = tokio::sync::Semaphore::new(AT_ONCE);
        Preflight {
            checks,
            dns,
            challenges,
            clock,
            running,
            silence: std::sync::Mutex::default(),
            ports: (80, 443),
            inner: false,
        }
    }

    /// The same, looking at other ports than 80 and 443: for tests.
    pub fn with_ports(self, http: u16, https: u16) -> Preflight {
        Preflight { ports: (http, https), ..self }
    }

    /// The same, asking inner addresses too: for tests. Where a name leads is its owner's choice, who may be anybody, and no
    /// authority goes there.
    pub fn with_inner(self) -> Preflight {
        Preflight { inner: true, ..self }
    }

    /// The time by which certificates are kept.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The terms.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Looks at one name as an authority does for a validation by `kind`: at where it leads, or at where the record of
    /// DNS-01 stands.
    pub async fn look(&self, name: &DomainName, kind: ChallengeKind) -> Facts {
        let unknown = |why: &str| not_looked_at(name, why);
        if self.checks.resolver.is_empty() && is_special(name) {
            return unknown("no public resolver knows such names");
        }
        if self.rests() {
            return unknown("the resolver does not answer");
        }
        // Whoever waits for a turn has not been looked at for too long.
        let _turn = self.running.acquire().await;
        let by_dns = kind == ChallengeKind::Dns01;
        let looked = tokio::time::timeout(WHOLE, async {
            let addresses = async {
                match !by_dns && self.checks.makes(Check::Reach, name) {
                    true => self.addresses(name, kind).await,
                    false => Addresses::NotAsked,
                }
            };
            let caa = async {
                match self.checks.makes(Check::Caa, name) {
                    true => self.caa(name).await,
                    false => Caa::Unknown,
                }
            };
            let alias = async {
                let Ok(record) = dns::name(&dns01::record_name(name)) else { return Vec::new() };
                match by_dns {
                    false => Vec::new(),
                    true => self.dns.chain(&record).await.unwrap_or_default().iter().map(dns::text).collect(),
                }
            };
            let (addresses, caa, alias) = tokio::join!(addresses, caa, alias);
            Facts { name: name.clone(), addresses, caa, alias, stranger: None }
        });
        looked.await.unwrap_or_else(|_| unknown("looking took too long"))
    }

    /// Where the world's resolver says that a name leads; nothing where nobody can tell from here.
    pub async fn leads_to(&self, name: &DomainName) -> Vec<IpAddr> {
        if (self.checks.resolver.is_empty() && is_special(name)) || self.rests() {
            return Vec::new();
        }
        self.resolve(name).await.unwrap_or_default()
    }

    /// What a question for our nonce brings at one address of a name.
    pub async fn ask_at(&self, name: &DomainName, ip: IpAddr) -> Answer {
        let Some(question) = self.question(name, ChallengeKind::Http01) else { return Answer::Silent };
        let answer = question.ask(self.dns.clone(), self.place(name, ip, ChallengeKind::Http01)).await;
        question.end(&self.challenges);
        answer
    }

    /// Whose an address of a name is.
    pub fn owner(&self, name: &DomainName, ip: IpAddr) -> Owner {
        match (self.checks.public(ip), own::is_interface(ip), self.checks.front(ip, name)) {
            (Some(_), ..) => Owner::Declared,
            (None, true, _) => Owner::Here,
            (None, false, Some(_)) => Owner::Front,
            (None, false, None) => Owner::Unknown,
        }
    }

    async fn resolve(&self, name: &DomainName) -> Result<Vec<IpAddr>, String> {
        let found = match dns::name(dns01::bare(name)) {
            Ok(asked) => self.dns.addresses(&asked).await,
            Err(error) => Err(error),
        };
        self.note(name, found.as_ref().err());
        found.map_err(|error| error.to_string())
    }

    async fn addresses(&self, name: &DomainName, kind: ChallengeKind) -> Addresses {
        let mut found = match self.resolve(name).await {
            Ok(found) if found.is_empty() => return Addresses::Missing,
            Ok(found) => found,
            Err(why) => return Addresses::Unknown(why),
        };
        found.truncate(MOST);
        let Some(question) = self.question(name, kind) else {
            return Addresses::Unknown("too many challenges are open".into());
        };
        let mut seen = Vec::new();
        let mut asked = tokio::task::JoinSet::new();
        for ip in found {
            let (owner, place) = (self.owner(name, ip), self.place(name, ip, kind));
            let (question, dns) = (question.clone(), self.dns.clone());
            if !place.inner && !place.declared && is_inner(ip) {
                seen.push(Seen { ip, owner, answer: Answer::Silent });
                continue;
            }
            asked.spawn(async move { Seen { ip, owner, answer: question.ask(dns, place).await } });
        }
        while let Some(one) = asked.join_next().await {
            seen.extend(one.ok());
        }
        question.end(&self.challenges);
        seen.sort_by_key(|seen| seen.ip);
        Addresses::Found(seen)
    }

    fn place(&self, name: &DomainName, ip: IpAddr, kind: ChallengeKind) -> fetch::Place {
        let public = self.checks.public(ip);
        let (via, port) = match kind {
            ChallengeKind::TlsAlpn01 => (public.and_then(|public| public.tls_via), self.ports.1),
            _ => (public.and_then(|public| public.via), self.ports.0),
        };
        let at = via.unwrap_or(SocketAddr::new(ip, port));
        let (name, inner) = (dns01::bare(name).to_owned(), self.inner);
        fetch::Place { name, at, ports: self.ports, inner, declared: public.is_some() }
    }

    fn question(&self, name: &DomainName, kind: ChallengeKind) -> Option<Question> {
        match kind {
            ChallengeKind::TlsAlpn01 => {
                handshake::Probe::open(dns01::bare(name), &self.challenges, self.clock.now() + WHOLE * 2)
                    .map(Question::Handshake)
            }
            _ => self.nonce().map(Question::Nonce),
        }
    }

    /// The relevant set (RFC 8659 3): that of the nearest name at or above it that has one.
    async fn caa(&self, name: &DomainName) -> Caa {
        let mut at = dns01::bare(name);
        loop {
            let found = match dns::name(at) {
                Ok(asked) => self.dns.find(&asked, RecordType::CAA).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) if !found.records.is_empty() => {
                    let set = found.records.iter().filter_map(|record| match &record.data {
                        RData::CAA(caa) => Some(Property {
                            critical: caa.issuer_critical,
                            tag: caa.tag.clone(),
                            value: String::from_utf8_lossy(&caa.value).into_owned(),
                        }),
                        _ => None,
                    });
                    return Caa::Set(at.to_owned(), set.collect());
                }
                Ok(_) => {}
                Err(error @ DnsError::Failed { .. }) => return Caa::Failing(error.to_string()),
                Err(error) => {
                    self.note(name, Some(&error));
                    return Caa::Unknown;
                }
            }
            match at.split_once('.') {
                Some((_, above)) => at = above,
                None => return Caa::Set(String::new(), vec![]),
            }
        }
    }

    /// Opens a challenge of our own, which any node here answers by its token.
    fn nonce(&self) -> Option<Nonce> {
        let mut random = [0u8; 48];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let token = URL_SAFE_NO_PAD.encode(&random[..32]);
        let mut accepted = vec![format!("{token}.{}", URL_SAFE_NO_PAD.encode(&random[32..]))];
        self.challenges.open_http01(&token, &accepted[0], self.clock.now() + WHOLE * 2).ok()?;
        // A node that does not know the token answers with the account that it shares with us.
        accepted.extend(self.challenges.thumbprint().map(|thumbprint| format!("{token}.{thumbprint}")));
        Some(Nonce { token, accepted })
    }

    fn rests(&self) -> bool {
        let silence = self.silence.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        silence.until.is_some_and(|until| tokio::time::Instant::now() < until)
    }

    /// Notes whether the resolver had a word about a name. The zone of one name may be dead by itself; two that are not
    /// answered, one after the other, mean the resolver.
    fn note(&self, name: &DomainName, error: Option<&DnsError>) {
        let mut silence = self.silence.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !error.is_some_and(DnsError::is_from_here) {
            silence.about = None;
        } else if silence.about.as_ref().is_some_and(|about| about != name) {
            *silence = Silence { about: None, until: Some(tokio::time::Instant::now() + REST) };
        } else {
            silence.about = Some(name.clone());
        }
    }
}

/// Facts about a name that nobody had a look at.
pub fn not_looked_at(name: &DomainName, why: &str) -> Facts {
    let addresses = Addresses::Unknown(why.to_owned());
    Facts { name: name.clone(), addresses, caa: Caa::Unknown, alias: Vec::new(), stranger: None }
}

#[derive(Clone)]
struct Nonce {
    token: String,
    accepted: Vec<String>,
}

/// What is asked at each address.
#[derive(Clone)]
enum Question {
    Nonce(Nonce),
    Handshake(handshake::Probe),
}

impl Question {
    async fn ask(&self, dns: Dns, place: fetch::Place) -> Answer {
        let asked = async {
            match self {
                Question::Nonce(nonce) => fetch::fetch(&dns, place, &nonce.token, &nonce.accepted).await,
                Question::Handshake(probe) => probe.ask(place.at).await,
            }
        };
        tokio::time::timeout(ONE * 2, asked).await.unwrap_or(Answer::Silent)
    }

    fn end(&self, challenges: &Challenges) {
        match self {
            Question::Nonce(nonce) => challenges.close_http01(&nonce.token),
            Question::Handshake(probe) => probe.end(),
        }
    }
}
