//! What happens to a body on its way to the driver? `limit_rate` holds it back, `add_trailer` puts fields behind it.

use crate::http::exchange::Exchange;
use crate::http::message::{Body, BodyError, Source, Version};
use crate::words::Fields;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// Wraps `body` where the settings say so. The length comes back as it is to be announced.
pub(super) fn prepare(exchange: &Exchange, body: Body, length: Option<u64>) -> (Body, Option<u64>) {
    let client = &exchange.settings().client;
    let (mut body, mut length) = (body, length);
    if matches!(body, Body::Empty) || exchange.head.method == "HEAD" {
        return (body, length);
    }
    let rate = exchange.limit_rate.or_else(|| number(&exchange.text(&client.limit_rate))).filter(|rate| *rate > 0);
    if let Some(rate) = rate {
        let after = number(&exchange.text(&client.limit_rate_after)).unwrap_or(0);
        let began = Instant::now();
        body = Body::Stream(Box::new(Throttle { inner: body, rate, after, began, sent: 0, left: None, sleep: None }));
    }
    let trailers = trailers(exchange);
    if !trailers.is_empty() && exchange.head.version >= Version::Http11 && client.chunked {
        *exchange.shown.trailers.borrow_mut() = Some(trailers.clone());
        body = Body::Stream(Box::new(Trailed { inner: body, fields: Some(trailers) }));
        length = None;
    }
    (body, length)
}

/// A size with its unit: `10`, `10k`, `1m`.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let (digits, factor) = match text.split_last()? {
        (b'k' | b'K', digits) => (digits, 1 << 10),
        (b'm' | b'M', digits) => (digits, 1 << 20),
        _ => (text, 1),
    };
    std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?.checked_mul(factor)
}

fn trailers(exchange: &Exchange) -> Fields {
    let mut fields = Fields::default();
    let status = exchange.shown.status.get();
    let safe = matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308);
    for trailer in exchange.settings().headers.trailers.iter().filter(|trailer| safe || trailer.always) {
        let value = exchange.field_text(&trailer.value);
        if !value.is_empty() {
            fields.push(Bytes::copy_from_slice(trailer.name.as_bytes()), value);
        }
    }
    fields
}

/// Trailer fields behind a body.
struct Trailed {
    inner: Body,
    fields: Option<Fields>,
}

impl Source for Trailed {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.inner.poll_chunk(cx)
    }

    fn trailers(&mut self) -> Option<Fields> {
        let (theirs, ours) = (self.inner.trailers(), self.fields.take()?);
        let mut all = theirs.unwrap_or_default();
        ours.iter().for_each(|field| all.push(field.name.clone(), field.value.clone()));
        Some(all)
    }

    fn flush_each(&self) -> bool {
        matches!(&self.inner, Body::Stream(source) if source.flush_each())
    }
}

/// Lets `rate` bytes a second through, the first second's worth and `after` bytes at once, as nginx does.
struct Throttle {
    inner: Body,
    rate: u64,
    after: u64,
    began: Instant,
    sent: u64,
    /// Bytes of a chunk that may not leave yet.
    left: Option<Bytes>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    /// Bytes that may leave now.
    fn allowed(&self) -> u64 {
        let seconds = self.began.elapsed().as_millis().saturating_add(1000);
        let budget = u128::from(self.rate) * seconds / 1000 + u128::from(self.after);
        u64::try_from(budget).unwrap_or(u64::MAX).saturating_sub(self.sent)
    }
}

impl Source for Throttle {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
            }
            let mut chunk = match self.left.take() {
                Some(chunk) => chunk,
                None => match self.inner.poll_chunk(cx) {
                    Poll::Ready(Some(Ok(chunk))) => chunk,
                    other => return other,
                },
            };
            let allowed = usize::try_from(self.allowed()).unwrap_or(usize::MAX);
            if allowed > 0 {
                let rest = chunk.split_off(allowed.min(chunk.len()));
                self.left = Some(rest).filter(|rest| !rest.is_empty());
                self.sent += chunk.len() as u64;
                return Poll::Ready(Some(Ok(chunk)));
            }
            // A tenth of a second's worth, or one byte where that is less.
            let wait = std::time::Duration::from_millis((1000 / self.rate.max(1)).max(100));
            self.left = Some(chunk);
            self.sleep = Some(Box::pin(sleep_until(Instant::now() + wait)));
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.inner.trailers()
    }

    fn flush_each(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_back_body_takes_its_time_and_arrives_whole() {
        let inner = Body::Full(Bytes::from(vec![7; 50_000]));
        let began = Instant::now();
        let throttle = Throttle { inner, rate: 20_000, after: 20_000, began, sent: 0, left: None, sleep: None };
        let mut body = Body::Stream(Box::new(throttle));
        let first = body.chunk().await.unwrap().unwrap();
        assert!((40_000..45_000).contains(&first.len()), "{}", first.len());
        let mut total = first.len();
        while let Some(chunk) = body.chunk().await {
            total += chunk.unwrap().len();
        }
        assert_eq!(total, 50_000);
        let took = began.elapsed().as_millis();
        assert!(took >= 400, "{took}");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!((number(b"10"), number(b"2k"), number(b"1M")), (Some(10), Some(2048), Some(1 << 20)));
        assert_eq!((number(b""), number(b"k"), number(b"x")), (None, None, None));
    }
}
