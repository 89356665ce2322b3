//! What is answered when something is refused, has failed, or stands elsewhere? An `error_page`, else nginx's own page.

use super::pages;
use crate::http::answer::{Answer, Turn};
use crate::http::exchange::Exchange;
use crate::http::message::{Body, Version};
use crate::plan::location::ErrorPage;
use crate::route::uri::split_args;
use bytes::Bytes;

/// Answers with `status`. `location`: of a redirect. `Err`: an `error_page` leads elsewhere.
pub(super) fn handle(exchange: &mut Exchange, status: u16, location: Option<Bytes>) -> Result<Box<Answer>, Turn> {
    // Nobody is told anything: the client has gone, was too slow, or `return 444` said so.
    if matches!(status, 444 | 499 | 408) {
        exchange.shown.status.set(status);
        return Ok(Box::new(Answer { status: 444, special: true, close: true, ..Answer::default() }));
    }
    exchange.error_status = status;
    exchange.ends_connection |= matches!(status, 400 | 413 | 414 | 495..=497 | 500 | 501);
    let settings = exchange.settings().clone();
    if !exchange.error_page && exchange.changes_left > 0 && !settings.error_pages.is_empty() {
        exchange.error_page = !settings.recursive_error_pages;
        if let Some(page) = settings.error_pages.iter().find(|page| page.status == status) {
            return error_page(exchange, page);
        }
    }
    Ok(page(exchange, status, location))
}

fn error_page(exchange: &mut Exchange, page: &ErrorPage) -> Result<Box<Answer>, Turn> {
    match page.answer {
        Some(None) => exchange.error_status = 0,
        Some(Some(status)) => exchange.error_status = status,
        None => {}
    }
    let target = exchange.text(&page.target);
    match target.first() {
        Some(b'/') => {
            let (path, args) = split_args(&target);
            if exchange.head.method != "HEAD" {
                exchange.head.method = Bytes::from_static(b"GET");
            }
            Err(Turn::Internal(path, args))
        }
        Some(b'@') => Err(Turn::Named(target)),
        _ => {
            if !matches!(page.answer, Some(Some(301 | 302 | 303 | 307 | 308))) {
                exchange.error_status = 302;
            }
            let status = exchange.error_status;
            Ok(self::page(exchange, status, Some(target)))
        }
    }
}

/// nginx's own page. The status that is sent is the exchange's, which an `error_page` may have changed.
fn page(exchange: &mut Exchange, status: u16, location: Option<Bytes>) -> Box<Answer> {
    exchange.error_status = pages::sent_status(exchange.error_status);
    let settings = exchange.settings();
    let padded = settings.msie_padding
        && exchange.head.version >= Version::Http10
        && exchange.head.fields.get("user-agent").is_some_and(|agent| is_padded_browser(agent));
    let body = pages::page(status, &settings.headers.server_tokens, padded);
    let status = exchange.error_status;
    let content_type = body.is_some().then(|| Bytes::from_static(b"text/html"));
    let content_length = Some(body.as_ref().map_or(0, |body| body.len() as u64));
    let body = body.map_or(Body::Empty, Body::Full);
    Box::new(Answer { status, content_type, content_length, location, body, special: true, ..Answer::default() })
}

/// Browsers that replace short error pages by their own, as nginx knows them.
fn is_padded_browser(agent: &[u8]) -> bool {
    let has = |word: &[u8]| agent.windows(word.len()).any(|part| part == word);
    (has(b"MSIE ") && !has(b"Opera")) || has(b"Chrome/")
}
