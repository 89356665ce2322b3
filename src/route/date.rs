//! Which moment does a date of HTTP mean, and how is one written? (RFC 9110 5.6.7; nginx reads all three forms.)

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds of a day.
const DAY: i64 = 86_400;

/// `Sun, 22 Nov 2026 06:36:47 GMT`. Moments before 1970 or after 9999 are shown as the nearest that fit.
pub fn format(unix: i64) -> [u8; 29] {
    let unix = unix.clamp(0, 253_402_300_799);
    let (days, seconds) = (unix.div_euclid(DAY), unix.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[..3].copy_from_slice(DAYS[usize::try_from(days % 7).unwrap_or(0)].as_bytes());
    two(&mut out[5..7], day);
    out[8..11].copy_from_slice(MONTHS[usize::try_from(month - 1).unwrap_or(0)].as_bytes());
    two(&mut out[12..14], year / 100);
    two(&mut out[14..16], year % 100);
    two(&mut out[17..19], seconds / 3600);
    two(&mut out[20..22], seconds / 60 % 60);
    two(&mut out[23..25], seconds % 60);
    out
}

fn two(out: &mut [u8], number: i64) {
    let digit = |n: i64| b'0' + u8::try_from(n % 10).unwrap_or(0);
    out[0] = digit(number / 10);
    out[1] = digit(number);
}

/// Year, month and day of a day counted from 1970 (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
pub fn parse(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let Some((_, rest)) = text.split_once(',') else { return parse_asctime(text) };
    let rest = rest.trim_start();
    let mut words = rest.split_ascii_whitespace();
    let (day, month, year, time);
    if rest.as_bytes().get(2) == Some(&b'-') {
        let mut date = words.next()?.splitn(3, '-');
        (day, month, year) = (number(date.next()?)?, month_of(date.next()?)?, number(date.next()?)?);
        time = words.next()?;
        return at(if year < 70 { year + 2000 } else { year + 1900 }, month, day, time);
    }
    (day, month, year, time) =
        (number(words.next()?)?, month_of(words.next()?)?, number(words.next()?)?, words.next()?);
    at(year, month, day, time)
}

fn parse_asctime(text: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace().skip(1);
    let (month, day, time) = (month_of(words.next()?)?, number(words.next()?)?, words.next()?);
    at(number(words.next()?)?, month, day, time)
}

fn number(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        None
    } else {
        text.parse().ok()
    }
}

fn month_of(text: &str) -> Option<i64> {
    let at = MONTHS.iter().position(|name| *name == text)?;
    i64::try_from(at + 1).ok()
}

fn at(year: i64, month: i64, day: i64, time: &str) -> Option<i64> {
    let mut parts = time.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let sane = (1..=last).contains(&day) && hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    sane.then(|| days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_mean_the_same_moment() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for bad in ["", "x", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 nov 1994 08:49"]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(&format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&format(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&format(-5), b"Thu, 01 Jan 1970 00:00:00 GMT");
        for unix in (0..4_102_444_800).step_by(86_400 * 13 + 4001) {
            assert_eq!(parse(&format(unix)), Some(unix));
        }
        assert_eq!(&format(1_709_208_000)[..16], b"Thu, 29 Feb 2024");
    }
}
