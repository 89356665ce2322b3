//! Who are the members of an upstream, address by address, and in which tiers? Built from the plan, the addresses that
//! names mean at present, and the health that is already known.

use super::choose::{Choice, Picked};
use super::hash::Circle;
use super::health::{Health, Moment, Outcome};
use crate::plan::upstream::{Balance, Upstream, UpstreamAddress, UpstreamServer};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

/// One address of a server.
#[derive(Debug)]
pub struct Member {
    /// The server as written; `$upstream_addr` shows the address.
    pub name: Box<str>,
    /// Where it is.
    pub address: UpstreamAddress,
    /// The address as `$upstream_addr` shows it.
    pub shown: bytes::Bytes,
    /// Shared with the other workers and with the plans before and after.
    pub health: Arc<Health>,
    pub(super) weight: i64,
    pub(super) max_conns: u32,
    pub(super) max_fails: u32,
    pub(super) fail_timeout: Duration,
    pub(super) down: bool,
    /// The weight that counts: sinks with failures, climbs back by one with each choice.
    pub(super) effective: AtomicI64,
    /// What smooth round robin has saved up.
    pub(super) current: AtomicI64,
}

/// The members of an upstream and how one is chosen.
#[derive(Debug)]
pub struct Group {
    /// Primary members, then backups.
    pub(super) tiers: [Box<[Member]>; 2],
    pub(super) balance: Balance,
    pub(super) circle: Option<Circle>,
    tries: u32,
    shown: bytes::Bytes,
}

impl Group {
    /// The members of `upstream`. `addresses` tells what a server means at present, `health` what is known of an address.
    pub fn new<'a>(
        upstream: &'a Upstream,
        addresses: impl Fn(usize, &'a UpstreamServer) -> Vec<UpstreamAddress>,
        mut health: impl FnMut(&UpstreamAddress) -> Arc<Health>,
    ) -> Group {
        let mut tiers = [Vec::new(), Vec::new()];
        for (index, server) in upstream.servers.iter().enumerate() {
            for address in addresses(index, server) {
                let health = health(&address);
                tiers[usize::from(server.backup)].push(Member::new(server, address, health));
            }
        }
        let tries = tiers.iter().flatten().filter(|member| !member.down).count();
        let circle = matches!(upstream.balance, Balance::Hash { consistent: true, .. })
            .then(|| Circle::new(tiers[0].iter().map(|m| (&*m.name, u32::try_from(m.weight).unwrap_or(u32::MAX)))));
        Group {
            tiers: tiers.map(Vec::into_boxed_slice),
            balance: upstream.balance.clone(),
            circle,
            tries: u32::try_from(tries).unwrap_or(u32::MAX),
            shown: bytes::Bytes::copy_from_slice(upstream.name.as_bytes()),
        }
    }

    /// The upstream's name: what `$upstream_addr` shows when no server could be chosen.
    pub fn shown(&self) -> &bytes::Bytes {
        &self.shown
    }

    /// How many tries there can be: one for each address that is not `down`.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Whether it has no member at all (no name has been resolved yet).
    pub fn is_empty(&self) -> bool {
        self.tiers.iter().all(|tier| tier.is_empty())
    }

    /// Members of both tiers, in order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.tiers.iter().flatten()
    }

    /// The member that was picked.
    pub fn member(&self, picked: Picked) -> &Member {
        &self.tiers[picked.tier][picked.index]
    }

    /// A request to `picked` ended. Tells whether this failure disabled the server (nginx warns "upstream server
    /// temporarily disabled"). A server that stands alone is never disabled.
    pub fn ended(&self, picked: Picked, outcome: Outcome, now: Moment) -> bool {
        let member = self.member(picked);
        if self.is_single() {
            member.health.forgive();
            return false;
        }
        let fails = member.health.ended(outcome, now);
        if outcome == Outcome::Fine || member.max_fails == 0 {
            return false;
        }
        let loss = member.weight / i64::from(member.max_fails);
        let _ = member.effective.fetch_update(Relaxed, Relaxed, |weight| Some((weight - loss).max(0)));
        fails >= member.max_fails
    }

    /// Whether one member stands alone, without any backup.
    pub(super) fn is_single(&self) -> bool {
        self.tiers[0].len() == 1 && self.tiers[1].is_empty()
    }

    /// A fresh choice for one request.
    pub fn choice(&self) -> Choice {
        Choice::default()
    }
}

impl Member {
    fn new(server: &UpstreamServer, address: UpstreamAddress, health: Arc<Health>) -> Member {
        let weight = i64::from(server.weight.max(1));
        Member {
            name: server.name.clone(),
            shown: address.to_string().into(),
            address,
            health,
            weight,
            max_conns: server.max_conns,
            max_fails: server.max_fails,
            fail_timeout: server.fail_timeout,
            down: server.down,
            effective: AtomicI64::new(weight),
            current: AtomicI64::new(0),
        }
    }

    /// Whether it is left out at `now`, whatever the algorithm.
    pub(super) fn is_out(&self, now: Moment) -> bool {
        self.down
            || self.health.is_down(self.max_fails, self.fail_timeout, now)
            || (self.max_conns > 0 && self.health.connections() >= self.max_conns)
    }
}
