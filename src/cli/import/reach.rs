//! How is the state of another program read without being led astray? Only regular files below one folder, of a sane size
//! and number; links are followed as long as they stay below it. Reads, and changes nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// No key and no chain is larger.
const LARGEST: u64 = 1 << 20;
/// Entries of one folder that are looked at.
const MOST: usize = 20_000;

/// One folder, and nothing outside of it.
#[derive(Debug)]
pub struct Reach {
    /// As it was given.
    given: PathBuf,
    /// Where it really is.
    root: PathBuf,
}

/// Why a file was not read. The operator's to judge; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OutOfReach {
    /// It is missing, or the system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link leads elsewhere.
    #[error("{}: leads outside, to {}", path.display(), to.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// A folder, a pipe, a device.
    #[error("{}: not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// More than any key or chain needs.
    #[error("{}: larger than any certificate", .0.display())]
    TooLarge(PathBuf),
}

impl Reach {
    /// What lies below `folder`.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn below(folder: &Path) -> io::Result<Reach> {
        let root = fs::canonicalize(folder)?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Reach { given: folder.to_owned(), root })
    }

    /// The path of `inner` below the folder, as it was given.
    pub fn path(&self, inner: impl AsRef<Path>) -> PathBuf {
        self.given.join(inner)
    }

    /// Whether a folder is there, and inside.
    pub fn has_folder(&self, inner: impl AsRef<Path>) -> bool {
        fs::canonicalize(self.path(inner)).is_ok_and(|real| real.starts_with(&self.root) && real.is_dir())
    }

    /// Whether a file is there, and inside.
    pub fn has_file(&self, inner: impl AsRef<Path>) -> bool {
        fs::canonicalize(self.path(inner)).is_ok_and(|real| real.starts_with(&self.root) && real.is_file())
    }

    /// Whether the last part of a path is a link.
    pub fn is_link(&self, inner: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(inner)).is_ok_and(|facts| facts.file_type().is_symlink())
    }

    /// Where a file inside really is, below the folder; `None` if it is missing or leads outside.
    pub fn real(&self, inner: impl AsRef<Path>) -> Option<PathBuf> {
        let real = fs::canonicalize(self.path(inner)).ok()?;
        real.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    /// The names in a folder, sorted; none if it is missing or outside.
    pub fn names(&self, inner: impl AsRef<Path>) -> Vec<String> {
        if !self.has_folder(&inner) {
            return Vec::new();
        }
        let Ok(entries) = fs::read_dir(self.path(inner)) else { return Vec::new() };
        let names = entries.flatten().take(MOST).filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The content of a file, wiped after use.
    ///
    /// # Errors
    /// See [`OutOfReach`].
    pub fn read(&self, inner: impl AsRef<Path>) -> Result<Zeroizing<Vec<u8>>, OutOfReach> {
        let path = self.path(inner);
        let failed = |source| OutOfReach::Io { path: path.clone(), source };
        let real = fs::canonicalize(&path).map_err(failed)?;
        if !real.starts_with(&self.root) {
            return Err(OutOfReach::Outside { path, to: real });
        }
        // Opened without waiting for the other end of a pipe, and looked at once it is open.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&real).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(OutOfReach::NotAFile(path));
        }
        if facts.len() > LARGEST {
            return Err(OutOfReach::TooLarge(path));
        }
        // Room for everything from the start: growing would leave copies of keys behind.
        let mut content = Zeroizing::new(Vec::with_capacity(LARGEST as usize + 1));
        file.take(LARGEST + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > LARGEST { Err(OutOfReach::TooLarge(path)) } else { Ok(content) }
    }

    /// The same as text; what is no text is `None`.
    pub fn text(&self, inner: impl AsRef<Path>) -> Option<String> {
        String::from_utf8(self.read(inner).ok()?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_that_leave_pipes_folders_and_huge_files_are_not_read() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| home.path().join(name);
        fs::write(other.path().join("key"), "secret").unwrap();
        fs::write(at("good"), "good").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("../good", at("folder/link")).unwrap();
        symlink(other.path().join("key"), at("out")).unwrap();
        symlink(other.path(), at("outfolder")).unwrap();
        symlink("loop", at("loop")).unwrap();
        fs::write(at("huge"), vec![0; LARGEST as usize + 1]).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reach = Reach::below(home.path()).unwrap();
        assert_eq!(reach.read("folder/link").unwrap().as_slice(), b"good");
        assert!(matches!(reach.read("out"), Err(OutOfReach::Outside { .. })));
        assert!(matches!(reach.read("outfolder/key"), Err(OutOfReach::Outside { .. })));
        assert!(matches!(reach.read("../etc/passwd"), Err(OutOfReach::Outside { .. } | OutOfReach::Io { .. })));
        assert!(matches!(reach.read("huge"), Err(OutOfReach::TooLarge(_))));
        assert!(matches!(reach.read("pipe"), Err(OutOfReach::NotAFile(_))));
        assert!(matches!(reach.read("folder"), Err(OutOfReach::NotAFile(_))));
        for missing in ["loop", "none"] {
            assert!(matches!(reach.read(missing), Err(OutOfReach::Io { .. })));
        }
        assert!(reach.names("outfolder").is_empty() && !reach.has_folder("outfolder"));
    }
}
