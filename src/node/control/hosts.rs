//! What becomes of upstreams whose host was not found when the configuration was read? They are looked for again until they
//! are there.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Desk, Said};
use crate::conf::world::World as _;
use crate::node::world::RealWorld;
use crate::plan::Plan;
use crate::plan::upstream::Upstream;

/// Servers of upstreams whose host was not found.
pub(super) fn unresolved(plan: &Plan) -> Vec<(Arc<Upstream>, usize)> {
    let mut found = Vec::new();
    for upstream in plan.http.iter().flat_map(|http| http.upstreams.iter()) {
        let missing = |server: &crate::plan::upstream::UpstreamServer| {
            server.addresses.is_empty() && server.host.is_some() && !server.resolve
        };
        let indexes = (0..upstream.servers.len()).filter(|&at| missing(&upstream.servers[at]));
        found.extend(indexes.map(|at| (upstream.clone(), at)));
    }
    found
}

impl Desk {
    /// Looks once more for hosts that were not found when the configuration was read.
    pub(super) fn resolve_again(&self) {
        for (upstream, index) in self.unresolved.iter().cloned() {
            let Some(say) = self.say.upgrade() else { return };
            let Some((host, _)) = upstream.servers[index].host.clone() else { continue };
            tokio::task::spawn_blocking(move || {
                if let Some(addresses) = (RealWorld { judge_certificates: false }).resolve(&host) {
                    let _ = say.send(Said::Resolved(upstream, index, addresses));
                }
            });
        }
    }

    pub(super) fn resolved(&mut self, upstream: &Arc<Upstream>, index: usize, addresses: Vec<IpAddr>) {
        let before = self.unresolved.len();
        self.unresolved.retain(|(waiting, at)| !(Arc::ptr_eq(waiting, upstream) && *at == index));
        if self.unresolved.len() < before {
            let name = &upstream.servers[index].name;
            tracing::info!(level = "notice", "host of upstream server \"{name}\" has been found");
            self.around.upstreams.resolved(upstream, index, addresses);
        }
    }
}
