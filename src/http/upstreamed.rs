//! What did upstreams do for a request? The facts behind `$upstream_…`, filled in by `forward` and by the body that it
//! returns; one entry for each server that was tried.

use crate::plan::log::Level;
use crate::words::Fields;
use bytes::Bytes;
use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

/// Everything that upstreams did for one request.
#[derive(Debug, Default)]
pub struct Upstreamed {
    /// One for each server that was tried, in order.
    pub tries: RefCell<Vec<Try>>,
    /// Header fields of the last answer (`$upstream_http_…`, `$upstream_cookie_…`). Filled in only where a variable of
    /// the plan may ask for them, or always; as it is cheaper.
    pub fields: RefCell<Option<Fields>>,
    /// Its trailers, with `proxy_pass_trailers` (`$upstream_trailer_…`).
    pub trailers: RefCell<Option<Fields>>,
    /// Those of them that the client sees.
    pub passed_trailers: RefCell<Option<Fields>>,
    /// What is to be written to the error log: failures are met where nobody knows the request's context.
    pub complaints: RefCell<Vec<Complaint>>,
}

/// A line for the error log.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// How bad it is.
    pub level: Level,
    /// What happened, in nginx's words.
    pub text: String,
    /// The upstream: `http://127.0.0.1:80/path`.
    pub upstream: Bytes,
}

/// One try.
#[derive(Clone, Debug, Default)]
pub struct Try {
    /// `$upstream_addr`: `127.0.0.1:80`, `unix:/path`, or the upstream's name when none was live.
    pub address: Bytes,
    /// `$upstream_status`; 0: no answer came.
    pub status: u16,
    /// `$upstream_connect_time`.
    pub connect_time: Option<Duration>,
    /// `$upstream_header_time`.
    pub header_time: Option<Duration>,
    /// `$upstream_response_time`.
    pub response_time: Option<Duration>,
    /// `$upstream_response_length`: bytes of the body.
    pub response_length: u64,
    /// `$upstream_bytes_received`.
    pub bytes_received: u64,
    /// `$upstream_bytes_sent`.
    pub bytes_sent: u64,
    /// An internal redirect followed this try: ` : ` comes before the next instead of `, `.
    pub redirected: bool,
}

impl Upstreamed {
    /// Changes the facts of the last try.
    pub fn last(&self, change: impl FnOnce(&mut Try)) {
        if let Some(last) = self.tries.borrow_mut().last_mut() {
            change(last);
        }
    }

    /// Remembers a line for the error log.
    pub fn complain(&self, level: Level, text: String, upstream: &Bytes) {
        self.complaints.borrow_mut().push(Complaint { level, text, upstream: upstream.clone() });
    }

    /// Begins a try.
    pub fn begin(&self, address: Bytes) {
        self.tries.borrow_mut().push(Try { address, ..Try::default() });
    }

    /// Marks that an internal redirect followed.
    pub fn redirected(&self) {
        self.last(|last| last.redirected = true);
    }

    /// Writes one fact of every try behind `out`, as nginx separates them; tells whether there was a try.
    pub fn append(&self, out: &mut Vec<u8>, mut one: impl FnMut(&Try, &mut Vec<u8>)) -> bool {
        let tries = self.tries.borrow();
        let mut separator: &[u8] = b"";
        for fact in tries.iter() {
            out.extend_from_slice(separator);
            one(fact, out);
            separator = if fact.redirected { b" : " } else { b", " };
        }
        !tries.is_empty()
    }
}

/// Seconds with milliseconds, `-` if not known: nginx's form of upstream times.
pub fn append_time(time: Option<Duration>, out: &mut Vec<u8>) {
    match time {
        Some(time) => drop(write!(out, "{}.{:03}", time.as_secs(), time.subsec_millis())),
        None => out.push(b'-'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_separated_by_comma_and_redirects_by_colon() {
        let facts = Upstreamed::default();
        let mut out = Vec::new();
        assert!(!facts.append(&mut out, |_, _| ()));
        facts.begin("a:1".into());
        facts.last(|t| t.response_time = Some(Duration::from_millis(1005)));
        facts.redirected();
        facts.begin("b:2".into());
        facts.begin("c:3".into());
        assert!(facts.append(&mut out, |t, out| append_time(t.response_time, out)));
        assert_eq!(out, b"1.005 : -, -");
    }
}
