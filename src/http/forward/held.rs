//! What does a request hold of an upstream while it lasts? Its place among the server's open requests, and the
//! connection's way back to the pool. Both are given back however the request ends.

use super::Forwarder;
use crate::balance::{Group, Health, Moment, Outcome, Picked};
use crate::net::pool::{Connection, Pools, TlsIdentity, UpstreamPool};
use crate::plan::upstream::UpstreamKeepalive;
use crate::zone::upstreams::Upstreams;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// The upstream of one try, for the error log. Put into words only when there is something to say.
#[derive(Clone)]
pub(super) struct Named {
    pub tls: bool,
    pub member: Bytes,
    pub uri: Bytes,
}

impl Named {
    /// `http://127.0.0.1:80/path`.
    pub(super) fn shown(&self) -> Bytes {
        let scheme: &[u8] = if self.tls { b"https://" } else { b"http://" };
        [scheme, &self.member, &self.uri].concat().into()
    }
}

/// A picked server; ends well when dropped.
pub(super) struct Ticket {
    upstreams: Arc<Upstreams>,
    pub group: Arc<Group>,
    pub picked: Picked,
    over: bool,
}

impl Ticket {
    pub(super) fn new(forwarder: &Forwarder, group: Arc<Group>, picked: Picked) -> Ticket {
        Ticket { upstreams: forwarder.upstreams.clone(), group, picked, over: false }
    }

    /// The server failed. Tells whether it is disabled now.
    pub(super) fn failed(mut self) -> bool {
        self.over = true;
        let now = self.upstreams.moment(Instant::now());
        self.group.ended(self.picked, Outcome::Failed, now)
    }

    pub(super) fn health(&self) -> &Arc<Health> {
        &self.group.member(self.picked).health
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.over {
            // When it went well, the time does not matter.
            self.group.ended(self.picked, Outcome::Fine, Moment::default());
        }
    }
}

/// Where a connection goes when its answer has been read to the end.
pub(super) struct WayBack {
    pub pool: Rc<UpstreamPool>,
    pub pools: Rc<Pools>,
    pub to: Arc<Health>,
    pub tls: Option<TlsIdentity>,
    pub limits: UpstreamKeepalive,
}

impl WayBack {
    pub(super) fn keep(self, connection: Connection, now: Instant) {
        self.pool.put(connection, self.to, self.tls, &self.limits, now);
        self.pools.sweep();
        self.pools.shrink(&self.pool);
    }
}
