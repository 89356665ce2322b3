//! Which of several files is there? `try_files`: tested in order below root or alias; the last item is where to go else.

use crate::http::answer::Turn;
use crate::http::exchange::Exchange;
use crate::plan::location::TryLast;
use crate::plan::log::Level;
use crate::route::uri::split_args;
use bytes::Bytes;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

/// Points the request to the first file that is there. `Err`: none is, and the last item leads elsewhere.
pub(super) fn choose(exchange: &mut Exchange) -> Result<(), Turn> {
    let Some(location) = exchange.location().filter(|location| location.try_files.is_some()).cloned() else {
        return Ok(());
    };
    let Some(try_files) = &location.try_files else { return Ok(()) };
    // The bytes of the URI that `alias` replaces; all of it below a regular expression.
    let files = &exchange.settings().files;
    let alias = files.alias.then_some(files.alias_replaces);
    let Some((path, root)) = exchange.file_path_and_root() else { return Err(Turn::Status(500)) };
    for item in &try_files.files {
        let mut name = exchange.text(&item.path);
        if let Some(prefix) = alias.filter(|prefix| *prefix != usize::MAX)
            && item.path.as_literal().is_none()
            && exchange.uri.get(..prefix).is_some_and(|start| name.starts_with(start))
        {
            name = name.slice(prefix..);
        }
        let full = [&path[..root], &name].concat();
        let directory = match std::fs::metadata(OsStr::from_bytes(&full)) {
            Ok(facts) => facts.is_dir(),
            Err(error) => {
                report(exchange, &full, &error);
                continue;
            }
        };
        if directory != item.directory {
            continue;
        }
        match alias {
            None => exchange.uri = name,
            Some(usize::MAX) if item.directory => {}
            Some(usize::MAX) => {
                exchange.uri = name;
                exchange.add_uri_to_alias = true;
            }
            Some(prefix) => {
                exchange.uri = [exchange.uri.get(..prefix).unwrap_or_default(), &name].concat().into();
            }
        }
        return Ok(());
    }
    Err(match &try_files.last {
        TryLast::Status(status) => Turn::Status(*status),
        TryLast::Named(name) => Turn::Named(Bytes::copy_from_slice(name.as_bytes())),
        TryLast::Uri(target) => {
            let (path, args) = split_args(&exchange.text(target));
            Turn::Internal(path, args)
        }
    })
}

fn report(exchange: &Exchange, path: &[u8], error: &std::io::Error) {
    let expected = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename);
    if !expected {
        let path = String::from_utf8_lossy(path);
        exchange.note(Level::Crit, format_args!("stat() \"{path}\" failed ({})", super::files::errno(error)));
    }
}
