//! What do the rules remember of one certificate on one node?

use crate::disk::Kept;
use semper::cert::ari::Choice;
use semper::clock::UnixTime;

/// What the rules remember of one certificate on one node.
#[derive(Debug, Default)]
pub struct Watch {
    /// The newest epoch that was shown to clients.
    pub shown: u64,
    /// The newest epoch that the disk took.
    pub stored: u64,
    /// The window and the moment chosen in it.
    pub choice: Option<(u64, Choice)>,
    /// Events at one moment.
    pub burst: (UnixTime, u32),
    /// Requests in ten minutes.
    pub requests: (UnixTime, u32),
    /// Orders in an hour.
    pub orders: (UnixTime, u32),
    /// The last failure of which an authority may take note, and the last time it said "later".
    pub invalid: Option<UnixTime>,
    pub limited: Option<UnixTime>,
    /// The authority that was asked last.
    pub asked: Option<usize>,
    /// An authority wants it renewed now, since then.
    pub urged: Option<UnixTime>,
    /// Its authority was asked about renewal last.
    pub asked_about: UnixTime,
    /// Its keeper began then.
    pub started: UnixTime,
    /// Somebody noticed that it was revoked: when, by whom, its serial.
    pub revoked: Option<(UnixTime, usize, u64)>,
}

impl Watch {
    /// It left the configuration.
    pub fn left(&mut self) {
        self.shown = self.stored;
        self.urged = None;
    }

    /// The journal is gone, and with it the choice.
    pub fn forget_choice(&mut self) {
        self.choice = None;
    }

    /// The disk took a generation.
    pub fn stored(&mut self, kept: &Kept) {
        self.stored = self.stored.max(kept.epoch);
    }
}
