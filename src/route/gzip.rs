//! Is an answer compressed? By its type, length and status, and by what client and proxies on the way can take.

use super::date;
use crate::plan::gzip::{Gzip, GzipProxied};
use crate::words::Fields;

/// What the decision about an answer needs to know.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `Content-Length`, if known.
    pub length: Option<u64>,
    /// `Last-Modified` is or will be sent.
    pub last_modified: bool,
    /// The other fields of the answer.
    pub fields: &'a Fields,
    /// The present time, seconds.
    pub now: i64,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This kind of answer is never compressed.
    Never,
    /// This kind is, but not for this client: with `gzip_vary` caches are told.
    NotForThisClient,
    /// Compress.
    Yes,
}

/// Decides. `http11`: the client speaks HTTP/1.1 or later.
pub fn decide(gzip: &Gzip, facts: &Facts<'_>, request: &Fields, http11: bool) -> Verdict {
    let kind = gzip.on
        && matches!(facts.status, 200 | 403 | 404)
        && facts.fields.get("content-encoding").is_none_or(|value| value.is_empty())
        && facts.length.is_none_or(|length| length >= gzip.min_length)
        && facts.content_type.is_some_and(|value| type_counts(gzip, value));
    if !kind {
        return Verdict::Never;
    }
    let accepts = request.get("accept-encoding").is_some_and(|value| accepts_gzip(value));
    let client = accepts
        && (http11 || !gzip.http11_only)
        && (!request.has("via") || proxied(gzip.proxied, facts, request))
        && !request.get("user-agent").is_some_and(|agent| gzip.disable.iter().any(|pattern| pattern.is_match(agent)));
    if client { Verdict::Yes } else { Verdict::NotForThisClient }
}

fn type_counts(gzip: &Gzip, value: &[u8]) -> bool {
    let end = value.iter().position(|b| matches!(b, b';' | b' ')).unwrap_or(value.len());
    let bare = &value[..end];
    gzip.types.iter().any(|kind| &**kind == "*" || bare.eq_ignore_ascii_case(kind.as_bytes()))
}

/// Whether `Accept-Encoding` takes gzip: `gzip` or `*`, with a weight above zero.
pub fn accepts_gzip(value: &[u8]) -> bool {
    if value.starts_with(b"gzip,") {
        return true;
    }
    let weight = |name: &[u8]| {
        value.split(|b| *b == b',').find_map(|part| {
            let mut halves = part.splitn(2, |b| *b == b';');
            let coding = halves.next()?.trim_ascii();
            coding.eq_ignore_ascii_case(name).then(|| halves.next().is_none_or(weight_above_zero))
        })
    };
    weight(b"gzip").or_else(|| weight(b"*")).unwrap_or(false)
}

fn weight_above_zero(parameters: &[u8]) -> bool {
    let text = parameters.trim_ascii();
    let Some(number) = text.strip_prefix(b"q=").or_else(|| text.strip_prefix(b"Q=")) else { return false };
    let digits = |b: &u8| b.is_ascii_digit();
    match number {
        [b'1'] => true,
        [b'1', b'.', zeros @ ..] => zeros.len() <= 3 && zeros.iter().all(|b| *b == b'0'),
        [b'0', b'.', rest @ ..] => rest.len() <= 3 && rest.iter().all(digits) && rest.iter().any(|b| *b != b'0'),
        _ => false,
    }
}

/// `gzip_proxied`, for requests with `Via`.
fn proxied(policy: GzipProxied, facts: &Facts<'_>, request: &Fields) -> bool {
    if policy == GzipProxied::default() {
        return false;
    }
    if policy.any || (policy.auth && request.has("authorization")) {
        return true;
    }
    if let Some(expires) = facts.fields.get("expires") {
        let date = facts.fields.get("date").map_or(Some(facts.now), |value| date::parse(value));
        let past = |expires| date.is_some_and(|date| expires < date);
        return policy.expired && date::parse(expires).is_some_and(past);
    }
    if facts.fields.has("cache-control") {
        let says = |word: &str| facts.fields.get_all("cache-control").any(|value| has_word(value, word.as_bytes()));
        return (policy.no_cache && says("no-cache"))
            || (policy.no_store && says("no-store"))
            || (policy.private && says("private"));
    }
    let validated = (policy.no_last_modified && facts.last_modified) || (policy.no_etag && facts.fields.has("etag"));
    !validated
}

fn has_word(value: &[u8], word: &[u8]) -> bool {
    value.split(|b| matches!(b, b',' | b';')).any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_weighed() {
        for yes in ["gzip", "gzip, deflate", "deflate, gzip", "*", "gzip;q=0.5", "br, GZIP; q=1.0", "gzip;q=0.001"] {
            assert!(accepts_gzip(yes.as_bytes()), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip;q=0.000", "gzip;q=2", "*;q=0", "x-gzip", "gzip;q=0, *"] {
            assert!(!accepts_gzip(no.as_bytes()), "{no}");
        }
    }

    fn verdict(
        request: &[(&'static str, &'static str)],
        answer: &[(&'static str, &'static str)],
        gzip: &Gzip,
    ) -> Verdict {
        let mut fields = Fields::default();
        answer.iter().for_each(|(name, value)| fields.push(*name, *value));
        let mut sent = Fields::default();
        request.iter().for_each(|(name, value)| sent.push(*name, *value));
        let content_type = Some(&b"text/html; charset=utf-8"[..]);
        let facts = Facts {
            status: 200,
            content_type,
            length: Some(100),
            last_modified: false,
            fields: &fields,
            now: 784_111_777,
        };
        decide(gzip, &facts, &sent, true)
    }

    #[test]
    fn kind_and_client_are_told_apart() {
        let gzip = Gzip { on: true, ..Gzip::default() };
        let accept = ("Accept-Encoding", "gzip");
        assert_eq!(verdict(&[accept], &[], &gzip), Verdict::Yes);
        assert_eq!(verdict(&[], &[], &gzip), Verdict::NotForThisClient);
        assert_eq!(verdict(&[accept], &[("Content-Encoding", "br")], &gzip), Verdict::Never);
        assert_eq!(verdict(&[accept], &[], &Gzip { min_length: 101, ..gzip.clone() }), Verdict::Never);
        assert_eq!(verdict(&[accept], &[], &Gzip::default()), Verdict::Never);
        assert_eq!(verdict(&[accept, ("Via", "1.1 x")], &[], &gzip), Verdict::NotForThisClient);
        let expired = GzipProxied { expired: true, private: true, ..GzipProxied::default() };
        let gzip = Gzip { proxied: expired, ..gzip };
        let via = [accept, ("Via", "1.1 x")];
        assert_eq!(verdict(&via, &[("Expires", "Sun, 06 Nov 1994 08:49:36 GMT")], &gzip), Verdict::Yes);
        assert_eq!(verdict(&via, &[("Expires", "Sun, 06 Nov 1994 08:49:38 GMT")], &gzip), Verdict::NotForThisClient);
        assert_eq!(verdict(&via, &[("Cache-Control", "max-age=1, private")], &gzip), Verdict::Yes);
        assert_eq!(verdict(&via, &[("Cache-Control", "public")], &gzip), Verdict::NotForThisClient);
    }
}
