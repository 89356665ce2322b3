//! What of a state path goes along when a node moves? Everything but locks and sockets: accounts with their keys, orders
//! under way, bundles, journals, the built-in authority. Plain bytes here; [`super::seal`] seals them.
//!
//! Whoever brings an archive back adds what is missing. What is there stays, certificate by certificate, so that an old
//! archive never takes a newer generation away.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use super::{Directory, atomic};
use crate::cert::journal::ShelfError;

const HEAD: &[u8] = b"semper state 1\n";
/// No archive has more; more is damage or malice.
const MOST_FILES: usize = 2_000_000;

/// What came of bringing an archive back.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// Folders of certificates and single files that were missing and now are there.
    pub added: usize,
    /// Those that were there and stayed.
    pub kept: Vec<String>,
}

/// Why an archive cannot be made or brought back.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The state path cannot be used.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The archive is damaged, or of a later version. Nothing was written.
    #[error("the archive is damaged or of a later version: nothing was written")]
    Format,
}

/// The archive of the state path `root`, and how many files are in it. A running semper does not disturb it: every file
/// is replaced as a whole.
pub fn make(root: &Path) -> Result<(Zeroizing<Vec<u8>>, usize), ArchiveError> {
    Directory::view(root)?;
    let mut files = Vec::new();
    collect(root, Path::new(""), &mut files)?;
    files.sort();
    let mut contents = Vec::with_capacity(files.len());
    for name in &files {
        let path = root.join(name);
        // One that went away meanwhile was an order or an old generation.
        if let Some(content) = atomic::read(&path).map_err(|source| failed(&path, source))? {
            contents.push((name.to_string_lossy().into_owned(), content));
        }
    }
    let size = contents.iter().map(|(name, content)| name.len() + content.len() + 16).sum::<usize>();
    // Room for everything from the start: growing would leave copies of keys behind.
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD.len() + size));
    out.extend_from_slice(HEAD);
    for (name, content) in &contents {
        for part in [name.as_bytes(), content] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
    }
    Ok((out, contents.len()))
}

fn collect(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<(), ArchiveError> {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).map_err(|source| failed(&folder, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| failed(&folder, source))?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type().map_err(|source| failed(&folder, source))?;
        if kind.is_dir() {
            collect(root, &name, files)?;
        } else if kind.is_file() && is_state(&name) {
            files.push(name);
        }
    }
    Ok(())
}

/// Adds what is missing in the state path `root`, which no running semper may use. Everything is read before anything is
/// written.
pub fn restore(root: &Path, archive: &[u8]) -> Result<Restored, ArchiveError> {
    let files = read(archive).ok_or(ArchiveError::Format)?;
    let _lock = Directory::open(root)?;
    let there: HashSet<&Path> =
        files.iter().map(|(name, _)| unit(name)).filter(|unit| root.join(unit).exists()).collect();
    let mut added = HashSet::new();
    for (name, content) in &files {
        let unit = unit(name);
        if there.contains(unit) {
            continue;
        }
        added.insert(unit);
        let path = root.join(name);
        path.parent()
            .map_or(Ok(()), atomic::make_directory)
            .and_then(|()| atomic::write(&path, content))
            .map_err(|source| failed(&path, source))?;
    }
    let mut kept: Vec<String> = there.iter().map(|unit| unit.display().to_string()).collect();
    kept.sort();
    Ok(Restored { added: added.len(), kept })
}

/// What belongs together: the folder of one certificate, else the file alone.
fn unit(name: &Path) -> &Path {
    match (name.starts_with("certs"), name.parent()) {
        (true, Some(folder)) if folder != Path::new("certs") => folder,
        _ => name,
    }
}

fn read(archive: &[u8]) -> Option<Vec<(&Path, &[u8])>> {
    let mut rest = archive.strip_prefix(HEAD)?;
    let mut files = Vec::new();
    while !rest.is_empty() {
        let name = Path::new(std::str::from_utf8(part(&mut rest)?).ok()?);
        (is_state(name) && files.len() < MOST_FILES).then_some(())?;
        files.push((name, part(&mut rest)?));
    }
    Some(files)
}

/// The next part of an archive: its length in eight bytes, then itself.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_at_checked(8)?;
    let length = usize::try_from(u64::from_be_bytes(length.try_into().ok()?)).ok()?;
    let (part, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

/// Whether a name, relative to the state path, is one of ours: one to four words, none of which begins with a dot.
fn is_state(name: &Path) -> bool {
    let plain = |word: &str| {
        !word.is_empty() && !word.starts_with('.') && word.len() <= 255 && !word.chars().any(char::is_control)
    };
    let words: Option<Vec<&str>> = name
        .components()
        .map(|part| match part {
            Component::Normal(word) => word.to_str().filter(|word| plain(word)),
            _ => None,
        })
        .collect();
    let written_so =
        |words: &[&str]| name.as_os_str().len() == words.iter().map(|word| word.len() + 1).sum::<usize>() - 1;
    words.is_some_and(|words| {
        let ours = !matches!(words.as_slice(), ["LOCK" | "FORMAT" | "admin.sock"]);
        (1..=4).contains(&words.len()) && ours && written_so(&words)
    })
}

fn failed(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        Directory::open(folder.path()).unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn a_state_path_comes_back_whole_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let old = state(&[("accounts/shared.key", "key"), ("certs/x/1.pem", "one"), ("certs/x/.new-2.pem", "half")]);
        let new = tempfile::tempdir().unwrap();
        let (archive, count) = make(old.path()).unwrap();
        assert_eq!(count, 2);
        let path = new.path().join("state");
        assert_eq!(restore(&path, &archive).unwrap(), Restored { added: 2, kept: vec![] });
        assert_eq!(fs::read_to_string(path.join("certs/x/1.pem")).unwrap(), "one");
        assert_eq!(fs::metadata(path.join("accounts/shared.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(path.join("FORMAT").exists() && !path.join("certs/x/.new-2.pem").exists());
    }

    #[test]
    fn what_is_there_already_stays() {
        let old = state(&[("certs/x/1.pem", "one"), ("certs/y/1.pem", "one"), ("accounts/shared.key", "old")]);
        let new = state(&[("certs/x/2.pem", "two"), ("accounts/shared.key", "new")]);
        let restored = restore(new.path(), &make(old.path()).unwrap().0).unwrap();
        assert_eq!(restored, Restored { added: 1, kept: vec!["accounts/shared.key".into(), "certs/x".into()] });
        assert!(!new.path().join("certs/x/1.pem").exists());
        assert_eq!(fs::read_to_string(new.path().join("accounts/shared.key")).unwrap(), "new");
    }

    #[test]
    fn a_hostile_archive_writes_nothing() {
        let entry = |name: &str| {
            let mut out = HEAD.to_vec();
            for part in ["certs/a/1.pem", "good", name, "evil"] {
                out.extend_from_slice(&(part.len() as u64).to_be_bytes());
                out.extend_from_slice(part.as_bytes());
            }
            out
        };
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("state");
        for name in
            ["../x", "/etc/x", "certs/../../x", "certs//x", "certs/.x", "LOCK", "a/b/c/d/e", "", "x\n", "./x", "x/"]
        {
            assert!(matches!(restore(&root, &entry(name)), Err(ArchiveError::Format)), "{name:?}");
        }
        let good = entry("certs/b/1.pem");
        let mut long = good.clone();
        long[HEAD.len()] = 0xff;
        for bytes in [&good[..good.len() - 1], &good[1..], &long] {
            assert!(matches!(restore(&root, bytes), Err(ArchiveError::Format)));
        }
        assert!(!root.exists());
    }

    #[test]
    fn nothing_is_brought_into_a_state_path_in_use() {
        let (old, new) = (state(&[("certs/x/1.pem", "one")]), tempfile::tempdir().unwrap());
        let _running = Directory::open(new.path()).unwrap();
        let refused = restore(new.path(), &make(old.path()).unwrap().0);
        assert!(matches!(refused, Err(ArchiveError::Shelf(ShelfError::InUse { .. }))));
    }
}
