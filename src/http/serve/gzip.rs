//! How is an answer compressed on its way out? Piece by piece, flushed wherever the source asks for it.

use crate::http::answer::Answer;
use crate::http::exchange::Exchange;
use crate::http::message::{Body, BodyError, Source, Version};
use crate::route::gzip::{Facts, Verdict, decide};
use crate::words::Fields;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Compressed bytes that are handed on at once.
const CHUNK: usize = 16 * 1024;

/// Compresses the body of `answer` if `gzip` and the client want it.
pub(super) fn filter(exchange: &Exchange, answer: &mut Answer) {
    let gzip = &exchange.settings().gzip;
    if !gzip.on {
        return;
    }
    let facts = Facts {
        status: answer.status,
        content_type: answer.content_type.as_deref(),
        length: answer.content_length,
        last_modified: answer.last_modified.is_some() || answer.fields.has("last-modified"),
        fields: &answer.fields,
        now: exchange.worker.time().unix(),
    };
    let verdict = decide(gzip, &facts, &exchange.head.fields, exchange.head.version >= Version::Http11);
    answer.vary = gzip.vary && verdict != Verdict::Never;
    if verdict != Verdict::Yes {
        return;
    }
    answer.fields.push("Content-Encoding", "gzip");
    answer.content_length = None;
    answer.ranges = false;
    answer.fields.remove("accept-ranges");
    weaken(&mut answer.fields);
    let inner = std::mem::take(&mut answer.body);
    let encoder = GzEncoder::new(Vec::with_capacity(CHUNK), Compression::new(gzip.level));
    let counted = exchange.shown.compressed.clone();
    answer.body = Body::Stream(Box::new(Gzip { inner, encoder: Some(encoder), counted }));
}

/// A compressed body is another one byte by byte: its ETag becomes weak, or goes if it is none.
fn weaken(fields: &mut Fields) {
    let Some(etag) = fields.get("etag").cloned() else { return };
    if etag.starts_with(b"W/") {
        return;
    }
    if etag.starts_with(b"\"") {
        fields.set("ETag", Bytes::from([b"W/", &etag[..]].concat()));
    } else {
        fields.remove("etag");
    }
}

struct Gzip {
    inner: Body,
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// Bytes in and out, for `$gzip_ratio`.
    counted: Rc<Cell<(u64, u64)>>,
}

impl Gzip {
    fn count(&self, before: usize, after: usize) {
        let (was, is) = self.counted.get();
        self.counted.set((was + before as u64, is + after as u64));
    }

    /// What the encoder has given so far, if it is enough to be handed on.
    fn ready(&mut self, enough: usize) -> Option<Bytes> {
        let out = self.encoder.as_mut()?.get_mut();
        if out.is_empty() || out.len() < enough {
            return None;
        }
        let piece = Bytes::from(std::mem::replace(out, Vec::with_capacity(CHUNK)));
        self.count(0, piece.len());
        Some(piece)
    }

    fn finish(&mut self) -> Option<Result<Bytes, BodyError>> {
        let encoder = self.encoder.take()?;
        let rest = match encoder.finish() {
            Ok(rest) => rest,
            Err(error) => return Some(Err(error.into())),
        };
        self.count(0, rest.len());
        (!rest.is_empty()).then(|| Ok(Bytes::from(rest)))
    }
}

impl Source for Gzip {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        while self.encoder.is_some() {
            let chunk = match self.inner.poll_chunk(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(self.finish()),
                Poll::Ready(Some(Err(error))) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(chunk))) => chunk,
            };
            self.count(chunk.len(), 0);
            let flush = self.flush_each();
            let Some(encoder) = &mut self.encoder else { break };
            let written = encoder.write_all(&chunk).and_then(|()| if flush { encoder.flush() } else { Ok(()) });
            if let Err(error) = written {
                self.encoder = None;
                return Poll::Ready(Some(Err(error.into())));
            }
            if let Some(piece) = self.ready(if flush { 1 } else { CHUNK }) {
                return Poll::Ready(Some(Ok(piece)));
            }
        }
        Poll::Ready(None)
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.inner.trailers()
    }

    fn flush_each(&self) -> bool {
        matches!(&self.inner, Body::Stream(source) if source.flush_each())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    struct Pieces(Vec<Bytes>, bool);
    impl Source for Pieces {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
            Poll::Ready(self.0.pop().map(Ok))
        }
        fn flush_each(&self) -> bool {
            self.1
        }
    }

    fn compress(flush: bool) -> (Vec<Bytes>, (u64, u64)) {
        let inner = Body::Stream(Box::new(Pieces(vec!["world".into(), "hello ".into()], flush)));
        let counted = Rc::default();
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::new(1)));
        let mut body = Body::Stream(Box::new(Gzip { inner, encoder, counted: Rc::clone(&counted) }));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut pieces = Vec::new();
        while let Poll::Ready(Some(piece)) = body.poll_chunk(&mut cx) {
            pieces.push(piece.unwrap());
        }
        (pieces, counted.get())
    }

    #[test]
    fn what_is_flushed_can_be_read_at_once() {
        let (pieces, (before, after)) = compress(true);
        assert_eq!((pieces.len(), before), (3, 11));
        assert_eq!(after, pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
        let mut first = [0; 6];
        flate2::read::GzDecoder::new(&pieces[0][..]).read_exact(&mut first).unwrap();
        assert_eq!(&first, b"hello ");
        let (pieces, _) = compress(false);
        assert_eq!(pieces.len(), 1);
        let mut text = String::new();
        flate2::read::GzDecoder::new(&pieces[0][..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world");
    }
}
