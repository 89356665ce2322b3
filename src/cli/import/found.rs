//! What was found in the state of another program? A certificate with its key, an account, and what is odd about either.

use std::path::Path;

use crate::cert::bundle::PrivateKey;
use crate::cert::gate::{self, FileBytes, Pair};
use crate::clock::UnixTime;

use super::reach::Reach;

/// Everything that one program keeps.
#[derive(Debug, Default)]
pub struct Estate {
    /// Certificates, in the order of their names.
    pub certificates: Vec<Found>,
    /// Accounts at authorities.
    pub accounts: Vec<FoundAccount>,
}

/// A certificate that another program keeps.
#[derive(Debug)]
pub struct Found {
    /// What that program calls it.
    pub name: String,
    /// The file of its chain, below the folder.
    pub file: String,
    /// The directory URL of the authority that issued it, if that is written down.
    pub authority: Option<String>,
    /// Chain and key, or why they are of no use.
    pub pair: Result<Pair, String>,
    /// What is odd about it, each a sentence of its own.
    pub notes: Vec<String>,
}

/// An account that another program has.
#[derive(Debug)]
pub struct FoundAccount {
    /// The file of its key, below the folder.
    pub file: String,
    /// The directory URL of the authority, if that is written down.
    pub authority: Option<String>,
    /// The account's own URL, if that is written down.
    pub url: Option<String>,
    /// Its contacts.
    pub contacts: Vec<String>,
    /// Its key, or why it is of no use here.
    pub key: Result<PrivateKey, String>,
}

impl Found {
    /// Reads chain and key; they must belong together.
    pub fn read(reach: &Reach, name: &str, chain: &str, key: &str) -> Found {
        let pair = reach.read(chain).map_err(|error| error.to_string()).and_then(|chain_bytes| {
            let key_bytes = reach.read(key).map_err(|error| error.to_string())?;
            let bytes = FileBytes { certificate: &chain_bytes, key: &key_bytes, passwords: None };
            gate::read_files(bytes).map_err(|fault| fault.message(Path::new(chain), Path::new(key)))
        });
        Found { name: name.to_owned(), file: chain.to_owned(), authority: None, pair, notes: Vec::new() }
    }

    /// Until when it is in force; `None` if it is of no use.
    pub fn not_after(&self) -> Option<UnixTime> {
        self.pair.as_ref().ok().map(|pair| pair.leaf.not_after)
    }

    /// The names it speaks for.
    pub fn names(&self) -> Vec<String> {
        let leaf = self.pair.as_ref().ok().map(|pair| &pair.leaf);
        leaf.map(|leaf| leaf.identifiers.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }
}

impl Estate {
    /// Notes where two certificates speak for the same names: one of them is the copy that somebody forgot.
    pub fn compare(&mut self) {
        let facts: Vec<_> =
            self.certificates.iter().map(|found| (found.names(), found.not_after(), found.file.clone())).collect();
        for (at, found) in self.certificates.iter_mut().enumerate() {
            let Ok(pair) = &found.pair else { continue };
            for (other, (names, not_after, file)) in facts.iter().enumerate() {
                if other != at && !names.is_empty() && *names == facts[at].0 && *not_after != Some(pair.leaf.not_after)
                {
                    let age = if not_after.is_some_and(|end| end > pair.leaf.not_after) { "newer" } else { "older" };
                    found.notes.push(format!("differs from {file}, which is {age} and speaks for the same names"));
                }
            }
        }
    }
}
