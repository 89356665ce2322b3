//! What of names on demand outlives a restart? One record: which are held, since when, when they were last used and asked
//! about. The time during which semper did not run does not count as time without use.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Desk;
use crate::cert::journal::VERSION;
use crate::clock::UnixTime;
use crate::plan::on_demand::OnDemand;
use crate::words::DomainName;

/// A name that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Since when.
    pub since: UnixTime,
    /// When a client last asked for it, to the hour.
    pub used: UnixTime,
    /// When `ask` last said yes; `None` for names of the allow-list.
    #[serde(default)]
    pub asked: Option<UnixTime>,
    /// Then it is asked about again.
    pub until: UnixTime,
    /// Since when `ask` has been saying no.
    #[serde(default)]
    pub denied: Option<UnixTime>,
    /// How often in a row.
    #[serde(default)]
    pub denials: u32,
    /// It is renewed no more, because `ask` stays with its no.
    #[serde(default)]
    pub stopped: bool,
    /// What was said instead of yes.
    #[serde(default)]
    pub words: String,
    /// It stands on the allow-list of the present configuration. Only in what is shown.
    #[serde(default)]
    pub listed: bool,
}

impl Held {
    /// From now on, on the word of `ask`, or (`listed`) of the allow-list.
    pub(super) fn since(now: UnixTime, listed: bool, yes_for: Duration) -> Held {
        Held {
            since: now,
            used: now,
            asked: (!listed).then_some(now),
            until: now + yes_for,
            denied: None,
            denials: 0,
            stopped: false,
            words: String::new(),
            listed: false,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    written: UnixTime,
    names: Vec<Named>,
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: DomainName,
    #[serde(flatten)]
    held: Held,
}

impl Desk {
    /// The text of the record.
    pub fn write(&self, now: UnixTime) -> Vec<u8> {
        let names = self.held().map(|(name, held)| Named { name: name.clone(), held: held.clone() });
        let mut names: Vec<Named> = names.collect();
        names.sort_by(|one, other| one.name.cmp(&other.name));
        serde_json::to_vec(&Record { version: VERSION, written: now, names }).unwrap_or_default()
    }

    /// Goes on where [`Desk::write`] stood; `None` for anything damaged or of another version.
    pub fn read(terms: Arc<OnDemand>, text: &[u8], now: UnixTime) -> Option<Desk> {
        let record: Record = serde_json::from_slice(text).ok().filter(|record: &Record| record.version == VERSION)?;
        let away = now.since(record.written);
        let mut desk = Desk::new(terms);
        for Named { name, held } in record.names {
            desk.held.insert(name, Held { used: held.used + away, ..held });
        }
        Some(desk)
    }
}
