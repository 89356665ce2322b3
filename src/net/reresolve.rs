//! How does an upstream come to its addresses after the start? A name that did not resolve is asked for again and again,
//! one with `resolve` is asked for as long as its plan lives. What is found goes to `zone`, for all workers.

use super::resolver::Resolvers;
use crate::plan::upstream::Upstream;
use crate::zone::upstreams::Upstreams;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The first wait after a failure; each one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(30);
/// How often a name with `resolve` is looked at; within its TTL the answer comes from memory.
const AGAIN: Duration = Duration::from_secs(5);

/// Watches over the names of `all`: in tasks of this thread that end with the plan.
pub fn watch(resolvers: &Rc<Resolvers>, upstreams: &Arc<Upstreams>, all: &[Arc<Upstream>]) {
    for upstream in all {
        for (index, server) in upstream.servers.iter().enumerate() {
            if server.host.is_some() && (server.resolve || server.addresses.is_empty()) {
                let (resolvers, upstreams) = (resolvers.clone(), upstreams.clone());
                tokio::task::spawn_local(keep(resolvers, upstreams, Arc::downgrade(upstream), index));
            }
        }
    }
}

async fn keep(resolvers: Rc<Resolvers>, upstreams: Arc<Upstreams>, upstream: Weak<Upstream>, index: usize) {
    let mut wait = FIRST;
    loop {
        let Some((host, again)) = upstream.upgrade().and_then(|upstream| {
            let server = upstream.servers.get(index)?;
            Some((server.host.as_ref()?.0.clone(), server.resolve))
        }) else {
            return;
        };
        let found = resolvers.resolve(None, &host).await;
        let Some(alive) = upstream.upgrade() else { return };
        match found {
            Ok(addresses) => {
                upstreams.resolved(&alive, index, addresses);
                if !again {
                    return;
                }
                wait = AGAIN;
            }
            Err(why) => {
                tracing::warn!("{host} in upstream \"{}\" could not be resolved ({why})", alive.name);
                wait = (wait * 2).min(LONGEST);
            }
        }
        drop(alive);
        tokio::time::sleep(wait).await;
    }
}
