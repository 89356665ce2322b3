//! How much may still pass? A rate in one number: the moment up to which its share is spent. Lets `count` pass at once and
//! then one every `per / count`.

use std::time::Duration;

use crate::clock::UnixTime;
use crate::plan::limits::Rate;

/// What is spent of a rate. Never looser for a clock that was set, and whole again after `per` at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Microseconds since the epoch.
    spent_until: i64,
}

impl Gauge {
    /// When one more may pass; `None`: now.
    pub fn shut_until(&mut self, rate: Rate, now: UnixTime) -> Option<UnixTime> {
        let (per, now) = (micros(rate.per), now.0.saturating_mul(1000));
        // What a clock that was ahead has noted must not shut it for longer than a whole span.
        self.spent_until = self.spent_until.clamp(now, now.saturating_add(per));
        let opens = self.spent_until.saturating_add(each(rate)).saturating_sub(per);
        (opens > now).then(|| UnixTime(opens.div_euclid(1000) + 1))
    }

    /// Lets one pass, or says when.
    ///
    /// # Errors
    /// Too many did; the moment when the next may.
    pub fn pass(&mut self, rate: Rate, now: UnixTime) -> Result<(), UnixTime> {
        match self.shut_until(rate, now) {
            Some(until) => Err(until),
            None => {
                self.spent_until = self.spent_until.saturating_add(each(rate));
                Ok(())
            }
        }
    }
}

fn each(rate: Rate) -> i64 {
    (micros(rate.per) / i64::from(rate.count.max(1))).max(1)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_twice_the_count_passes_within_a_span_and_the_count_always_does() {
        let rate = Rate { count: 5, per: Duration::from_secs(10) };
        let mut gauge = Gauge::default();
        let start = UnixTime::from_seconds(1_000);
        let passed: Vec<i64> = (0..30_000).filter(|ms| gauge.pass(rate, UnixTime(start.0 + ms)).is_ok()).collect();
        assert_eq!(passed.len(), 5 + 14, "{passed:?}");
        assert_eq!(passed[..5], [0, 1, 2, 3, 4]);
        for at in &passed {
            let within = passed.iter().filter(|other| (*at..*at + 10_000).contains(*other)).count();
            assert!(within <= 10, "{within} from {at} on");
        }
        let mut idle = Gauge::default();
        assert!((0..5).all(|_| idle.pass(rate, start).is_ok()));
        assert_eq!(idle.pass(rate, start), Err(UnixTime(start.0 + 2_001)));
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_it_for_one_span_at_most() {
        let rate = Rate { count: 1, per: Duration::from_secs(10) };
        let mut gauge = Gauge::default();
        gauge.pass(rate, UnixTime::from_seconds(1_000_000)).unwrap();
        let before = UnixTime::from_seconds(1_000);
        assert_eq!(gauge.pass(rate, before), Err(UnixTime(before.0 + 10_001)));
        assert_eq!(gauge.pass(rate, before + Duration::from_secs(9)), Err(UnixTime(before.0 + 10_001)));
        assert!(gauge.pass(rate, before + Duration::from_secs(11)).is_ok());
    }
}
