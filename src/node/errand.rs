//! How does the server process get what only the master may open? It asks over a channel of its own, one question at a
//! time; the master opens only what the configuration in force (or about to be) names.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::net::opener::{Opener, OwnRights, Stamp};
use crate::plan::export::Export;
use crate::store::lineage::{self, Part};

use zeroize::Zeroizing;

use super::channel::Channel;
use super::exports::writer::Writer;
use super::exports::{Deliver, Parcel, Standing};
use super::orders::{Answer, Ask};

/// The server process's side.
#[derive(Debug)]
pub struct Master(Mutex<Channel>);

impl Master {
    /// Asks over `channel`.
    pub fn new(channel: Channel) -> Master {
        Master(Mutex::new(channel))
    }

    fn ask(&self, ask: &Ask) -> io::Result<(Answer, Vec<OwnedFd>)> {
        self.ask_with(ask, &[])
    }

    fn ask_with(&self, ask: &Ask, fds: &[BorrowedFd<'_>]) -> io::Result<(Answer, Vec<OwnedFd>)> {
        let channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        channel.send(ask, fds)?;
        channel.receive()?.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn file(&self, ask: &Ask) -> io::Result<File> {
        match self.ask(ask)? {
            (Answer::File(Ok(())), fds) => {
                let fd = fds.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
                Ok(File::from(fd))
            }
            (Answer::File(Err(code)), _) => Err(io::Error::from_raw_os_error(code)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Hands parts over in memory that has no name.
    fn hand_over(&self, parcel: &Parcel, parts: &[Part]) -> io::Result<Standing> {
        let file = |part: &Part| -> io::Result<File> {
            let mut file = File::from(rustix::fs::memfd_create("certificate", rustix::fs::MemfdFlags::CLOEXEC)?);
            file.write_all(&part.content)?;
            Ok(file)
        };
        let files: Vec<File> = parts.iter().map(file).collect::<io::Result<_>>()?;
        let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        match self.ask_with(&Ask::Export(Box::new(parcel.clone())), &fds)? {
            (Answer::Exported(standing), _) => standing.map_err(io::Error::other),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Says that a job is being served, or why it is not.
    pub fn done(&self, generation: u64, refused: Option<String>) {
        // Without a master nobody needs to know.
        let _ = self.ask(&Ask::Done { generation, refused });
    }
}

impl Deliver for Master {
    fn deliver(&self, parcel: &Parcel, parts: &[Part]) -> io::Result<Standing> {
        self.hand_over(parcel, parts)
    }
}

impl Opener for Master {
    fn append(&self, path: &Path) -> io::Result<File> {
        self.file(&Ask::Append(path.to_owned()))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        // What we may read ourselves needs no question.
        File::open(path).or_else(|_| self.file(&Ask::Open(path.to_owned())))
    }

    fn stamps(&self, paths: &[&Path]) -> Vec<Option<Stamp>> {
        let mut stamps = OwnRights.stamps(paths);
        let unknown: Vec<usize> = (0..paths.len()).filter(|&at| stamps[at].is_none()).collect();
        if unknown.is_empty() {
            return stamps;
        }
        let ask = Ask::Stamps(unknown.iter().map(|&at| paths[at].to_owned()).collect());
        if let Ok((Answer::Stamps(found), _)) = self.ask(&ask) {
            for (at, stamp) in unknown.into_iter().zip(found) {
                stamps[at] = stamp;
            }
        }
        stamps
    }
}

/// What is allowed now: by the plan in force, then by one that is about to be.
pub type InForce = Arc<RwLock<Vec<Arc<Allowed>>>>;

/// A set of paths. Kept as digests: it outlives the plan whose paths it holds, and there may be many thousands.
#[derive(Clone, Debug, Default)]
pub struct Paths(HashSet<[u8; 16]>);

impl Paths {
    /// Takes one in.
    pub fn insert(&mut self, path: &Path) {
        self.0.insert(Paths::digest(path));
    }

    /// Whether this very path is in it.
    pub fn contains(&self, path: &Path) -> bool {
        self.0.contains(&Paths::digest(path))
    }

    /// Half of a SHA-256: nobody finds another path with the same.
    fn digest(path: &Path) -> [u8; 16] {
        use std::os::unix::ffi::OsStrExt;
        let whole = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, path.as_os_str().as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&whole.as_ref()[..16]);
        half
    }
}

impl<P: AsRef<Path>> Extend<P> for Paths {
    fn extend<I: IntoIterator<Item = P>>(&mut self, paths: I) {
        paths.into_iter().for_each(|path| self.insert(path.as_ref()));
    }
}

/// What the master opens for the server process.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// For reading.
    pub read: Paths,
    /// For append.
    pub append: HashSet<PathBuf>,
    /// What is written for others.
    pub exports: Vec<Export>,
    /// Whose a new log becomes, as nginx gives logs to its workers.
    pub owner: Option<(u32, u32)>,
}

/// Answers questions until the other end is gone. Runs on a thread of its own in the master; `done` hears of jobs.
pub fn serve(channel: &Channel, allowed: &InForce, writer: &Writer, done: impl Fn(u64, Option<String>)) {
    loop {
        let (ask, with) = match channel.receive::<Ask>() {
            Ok(Some(both)) => both,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(level = "alert", "the server process cannot be understood: {error}");
                return;
            }
        };
        let allowed = allowed.read().unwrap_or_else(PoisonError::into_inner).clone();
        let readable = |path: &Path| allowed.iter().any(|allowed| allowed.read.contains(path));
        let (answer, file) = match ask {
            Ask::Append(path) => match allowed.iter().rfind(|allowed| allowed.append.contains(&path)) {
                Some(allowed) => opened(append(&path, allowed.owner)),
                None => refused(&path),
            },
            Ask::Open(path) if readable(&path) => opened(File::open(&path)),
            Ask::Open(path) => refused(&path),
            Ask::Stamps(paths) => {
                let stamp = |path: &PathBuf| Stamp::of(path).filter(|_| readable(path));
                (Answer::Stamps(paths.iter().map(stamp).collect()), None)
            }
            Ask::Export(parcel) if allowed.iter().any(|allowed| allowed.exports.contains(&parcel.export)) => {
                let standing = parts(&parcel, with).and_then(|parts| writer.deliver(&parcel, &parts));
                (Answer::Exported(standing.map_err(|error| error.to_string())), None)
            }
            Ask::Export(parcel) => refused(&parcel.export.folder),
            Ask::Done { generation, refused } => {
                done(generation, refused);
                (Answer::Noted, None)
            }
        };
        let fds: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        if channel.send(&answer, &fds).is_err() {
            return;
        }
    }
}

/// The parts of a parcel, from the descriptors that came with it. Bounded; not looked into.
fn parts(parcel: &Parcel, with: Vec<OwnedFd>) -> io::Result<Vec<Part>> {
    let names = lineage::names(parcel.export.layout);
    if with.len() != names.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let part = |(name, fd): (&&'static str, OwnedFd)| {
        // Room for everything from the start: growing would leave copies of a key behind.
        let mut content = Zeroizing::new(Vec::with_capacity(lineage::LARGEST + 1));
        let mut file = File::from(fd);
        file.rewind()?;
        file.take(lineage::LARGEST as u64 + 1).read_to_end(&mut content)?;
        Ok(Part { name, content })
    };
    names.iter().zip(with).map(part).collect()
}

fn refused(path: &Path) -> (Answer, Option<File>) {
    tracing::error!(level = "alert", "the server process asked for \"{}\": refused", path.display());
    (Answer::File(Err(nix::errno::Errno::EACCES as i32)), None)
}

fn opened(result: io::Result<File>) -> (Answer, Option<File>) {
    match result {
        Ok(file) => (Answer::File(Ok(())), Some(file)),
        Err(error) => (Answer::File(Err(error.raw_os_error().unwrap_or(nix::errno::Errno::EIO as i32))), None),
    }
}

/// Opens a log; one that is made here belongs to the account of the server process, as with nginx.
fn append(path: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    let new = !path.exists();
    let file = OwnRights.append(path)?;
    if let (true, Some((user, _))) = (new, owner) {
        // The log can be written either way; only tools that run as that account would miss it.
        let _ = std::os::unix::fs::fchown(&file, Some(user), None);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_master_opens_what_the_configuration_names_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (log, secret) = (folder.path().join("log"), folder.path().join("secret"));
        std::fs::write(&secret, "x").unwrap();
        let mut allowed = Allowed::default();
        allowed.append.insert(log.clone());
        let allowed = Arc::new(RwLock::new(vec![Arc::new(allowed)]));
        let (here, there) = Channel::pair().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || serve(&there, &allowed, &Writer::default(), |_, _| {}));
            let master = Master::new(here);
            master.append(&log).unwrap().write_all(b"line").unwrap();
            assert_eq!(std::fs::read_to_string(&log).unwrap(), "line");
            assert!(master.append(&secret).is_err());
            assert!(master.file(&Ask::Open(secret.clone())).is_err());
            master.done(1, None);
        });
    }
}
