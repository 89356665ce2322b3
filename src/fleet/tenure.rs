//! Does this node still hold what it holds in etcd? One lease for all its duties, kept alive while the node is. The node
//! stops believing in it before etcd does; and should it sleep through that moment (stopped, suspended, its clock wrong),
//! the fence in every write refuses what it does late. `store::etcd::duty` asks and reports. Times are monotonic, since
//! some fixed moment.

use std::time::Duration;

/// How long a lease lives without a sign of life. A duty is free again this long after its holder died.
pub const TTL: Duration = Duration::from_secs(60);
/// For an answer.
const ANSWER: Duration = Duration::from_secs(15);
/// The first wait after a failure; doubled each time, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Where the node stands with its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// It has none.
    Without {
        /// Attempts that failed in a row.
        failures: u32,
        /// When to ask.
        until: Duration,
    },
    /// It has asked for one.
    Asking {
        /// Attempts that failed before.
        failures: u32,
        /// When it asked.
        asked: Duration,
    },
    /// It has one.
    Holding {
        /// Which.
        lease: i64,
        /// Until when it is believed in, unless it is renewed.
        ends: Duration,
        /// When to renew it next.
        renews: Duration,
        /// When a sign of life was sent that is not answered yet.
        asked: Option<Duration>,
    },
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The moment of [`Tenure::wakes_at`] came.
    Tick,
    /// The lease was granted, or renewed, for so long.
    Granted {
        /// Which.
        lease: i64,
        /// For how long.
        ttl: Duration,
    },
    /// etcd says that there is no such lease.
    Gone,
    /// No answer, or a refusal.
    Failed,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask for a lease.
    Grant,
    /// Give a sign of life for this lease.
    Renew(i64),
    /// Everything held under the lease is lost: stop acting on it.
    Lost,
}

impl Default for Tenure {
    fn default() -> Tenure {
        Tenure::Without { failures: 0, until: Duration::ZERO }
    }
}

impl Tenure {
    /// What comes next. `draw` spreads the attempts of many nodes.
    #[must_use]
    pub fn step(self, now: Duration, event: Event, draw: f64) -> (Tenure, Option<Effect>) {
        use Tenure::*;
        match (self, event) {
            // Whatever the answer was to: what may be over by now is over.
            (Holding { ends, .. }, _) if now >= ends => (Without { failures: 0, until: now }, Some(Effect::Lost)),
            (Without { failures, until }, Event::Tick) if now >= until => {
                (Asking { failures, asked: now }, Some(Effect::Grant))
            }
            (Asking { asked, failures }, Event::Granted { lease, ttl }) => {
                let ends = believed(asked, ttl);
                match now < ends {
                    true => (Holding { lease, ends, renews: now + ttl / 3, asked: None }, None),
                    false => (without(now, failures, draw), None),
                }
            }
            (Asking { failures, .. }, Event::Failed | Event::Gone) => (without(now, failures, draw), None),
            (Asking { failures, asked }, Event::Tick) if now >= asked + ANSWER => (without(now, failures, draw), None),
            (Holding { lease, ends, renews, asked: None }, Event::Tick) if now >= renews => {
                (Holding { lease, ends, renews, asked: Some(now) }, Some(Effect::Renew(lease)))
            }
            (Holding { lease, ends, asked: Some(asked), .. }, Event::Granted { lease: which, ttl })
                if which == lease =>
            {
                (Holding { lease, ends: believed(asked, ttl).max(ends), renews: now + ttl / 3, asked: None }, None)
            }
            (Holding { lease, ends, asked: Some(_), .. }, Event::Failed) => {
                (Holding { lease, ends, renews: now + SHORTEST.mul_f64(0.5 + draw), asked: None }, None)
            }
            (Holding { lease, ends, renews, asked: Some(asked) }, Event::Tick) if now >= asked + ANSWER => {
                (Holding { lease, ends, renews, asked: None }, None)
            }
            (Holding { .. }, Event::Gone) => (Without { failures: 0, until: now }, Some(Effect::Lost)),
            (unmoved, _) => (unmoved, None),
        }
    }

    /// The lease that is held at `now`.
    pub fn lease(&self, now: Duration) -> Option<i64> {
        match self {
            Tenure::Holding { lease, ends, .. } if now < *ends => Some(*lease),
            _ => None,
        }
    }

    /// When to send [`Event::Tick`].
    pub fn wakes_at(&self) -> Duration {
        match self {
            Tenure::Without { until, .. } => *until,
            Tenure::Asking { asked, .. } => *asked + ANSWER,
            Tenure::Holding { ends, renews, asked: None, .. } => *renews.min(ends),
            Tenure::Holding { ends, asked: Some(asked), .. } => (*asked + ANSWER).min(*ends),
        }
    }
}

/// Counted from the question, not from the answer, and a tenth less than granted.
fn believed(asked: Duration, ttl: Duration) -> Duration {
    asked + ttl - ttl / 10
}

fn without(now: Duration, failures: u32, draw: f64) -> Tenure {
    let wait = SHORTEST.saturating_mul(1 << failures.min(10)).min(LONGEST).mul_f64(0.5 + draw.clamp(0.0, 1.0));
    Tenure::Without { failures: failures.saturating_add(1), until: now + wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn holding() -> Tenure {
        let (tenure, effect) = Tenure::default().step(at(0), Event::Tick, 0.5);
        assert_eq!(effect, Some(Effect::Grant));
        tenure.step(at(1), Event::Granted { lease: 9, ttl: TTL }, 0.5).0
    }

    #[test]
    fn a_lease_is_renewed_long_before_it_ends_and_counts_from_the_question() {
        let tenure = holding();
        assert_eq!(tenure, Tenure::Holding { lease: 9, ends: at(54), renews: at(21), asked: None });
        let (tenure, effect) = tenure.step(at(21), Event::Tick, 0.5);
        assert_eq!(effect, Some(Effect::Renew(9)));
        let (tenure, _) = tenure.step(at(24), Event::Granted { lease: 9, ttl: TTL }, 0.5);
        assert_eq!(tenure, Tenure::Holding { lease: 9, ends: at(75), renews: at(44), asked: None });
    }

    #[test]
    fn a_node_that_slept_past_its_lease_holds_nothing_whatever_it_hears_first() {
        let events = [Event::Tick, Event::Granted { lease: 9, ttl: TTL }, Event::Failed, Event::Gone];
        for event in events {
            let (tenure, _) = holding().step(at(21), Event::Tick, 0.5);
            assert_eq!((tenure.lease(at(53)), tenure.lease(at(54))), (Some(9), None));
            let (tenure, effect) = tenure.step(at(90), event, 0.5);
            assert_eq!((tenure, effect), (Tenure::Without { failures: 0, until: at(90) }, Some(Effect::Lost)));
        }
        let asking = Tenure::Asking { failures: 0, asked: at(0) };
        let (tenure, _) = asking.step(at(70), Event::Granted { lease: 9, ttl: TTL }, 0.5);
        assert_eq!(tenure.lease(at(70)), None);
    }

    #[test]
    fn without_answers_it_goes_on_asking_until_the_end_and_then_lets_go() {
        let (mut tenure, mut now, mut asked) = (holding(), at(1), 0);
        let lost = loop {
            now = now.max(tenure.wakes_at());
            let (next, effect) = tenure.step(now, Event::Tick, 0.5);
            match effect {
                Some(Effect::Renew(9)) => {
                    asked += 1;
                    let (after, effect) = next.step(now + at(5), Event::Failed, 0.5);
                    if effect == Some(Effect::Lost) {
                        break now + at(5);
                    }
                    tenure = after;
                }
                Some(Effect::Lost) => break now,
                _ => tenure = next,
            }
        };
        assert!((at(54)..=at(59)).contains(&lost), "{lost:?}");
        assert!((3..20).contains(&asked), "{asked}");
    }

    #[test]
    fn an_etcd_that_says_gone_is_believed_at_once() {
        let (tenure, effect) = holding().step(at(5), Event::Gone, 0.5);
        assert_eq!(effect, Some(Effect::Lost));
        assert_eq!(tenure.step(at(5), Event::Tick, 0.5).1, Some(Effect::Grant));
    }
}
