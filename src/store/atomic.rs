//! How is a file replaced so that a crash leaves the old content or the new one? Written beside it, synced, renamed over
//! it, and the directory synced. Files are 0600, directories 0700; links in the last place are not followed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// No record is larger; more is damage, not data.
const LARGEST: u64 = 4 << 20;

/// Makes `path` and what is missing above it, and syncs the directory that names it.
pub fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(path),
    }
}

/// Puts `content` in the place of `path`.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&new)?;
    let done = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done.and_then(|()| sync_parent(path))
}

/// Puts a second name of the file `from` in the place of `path`.
pub fn link(from: &Path, path: &Path) -> io::Result<()> {
    let new = beside(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(from, &new)?;
    // If both names are one file already, rename does nothing and leaves the new name behind.
    if fs::metadata(path).is_ok_and(|old| fs::metadata(&new).is_ok_and(|new| old.ino() == new.ino())) {
        return fs::remove_file(&new);
    }
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// The content of `path`; `None` if there is no such file.
pub fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length > LARGEST {
        return Err(io::Error::other("larger than any record"));
    }
    // Room for everything from the start: growing would leave copies of keys behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    Read::by_ref(&mut file).take(LARGEST).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Takes `path` away; none is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent(path),
    }
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = std::ffi::OsString::from(".new-");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
