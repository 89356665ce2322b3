//! What does nginx's own ACME module keep? In the `state_path` of an issuer: `account.key`, `account.url`, and for each
//! certificate `NAME.crt` and `NAME.key`.

use crate::cert::bundle::PrivateKey;

use super::found::{Estate, Found, FoundAccount};
use super::reach::Reach;

/// Whether the folder is the module's.
pub fn is_it(reach: &Reach) -> bool {
    reach.has_file("account.key")
}

/// Reads it. Which authority it stands for is not written down there.
pub fn read(reach: &Reach) -> Estate {
    let mut estate = Estate::default();
    for file in reach.names("") {
        if let Some(name) = file.strip_suffix(".crt") {
            estate.certificates.push(Found::read(reach, name, &file, &format!("{name}.key")));
        }
    }
    let key = reach.read("account.key").map_err(|error| error.to_string());
    let key = key.and_then(|text| PrivateKey::from_pem(&text).map_err(|error| error.to_string()));
    let url = reach.text("account.url").map(|text| text.trim().to_owned()).filter(|url| !url.is_empty());
    estate.accounts.push(FoundAccount {
        file: "account.key".to_owned(),
        authority: None,
        url,
        contacts: Vec::new(),
        key,
    });
    estate
}
