//! Where is a secret really? Reads files, environment variables and systemd credentials as this process may.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::acme::Secrets;
use crate::words::SecretRef;

/// Reads secrets itself, with the rights of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnSecrets;

impl Secrets for OwnSecrets {
    fn read(&self, secret: &SecretRef) -> io::Result<Zeroizing<Vec<u8>>> {
        let missing = |what: String| io::Error::new(io::ErrorKind::NotFound, what);
        let mut bytes = match secret {
            SecretRef::File(path) => Zeroizing::new(std::fs::read(path)?),
            SecretRef::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| missing(format!("no variable {name}")))?;
                Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value))
            }
            SecretRef::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
                let folder = folder.ok_or_else(|| missing("CREDENTIALS_DIRECTORY is not set".into()))?;
                // A name, never a path: credentials are files of one directory.
                if name.contains('/') || name.starts_with('.') {
                    return Err(missing(format!("no credential {name}")));
                }
                Zeroizing::new(std::fs::read(Path::new(&folder).join(name))?)
            }
            SecretRef::Literal(text) => Zeroizing::new(text.as_bytes().to_vec()),
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s\n\n").unwrap();
        let secret = OwnSecrets.read(&SecretRef::File(file.path().to_owned())).unwrap();
        assert_eq!(secret.as_slice(), b"s\n");
        assert!(OwnSecrets.read(&SecretRef::Env("SEMPER_NO_SUCH_VARIABLE".into())).is_err());
        assert!(OwnSecrets.read(&SecretRef::Credential("../x".into())).is_err());
    }
}
