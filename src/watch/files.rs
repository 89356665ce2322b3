//! Which files have changed? Watches the directories on the way to each file, waits until the writing has paused, and
//! compares contents; looks at every file once a minute besides, for file systems that send no events, and more often
//! where a directory cannot be watched. Says only that something changed; judges nothing. Runs on a thread of its own,
//! so that a stuck disk holds up nobody.

use super::events::{self, Events};
use super::links::Ways;
use crate::net::files::ReadFile;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How patient the watcher is. The defaults are for people and file systems; tests are quicker.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Files are read when nothing has happened for so long …
    pub quiet: Duration,
    /// … or this long after the first event, whatever happens.
    pub longest: Duration,
    /// Every file is looked at in this interval.
    pub every: Duration,
    /// Files whose directories cannot be watched are looked at in this interval.
    pub unwatched: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            quiet: Duration::from_millis(200),
            longest: Duration::from_secs(1),
            every: Duration::from_secs(60),
            unwatched: Duration::from_secs(10),
        }
    }
}

/// A running watcher; ends when dropped.
#[derive(Debug)]
pub struct FileWatch {
    messages: Sender<Message>,
}

#[derive(Debug)]
enum Message {
    Watch(HashMap<Arc<Path>, Known>),
    Touched(PathBuf),
    Everything,
    Stop,
}

/// What was last seen of a file. Small: there may be many thousands.
#[derive(Clone, Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    /// Filled in when the file is first read here; until then any new stamp counts as a change.
    digest: Option<Box<[u8; 32]>>,
    /// The places on the way; `None` where that is the file alone.
    hops: Option<Box<[Arc<Path>]>>,
    watched: bool,
}

/// What `stat()` says of the file that a path leads to (device, inode, size, times), hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64);

impl Stamp {
    /// `Ok(None)`: there is no such file. `Err`: we may not look.
    fn of(path: &Path) -> Result<Option<Stamp>, std::io::Error> {
        use std::os::unix::fs::MetadataExt;
        match std::fs::metadata(path) {
            Ok(meta) => {
                let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
                let mut hasher = DefaultHasher::new();
                (meta.dev(), meta.ino(), meta.len(), times).hash(&mut hasher);
                Ok(Some(Stamp(hasher.finish())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl FileWatch {
    /// Starts the thread. `report` is called there with each file whose content has changed, appeared or gone; it should
    /// only pass the path on. Files are read through `reader`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        reader: Arc<dyn ReadFile>,
        patience: Patience,
        report: impl Fn(Arc<Path>) + Send + 'static,
    ) -> std::io::Result<FileWatch> {
        let (messages, inbox) = channel();
        let touched = messages.clone();
        let run = move || {
            let notifier = notifier(touched);
            if notifier.is_none() {
                tracing::warn!("file events are not available; files are looked at every {:?}", patience.unwatched);
            }
            let (files, hops) = (HashMap::new(), HashSet::new());
            let loop_ = Loop { files, hops, notifier, watched: HashSet::new(), reader, patience, report };
            loop_.run(&inbox);
        };
        std::thread::Builder::new().name("files".into()).spawn(run)?;
        Ok(FileWatch { messages })
    }

    /// Watches these files from now on, and no others. What they look like is noted before this returns: called before
    /// the files are loaded, no change can slip through in between.
    pub fn watch(&self, paths: impl IntoIterator<Item = impl Into<Arc<Path>>>) {
        let known = |path: Arc<Path>| {
            let stamp = Stamp::of(&path).ok().flatten();
            (path, Known { stamp, ..Known::default() })
        };
        // The thread ends only with us.
        let _ = self.messages.send(Message::Watch(paths.into_iter().map(Into::into).map(known).collect()));
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
    }
}

fn notifier(touched: Sender<Message>) -> Option<Events> {
    let pass_on = move |what| {
        let message = match what {
            events::Touched::Path(path) => Message::Touched(path),
            events::Touched::Anything => Message::Everything,
        };
        let _ = touched.send(message);
    };
    Events::start(pass_on).ok()
}

/// The directories of these places.
fn directories(hops: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    hops.iter().filter_map(|hop| Some(hop.parent()?.to_owned())).collect()
}

struct Loop<R> {
    files: HashMap<Arc<Path>, Known>,
    /// The hops of all files but the files themselves: most events concern none, and there may be many of both.
    hops: HashSet<Arc<Path>>,
    notifier: Option<Events>,
    watched: HashSet<PathBuf>,
    reader: Arc<dyn ReadFile>,
    patience: Patience,
    report: R,
}

impl<R: Fn(Arc<Path>)> Loop<R> {
    fn run(mut self, inbox: &Receiver<Message>) {
        let (mut last_all, mut last_unwatched) = (Instant::now(), Instant::now());
        loop {
            let wait = (last_all + self.patience.every).min(last_unwatched + self.patience.unwatched);
            match inbox.recv_timeout(wait.saturating_duration_since(Instant::now())) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Message::Watch(files)) => self.replace(files),
                Ok(Message::Touched(path)) if !self.concern(&path) => {}
                Ok(first @ (Message::Touched(_) | Message::Everything)) => {
                    let (touched, next) = self.settle(first, inbox);
                    self.look_where(touched.as_ref());
                    match next {
                        Some(Message::Stop) => return,
                        Some(Message::Watch(files)) => self.replace(files),
                        _ => {}
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let all = last_all.elapsed() >= self.patience.every;
            if all || last_unwatched.elapsed() >= self.patience.unwatched {
                self.look_again(all);
                last_unwatched = Instant::now();
                last_all = if all { last_unwatched } else { last_all };
            }
        }
    }

    /// Whether something on the way to one of our files was touched. Much else may happen in the same directory.
    fn concern(&self, path: &Path) -> bool {
        self.files.contains_key(path) || self.hops.contains(path) || self.watched.contains(path)
    }

    /// Gathers events until ours pause: what was touched, or `None` for anything. A message of another kind ends the
    /// wait and is handed back.
    fn settle(&self, first: Message, inbox: &Receiver<Message>) -> (Option<HashSet<PathBuf>>, Option<Message>) {
        let end = Instant::now() + self.patience.longest;
        let mut touched = Some(HashSet::new());
        let mut message = first;
        let mut quiet = end;
        loop {
            match message {
                Message::Touched(path) => {
                    if self.concern(&path) {
                        quiet = end.min(Instant::now() + self.patience.quiet);
                        if let Some(touched) = &mut touched {
                            touched.insert(path);
                        }
                    }
                }
                Message::Everything => {
                    quiet = end.min(Instant::now() + self.patience.quiet);
                    touched = None;
                }
                other => return (touched, Some(other)),
            }
            match inbox.recv_timeout(quiet.saturating_duration_since(Instant::now())) {
                Ok(next) => message = next,
                Err(_) => return (touched, None),
            }
        }
    }

    fn replace(&mut self, files: HashMap<Arc<Path>, Known>) {
        let mut old = std::mem::take(&mut self.files);
        for (path, new) in files {
            let mut known = old.remove(&path).unwrap_or(new);
            // Where we may not look ourselves, only the content tells; it is read through the reader.
            if known.stamp.is_none() && known.digest.is_none() && Stamp::of(&path).is_err() {
                known.digest = Some(Box::new(self.digest(&path)));
            }
            self.files.insert(path, known);
        }
        self.hops.clear();
        let paths: Vec<_> = self.files.keys().cloned().collect();
        let (mut needed, mut ways) = (HashSet::new(), Ways::default());
        for path in paths {
            needed.extend(self.watch_directories(&path, &mut ways));
        }
        let gone: Vec<_> = self.watched.difference(&needed).cloned().collect();
        for directory in gone {
            self.watched.remove(&directory);
            if let Some(notifier) = &self.notifier {
                notifier.unwatch(&directory);
            }
        }
    }

    /// Watches the directories on the way to `path`, as the way is now; which.
    fn watch_directories(&mut self, path: &Path, ways: &mut Ways) -> BTreeSet<PathBuf> {
        let hops = ways.hops(path);
        let directories = directories(&hops);
        // Where we may not even look, events on the way say nothing about the file.
        let mut all = Stamp::of(path).is_ok();
        for directory in &directories {
            if self.watched.contains(directory) {
                continue;
            }
            let watching = self.notifier.as_ref().map(|notifier| notifier.watch(directory));
            match watching {
                Some(Ok(())) => drop(self.watched.insert(directory.clone())),
                _ => all = false,
            }
        }
        if let Some(known) = self.files.get_mut(path) {
            let alone = hops.len() == 1 && hops.first().is_some_and(|hop| hop == path);
            known.watched = all;
            known.hops = (!alone).then(|| hops.into_iter().map(Arc::from).collect());
            // Hops that are no more stay here until other files are watched; they cost a needless look at most.
            self.hops.extend(known.hops.iter().flatten().cloned());
        }
        directories
    }

    /// Looks at the files on whose way something was touched; `None`: at all.
    fn look_where(&mut self, touched: Option<&HashSet<PathBuf>>) {
        // A directory that was replaced has lost its watch.
        if let Some(touched) = touched {
            self.watched.retain(|directory| !touched.contains(directory));
        } else {
            self.watched.clear();
        }
        let concerns = |path: &Arc<Path>, known: &Known| {
            touched.is_none_or(|touched| {
                let on = |hop: &Path| touched.contains(hop) || hop.parent().is_some_and(|d| touched.contains(d));
                known.hops.as_ref().map_or_else(|| on(path), |hops| hops.iter().any(|hop| on(hop)))
            })
        };
        let ours = self.files.iter().filter(|(path, known)| concerns(path, known));
        let paths: Vec<_> = ours.map(|(path, _)| path.clone()).collect();
        let mut ways = Ways::default();
        for path in paths {
            self.watch_directories(&path, &mut ways);
            self.look(&path);
        }
    }

    /// Looks at all files, or at those whose directories cannot be watched.
    fn look_again(&mut self, all: bool) {
        let paths: Vec<_> =
            self.files.iter().filter(|(_, k)| all || !k.watched).map(|(path, _)| path.clone()).collect();
        let mut ways = Ways::default();
        for path in paths {
            if all {
                self.watch_directories(&path, &mut ways);
            }
            self.look(&path);
        }
    }

    fn look(&mut self, path: &Arc<Path>) {
        let stamp = Stamp::of(path);
        let Some(known) = self.files.get(path) else { return };
        let (old_stamp, old_digest) = (known.stamp, known.digest.as_deref().copied());
        if stamp.as_ref().is_ok_and(|stamp| *stamp == old_stamp) {
            return;
        }
        let digest = self.digest(path);
        if let Some(known) = self.files.get_mut(path) {
            known.stamp = stamp.ok().flatten();
            known.digest = Some(Box::new(digest));
        }
        if old_digest != Some(digest) {
            (self.report)(path.clone());
        }
    }

    /// The digest of the content; zero if it cannot be read.
    fn digest(&self, path: &Path) -> [u8; 32] {
        let mut out = [0; 32];
        if let Ok(content) = self.reader.read(path) {
            out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content).as_ref());
        }
        out
    }
}
