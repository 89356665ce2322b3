//! What is played? How many certificates of which lives at which authorities, which faults how often and for how long,
//! and which of the rules hold beyond those that always do.

use crate::books::Limits;
use crate::dice::Dice;
use crate::fault::{self, Fault};
use std::time::Duration;

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86_400);

/// A kind of faults: which, how far apart on average, how long at most.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub kinds: &'static [Fault],
    pub every: Duration,
    pub shortest: Duration,
    pub longest: Duration,
}

/// No such faults.
pub const FAIR: Weather =
    Weather { kinds: &[], every: Duration::ZERO, shortest: Duration::ZERO, longest: Duration::ZERO };

/// Faults of these kinds, so far apart, that last for minutes or at most for so long.
const fn faults(kinds: &'static [Fault], every: Duration, longest: Duration) -> Weather {
    Weather { kinds, every, shortest: MINUTE, longest }
}

/// One authority of a scenario.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Lives of what it issues; a run takes one of them.
    pub lives: &'static [Duration],
    pub limits: Option<Limits>,
    /// The built-in one.
    pub internal: bool,
    pub weather: Weather,
    pub ari: Weather,
}

/// What is played.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub nodes: usize,
    pub certificates: usize,
    /// Names of one certificate: one to so many.
    pub names: usize,
    /// Certificates that are in the configuration from the start; the others may join.
    pub wanted: f64,
    pub signers: Vec<Signer>,
    /// Faults may happen for so long; a quiet time follows.
    pub stormy: Duration,
    pub quiet: Duration,
    pub ways: Weather,
    pub disk: Weather,
    pub clock: Weather,
    pub people: Weather,
    /// Chance of a crash between any two deeds.
    pub crash: f64,
    /// Mean time between crashes in the middle of nothing.
    pub crash_every: Duration,
    /// Faults of authorities come one at a time, at least so far apart.
    pub apart: Option<Duration>,
    /// At most so many orders may begin in a minute, after the first day.
    pub herd: Option<u32>,
    /// No name may expire at any time.
    pub nothing_expires: bool,
    /// A second authority keeps a certificate ready behind each.
    pub standby: bool,
    /// Nodes judge the time themselves, beside witnesses; else somebody tells them. A storm has both.
    pub judged: bool,
    /// Every name has its first certificate by then.
    pub first_by: Option<Duration>,
}

const LONG: &[Duration] = &[Duration::from_secs(90 * 86_400)];
const REAL: &[Duration] = &[
    Duration::from_secs(90 * 86_400),
    Duration::from_secs(45 * 86_400),
    Duration::from_secs(160 * 3600),
    Duration::from_secs(6 * 86_400),
];

/// Let's Encrypt, with weather.
pub fn lets_encrypt(lives: &'static [Duration], weather: Weather, ari: Weather) -> Signer {
    Signer { lives, limits: Some(Limits::lets_encrypt()), internal: false, weather, ari }
}

impl Scenario {
    /// One certificate at one well authority, nothing goes wrong.
    pub fn plain() -> Scenario {
        Scenario {
            name: "plain",
            nodes: 1,
            certificates: 6,
            names: 3,
            wanted: 1.0,
            signers: vec![lets_encrypt(REAL, FAIR, FAIR)],
            stormy: DAY * 200,
            quiet: DAY * 20,
            ways: FAIR,
            disk: FAIR,
            clock: FAIR,
            people: FAIR,
            crash: 0.0,
            crash_every: Duration::ZERO,
            apart: None,
            herd: None,
            nothing_expires: true,
            standby: false,
            judged: false,
            first_by: Some(HOUR),
        }
    }

    /// The first authority is away for longer than a life; a standby from the second one steps in.
    pub fn standing_by() -> Scenario {
        const AWAY: &[Fault] = &[Fault::Down, Fault::LimitedForAYear, Fault::Caa];
        let weather = Weather { shortest: DAY * 20, ..faults(AWAY, DAY * 30, DAY * 60) };
        Scenario {
            name: "standing by",
            signers: vec![lets_encrypt(REAL, weather, FAIR), lets_encrypt(REAL, FAIR, FAIR)],
            stormy: DAY * 300,
            crash: 0.001,
            crash_every: DAY * 10,
            standby: true,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// The same, and what is shown is revoked now and then. What has expired is shown before what is revoked.
    pub fn revoking() -> Scenario {
        const REVOKES: &[Fault] = &[Fault::Revoked];
        let people = faults(REVOKES, DAY * 9, DAY);
        Scenario { name: "revoking", people, nothing_expires: false, ..Scenario::standing_by() }
    }

    /// Everything at once.
    pub fn storm() -> Scenario {
        let weather = faults(fault::OF_AUTHORITY, HOUR * 40, DAY * 4);
        let ari = faults(fault::OF_ARI, DAY * 8, DAY * 8);
        Scenario {
            name: "storm",
            certificates: 8,
            wanted: 0.8,
            signers: vec![lets_encrypt(REAL, weather, ari), lets_encrypt(REAL, weather, ari)],
            stormy: DAY * 200,
            quiet: DAY * 40,
            ways: faults(fault::OF_NAMES, DAY * 2, DAY * 6),
            disk: faults(fault::OF_DISK, DAY * 6, DAY),
            clock: faults(fault::OF_CLOCK, DAY * 12, DAY),
            people: faults(fault::OF_PEOPLE, DAY * 3, DAY),
            crash: 0.002,
            crash_every: DAY * 5,
            nothing_expires: false,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// Lives of a minute, at an authority of one's own without limits.
    pub fn minutes() -> Scenario {
        const MINUTES: &[Duration] = &[Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3600)];
        let internal = Signer { lives: MINUTES, limits: None, internal: true, weather: FAIR, ari: FAIR };
        Scenario {
            name: "minutes",
            certificates: 4,
            signers: vec![internal],
            stormy: HOUR * 20,
            quiet: HOUR * 4,
            disk: faults(fault::OF_DISK, HOUR, HOUR),
            clock: faults(fault::OF_CLOCK, HOUR * 3, HOUR),
            people: faults(fault::OF_PEOPLE, HOUR, HOUR),
            crash: 0.001,
            crash_every: HOUR * 2,
            nothing_expires: false,
            first_by: None,
            wanted: 0.8,
            ..Scenario::plain()
        }
    }

    /// One authority that is away for up to 25 of the 30 days that are left when a renewal is due.
    pub fn outage() -> Scenario {
        const AWAY: &[Fault] = &[
            Fault::Down,
            Fault::OrderStuckPending,
            Fault::AuthorizationStuck,
            Fault::StuckProcessing,
            Fault::Limited,
            Fault::LimitedForAYear,
            Fault::CannotSee,
            Fault::RefusesReplaces,
            Fault::Caa,
            Fault::ForgetsOrders,
            Fault::NewOrderAnswerLost,
        ];
        let weather = Weather { shortest: HOUR * 12, ..faults(AWAY, DAY * 25, DAY * 25) };
        Scenario {
            name: "outage",
            certificates: 8,
            signers: vec![Signer { lives: LONG, ..lets_encrypt(LONG, weather, FAIR) }],
            stormy: DAY * 400,
            apart: Some(DAY * 2),
            crash: 0.002,
            crash_every: DAY * 10,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// The first authority is nearly always broken, the second is well.
    pub fn second_authority() -> Scenario {
        let weather = faults(fault::OF_AUTHORITY, HOUR * 10, DAY * 60);
        Scenario {
            name: "second authority",
            signers: vec![lets_encrypt(REAL, weather, FAIR), lets_encrypt(REAL, FAIR, FAIR)],
            stormy: DAY * 300,
            crash: 0.001,
            crash_every: DAY * 10,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// Lives of six days at an authority that issues what is no good.
    pub fn six_days_of_bad_certificates() -> Scenario {
        const BAD: &[Fault] = &[
            Fault::CertificateHtml,
            Fault::CertificateTruncated,
            Fault::CertificateWrongKey,
            Fault::CertificateWrongNames,
            Fault::CertificateExpired,
        ];
        const SIX: &[Duration] = &[Duration::from_secs(6 * 86_400)];
        let weather = faults(BAD, DAY * 5, DAY * 12);
        Scenario {
            name: "six days",
            signers: vec![lets_encrypt(SIX, weather, FAIR)],
            stormy: DAY * 120,
            crash: 0.0,
            nothing_expires: false,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// Five hundred names from nothing.
    pub fn five_hundred() -> Scenario {
        Scenario {
            name: "five hundred",
            certificates: 500,
            names: 1,
            signers: vec![lets_encrypt(LONG, FAIR, FAIR)],
            stormy: DAY,
            quiet: DAY * 10,
            first_by: Some(DAY),
            ..Scenario::plain()
        }
    }

    /// One authority that is away for three of the four weeks that are left, again and again.
    pub fn siege() -> Scenario {
        const AWAY: &[Fault] = &[Fault::Down, Fault::Limited, Fault::Caa, Fault::AuthorizationStuck];
        let weather = Weather { shortest: DAY * 20, ..faults(AWAY, DAY, DAY * 25) };
        Scenario {
            name: "siege",
            signers: vec![lets_encrypt(LONG, weather, FAIR)],
            stormy: DAY * 300,
            apart: Some(DAY * 2),
            first_by: None,
            nothing_expires: true,
            ..Scenario::plain()
        }
    }

    /// One authority whose authorizations never move, for three of the four weeks that are left.
    pub fn stuck() -> Scenario {
        const STUCK: &[Fault] = &[Fault::AuthorizationStuck];
        let weather = Weather { shortest: DAY * 23, ..faults(STUCK, DAY, DAY * 26) };
        Scenario { name: "stuck", signers: vec![lets_encrypt(LONG, weather, FAIR)], ..Scenario::siege() }
    }

    /// A process that dies every few seconds, at an authority that does not answer.
    pub fn looping() -> Scenario {
        const AWAY: &[Fault] = &[Fault::Down];
        let weather = Weather { shortest: HOUR * 4, ..faults(AWAY, Duration::from_secs(5), HOUR * 5) };
        Scenario {
            name: "looping",
            signers: vec![lets_encrypt(LONG, weather, FAIR)],
            stormy: HOUR * 5,
            quiet: DAY,
            crash_every: Duration::from_secs(15),
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// The process is killed and the power fails in the middle of everything; the disk keeps its word.
    pub fn killed() -> Scenario {
        Scenario { name: "killed", crash: 0.05, crash_every: DAY * 3, first_by: None, ..Scenario::plain() }
    }

    /// A disk that takes nothing for weeks, on a machine that stays up.
    pub fn full_disk() -> Scenario {
        const FULL: &[Fault] = &[Fault::DiskFull, Fault::DiskReadOnly];
        let disk = Weather { shortest: DAY, ..faults(FULL, DAY * 20, DAY * 60) };
        Scenario { name: "full disk", disk, first_by: None, ..Scenario::plain() }
    }

    /// An authority that never takes `replaces`.
    pub fn stubborn() -> Scenario {
        const STUBBORN: &[Fault] = &[Fault::RefusesReplaces];
        let weather = Weather { shortest: DAY * 190, ..faults(STUBBORN, DAY, DAY * 200) };
        Scenario {
            name: "stubborn",
            signers: vec![lets_encrypt(REAL, weather, FAIR)],
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// A clock that jumps by years, there and back.
    pub fn lying_clock() -> Scenario {
        Scenario {
            name: "lying clock",
            judged: true,
            certificates: 30,
            clock: faults(fault::OF_CLOCK_YEARS, DAY * 12, DAY * 2),
            nothing_expires: true,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// A thousand certificates that are born in the same minutes, at an authority without limits.
    pub fn herd() -> Scenario {
        let internal = Signer { lives: LONG, limits: None, internal: true, weather: FAIR, ari: FAIR };
        Scenario {
            name: "herd",
            certificates: 1000,
            names: 1,
            signers: vec![internal],
            stormy: DAY * 70,
            quiet: DAY,
            herd: Some(20),
            ..Scenario::plain()
        }
    }

    /// Authorities that say 429, for hours or for a year; the second one is well.
    pub fn busy() -> Scenario {
        const BUSY: &[Fault] = &[Fault::Limited, Fault::LimitedForAYear, Fault::Busy503];
        let weather = faults(BUSY, HOUR * 20, DAY * 40);
        Scenario {
            name: "busy",
            signers: vec![lets_encrypt(REAL, weather, FAIR), lets_encrypt(REAL, FAIR, FAIR)],
            stormy: DAY * 150,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// One well authority; the power fails, the process is killed, the disk is full for weeks.
    pub fn frail() -> Scenario {
        const FULL: &[Fault] = &[Fault::DiskFull, Fault::DiskReadOnly];
        Scenario {
            name: "frail",
            signers: vec![lets_encrypt(REAL, FAIR, FAIR)],
            stormy: DAY * 200,
            disk: faults(FULL, DAY * 10, DAY * 10),
            crash: 0.02,
            crash_every: DAY * 3,
            first_by: None,
            nothing_expires: false,
            ..Scenario::plain()
        }
    }

    /// Two authorities of different lives, both away now and then: a newer generation may end before an older one.
    pub fn uneven() -> Scenario {
        const SHORT: &[Duration] = &[Duration::from_secs(6 * 86_400)];
        const AWAY: &[Fault] = &[Fault::Down];
        let weather = faults(AWAY, DAY * 12, DAY * 20);
        Scenario {
            name: "uneven",
            signers: vec![lets_encrypt(LONG, weather, FAIR), lets_encrypt(SHORT, weather, FAIR)],
            stormy: DAY * 200,
            nothing_expires: false,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// Names whose addresses belong to somebody else for days, and which then come back.
    pub fn moved_away() -> Scenario {
        const AWAY: &[Fault] = &[Fault::MovedAway];
        let ways = Weather { shortest: DAY * 4, ..faults(AWAY, HOUR * 8, DAY * 20) };
        Scenario {
            name: "moved away",
            stormy: DAY * 80,
            quiet: DAY * 4,
            ways,
            nothing_expires: false,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// A hundred certificates for years, now and then a fault: what the speed is measured with.
    pub fn years() -> Scenario {
        let weather = faults(fault::OF_AUTHORITY, DAY * 20, DAY * 2);
        Scenario {
            name: "years",
            certificates: 100,
            signers: vec![lets_encrypt(LONG, weather, FAIR), lets_encrypt(LONG, FAIR, FAIR)],
            stormy: DAY * 700,
            crash_every: DAY * 30,
            nothing_expires: false,
            first_by: None,
            ..Scenario::plain()
        }
    }

    /// What a run of this seed takes of `lives`.
    pub fn life(signer: &Signer, dice: &mut Dice) -> Duration {
        dice.pick(signer.lives)
    }
}
