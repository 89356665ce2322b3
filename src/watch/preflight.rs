//! What does an authority find that looks for a name of ours? Asks DNS with a resolver of its own, asks each address for a
//! nonce below the path of challenges, follows what redirects, climbs the tree of CAA. Finds; `cert::reach` judges.

mod fetch;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_proto::rr::{RData, RecordType};

use crate::cert::caa::Property;
use crate::cert::dns01;
use crate::cert::reach::{Addresses, Answer, Caa, Facts, Owner, Seen, is_special};
use crate::clock::Clock;
use crate::net::dns::{self, Dns, DnsError};
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

/// Looks at names as an authority would.
pub struct Preflight {
    checks: Checks,
    dns: Dns,
    challenges: Arc<Challenges>,
    clock: Arc<dyn Clock>,
    running: tokio::sync::Semaphore,
    silent_until: std::sync::Mutex<Option<tokio::time::Instant>>,
    ports: (u16, u16),
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
            silent_until: std::sync::Mutex::default(),
            ports: (80, 443),
        }
    }

    /// The same, looking at other ports than 80 and 443: for tests.
    pub fn with_ports(self, http: u16, https: u16) -> Preflight {
        Preflight { ports: (http, https), ..self }
    }

    /// The terms.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Looks at one name; `addresses_wanted`: at where it leads; else at where the record of DNS-01 stands.
    pub async fn look(&self, name: &DomainName, addresses_wanted: bool) -> Facts {
        let unknown = |why: &str| Facts {
            name: name.clone(),
            addresses: Addresses::Unknown(why.to_owned()),
            caa: Caa::Unknown,
            alias: Vec::new(),
        };
        if self.checks.resolver.is_empty() && is_special(name) {
            return unknown("no public resolver knows such names");
        }
        if self.rests() {
            return unknown("the resolver does not answer");
        }
        let looked = tokio::time::timeout(WHOLE, async {
            let _turn = self.running.acquire().await;
            let addresses = async {
                match addresses_wanted && self.checks.makes(Check::Reach, name) {
                    true => self.addresses(name).await,
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
                match addresses_wanted {
                    true => Vec::new(),
                    false => self.dns.chain(&record).await.unwrap_or_default().iter().map(dns::text).collect(),
                }
            };
            let (addresses, caa, alias) = tokio::join!(addresses, caa, alias);
            Facts { name: name.clone(), addresses, caa, alias }
        });
        looked.await.unwrap_or_else(|_| unknown("looking took too long"))
    }

    async fn addresses(&self, name: &DomainName) -> Addresses {
        let found = match dns::name(dns01::bare(name)) {
            Ok(asked) => self.dns.addresses(&asked).await,
            Err(error) => Err(error),
        };
        let mut found = match found {
            Ok(found) if found.is_empty() => return Addresses::Missing,
            Ok(found) => found,
            Err(error) => {
                self.note(&error);
                return Addresses::Unknown(error.to_string());
            }
        };
        found.truncate(MOST);
        let Some(nonce) = self.nonce() else { return Addresses::Unknown("too many challenges are open".into()) };
        let ours = interfaces();
        let mut seen = Vec::new();
        let mut asked = tokio::task::JoinSet::new();
        for ip in found {
            let public = self.checks.public(ip);
            let owner = match (public, ours.contains(&ip)) {
                (Some(_), _) => Owner::Declared,
                (None, true) => Owner::Here,
                (None, false) => Owner::Unknown,
            };
            let at = public.and_then(|public| public.via).unwrap_or(SocketAddr::new(ip, self.ports.0));
            let place = fetch::Place { name: dns01::bare(name).to_owned(), at, ports: self.ports };
            let (dns, token, accepted) = (self.dns.clone(), nonce.token.clone(), nonce.accepted.clone());
            asked.spawn(async move {
                let answer = tokio::time::timeout(ONE * 2, fetch::fetch(&dns, place, &token, &accepted)).await;
                Seen { ip, owner, answer: answer.unwrap_or(Answer::Silent) }
            });
        }
        while let Some(one) = asked.join_next().await {
            seen.extend(one.ok());
        }
        self.challenges.close_http01(&nonce.token);
        seen.sort_by_key(|seen| seen.ip);
        Addresses::Found(seen)
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
                    self.note(&error);
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
        let until = self.silent_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        until.is_some_and(|until| tokio::time::Instant::now() < until)
    }

    fn note(&self, error: &DnsError) {
        if error.is_from_here() {
            let mut until = self.silent_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *until = Some(tokio::time::Instant::now() + REST);
        }
    }
}

struct Nonce {
    token: String,
    accepted: Vec<String>,
}

/// The addresses of this machine's interfaces.
fn interfaces() -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    all.filter_map(|address| {
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
    })
    .collect()
}
