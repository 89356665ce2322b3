//! Who answers? The one handler of the location: an upstream, `stub_status`, else index, autoindex, static files.

use super::{autoindex, files, index};
use crate::http::answer::{Answer, Turn};
use crate::http::exchange::Exchange;
use crate::http::message::Body;
use crate::plan::location::Handler;
use crate::plan::log::Level;
use crate::route::uri::extension;
use bytes::Bytes;

/// Answers by the location's handler.
pub(super) async fn answer(exchange: &mut Exchange) -> Result<Box<Answer>, Turn> {
    match exchange.location().map(|location| location.handler.clone()) {
        Some(Handler::Proxy(proxy)) => {
            let forwarder = exchange.worker.forwarder.clone();
            forwarder.forward(exchange, &proxy).await
        }
        Some(Handler::StubStatus) => stub_status(exchange),
        Some(Handler::Static) | None => from_files(exchange),
    }
}

fn from_files(exchange: &mut Exchange) -> Result<Box<Answer>, Turn> {
    if !exchange.uri.ends_with(b"/") {
        return files::answer(exchange);
    }
    if matches!(&exchange.head.method[..], b"GET" | b"HEAD" | b"POST") {
        index::choose(exchange)?;
    }
    let settings = exchange.settings();
    if settings.files.autoindex && matches!(&exchange.head.method[..], b"GET" | b"HEAD") {
        return autoindex::answer(exchange);
    }
    if !matches!(&exchange.head.method[..], b"GET" | b"HEAD" | b"POST") {
        return Err(Turn::Status(405));
    }
    let path = exchange.file_path().unwrap_or_default();
    let path = String::from_utf8_lossy(&path);
    exchange.note(Level::Error, format_args!("directory index of \"{path}\" is forbidden"));
    Err(Turn::Status(403))
}

/// A `return` with a text.
pub(super) fn text(exchange: &Exchange, status: u16, text: Bytes) -> Box<Answer> {
    let content_type = Some(media_type(exchange));
    let content_length = Some(text.len() as u64);
    let body = if text.is_empty() { Body::Empty } else { Body::Full(text) };
    Box::new(Answer { status, content_type, content_length, body, ..Answer::default() })
}

/// `Content-Type` by the extension of the URI.
pub(super) fn media_type(exchange: &Exchange) -> Bytes {
    let files = &exchange.settings().files;
    let known = extension(&exchange.uri).filter(|extension| !extension.is_empty()).and_then(|extension| {
        let text = std::str::from_utf8(extension).ok()?;
        match files.types.get(text) {
            None if text.bytes().any(|b| b.is_ascii_uppercase()) => files.types.get(&*text.to_ascii_lowercase()),
            found => found,
        }
    });
    Bytes::copy_from_slice(known.unwrap_or(&files.default_type).as_bytes())
}

/// `stub_status`.
fn stub_status(exchange: &Exchange) -> Result<Box<Answer>, Turn> {
    if !matches!(&exchange.head.method[..], b"GET" | b"HEAD") {
        return Err(Turn::Status(405));
    }
    let now = exchange.worker.connections();
    let text = format!(
        "Active connections: {} \nserver accepts handled requests\n {} {} {} \nReading: {} Writing: {} Waiting: {} \n",
        now.active, now.accepted, now.handled, now.requests, now.reading, now.writing, now.waiting
    );
    let content_type = Some(Bytes::from_static(b"text/plain"));
    let content_length = Some(text.len() as u64);
    let body = Body::Full(text.into());
    Ok(Box::new(Answer { status: 200, content_type, content_length, body, ..Answer::default() }))
}
