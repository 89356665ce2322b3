//! What is in the file that a URI names? Static answers, opened and read in the worker as nginx does without `aio`.

use super::content::media_type;
use crate::http::answer::{Answer, Turn};
use crate::http::exchange::Exchange;
use crate::http::message::{Body, FileBody};
use crate::plan::files::DisableSymlinks;
use crate::plan::log::Level;
use crate::route::escape::{Escape, escape};
use bytes::Bytes;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// Answers with the file that the URI names.
pub(super) fn answer(exchange: &mut Exchange) -> Result<Box<Answer>, Turn> {
    let method = &exchange.head.method[..];
    if !matches!(method, b"GET" | b"HEAD" | b"POST") {
        return Err(Turn::Status(405));
    }
    let Some(path) = exchange.file_path() else { return Err(alias_lost(exchange)) };
    let (file, facts) = match open(exchange, &path) {
        Ok(opened) => opened,
        Err(error) => return Err(Turn::Status(report(exchange, &path, &error))),
    };
    if facts.is_dir() {
        return Err(Turn::Redirect(301, with_slash(exchange)));
    }
    if !facts.is_file() {
        let path = String::from_utf8_lossy(&path);
        exchange.note(Level::Crit, format_args!("\"{path}\" is not a regular file"));
        return Err(Turn::Status(404));
    }
    if exchange.head.method == "POST" {
        return Err(Turn::Status(405));
    }
    let (length, modified) = (facts.len(), facts.mtime());
    let mut answer = Box::new(Answer {
        status: 200,
        content_type: Some(media_type(exchange)),
        content_length: Some(length),
        last_modified: Some(modified),
        ranges: true,
        ..Answer::default()
    });
    if exchange.settings().files.etag {
        answer.fields.push("ETag", Bytes::from(format!("\"{modified:x}-{length:x}\"")));
    }
    if length > 0 {
        answer.body = Body::File(FileBody { file: Rc::new(file), offset: 0, length });
    }
    Ok(answer)
}

/// `alias` has no prefix to replace once the URI was rewritten.
pub(super) fn alias_lost(exchange: &Exchange) -> Turn {
    let name = exchange.location().map(|location| location.name.clone()).unwrap_or_default();
    let text = format_args!("\"alias\" cannot be used in location \"{name}\" where URI was rewritten");
    exchange.note(Level::Alert, text);
    Turn::Status(500)
}

/// The URI with a slash at its end, for a directory that was asked for without it.
fn with_slash(exchange: &Exchange) -> Bytes {
    let mut to = escape(&exchange.uri, Escape::Uri).to_vec();
    to.push(b'/');
    if !exchange.args.is_empty() {
        to.push(b'?');
        to.extend_from_slice(&exchange.args);
    }
    to.into()
}

/// Opens a file for reading. A FIFO does not stop the worker.
fn open(exchange: &Exchange, path: &[u8]) -> io::Result<(File, std::fs::Metadata)> {
    if path.contains(&0) {
        return Err(ErrorKind::NotFound.into());
    }
    let path = Path::new(OsStr::from_bytes(path));
    check_symlinks(exchange, path)?;
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let facts = file.metadata()?;
    Ok((file, facts))
}

/// `disable_symlinks`.
fn check_symlinks(exchange: &Exchange, path: &Path) -> io::Result<()> {
    let (from, by_owner) = match &exchange.settings().files.disable_symlinks {
        DisableSymlinks::Off => return Ok(()),
        DisableSymlinks::On(from) => (from, false),
        DisableSymlinks::IfNotOwner(from) => (from, true),
    };
    let trusted = from.as_ref().map(|from| exchange.text(from)).unwrap_or_default();
    let trusted = Path::new(OsStr::from_bytes(&trusted));
    let mut walked = PathBuf::new();
    for component in path.components() {
        walked.push(component);
        if matches!(component, Component::RootDir) || trusted.starts_with(&walked) {
            continue;
        }
        let link = std::fs::symlink_metadata(&walked)?;
        if link.is_symlink() && (!by_owner || std::fs::metadata(&walked)?.uid() != link.uid()) {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
    }
    Ok(())
}

/// Logs why a file cannot be had, and says which status that is.
fn report(exchange: &Exchange, path: &[u8], error: &io::Error) -> u16 {
    let (level, status) = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => (Level::Error, 404),
        ErrorKind::PermissionDenied => (Level::Error, 403),
        _ if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EMLINK)) => (Level::Error, 403),
        _ => (Level::Crit, 500),
    };
    if status != 404 || exchange.settings().files.log_not_found {
        let path = String::from_utf8_lossy(path);
        exchange.note(level, format_args!("open() \"{path}\" failed ({})", errno(error)));
    }
    status
}

/// `2: No such file or directory`: how nginx shows a system error.
pub(super) fn errno(error: &io::Error) -> impl fmt::Display + '_ {
    struct Shown<'e>(&'e io::Error);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let text = self.0.to_string();
            match self.0.raw_os_error() {
                Some(number) => write!(f, "{number}: {}", text.split(" (os error").next().unwrap_or(&text)),
                None => f.write_str(&text),
            }
        }
    }
    Shown(error)
}
