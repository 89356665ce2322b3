//! How is a peer of the configuration reached? Called until it answers, with growing and jittered pauses; left in peace
//! while it is linked, whoever called; looked up anew each time, so that a name may move.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::plan::fleet::PeerAddress;

use super::identity::NodeId;
use super::link::{self, MEET, Missed};
use super::links::{Call, Inner, Verdict, lock, short, twin};

/// The first pause after a failure; each next one is twice as long.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);
/// A link that ended sooner was none.
const FLEETING: Duration = Duration::from_secs(2);
/// An address that was ours may be another's later.
const OURS: Duration = Duration::from_secs(60);

/// Runs until it is aborted.
pub(super) async fn keep_calling(inner: Arc<Inner>, peer: PeerAddress) {
    let mut changes = inner.changes();
    let mut behind: Option<NodeId> = None;
    let mut times = 0_u32;
    note(&inner, &peer, Call::Calling);
    loop {
        if let Some(node) = behind.filter(|node| inner.is_linked(node)) {
            note(&inner, &peer, Call::Reached(node));
            let since = Instant::now();
            while inner.is_linked(&node) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            // One that ends at once was one too many at the other side.
            times = if since.elapsed() < FLEETING { times.saturating_add(1) } else { 0 };
            sleep(pause(times).mul_f64(0.5 + inner.dice.draw())).await;
            continue;
        }
        let wait = match attempt(&inner, &peer).await {
            Ok(Verdict::Linked(node) | Verdict::Known(node)) => {
                behind = Some(node);
                // The other side may close it as one too many: not in a hurry then.
                FIRST
            }
            Ok(Verdict::Ourselves) => {
                note(&inner, &peer, Call::Ourselves);
                OURS
            }
            Ok(Verdict::Twin) => {
                twin(&peer);
                failed(&inner, &peer, &mut times, "it has the node key of this node".to_owned());
                OURS
            }
            Ok(Verdict::Banned(node)) => {
                failed(&inner, &peer, &mut times, format!("node {} was removed from the fleet", short(&node)));
                LONGEST
            }
            Err(why) => {
                failed(&inner, &peer, &mut times, why.to_string());
                pause(times)
            }
        };
        sleep(wait.mul_f64(0.5 + inner.dice.draw())).await;
    }
}

fn pause(times: u32) -> Duration {
    FIRST.saturating_mul(1 << times.min(6)).min(LONGEST)
}

async fn attempt(inner: &Arc<Inner>, peer: &PeerAddress) -> Result<Verdict, Missed> {
    let looked_up = timeout(MEET, tokio::net::lookup_host((&*peer.host, peer.port))).await;
    let addresses: Vec<SocketAddr> =
        looked_up.map_err(|_| Missed::Slow)?.map_err(Missed::Unreachable)?.take(8).collect();
    let mut missed = Missed::Unreachable(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for at in addresses {
        let keys = inner.keys.load_full();
        match link::call(at, &keys, &inner.me).await {
            Ok(met) => return Ok(inner.welcome(met)),
            Err(why) => missed = why,
        }
    }
    Err(missed)
}

fn note(inner: &Inner, peer: &PeerAddress, call: Call) {
    lock(&inner.calls).insert(peer.clone(), call);
}

fn failed(inner: &Inner, peer: &PeerAddress, times: &mut u32, why: String) {
    *times = times.saturating_add(1);
    let call = Call::Failed { why: why.clone(), times: *times };
    let before = lock(&inner.calls).insert(peer.clone(), call);
    let news = !matches!(before, Some(Call::Failed { why: old, .. }) if old == why);
    if news {
        tracing::warn!("fleet: {peer} cannot be reached: {why}");
    }
}
