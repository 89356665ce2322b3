//! Does this client do too much? `limit_req` and `limit_conn`, once for each request, before anybody looks at who it is.

use crate::http::answer::Turn;
use crate::http::exchange::Exchange;
use crate::plan::limit::{Limit, Limits};
use crate::plan::log::Level;
use crate::zone::limits::{Said, UnderWay};
use bytes::Bytes;

/// What limits have said to a request.
#[derive(Debug, Default)]
pub struct Limited {
    /// `$limit_req_status`.
    pub requests: Option<&'static str>,
    /// `$limit_conn_status`.
    pub connections: Option<&'static str>,
    /// Lets go when the request has ended.
    under_way: Vec<UnderWay>,
}

/// Checks the limits of the level where the request stands. `Err`: it is refused.
pub(super) async fn check(exchange: &mut Exchange) -> Result<(), Turn> {
    let settings = exchange.settings();
    if settings.limit_requests.is_none() && settings.limit_connections.is_none() {
        return Ok(());
    }
    let (requests, connections) = (settings.limit_requests.clone(), settings.limit_connections.clone());
    if let Some(limits) = requests
        && exchange.limited.as_ref().is_none_or(|limited| limited.requests.is_none())
    {
        self::requests(exchange, &limits).await?;
    }
    match connections {
        Some(limits) if exchange.limited.as_ref().is_none_or(|limited| limited.connections.is_none()) => {
            self::connections(exchange, &limits)
        }
        _ => Ok(()),
    }
}

/// Limits with the keys of this request; those with no key, or one that is too long, do not count.
fn keyed<'l>(exchange: &Exchange, limits: &'l Limits, longest: usize) -> Vec<(&'l Limit, Bytes)> {
    let mut found = Vec::with_capacity(limits.limits.len());
    for limit in &limits.limits {
        let key = exchange.text(&limit.zone.key);
        if key.len() > longest {
            let (name, key) = (&limit.zone.key_text, String::from_utf8_lossy(&key));
            let text = format_args!("the value of the \"{name}\" key is more than {longest} bytes: \"{key}\"");
            exchange.note(Level::Error, text);
        } else if !key.is_empty() {
            found.push((limit, key));
        }
    }
    found
}

async fn requests(exchange: &mut Exchange, limits: &Limits) -> Result<(), Turn> {
    let keyed = keyed(exchange, limits, 65_535);
    if keyed.is_empty() {
        return Ok(());
    }
    let asked: Vec<(&Limit, &[u8])> = keyed.iter().map(|(limit, key)| (*limit, &key[..])).collect();
    let said = exchange.worker.parts.limits.request(&asked, tokio::time::Instant::now());
    let dry = if limits.dry_run { ", dry run" } else { "" };
    let (status, turn) = match said {
        Said::Pass => ("PASSED", Ok(())),
        Said::Wait(time, index, excess) => {
            let zone = &asked[index].0.zone.name;
            let excess = format_args!("{}.{:03}", excess / 1000, excess % 1000);
            let text = format_args!("delaying request{dry}, excess: {excess}, by zone \"{zone}\"");
            exchange.note(limits.delay_level(), text);
            if !limits.dry_run {
                exchange.limited.get_or_insert_default().requests = Some("DELAYED");
                tokio::time::sleep(time).await;
            }
            (if limits.dry_run { "DELAYED_DRY_RUN" } else { "DELAYED" }, Ok(()))
        }
        Said::No(index, excess) => {
            let zone = &asked[index].0.zone.name;
            let excess = format_args!("{}.{:03}", excess / 1000, excess % 1000);
            exchange.note(limits.level, format_args!("limiting requests{dry}, excess: {excess} by zone \"{zone}\""));
            match limits.dry_run {
                true => ("REJECTED_DRY_RUN", Ok(())),
                false => ("REJECTED", Err(Turn::Status(limits.status))),
            }
        }
    };
    exchange.limited.get_or_insert_default().requests = Some(status);
    turn
}

fn connections(exchange: &mut Exchange, limits: &Limits) -> Result<(), Turn> {
    for (limit, key) in keyed(exchange, limits, 255) {
        let under_way = exchange.worker.parts.limits.under_way(limit, &key);
        let dry = if limits.dry_run { ", dry run," } else { "" };
        if under_way.is_none() {
            let zone = &limit.zone.name;
            exchange.note(limits.level, format_args!("limiting connections{dry} by zone \"{zone}\""));
        }
        let limited = exchange.limited.get_or_insert_default();
        match under_way {
            Some(under_way) => {
                limited.connections = Some("PASSED");
                limited.under_way.push(under_way);
            }
            None => {
                limited.under_way.clear();
                limited.connections = Some(if limits.dry_run { "REJECTED_DRY_RUN" } else { "REJECTED" });
                return if limits.dry_run { Ok(()) } else { Err(Turn::Status(limits.status)) };
            }
        }
    }
    Ok(())
}
