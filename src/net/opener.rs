//! Who opens files that the server process may not open itself? Logs, keys, password files: the master does, which may
//! be root, and hands the descriptor over. With one process, or without root, they are opened with our own rights.
//! `node` decides which of the two stands behind the trait. Blocking; never called on the path of a request.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Opens files named by the configuration; any other path may be refused with `PermissionDenied`.
pub trait Opener: Send + Sync + fmt::Debug {
    /// Opens a log for append and creates it if it is missing.
    ///
    /// # Errors
    /// What `open()` said.
    fn append(&self, path: &Path) -> io::Result<File>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What `open()` said.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// What `open()` or `read()` said.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What tells one state of a file from another, for each path; following symlinks.
    fn stamps(&self, paths: &[&Path]) -> Vec<Option<Stamp>>;
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Device and inode.
    pub file: (u64, u64),
    /// Bytes.
    pub length: u64,
    /// Last change of content, seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Last change of the inode.
    pub changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file at `path`, if it can be looked at.
    pub fn of(path: &Path) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt;
        let facts = std::fs::metadata(path).ok()?;
        Some(Stamp {
            file: (facts.dev(), facts.ino()),
            length: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })
    }
}

/// Opens files with our own rights.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnRights;

impl Opener for OwnRights {
    fn append(&self, path: &Path) -> io::Result<File> {
        File::options().append(true).create(true).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn stamps(&self, paths: &[&Path]) -> Vec<Option<Stamp>> {
        paths.iter().map(|path| Stamp::of(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_log_is_created_and_appended_to_and_its_stamp_tells() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let stamps = |path: &Path| OwnRights.stamps(&[path]).remove(0);
        assert_eq!(stamps(&path), None);
        for word in ["a", "b"] {
            OwnRights.append(&path).unwrap().write_all(word.as_bytes()).unwrap();
        }
        assert_eq!(OwnRights.read(&path).unwrap(), b"ab");
        let before = stamps(&path);
        std::fs::write(&path, "abc").unwrap();
        assert_ne!(stamps(&path), before);
    }
}
