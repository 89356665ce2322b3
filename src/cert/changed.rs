//! What shall be done with a pair of files that changed? A pair is written one file after the other, and often not at
//! once: what does not fit is looked at again for a while before it is refused by name; what is served stays meanwhile.
//! Pure: the watcher reports, `node` asks, `tls` reads and swaps.

use std::time::Duration;

use crate::clock::UnixTime;

/// So long a pair that does not fit is taken for one that is still being written.
pub const PATIENCE: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(250);

/// What reading the pair again gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was swapped in.
    Taken,
    /// It is what is served already.
    Same,
    /// It can be read but is worse than what is served.
    Worse,
    /// It cannot be read, or key and certificate do not belong together.
    Bad,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: all is well. `mended` if an earlier complaint is settled.
    Rest {
        /// The pair was refused or held back before.
        mended: bool,
    },
    /// Read it again after this time; say nothing yet.
    LookAgain(Duration),
    /// Say by name, once, that it is refused; what is served stays.
    Refuse,
    /// Say by name, once, that it is held back; what is served stays.
    HoldBack,
}

/// What is remembered of one pair between looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    bad_since: Option<UnixTime>,
    looks: u32,
    complained: Option<Found>,
}

impl Pair {
    /// Takes note of what was found at `now`. A change of the files (not a second look) begins the patience anew.
    pub fn seen(&mut self, found: Found, changed: bool, now: UnixTime) -> Next {
        match found {
            Found::Taken | Found::Same => {
                let mended = self.complained.is_some();
                *self = Pair::default();
                Next::Rest { mended }
            }
            Found::Worse => {
                (self.bad_since, self.looks) = (None, 0);
                self.complain(Found::Worse, Next::HoldBack)
            }
            Found::Bad => {
                // A clock that was set back would make us wait for ever; it begins anew instead.
                let since = self.bad_since.filter(|since| !changed && *since <= now).unwrap_or(now);
                if changed || self.bad_since.is_none() {
                    self.looks = 0;
                }
                self.bad_since = Some(since);
                if now.since(since) >= PATIENCE {
                    return self.complain(Found::Bad, Next::Refuse);
                }
                let wait = FIRST * 2_u32.saturating_pow(self.looks.min(4));
                self.looks += 1;
                Next::LookAgain(wait)
            }
        }
    }

    fn complain(&mut self, about: Found, next: Next) -> Next {
        if self.complained == Some(about) {
            return Next::Rest { mended: false };
        }
        self.complained = Some(about);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks again as it is told until something else is said; gives that and the time it took.
    fn until_settled(pair: &mut Pair, start: UnixTime, found: impl Fn(Duration) -> Found) -> (Next, Duration) {
        let (mut now, mut changed) = (start, true);
        for _ in 0..100 {
            match pair.seen(found(now.since(start)), changed, now) {
                Next::LookAgain(wait) => now = now + wait,
                next => return (next, now.since(start)),
            }
            changed = false;
        }
        panic!("never settled");
    }

    #[test]
    fn a_pair_written_one_file_after_the_other_is_waited_for_in_silence() {
        let mut pair = Pair::default();
        let start = UnixTime::from_seconds(1000);
        let found = |after| if after < Duration::from_secs(2) { Found::Bad } else { Found::Taken };
        let (next, after) = until_settled(&mut pair, start, found);
        assert_eq!(next, Next::Rest { mended: false });
        assert!(after < Duration::from_secs(5), "{after:?}");
    }

    #[test]
    fn a_bad_pair_is_refused_once_and_a_mended_one_said_to_be_so() {
        let mut pair = Pair::default();
        let start = UnixTime::from_seconds(1000);
        let (next, after) = until_settled(&mut pair, start, |_| Found::Bad);
        assert_eq!(next, Next::Refuse);
        assert!(after >= PATIENCE && after < PATIENCE * 2, "{after:?}");
        let later = start + after + Duration::from_secs(60);
        assert_eq!(pair.seen(Found::Bad, false, later), Next::Rest { mended: false });
        assert!(matches!(pair.seen(Found::Bad, true, later), Next::LookAgain(_)), "a change is looked at afresh");
        assert_eq!(pair.seen(Found::Taken, true, later), Next::Rest { mended: true });
    }

    #[test]
    fn a_worse_pair_is_held_back_at_once_and_said_once() {
        let mut pair = Pair::default();
        let now = UnixTime::from_seconds(1000);
        assert_eq!(pair.seen(Found::Worse, true, now), Next::HoldBack);
        assert_eq!(pair.seen(Found::Worse, false, now), Next::Rest { mended: false });
        assert_eq!(pair.seen(Found::Same, true, now), Next::Rest { mended: true });
    }

    #[test]
    fn a_clock_set_back_does_not_keep_a_bad_pair_waiting_for_ever() {
        let mut pair = Pair::default();
        pair.seen(Found::Bad, true, UnixTime::from_seconds(1_000_000));
        let (next, _) = until_settled(&mut pair, UnixTime::from_seconds(1000), |_| Found::Bad);
        assert_eq!(next, Next::Refuse);
    }
}
