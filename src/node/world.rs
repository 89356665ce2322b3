//! What does the real world answer to the loader? Files, globs, names, users and certificates of this machine; and, for
//! `-t --offline`, the files alone.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::conf::world::{Errno, Kind, PairOnDisk, World};
use crate::net::files::Disk;
use crate::plan::tls::FileCertificate;

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct RealWorld {
    /// Whether certificates, keys and CA files are opened: by `-t` and `-s`, which judge as nginx does. A start and a
    /// HUP do not look here: whoever loads them goes on without a bad one, and says so.
    pub judge_certificates: bool,
}

/// The language and the meaning alone: files are read, everything else is taken to be well.
#[derive(Clone, Copy, Debug)]
pub struct OfflineWorld;

fn errno(error: &io::Error) -> Errno {
    let code = error.raw_os_error().unwrap_or(0);
    Errno { code, text: nix::errno::Errno::from_raw(code).desc().to_owned() }
}

impl World for RealWorld {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        std::fs::read(path).map_err(|error| errno(&error))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, Errno> {
        let options = glob::MatchOptions {
            require_literal_separator: true,
            require_literal_leading_dot: true,
            ..Default::default()
        };
        let Ok(paths) = glob::glob_with(pattern, options) else { return Ok(Vec::new()) };
        let mut found: Vec<String> = Vec::new();
        for path in paths {
            match path {
                Ok(path) => found.push(path.to_string_lossy().into_owned()),
                Err(unreadable) if unreadable.error().kind() == io::ErrorKind::PermissionDenied => {}
                Err(unreadable) => return Err(errno(unreadable.error())),
            }
        }
        found.sort();
        Ok(found)
    }

    fn metadata(&self, path: &Path) -> Result<Kind, Errno> {
        let facts = std::fs::metadata(path).map_err(|error| errno(&error))?;
        Ok(if facts.is_dir() { Kind::Directory } else { Kind::File })
    }

    fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in (host, 0).to_socket_addrs().ok()? {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        Some(addresses).filter(|addresses| !addresses.is_empty())
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some((user.uid.as_raw(), user.gid.as_raw()))
    }

    fn group(&self, name: &str) -> Option<u32> {
        Some(nix::unistd::Group::from_name(name).ok().flatten()?.gid.as_raw())
    }

    fn check_pair(&self, pair: &PairOnDisk<'_>) -> Result<(), String> {
        if self.judge_certificates { judge_pair(pair) } else { Ok(()) }
    }

    fn check_trusted(&self, path: &Path) -> Result<(), String> {
        if self.judge_certificates { judge_trusted(path) } else { Ok(()) }
    }

    fn is_root(&self) -> bool {
        nix::unistd::geteuid().is_root()
    }

    fn processors(&self) -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }

    fn hostname(&self) -> String {
        let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().to_lowercase());
        name.unwrap_or_else(|_| "localhost".to_owned())
    }
}

impl World for OfflineWorld {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        RealWorld { judge_certificates: false }.read_file(path)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, Errno> {
        RealWorld { judge_certificates: false }.glob(pattern)
    }

    fn metadata(&self, path: &Path) -> Result<Kind, Errno> {
        RealWorld { judge_certificates: false }.metadata(path)
    }
}

/// What OpenSSL says when `fopen` failed.
fn fopen_failed(path: &str, error: &io::Error) -> String {
    let code = error.raw_os_error().unwrap_or(0);
    let text = nix::errno::Errno::from_raw(code).desc();
    let bio = if code == 2 { "10000080:BIO routines::no such file" } else { "10080002:BIO routines::system lib" };
    format!("SSL: error:8000{code:04X}:system library::{text}:calling fopen({path}, r) error:{bio}")
}

fn judge_pair(pair: &PairOnDisk<'_>) -> Result<(), String> {
    let files = FileCertificate {
        certificate: Path::new(pair.certificate).into(),
        key: Path::new(pair.key).into(),
        passwords: pair.passwords.map(Arc::from),
    };
    crate::tls::load::read_pair(&Disk, &files).map(drop).map_err(|fault| fault.0)
}

fn judge_trusted(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let bad = |what: &str| format!("SSL_CTX_load_verify_locations(\"{shown}\") failed (SSL: {what})");
    let text = std::fs::read(path).map_err(|error| {
        let fopen = fopen_failed(&path.to_string_lossy(), &error);
        bad(&format!("{} error:05880002:x509 certificate routines::system lib", fopen.trim_start_matches("SSL: ")))
    })?;
    let some = rustls_pki_types::CertificateRevocationListDer::pem_slice_iter(&text).any(|crl| crl.is_ok())
        || CertificateDer::pem_slice_iter(&text).any(|link| link.is_ok());
    if some { Ok(()) } else { Err(bad("error:05880020:x509 certificate routines::BIO lib")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_sorted_and_leave_hidden_files_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let world = RealWorld { judge_certificates: true };
        let found = world.glob(&format!("{}/*.conf", folder.path().display())).unwrap();
        let names: Vec<&str> = found.iter().filter_map(|path| path.rsplit('/').next()).collect();
        assert_eq!(names, ["a.conf", "b.conf"]);
        assert_eq!(world.glob("/no/such/place/*"), Ok(Vec::new()));
    }

    #[test]
    fn a_missing_certificate_is_named_as_openssl_does() {
        let pair = PairOnDisk { certificate: "/no/c.pem", key: "/no/k.pem", passwords: None };
        let words = RealWorld { judge_certificates: true }.check_pair(&pair).unwrap_err();
        let expected = "cannot load certificate \"/no/c.pem\": BIO_new_file() failed (SSL: error:80000002:system library::No such \
             file or directory:calling fopen(/no/c.pem, r) error:10000080:BIO routines::no such file)";
        assert_eq!(words, expected);
        assert_eq!(OfflineWorld.check_pair(&pair), Ok(()));
    }

    #[test]
    fn a_key_that_belongs_to_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
            let paths = [folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key"))];
            std::fs::write(&paths[0], made.cert.pem()).unwrap();
            std::fs::write(&paths[1], made.signing_key.serialize_pem()).unwrap();
            paths.map(|path| path.to_string_lossy().into_owned())
        };
        let ([certificate, key], [_, other]) = (make("a"), make("b"));
        let judge = |key: &str| judge_pair(&PairOnDisk { certificate: &certificate, key, passwords: None });
        assert_eq!(judge(&key), Ok(()));
        assert!(judge(&other).unwrap_err().contains("key values mismatch"));
        assert!(judge(&certificate).unwrap_err().starts_with("cannot load certificate key"));
    }
}
