//! When may the next request go to an authority? Never more than ten in any one second, whatever has gone wrong and
//! however many certificates want something. Pure: the moment is given, the moment at which to send is the answer;
//! `acme::pacing` waits for it. In the order in which they ask, so that a certificate with a hundred names takes its
//! turns as one with a single name does.

use std::collections::VecDeque;
use std::time::Duration;

/// So many requests …
const REQUESTS: usize = 9;
/// … in this time: ten in a second, less what the way there may push together.
const WITHIN: Duration = Duration::from_millis(1250);

/// The requests that one authority gets from this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The moments of the last ones, those still to come included.
    turns: VecDeque<Duration>,
}

impl Pace {
    /// Takes the next turn: the moment at which it may be sent, `now` or later. Moments are counted on a clock that
    /// nobody sets.
    pub fn turn(&mut self, now: Duration) -> Duration {
        let mut at = self.turns.back().map_or(now, |last| now.max(*last));
        if self.turns.len() == REQUESTS
            && let Some(first) = self.turns.pop_front()
        {
            at = at.max(first + WITHIN);
        }
        self.turns.push_back(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn no_second_ever_has_more_than_ten_requests_however_they_come() {
        for step in [0, 1, 7, 60, 90, 111, 139, 250, 1300] {
            let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
            let turns: Vec<Duration> = (0..500)
                .map(|number| {
                    // Gusts with silence between them too.
                    now += ms(if number % 37 == 0 { 2000 } else { step });
                    pace.turn(now)
                })
                .collect();
            assert!(turns.is_sorted());
            for from in &turns {
                // Each a quarter of a second late or not.
                let within = turns.iter().filter(|at| *at >= from && **at < *from + ms(1250)).count();
                assert!(within <= 10, "{within} with {step} ms between them");
            }
        }
    }

    #[test]
    fn few_requests_wait_for_nothing_and_many_get_seven_a_second() {
        let mut pace = Pace::default();
        assert!((0..9).all(|_| pace.turn(ms(5)) == ms(5)));
        assert_eq!(pace.turn(ms(5)), ms(1255));
        assert_eq!(pace.turn(ms(9000)), ms(9000));
        let mut pace = Pace::default();
        let last = (0..3000).map(|_| pace.turn(Duration::ZERO)).last().unwrap();
        // Three hundred orders of ten requests, which the strictest authority allows in three hours.
        assert!(last < Duration::from_secs(420), "{last:?}");
    }
}
