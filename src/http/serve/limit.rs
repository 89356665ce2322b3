//! Is the body longer than `client_max_body_size`? Announced lengths are refused before anything is read; bodies that
//! come without one are counted here while they are read.

use crate::http::message::{Body, BodyError, Source};
use crate::words::Fields;
use bytes::Bytes;
use std::task::{Context, Poll};
use std::time::Duration;

/// Watches `body`, if its length was not announced. `most`: bytes; 0 is no limit.
pub fn limit_body(body: Body, announced: Option<u64>, most: u64) -> Body {
    match body {
        Body::Stream(inner) if announced.is_none() && most > 0 => Body::Stream(Box::new(Limited { inner, left: most })),
        other => other,
    }
}

struct Limited {
    inner: Box<dyn Source>,
    left: u64,
}

impl Source for Limited {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let polled = self.inner.poll_chunk(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            match self.left.checked_sub(chunk.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLarge))),
            }
        }
        polled
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.inner.trailers()
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.inner.set_timeout(timeout);
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

    fn read(most: u64) -> Vec<bool> {
        let mut body = limit_body(Body::Stream(Box::new(Chunks(vec!["defgh".into(), "abc".into()]))), None, most);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(piece)) = body.poll_chunk(&mut cx) {
            all.push(piece.is_ok());
            if !all[all.len() - 1] {
                break;
            }
        }
        all
    }

    #[test]
    fn a_body_without_length_is_counted_while_it_is_read() {
        assert_eq!(read(8), [true, true]);
        assert_eq!(read(7), [true, false]);
        assert_eq!(read(0), [true, true]);
    }
}
