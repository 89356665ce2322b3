//! What time is it, in words? Each form is made once a second for each worker and then shared.

use crate::clock::Clock;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// The forms of the present second.
pub struct Time {
    clock: Arc<dyn Clock>,
    zone: jiff::tz::TimeZone,
    second: Cell<i64>,
    words: RefCell<Words>,
}

#[derive(Default)]
struct Words {
    http: Bytes,
    local: Bytes,
    iso8601: Bytes,
    error: Bytes,
}

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Time").field("second", &self.second).finish_non_exhaustive()
    }
}

impl Time {
    /// Words for the time of `clock`, in the machine's time zone.
    pub fn new(clock: Arc<dyn Clock>) -> Time {
        let zone = jiff::tz::TimeZone::system();
        Time { clock, zone, second: Cell::new(i64::MIN), words: RefCell::default() }
    }

    /// Seconds since 1970.
    pub fn unix(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// `Sun, 22 Nov 2026 06:36:47 GMT`.
    pub fn http(&self) -> Bytes {
        self.fresh(|words| words.http.clone())
    }

    /// `22/Nov/2026:06:36:47 +0000` (`$time_local`).
    pub fn local(&self) -> Bytes {
        self.fresh(|words| words.local.clone())
    }

    /// `2026-11-22T06:36:47+00:00` (`$time_iso8601`).
    pub fn iso8601(&self) -> Bytes {
        self.fresh(|words| words.iso8601.clone())
    }

    /// `2026/11/22 06:36:47`: how lines of the error log begin.
    pub fn error(&self) -> Bytes {
        self.fresh(|words| words.error.clone())
    }

    /// `$date_gmt`.
    pub fn date_gmt(&self) -> Bytes {
        let now = zoned(self.unix(), jiff::tz::TimeZone::UTC);
        Bytes::from(now.strftime("%A, %d-%b-%Y %H:%M:%S GMT").to_string())
    }

    /// `$date_local`.
    pub fn date_local(&self) -> Bytes {
        let now = zoned(self.unix(), self.zone.clone());
        Bytes::from(now.strftime("%A, %d-%b-%Y %H:%M:%S %Z").to_string())
    }

    /// Seconds from UTC to local time at `unix`.
    pub fn offset(&self, unix: i64) -> i64 {
        i64::from(zoned(unix, self.zone.clone()).offset().seconds())
    }

    /// `22-Nov-2026 06:36` for the moment `unix`: how a directory listing shows a file.
    pub fn listing(&self, unix: i64, local: bool) -> String {
        let zone = if local { self.zone.clone() } else { jiff::tz::TimeZone::UTC };
        zoned(unix, zone).strftime("%d-%b-%Y %H:%M").to_string()
    }

    fn fresh<T>(&self, read: impl Fn(&Words) -> T) -> T {
        let unix = self.unix();
        if self.second.replace(unix) != unix {
            let now = zoned(unix, self.zone.clone());
            let word = |format: &str| Bytes::from(now.strftime(format).to_string());
            *self.words.borrow_mut() = Words {
                http: Bytes::copy_from_slice(&crate::route::date::format(unix)),
                local: word("%d/%b/%Y:%H:%M:%S %z"),
                iso8601: word("%Y-%m-%dT%H:%M:%S%:z"),
                error: word("%Y/%m/%d %H:%M:%S"),
            };
        }
        read(&self.words.borrow())
    }
}

fn zoned(unix: i64, zone: jiff::tz::TimeZone) -> jiff::Zoned {
    jiff::Timestamp::from_second(unix).unwrap_or_default().to_zoned(zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{UnixTime, VirtualClock};

    #[test]
    fn words_follow_the_clock() {
        let clock = Arc::new(VirtualClock::default());
        let time = Time::new(clock.clone());
        assert_eq!(time.http(), "Thu, 01 Jan 1970 00:00:00 GMT");
        clock.set(UnixTime::from_seconds(784_111_777));
        assert_eq!(time.http(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(time.date_gmt(), "Sunday, 06-Nov-1994 08:49:37 GMT");
        assert!(time.iso8601().starts_with(b"1994-11-0") && time.local().ends_with(b"00"));
        assert_eq!(time.listing(784_111_777, false), "06-Nov-1994 08:49");
    }
}
