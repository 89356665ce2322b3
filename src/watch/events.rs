//! What does the kernel say happens in a directory? A thread that waits for inotify and passes on what was touched. It asks
//! only for what can change a file: whoever opens files of the directory, to serve them for example, wakes nobody.

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What may change a file, or the way to it.
const WANTED: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// What was touched.
#[derive(Debug)]
pub(super) enum Touched {
    /// This: a directory, or something in it.
    Path(PathBuf),
    /// Too much happened to say.
    Anything,
}

/// Directories under watch; the thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Events {
    kernel: Arc<OwnedFd>,
    directories: Directories,
    end: Arc<OwnedFd>,
}

/// By the kernel's number. Two paths may lead to one directory.
type Directories = Arc<Mutex<HashMap<i32, Vec<PathBuf>>>>;

impl Events {
    /// Starts the thread. `report` is called there.
    ///
    /// # Errors
    /// The system has no room for another inotify instance or thread.
    pub(super) fn start(report: impl FnMut(Touched) + Send + 'static) -> io::Result<Events> {
        let kernel = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let directories = Directories::default();
        let (from, until, known) = (kernel.clone(), end.clone(), directories.clone());
        let run = move || pass_on(&from, &until, &known, report);
        std::thread::Builder::new().name("file events".into()).spawn(run)?;
        Ok(Events { kernel, directories, end })
    }

    /// Watches a directory. Once more does no harm, and finds the new one where the old was replaced.
    ///
    /// # Errors
    /// It is not there, is none, may not be read, or there are too many.
    pub(super) fn watch(&self, directory: &Path) -> io::Result<()> {
        let mut known = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        let number = inotify::add_watch(&*self.kernel, directory, WANTED)?;
        self.forget(&mut known, directory, Some(number));
        let paths = known.entry(number).or_default();
        if !paths.iter().any(|path| path == directory) {
            paths.push(directory.to_owned());
        }
        Ok(())
    }

    /// Watches it no longer.
    pub(super) fn unwatch(&self, directory: &Path) {
        let mut known = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut known, directory, None);
    }

    /// Forgets `directory` under every number but `except`.
    fn forget(&self, known: &mut HashMap<i32, Vec<PathBuf>>, directory: &Path, except: Option<i32>) {
        known.retain(|number, paths| {
            if Some(*number) != except {
                paths.retain(|path| path != directory);
            }
            if paths.is_empty() {
                // The kernel has forgotten directories that were deleted already.
                let _ = inotify::remove_watch(&*self.kernel, *number);
            }
            !paths.is_empty()
        });
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // An eventfd takes eight bytes as long as nobody has counted to the end.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
    }
}

fn pass_on(kernel: &OwnedFd, end: &OwnedFd, known: &Directories, mut report: impl FnMut(Touched)) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    loop {
        let mut waits = [PollFd::new(kernel, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        let failed = poll(&mut waits, None).is_err_and(|error| error != rustix::io::Errno::INTR);
        if failed || !waits[1].revents().is_empty() {
            return;
        }
        let mut reader = Reader::new(kernel, &mut buffer);
        while let Ok(event) = reader.next() {
            let (number, flags) = (event.wd(), event.events());
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                report(Touched::Anything);
                continue;
            }
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let paths = match flags.contains(ReadFlags::IGNORED) {
                true => known.remove(&number),
                false => known.get(&number).cloned(),
            };
            drop(known);
            for path in paths.into_iter().flatten() {
                let within = event.file_name().map(|name| path.join(OsStr::from_bytes(name.to_bytes())));
                report(Touched::Path(within.unwrap_or(path)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn events() -> (Events, Receiver<Touched>) {
        let (tell, hear) = channel();
        (Events::start(move |touched| drop(tell.send(touched))).unwrap(), hear)
    }

    fn until(hear: &Receiver<Touched>, path: &Path) -> Vec<PathBuf> {
        let mut before = Vec::new();
        loop {
            match hear.recv_timeout(Duration::from_secs(10)).unwrap() {
                Touched::Path(touched) if touched == path => return before,
                Touched::Path(touched) => before.push(touched),
                Touched::Anything => {}
            }
        }
    }

    #[test]
    fn a_change_is_told_and_a_look_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (read, written) = (dir.path().join("read"), dir.path().join("written"));
        std::fs::write(&read, "a").unwrap();
        let (events, hear) = events();
        events.watch(dir.path()).unwrap();
        std::fs::read(&read).unwrap();
        std::fs::write(&written, "b").unwrap();
        assert!(!until(&hear, &written).contains(&read), "opening and reading a file woke somebody");
    }

    #[test]
    fn a_replaced_directory_can_be_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let (events, hear) = events();
        events.watch(&inner).unwrap();
        std::fs::rename(&inner, dir.path().join("away")).unwrap();
        until(&hear, &inner);
        std::fs::create_dir(&inner).unwrap();
        events.watch(&inner).unwrap();
        std::fs::write(inner.join("new"), "").unwrap();
        until(&hear, &inner.join("new"));
        std::fs::write(dir.path().join("away/old"), "").unwrap();
        std::fs::write(inner.join("last"), "").unwrap();
        let heard = until(&hear, &inner.join("last"));
        assert!(!heard.contains(&inner.join("old")), "the directory that was moved away is still watched");
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let (events, hear) = events();
        drop(events);
        assert!(
            hear.recv_timeout(Duration::from_secs(10))
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
