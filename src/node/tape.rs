//! What did the world answer while the configuration was read? The master asks the real world and keeps every answer;
//! the server process reads the same configuration from this tape. So both understand the same, whatever changes on
//! disk meanwhile, and the server process needs no rights of its own to read it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use crate::conf::world::{Errno, Kind, PairOnDisk, World};

type Failed = (i32, String);

/// Every answer of a [`World`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tape {
    files: BTreeMap<PathBuf, Result<Bytes, Failed>>,
    globs: BTreeMap<String, Result<Vec<String>, Failed>>,
    metadata: BTreeMap<PathBuf, Result<bool, Failed>>,
    hosts: BTreeMap<String, Option<Vec<IpAddr>>>,
    users: BTreeMap<String, Option<(u32, u32)>>,
    groups: BTreeMap<String, Option<u32>>,
    pairs: BTreeMap<String, Result<(), String>>,
    trusted: BTreeMap<PathBuf, Result<(), String>>,
    root: bool,
    processors: usize,
    hostname: String,
}

/// Bytes of a file, packed: the master keeps them as long as it runs, and thousands of servers say nearly the same.
/// Base64 in JSON.
#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn pack(plain: &[u8]) -> Bytes {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
        // Nothing is written but memory, which does not fail.
        let packed = packer.write_all(plain).and_then(|()| packer.finish());
        let mut packed = packed.unwrap_or_default();
        packed.shrink_to_fit();
        Bytes(packed)
    }

    fn unpack(&self) -> Result<Vec<u8>, Failed> {
        let mut plain = Vec::new();
        let read = ZlibDecoder::new(&self.0[..]).read_to_end(&mut plain);
        read.map(|_| plain).map_err(|error| (libc::EIO, error.to_string()))
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        to.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(from)?;
        base64::engine::general_purpose::STANDARD.decode(text).map(Bytes).map_err(serde::de::Error::custom)
    }
}

fn failed(errno: Errno) -> Failed {
    (errno.code, errno.text)
}

fn errno((code, text): Failed) -> Errno {
    Errno { code, text }
}

fn pair_name(pair: &PairOnDisk<'_>) -> String {
    let passwords = pair.passwords.map(|path| path.to_string_lossy()).unwrap_or_default();
    format!("{}\n{}\n{passwords}", pair.certificate, pair.key)
}

/// A world whose answers are kept on a tape.
pub struct Recorder<'w> {
    world: &'w dyn World,
    tape: RefCell<Tape>,
}

impl<'w> Recorder<'w> {
    /// An empty tape beside `world`.
    pub fn new(world: &'w dyn World) -> Recorder<'w> {
        let tape = Tape {
            root: world.is_root(),
            processors: world.processors(),
            hostname: world.hostname(),
            ..Tape::default()
        };
        Recorder { world, tape: RefCell::new(tape) }
    }

    /// What was answered.
    pub fn into_tape(self) -> Tape {
        self.tape.into_inner()
    }
}

impl World for Recorder<'_> {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        let answer = self.world.read_file(path);
        self.tape
            .borrow_mut()
            .files
            .insert(path.to_owned(), answer.clone().map(|bytes| Bytes::pack(&bytes)).map_err(failed));
        answer
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, Errno> {
        let answer = self.world.glob(pattern);
        self.tape.borrow_mut().globs.insert(pattern.to_owned(), answer.clone().map_err(failed));
        answer
    }

    fn metadata(&self, path: &Path) -> Result<Kind, Errno> {
        let answer = self.world.metadata(path);
        let kept = answer.clone().map(|kind| kind == Kind::Directory).map_err(failed);
        self.tape.borrow_mut().metadata.insert(path.to_owned(), kept);
        answer
    }

    fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        // One question for each name: two answers within one reading would not agree with the tape.
        if let Some(known) = self.tape.borrow().hosts.get(host) {
            return known.clone();
        }
        let answer = self.world.resolve(host);
        self.tape.borrow_mut().hosts.insert(host.to_owned(), answer.clone());
        answer
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        let answer = self.world.user(name);
        self.tape.borrow_mut().users.insert(name.to_owned(), answer);
        answer
    }

    fn group(&self, name: &str) -> Option<u32> {
        let answer = self.world.group(name);
        self.tape.borrow_mut().groups.insert(name.to_owned(), answer);
        answer
    }

    fn check_pair(&self, pair: &PairOnDisk<'_>) -> Result<(), String> {
        let answer = self.world.check_pair(pair);
        // Who is not named is well: there may be many thousands.
        if answer.is_err() {
            self.tape.borrow_mut().pairs.insert(pair_name(pair), answer.clone());
        }
        answer
    }

    fn check_trusted(&self, path: &Path) -> Result<(), String> {
        let answer = self.world.check_trusted(path);
        if answer.is_err() {
            self.tape.borrow_mut().trusted.insert(path.to_owned(), answer.clone());
        }
        answer
    }

    fn is_root(&self) -> bool {
        self.world.is_root()
    }

    fn processors(&self) -> usize {
        self.world.processors()
    }

    fn hostname(&self) -> String {
        self.world.hostname()
    }
}

impl World for Tape {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        let kept = self.files.get(path).cloned();
        kept.map_or_else(|| Err(Errno::not_found()), |answer| answer.and_then(|bytes| bytes.unpack()).map_err(errno))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, Errno> {
        self.globs.get(pattern).cloned().unwrap_or_else(|| Ok(Vec::new())).map_err(errno)
    }

    fn metadata(&self, path: &Path) -> Result<Kind, Errno> {
        let kept = self.metadata.get(path).cloned();
        let directory = kept.map_or_else(|| Err(Errno::not_found()), |answer| answer.map_err(errno))?;
        Ok(if directory { Kind::Directory } else { Kind::File })
    }

    fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        self.hosts.get(host).cloned().flatten()
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        self.users.get(name).copied().flatten()
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied().flatten()
    }

    fn check_pair(&self, pair: &PairOnDisk<'_>) -> Result<(), String> {
        self.pairs.get(&pair_name(pair)).cloned().unwrap_or(Ok(()))
    }

    fn check_trusted(&self, path: &Path) -> Result<(), String> {
        self.trusted.get(path).cloned().unwrap_or(Ok(()))
    }

    fn is_root(&self) -> bool {
        self.root
    }

    fn processors(&self) -> usize {
        self.processors
    }

    fn hostname(&self) -> String {
        self.hostname.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::world::MemoryWorld;

    #[test]
    fn a_tape_answers_as_the_world_did_even_after_a_journey() {
        let mut world = MemoryWorld::with_file("/etc/nginx/nginx.conf", b"# \xff\n".to_vec());
        world.hosts.insert("a.test".to_owned(), vec![IpAddr::from([192, 0, 2, 1])]);
        let recorder = Recorder::new(&world);
        let conf = Path::new("/etc/nginx/nginx.conf");
        let asked = |world: &dyn World| {
            (
                world.read_file(conf),
                world.read_file(Path::new("/none")),
                world.glob("/etc/nginx/*.conf"),
                world.metadata(Path::new("/etc/nginx")),
                (world.resolve("a.test"), world.resolve("b.test")),
                world.user("www-data"),
                world.hostname(),
            )
        };
        let first = asked(&recorder);
        let tape = serde_json::to_string(&recorder.into_tape()).unwrap();
        assert_eq!(asked(&serde_json::from_str::<Tape>(&tape).unwrap()), first);
        assert_eq!(first.0.unwrap(), b"# \xff\n");
    }
}
