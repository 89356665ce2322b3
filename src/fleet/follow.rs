//! How far has this node seen what is shared in etcd, and what must be asked next? List everything once, watch from there;
//! go on watching after a break; list anew when what was missed is compacted away, or when etcd was set back to an earlier
//! time. `store::etcd::follower` asks and reports. Times are monotonic, since some fixed moment.

use std::time::Duration;

/// A watch that shows nothing for so long is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(15);
/// And is given up after so long: a connection can be dead without an end.
const DEAD: Duration = Duration::from_secs(30);
/// For a list, a hundred megabytes over a slow line.
const LIST: Duration = Duration::from_secs(300);
/// For a watch to stand.
const OPEN: Duration = Duration::from_secs(30);
/// The first wait after a failure; doubled each time, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Where the node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Nothing is under way until `until`. `seen`: up to where everything is known; `None`: a list is needed.
    Resting {
        /// Attempts that failed in a row.
        failures: u32,
        /// When to go on.
        until: Duration,
        /// Up to which revision.
        seen: Option<i64>,
    },
    /// Everything is being listed.
    Listing {
        /// Attempts that failed in a row.
        failures: u32,
        /// How long it may take.
        until: Duration,
    },
    /// A watch was asked for.
    Opening {
        /// Attempts that failed in a row.
        failures: u32,
        /// How long it may take.
        until: Duration,
        /// Up to which revision everything is known.
        seen: i64,
    },
    /// A watch stands.
    Watching {
        /// Up to which revision everything is known.
        seen: i64,
        /// When something was last heard.
        heard: Duration,
        /// A sign of life was asked for since.
        asked: bool,
    },
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The moment of [`Follow::wakes_at`] came.
    Tick,
    /// The list is complete, as of this revision.
    Listed(i64),
    /// The watch stands.
    Opened,
    /// Everything up to this revision was seen.
    Changed(i64),
    /// More of a revision follows, or a sign of life, and this is how far the store is. Members of etcd before 3.4.25 name
    /// revisions here whose changes they have not sent yet: never a reason to go further.
    Alive(i64),
    /// What should be seen next is compacted away.
    Compacted,
    /// The list failed, or the watch ended or never stood.
    Ended,
}

/// What to do. Whatever was under way before is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// List everything.
    List,
    /// Watch from this revision on.
    Watch(i64),
    /// Ask the watch for a sign of life; it goes on.
    Ask,
    /// Drop what is under way.
    Drop,
}

impl Default for Follow {
    fn default() -> Follow {
        Follow::Resting { failures: 0, until: Duration::ZERO, seen: None }
    }
}

impl Follow {
    /// What comes next. `draw` spreads the attempts of many nodes.
    #[must_use]
    pub fn step(self, now: Duration, event: Event, draw: f64) -> (Follow, Option<Effect>) {
        use Follow::*;
        match (self, event) {
            (Resting { failures, until, seen }, Event::Tick) if now >= until => match seen {
                None => list(now, failures),
                Some(seen) => watch(now, failures, seen),
            },
            (Listing { failures, .. }, Event::Listed(revision)) => watch(now, failures, revision),
            (Listing { failures, .. }, Event::Ended | Event::Compacted) => (rest(now, failures, None, draw), None),
            (Listing { failures, until }, Event::Tick) if now >= until => {
                (rest(now, failures, None, draw), Some(Effect::Drop))
            }
            (Opening { seen, .. }, Event::Opened) => (Watching { seen, heard: now, asked: false }, None),
            // The first time at once; if it happens again the store runs faster than we can list.
            (Opening { failures: 0, .. } | Watching { .. }, Event::Compacted) => list(now, 1),
            (Opening { failures, .. }, Event::Compacted) => (rest(now, failures, None, draw), Some(Effect::Drop)),
            (Opening { failures, seen, .. }, Event::Ended) => (rest(now, failures, Some(seen), draw), None),
            (Opening { failures, until, seen }, Event::Tick) if now >= until => {
                (rest(now, failures, Some(seen), draw), Some(Effect::Drop))
            }
            (Watching { seen, .. }, Event::Changed(at)) if at >= seen => {
                (Watching { seen: at, heard: now, asked: false }, None)
            }
            (Watching { seen, .. }, Event::Alive(at)) if at >= seen => {
                (Watching { seen, heard: now, asked: false }, None)
            }
            // The store is younger than what we saw of it: restored from a copy, or emptied.
            (Watching { .. }, Event::Changed(_) | Event::Alive(_)) => list(now, 1),
            (Watching { seen, .. }, Event::Ended) => (rest(now, 0, Some(seen), draw), None),
            (Watching { seen, heard, .. }, Event::Tick) if now >= heard + DEAD => {
                (rest(now, 0, Some(seen), draw), Some(Effect::Drop))
            }
            (Watching { seen, heard, asked: false }, Event::Tick) if now >= heard + QUIET => {
                (Watching { seen, heard, asked: true }, Some(Effect::Ask))
            }
            (unmoved, _) => (unmoved, None),
        }
    }

    /// When to send [`Event::Tick`].
    pub fn wakes_at(&self) -> Duration {
        match self {
            Follow::Resting { until, .. } | Follow::Listing { until, .. } | Follow::Opening { until, .. } => *until,
            Follow::Watching { heard, asked: false, .. } => *heard + QUIET,
            Follow::Watching { heard, asked: true, .. } => *heard + DEAD,
        }
    }

    /// Whether what is shared is seen as it changes.
    pub fn is_live(&self) -> bool {
        matches!(self, Follow::Watching { .. })
    }
}

fn list(now: Duration, failures: u32) -> (Follow, Option<Effect>) {
    (Follow::Listing { failures, until: now + LIST }, Some(Effect::List))
}

fn watch(now: Duration, failures: u32, seen: i64) -> (Follow, Option<Effect>) {
    (Follow::Opening { failures, until: now + OPEN, seen }, Some(Effect::Watch(seen.saturating_add(1))))
}

fn rest(now: Duration, failures: u32, seen: Option<i64>, draw: f64) -> Follow {
    let wait = SHORTEST.saturating_mul(1 << failures.min(10)).min(LONGEST).mul_f64(0.5 + draw.clamp(0.0, 1.0));
    Follow::Resting { failures: failures.saturating_add(1), until: now + wait, seen }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn run(mut follow: Follow, events: &[(u64, Event)]) -> (Follow, Vec<Effect>) {
        let mut effects = Vec::new();
        for (at, event) in events {
            let (next, effect) = follow.step(SECOND * u32::try_from(*at).unwrap(), *event, 0.5);
            follow = next;
            effects.extend(effect);
        }
        (follow, effects)
    }

    fn watching(seen: i64) -> Follow {
        Follow::Watching { seen, heard: Duration::ZERO, asked: false }
    }

    #[test]
    fn everything_is_listed_once_and_watched_from_there() {
        let (follow, effects) = run(
            Follow::default(),
            &[(0, Event::Tick), (1, Event::Listed(70)), (1, Event::Opened), (5, Event::Changed(75))],
        );
        assert_eq!(effects, [Effect::List, Effect::Watch(71)]);
        assert_eq!(follow, Follow::Watching { seen: 75, heard: SECOND * 5, asked: false });
    }

    #[test]
    fn after_a_break_the_watch_goes_on_where_it_was_without_a_list() {
        let (_, effects) =
            run(watching(75), &[(9, Event::Ended), (9, Event::Tick), (11, Event::Tick), (11, Event::Opened)]);
        assert_eq!(effects, [Effect::Watch(76)]);
    }

    #[test]
    fn what_is_compacted_away_is_listed_anew_at_once_and_slowly_if_it_goes_on() {
        let opening = Follow::Opening { failures: 0, until: SECOND * 30, seen: 75 };
        let (follow, effects) = run(opening, &[(1, Event::Compacted), (2, Event::Listed(90)), (3, Event::Compacted)]);
        assert_eq!(effects, [Effect::List, Effect::Watch(91), Effect::Drop]);
        assert!(matches!(follow, Follow::Resting { seen: None, .. }) && follow.wakes_at() > SECOND * 3);
        let (_, effects) = run(watching(75), &[(1, Event::Compacted)]);
        assert_eq!(effects, [Effect::List]);
    }

    #[test]
    fn a_store_that_was_set_back_is_listed_and_a_mere_sign_of_life_brings_nothing_further() {
        let (_, effects) = run(watching(75), &[(1, Event::Alive(3))]);
        assert_eq!(effects, [Effect::List]);
        let (follow, effects) = run(watching(75), &[(1, Event::Alive(900)), (2, Event::Ended), (9, Event::Tick)]);
        assert_eq!(effects, [Effect::Watch(76)]);
        assert!(!follow.is_live());
    }

    #[test]
    fn a_watch_that_says_nothing_is_asked_and_then_given_up() {
        let (follow, effects) = run(watching(75), &[(14, Event::Tick), (15, Event::Tick), (20, Event::Tick)]);
        assert_eq!((follow.wakes_at(), effects), (DEAD, vec![Effect::Ask]));
        let (_, effects) = run(follow.clone(), &[(21, Event::Alive(75)), (31, Event::Tick)]);
        assert_eq!(effects, []);
        let (follow, effects) = run(follow, &[(30, Event::Tick)]);
        assert_eq!(effects, [Effect::Drop]);
        assert!(matches!(follow, Follow::Resting { seen: Some(75), .. }));
    }

    #[test]
    fn an_etcd_that_is_away_for_a_day_is_asked_about_once_a_minute() {
        let (mut follow, mut asked) = (Follow::default(), 0);
        let mut now = Duration::ZERO;
        while now < SECOND * 86_400 {
            now = now.max(follow.wakes_at());
            let (next, effect) = follow.step(now, Event::Tick, 0.5);
            asked += u32::from(effect == Some(Effect::List));
            follow = next.step(now, Event::Ended, 0.5).0;
        }
        assert!((1_000..2_000).contains(&asked), "{asked}");
    }
}
