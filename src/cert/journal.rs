//! What must be written down before it is done? The records from which a crash is mended, and the port to the place
//! where they are kept. The records are words; `store` keeps them, `acme` and `node` write them.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::bundle::Bundle;
use super::stage::Stage;
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;
use crate::words::Identifier;

/// The version of every record below. A record of a later version is left alone and not understood.
pub const VERSION: u32 = 1;

/// Keeps bundles and small records. Every change is durable when the call returns, and a crash at any moment leaves
/// the old content or the new one. Calls block; callers on a runtime use a blocking thread.
pub trait Shelf: Send + Sync {
    /// Reads a record.
    fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError>;
    /// Writes a record.
    fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError>;
    /// Takes a record away; none is no error.
    fn remove(&self, record: &Record) -> Result<(), ShelfError>;
    /// Puts a damaged record where nobody reads it but people.
    fn set_aside(&self, record: &Record) -> Result<(), ShelfError> {
        self.remove(record)
    }
    /// The newest generation that can be read.
    fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError>;
    /// Every generation that is kept and can be read, the newest first.
    fn bundles(&self, id: &CertId) -> Result<Vec<Bundle>, ShelfError> {
        Ok(self.bundle(id)?.into_iter().collect())
    }
    /// Every certificate of which something is kept.
    fn ids(&self) -> Result<Vec<CertId>, ShelfError> {
        Ok(Vec::new())
    }
    /// Puts everything of a certificate aside, where it is no longer found; nothing is destroyed.
    fn archive(&self, _id: &CertId) -> Result<(), ShelfError> {
        Ok(())
    }
    /// Puts a new generation in force if the one in force is still that of epoch `expected` (`None`: there is none).
    /// Older generations are kept, some of them.
    fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError>;
    /// Never again takes this generation for one that may be in force, unless there is no other: it is revoked, or its
    /// key is known to others.
    fn disown(&self, id: &CertId, epoch: u64) -> Result<(), ShelfError>;
}

/// Which record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// The account key shared by every issuer (PEM).
    SharedAccountKey,
    /// The account key of one issuer alone, by the issuer's name (PEM).
    AccountKey(String),
    /// The key that takes the place of [`Record::SharedAccountKey`] at present (PEM).
    NextSharedAccountKey,
    /// The key that takes the place of [`Record::AccountKey`] at present (PEM).
    NextAccountKey(String),
    /// The account at an issuer, by the issuer's name ([`Account`]).
    Account(String),
    /// Root and key of a built-in authority, by the issuer's name (PEM).
    Authority(String),
    /// The intermediate of a built-in authority and its key, by the issuer's name (PEM).
    Intermediate(String),
    /// Where a certificate stands ([`StageRecord`]).
    Stage(CertId),
    /// The order under way ([`Order`]).
    Order(CertId),
    /// When a certificate left the configuration ([`Left`](super::left::Left)).
    Left(CertId),
    /// What of the authorities' limits is used up ([`Ledger`](super::ledger::Ledger)).
    Ledger,
    /// What the operator has asked for ([`Wishes`](super::wishes::Wishes)).
    Wishes,
    /// Which names are held on demand ([`Desk`](super::on_demand::Desk)).
    OnDemand,
}

/// Why the shelf did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk refused. The operator's to mend; trying again is safe.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process holds the state path. Two writers would harm each other.
    #[error("{path} is in use by another process")]
    InUse {
        /// The state path.
        path: String,
    },
    /// The state path has another format, of a later version perhaps. Nothing was touched.
    #[error("{path} is not a state path of this version")]
    Format {
        /// The state path.
        path: String,
    },
    /// Another generation is in force than the caller believed.
    #[error("generation {found:?} is in force, not {expected:?}")]
    Conflict {
        /// What the caller believed.
        expected: Option<u64>,
        /// What is there.
        found: Option<u64>,
    },
}

/// The journal of one certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// See [`VERSION`].
    pub version: u32,
    /// Where it stands.
    pub stage: Stage,
}

impl StageRecord {
    /// The text of a stage.
    pub fn write(stage: &Stage) -> Vec<u8> {
        json(&StageRecord { version: VERSION, stage: stage.clone() })
    }

    /// Reads [`StageRecord::write`]; `None` for anything damaged or of another version: the store then leads alone.
    pub fn read(text: &[u8]) -> Option<Stage> {
        serde_json::from_slice(text).ok().filter(|r: &StageRecord| r.version == VERSION).map(|r| r.stage)
    }
}

/// An order under way. Written before the authority is asked, and again with every step that could not be repeated.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// See [`VERSION`].
    pub version: u32,
    /// The issuer's name.
    pub issuer: String,
    /// The directory URL behind it.
    pub authority: String,
    /// The names that were ordered.
    pub identifiers: Vec<Identifier>,
    /// The key of the certificate to be (PEM). Secret.
    pub key: String,
    /// When the order was begun.
    pub began_at: UnixTime,
    /// The order's URL, once the authority said it.
    pub url: Option<String>,
    /// The request for the certificate has been sent, or is about to be: the certificate may exist.
    pub finalizing: bool,
    /// What came as its certificate was no good: the order is never taken up again.
    #[serde(default)]
    pub spoiled: bool,
    /// It was left once while the authority was processing it: a second time is the last.
    #[serde(default)]
    pub stalled: bool,
}

impl Order {
    /// The text of the record, wiped after use.
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        // Room for everything from the start, so that no copy of the key stays behind.
        let mut out = Zeroizing::new(Vec::with_capacity(16_384 + self.identifiers.len() * 300));
        if serde_json::to_writer(&mut *out, self).is_err() {
            out.clear();
        }
        out
    }

    /// Reads [`Order::write`].
    pub fn read(text: &[u8]) -> Option<Order> {
        serde_json::from_slice(text).ok().filter(|order: &Order| order.version == VERSION)
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("issuer", &self.issuer).field("url", &self.url).finish_non_exhaustive()
    }
}

/// An account at an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// See [`VERSION`].
    pub version: u32,
    /// The directory URL it belongs to.
    pub authority: String,
    /// Its URL: the key identifier of every request.
    pub url: String,
    /// The thumbprint of its key.
    pub thumbprint: String,
    /// The contacts that were registered.
    pub contacts: Vec<String>,
}

impl Account {
    /// The text of the record.
    pub fn write(&self) -> Vec<u8> {
        json(self)
    }

    /// Reads [`Account::write`].
    pub fn read(text: &[u8]) -> Option<Account> {
        serde_json::from_slice(text).ok().filter(|account: &Account| account.version == VERSION)
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("records are plain data with text keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_version_or_a_damaged_one_is_not_understood() {
        let text = StageRecord::write(&Stage::new());
        assert_eq!(StageRecord::read(&text), Some(Stage::new()));
        assert_eq!(StageRecord::read(&text[..text.len() - 2]), None);
        let later = String::from_utf8(text).unwrap().replace("\"version\": 1", "\"version\": 2");
        assert_eq!(StageRecord::read(later.as_bytes()), None);
    }

    #[test]
    fn an_order_never_shows_its_key() {
        let order = Order {
            version: VERSION,
            issuer: "a".into(),
            authority: "https://a/".into(),
            identifiers: vec![],
            key: "-----BEGIN".into(),
            began_at: UnixTime(0),
            url: None,
            finalizing: false,
            spoiled: false,
            stalled: false,
        };
        assert!(!format!("{order:?}").contains("BEGIN"));
        assert_eq!(Order::read(&order.write()).unwrap().key, "-----BEGIN");
    }
}
