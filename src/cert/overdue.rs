//! Should this certificate have been replaced by now? Computed only from its dates and from what the keepers count, by
//! rules of its own: the code that renews is what is being watched, so nothing of it is used here. Pure; `node::overdue`
//! asks it from a thread of its own.

use std::collections::HashMap;
use std::time::Duration;

use super::concern::{Concern, Severity, Topic};
use crate::clock::UnixTime;

/// Below this life a certificate is due with half of it left, else with a third.
const SHORT: Duration = Duration::from_secs(10 * 86_400);
/// A loop that has not turned for so long stands still. Loops sleep five minutes at most.
pub const STANDSTILL: Duration = Duration::from_secs(20 * 60);

/// A first certificate takes this long at most before somebody is told that there is none …
const FIRST: Duration = Duration::from_secs(3600);
/// … and nobody may rest for longer than this while there is none: attempts come four times a day at least.
const RESTS: Duration = Duration::from_secs(7 * 3600);

/// What is known of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it is called in words for people: its first names, or its file.
    pub subject: String,
    /// The dates of what is shown: from, until. `None`: nothing but the placeholder is.
    pub shown: Option<(UnixTime, UnixTime)>,
    /// Where we renew it ourselves: what its keeper counts.
    pub kept: Option<Kept>,
    /// Somebody said to leave it alone: since when, who, and how it goes on, in words.
    pub paused: Option<String>,
}

/// What a keeper counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Attempts so far, over all time.
    pub attempts: u64,
    /// How long ago its loop last turned.
    pub turned: Duration,
}

/// When a certificate with these dates is due.
pub fn due(not_before: UnixTime, not_after: UnixTime) -> UnixTime {
    let life = not_after.since(not_before);
    not_after - if life < SHORT { life / 2 } else { life / 3 }
}

/// How long after it was due a renewal may take before somebody is told.
fn margin(life: Duration) -> Duration {
    (life / 50).max(Duration::from_secs(300)).min(life / 12)
}

/// How long nobody may try for a certificate that is overdue.
fn patience(life: Duration) -> Duration {
    (life / 48).clamp(Duration::from_secs(600), Duration::from_secs(86_400)).min(life / 6)
}

/// What the clock remembers: the attempts of each certificate, when they last grew, and since when there is none to show.
#[derive(Clone, Debug, Default)]
pub struct OverdueClock {
    tried: HashMap<String, (u64, UnixTime)>,
    bare: HashMap<String, UnixTime>,
}

impl OverdueClock {
    /// Looks at all certificates; what needs eyes.
    pub fn look(&mut self, certificates: &[Facts], now: UnixTime) -> Vec<Concern> {
        let mut seen = Vec::new();
        let mut tried = HashMap::with_capacity(self.tried.len());
        let mut bare = HashMap::new();
        for facts in certificates {
            if let Some(kept) = facts.kept {
                let since = match self.tried.get(&facts.subject) {
                    // A clock that was set back must not make an attempt younger than now.
                    Some((attempts, since)) if *attempts == kept.attempts => (*since).min(now),
                    _ => now,
                };
                tried.insert(facts.subject.clone(), (kept.attempts, since));
                seen.extend(standstill(facts, kept, now));
                seen.extend(no_attempt(facts, since, now));
                if facts.shown.is_none() {
                    let begun = self.bare.get(&facts.subject).map_or(now, |begun| (*begun).min(now));
                    bare.insert(facts.subject.clone(), begun);
                    seen.extend(nothing(facts, begun, since, now));
                }
            }
            seen.extend(overdue(facts, now));
        }
        (self.tried, self.bare) = (tried, bare);
        seen
    }
}

fn concern(topic: Topic, facts: &Facts, severity: Severity, text: String, now: UnixTime) -> Concern {
    Concern { topic, subject: facts.subject.clone(), severity, text, since: now }
}

fn overdue(facts: &Facts, now: UnixTime) -> Option<Concern> {
    let (from, until) = facts.shown?;
    let life = until.since(from);
    let left = until.since(now);
    let (severity, text) = if now >= until {
        (Severity::Error, format!("it expired at {until} and is still shown"))
    } else if left <= life / 6 {
        (Severity::Error, format!("it expires at {until}; it should have been replaced since {}", due(from, until)))
    } else if now > due(from, until) + margin(life) {
        (Severity::Warning, format!("it has been due since {}, and nothing newer is shown", due(from, until)))
    } else {
        return None;
    };
    Some(concern(Topic::Overdue, facts, severity, text, now))
}

/// There is nothing but the placeholder to show, since `begun`; nobody has tried since `tried`.
fn nothing(facts: &Facts, begun: UnixTime, tried: UnixTime, now: UnixTime) -> Vec<Concern> {
    let (bare, quiet) = (now.since(begun), now.since(tried));
    let mut seen = Vec::new();
    if bare >= FIRST {
        let text = format!("there is no certificate yet, and nothing but the placeholder is shown since {begun}");
        seen.push(concern(Topic::Overdue, facts, Severity::Error, text, now));
    }
    if quiet > RESTS {
        let text = format!("there is no certificate yet, and nobody has tried for {} hours", quiet.as_secs() / 3600);
        seen.push(concern(Topic::NoAttempt, facts, Severity::Error, text, now));
    }
    seen
}

fn no_attempt(facts: &Facts, since: UnixTime, now: UnixTime) -> Option<Concern> {
    let (from, until) = facts.shown?;
    let (life, quiet) = (until.since(from), now.since(since));
    let late = now > due(from, until) + margin(life);
    if let Some(words) = &facts.paused {
        // Whoever paused it may have good reasons; that clients are hurt is said by the dates.
        let text = format!("it is due, and {words}");
        return late.then(|| concern(Topic::NoAttempt, facts, Severity::Warning, text, now));
    }
    let text = || format!("it is due, and nobody has tried for {} minutes", quiet.as_secs() / 60);
    (late && quiet > patience(life)).then(|| concern(Topic::NoAttempt, facts, Severity::Error, text(), now))
}

fn standstill(facts: &Facts, kept: Kept, now: UnixTime) -> Option<Concern> {
    let text = || format!("its keeper has not turned for {} minutes", kept.turned.as_secs() / 60);
    (kept.turned > STANDSTILL).then(|| concern(Topic::Standstill, facts, Severity::Error, text(), now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn day(number: u64) -> UnixTime {
        UnixTime::default() + Duration::from_secs(number * DAY)
    }

    fn facts(life: u64, kept: Option<Kept>) -> Facts {
        Facts { subject: "a.example".to_owned(), shown: Some((day(0), day(life))), kept, paused: None }
    }

    fn topics(clock: &mut OverdueClock, facts: &Facts, now: UnixTime) -> Vec<(Topic, Severity)> {
        clock.look(std::slice::from_ref(facts), now).iter().map(|n| (n.topic, n.severity)).collect()
    }

    #[test]
    fn the_voice_gets_louder_as_the_end_comes_nearer() {
        let (mut clock, facts) = (OverdueClock::default(), facts(90, None));
        let (warning, error) = ((Topic::Overdue, Severity::Warning), (Topic::Overdue, Severity::Error));
        for (at, expected) in [(59, None), (61, None), (63, Some(warning)), (76, Some(error)), (91, Some(error))] {
            assert_eq!(topics(&mut clock, &facts, day(at)).first().copied(), expected, "day {at}");
        }
    }

    #[test]
    fn an_alarm_is_raised_before_a_third_of_what_was_left_at_the_due_date_is_gone() {
        for life in [Duration::from_secs(60), Duration::from_secs(6 * DAY), Duration::from_secs(398 * DAY)] {
            let until = UnixTime::default() + life;
            let at_due = due(UnixTime::default(), until);
            let deadline = at_due + until.since(at_due) / 3;
            let shown = Some((UnixTime::default(), until));
            let facts = Facts { subject: String::new(), shown, kept: None, paused: None };
            assert_eq!(OverdueClock::default().look(std::slice::from_ref(&facts), deadline).len(), 1, "{life:?}");
            assert_eq!(OverdueClock::default().look(&[facts], at_due), []);
        }
    }

    #[test]
    fn a_keeper_that_tries_is_late_but_one_that_does_not_try_is_told_of() {
        let mut clock = OverdueClock::default();
        let kept = |attempts| Some(Kept { attempts, turned: Duration::ZERO });
        let quiet = (Topic::NoAttempt, Severity::Error);
        assert_eq!(topics(&mut clock, &facts(90, kept(1)), day(58)), []);
        assert!(topics(&mut clock, &facts(90, kept(1)), day(62)).contains(&quiet));
        assert!(!topics(&mut clock, &facts(90, kept(2)), day(63)).contains(&quiet));
        assert!(!topics(&mut clock, &facts(90, kept(2)), day(63) + Duration::from_secs(3600)).contains(&quiet));
        assert!(topics(&mut clock, &facts(90, kept(2)), day(65)).contains(&quiet));
    }

    #[test]
    fn a_first_certificate_that_does_not_come_is_told_of_and_so_is_that_nobody_tries() {
        let mut clock = OverdueClock::default();
        let bare = |attempts| {
            let kept = Some(Kept { attempts, turned: Duration::ZERO });
            Facts { subject: "a.example".to_owned(), shown: None, kept, paused: None }
        };
        let hour = |number: u64| day(1) + Duration::from_secs(number * 3600);
        let (none, quiet) = ((Topic::Overdue, Severity::Error), (Topic::NoAttempt, Severity::Error));
        assert_eq!(topics(&mut clock, &bare(1), hour(0)), []);
        assert_eq!(topics(&mut clock, &bare(1), hour(1)), [none]);
        assert_eq!(topics(&mut clock, &bare(2), hour(6)), [none]);
        assert_eq!(topics(&mut clock, &bare(2), hour(13)), [none]);
        assert_eq!(topics(&mut clock, &bare(2), hour(14)), [none, quiet]);
        // One that came is forgotten.
        assert_eq!(topics(&mut clock, &facts(90, None), day(2)), []);
        assert_eq!(topics(&mut clock, &bare(3), hour(40)), []);
    }

    #[test]
    fn one_that_is_paused_says_so_when_it_is_due_and_how_it_goes_on() {
        let mut clock = OverdueClock::default();
        let kept = Some(Kept { attempts: 1, turned: Duration::ZERO });
        let words = "paused since yesterday by jo; `semper resume a.example` goes on";
        let paused = Facts { paused: Some(words.to_owned()), ..facts(90, kept) };
        assert_eq!(clock.look(std::slice::from_ref(&paused), day(58)), []);
        for at in [62, 80] {
            let seen = clock.look(std::slice::from_ref(&paused), day(at));
            let said: Vec<_> = seen.iter().filter(|seen| seen.topic == Topic::NoAttempt).collect();
            assert_eq!(said.len(), 1);
            assert_eq!(
                (said[0].severity, said[0].text.clone()),
                (Severity::Warning, format!("it is due, and {words}"))
            );
        }
    }

    #[test]
    fn a_loop_that_stands_still_is_told_of_whatever_the_dates_say() {
        let mut clock = OverdueClock::default();
        let kept = |turned| Some(Kept { attempts: 0, turned });
        assert_eq!(topics(&mut clock, &facts(90, kept(STANDSTILL)), day(1)), []);
        let long = kept(STANDSTILL + Duration::from_secs(1));
        assert_eq!(topics(&mut clock, &facts(90, long), day(1)), [(Topic::Standstill, Severity::Error)]);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_overdue_and_hides_no_quiet() {
        let mut clock = OverdueClock::default();
        let kept = Some(Kept { attempts: 1, turned: Duration::ZERO });
        clock.look(&[facts(90, kept)], day(80));
        assert_eq!(topics(&mut clock, &facts(90, kept), day(10)), []);
        assert!(topics(&mut clock, &facts(90, kept), day(70)).contains(&(Topic::NoAttempt, Severity::Error)));
    }
}
