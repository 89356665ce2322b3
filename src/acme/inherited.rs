//! How does an account that another program made become ours? Its key and URL are put where our own would stand, if nothing
//! stands there; nobody is asked.

use super::jws::AccountKey;
use crate::cert::bundle::PrivateKey;
use crate::cert::journal::{self, Record, Shelf};
use crate::plan::acme::{AccountKey as KeySource, Authority, Issuer};

/// What became of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// It is ours (or would be, where nothing is to be written).
    Taken,
    /// The issuer has one already.
    Known,
}

/// Takes over the account at `url` with `key` for `issuer`; with `write` false, only says whether that would be done.
///
/// # Errors
/// Why not, for the operator: the key is of a kind that cannot be used, or another key stands in its place.
pub fn inherit(
    issuer: &Issuer,
    shelf: &dyn Shelf,
    key: &PrivateKey,
    url: &str,
    contacts: &[String],
    write: bool,
) -> Result<Inherited, String> {
    let Authority::Acme(server) = &issuer.authority else { return Err("no ACME server".to_owned()) };
    let record = Record::Account(issuer.name.to_string());
    let words = |error: journal::ShelfError| error.to_string();
    if shelf.load(&record).map_err(words)?.is_some() {
        return Ok(Inherited::Known);
    }
    if !url.starts_with("https://") {
        return Err(format!("its URL is no https:// URL: {url:?}"));
    }
    let key = AccountKey::new(key.clone()).map_err(|error| error.to_string())?;
    let place = match &server.account_key {
        KeySource::Shared => Record::SharedAccountKey,
        KeySource::Own(_) => Record::AccountKey(issuer.name.to_string()),
        KeySource::File(path) => return Err(format!("issuer {} has its key in {}", issuer.name, path.display())),
    };
    if let Some(present) = shelf.load(&place).map_err(words)? {
        let present = PrivateKey::from_pem(&present).ok().and_then(|key| AccountKey::new(key).ok());
        if present.is_none_or(|present| present.thumbprint() != key.thumbprint()) {
            let name = &issuer.name;
            return Err(format!(
                "another account key is in use; `account_key ecdsa:256;` in acme_issuer {name} keeps them apart"
            ));
        }
    }
    if write {
        let account = journal::Account {
            version: journal::VERSION,
            authority: server.directory.to_string(),
            url: url.to_owned(),
            thumbprint: key.thumbprint(),
            contacts: contacts.to_vec(),
        };
        // The key first: an account without its key would be of no use.
        shelf.save(&place, key.private().to_pem().as_bytes()).map_err(words)?;
        shelf.save(&record, &account.write()).map_err(words)?;
    }
    Ok(Inherited::Taken)
}
