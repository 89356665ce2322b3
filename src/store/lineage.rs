//! How does a certificate lie where others read it? In the layouts of [`Layout`], switched as a whole: whoever opens a
//! path sees the old certificate and key or the new ones. Bytes come from elsewhere and are not looked into.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use super::atomic;
use crate::cert::bundle::Bundle;
use crate::plan::export::{Export, Layout};

/// Generations that stay in `archive/`.
const GENERATIONS: u64 = 10;
/// No key or chain is longer.
pub const LARGEST: usize = 1 << 20;

/// A file of a certificate, by its name in the layout.
#[derive(Clone)]
pub struct Part {
    /// `privkey.pem` and the like; for [`Layout::Haproxy`] there is one, without a name.
    pub name: &'static str,
    /// What is in it.
    pub content: Zeroizing<Vec<u8>>,
}

const NAMES: [&str; 4] = ["privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"];

/// The names of the parts of a layout, in order.
pub fn names(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Haproxy => &[""],
        Layout::Pem | Layout::Certbot => &NAMES,
    }
}

/// The parts of a bundle in a layout, in the order of [`names`].
pub fn parts(bundle: &Bundle, layout: Layout) -> Vec<Part> {
    let (key, chain) = (bundle.key.to_pem(), bundle.chain_text());
    if layout == Layout::Haproxy {
        // Room for everything from the start: growing would leave copies of the key behind.
        let mut content = Zeroizing::new(Vec::with_capacity(key.len() + chain.len()));
        content.extend_from_slice(chain.as_bytes());
        content.extend_from_slice(key.as_bytes());
        return vec![Part { name: "", content }];
    }
    let leaf = chain.find("-----END CERTIFICATE-----\n").map_or(chain.len(), |at| at + 26);
    let text = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    let contents = [text(&key), text(&chain[..leaf]), text(&chain[leaf..]), text(&chain)];
    NAMES.into_iter().zip(contents).map(|(name, content)| Part { name, content }).collect()
}

/// What hooks are told: the folder (certbot's `RENEWED_LINEAGE`), or the one file.
pub fn home(export: &Export, lineage: &str) -> PathBuf {
    match export.layout {
        Layout::Pem => export.folder.join(lineage),
        Layout::Certbot => export.folder.join("live").join(lineage),
        Layout::Haproxy => export.folder.join(format!("{lineage}.pem")),
    }
}

/// Whether a lineage may be the name of a file: nothing that leads elsewhere.
pub fn is_plain(lineage: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !lineage.is_empty() && lineage.len() <= 200 && !lineage.starts_with('.') && lineage.chars().all(good)
}

/// Whether exactly these parts lie there.
pub fn is_there(export: &Export, lineage: &str, parts: &[Part]) -> bool {
    let home = home(export, lineage);
    // Joining an empty name would add a slash.
    let path = |part: &Part| if part.name.is_empty() { home.clone() } else { home.join(part.name) };
    parts.iter().all(|part| {
        let found = fs::read(path(part)).map(Zeroizing::new);
        found.is_ok_and(|found| *found == *part.content)
    })
}

/// Makes the folder in which [`home`] lies.
///
/// # Errors
/// What the system said.
pub fn make_home(export: &Export, lineage: &str) -> io::Result<()> {
    folder(export, home(export, lineage).parent().unwrap_or(&export.folder))
}

/// Puts the parts there, in one switch.
///
/// # Errors
/// What the system said. What lay there before still does.
pub fn put(export: &Export, lineage: &str, parts: &[Part]) -> io::Result<()> {
    let home = home(export, lineage);
    let parent = home.parent().unwrap_or(&export.folder);
    folder(export, parent)?;
    let beside = |suffix: &str| {
        let mut name = OsString::from(".");
        name.push(lineage);
        name.push(suffix);
        parent.join(name)
    };
    let new = beside(".new");
    clear(&new)?;
    if let ([part], Layout::Haproxy) = (parts, export.layout) {
        file(export, &new, &part.content)?;
        fs::rename(&new, &home)?;
        return sync(parent);
    }
    folder(export, &new)?;
    match export.layout {
        Layout::Certbot => archive(export, lineage, parts, &new)?,
        _ => parts.iter().try_for_each(|part| file(export, &new.join(part.name), &part.content))?,
    }
    sync(&new)?;
    switch(&new, &home, &beside(".old"))?;
    sync(parent)
}

/// Puts the folder `new` in the place of `home`; what others put beside our files goes along.
fn switch(new: &Path, home: &Path, old: &Path) -> io::Result<()> {
    if fs::symlink_metadata(home).is_err() {
        return fs::rename(new, home);
    }
    if renameat_with(CWD, new, CWD, home, RenameFlags::EXCHANGE).is_err() {
        // A file system that cannot exchange: for a moment there is nothing.
        clear(old)?;
        fs::rename(home, old)?;
        fs::rename(new, home)?;
        fs::rename(old, new)?;
    }
    if fs::symlink_metadata(new)?.is_dir() {
        for entry in fs::read_dir(new)? {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            if !NAMES.iter().any(|ours| name == *ours) {
                let _ = fs::rename(path, home.join(name));
            }
        }
    }
    clear(new)
}

/// Writes the parts into `archive/` under the next number, and links to them into `links`.
fn archive(export: &Export, lineage: &str, parts: &[Part], links: &Path) -> io::Result<()> {
    let archive = export.folder.join("archive");
    let own = archive.join(lineage);
    folder(export, &archive)?;
    folder(export, &own)?;
    let mut numbers: Vec<u64> = Vec::new();
    for entry in fs::read_dir(&own)? {
        let name = entry?.file_name();
        let digits =
            name.to_str().and_then(|name| name.strip_prefix("privkey")).and_then(|rest| rest.strip_suffix(".pem"));
        numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    let number = numbers.iter().max().map_or(1, |highest| highest + 1);
    for part in parts {
        let stem = part.name.trim_end_matches(".pem");
        let name = format!("{stem}{number}.pem");
        file(export, &own.join(&name), &part.content)?;
        std::os::unix::fs::symlink(Path::new("../../archive").join(lineage).join(&name), links.join(part.name))?;
    }
    sync(&own)?;
    for old in numbers.into_iter().filter(|old| old + GENERATIONS < number) {
        for part in parts {
            let _ = fs::remove_file(own.join(format!("{}{old}.pem", part.name.trim_end_matches(".pem"))));
        }
    }
    Ok(())
}

/// Makes a folder of the export, and what is missing above it.
fn folder(export: &Export, path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    atomic::make_directory(path)?;
    // Whoever may read the files may search the folder. It stays ours: an owner who could write in it could lay links for
    // the next switch.
    let search = if export.owner.is_some() { 0o050 } else { 0 };
    fs::set_permissions(path, Permissions::from_mode(export.mode | ((export.mode & 0o444) >> 2) | search))?;
    match export.owner {
        Some((_, group)) => std::os::unix::fs::lchown(path, None, Some(group)),
        None => Ok(()),
    }
}

fn file(export: &Export, path: &Path, content: &[u8]) -> io::Result<()> {
    clear(path)?;
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(path)?;
    file.write_all(content)?;
    // The owner first: the group may read only after it is the right one.
    if let Some((user, group)) = export.owner {
        std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(export.mode))?;
    file.sync_all()
}

/// Takes away what a crash left.
fn clear(path: &Path) -> io::Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    gone.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn export(folder: &Path, layout: Layout) -> Export {
        let (mode, hook_timeout) = (0o640, Duration::from_secs(1));
        Export { name: None, folder: folder.into(), layout, owner: None, mode, hook: None, hook_timeout }
    }

    fn some(word: &str, layout: Layout) -> Vec<Part> {
        let content = |name: &str| Zeroizing::new(format!("{word} {name}").into_bytes());
        names(layout).iter().map(|name| Part { name, content: content(name) }).collect()
    }

    #[test]
    fn every_layout_is_switched_as_a_whole_and_found_again() {
        for layout in [Layout::Pem, Layout::Certbot, Layout::Haproxy] {
            let folder = tempfile::tempdir().unwrap();
            let export = export(&folder.path().join("deep/er"), layout);
            for word in ["one", "two", "three"] {
                assert!(!is_there(&export, "a.test", &some(word, layout)));
                put(&export, "a.test", &some(word, layout)).unwrap();
                assert!(is_there(&export, "a.test", &some(word, layout)), "{layout:?}");
            }
            let home = home(&export, "a.test");
            let path = if layout == Layout::Haproxy { home.clone() } else { home.join("privkey.pem") };
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
            assert_eq!(fs::metadata(home.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
            let left: Vec<_> = fs::read_dir(home.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left.len(), 1, "nothing is left over: {left:?}");
        }
    }

    #[test]
    fn a_lineage_of_certbot_goes_on_with_its_numbers_and_its_readme() {
        let folder = tempfile::tempdir().unwrap();
        let export = export(folder.path(), Layout::Certbot);
        let (live, archive) = (folder.path().join("live/a.test"), folder.path().join("archive/a.test"));
        fs::create_dir_all(&live).unwrap();
        fs::create_dir_all(&archive).unwrap();
        fs::write(live.join("README"), "by certbot").unwrap();
        for name in NAMES {
            let file = format!("{}7.pem", name.trim_end_matches(".pem"));
            fs::write(archive.join(&file), "old").unwrap();
            std::os::unix::fs::symlink(Path::new("../../archive/a.test").join(&file), live.join(name)).unwrap();
        }
        for word in 0..12 {
            put(&export, "a.test", &some(&word.to_string(), Layout::Certbot)).unwrap();
        }
        assert_eq!(fs::read_link(live.join("cert.pem")).unwrap(), Path::new("../../archive/a.test/cert19.pem"));
        assert_eq!(fs::read_to_string(live.join("README")).unwrap(), "by certbot");
        assert!(!archive.join("privkey7.pem").exists() && archive.join("privkey9.pem").exists());
    }

    #[test]
    fn what_a_crash_left_does_not_stand_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let export = export(folder.path(), Layout::Pem);
        fs::create_dir_all(folder.path().join(".a.test.new/privkey.pem")).unwrap();
        put(&export, "a.test", &some("one", Layout::Pem)).unwrap();
        assert!(is_there(&export, "a.test", &some("one", Layout::Pem)));
    }

    #[test]
    fn a_lineage_never_leads_elsewhere() {
        for name in ["", ".", "..", "../x", "a/b", ".a", "a b", "a\0", "ä", "*.a"] {
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain("a.test-rsa-2048") && is_plain("2001-db8--1"));
    }
}
