//! Why did a request not get its answer from an upstream, whose fault is it, and may it be tried elsewhere?

use crate::h1::{ResponseError, Unsendable};
use crate::http::message::BodyError;
use crate::net::dial::{DialError, errno};
use crate::net::resolver::ResolveError;
use crate::plan::proxy::NextUpstream;
use std::io;

/// Why there is no answer. The text is nginx's line for the error log.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Every server is down, was tried, or has as many requests as it may have. Nothing was sent.
    #[error("no live upstreams while connecting to upstream")]
    NoLiveUpstreams,
    /// We never reached the upstream, so repeating elsewhere is always safe.
    #[error("{0}")]
    Unreachable(#[from] DialError),
    /// The upstream hung up without a word; after a request on a connection that was kept alive, most likely because it
    /// had closed that before.
    #[error("upstream prematurely closed connection while reading response header from upstream")]
    ClosedEarly,
    /// Writing failed. The upstream may have seen a part of the request.
    #[error("writev() failed ({}) while sending request to upstream", errno(.0))]
    SendFailed(io::Error),
    /// Reading failed. The upstream may have acted on the request.
    #[error("recv() failed ({}) while reading response header from upstream", errno(.0))]
    ReadFailed(io::Error),
    /// The upstream took no more of the request (`proxy_send_timeout`).
    #[error("upstream timed out (110: Connection timed out) while sending request to upstream")]
    SendStalled,
    /// The upstream took the request and then went quiet (`proxy_read_timeout`); it may have acted on it.
    #[error("upstream timed out (110: Connection timed out) while reading response header from upstream")]
    ReadStalled,
    /// What came is no answer.
    #[error("{0} while reading response header from upstream")]
    InvalidHead(#[from] ResponseError),
    /// It switches protocols though nobody asked it to.
    #[error("upstream switched protocols without being asked while reading response header from upstream")]
    UnaskedUpgrade,
    /// An answer whose status `proxy_next_upstream` takes for a failure.
    #[error("upstream answered {0}")]
    Status(u16),
    /// A name in `proxy_pass` has no address now.
    #[error("{host} could not be resolved ({why})")]
    Unresolved {
        /// The name.
        host: String,
        /// Why not.
        why: ResolveError,
    },
    /// A name in `proxy_pass` with variables, and no `resolver`.
    #[error("no resolver defined to resolve {0}")]
    NoResolver(String),
    /// `proxy_pass` with variables gave no URL. The configuration's fault.
    #[error("{0}")]
    BadUrl(String),
    /// Nothing to put into the request line. The configuration's fault.
    #[error("zero length URI to proxy")]
    NoUri,
    /// A method or URI that cannot stand in a request line.
    #[error("{0}")]
    Unsendable(#[from] Unsendable),
    /// The client's body failed: its fault, or nobody is left.
    #[error("{0}")]
    Client(BodyError),
}

/// How `proxy_next_upstream` calls a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `error`.
    Error,
    /// `timeout`.
    Timeout,
    /// `invalid_header`.
    InvalidHeader,
    /// `http_NNN`.
    Status(u16),
    /// Not a matter of one upstream: another would do no better.
    Ours,
}

/// What has happened to a request so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoFar {
    /// A byte of it may have been sent.
    pub sent: bool,
    /// Its body is gone (`proxy_request_buffering off`).
    pub unrepeatable: bool,
    /// POST, LOCK or PATCH.
    pub non_idempotent: bool,
    /// Tries that are left.
    pub tries: u32,
    /// `proxy_next_upstream_timeout` has passed.
    pub late: bool,
}

/// What comes after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next server.
    Next,
    /// The client gets this status. 499: nobody is left to read it.
    Answer(u16),
}

impl ForwardError {
    /// The status for the client: nginx's.
    pub fn status(&self) -> u16 {
        match self {
            ForwardError::SendStalled | ForwardError::ReadStalled => 504,
            ForwardError::Unreachable(error) if error.is_timeout() => 504,
            ForwardError::NoLiveUpstreams
            | ForwardError::Unreachable(_)
            | ForwardError::ClosedEarly
            | ForwardError::SendFailed(_)
            | ForwardError::ReadFailed(_)
            | ForwardError::InvalidHead(_)
            | ForwardError::UnaskedUpgrade
            | ForwardError::Unresolved { .. }
            | ForwardError::NoResolver(_) => 502,
            ForwardError::Status(status) => match status {
                403 | 404 | 429 | 500 | 503 | 504 => *status,
                _ => 502,
            },
            ForwardError::BadUrl(_) | ForwardError::NoUri | ForwardError::Unsendable(_) => 500,
            ForwardError::Client(error) => match error {
                // As nginx: 499 is for clients that leave while they wait, not while they send.
                BodyError::Framing | BodyError::ClientGone => 400,
                BodyError::TooLarge => 413,
                BodyError::ClientTimeout => 408,
                BodyError::UpstreamGone => 502,
                BodyError::Io(_) => 500,
            },
        }
    }

    /// How `proxy_next_upstream` calls it.
    pub fn cause(&self) -> Cause {
        match self {
            ForwardError::SendStalled | ForwardError::ReadStalled => Cause::Timeout,
            ForwardError::Unreachable(error) if error.is_timeout() => Cause::Timeout,
            ForwardError::Unreachable(_)
            | ForwardError::ClosedEarly
            | ForwardError::SendFailed(_)
            | ForwardError::ReadFailed(_) => Cause::Error,
            ForwardError::InvalidHead(_) | ForwardError::UnaskedUpgrade => Cause::InvalidHeader,
            ForwardError::Status(status) => Cause::Status(*status),
            ForwardError::NoLiveUpstreams
            | ForwardError::Unresolved { .. }
            | ForwardError::NoResolver(_)
            | ForwardError::BadUrl(_)
            | ForwardError::NoUri
            | ForwardError::Unsendable(_)
            | ForwardError::Client(_) => Cause::Ours,
        }
    }

    /// What comes now.
    pub fn verdict(&self, next: &NextUpstream, so_far: SoFar) -> Verdict {
        if self.cause().is_covered(next) && so_far.may_repeat(next) {
            Verdict::Next
        } else {
            Verdict::Answer(self.status())
        }
    }
}

impl Cause {
    /// Whether `proxy_next_upstream` names it.
    pub fn is_covered(self, next: &NextUpstream) -> bool {
        match self {
            Cause::Error => next.error,
            Cause::Timeout => next.timeout,
            Cause::InvalidHeader => next.invalid_header,
            Cause::Status(status) => next.statuses.contains(&status),
            Cause::Ours => false,
        }
    }

    /// Whether the server is to blame for it (`max_fails`); a 403 or 404 is an answer like any other.
    pub fn counts(self) -> bool {
        match self {
            Cause::Error | Cause::Timeout | Cause::InvalidHeader => true,
            Cause::Status(status) => !matches!(status, 403 | 404),
            Cause::Ours => false,
        }
    }
}

impl SoFar {
    /// Whether the request may go to another server at all.
    pub fn may_repeat(self, next: &NextUpstream) -> bool {
        let harmless = !self.sent || (!self.unrepeatable && (!self.non_idempotent || next.non_idempotent));
        harmless && self.tries > 0 && !self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: SoFar = SoFar { sent: true, unrepeatable: false, non_idempotent: false, tries: 1, late: false };

    #[test]
    fn by_default_errors_and_timeouts_go_on_and_bad_heads_do_not() {
        let next = NextUpstream::default();
        assert_eq!(ForwardError::ClosedEarly.verdict(&next, FRESH), Verdict::Next);
        assert_eq!(ForwardError::ReadStalled.verdict(&next, FRESH), Verdict::Next);
        assert_eq!(ForwardError::InvalidHead(ResponseError::TooBig).verdict(&next, FRESH), Verdict::Answer(502));
        assert_eq!(ForwardError::ReadStalled.verdict(&next, SoFar { tries: 0, ..FRESH }), Verdict::Answer(504));
    }

    #[test]
    fn a_post_that_was_sent_is_not_repeated_unless_non_idempotent_allows_it() {
        let post = SoFar { non_idempotent: true, ..FRESH };
        let mut next = NextUpstream::default();
        assert_eq!(ForwardError::ClosedEarly.verdict(&next, post), Verdict::Answer(502));
        assert_eq!(ForwardError::ClosedEarly.verdict(&next, SoFar { sent: false, ..post }), Verdict::Next);
        next.non_idempotent = true;
        assert_eq!(ForwardError::ClosedEarly.verdict(&next, post), Verdict::Next);
    }

    #[test]
    fn a_body_that_was_streamed_cannot_be_repeated() {
        let gone = SoFar { unrepeatable: true, ..FRESH };
        assert_eq!(ForwardError::ClosedEarly.verdict(&NextUpstream::default(), gone), Verdict::Answer(502));
    }
}
