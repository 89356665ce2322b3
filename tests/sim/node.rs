//! What is a node? One process with its clock, its disk, and for each certificate what its keeper has in memory.

use crate::authority::Name;
use crate::disk::{File, Folder, Health, Kept};
use crate::hand::Work;
use crate::watch::Watch;
use semper::cert::ledger::Ledger;
use semper::cert::overdue::OverdueClock;
use semper::cert::quorum::{Judgement, Quorum};
use semper::cert::stage::{Policy, Stage};
use semper::clock::UnixTime;
use semper::plan::certificate::CertSpec;
use semper::words::Identifier;
use std::sync::Arc;
use std::time::Duration;

/// The civil clock of a node: true time, wrongly told.
#[derive(Default)]
pub struct Clockwork {
    /// Milliseconds by which it is ahead.
    offset: i64,
    /// Milliseconds gained in a day.
    drift: i64,
    /// The drift counts from then on (true time).
    since: UnixTime,
    /// Wrong from then on, until it is mended.
    pub wrong: bool,
    /// When it was set last, and when by more than a day (true time).
    pub set_at: UnixTime,
    pub leapt_at: Option<UnixTime>,
}

impl Clockwork {
    /// What it shows.
    pub fn shows(&self, now: UnixTime) -> UnixTime {
        if !self.wrong {
            return now;
        }
        let days = (now.0 - self.since.0) as f64 / 86_400_000.0;
        UnixTime(now.0 + self.offset + (self.drift as f64 * days) as i64)
    }

    pub fn set(&mut self, now: UnixTime, offset: i64, drift: i64) {
        if (offset - self.offset).abs() > 86_400_000 {
            self.leapt_at = Some(now);
        }
        (self.offset, self.drift, self.since, self.set_at) = (offset, drift, now, now);
        self.wrong = offset != 0 || drift != 0;
    }

    /// Whether it is off by no more than anyone would mind.
    pub fn is_sane(&self, now: UnixTime) -> bool {
        !self.wrong || (self.shows(now).0 - now.0).abs() < 300_000
    }
}

/// For what a certificate is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The configuration wants it.
    Own,
    /// It stands ready behind another one.
    Standby { of: usize },
    /// One name that was split off another one.
    Apart { of: usize, name: Name },
}

impl Role {
    /// The certificate that it stands behind.
    pub fn behind(self) -> Option<usize> {
        match self {
            Role::Own => None,
            Role::Standby { of } | Role::Apart { of, .. } => Some(of),
        }
    }
}

/// The keeper of one certificate, in memory; and what the configuration says of it.
pub struct Keeping {
    pub role: Role,
    pub spec: Arc<CertSpec>,
    pub names: Arc<[Name]>,
    /// In the configuration.
    pub wanted: bool,
    /// The authorities it may use, by their places, the first first.
    pub issuers: Vec<usize>,
    pub policy: Policy,
    pub stage: Stage,
    /// The journal on disk says the same as `stage`.
    pub journaled: bool,
    /// What clients are shown.
    pub served: Option<Kept>,
    /// The newest generation, in memory: it stays, whatever becomes of the disk.
    pub published: Option<Kept>,
    /// What they are shown for single names.
    pub served_apart: Vec<(Name, Kept)>,
    /// What is shown is looked at again then.
    pub look_again: UnixTime,
    /// In force but not on disk, and when it is tried again (by the clock of the node).
    pub unstored: Option<(Kept, UnixTime)>,
    pub work: Option<Work>,
    /// Names that somebody is looking at from outside.
    pub looking: Vec<Identifier>,
    /// The one alarm that counts: when (true time), and its number in the queue.
    pub alarm: (UnixTime, u64),
    /// What the rules remember.
    pub watch: Watch,
}

/// One node.
pub struct Node {
    pub up: bool,
    /// Counts starts, so that answers to a dead process are dropped.
    pub life: u32,
    pub clock: Clockwork,
    /// The time as the node judges it; `None`: somebody else tells it when its clock is wrong.
    pub quorum: Option<Quorum>,
    /// What was judged at this moment.
    pub judged: Judgement,
    /// The next look at the clock, by its number in the queue.
    pub clock_look: u64,
    pub health: Health,
    pub keeping: Vec<Keeping>,
    /// On disk, by certificate.
    pub folders: Vec<Folder>,
    /// On disk, by authority: the account.
    pub accounts: Vec<File<u64>>,
    /// What of the limits is used up: in memory and on disk.
    pub ledger: Ledger,
    pub books: File<Ledger>,
    /// In memory, by authority: the account.
    pub known: Vec<Option<u64>>,
    /// In memory, by authority: which directory was read.
    pub directories: Vec<u32>,
    /// Orders that run, by authority.
    pub running: Vec<usize>,
    /// The ledger was written last then (true time).
    pub booked: UnixTime,
    /// The thread that looks for what should have been renewed.
    pub overdue: OverdueClock,
    /// Something was wrong with its disk, clock or configuration then (true time).
    pub disturbed: UnixTime,
    /// Its disk refused to write then (true time).
    pub refused: UnixTime,
}

impl Node {
    pub fn new(keeping: Vec<Keeping>, authorities: usize) -> Node {
        Node {
            up: false,
            life: 0,
            clock: Clockwork::default(),
            quorum: None,
            judged: Judgement { now: UnixTime(0), doubt: None, ask: false },
            clock_look: 0,
            health: Health::Well,
            folders: keeping.iter().map(|_| Folder::default()).collect(),
            keeping,
            accounts: (0..authorities).map(|_| File::default()).collect(),
            known: vec![None; authorities],
            directories: vec![0; authorities],
            ledger: Ledger::default(),
            books: File::default(),
            running: vec![0; authorities],
            booked: UnixTime(i64::MIN),
            overdue: OverdueClock::default(),
            disturbed: UnixTime(i64::MIN),
            refused: UnixTime(i64::MIN),
        }
    }

    /// Judges the time, as the production clock does whenever it is asked.
    pub fn judge(&mut self, now: UnixTime) {
        let system = self.clock.shows(now);
        self.judged = match &mut self.quorum {
            Some(quorum) => quorum.judge(system, uptime(now)),
            None => Judgement { now: system, doubt: None, ask: false },
        };
    }

    /// The time by which certificates are kept here.
    pub fn civil(&self) -> UnixTime {
        self.judged.now
    }

    /// An authority dated an answer.
    pub fn heard(&mut self, now: UnixTime) {
        if let Some(quorum) = &mut self.quorum {
            quorum.heard(now, uptime(now));
        }
    }

    /// An authority issued a certificate.
    pub fn accepted(&mut self, not_before: UnixTime, now: UnixTime) {
        if let Some(quorum) = &mut self.quorum {
            quorum.accepted(not_before, uptime(now));
        }
    }

    /// Whether the time is in doubt.
    pub fn in_doubt(&self, now: UnixTime) -> bool {
        match self.quorum {
            Some(_) => self.judged.doubt.is_some(),
            None => !self.clock.is_sane(now),
        }
    }
}

/// The clock that nobody sets.
pub fn uptime(now: UnixTime) -> Duration {
    now.since(UnixTime::from_seconds(1_799_000_000))
}
