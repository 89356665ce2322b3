//! Has the client what it asks for already? `If-Modified-Since`, `If-None-Match` and their kin, as nginx weighs them.

use super::date;
use crate::plan::files::IfModifiedSince;
use crate::words::Fields;

/// What a conditional request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer as it is.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Weighs the conditions of a request against an answer of status 200 with these validators.
pub fn judge(request: &Fields, modified: Option<i64>, etag: Option<&[u8]>, policy: IfModifiedSince) -> Verdict {
    let Conditions { unmodified_since, matches, modified_since, none_match } = Conditions::of(request);
    if let Some(value) = unmodified_since {
        // A date that cannot be read is older than everything, as nginx's -1 is.
        let since = date::parse(value).unwrap_or(-1);
        if modified.is_none_or(|modified| since < modified) {
            return Verdict::Failed;
        }
    }
    if matches.is_some_and(|list| !etag_in(list, etag, false)) {
        return Verdict::Failed;
    }
    if modified_since.is_none() && none_match.is_none() {
        return Verdict::Send;
    }
    if modified_since.is_some_and(|value| is_modified(value, modified, policy)) {
        return Verdict::Send;
    }
    if none_match.is_some_and(|list| !etag_in(list, etag, true)) {
        return Verdict::Send;
    }
    Verdict::NotModified
}

#[derive(Default)]
struct Conditions<'r> {
    unmodified_since: Option<&'r [u8]>,
    matches: Option<&'r [u8]>,
    modified_since: Option<&'r [u8]>,
    none_match: Option<&'r [u8]>,
}

impl Conditions<'_> {
    /// One look at all fields; most requests have none of these.
    fn of(request: &Fields) -> Conditions<'_> {
        let mut found = Conditions::default();
        for field in
            request.iter().filter(|field| field.name.len() >= 8 && field.name[..3].eq_ignore_ascii_case(b"if-"))
        {
            let place = match field.name.to_ascii_lowercase().as_slice() {
                b"if-unmodified-since" => &mut found.unmodified_since,
                b"if-match" => &mut found.matches,
                b"if-modified-since" => &mut found.modified_since,
                b"if-none-match" => &mut found.none_match,
                _ => continue,
            };
            place.get_or_insert(&field.value);
        }
        found
    }
}

fn is_modified(value: &[u8], modified: Option<i64>, policy: IfModifiedSince) -> bool {
    let Some(modified) = modified.filter(|_| policy != IfModifiedSince::Off) else { return true };
    let since = date::parse(value).unwrap_or(-1);
    since != modified && (policy == IfModifiedSince::Exact || since < modified)
}

/// Whether `etag` stands in `list` (`"a", W/"b"` or `*`); `weak`: `W/` makes no difference.
fn etag_in(list: &[u8], etag: Option<&[u8]>, weak: bool) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    let bare = |tag: &[u8]| if weak { tag.strip_prefix(b"W/").unwrap_or(tag).to_vec() } else { tag.to_vec() };
    let etag = bare(etag);
    list.split(|b| *b == b',').any(|tag| bare(tag.trim_ascii()) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const AT: Option<i64> = Some(784_111_777);

    fn ask(fields: &[(&'static str, &'static str)], policy: IfModifiedSince) -> Verdict {
        let mut request = Fields::default();
        for (name, value) in fields {
            request.push(*name, *value);
        }
        judge(&request, AT, Some(b"\"v1\""), policy)
    }

    #[test]
    fn both_conditions_must_say_not_modified() {
        use IfModifiedSince::*;
        use Verdict::*;
        type Row = (&'static [(&'static str, &'static str)], IfModifiedSince, Verdict);
        let table: &[Row] = &[
            (&[], Exact, Send),
            (&[("If-Modified-Since", DATE)], Exact, NotModified),
            (&[("If-Modified-Since", LATER)], Exact, Send),
            (&[("If-Modified-Since", LATER)], Before, NotModified),
            (&[("If-Modified-Since", DATE)], Off, Send),
            (&[("If-Modified-Since", "nonsense")], Before, Send),
            (&[("if-none-match", "W/\"v1\"")], Exact, NotModified),
            (&[("If-None-Match", "\"v0\", \"v1\"")], Exact, NotModified),
            (&[("If-None-Match", "\"v0\"")], Exact, Send),
            (&[("If-None-Match", "*")], Exact, NotModified),
            (&[("If-None-Match", "\"v0\""), ("If-Modified-Since", DATE)], Exact, Send),
            (&[("If-Match", "\"v0\"")], Exact, Failed),
            (&[("If-Match", "W/\"v1\"")], Exact, Failed),
            (&[("If-Match", "\"v1\"")], Exact, Send),
            (&[("If-Unmodified-Since", DATE)], Exact, Send),
            (&[("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")], Exact, Failed),
        ];
        for (fields, policy, verdict) in table {
            assert_eq!(ask(fields, *policy), *verdict, "{fields:?} {policy:?}");
        }
        let mut request = Fields::default();
        request.push("If-Unmodified-Since", LATER);
        assert_eq!(judge(&request, None, None, Exact), Failed);
    }
}
