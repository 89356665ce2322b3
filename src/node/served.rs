//! Is what clients get what we hold? Looks at our own listeners and at the public addresses of every name, one after the
//! other, slowly; `cert::served` judges. In a task of the control runtime: it may be late, and holds up nobody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::cert::concern::{Concern, Severity, Topic};
use crate::cert::inspect::Leaf;
use crate::cert::reach::{Answer, Owner};
use crate::cert::served::{self, Nonce, Seen, Truth, Whose};
use crate::clock::Clock;
use crate::net::terms::Terms;
use crate::plan::Plan;
use crate::plan::listener::{AddressServers, ListenAddress, Listener};
use crate::plan::server::Server;
use crate::tls::certificates::Certificates;
use crate::watch::preflight::Preflight;
use crate::watch::probe::{self, Look, Unseen};
use crate::words::{DomainName, Fingerprint, Identifier};
use crate::zone::concerns::Concerns;

use super::lookout::Lookout;
use super::overdue::tell;

/// For one look; nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first look after a start or a new plan: when all has settled.
const SETTLE: Duration = Duration::from_secs(5);
/// Where clients of the internet come.
const HTTPS: u16 = 443;
/// So many generations that are no longer held are remembered, to tell an old one of ours from somebody else's.
const EARLIER: usize = 50_000;

/// What the looks have shown so far: the words of `semper status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Served {
    /// Looks since the server process began.
    pub looks: u64,
    /// Places where the last look saw what is held.
    pub right: usize,
    /// Places that cannot be reached from here, and why.
    pub unreachable: Vec<String>,
    /// Places where someone else terminates.
    pub elsewhere: Vec<String>,
    /// Places where one of ours serves the wrong thing.
    pub wrong: Vec<String>,
}

/// Stands for `*` when a wildcard is looked at, at our own listeners alone.
const BELOW: &str = "semper-look";

/// No list of places in a status is longer.
const LONGEST_LIST: usize = 100;

/// The loop's hands and memory.
pub struct Truths {
    certificates: Arc<Certificates>,
    terms: Arc<ArcSwap<Terms>>,
    clock: Arc<dyn Clock>,
    concerns: Arc<Concerns>,
    shown: Arc<Mutex<Served>>,
    lookout: Arc<Lookout>,
    /// What is not right, by name and address.
    last: HashMap<(String, SocketAddr), Truth>,
    /// What is: nearly everything, so hashed.
    right: HashSet<u64>,
    /// Addresses that have shown a certificate of ours.
    ours: HashSet<SocketAddr>,
    /// Addresses that nobody answered at in this round, and why: other names there are not waited for.
    silent: HashMap<SocketAddr, String>,
    earlier: HashSet<Fingerprint>,
    order: VecDeque<Fingerprint>,
    looks: u64,
    epoch: u64,
    hasher: RandomState,
}

/// One place to look at.
#[derive(Clone, Debug)]
struct Place {
    name: DomainName,
    server: Arc<Server>,
    /// A listener of ours; `None`: wherever the name leads.
    own: Option<(SocketAddr, bool)>,
}

impl Truths {
    /// Nothing was looked at yet; `shown` is kept up to date for the status.
    pub fn new(
        certificates: Arc<Certificates>,
        terms: Arc<ArcSwap<Terms>>,
        clock: Arc<dyn Clock>,
        concerns: Arc<Concerns>,
        shown: Arc<Mutex<Served>>,
    ) -> Truths {
        Truths {
            certificates,
            terms,
            clock,
            concerns,
            shown,
            lookout: Arc::default(),
            last: HashMap::new(),
            right: HashSet::new(),
            ours: HashSet::new(),
            silent: HashMap::new(),
            earlier: HashSet::new(),
            order: VecDeque::new(),
            looks: 0,
            epoch: 0,
            hasher: RandomState::new(),
        }
    }

    /// The same, with the eyes of the keepers: their resolver, their nonce, what the operator told them.
    pub fn looking(self, lookout: Arc<Lookout>) -> Truths {
        Truths { lookout, ..self }
    }

    /// Looks for ever.
    pub async fn run(mut self) {
        let mut first = true;
        loop {
            tokio::time::sleep(SETTLE).await;
            let (epoch, places) = {
                let now = self.terms.load();
                (now.epoch, places(&now.plan))
            };
            let names: HashSet<&str> = places.iter().map(|place| place.name.as_str()).collect();
            self.last.retain(|(name, _), _| names.contains(&name[..]));
            if self.epoch != epoch {
                // Names may have gone: what is right is counted anew.
                (self.epoch, self.right, first) = (epoch, HashSet::new(), true);
            }
            let pace = served::pace(places.len(), first);
            self.silent.clear();
            for place in &places {
                self.place(place).await;
                if self.terms.load().epoch != epoch {
                    break;
                }
                tokio::time::sleep(pace).await;
            }
            first = self.terms.load().epoch != epoch;
            self.publish();
            if places.is_empty() {
                tokio::time::sleep(served::ROUND).await;
            }
        }
    }

    async fn place(&mut self, place: &Place) {
        let preflight = self.lookout.preflight();
        let looks: Vec<(Look, SocketAddr, Whose)> = match (place.own, &preflight) {
            (Some((address, proxy_protocol)), _) => {
                vec![(toward(place, address, proxy_protocol, true), address, Whose::Own)]
            }
            (None, Some(preflight)) => {
                let found = preflight.leads_to(&place.name).await;
                let found = found.into_iter().filter(|ip| !ip.is_loopback()).map(|ip| SocketAddr::new(ip, HTTPS));
                let look = |address: SocketAddr| {
                    // Behind a router, an address of ours may have to be reached another way.
                    let via = preflight.checks().public(address.ip()).and_then(|public| public.tls_via);
                    let look = toward(place, via.unwrap_or(address), false, false);
                    (look, address, self.whose(preflight, &place.name, address))
                };
                found.map(look).collect()
            }
            (None, None) => Vec::new(),
        };
        for (look, address, whose) in looks {
            let before = self.expected(&place.server);
            if before.is_empty() {
                // There is nothing but the placeholder, which is told of elsewhere.
                continue;
            }
            let found = match self.silent.get(&look.address) {
                Some(why) => Err(Unseen::Unreachable(why.clone())),
                None => probe::look(&look).await,
            };
            if let Err(why @ (Unseen::Unreachable(_) | Unseen::TimedOut)) = &found
                && !look.own
            {
                self.silent.insert(look.address, why.to_string());
            }
            // A swap in the middle of a look: either is right.
            let expected = [before, self.expected(&place.server)].concat();
            expected.iter().for_each(|fingerprint| self.remember(*fingerprint));
            let seen = self.seen(&place.name, found);
            let nonce = match &preflight {
                Some(preflight) if served::wants_nonce(&whose, &seen, &expected) => {
                    match preflight.ask_at(&place.name, address.ip()).await {
                        Answer::Ours => Nonce::Ours,
                        Answer::Refused | Answer::Silent => Nonce::Unknown,
                        _ => Nonce::Others,
                    }
                }
                _ => Nonce::Unknown,
            };
            let truth = served::judge(&whose, &seen, nonce, &expected, self.clock.now());
            self.note(place, address, truth);
        }
    }

    /// Whose an address of a name is: ours by an interface or by `public_address`, a front's by `fronted_by`, ours again if
    /// it has shown a certificate of ours.
    fn whose(&self, preflight: &Preflight, name: &DomainName, address: SocketAddr) -> Whose {
        match preflight.owner(name, address.ip()) {
            Owner::Here => Whose::Here,
            Owner::Declared => Whose::Declared,
            Owner::Front => Whose::Fronted(preflight.checks().front(address.ip(), name).unwrap_or_default().to_owned()),
            Owner::Unknown if self.ours.contains(&address) => Whose::Shown,
            Owner::Unknown => Whose::Unknown,
        }
    }

    /// What this server holds now.
    fn expected(&self, server: &Server) -> Vec<Fingerprint> {
        let sources = server.tls.iter().flat_map(|tls| &tls.certificates);
        sources.filter_map(|source| Some(self.certificates.held(source)?.fingerprint)).collect()
    }

    /// What a look brought, in words of `cert::served`.
    fn seen(&self, name: &DomainName, found: Result<Vec<u8>, Unseen>) -> Seen {
        match found {
            Ok(leaf) => match Leaf::read(&leaf) {
                Ok(leaf) => {
                    let now = self.clock.now();
                    let in_force = leaf.not_before <= now && now < leaf.not_after;
                    Seen::Certificate {
                        earlier: self.earlier.contains(&leaf.fingerprint),
                        fits: in_force && leaf.covers(&Identifier::Dns(name.clone())),
                        fingerprint: leaf.fingerprint,
                        not_after: leaf.not_after,
                        issuer: leaf.issuer,
                    }
                }
                Err(bad) => Seen::NoHandshake(bad.to_string()),
            },
            Err(Unseen::Handshake(why)) => Seen::NoHandshake(why),
            Err(other) => Seen::Nobody(other.to_string()),
        }
    }

    /// Keeps what is true of one place now; what is new is published at once.
    fn note(&mut self, place: &Place, address: SocketAddr, truth: Truth) {
        self.looks += 1;
        if truth == Truth::Right && place.own.is_none() {
            self.ours.insert(address);
        }
        let key = (place.name.as_str().to_owned(), address);
        let hash = self.hasher.hash_one(&key);
        if truth == Truth::Right {
            self.right.insert(hash);
            if self.last.remove(&key).is_some() {
                self.publish();
            }
        } else if self.last.get(&key) != Some(&truth) {
            self.right.remove(&hash);
            self.last.insert(key, truth);
            self.publish();
        }
    }

    fn remember(&mut self, fingerprint: Fingerprint) {
        if self.earlier.insert(fingerprint) {
            self.order.push_back(fingerprint);
            if self.order.len() > EARLIER
                && let Some(oldest) = self.order.pop_front()
            {
                self.earlier.remove(&oldest);
            }
        }
    }

    fn publish(&self) {
        let mut all = Served { looks: self.looks, right: self.right.len(), ..Served::default() };
        let mut concerns = Vec::new();
        let mut last: Vec<_> = self.last.iter().collect();
        last.sort_by(|a, b| a.0.cmp(b.0));
        for ((name, address), truth) in last {
            let (list, why) = match truth {
                Truth::Right => continue,
                Truth::Unreachable(why) => (&mut all.unreachable, why),
                Truth::Elsewhere(why) => (&mut all.elsewhere, why),
                Truth::Wrong(why) => {
                    let (topic, severity, since) = (Topic::Served, Severity::Error, self.clock.now());
                    concerns.push(Concern {
                        topic,
                        subject: format!("{name} at {address}"),
                        severity,
                        text: why.clone(),
                        since,
                    });
                    (&mut all.wrong, why)
                }
            };
            if list.len() < LONGEST_LIST {
                list.push(format!("{name} at {address}: {why}"));
            }
        }
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = all;
        tell(&self.concerns.report("served", concerns));
    }
}

fn toward(place: &Place, address: SocketAddr, proxy_protocol: bool, own: bool) -> Look {
    Look { address, name: place.name.as_str().to_owned(), proxy_protocol, own, timeout: PATIENCE }
}

/// Every name at every listener of ours that speaks TLS, and every public name once more wherever it leads.
fn places(plan: &Plan) -> Vec<Place> {
    let mut all = Vec::new();
    let mut public = HashSet::new();
    for listener in plan.http.iter().flat_map(|http| &http.listeners) {
        for servers in listener.addresses.iter().filter(|servers| servers.ssl) {
            let Some(address) = reach(listener, servers) else { continue };
            for (name, server) in named(servers) {
                let own = Some((address, servers.proxy_protocol));
                all.push(Place { name: name.clone(), server: server.clone(), own });
                // A resolver that the operator named knows names that the world does not.
                let known = is_public(name.as_str()) || !plan.checks.resolver.is_empty();
                let known = known && !name.as_str().starts_with(BELOW);
                if address.port() == HTTPS && known && public.insert(name.clone()) {
                    all.push(Place { name, server, own: None });
                }
            }
        }
    }
    all
}

/// How we reach one of our own listeners.
fn reach(listener: &Listener, servers: &AddressServers) -> Option<SocketAddr> {
    let ListenAddress::Tcp(bound) = listener.address else { return None };
    let mut address = servers.local.unwrap_or(bound);
    if address.ip().is_unspecified() {
        let local: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(local);
    }
    Some(address)
}

/// The names of the servers behind an address that hold certificates; of a wildcard, one name below it that nobody has.
fn named(servers: &AddressServers) -> Vec<(DomainName, Arc<Server>)> {
    let with_tls = |server: &Server| server.tls.as_ref().is_some_and(|tls| !tls.reject_handshake);
    let exact = servers.names.exact.iter().filter(|(_, server)| with_tls(server));
    let exact = exact.filter_map(|(name, server)| {
        let name: DomainName = std::str::from_utf8(name).ok()?.parse().ok()?;
        Some((name, server.clone()))
    });
    let below = servers.names.suffixes.iter().filter(|(_, server)| with_tls(server));
    let below = below.filter_map(|(suffix, server)| {
        let name: DomainName = format!("{BELOW}.{}", std::str::from_utf8(suffix).ok()?).parse().ok()?;
        Some((name, server.clone()))
    });
    let mut all: Vec<_> = exact.chain(below).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Names that the whole world can resolve.
fn is_public(name: &str) -> bool {
    const PRIVATE: [&str; 8] = ["localhost", "local", "test", "example", "invalid", "internal", "lan", "home.arpa"];
    let private = |suffix: &str| name == suffix || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    name.contains('.') && !PRIVATE.iter().any(|suffix| private(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_private_places_are_not_looked_for_in_the_world() {
        for (name, public) in [("a.example.com", true), ("localhost", false), ("x.internal", false), ("printer", false)]
        {
            assert_eq!(is_public(name), public, "{name}");
        }
        assert!(is_public("latest.com") && !is_public("a.test"));
    }
}
