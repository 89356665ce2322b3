//! Which file stands for a directory? `index`: the first that is there, by an internal redirect.

use super::files::{alias_lost, errno};
use crate::http::answer::Turn;
use crate::http::exchange::Exchange;
use crate::plan::log::Level;
use bytes::Bytes;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

/// Looks for an index file. `Err`: it was found (an internal redirect), or the directory itself cannot be had.
pub(super) fn choose(exchange: &Exchange) -> Result<(), Turn> {
    let settings = exchange.settings();
    if settings.files.index.is_empty() {
        return Ok(());
    }
    let Some(folder) = exchange.file_path() else { return Err(alias_lost(exchange)) };
    let mut folder_seen = false;
    for item in &settings.files.index {
        let name = exchange.text(item);
        if name.starts_with(b"/") {
            return Err(Turn::Internal(name, exchange.args.clone()));
        }
        let path = [&folder[..], &name].concat();
        let Err(error) = std::fs::metadata(OsStr::from_bytes(&path)) else {
            let uri = Bytes::from([&exchange.uri[..], &name].concat());
            return Err(Turn::Internal(uri, exchange.args.clone()));
        };
        match error.kind() {
            ErrorKind::NotFound => {}
            ErrorKind::PermissionDenied => {
                let path = String::from_utf8_lossy(&path);
                exchange.note(Level::Error, format_args!("\"{path}\" is forbidden ({})", errno(&error)));
                return Err(Turn::Status(403));
            }
            ErrorKind::NotADirectory | ErrorKind::InvalidFilename => return Err(missing(exchange, &path, &error)),
            _ => {
                let path = String::from_utf8_lossy(&path);
                exchange.note(Level::Crit, format_args!("stat() \"{path}\" failed ({})", errno(&error)));
                return Err(Turn::Status(500));
            }
        }
        if !folder_seen {
            match std::fs::metadata(OsStr::from_bytes(&folder)) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing(exchange, &path, &error)),
                _ => folder_seen = true,
            }
        }
    }
    Ok(())
}

fn missing(exchange: &Exchange, path: &[u8], error: &std::io::Error) -> Turn {
    if exchange.settings().files.log_not_found {
        let path = String::from_utf8_lossy(path);
        exchange.note(Level::Error, format_args!("\"{path}\" is not found ({})", errno(error)));
    }
    Turn::Status(404)
}
