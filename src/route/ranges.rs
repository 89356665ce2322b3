//! Which bytes does a client want? `Range` and `If-Range` by nginx's rules.

use super::date;

/// Bytes from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

/// What a `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: the field is no range of bytes, asks for too much, or for more than there is in sum.
    All,
    /// These parts, at least one.
    Parts(Vec<Range>),
    /// 416.
    Unsatisfiable,
}

/// Reads `value` (`bytes=0-99,200-`) for a body of `length` bytes; at most `most` parts.
pub fn parse(value: &[u8], length: u64, most: Option<usize>) -> Wanted {
    if value.len() < 7 || !value[..6].eq_ignore_ascii_case(b"bytes=") {
        return Wanted::All;
    }
    let mut parts = Vec::new();
    let mut sum = 0u64;
    for text in value[6..].split(|b| *b == b',') {
        let Some(range) = one(text, length) else { return Wanted::Unsatisfiable };
        if range.start < range.end {
            sum = sum.saturating_add(range.end - range.start);
            if most.is_some_and(|most| parts.len() >= most) {
                return Wanted::All;
            }
            parts.push(range);
        } else if range.start == 0 {
            return Wanted::All;
        }
    }
    match parts.is_empty() {
        true => Wanted::Unsatisfiable,
        false if sum > length => Wanted::All,
        false => Wanted::Parts(parts),
    }
}

/// One `a-b`, `a-` or `-n`; `None`: not of that form.
fn one(text: &[u8], length: u64) -> Option<Range> {
    let text = trim(text);
    if let Some(suffix) = text.strip_prefix(b"-") {
        let last = number(suffix)?;
        return Some(Range { start: length.saturating_sub(last), end: length });
    }
    let dash = text.iter().position(|b| *b == b'-')?;
    let start = number(trim(&text[..dash]))?;
    let end = match trim(&text[dash + 1..]) {
        b"" => length,
        end => number(end)?.saturating_add(1).min(length),
    };
    Some(Range { start, end })
}

fn trim(text: &[u8]) -> &[u8] {
    let from = text.iter().take_while(|b| **b == b' ').count();
    let end = text.iter().rev().take_while(|b| **b == b' ').count();
    text.get(from..text.len() - end).unwrap_or_default()
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok().filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|n| *n <= i64::MAX as u64)
}

/// Whether `If-Range` lets a range through: the strong validators are the same.
pub fn if_range_holds(value: &[u8], modified: Option<i64>, etag: Option<&[u8]>) -> bool {
    if value.len() >= 2 && value.ends_with(b"\"") {
        return etag == Some(value);
    }
    modified.is_some() && date::parse(value) == modified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_nginx_reads_them() {
        let parts = |list: &[(u64, u64)]| {
            Wanted::Parts(list.iter().map(|(start, end)| Range { start: *start, end: *end }).collect())
        };
        let table = [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=0-", parts(&[(0, 100)])),
            ("BYTES=10-19, 90-200", parts(&[(10, 20), (90, 100)])),
            ("bytes=-10", parts(&[(90, 100)])),
            ("bytes=-1000", parts(&[(0, 100)])),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::Unsatisfiable),
            ("bytes=x", Wanted::Unsatisfiable),
            ("bytes=1-2x", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=0-99,0-0", Wanted::All),
            ("items=0-9", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes=0-1,2-3,4-5", Wanted::All),
        ];
        for (text, wanted) in table {
            assert_eq!(parse(text.as_bytes(), 100, Some(2)), wanted, "{text}");
        }
        assert_eq!(parse(b"bytes=0-", 0, None), Wanted::All);
    }

    #[test]
    fn if_range_needs_the_same_validator() {
        assert!(if_range_holds(b"\"a\"", None, Some(b"\"a\"")) && !if_range_holds(b"W/\"a\"", None, Some(b"\"a\"")));
        assert!(if_range_holds(b"Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777), None));
        assert!(!if_range_holds(b"Sun, 06 Nov 1994 08:49:38 GMT", Some(784_111_777), None));
        assert!(!if_range_holds(b"nonsense", None, None));
    }
}
