//! Where does the master's process id stand? Written after the sockets are bound, removed at the end, and moved aside
//! while a new binary takes over.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::plan::log::Level;

use super::errorlog::{ErrorLogs, errno};

/// A pid file that has been written.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    aside: bool,
}

impl PidFile {
    /// Writes our process id to `path`.
    ///
    /// # Errors
    /// nginx's words.
    pub fn write(path: &Path) -> Result<PidFile, String> {
        let written = std::fs::File::create(path).and_then(|mut file| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| format!("open() \"{}\" failed ({})", path.display(), errno(&error)))?;
        Ok(PidFile { path: path.to_owned(), aside: false })
    }

    /// Follows a change of `pid`: writes the new file, then removes the old one.
    pub fn move_to(&mut self, path: &Path, logs: &ErrorLogs) {
        if self.path == path {
            return;
        }
        match PidFile::write(path) {
            Ok(new) => {
                self.remove();
                *self = new;
            }
            Err(words) => logs.line(Level::Emerg, None, &words),
        }
    }

    /// Makes room for a successor's: `nginx.pid` becomes `nginx.pid.oldbin`. Whether that worked.
    pub fn move_aside(&mut self, logs: &ErrorLogs) -> bool {
        let result = std::fs::rename(&self.path, self.old());
        if let Err(error) = &result {
            let text = format!(
                "rename() {} to {} failed before executing new binary process ({})",
                self.path.display(),
                self.old().display(),
                errno(error)
            );
            logs.line(Level::Alert, None, &text);
        }
        self.aside = result.is_ok();
        self.aside
    }

    /// The successor is gone: the file gets its name back.
    pub fn move_back(&mut self, logs: &ErrorLogs) {
        if !std::mem::take(&mut self.aside) {
            return;
        }
        if let Err(error) = std::fs::rename(self.old(), &self.path) {
            let text =
                format!("rename() {} back to {} failed ({})", self.old().display(), self.path.display(), errno(&error));
            logs.line(Level::Alert, None, &text);
        }
    }

    /// Removes it.
    pub fn remove(&self) {
        let path = if self.aside { self.old() } else { self.path.clone() };
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::error!(level = "alert", "unlink() \"{}\" failed ({})", path.display(), errno(&error));
        }
    }

    fn old(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".oldbin");
        name.into()
    }
}
