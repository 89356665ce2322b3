//! What time is it, when the witnesses disagree? The machine's clock may be years off; what authorities put on their
//! answers, what they wrote into certificates, and the time that passed by the monotonic clock bear witness too. Pure:
//! moments come in, a judgement goes out. `node::time` holds one and asks authorities when it wants to know.

use std::time::Duration;

use crate::clock::UnixTime;

/// Witnesses within this distance agree.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// A date that was heard is carried on by the monotonic clock for so long.
const HEARSAY: Duration = Duration::from_secs(86_400);
/// A jump that nobody confirms and nobody denies is believed after this time …
const UNWITNESSED: Duration = Duration::from_secs(6 * 3600);
/// … unless it is longer than the life of any certificate.
const TOO_FAR: Duration = Duration::from_secs(400 * 86_400);
/// A machine that was off for longer than this asks before it believes its clock.
const LONG_OFF: Duration = Duration::from_secs(7 * 86_400);
/// Authorities date a certificate back by so much, and it takes a while to come.
const FRESH: Duration = Duration::from_secs(2 * 3600);

/// A moment of the monotonic clock: how long the machine has been up.
pub type Uptime = Duration;

/// Why the time is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// An authority's clock and ours differ by so many seconds; positive: ours is ahead.
    Authority(i64),
    /// A certificate was issued to us in what our clock takes for the future, by so much.
    Behind(Duration),
    /// Our clock jumped by so many seconds, and nobody has confirmed it; positive: forward.
    Jumped(i64),
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doubt::Authority(by) => write!(f, "the clock of this machine and of an authority differ by {by} seconds"),
            Doubt::Behind(by) => {
                write!(f, "the clock of this machine is {} seconds before a certificate that it got", by.as_secs())
            }
            Doubt::Jumped(by) => write!(f, "the clock of this machine jumped by {by} seconds, and nobody confirms it"),
        }
    }
}

/// What is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The time, as well as it is known.
    pub now: UnixTime,
    /// Why it is in doubt: then no order is placed for names that still have a valid certificate.
    pub doubt: Option<Doubt>,
    /// Another word of an authority would help.
    pub ask: bool,
}

/// The witnesses, and what was believed so far.
#[derive(Clone, Debug, Default)]
pub struct Quorum {
    /// What was believed at a moment of the monotonic clock.
    believed: Option<(UnixTime, Uptime)>,
    /// It was a lower bound and no clock's word.
    guessed: bool,
    heard: Option<(UnixTime, Uptime)>,
    newest: Option<UnixTime>,
    seen: Option<UnixTime>,
    jumped: Option<Uptime>,
    /// The last judgement was without doubt.
    sound: bool,
    /// Somebody else has borne our clock out since it last moved by itself: alone it proves nothing about the year.
    confirmed: bool,
}

/// What outlives a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// The newest `notBefore` that an authority gave us.
    pub newest_not_before: Option<UnixTime>,
    /// The last moment that was believed without doubt.
    pub seen: Option<UnixTime>,
    /// Somebody else had borne that out.
    #[serde(default)]
    pub confirmed: bool,
}

impl Quorum {
    /// What an earlier life remembered.
    pub fn new(memory: Memory) -> Quorum {
        let Memory { newest_not_before: newest, seen, confirmed } = memory;
        Quorum { newest, seen, confirmed, ..Quorum::default() }
    }

    /// What the next life should remember.
    pub fn memory(&self) -> Memory {
        Memory { newest_not_before: self.newest, seen: self.seen, confirmed: self.confirmed }
    }

    /// An authority dated an answer.
    pub fn heard(&mut self, date: UnixTime, at: Uptime) {
        self.heard = Some((date, at));
    }

    /// An authority gave us a certificate in force from `not_before`. One that is later than the authority's own clock
    /// proves nothing.
    pub fn accepted(&mut self, not_before: UnixTime, at: Uptime) {
        let date = self.heard.map(|heard| carried(heard, at));
        let fresh = |now: UnixTime| not_before <= now + TOLERANCE && now.since(not_before) <= FRESH;
        self.confirmed |= self.sound && self.believed.is_some_and(|believed| fresh(carried(believed, at)));
        if date.is_none_or(|date| not_before <= date + TOLERANCE) {
            self.newest = self.newest.max(Some(not_before));
        }
    }

    /// What to believe when the machine's clock says `system`.
    pub fn judge(&mut self, system: UnixTime, at: Uptime) -> Judgement {
        let heard = self.heard.filter(|(_, then)| at.saturating_sub(*then) <= HEARSAY).map(|heard| carried(heard, at));
        let judgement = match heard {
            Some(date) => self.beside(system, date, at),
            None => self.alone(system, at),
        };
        self.believed = Some((judgement.now, at));
        self.sound = judgement.doubt.is_none();
        if self.sound {
            (self.jumped, self.guessed, self.seen) = (None, false, Some(judgement.now));
        }
        judgement
    }

    /// With an authority's word.
    fn beside(&mut self, system: UnixTime, date: UnixTime, at: Uptime) -> Judgement {
        if agree(system, date) {
            self.confirmed = true;
            return Judgement { now: system, doubt: None, ask: false };
        }
        let (ours, theirs) = (self.possible(system), self.possible(date));
        let carried = self.believed.filter(|_| !self.guessed).map(|believed| carried(believed, at));
        // Whoever contradicts a certificate is wrong; else the clock that was right before and went on as it should; else the
        // authority, whose dates the certificates carry.
        let now = match (ours, theirs) {
            (true, false) => system,
            (true, true) if self.confirmed && carried.is_some_and(|carried| agree(carried, system)) => system,
            _ => date,
        };
        Judgement { now, doubt: Some(Doubt::Authority(seconds(date, system))), ask: false }
    }

    /// With nobody's word but our own.
    fn alone(&mut self, system: UnixTime, at: Uptime) -> Judgement {
        let doubted = |now, doubt| Judgement { now, doubt: Some(doubt), ask: true };
        if let Some(newest) = self.newest.filter(|_| !self.possible(system)) {
            let now = self.believed.map_or(newest, |believed| carried(believed, at).max(newest));
            self.guessed = true;
            return doubted(now, Doubt::Behind(newest.since(system)));
        }
        let sane = Judgement { now: system, doubt: None, ask: false };
        let Some(believed) = self.believed else { return self.first(system, at) };
        let carried = carried(believed, at);
        if agree(carried, system) || (self.guessed && system >= carried && system.since(carried) < TOO_FAR) {
            return sane;
        }
        let since = *self.jumped.get_or_insert(at);
        let far = system.since(carried).max(carried.since(system));
        if at.saturating_sub(since) > UNWITNESSED && far < TOO_FAR {
            self.confirmed = false;
            return sane;
        }
        doubted(carried, Doubt::Jumped(seconds(carried, system)))
    }

    /// The first look of a life: nothing was carried here but what was written down.
    fn first(&mut self, system: UnixTime, at: Uptime) -> Judgement {
        match self.seen {
            Some(seen) if seen.since(system) > TOLERANCE || system.since(seen) > LONG_OFF => {
                self.jumped = Some(at);
                Judgement { now: seen, doubt: Some(Doubt::Jumped(seconds(seen, system))), ask: true }
            }
            _ => Judgement { now: system, doubt: None, ask: false },
        }
    }

    /// Whether it can be `moment` now, after what was issued to us.
    fn possible(&self, moment: UnixTime) -> bool {
        self.newest.is_none_or(|newest| moment + TOLERANCE >= newest)
    }
}

fn carried((then, since): (UnixTime, Uptime), at: Uptime) -> UnixTime {
    then + at.saturating_sub(since)
}

fn agree(one: UnixTime, other: UnixTime) -> bool {
    one.since(other).max(other.since(one)) <= TOLERANCE
}

/// From one moment to another in seconds.
fn seconds(from: UnixTime, to: UnixTime) -> i64 {
    to.seconds().saturating_sub(from.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 366 * 86_400;
    const START: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn up(seconds: u64) -> Uptime {
        Duration::from_secs(seconds)
    }

    fn believe(quorum: &mut Quorum, system: UnixTime, at: u64) -> (UnixTime, bool) {
        let judged = quorum.judge(system, up(at));
        (judged.now, judged.doubt.is_some())
    }

    #[test]
    fn a_clock_that_goes_on_is_believed_and_small_steps_are_followed() {
        let mut quorum = Quorum::default();
        assert_eq!(believe(&mut quorum, START, 0), (START, false));
        for (system, at) in [(START + up(60), 60), (START + up(240), 120), (START + up(100), 180)] {
            assert_eq!(believe(&mut quorum, system, at), (system, false));
        }
    }

    #[test]
    fn a_jump_of_years_is_not_followed_until_an_authority_says_the_same() {
        let mut quorum = Quorum::default();
        quorum.judge(START, up(0));
        let far = START + up(9 * YEAR);
        let judged = quorum.judge(far, up(60));
        assert_eq!((judged.now, judged.ask), (START + up(60), true));
        assert!(matches!(judged.doubt, Some(Doubt::Jumped(by)) if by > 0));
        assert!(believe(&mut quorum, far + up(86_400), 86_460).1, "not even after a day: no certificate lives so long");
        quorum.heard(far + up(86_400), up(86_460));
        assert_eq!(believe(&mut quorum, far + up(86_401), 86_461), (far + up(86_401), false));
    }

    #[test]
    fn a_jump_back_undoes_nothing_and_one_of_days_is_believed_after_hours() {
        let mut quorum = Quorum::default();
        quorum.judge(START, up(0));
        let back = START - up(86_400);
        assert_eq!(believe(&mut quorum, back, 10), (START + up(10), true));
        assert_eq!(believe(&mut quorum, back + up(3600), 3610), (START + up(3610), true));
        assert_eq!(believe(&mut quorum, back + up(30_000), 30_010), (back + up(30_000), false));
    }

    #[test]
    fn a_clock_that_comes_back_is_believed_at_once() {
        let mut quorum = Quorum::default();
        quorum.judge(START, up(0));
        assert!(believe(&mut quorum, START + up(YEAR), 10).1);
        assert_eq!(believe(&mut quorum, START + up(20), 20), (START + up(20), false));
    }

    #[test]
    fn a_machine_that_wakes_up_in_1970_lives_at_its_newest_certificate_until_it_learns_more() {
        let memory = Memory { newest_not_before: Some(START), ..Memory::default() };
        let mut quorum = Quorum::new(memory);
        let judged = quorum.judge(UnixTime::from_seconds(9), up(5));
        assert_eq!((judged.now, judged.ask), (START, true));
        assert!(matches!(judged.doubt, Some(Doubt::Behind(_))));
        assert_eq!(believe(&mut quorum, UnixTime::from_seconds(19), 15), (START + up(10), true));
        let set = START + up(40 * 86_400);
        assert_eq!(believe(&mut quorum, set, 20), (set, false), "somebody has set the clock");
    }

    #[test]
    fn a_start_in_the_far_future_is_doubted_and_the_word_of_an_authority_decides() {
        let memory = Memory { newest_not_before: Some(START), seen: Some(START), confirmed: true };
        let (mut right, mut wrong) = (Quorum::new(memory), Quorum::new(memory));
        let far = START + up(3 * YEAR);
        assert_eq!(believe(&mut right, far, 0), (START, true));
        right.heard(far, up(1));
        assert_eq!(believe(&mut right, far + up(2), 2), (far + up(2), false), "it lay in a drawer for years");
        assert_eq!(believe(&mut wrong, far, 0), (START, true));
        wrong.heard(START + up(50), up(1));
        let judged = wrong.judge(far, up(2));
        assert_eq!((judged.now, judged.doubt.is_some()), (START + up(51), true));
    }

    #[test]
    fn an_authority_whose_clock_is_wrong_is_outvoted() {
        let mut quorum = Quorum::default();
        quorum.judge(START, up(0));
        quorum.accepted(START, up(0));
        quorum.heard(START - up(YEAR), up(10));
        assert_eq!(believe(&mut quorum, START + up(20), 20), (START + up(20), true), "it contradicts a certificate");
        quorum.heard(START + up(YEAR), up(30));
        assert_eq!(believe(&mut quorum, START + up(40), 40), (START + up(40), true), "our clock went on as it should");
        assert_eq!(believe(&mut quorum, START + up(90_000), 90_000), (START + up(90_000), false), "old words fade");
    }

    #[test]
    fn a_certificate_from_the_future_does_not_move_the_bound() {
        let mut quorum = Quorum::default();
        quorum.heard(START, up(0));
        quorum.accepted(START + up(YEAR), up(1));
        assert_eq!(quorum.memory().newest_not_before, None);
        quorum.accepted(START - up(3600), up(1));
        assert_eq!(quorum.memory().newest_not_before, Some(START - up(3600)));
    }

    #[test]
    fn a_machine_that_never_knew_the_time_believes_the_authority_and_not_its_own_clock() {
        let far = START + up(9 * YEAR);
        let mut quorum = Quorum::default();
        assert_eq!(believe(&mut quorum, far, 0), (far, false), "nobody else has spoken");
        quorum.heard(START, up(5));
        assert_eq!(believe(&mut quorum, far + up(6), 6), (START + up(1), true));
        // What it issues now is in force by its own time.
        quorum.accepted(START - up(3600), up(7));
        assert_eq!(believe(&mut quorum, far + up(8), 8), (START + up(3), true));
        assert!(!quorum.memory().confirmed);
    }

    #[test]
    fn a_jump_that_was_believed_for_want_of_witnesses_is_taken_back_when_one_speaks() {
        let mut quorum = Quorum::new(Memory { confirmed: true, ..Memory::default() });
        quorum.judge(START, up(0));
        let jump = up(100 * 86_400);
        quorum.judge(START + jump + up(10), up(10));
        assert_eq!(believe(&mut quorum, START + jump + up(30_000), 30_000), (START + jump + up(30_000), false));
        quorum.heard(START + up(30_010), up(30_010));
        assert_eq!(believe(&mut quorum, START + jump + up(30_020), 30_020), (START + up(30_020), true));
    }

    #[test]
    fn a_machine_that_was_off_for_weeks_asks_before_it_believes_its_clock() {
        let memory = Memory { newest_not_before: None, seen: Some(START), confirmed: true };
        let mut short = Quorum::new(memory);
        assert!(!believe(&mut short, START + up(6 * 86_400), 0).1);
        let (mut right, mut wrong) = (Quorum::new(memory), Quorum::new(memory));
        let later = START + up(40 * 86_400);
        for quorum in [&mut right, &mut wrong] {
            let judged = quorum.judge(later, up(0));
            assert_eq!((judged.now, judged.ask), (START, true));
        }
        right.heard(later, up(2));
        assert_eq!(believe(&mut right, later + up(3), 3), (later + up(3), false));
        wrong.heard(START + up(20), up(2));
        assert_eq!(believe(&mut wrong, later + up(3), 3), (START + up(21), true));
        let mut alone = Quorum::new(memory);
        alone.judge(later, up(0));
        assert!(!believe(&mut alone, later + up(22_000), 22_000).1, "after hours without a word it is believed");
    }
}
