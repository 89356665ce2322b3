//! What do workers share about upstreams? The health of each (upstream, address), and the members that names mean at
//! present. Outlives plans: what was marked down or counted before a reload still is after it. Locks are held for a
//! look-up only and never by a request that finds its upstream in its worker's own memory.

use crate::balance::{Group, Health, Moment};
use crate::plan::upstream::{Upstream, UpstreamAddress};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::time::Instant;

/// One upstream of one plan, with the members that it has now.
#[derive(Debug)]
pub struct Live {
    group: ArcSwap<Group>,
    /// Addresses found at run time, by index of the server; they stand in for those of the plan.
    resolved: Mutex<HashMap<usize, Vec<IpAddr>>>,
}

impl Live {
    /// Its members.
    pub fn group(&self) -> Arc<Group> {
        self.group.load_full()
    }
}

/// Servers that are remembered at most after the plans that named them are gone.
const REMEMBERED: usize = 4096;

type Key = (Box<str>, UpstreamAddress);
/// By the place of the plan's upstream in memory.
type Standing = (Weak<Upstream>, Arc<Live>);

/// All upstreams of the process.
pub struct Upstreams {
    begun: Instant,
    health: Mutex<HashMap<Key, Arc<Health>>>,
    live: Mutex<HashMap<usize, Standing>>,
}

impl Default for Upstreams {
    fn default() -> Upstreams {
        Upstreams { begun: Instant::now(), health: Mutex::default(), live: Mutex::default() }
    }
}

impl Upstreams {
    /// The moment `now`, as health counts it.
    pub fn moment(&self, now: Instant) -> Moment {
        Moment(i64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(i64::MAX))
    }

    /// The live side of `upstream`. The same for all workers, as long as a plan holds it.
    pub fn live(&self, upstream: &Arc<Upstream>) -> Arc<Live> {
        let mut live = lock(&self.live);
        let place = Arc::as_ptr(upstream) as usize;
        if let Some((_, known)) = live.get(&place) {
            return known.clone();
        }
        // A weak reference keeps the place from being taken by another upstream; those of dead plans are let go here.
        live.retain(|_, (upstream, _)| upstream.strong_count() > 0);
        let group = ArcSwap::from_pointee(self.members(upstream, &HashMap::new()));
        let made = Arc::new(Live { group, resolved: Mutex::default() });
        live.insert(place, (Arc::downgrade(upstream), made.clone()));
        made
    }

    /// Server `index` of `upstream` was found at `addresses`.
    pub fn resolved(&self, upstream: &Arc<Upstream>, index: usize, addresses: Vec<IpAddr>) {
        let live = self.live(upstream);
        let mut resolved = lock(&live.resolved);
        if resolved.get(&index) == Some(&addresses) {
            return;
        }
        resolved.insert(index, addresses);
        live.group.store(Arc::new(self.members(upstream, &resolved)));
    }

    fn members(&self, upstream: &Upstream, resolved: &HashMap<usize, Vec<IpAddr>>) -> Group {
        let addresses =
            |index, server: &crate::plan::upstream::UpstreamServer| match (resolved.get(&index), &server.host) {
                (Some(found), Some((_, port))) => {
                    found.iter().map(|ip| UpstreamAddress::Tcp(SocketAddr::new(*ip, *port))).collect()
                }
                _ => server.addresses.to_vec(),
            };
        Group::new(upstream, addresses, |address| self.health(&upstream.name, address))
    }

    fn health(&self, upstream: &str, address: &UpstreamAddress) -> Arc<Health> {
        let mut known = lock(&self.health);
        let key = (upstream.into(), address.clone());
        if let Some(health) = known.get(&key) {
            return health.clone();
        }
        if known.len() >= REMEMBERED {
            known.retain(|_, health| Arc::strong_count(health) > 1);
        }
        known.entry(key).or_default().clone()
    }

    /// What is known of every server, for status pages: upstream, address, health.
    pub fn each(&self, mut look: impl FnMut(&str, &UpstreamAddress, &Health)) {
        lock(&self.health).iter().for_each(|((upstream, address), health)| look(upstream, address, health));
    }
}

/// Nothing is left half done under these locks: what a panicking thread left behind is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Key, Outcome};
    use crate::plan::upstream::{Balance, UpstreamServer};
    use crate::words::Place;
    use std::time::Duration;

    struct NoDice;
    impl crate::clock::Dice for NoDice {
        fn draw(&self) -> f64 {
            0.0
        }
    }

    fn upstream(ports: &[u16]) -> Arc<Upstream> {
        let server = |port: &u16| UpstreamServer {
            name: format!("app:{port}").into(),
            addresses: Box::new([UpstreamAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], *port)))]),
            host: Some(("app".into(), *port)),
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            backup: false,
            down: false,
            resolve: false,
        };
        Arc::new(Upstream {
            name: "app".into(),
            implicit: false,
            place: Place::built_in(),
            servers: ports.iter().map(server).collect(),
            balance: Balance::RoundRobin,
            keepalive: None,
            zone: None,
        })
    }

    const KEY: Key<'static> = Key { client: None, text: b"" };

    #[test]
    fn a_server_that_was_marked_down_is_still_down_after_a_reload() {
        let upstreams = Upstreams::default();
        let before = upstream(&[1, 2]);
        let group = upstreams.live(&before).group();
        let picked = group.next(&mut group.choice(), KEY, Moment(0), &NoDice).unwrap();
        assert!(group.ended(picked, Outcome::Failed, Moment(0)));
        let down = group.member(picked).address.clone();
        drop((group, before));
        let after = upstream(&[1, 2, 3]);
        let group = upstreams.live(&after).group();
        for _ in 0..6 {
            let picked = group.next(&mut group.choice(), KEY, Moment(1), &NoDice).unwrap();
            assert_ne!(group.member(picked).address, down);
            group.ended(picked, Outcome::Fine, Moment(1));
        }
    }

    #[test]
    fn a_name_that_resolves_later_changes_the_members_at_once() {
        let upstreams = Upstreams::default();
        let upstream = upstream(&[80]);
        let live = upstreams.live(&upstream);
        upstreams.resolved(&upstream, 0, vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()]);
        let shown: Vec<_> = live.group().members().map(|m| m.address.to_string()).collect();
        assert_eq!(shown, ["192.0.2.1:80", "192.0.2.2:80"]);
    }

    #[test]
    fn dead_plans_leave_nothing_behind_but_health() {
        let upstreams = Upstreams::default();
        for port in 1..=20 {
            upstreams.live(&upstream(&[port]));
        }
        let keep = upstream(&[99]);
        upstreams.live(&keep);
        assert_eq!(lock(&upstreams.live).len(), 1);
        let mut count = 0;
        upstreams.each(|_, _, _| count += 1);
        assert_eq!(count, 21);
    }
}
