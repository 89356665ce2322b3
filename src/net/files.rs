//! How does the server process read a certificate, key or list of authorities? Through one small port: straight from the
//! disk, or through the master where privileges were dropped. `node` chooses.

use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Nothing that is read whole may be larger; the largest CRLs have some megabytes.
pub const LARGEST: u64 = 64 << 20;

/// Reads whole files.
pub trait ReadFile: Send + Sync {
    /// The content of the file at `path`. Wiped when dropped: it may be a key.
    ///
    /// # Errors
    /// What the system said, or `InvalidData` beyond [`LARGEST`].
    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// The disk itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl ReadFile for Disk {
    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = std::fs::File::open(path)?;
        let size = file.metadata().map(|m| m.len()).unwrap_or(0).min(LARGEST);
        // Room from the start: growing would leave copies of a key behind.
        let mut out = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
        file.take(LARGEST + 1).read_to_end(&mut out)?;
        if out.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "file too large"));
        }
        Ok(out)
    }
}

/// The content of a directive's value: `data:…` stands for itself (nginx 1.15.10), all else is a path.
///
/// # Errors
/// What `reader` said.
pub fn content(reader: &dyn ReadFile, value: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    use std::os::unix::ffi::OsStrExt;
    match value.as_os_str().as_bytes().strip_prefix(b"data:") {
        Some(inline) => Ok(Zeroizing::new(inline.to_vec())),
        None => reader.read(value),
    }
}
