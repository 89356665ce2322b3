//! Until when may an answer be kept? `expires` → the values of `Expires` and `Cache-Control`.

use super::date;
use crate::plan::headers::Expires;
use bytes::Bytes;
use std::time::Duration;

/// What is known when the values are made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The present time, seconds.
    pub now: i64,
    /// When the content was changed.
    pub modified: Option<i64>,
    /// Seconds from UTC to local time, for `@time`.
    pub offset: i64,
}

/// The values of `Expires` and `Cache-Control`; `None`: nothing is touched.
pub fn values(expires: &Expires, moment: Moment) -> Option<(Bytes, Bytes)> {
    let (until, age, negative) = match expires {
        Expires::Off | Expires::Template { .. } => return None,
        Expires::Epoch => return Some(("Thu, 01 Jan 1970 00:00:01 GMT".into(), "no-cache".into())),
        Expires::Max => return Some(("Thu, 31 Dec 2037 23:55:55 GMT".into(), "max-age=315360000".into())),
        Expires::Access(0) | Expires::Modified(0) => (moment.now, 0, false),
        Expires::Access(span) => (moment.now + span, *span, *span < 0),
        Expires::Modified(span) => match moment.modified {
            Some(modified) => (modified + span, modified + span - moment.now, *span < 0),
            None => (moment.now + span, *span, *span < 0),
        },
        Expires::Daily(time) => {
            let until = next_daily(*time, moment);
            (until, until - moment.now, false)
        }
    };
    let cache = if negative || age < 0 { "no-cache".into() } else { Bytes::from(format!("max-age={age}")) };
    Some((Bytes::copy_from_slice(&date::format(until)), cache))
}

/// The next moment at which the local clock shows `time`.
fn next_daily(time: Duration, moment: Moment) -> i64 {
    let local = moment.now + moment.offset;
    let today = local - local.rem_euclid(86_400) + i64::try_from(time.as_secs()).unwrap_or(0);
    let next = if today > local { today } else { today + 86_400 };
    next - moment.offset
}

/// Reads the value of an `expires` with variables. `None`: it means nothing, or `off`.
pub fn parse(text: &[u8], modified: bool) -> Option<Expires> {
    let text = std::str::from_utf8(text).ok()?;
    match text {
        "epoch" if !modified => return Some(Expires::Epoch),
        "max" if !modified => return Some(Expires::Max),
        "off" if !modified => return None,
        _ => {}
    }
    if let Some(time) = text.strip_prefix('@') {
        let time = seconds(time).filter(|s| !modified && *s <= 86_400)?;
        return Some(Expires::Daily(Duration::from_secs(u64::try_from(time).ok()?)));
    }
    let span = match text.strip_prefix('-') {
        Some(rest) => -seconds(rest)?,
        None => seconds(text.strip_prefix('+').unwrap_or(text))?,
    };
    Some(if modified { Expires::Modified(span) } else { Expires::Access(span) })
}

/// `1h30m` in seconds; units from great to small, seconds without one.
fn seconds(text: &str) -> Option<i64> {
    const UNITS: [(char, i64); 7] =
        [('y', 31_536_000), ('M', 2_592_000), ('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
    let (mut total, mut smallest, mut rest) = (0i64, 0, text);
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let (index, factor) = match after.next() {
            None => (6, 1),
            Some(unit) => UNITS.iter().enumerate().find(|(_, u)| u.0 == unit).map(|(at, u)| (at, u.1))?,
        };
        if index < smallest {
            return None;
        }
        smallest = index + 1;
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = after.as_str().trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expires: Expires) -> Option<(String, String)> {
        let moment = Moment { now: 784_111_777, modified: Some(784_111_000), offset: 3600 };
        let (until, cache) = values(&expires, moment)?;
        Some((String::from_utf8(until.to_vec()).unwrap(), String::from_utf8(cache.to_vec()).unwrap()))
    }

    #[test]
    fn each_form_gives_both_fields() {
        let table = [
            (Expires::Access(60), "Sun, 06 Nov 1994 08:50:37 GMT", "max-age=60"),
            (Expires::Access(0), "Sun, 06 Nov 1994 08:49:37 GMT", "max-age=0"),
            (Expires::Access(-1), "Sun, 06 Nov 1994 08:49:36 GMT", "no-cache"),
            (Expires::Modified(1000), "Sun, 06 Nov 1994 08:53:20 GMT", "max-age=223"),
            (Expires::Modified(10), "Sun, 06 Nov 1994 08:36:50 GMT", "no-cache"),
            (Expires::Epoch, "Thu, 01 Jan 1970 00:00:01 GMT", "no-cache"),
            (Expires::Max, "Thu, 31 Dec 2037 23:55:55 GMT", "max-age=315360000"),
            (Expires::Daily(Duration::from_secs(10 * 3600)), "Sun, 06 Nov 1994 09:00:00 GMT", "max-age=623"),
            (Expires::Daily(Duration::from_secs(9 * 3600)), "Mon, 07 Nov 1994 08:00:00 GMT", "max-age=83423"),
        ];
        for (expires, until, cache) in table {
            assert_eq!(shown(expires.clone()), Some((until.into(), cache.into())), "{expires:?}");
        }
        assert_eq!(shown(Expires::Off), None);
    }

    #[test]
    fn values_with_variables_are_read_at_run_time() {
        assert_eq!(parse(b"1h30m", false), Some(Expires::Access(5400)));
        assert_eq!(parse(b"-1", false), Some(Expires::Access(-1)));
        assert_eq!(parse(b"+2d", true), Some(Expires::Modified(172_800)));
        assert_eq!(parse(b"@15h", false), Some(Expires::Daily(Duration::from_secs(54_000))));
        assert_eq!(parse(b"max", false), Some(Expires::Max));
        for nothing in ["off", "", "x", "1m1h", "@25h", "10q"] {
            assert_eq!(parse(nothing.as_bytes(), false), None, "{nothing}");
        }
    }
}
