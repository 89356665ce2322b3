//! What does the loader ask the world outside? One small trait: `node` answers it for real, tests and fuzzers in memory.
//! Nothing else in this room touches files, names, users or certificates.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

/// An error of the operating system as nginx prints it: `2: No such file or directory`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Errno {
    /// The number (`errno`).
    pub code: i32,
    /// Its text in English.
    pub text: String,
}

impl Errno {
    /// `ENOENT`.
    pub fn not_found() -> Errno {
        Errno { code: 2, text: "No such file or directory".to_owned() }
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file (or something else that can be read).
    File,
    /// A directory.
    Directory,
}

/// A certificate file, its key, and the passwords that may open it; paths are absolute.
#[derive(Clone, Debug)]
pub struct PairOnDisk<'a> {
    /// `ssl_certificate`: a path, or `data:…`.
    pub certificate: &'a str,
    /// `ssl_certificate_key`: a path, `data:…`, or an `engine:`/`store:` name.
    pub key: &'a str,
    /// `ssl_password_file`, one password a line.
    pub passwords: Option<&'a Path>,
}

/// Everything the loader asks. All answers are taken as they are: no retries, no caching. Where a world has no answer of its
/// own, all is well: that is how `-t --offline` and tests read a configuration.
pub trait World {
    /// The bytes of a file.
    ///
    /// # Errors
    /// What `open()` or `read()` said.
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno>;

    /// The paths which match a shell pattern, sorted by bytes; none is fine.
    ///
    /// # Errors
    /// What `glob()` said.
    fn glob(&self, pattern: &str) -> Result<Vec<String>, Errno>;

    /// What stands at a path, following symlinks.
    ///
    /// # Errors
    /// What `stat()` said.
    fn metadata(&self, path: &Path) -> Result<Kind, Errno>;

    /// The addresses of a host, as `getaddrinfo()` gives them. `None`: it has none, or cannot be looked up.
    fn resolve(&self, _host: &str) -> Option<Vec<IpAddr>> {
        Some(vec![IpAddr::from([127, 0, 0, 1])])
    }

    /// The id of a user and of its own group.
    fn user(&self, _name: &str) -> Option<(u32, u32)> {
        Some((65534, 65534))
    }

    /// The id of a group.
    fn group(&self, _name: &str) -> Option<u32> {
        Some(65534)
    }

    /// Whether a certificate and key can be served.
    ///
    /// # Errors
    /// nginx's words, for example `cannot load certificate "F": BIO_new_file() failed (…)`.
    fn check_pair(&self, _pair: &PairOnDisk<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Whether a file holds certificates to trust (client CAs, upstream CAs, CRLs).
    ///
    /// # Errors
    /// nginx's words.
    fn check_trusted(&self, _path: &Path) -> Result<(), String> {
        Ok(())
    }

    /// Whether we run with super-user rights: `user` has a meaning, and port 80 is the default of `listen`.
    fn is_root(&self) -> bool {
        true
    }

    /// How many processors there are, for `worker_processes auto`.
    fn processors(&self) -> usize {
        1
    }

    /// The host's own name, for `$hostname`.
    fn hostname(&self) -> String {
        "localhost".to_owned()
    }
}

/// A world in memory: files by path, nothing else exists. For tests, fuzzing and `-t --offline` from a string.
#[derive(Clone, Debug, Default)]
pub struct MemoryWorld {
    /// Path and content of every file.
    pub files: std::collections::BTreeMap<String, Vec<u8>>,
    /// Hosts that resolve, beside `localhost`.
    pub hosts: std::collections::BTreeMap<String, Vec<IpAddr>>,
    /// Whether every certificate, trust file and user is taken to exist.
    pub lenient: bool,
}

impl MemoryWorld {
    /// One file at `path`.
    pub fn with_file(path: &str, content: impl Into<Vec<u8>>) -> MemoryWorld {
        let mut world = MemoryWorld { lenient: true, ..MemoryWorld::default() };
        world.files.insert(path.to_owned(), content.into());
        world
    }

    fn missing(path: impl fmt::Display) -> String {
        format!(
            "cannot load certificate \"{path}\": BIO_new_file() failed (SSL: error:80000002:system library::No such \
             file or directory:calling fopen({path}, r) error:10000080:BIO routines::no such file)"
        )
    }
}

impl World for MemoryWorld {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        self.files.get(&path.to_string_lossy().into_owned()).cloned().ok_or_else(Errno::not_found)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, Errno> {
        let Ok(pattern) = glob::Pattern::new(pattern) else { return Ok(Vec::new()) };
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        Ok(self.files.keys().filter(|path| pattern.matches_with(path, options)).cloned().collect())
    }

    fn metadata(&self, path: &Path) -> Result<Kind, Errno> {
        let path = path.to_string_lossy();
        let inside = format!("{}/", path.trim_end_matches('/'));
        if self.files.contains_key(path.as_ref()) {
            Ok(Kind::File)
        } else if self.files.keys().any(|file| file.starts_with(&inside)) {
            Ok(Kind::Directory)
        } else {
            Err(Errno::not_found())
        }
    }

    fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        if host == "localhost" {
            return Some(vec![IpAddr::from([127, 0, 0, 1])]);
        }
        self.hosts.get(host).cloned()
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        (self.lenient || name == "nobody").then_some((65534, 65534))
    }

    fn group(&self, name: &str) -> Option<u32> {
        (self.lenient || name == "nogroup").then_some(65534)
    }

    fn check_pair(&self, pair: &PairOnDisk<'_>) -> Result<(), String> {
        let there = self.lenient || pair.certificate.starts_with("data:") || self.files.contains_key(pair.certificate);
        if there { Ok(()) } else { Err(MemoryWorld::missing(pair.certificate)) }
    }

    fn check_trusted(&self, path: &Path) -> Result<(), String> {
        let there = self.lenient || self.files.contains_key(path.to_string_lossy().as_ref());
        if there { Ok(()) } else { Err(MemoryWorld::missing(path.display())) }
    }

    fn is_root(&self) -> bool {
        self.lenient
    }

    fn processors(&self) -> usize {
        1
    }

    fn hostname(&self) -> String {
        "localhost".to_owned()
    }
}
