//! What number does a word mean? nginx's sizes, offsets, times and counts, with its limits. Pure functions.

use std::time::Duration;

/// A count: decimal digits, at most `i64::MAX`.
pub fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| i64::try_from(*n).is_ok())
}

/// Bytes with an optional `k` or `m`.
pub fn size(text: &str) -> Option<u64> {
    match text.as_bytes().last()? {
        b'k' | b'K' => scaled(&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => scaled(&text[..text.len() - 1], 1 << 20),
        _ => number(text),
    }
}

/// Bytes with an optional `k`, `m` or `g`.
pub fn offset(text: &str) -> Option<u64> {
    match text.as_bytes().last()? {
        b'g' | b'G' => scaled(&text[..text.len() - 1], 1 << 30),
        _ => size(text),
    }
}

fn scaled(text: &str, scale: u64) -> Option<u64> {
    number(text)?.checked_mul(scale).filter(|n| i64::try_from(*n).is_ok())
}

/// A time down to milliseconds: `1h30m`, `500ms`, `1d 2h`; plain numbers are seconds. Weeks are the largest unit.
pub fn milliseconds(text: &str) -> Option<Duration> {
    time(text, false).map(Duration::from_millis)
}

/// A time down to seconds, years included.
pub fn seconds(text: &str) -> Option<Duration> {
    time(text, true).map(Duration::from_secs)
}

/// Units from large to small; each may follow only larger ones.
const UNITS: [(&str, u64); 8] =
    [("y", 31_536_000), ("M", 2_592_000), ("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1), ("ms", 0)];

fn time(text: &str, whole_seconds: bool) -> Option<u64> {
    let per_second = if whole_seconds { 1 } else { 1000 };
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = if whole_seconds { None } else { Some(1) };
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let value = if digits == 0 { 0 } else { number(&rest[..digits])? };
        any |= digits > 0;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (scale, step) = match unit(&rest[..letters], whole_seconds) {
            Some((scale, step)) => (scale, step),
            None if letters == 0 && (rest.is_empty() || rest.starts_with(' ')) => (per_second, UNITS.len()),
            None => return None,
        };
        let bare_end = rest.is_empty() && letters == 0;
        let floor = if letters == 0 { 6 } else { step };
        if !bare_end && smallest.is_some_and(|smallest| floor <= smallest) {
            return None;
        }
        smallest = Some(step);
        total = total.checked_add(value.checked_mul(scale)?).filter(|n| i64::try_from(*n).is_ok())?;
        rest = rest[letters..].trim_start_matches(' ');
    }
    any.then_some(total)
}

/// The scale of a unit in the base unit, and its place in the order.
fn unit(letters: &str, whole_seconds: bool) -> Option<(u64, usize)> {
    let step = UNITS.iter().position(|(name, _)| *name == letters)?;
    match (UNITS[step].1, whole_seconds) {
        (0, true) => None,
        (0, false) => Some((1, step)),
        (seconds, true) => Some((seconds, step)),
        (seconds, false) => Some((seconds * 1000, step)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_offsets_differ_only_in_gigabytes() {
        assert_eq!((size("4k"), size("2M"), size("7"), size("1g")), (Some(4096), Some(2 << 20), Some(7), None));
        assert_eq!(offset("3G"), Some(3 << 30));
        for bad in ["", "k", "1.5m", "-1", "1 k", "99999999999999999999", "9223372036854775807k", "1kk"] {
            assert_eq!(offset(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_read_as_nginx_reads_them() {
        let ms = |text| milliseconds(text).map(|d| d.as_millis());
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("60"), Some(60_000));
        assert_eq!(ms("1d 2h"), Some(93_600_000));
        assert_eq!(ms("1m 30"), Some(90_000));
        assert_eq!(ms("1y"), None);
        assert_eq!(ms("1m1h"), None);
        assert_eq!(ms("1M"), None);
        assert_eq!((ms(""), ms("1x"), ms("m")), (None, None, None));
        assert_eq!(seconds("1y").map(|d| d.as_secs()), Some(31_536_000));
        assert_eq!(seconds("500ms"), None);
    }
}
