//! How does one worker write its access logs? Directly, or through a buffer of its own that is flushed when full, when
//! `flush=` has passed, and on reopen; packed with gzip if told so.

use super::file::{LogFile, LogFiles};
use super::syslog::SyslogSocket;
use crate::net::opener::{Opener, OwnRights};
use crate::plan::log::{AccessLog, LogTarget, Syslog};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Target, buffer, packing: logs that agree in these share a writer.
type Key = (LogTarget, Option<usize>, Option<u32>);

/// The writers of one worker.
#[derive(Debug)]
pub struct Writers {
    files: Arc<LogFiles>,
    hostname: Bytes,
    open: RefCell<HashMap<Key, Rc<Writer>>>,
}

impl Writers {
    /// None yet.
    pub fn new(files: Arc<LogFiles>, hostname: Bytes) -> Writers {
        Writers { files, hostname, open: RefCell::default() }
    }

    /// The writer of an `access_log`. Logs with the same target, buffer and packing share one.
    pub fn writer(&self, log: &AccessLog) -> Rc<Writer> {
        let mut open = self.open.borrow_mut();
        let key = (log.target.clone(), log.buffer, log.gzip);
        let made = open.entry(key).or_insert_with(|| Rc::new(Writer::new(log, &self.files, &self.hostname)));
        made.clone()
    }

    /// The way to a syslog server, as error logs use it.
    pub fn syslog(&self, to: &Syslog) -> SyslogSocket {
        SyslogSocket::new(to.clone(), self.hostname.clone())
    }

    /// The files behind the writers.
    pub fn files(&self) -> &Arc<LogFiles> {
        &self.files
    }

    /// Writes every buffer out: at the end, before files are opened again.
    pub fn flush(&self) {
        for writer in self.open.borrow().values() {
            writer.flush();
        }
    }

    /// Flushes and forgets writers that no configuration holds any longer.
    pub fn forget_unused(&self) {
        self.flush();
        self.open.borrow_mut().retain(|_, writer| Rc::strong_count(writer) > 1);
    }
}

/// Writes one access log.
#[derive(Debug)]
pub struct Writer {
    to: Sink,
    /// `buffer=`, bytes.
    size: usize,
    gzip: Option<u32>,
    buffer: RefCell<Vec<u8>>,
    flush: Option<Duration>,
    waiting: Cell<bool>,
}

#[derive(Debug)]
enum Sink {
    File(Arc<LogFile>),
    /// The path is in the request; see [`Writer::write_to`].
    Varying,
    Stderr,
    Syslog(SyslogSocket),
}

impl Writer {
    fn new(log: &AccessLog, files: &Arc<LogFiles>, hostname: &Bytes) -> Writer {
        let to = match &log.target {
            LogTarget::File(path) => Sink::File(files.file(path)),
            LogTarget::FileTemplate(_) => Sink::Varying,
            LogTarget::Stderr => Sink::Stderr,
            LogTarget::Syslog(to) => Sink::Syslog(SyslogSocket::new(to.clone(), hostname.clone())),
        };
        let (size, gzip, flush) = (log.buffer.unwrap_or(0), log.gzip, log.flush);
        Writer { to, size, gzip, buffer: RefCell::default(), flush, waiting: Cell::new(false) }
    }

    /// Writes `line`, which ends in a newline. `stamp` is asked only for syslog: `Nov 22 06:36:47`.
    /// Returns after how long [`Writer::flush`] must be called, if a new wait begins with this line.
    pub fn write(&self, line: &[u8], stamp: impl FnOnce() -> String) -> Option<Duration> {
        if let Sink::Syslog(socket) = &self.to {
            socket.send(line.strip_suffix(b"\n").unwrap_or(line), &stamp(), None);
            return None;
        }
        if self.size == 0 {
            self.put(line);
            return None;
        }
        if self.buffer.borrow().len() + line.len() > self.size {
            self.flush();
        }
        if line.len() > self.size {
            self.put_packed(line);
            return None;
        }
        self.buffer.borrow_mut().extend_from_slice(line);
        self.flush.filter(|_| !self.waiting.replace(true))
    }

    /// Writes `line` to the file at `path`: for a path with variables. Opened and closed for this line.
    pub fn write_to(&self, path: &Path, line: &[u8]) {
        if let Sink::Varying = &self.to
            && let Ok(mut file) = OwnRights.append(path)
        {
            drop(file.write_all(line));
        }
    }

    /// Writes the buffer out.
    pub fn flush(&self) {
        self.waiting.set(false);
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.is_empty() {
            self.put_packed(&buffer);
            buffer.clear();
        }
    }

    fn put_packed(&self, bytes: &[u8]) {
        let Some(level) = self.gzip else { return self.put(bytes) };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        if packed.write_all(bytes).is_ok()
            && let Ok(packed) = packed.finish()
        {
            self.put(&packed);
        }
    }

    /// A full disk must not stop requests: what cannot be written is lost, as with nginx.
    fn put(&self, bytes: &[u8]) {
        match &self.to {
            Sink::File(file) => drop(file.write(bytes)),
            Sink::Stderr => drop(std::io::stderr().write_all(bytes)),
            Sink::Varying | Sink::Syslog(_) => {}
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::log::{Escape, LogFormat};
    use crate::plan::template::Template;
    use std::io::Read;

    fn log(path: &Path, buffer: Option<usize>, gzip: Option<u32>) -> AccessLog {
        let format = LogFormat { name: "f".into(), escape: Escape::Default, line: Template::default() };
        let target = LogTarget::File(path.to_owned());
        AccessLog {
            target,
            format: Arc::new(format),
            buffer,
            flush: Some(Duration::from_secs(1)),
            gzip,
            condition: None,
        }
    }

    #[test]
    fn a_line_is_on_disk_at_once_unless_it_is_buffered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let writers = Writers::new(Arc::new(LogFiles::new(Arc::new(OwnRights))), "box".into());
        let direct = writers.writer(&log(&path, None, None));
        assert_eq!(direct.write(b"one\n", String::new), None);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n");
        let buffered = writers.writer(&log(&path, Some(10), None));
        assert_eq!(buffered.write(b"two\n", String::new), Some(Duration::from_secs(1)));
        assert_eq!(buffered.write(b"three\n", String::new), None);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n");
        buffered.write(b"x\n", String::new);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
        writers.flush();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\nthree\nx\n");
    }

    #[test]
    fn packed_buffers_are_members_of_one_gzip_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log.gz");
        let writers = Writers::new(Arc::new(LogFiles::new(Arc::new(OwnRights))), "box".into());
        let writer = writers.writer(&log(&path, Some(8), Some(1)));
        for line in [&b"one\n"[..], b"two\n", b"three\n"] {
            writer.write(line, String::new);
        }
        writers.flush();
        let packed = std::fs::File::open(&path).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(packed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
    }
}
