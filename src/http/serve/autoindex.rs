//! What is in a directory? `autoindex` in nginx's HTML.

use super::files::{alias_lost, errno};
use crate::http::answer::{Answer, Turn};
use crate::http::exchange::Exchange;
use crate::http::message::Body;
use crate::plan::files::Files;
use crate::plan::log::Level;
use crate::route::escape::{Escape, escape_into, html_into};
use bytes::Bytes;
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

/// Longest name that is shown whole.
const NAME: usize = 50;

struct Entry {
    name: Vec<u8>,
    directory: bool,
    modified: i64,
    size: u64,
}

/// Answers with a listing of the directory that the URI names.
pub(super) fn answer(exchange: &Exchange) -> Result<Box<Answer>, Turn> {
    let Some(folder) = exchange.file_path() else { return Err(alias_lost(exchange)) };
    let entries = match read(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            let (level, status) = match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => (Level::Error, 404),
                ErrorKind::PermissionDenied => (Level::Error, 403),
                _ => (Level::Crit, 500),
            };
            let folder = String::from_utf8_lossy(&folder);
            exchange.note(level, format_args!("opendir() \"{folder}\" failed ({})", errno(&error)));
            return Err(Turn::Status(status));
        }
    };
    let files = &exchange.settings().files;
    let utf8 = files.charset.as_ref().is_some_and(|charset| exchange.text(charset).eq_ignore_ascii_case(b"utf-8"));
    let date = |unix| exchange.worker.time().listing(unix, files.autoindex_localtime);
    let body = Bytes::from(page(&exchange.uri, &entries, files, utf8, date));
    let content_type = Some(Bytes::from_static(b"text/html"));
    Ok(Box::new(Answer { status: 200, content_type, body: Body::Full(body), ..Answer::default() }))
}

fn read(folder: &[u8]) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(OsStr::from_bytes(folder))? {
        let entry = entry?;
        let name = entry.file_name().into_vec();
        if name.starts_with(b".") {
            continue;
        }
        // A link whose target is gone is shown as itself.
        let path = entry.path();
        let facts = match std::fs::metadata(&path).or_else(|_| std::fs::symlink_metadata(&path)) {
            Ok(facts) => facts,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        entries.push(Entry { name, directory: facts.is_dir(), modified: facts.mtime(), size: facts.len() });
    }
    entries.sort_by(|a, b| b.directory.cmp(&a.directory).then_with(|| a.name.cmp(&b.name)));
    Ok(entries)
}

fn page(uri: &[u8], entries: &[Entry], files: &Files, utf8: bool, date: impl Fn(i64) -> String) -> Vec<u8> {
    let mut out = b"<html>\r\n<head><title>Index of ".to_vec();
    html_into(uri, &mut out);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    html_into(uri, &mut out);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in entries {
        out.extend_from_slice(b"<a href=\"");
        escape_into(&entry.name, Escape::Component, &mut out);
        out.extend_from_slice(if entry.directory { b"/\">" } else { b"\">" });
        name_into(entry, utf8, &mut out);
        out.push(b' ');
        out.extend_from_slice(date(entry.modified).as_bytes());
        out.push(b' ');
        // Writes to memory cannot fail.
        let _ = match (files.autoindex_exact_size, entry.directory) {
            (true, true) => write!(out, "{:>19}\r\n", "-"),
            (true, false) => write!(out, "{:>19}\r\n", entry.size),
            (false, true) => write!(out, "{:>7}\r\n", "-"),
            (false, false) => write!(out, "{:>7}\r\n", rounded(entry.size)),
        };
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
    out
}

/// The name within its link, cut to its column, and the spaces behind it.
fn name_into(entry: &Entry, utf8: bool, out: &mut Vec<u8>) {
    let text = utf8.then(|| std::str::from_utf8(&entry.name).ok()).flatten();
    let mut length = text.map_or(entry.name.len(), |text| text.chars().count());
    if length > NAME {
        let cut = text.map_or(NAME - 3, |text| text.char_indices().nth(NAME - 3).map_or(text.len(), |(at, _)| at));
        html_into(&entry.name[..cut], out);
        out.extend_from_slice(b"..&gt;</a>");
        return;
    }
    html_into(&entry.name, out);
    if entry.directory && length < NAME {
        out.push(b'/');
        length += 1;
    }
    out.extend_from_slice(b"</a>");
    out.resize(out.len() + NAME - length, b' ');
}

/// A size in `K`, `M` or `G`, rounded.
fn rounded(size: u64) -> String {
    const K: u64 = 1024;
    let scaled = |unit: u64, letter: char| format!("{}{letter}", size / unit + u64::from(size % unit > unit / 2 - 1));
    match size {
        size if size >= K * K * K => scaled(K * K * K, 'G'),
        size if size >= K * K => scaled(K * K, 'M'),
        size if size > 9999 => scaled(K, 'K'),
        size => format!("{size}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_looks_as_nginx_shows_it() {
        let entry = |name: &str, directory, size| Entry { name: name.into(), directory, modified: 0, size };
        let entries = [entry("sub", true, 0), entry("a&b.txt", false, 10_000), entry(&"n".repeat(60), false, 3)];
        let show = |exact| {
            let files = Files { autoindex_exact_size: exact, ..Files::default() };
            String::from_utf8(page(b"/x/", &entries, &files, false, |_| "01-Jan-1970 00:00".into())).unwrap()
        };
        let text = show(true);
        assert!(
            text.starts_with("<html>\r\n<head><title>Index of /x/</title></head>\r\n<body>\r\n<h1>Index of /x/</h1>")
        );
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("<a href")).collect();
        let spaces = |n| " ".repeat(n);
        let expected = format!("<a href=\"sub/\">sub/</a>{} 01-Jan-1970 00:00 {}-", spaces(46), spaces(18));
        assert_eq!(lines[0], expected);
        let expected =
            format!("<a href=\"a%26b.txt\">a&amp;b.txt</a>{} 01-Jan-1970 00:00 {}10000", spaces(43), spaces(14));
        assert_eq!(lines[1], expected);
        assert!(lines[2].contains(&format!(">{}..&gt;</a> 01-Jan", "n".repeat(47))));
        assert!(show(false).contains("    10K\r\n"), "{}", show(false));
    }
}
