//! How do other rooms read files that only the master may open? Their ports, answered by an [`Opener`].

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::acme::Secrets;
use crate::net::files::{LARGEST, ReadFile};
use crate::net::opener::Opener;
use crate::words::SecretRef;

use super::secrets::OwnSecrets;

/// Reads whole files, and secrets, through somebody else's rights.
#[derive(Clone, Debug)]
pub struct Borrowed(pub Arc<dyn Opener>);

impl ReadFile for Borrowed {
    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = self.0.open(path)?;
        let size = file.metadata().map(|facts| facts.len()).unwrap_or(0).min(LARGEST);
        // Room from the start: growing would leave copies of a key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "file too large"));
        }
        Ok(bytes)
    }
}

impl Secrets for Borrowed {
    fn read(&self, secret: &SecretRef) -> io::Result<Zeroizing<Vec<u8>>> {
        let path = match secret {
            SecretRef::File(path) => path.clone(),
            SecretRef::Credential(name) if !name.contains('/') && !name.starts_with('.') => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
                PathBuf::from(folder.ok_or_else(|| io::Error::other("CREDENTIALS_DIRECTORY is not set"))?).join(name)
            }
            other => return OwnSecrets.read(other),
        };
        let mut bytes = ReadFile::read(self, &path)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(bytes)
    }
}
