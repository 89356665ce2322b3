//! In which order is a request looked at? nginx's phases: server rewrite, location, rewrite, access, try_files, content;
//! then error pages and internal redirects, which begin again. Filters and log come after.

use super::{access, content, filters, limits, special, try_files};
use crate::http::answer::{Answer, Turn};
use crate::http::exchange::Exchange;
use crate::plan::location::LocationKind;
use crate::plan::log::Level;
use crate::route::escape::{Escape, escape};
use crate::route::locations;
use crate::route::script::{self, Ended};
use crate::zone::challenges::{self, Phase};
use bytes::Bytes;

/// Where a round of phases begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// At the server's rewrite directives.
    Server,
    /// At the rewrite directives of the location where the request stands (named locations).
    Location,
}

/// Answers a request: rounds of phases until there is an answer.
pub(super) async fn answer(exchange: &mut Exchange) -> Box<Answer> {
    if exchange.head.target.starts_with(challenges::HTTP01_PATH.as_bytes()) {
        look_elsewhere(exchange).await;
        if let Some(answer) = challenge(exchange, Phase::BeforeLocation) {
            return answer;
        }
    }
    exchange.find_client();
    let answer = rounds(exchange, Ok(Entry::Server)).await;
    let failed = answer.status == 404 || (500..600).contains(&answer.status);
    if failed && let Some(answer) = challenge(exchange, Phase::AfterUpstream404) {
        exchange.shown.status.set(200);
        return answer;
    }
    answer
}

/// As [`answer`], for a request that has failed before any phase.
pub(super) async fn refused(exchange: &mut Exchange, status: u16) -> Box<Answer> {
    rounds(exchange, Err(Turn::Status(status))).await
}

async fn rounds(exchange: &mut Exchange, begin: Result<Entry, Turn>) -> Box<Answer> {
    let mut next = begin;
    loop {
        let answered = match next {
            Ok(entry) => round(exchange, entry).await,
            Err(Turn::Status(status)) => special::handle(exchange, status, None),
            Err(Turn::Redirect(status, location)) => special::handle(exchange, status, Some(location)),
            Err(turn) => {
                next = follow(exchange, turn);
                continue;
            }
        };
        match answered.and_then(|answer| filters::apply(exchange, answer)) {
            Ok(answer) => return answer,
            Err(turn) => next = Err(turn),
        }
    }
}

/// Makes an internal redirect. `Err`: the request has gone round too often, or the location is missing.
fn follow(exchange: &mut Exchange, turn: Turn) -> Result<Entry, Turn> {
    let (path, args, name) = match turn {
        Turn::Internal(path, args) => (path, args, None),
        Turn::Named(name) => (exchange.uri.clone(), exchange.args.clone(), Some(name)),
        other => return Err(other),
    };
    exchange.changes_left = exchange.changes_left.saturating_sub(1);
    if exchange.changes_left == 0 {
        let (how, to) = match &name {
            Some(name) => ("while redirect to named location", name),
            None => ("while internally redirecting to", &path),
        };
        let to = String::from_utf8_lossy(to);
        exchange.note(Level::Error, format_args!("rewrite or internal redirection cycle {how} \"{to}\""));
        return Err(Turn::Status(500));
    }
    exchange.internal = true;
    exchange.upstream.redirected();
    let Some(name) = name else {
        (exchange.uri, exchange.args) = (path, args);
        exchange.valid_unparsed_uri = false;
        exchange.add_uri_to_alias = false;
        exchange.valid_location = true;
        exchange.stand_at_server();
        return Ok(Entry::Server);
    };
    let found = exchange.server().and_then(|server| server.locations.named(&name).cloned());
    let Some(location) = found else {
        let name = String::from_utf8_lossy(&name);
        exchange.note(Level::Error, format_args!("could not find named location \"{name}\""));
        return Err(Turn::Status(500));
    };
    exchange.uri_changed = false;
    exchange.stand_in(location);
    Ok(Entry::Location)
}

async fn round(exchange: &mut Exchange, entry: Entry) -> Result<Box<Answer>, Turn> {
    if entry == Entry::Server
        && let Some(answer) = rewrite(exchange)?
    {
        return Ok(answer);
    }
    let mut entry = entry;
    loop {
        if entry == Entry::Server {
            find_location(exchange)?;
        }
        let at_server = exchange.location().is_none_or(|location| location.kind == LocationKind::Server);
        if !at_server && let Some(answer) = rewrite(exchange)? {
            return Ok(answer);
        }
        if !std::mem::take(&mut exchange.uri_changed) {
            break;
        }
        exchange.changes_left = exchange.changes_left.saturating_sub(1);
        if exchange.changes_left == 0 {
            let uri = String::from_utf8_lossy(&exchange.uri).into_owned();
            let text = format_args!("rewrite or internal redirection cycle while processing \"{uri}\"");
            exchange.note(Level::Error, text);
            return Err(Turn::Status(500));
        }
        exchange.stand_at_server();
        entry = Entry::Server;
    }
    exchange.find_client();
    limits::check(exchange).await?;
    access::check(exchange).await?;
    try_files::choose(exchange)?;
    content::answer(exchange).await
}

/// Runs the rewrite directives of the level where the request stands.
fn rewrite(exchange: &mut Exchange) -> Result<Option<Box<Answer>>, Turn> {
    let Some(location) = exchange.location().filter(|location| !location.script.is_empty()).cloned() else {
        return Ok(None);
    };
    match script::run(&location.script, exchange) {
        Ended::Through => Ok(None),
        Ended::Status(status) => Err(Turn::Status(status)),
        Ended::Redirect(status, to) => Err(Turn::Redirect(status, to)),
        Ended::Text(status @ (301 | 302 | 303 | 307 | 308), to) => Err(Turn::Redirect(status, to)),
        // nginx closes the connection whatever text stands behind 444.
        Ended::Text(444, _) => Err(Turn::Status(444)),
        Ended::Text(status, text) => Ok(Some(content::text(exchange, status, text))),
    }
}

/// Looks for the location of the URI and moves the request there.
fn find_location(exchange: &mut Exchange) -> Result<(), Turn> {
    exchange.uri_changed = false;
    let Some(server) = exchange.server().cloned() else { return Err(Turn::Status(500)) };
    let uri = exchange.uri.clone();
    let found = locations::find(&server.locations, &uri);
    for (location, spans) in found.captures {
        if let LocationKind::Regex(_, names) = &location.kind {
            exchange.set_captures(&uri, spans, names);
        }
    }
    let location = found.location.unwrap_or(&server.root).clone();
    if location.internal && !exchange.internal {
        return Err(Turn::Status(404));
    }
    let redirect = found.add_slash.then(|| escape(&Bytes::copy_from_slice(location.name.as_bytes()), Escape::Uri));
    exchange.stand_in(location);
    let most = exchange.settings().client.max_body;
    if let Some(length) = exchange.head.content_length.filter(|length| most > 0 && *length > most) {
        let text = format_args!("client intended to send too large body: {length} bytes");
        exchange.note(Level::Error, text);
        return Err(Turn::Status(413));
    }
    match redirect {
        None => Ok(()),
        Some(to) if exchange.args.is_empty() => Err(Turn::Redirect(301, to)),
        Some(to) => Err(Turn::Redirect(301, [&to[..], b"?", &exchange.args].concat().into())),
    }
}

/// An authority may look at a node that was not told of a challenge: then another one knows.
async fn look_elsewhere(exchange: &Exchange) {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).unwrap_or_default();
    let (path, host) = (text(&exchange.head.target), text(exchange.head.host.as_deref().unwrap_or_default()));
    exchange.worker.parts.challenges.look_elsewhere(&path, &host).await;
}

/// The answer to a certificate authority that has come to look.
fn challenge(exchange: &Exchange, phase: Phase) -> Option<Box<Answer>> {
    let path = std::str::from_utf8(&exchange.head.target).ok()?;
    if !path.starts_with(challenges::HTTP01_PATH) {
        return None;
    }
    let method = std::str::from_utf8(&exchange.head.method).ok()?;
    let host = std::str::from_utf8(exchange.head.host.as_deref().unwrap_or_default()).ok()?;
    let found = exchange.worker.parts.challenges.answer(method, path, host, phase)?;
    let length = Some(found.body.len() as u64);
    let mut answer = Box::new(Answer { status: 200, content_length: length, ..Answer::default() });
    for (name, value) in challenges::Answer::FIELDS {
        match name {
            "Content-Type" => answer.content_type = Some(Bytes::from_static(value.as_bytes())),
            name => answer.fields.push(name, value),
        }
    }
    answer.body = crate::http::message::Body::Full(found.body);
    answer.bare = true;
    Some(answer)
}
