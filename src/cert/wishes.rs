//! What has the operator asked for that outlives a restart? Certificates that are left alone, and such that are still to be
//! revoked. Records only; `node` keeps and fulfils them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::journal::VERSION;
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;

/// The wishes of one state path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// See [`VERSION`].
    pub version: u32,
    /// Certificates that are not renewed until somebody says so, and since when.
    #[serde(default)]
    pub paused: BTreeMap<String, UnixTime>,
    /// Who said so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paused_by: BTreeMap<String, String>,
    /// Certificates that are to be revoked as soon as another one is in force.
    #[serde(default)]
    pub revocations: Vec<Revocation>,
}

/// A certificate that is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: UnixTime,
    /// The account on this machine that said so; empty for pauses of earlier releases.
    pub by: String,
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let second = UnixTime(self.since.0 - self.since.0.rem_euclid(1000));
        match &*self.by {
            "" => write!(f, "since {second}"),
            by => write!(f, "since {second} by {by}"),
        }
    }
}

/// A certificate that is to be revoked. It carries its key, because the generation may be gone from the shelf by then.
#[derive(Clone, Serialize, Deserialize)]
pub struct Revocation {
    /// Which certificate.
    pub id: CertId,
    /// Which generation of it.
    pub epoch: u64,
    /// The issuer's name.
    pub issuer: String,
    /// The leaf, PEM.
    pub leaf: String,
    /// Its key, PEM. Secret.
    pub key: String,
    /// The reason's number (RFC 5280 5.3.1).
    pub reason: u8,
    /// When somebody asked for it.
    pub asked_at: UnixTime,
    /// What the authority said to the last try.
    #[serde(default)]
    pub trouble: Option<String>,
}

impl Drop for Revocation {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocation").field("id", &self.id).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Wishes {
    /// The text of the record, wiped after use.
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(4096 + self.revocations.len() * 16_384));
        let now = Wishes { version: VERSION, ..self.clone() };
        if serde_json::to_writer_pretty(&mut *out, &now).is_err() {
            out.clear();
        }
        out
    }

    /// Reads [`Wishes::write`]; `None` for anything damaged or of another version.
    pub fn read(text: &[u8]) -> Option<Wishes> {
        serde_json::from_slice(text).ok().filter(|wishes: &Wishes| wishes.version == VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_as_written_and_never_show_a_key() {
        let id = CertId::try_from("a.example~00".to_owned()).unwrap();
        let doomed = Revocation {
            id: id.clone(),
            epoch: 3,
            issuer: "le".into(),
            leaf: "leaf".into(),
            key: "-----BEGIN".into(),
            reason: 1,
            asked_at: UnixTime(5),
            trouble: None,
        };
        let mut wishes = Wishes { revocations: vec![doomed], ..Wishes::default() };
        wishes.paused.insert(id.to_string(), UnixTime(7));
        assert!(!format!("{wishes:?}").contains("BEGIN"));
        let again = Wishes::read(&wishes.write()).unwrap();
        assert_eq!((again.paused, again.revocations[0].key.as_str()), (wishes.paused.clone(), "-----BEGIN"));
        assert!(Wishes::read(b"{}").is_none());
    }
}
