//! Do the name servers show a record already? Asks each of them until it does, or until patience ends. A server that
//! cannot be reached from here says nothing, and does not hold anything up for long.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use tokio::time::Instant;

use super::Standing;
use crate::net::dns::{self, Dns, DnsError};

/// The first pause between two rounds; it doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(5);
/// For one question.
const ONE: Duration = Duration::from_secs(3);
/// Rounds after which servers that never answered are no longer waited for.
const UNHEARD: u32 = 3;

/// The servers that answer for the zone of `target`.
pub async fn authorities(dns: &Dns, target: &str) -> Result<Vec<SocketAddr>, DnsError> {
    let zone = dns.zone(&dns::name(target)?).await?;
    dns.authorities(&zone).await
}

/// Waits until every server of `servers` that answers at all shows the record; says which do not.
pub async fn wait(servers: &[SocketAddr], standing: &Standing, patience: Duration) -> Result<(), String> {
    let end = Instant::now() + patience;
    let mut waiting: Vec<(SocketAddr, Option<DnsError>)> = servers.iter().map(|server| (*server, None)).collect();
    let (mut pause, mut round) = (FIRST, 0);
    loop {
        round += 1;
        let mut next = Vec::new();
        let asked: Vec<_> = waiting.iter().map(|(server, _)| shows(*server, standing)).collect();
        for ((server, _), shown) in waiting.into_iter().zip(join(asked).await) {
            match shown {
                Ok(true) => {}
                Ok(false) => next.push((server, None)),
                Err(error) => next.push((server, Some(error))),
            }
        }
        let unheard = |(_, error): &(SocketAddr, Option<DnsError>)| error.as_ref().is_some_and(DnsError::is_from_here);
        // If nobody at all can be reached, the wait is as long as one round of those who can would be: not longer.
        if round >= UNHEARD && next.len() < servers.len() && next.iter().all(unheard) {
            return Ok(());
        }
        if next.is_empty() {
            return Ok(());
        }
        if Instant::now() + pause >= end || (round >= UNHEARD && next.iter().all(unheard)) {
            let told = next.iter().map(|(server, error)| match error {
                Some(error) => error.to_string(),
                None => format!("{server} does not show it"),
            });
            return Err(told.collect::<Vec<_>>().join(", "));
        }
        waiting = next;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SLOWEST);
    }
}

async fn shows(server: SocketAddr, standing: &Standing) -> Result<bool, DnsError> {
    let name = dns::name(&standing.target)?;
    let response = dns::exchange(server, &dns::question(&name, RecordType::TXT, false), ONE).await?;
    Ok(dns::texts(&response.message.answers).contains(&standing.value))
}

/// All of them at once.
async fn join<T: Send + 'static>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
