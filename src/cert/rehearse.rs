//! What would happen if …? Plays the rules forward from where a certificate really stands, in virtual time, and tells
//! what it saw. The same `step` as in earnest; nothing is touched.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::ledger::Ledger;
use super::stage::{Effect, Event, Held, Policy, Stage};
use crate::clock::UnixTime;

/// How long an authority takes for an order here, and how long a failure.
const ORDER: Duration = Duration::from_secs(20);
/// A play ends after so many lines, whatever happens.
const LINES: usize = 20_000;
/// Of failures in a row, the first and last so many are told.
const TOLD: usize = 6;

/// What is supposed to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Nothing out of the way.
    Calm,
    /// What is held expires after so many seconds; the authority works.
    ExpireIn(u64),
    /// No authority answers any more.
    CaDown,
    /// The authority forgets the next order.
    ForgetOrder,
    /// The clock jumps by so many seconds.
    Skew(i64),
}

/// Something that would happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When, by a clock that is right.
    pub at: UnixTime,
    /// What.
    pub words: String,
}

struct Play<'a> {
    now: UnixTime,
    /// What the clock shows beside the truth, in seconds.
    skew: i64,
    scenario: Scenario,
    policy: &'a Policy,
    ledger: Ledger,
    stage: Stage,
    /// Answers that are under way.
    answers: Vec<(UnixTime, Event)>,
    orders: u32,
    issued: u32,
    told: Vec<Moment>,
    expired: bool,
}

/// What would happen from `now` on, until the certificate has been renewed and its next renewal is known; without any
/// authority, until two days after it has expired.
pub fn rehearse(now: UnixTime, stage: Stage, policy: &Policy, ledger: Ledger, scenario: Scenario) -> Vec<Moment> {
    let answers = Vec::new();
    let mut play = Play {
        now,
        skew: 0,
        scenario,
        policy,
        ledger,
        stage,
        answers,
        orders: 0,
        issued: 0,
        told: Vec::new(),
        expired: false,
    };
    play.begin();
    while play.told.len() < LINES && !play.over() {
        play.go_on();
    }
    if let Stage::Serving { renew_at, .. } = &play.stage {
        let at = play.truth(*renew_at);
        play.told.push(Moment { at, words: "the next renewal begins".to_owned() });
    }
    shorten(play.told)
}

impl Play<'_> {
    fn begin(&mut self) {
        match self.scenario {
            Scenario::ExpireIn(seconds) => {
                let Some(held) = self.stage.held().cloned() else {
                    return self.tell("nothing is held that could expire");
                };
                let life = held.lifetime();
                let not_after = self.now + Duration::from_secs(seconds);
                self.tell(format!("suppose that it expires {not_after}"));
                let held = Held { not_before: not_after - life, not_after, choice: None, ..held };
                self.stage = Stage::new();
                self.step(Event::Started(Some(held)));
            }
            Scenario::Skew(seconds) => {
                self.tell(format!("suppose that the clock jumps by {seconds} seconds"));
                self.skew = seconds;
                self.step(Event::Tick);
            }
            Scenario::CaDown => self.tell("suppose that no authority answers from now on"),
            Scenario::ForgetOrder => self.tell("suppose that the authority forgets the next order"),
            Scenario::Calm => {}
        }
        if let Stage::Ordering { attempt, .. } = &self.stage {
            let number = attempt.number;
            self.tell("an order is under way");
            self.order(number);
        }
    }

    fn over(&self) -> bool {
        let long = |held: &Held| self.truth(held.not_after) + Duration::from_secs(2 * 86_400) < self.now;
        self.issued > 0 || self.expired && self.stage.held().is_none_or(long) || self.orders > 5000
    }

    /// To the next thing that happens: an answer, a moment that the stage waits for, or the end of what is held.
    fn go_on(&mut self) {
        let wake = self.truth(self.stage.wakes_at()).max(self.now);
        let answer = self.answers.iter().map(|(at, _)| *at).min();
        let next = answer.map_or(wake, |at| at.min(wake));
        if let Some(end) = self.stage.held().map(|held| held.not_after).filter(|end| *end <= next && !self.expired) {
            (self.now, self.expired) = (end.max(self.now), true);
            return self.tell("IT EXPIRES; it is served on, loudly, because that beats serving nothing");
        }
        let absent = self.stage.held().is_none() && self.orders > 12;
        self.expired |= absent;
        self.now = next;
        match self.answers.iter().position(|(at, _)| *at <= next) {
            Some(place) => {
                let (_, event) = self.answers.swap_remove(place);
                self.step(event);
            }
            None => self.step(Event::Tick),
        }
    }

    fn step(&mut self, event: Event) {
        let failed = match (&event, &self.stage) {
            (Event::Failed(number, why), Stage::Ordering { attempt, .. }) if *number == attempt.number => {
                Some(why.to_string())
            }
            (Event::Tick, Stage::Ordering { .. }) => Some(Failure::Deadline.to_string()),
            _ => None,
        };
        let seen = self.seen();
        let (stage, effects) = self.stage.clone().step(seen, event, self.policy, &mut self.ledger, 0.5);
        self.stage = stage;
        if let Some(why) = failed {
            let next = self.truth(self.stage.wakes_at());
            let wait = span(next.since(self.now));
            self.tell(format!("it fails ({why}); next attempt in {wait}"));
        }
        for effect in effects {
            match effect {
                Effect::PlaceOrder(attempt) => {
                    let by = attempt.way.challenge.map_or(String::new(), |kind| format!(" by {}", kind.as_str()));
                    self.tell(format!("attempt {}: an order at {}{by}", attempt.number, attempt.way.issuer));
                    self.order(attempt.number);
                }
                Effect::AskRenewalInfo { epoch, .. } => {
                    self.answers.push((self.now + Duration::from_secs(1), Event::NoRenewalInfo(epoch)));
                }
                _ => {}
            }
        }
    }

    /// The authority's answer to an order.
    fn order(&mut self, number: u64) {
        self.orders += 1;
        let held = self.stage.held().cloned();
        let lost = || Failure::Lost { detail: "404: no such order".to_owned() };
        let event = match self.scenario {
            Scenario::CaDown => {
                Event::Failed(number, Failure::Unreachable { detail: "no connection in time".to_owned() })
            }
            Scenario::ForgetOrder if self.orders == 1 => Event::Failed(number, lost()),
            _ => {
                let (epoch, life) = held
                    .as_ref()
                    .map_or((1, Duration::from_secs(90 * 86_400)), |held| (held.epoch + 1, held.lifetime()));
                let authority = match &self.stage {
                    Stage::Ordering { attempt, .. } => attempt.way.authority.clone(),
                    _ => String::new(),
                };
                let at = self.now + self.order_time();
                self.issued += 1;
                self.tell(format!(
                    "it is issued after {} seconds, and is in force until {}",
                    self.order_time().as_secs(),
                    at + life
                ));
                let like = held.unwrap_or_else(|| blank(authority.clone(), at, life));
                let new = Held {
                    epoch,
                    not_before: at,
                    not_after: at + life,
                    obtained_at: at,
                    choice: None,
                    authority,
                    ..like
                };
                return self.settle(at, Event::Issued(new));
            }
        };
        self.answers.push((self.now + self.order_time(), event));
    }

    fn settle(&mut self, at: UnixTime, event: Event) {
        let seen = UnixTime(at.0 + self.skew * 1000);
        let (stage, _) = self.stage.clone().step(seen, event, self.policy, &mut self.ledger, 0.5);
        (self.stage, self.now) = (stage, at);
    }

    /// How long an order takes: never so long that it is given up for that alone.
    fn order_time(&self) -> Duration {
        ORDER.min(self.policy.order_patience / 4)
    }

    /// What the clock shows.
    fn seen(&self) -> UnixTime {
        UnixTime(self.now.0 + self.skew * 1000)
    }

    /// The true moment at which the clock shows `shown`.
    fn truth(&self, shown: UnixTime) -> UnixTime {
        UnixTime(shown.0.saturating_sub(self.skew * 1000))
    }

    fn tell(&mut self, words: impl Into<String>) {
        self.told.push(Moment { at: self.now, words: words.into() });
    }
}

/// A certificate of which only the dates count.
fn blank(authority: String, at: UnixTime, life: Duration) -> Held {
    Held {
        epoch: 0,
        not_before: at,
        not_after: at + life,
        authority,
        ari_id: None,
        choice: None,
        obtained_at: at,
        without: Vec::new(),
        disowned: false,
        doubtful: false,
        explanation: None,
    }
}

/// Leaves out the middle of a long row of attempts.
fn shorten(told: Vec<Moment>) -> Vec<Moment> {
    let dull = |moment: &Moment| moment.words.starts_with("it fails") || moment.words.starts_with("attempt");
    let mut out: Vec<Moment> = Vec::new();
    let mut row: Vec<Moment> = Vec::new();
    for moment in told.into_iter().map(Some).chain([None]) {
        match moment {
            Some(moment) if dull(&moment) => row.push(moment),
            other => {
                let left = row.len().saturating_sub(2 * TOLD);
                let middle = row.get(TOLD).map(|moment| moment.at);
                for (place, moment) in row.drain(..).enumerate() {
                    if left == 0 || place < TOLD || place >= TOLD + left {
                        out.push(moment);
                    } else if place == TOLD {
                        let words = format!("… {left} lines of this kind are left out …");
                        out.push(Moment { at: middle.unwrap_or_default(), words });
                    }
                }
                out.extend(other);
            }
        }
    }
    out
}

/// `3d 4h`, `12m 5s`: the two largest units.
pub fn span(time: Duration) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut rest = time.as_secs();
    let mut words = Vec::new();
    for (name, size) in units {
        if rest >= size && words.len() < 2 {
            words.push(format!("{}{name}", rest / size));
            rest %= size;
        } else if !words.is_empty() {
            break;
        }
    }
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::super::stage::tests::{held, policy};
    use super::*;

    const DAY: i64 = 86_400;

    fn serving(day: i64) -> (UnixTime, Stage) {
        let now = UnixTime::from_seconds(day * DAY);
        let (stage, _) =
            Stage::new().step(now, Event::Started(Some(held(0, 90 * DAY))), &policy(), &mut Ledger::default(), 0.5);
        (now, stage)
    }

    fn text(told: &[Moment]) -> String {
        told.iter().map(|moment| format!("{} {}\n", moment.at, moment.words)).collect()
    }

    #[test]
    fn a_near_end_is_renewed_at_once_and_the_next_renewal_is_told() {
        let (now, stage) = serving(10);
        let told = rehearse(now, stage, &policy(), Ledger::default(), Scenario::ExpireIn(5 * 86_400));
        let text = text(&told);
        assert!(text.contains("attempt 1: an order at a by http-01") && text.contains("it is issued"), "{text}");
        assert!(!text.contains("EXPIRES"), "{text}");
        let next = told.last().unwrap();
        assert!(next.words.contains("next renewal") && next.at > now + Duration::from_secs(50 * 86_400), "{text}");
    }

    #[test]
    fn a_dead_authority_is_asked_ever_more_often_until_the_end_and_beyond() {
        let (now, stage) = serving(10);
        let told = rehearse(now, stage, &policy(), Ledger::default(), Scenario::CaDown);
        let text = text(&told);
        assert!(text.contains("EXPIRES") && text.contains("left out") && told.len() < 60, "{text}");
        let first = told.iter().find(|moment| moment.words.starts_with("attempt 1")).unwrap();
        assert!(first.at >= UnixTime::from_seconds(58 * DAY), "it begins when it is due: {text}");
    }

    #[test]
    fn a_forgotten_order_costs_one_more() {
        let (now, stage) = serving(70);
        let text = text(&rehearse(now, stage, &policy(), Ledger::default(), Scenario::ForgetOrder));
        assert!(text.contains("attempt 2") && !text.contains("attempt 3") && text.contains("it is issued"), "{text}");
    }

    #[test]
    fn every_scenario_ends_wherever_a_certificate_stands() {
        let scenarios = [
            Scenario::Calm,
            Scenario::CaDown,
            Scenario::ForgetOrder,
            Scenario::Skew(3_000_000_000),
            Scenario::Skew(-900_000),
        ];
        for scenario in scenarios {
            let (now, stage) = serving(20);
            assert!(!rehearse(now, stage, &policy(), Ledger::default(), scenario).is_empty(), "{scenario:?}");
            let told = rehearse(now, Stage::new(), &policy(), Ledger::default(), scenario);
            assert!(!told.is_empty() && told.len() < 100, "{scenario:?}");
        }
    }
}
