//! How does the state path look? One writer, small files, readable by people and other programs:
//!
//! ```text
//! FORMAT                     "semper state 1"
//! LOCK                       held by the process that writes; the kernel lets go of it when that process ends
//! accounts/shared.key        the account key of all issuers without one of their own
//! accounts/ISSUER.key        an account key of one issuer
//! accounts/NAME.next.key     the key that takes its place at present
//! accounts/ISSUER.json       the account there
//! ledger.json                what of the authorities' limits is used up
//! authority/ISSUER.pem       root and key of a built-in authority
//! authority/ISSUER.intermediate.pem   its intermediate and key
//! certs/ID/bundle.pem        key and chain in force: a second name of the newest generation
//! certs/ID/EPOCH.pem         the newest generations
//! certs/ID/stage.json        where the certificate stands
//! certs/ID/order.json        the order under way, with its key
//! certs/ID/EPOCH.disowned    a generation that is revoked: shown only if there is no other
//! wishes.json                what is paused, what is still to be revoked
//! on-demand.json             which names are held on demand
//! certs/ID/left.json         since when the configuration does not name it
//! archive/ID                 what left the configuration a month ago
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use zeroize::Zeroizing;

use super::atomic;
use crate::cert::bundle::Bundle;
use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::plan::certificate::CertId;

const FORMAT: &[u8] = b"semper state 1\n";
/// The folder for our state in one of another format.
const BESIDE: &str = "semper-state-1";
/// Generations of one certificate that are kept, the one in force included.
const GENERATIONS: usize = 4;

/// State in a directory. Reading is always possible; the first write takes the lock, and from then on no other process
/// can write to the same directory until this value ends.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// A state path of another format, beside whose files ours stand.
    elder: Option<PathBuf>,
    /// Guards compare-and-replace among threads.
    replacing: Mutex<()>,
    lock: OnceLock<File>,
}

impl Directory {
    /// Opens the state path for reading and writing, making it if it is missing. Fails if another process writes to it,
    /// or if it has another format; then nothing was touched.
    pub fn open(root: &Path) -> Result<Directory, ShelfError> {
        let directory = Directory::view(root)?;
        directory.writable()?;
        Ok(directory)
    }

    /// Opens the state path for reading, and for writing as soon as no other process does: until then every write fails
    /// with [`ShelfError::InUse`]. For the short time in which two generations of semper run side by side.
    pub fn view(root: &Path) -> Result<Directory, ShelfError> {
        let directory =
            Directory { root: root.to_owned(), elder: None, replacing: Mutex::new(()), lock: OnceLock::new() };
        directory.check_format()?;
        Ok(directory)
    }

    /// For a state path that [`Directory::view`] refused for `why`. One of another format, of a later version perhaps,
    /// gets a folder of our own in it, so that a certificate that is ordered now is not ordered again at the next start;
    /// nothing else in it is touched. Of one that cannot be read whatever can be is read, and every write tries again.
    pub fn in_need(root: &Path, why: &ShelfError) -> Directory {
        let plain = |root| Directory { root, elder: None, replacing: Mutex::new(()), lock: OnceLock::new() };
        match why {
            ShelfError::Format { .. } => Directory { elder: Some(root.to_owned()), ..plain(root.join(BESIDE)) },
            _ => plain(root.to_owned()),
        }
    }

    /// Whether the format is ours; false if there is none yet.
    fn check_format(&self) -> Result<bool, ShelfError> {
        let format = self.root.join("FORMAT");
        match atomic::read(&format).map_err(|source| failed(&format, source))? {
            Some(found) if found.as_slice() == FORMAT => Ok(true),
            Some(_) => Err(ShelfError::Format { path: self.root.display().to_string() }),
            None => Ok(false),
        }
    }

    /// Takes the lock if we do not hold it. The kernel frees it when the process ends, however it ends.
    fn writable(&self) -> Result<(), ShelfError> {
        if self.lock.get().is_some() {
            return Ok(());
        }
        let io = |source| failed(&self.root, source);
        let guard = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lock.get().is_some() {
            return Ok(());
        }
        atomic::make_directory(&self.root).map_err(io)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(self.root.join("LOCK"))
            .map_err(io)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(ShelfError::InUse { path: self.root.display().to_string() });
            }
            Err(error) => return Err(io(error.into())),
        }
        if !self.check_format()? {
            atomic::write(&self.root.join("FORMAT"), FORMAT).map_err(io)?;
        }
        // Nobody else sets it while we hold the guard.
        let _ = self.lock.set(lock);
        drop(guard);
        Ok(())
    }

    fn path(&self, record: &Record) -> PathBuf {
        match record {
            Record::SharedAccountKey => self.root.join("accounts/shared.key"),
            Record::AccountKey(issuer) => self.root.join("accounts").join(format!("{}.key", file_name(issuer))),
            Record::NextSharedAccountKey => self.root.join("accounts/shared.next.key"),
            Record::NextAccountKey(issuer) => {
                self.root.join("accounts").join(format!("{}.next.key", file_name(issuer)))
            }
            Record::Account(issuer) => self.root.join("accounts").join(format!("{}.json", file_name(issuer))),
            Record::Authority(issuer) => self.root.join("authority").join(format!("{}.pem", file_name(issuer))),
            Record::Intermediate(issuer) => {
                self.root.join("authority").join(format!("{}.intermediate.pem", file_name(issuer)))
            }
            Record::Stage(id) => self.home(id).join("stage.json"),
            Record::Order(id) => self.home(id).join("order.json"),
            Record::Left(id) => self.home(id).join("left.json"),
            Record::Ledger => self.root.join("ledger.json"),
            Record::Wishes => self.root.join("wishes.json"),
            Record::OnDemand => self.root.join("on-demand.json"),
        }
    }

    /// The names of the built-in authorities whose root lies here, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn authorities(&self) -> Result<Vec<String>, ShelfError> {
        let folder = self.root.join("authority");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| failed(&folder, source))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|source| failed(&folder, source))?.file_name();
            let issuer = name.to_str().and_then(|name| name.strip_suffix(".pem")).and_then(issuer_name);
            names.extend(issuer);
        }
        names.sort();
        Ok(names)
    }

    fn home(&self, id: &CertId) -> PathBuf {
        self.root.join("certs").join(id.as_str())
    }

    /// The generations of a certificate with this ending, the newest first.
    fn generations(&self, id: &CertId, ending: &str) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(self.home(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let epoch = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ending));
            if let Some(epoch) = epoch.and_then(|digits| digits.parse().ok()) {
                found.push((epoch, path));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        Ok(found)
    }
}

impl Shelf for Directory {
    fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
        let path = self.path(record);
        atomic::read(&path).map_err(|source| failed(&path, source))
    }

    fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
        self.writable()?;
        let path = self.path(record);
        make_parent(&path).and_then(|()| atomic::write(&path, content)).map_err(|source| failed(&path, source))
    }

    fn remove(&self, record: &Record) -> Result<(), ShelfError> {
        self.writable()?;
        let path = self.path(record);
        atomic::remove(&path).map_err(|source| failed(&path, source))
    }

    fn set_aside(&self, record: &Record) -> Result<(), ShelfError> {
        self.writable()?;
        let path = self.path(record);
        let mut aside = path.clone().into_os_string();
        aside.push(".damaged");
        fs::rename(&path, aside).map_err(|source| failed(&path, source))
    }

    fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
        let home = self.home(id);
        let current = home.join("bundle.pem");
        match read_bundle(&current, id) {
            Ok(found @ Some(_)) => return Ok(found),
            Ok(None) => {}
            Err(error) => tracing::error!("{error}; an older generation is looked for"),
        }
        let good = self.generations(id, ".pem").map_err(|source| failed(&home, source))?;
        let disowned = self.generations(id, ".disowned").map_err(|source| failed(&home, source))?;
        for (_, path) in good.into_iter().chain(disowned) {
            match read_bundle(&path, id) {
                Ok(found @ Some(_)) => return Ok(found),
                Ok(None) => {}
                Err(error) => tracing::error!("{error}; an older generation is looked for"),
            }
        }
        // What stands in a state path of another format is read where it can be, and never written.
        match &self.elder {
            Some(elder) => {
                Ok(read_bundle(&elder.join("certs").join(id.as_str()).join("bundle.pem"), id).ok().flatten())
            }
            None => Ok(None),
        }
    }

    fn bundles(&self, id: &CertId) -> Result<Vec<Bundle>, ShelfError> {
        let home = self.home(id);
        let mut found: Vec<Bundle> = self.bundle(id)?.into_iter().collect();
        for (epoch, path) in self.generations(id, ".pem").map_err(|source| failed(&home, source))? {
            if found.iter().all(|bundle| bundle.epoch != epoch) {
                // A damaged old one is no loss.
                found.extend(read_bundle(&path, id).ok().flatten());
            }
        }
        Ok(found)
    }

    fn ids(&self) -> Result<Vec<CertId>, ShelfError> {
        let certs = self.root.join("certs");
        let entries = match fs::read_dir(&certs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| failed(&certs, source))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| CertId::try_from(name).ok()).collect())
    }

    fn archive(&self, id: &CertId) -> Result<(), ShelfError> {
        self.writable()?;
        let (home, archive) = (self.home(id), self.root.join("archive"));
        let free = |n: &u32| !archive.join(format!("{}.{n}", id.as_str())).exists();
        let Some(number) = (1..1000).find(free) else { return Ok(()) };
        let aside = archive.join(format!("{}.{number}", id.as_str()));
        make_parent(&aside).and_then(|()| fs::rename(&home, &aside)).map_err(|source| failed(&home, source))
    }

    fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError> {
        self.writable()?;
        // The guarded state is the disk, which a panic elsewhere does not harm.
        let _guard = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.bundle(&bundle.id)?.map(|bundle| bundle.epoch);
        if found != expected {
            return Err(ShelfError::Conflict { expected, found });
        }
        let home = self.home(&bundle.id);
        let generation = home.join(format!("{}.pem", bundle.epoch));
        let current = home.join("bundle.pem");
        make_parent(&generation)
            .and_then(|()| atomic::write(&generation, bundle.to_text().as_bytes()))
            .and_then(|()| atomic::link(&generation, &current))
            .map_err(|source| failed(&current, source))?;
        // What is too old goes only after the new one is in force; if that fails it goes next time.
        for (_, path) in self.generations(&bundle.id, ".pem").unwrap_or_default().into_iter().skip(GENERATIONS) {
            let _ = atomic::remove(&path);
        }
        Ok(())
    }

    fn disown(&self, id: &CertId, epoch: u64) -> Result<(), ShelfError> {
        self.writable()?;
        let _guard = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let home = self.home(id);
        let (generation, disowned) = (home.join(format!("{epoch}.pem")), home.join(format!("{epoch}.disowned")));
        let current = home.join("bundle.pem");
        let in_force = read_bundle(&current, id).ok().flatten().is_some_and(|bundle| bundle.epoch == epoch);
        let done = match atomic::link(&generation, &disowned) {
            // It is not kept any more, or was disowned before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => atomic::remove(&generation),
        };
        done.map_err(|source| failed(&generation, source))?;
        // Older generations may take its place with the next start; the one that has come since stays.
        if in_force { atomic::remove(&current).map_err(|source| failed(&current, source)) } else { Ok(()) }
    }
}

fn read_bundle(path: &Path, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
    let Some(text) = atomic::read(path).map_err(|source| failed(path, source))? else {
        return Ok(None);
    };
    let bundle = Bundle::from_text(&text).map_err(|error| failed(path, io::Error::other(error)))?;
    if bundle.id != *id {
        return Err(failed(path, io::Error::other("this is the bundle of another certificate")));
    }
    Ok(Some(bundle))
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), atomic::make_directory)
}

fn failed(path: &Path, source: io::Error) -> ShelfError {
    ShelfError::Io { path: path.display().to_string(), source }
}

/// An issuer's name as a file name: letters, digits, `-` and `_` as they are, everything else as `%XX`.
fn file_name(issuer: &str) -> String {
    let mut name = String::with_capacity(issuer.len());
    for byte in issuer.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

/// Reads [`file_name`]; `None` for what it never makes.
fn issuer_name(file: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            other => bytes.push(other),
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (file_name(&name) == file).then_some(name)
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
