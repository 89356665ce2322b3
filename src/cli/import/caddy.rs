//! What does Caddy keep? `certificates/ISSUER/NAME/NAME.{crt,key,json}` and `acme/ISSUER/users/USER/USER.{json,key}`.

use serde_json::Value;

use crate::cert::bundle::PrivateKey;

use super::found::{Estate, Found, FoundAccount};
use super::reach::Reach;

/// Whether the folder is Caddy's storage (`~/.local/share/caddy`, `/var/lib/caddy/.local/share/caddy`).
pub fn is_it(reach: &Reach) -> bool {
    reach.has_folder("certificates")
        && reach.names("certificates").iter().any(|issuer| reach.has_folder(format!("certificates/{issuer}")))
}

/// Reads it. Certificates of Caddy's own authority (`local`) are its own matter and left out.
pub fn read(reach: &Reach) -> Estate {
    let mut estate = Estate::default();
    for issuer in reach.names("certificates") {
        if issuer == "local" {
            continue;
        }
        for name in reach.names(format!("certificates/{issuer}")) {
            let stem = format!("certificates/{issuer}/{name}/{name}");
            if !reach.has_folder(format!("certificates/{issuer}/{name}")) {
                continue;
            }
            let mut found = Found::read(reach, &name, &format!("{stem}.crt"), &format!("{stem}.key"));
            found.authority = Some(directory(&issuer));
            if !reach.has_file(format!("{stem}.json")) {
                found.notes.push(format!("an orphan: {stem}.json is missing, so Caddy does not know it"));
            }
            estate.certificates.push(found);
        }
    }
    for issuer in reach.names("acme") {
        for user in reach.names(format!("acme/{issuer}/users")) {
            estate.accounts.extend(account(reach, &issuer, &user));
        }
    }
    estate
}

/// Caddy spells a directory URL as a folder: without its scheme, slashes as dashes.
fn directory(folder: &str) -> String {
    match folder {
        "acme.zerossl.com-v2-dv90" => "https://acme.zerossl.com/v2/DV90".to_owned(),
        other => match other.split_once('-') {
            Some(_) => {
                // The host may have dashes of its own, the path begins behind the last label with a dot.
                let dot = other.rfind('.').unwrap_or(0);
                let slash = other[dot..].find('-').map_or(other.len(), |at| dot + at);
                let (host, path) = other.split_at(slash);
                format!("https://{host}{}", path.replace('-', "/"))
            }
            None => format!("https://{other}"),
        },
    }
}

fn account(reach: &Reach, issuer: &str, user: &str) -> Option<FoundAccount> {
    let folder = format!("acme/{issuer}/users/{user}");
    let file = |ending: &str| {
        let names = reach.names(&folder).into_iter();
        names.filter(|name| name.ends_with(ending)).map(|name| format!("{folder}/{name}")).next()
    };
    let key_file = file(".key")?;
    let facts: Value =
        file(".json").and_then(|file| reach.text(file)).and_then(|text| serde_json::from_str(&text).ok())?;
    let key = reach.read(&key_file).map_err(|error| error.to_string());
    let key = key.and_then(|text| PrivateKey::from_pem(&text).map_err(|error| error.to_string()));
    let contacts = facts["contact"].as_array().into_iter().flatten();
    Some(FoundAccount {
        file: key_file,
        authority: Some(directory(issuer)),
        url: facts["location"].as_str().map(str::to_owned),
        contacts: contacts.filter_map(|contact| contact.as_str().map(str::to_owned)).collect(),
        key,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_folder_is_the_directory_it_was_made_from() {
        for (folder, url) in [
            ("acme-v02.api.letsencrypt.org-directory", "https://acme-v02.api.letsencrypt.org/directory"),
            ("acme.zerossl.com-v2-dv90", "https://acme.zerossl.com/v2/DV90"),
            ("ca.test", "https://ca.test"),
        ] {
            assert_eq!(super::directory(folder), url);
        }
    }
}
