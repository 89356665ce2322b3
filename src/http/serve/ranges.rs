//! Which bytes of a body leave? One part, or several as `multipart/byteranges`.

use crate::http::answer::{Answer, Turn};
use crate::http::exchange::Exchange;
use crate::http::message::{Body, BodyError, FileBody, Source};
use crate::route::ranges::{Range, Wanted, if_range_holds, parse};
use bytes::Bytes;
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// Cuts the body of `answer` down to the ranges that the client wants. `Err`: 416.
pub(super) fn filter(exchange: &mut Exchange, answer: &mut Answer) -> Result<(), Turn> {
    let Some(length) = answer.content_length.filter(|_| answer.ranges && answer.status == 200) else { return Ok(()) };
    let most = exchange.settings().files.max_ranges;
    if most == Some(0) || !super::filters::has_head(exchange) {
        return Ok(());
    }
    // A body that comes bit by bit passes once: one part at most.
    let most = if matches!(answer.body, Body::Stream(_)) { Some(1) } else { most };
    match wanted(exchange, answer, length, most) {
        Wanted::All => answer.fields.push("Accept-Ranges", "bytes"),
        Wanted::Unsatisfiable => {
            answer.fields.remove("etag");
            answer.fields.push("Content-Range", Bytes::from(format!("bytes */{length}")));
            exchange.carried = std::mem::take(&mut answer.fields);
            return Err(Turn::Status(416));
        }
        Wanted::Parts(parts) => {
            answer.status = 206;
            answer.reason = None;
            exchange.shown.status.set(206);
            match &parts[..] {
                [one] => single(answer, *one, length),
                several => multipart(answer, several, length, exchange.worker.next_number()),
            }
        }
    }
    Ok(())
}

fn wanted(exchange: &Exchange, answer: &Answer, length: u64, most: Option<usize>) -> Wanted {
    let Some(range) = exchange.head.fields.get("range") else { return Wanted::All };
    if let Some(value) = exchange.head.fields.get("if-range") {
        let etag = answer.fields.get("etag").map(|etag| &etag[..]);
        if !if_range_holds(value, answer.last_modified, etag) {
            return Wanted::All;
        }
    }
    parse(range, length, most)
}

fn content_range(range: Range, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end - 1)
}

fn single(answer: &mut Answer, range: Range, length: u64) {
    answer.fields.remove("content-range");
    answer.fields.push("Content-Range", Bytes::from(content_range(range, length)));
    answer.content_length = Some(range.end - range.start);
    answer.body = cut(std::mem::take(&mut answer.body), range);
}

fn cut(body: Body, range: Range) -> Body {
    match body {
        Body::Stream(inner) => {
            Body::Stream(Box::new(Window { inner, skip: range.start, left: range.end - range.start }))
        }
        other => part(&other, range),
    }
}

/// A part of a body that can be read at any place.
fn part(body: &Body, range: Range) -> Body {
    match body {
        Body::Full(bytes) => {
            let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
            Body::Full(bytes.slice(at(range.start)..at(range.end)))
        }
        Body::File(file) => {
            let (offset, length) = (file.offset + range.start, range.end - range.start);
            Body::File(FileBody { file: file.file.clone(), offset, length })
        }
        Body::Empty | Body::Stream(_) => Body::Empty,
    }
}

fn multipart(answer: &mut Answer, parts: &[Range], length: u64, number: u64) {
    let boundary = format!("{number:020}");
    let kind = match &answer.content_type {
        Some(kind) => format!("Content-Type: {}\r\n", String::from_utf8_lossy(kind)),
        None => String::new(),
    };
    let body = std::mem::take(&mut answer.body);
    let mut pieces = VecDeque::with_capacity(parts.len() * 2 + 1);
    for range in parts {
        let head = format!("\r\n--{boundary}\r\n{kind}Content-Range: {}\r\n\r\n", content_range(*range, length));
        pieces.push_back(Body::Full(head.into()));
        pieces.push_back(part(&body, *range));
    }
    pieces.push_back(Body::Full(format!("\r\n--{boundary}--\r\n").into()));
    answer.content_length = pieces.iter().map(Body::length).sum();
    answer.content_type = Some(Bytes::from(format!("multipart/byteranges; boundary={boundary}")));
    answer.fields.remove("content-range");
    answer.body = Body::Stream(Box::new(Pieces(pieces)));
}

/// Bodies one after the other.
struct Pieces(VecDeque<Body>);

impl Source for Pieces {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        while let Some(first) = self.0.front_mut() {
            match first.poll_chunk(cx) {
                Poll::Ready(None) => drop(self.0.pop_front()),
                other => return other,
            }
        }
        Poll::Ready(None)
    }
}

/// Skips the first bytes of a body and ends after some.
struct Window {
    inner: Box<dyn Source>,
    skip: u64,
    left: u64,
}

impl Source for Window {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        while self.left > 0 {
            let mut chunk = match self.inner.poll_chunk(cx) {
                Poll::Ready(Some(Ok(chunk))) => chunk,
                other => return other,
            };
            let skipped = chunk.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            let mut wanted = chunk.split_off(skipped);
            wanted.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= wanted.len() as u64;
            if !wanted.is_empty() {
                return Poll::Ready(Some(Ok(wanted)));
            }
        }
        Poll::Ready(None)
    }

    fn flush_each(&self) -> bool {
        self.inner.flush_each()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Chunks(Vec<Bytes>);
    impl Source for Chunks {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
            Poll::Ready(self.0.pop().map(Ok))
        }
    }

    fn read(mut body: Body) -> String {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(chunk)) = body.poll_chunk(&mut cx) {
            all.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_window_cuts_through_chunks() {
        let stream = || Body::Stream(Box::new(Chunks(vec!["ghi".into(), "def".into(), "abc".into()])));
        for (start, end, expected) in [(0, 9, "abcdefghi"), (2, 7, "cdefg"), (3, 6, "def"), (8, 9, "i"), (0, 1, "a")] {
            assert_eq!(read(cut(stream(), Range { start, end })), expected);
        }
    }

    #[test]
    fn parts_are_framed_as_nginx_frames_them() {
        let mut answer = Answer { content_type: Some("text/plain".into()), ..Answer::default() };
        answer.body = Body::Full("0123456789".into());
        multipart(&mut answer, &[Range { start: 0, end: 2 }, Range { start: 8, end: 10 }], 10, 7);
        let length = answer.content_length.unwrap();
        let text = read(answer.body);
        assert_eq!(text.len() as u64, length);
        assert_eq!(
            text,
            "\r\n--00000000000000000007\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--00000000000000000007\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
             \r\n--00000000000000000007--\r\n"
        );
        assert_eq!(answer.content_type.unwrap(), "multipart/byteranges; boundary=00000000000000000007");
    }
}
