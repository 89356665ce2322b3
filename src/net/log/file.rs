//! Which file is behind a path? Opened once for all workers, for append, by whoever may (the master, where the server
//! process may not); opened again on USR1.

use crate::net::opener::Opener;
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The log files of a process.
pub struct LogFiles {
    opener: Arc<dyn Opener>,
    files: Mutex<HashMap<PathBuf, Arc<LogFile>>>,
}

impl std::fmt::Debug for LogFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFiles").finish_non_exhaustive()
    }
}

/// A log file that could not be opened. The operator's to mend; lines for it are lost meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("open() \"{}\" failed ({source})", path.display())]
pub struct CannotOpen {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl LogFiles {
    /// Files that `opener` opens.
    pub fn new(opener: Arc<dyn Opener>) -> LogFiles {
        LogFiles { opener, files: Mutex::default() }
    }

    /// The file behind `path`, opened if it was not yet. One that cannot be opened takes lines and loses them until
    /// [`LogFiles::reopen`] succeeds.
    pub fn file(&self, path: &Path) -> Arc<LogFile> {
        self.prepare(path).unwrap_or_else(|_| self.entry(path))
    }

    /// As [`LogFiles::file`], for the check of a configuration.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn prepare(&self, path: &Path) -> Result<Arc<LogFile>, CannotOpen> {
        let file = self.entry(path);
        if file.current.load().is_none() {
            file.replace(&*self.opener)?;
        }
        Ok(file)
    }

    /// Opens every file again (USR1, after a rotation). A file that cannot be opened goes on with its old descriptor.
    pub fn reopen(&self) -> Vec<CannotOpen> {
        let files: Vec<_> = self.lock().values().cloned().collect();
        files.iter().filter_map(|file| file.replace(&*self.opener).err()).collect()
    }

    /// Forgets files that nobody writes to any longer (after a reload).
    pub fn forget_unused(&self) {
        self.lock().retain(|_, file| Arc::strong_count(file) > 1);
    }

    fn entry(&self, path: &Path) -> Arc<LogFile> {
        let mut files = self.lock();
        if let Some(known) = files.get(path) {
            return known.clone();
        }
        let file = Arc::new(LogFile { path: path.to_owned(), current: ArcSwapOption::empty() });
        files.insert(path.to_owned(), file.clone());
        file
    }

    // A panic while the lock is held leaves a whole table: every change is one call of the map.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Arc<LogFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    current: ArcSwapOption<File>,
}

impl LogFile {
    /// Appends `bytes` with one write.
    ///
    /// # Errors
    /// The system's: the disk is full, or the file could never be opened.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match &*self.current.load() {
            Some(file) => (&**file).write_all(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn replace(&self, opener: &dyn Opener) -> Result<(), CannotOpen> {
        let file = opener.append(&self.path).map_err(|source| CannotOpen { path: self.path.clone(), source })?;
        self.current.store(Some(Arc::new(file)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::opener::OwnRights;

    #[test]
    fn a_rotated_file_gets_lines_until_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let files = LogFiles::new(Arc::new(OwnRights));
        let file = files.prepare(&path).unwrap();
        file.write(b"one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        file.write(b"two\n").unwrap();
        assert!(files.reopen().is_empty());
        file.write(b"three\n").unwrap();
        assert_eq!(std::fs::read(&old).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert!(Arc::ptr_eq(&file, &files.file(&path)));
    }

    #[test]
    fn a_file_that_cannot_be_opened_hurts_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/a.log");
        let files = LogFiles::new(Arc::new(OwnRights));
        assert!(files.prepare(&path).is_err());
        let file = files.file(&path);
        assert!(file.write(b"lost").is_err());
        std::fs::create_dir(folder.path().join("missing")).unwrap();
        assert!(files.reopen().is_empty());
        file.write(b"kept").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }
}
