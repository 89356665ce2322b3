//! What does certbot keep? `live/NAME` with links into `archive/NAME`, `renewal/NAME.conf`, and `accounts/`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::found::{Estate, Found, FoundAccount};
use super::reach::Reach;

/// Whether the folder is certbot's (`/etc/letsencrypt`).
pub fn is_it(reach: &Reach) -> bool {
    ["live", "archive", "renewal"].iter().filter(|folder| reach.has_folder(folder)).count() >= 2
}

/// Reads it.
pub fn read(reach: &Reach) -> Estate {
    let folders = |folder: &str| {
        let names = reach.names(folder).into_iter();
        names.filter(|name| reach.has_folder(Path::new(folder).join(name))).collect::<BTreeSet<_>>()
    };
    let (live, archive) = (folders("live"), folders("archive"));
    let renewal: BTreeSet<String> =
        reach.names("renewal").iter().filter_map(|name| name.strip_suffix(".conf").map(str::to_owned)).collect();
    let mut estate = Estate::default();
    for name in live.union(&archive).chain(&renewal).collect::<BTreeSet<_>>() {
        let mut found = if live.contains(name) {
            of_live(reach, name)
        } else if let Some(number) = newest(reach, name) {
            let file = |kind: &str| format!("archive/{name}/{kind}{number}.pem");
            let mut found = Found::read(reach, name, &file("fullchain"), &file("privkey"));
            found.notes.push(format!("an orphan: live/{name} is missing, so nobody uses it"));
            found
        } else {
            let pair =
                Err(format!("renewal/{name}.conf stands alone: neither live/{name} nor archive/{name} is there"));
            let file = format!("renewal/{name}.conf");
            Found { name: name.clone(), file, authority: None, pair, notes: Vec::new() }
        };
        if renewal.contains(name) {
            found.authority = server_of(reach, name);
        } else {
            found.notes.push(format!("an orphan: renewal/{name}.conf is missing, so certbot renews it no more"));
        }
        estate.certificates.push(found);
    }
    estate.accounts = accounts(reach);
    estate
}

fn of_live(reach: &Reach, name: &str) -> Found {
    let file = |kind: &str| format!("live/{name}/{kind}.pem");
    let mut found = Found::read(reach, name, &file("fullchain"), &file("privkey"));
    for kind in ["cert", "chain", "fullchain", "privkey"] {
        let file = file(kind);
        if reach.has_file(&file) && !reach.is_link(&file) {
            found.notes.push(format!("{file} is a copy and no link: certbot cannot replace it"));
        }
    }
    let (newest, used) = (newest(reach, name), number_of(reach, &file("fullchain")));
    if let (Some(newest), Some(used)) = (newest, used)
        && newest > used
    {
        found.notes.push(format!("live/{name} shows number {used}, and archive/{name} has number {newest}"));
    }
    let numbers: BTreeSet<_> =
        ["cert", "chain", "fullchain", "privkey"].iter().filter_map(|kind| number_of(reach, &file(kind))).collect();
    if numbers.len() > 1 {
        found.notes.push(format!("the links of live/{name} lead to different numbers"));
    }
    found
}

/// The highest number in `archive/NAME` of which both files are there.
fn newest(reach: &Reach, name: &str) -> Option<u32> {
    let folder = Path::new("archive").join(name);
    let numbers = reach.names(&folder).into_iter().filter_map(|file| {
        let number = file.strip_prefix("fullchain")?.strip_suffix(".pem")?.parse().ok()?;
        reach.has_file(folder.join(format!("privkey{number}.pem"))).then_some(number)
    });
    numbers.max()
}

/// The number of the file in the archive to which a link leads.
fn number_of(reach: &Reach, file: &str) -> Option<u32> {
    let real = reach.real(file)?;
    let stem = real.file_stem()?.to_str()?;
    stem.trim_start_matches(|letter: char| letter.is_ascii_lowercase()).parse().ok()
}

/// `server =` of a renewal file.
fn server_of(reach: &Reach, name: &str) -> Option<String> {
    let text = reach.text(format!("renewal/{name}.conf"))?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(key, _)| key.trim() == "server").map(|(_, value)| value.trim().to_owned()).next_back()
}

/// `accounts/HOST/PATH/ID/{private_key.json,regr.json}`; the folders below `accounts` spell the directory URL.
fn accounts(reach: &Reach) -> Vec<FoundAccount> {
    let mut found = Vec::new();
    let mut folders = vec!["accounts".to_owned()];
    while let Some(folder) = folders.pop() {
        // As deep as a directory URL may be.
        let deep = folder.matches('/').count() > 8;
        for name in reach.names(&folder) {
            let inner = format!("{folder}/{name}");
            if reach.has_file(format!("{inner}/regr.json")) {
                found.push(account(reach, &folder, &inner));
            } else if !deep && !reach.is_link(&inner) && reach.has_folder(&inner) {
                folders.push(inner);
            }
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

fn account(reach: &Reach, folder: &str, inner: &str) -> FoundAccount {
    let registration: Value =
        reach.text(format!("{inner}/regr.json")).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let file = format!("{inner}/private_key.json");
    let key = reach.read(&file).map_err(|error| error.to_string()).and_then(|text| super::jwk::key(&text));
    let contacts = registration["body"]["contact"].as_array().into_iter().flatten();
    FoundAccount {
        file,
        authority: folder.strip_prefix("accounts/").map(|rest| format!("https://{rest}")),
        url: registration["uri"].as_str().map(str::to_owned),
        contacts: contacts.filter_map(|contact| contact.as_str().map(str::to_owned)).collect(),
        key,
    }
}
