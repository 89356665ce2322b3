//! What does a node remember of its fleet? Its own key, and every claim, in `fleet/` of the state path:
//!
//! ```text
//! fleet/node.key          this node's own key
//! fleet/seen.json         when each node was seen last
//! fleet/claims/KEY        the claims on one subject, sealed with the fleet key
//! ```
//!
//! Written by a thread of its own, the last word on a subject alone. What cannot be opened (another fleet key) is set
//! aside, never destroyed: the other nodes tell it anew.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::fleet::members::Sightings;
use crate::fleet::{Claim, SubjectKey};
use crate::peer::NodeKey;
use crate::store::atomic;
use crate::words::FleetKey;

/// No file of claims is larger.
const MOST: usize = 16;
/// What the disk refused is tried again after this time.
const AGAIN: Duration = Duration::from_secs(30);

/// The folder, and who writes there.
#[derive(Debug)]
pub struct Disk {
    say: Sender<Said>,
}

enum Said {
    Put(SubjectKey, Vec<Arc<Claim>>),
    Key(Arc<FleetKey>),
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Said")
    }
}

/// Reads this node's key below `state`, or makes it from what `draw` gives.
///
/// # Errors
/// When it cannot be read or kept: it would be another node at the next start.
pub fn node_key(state: &Path, draw: impl FnOnce() -> io::Result<[u8; 32]>) -> io::Result<NodeKey> {
    let folder = state.join("fleet");
    let path = folder.join("node.key");
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    if let Some(text) = atomic::read(&path)? {
        return NodeKey::parse(&text).map_err(wrong);
    }
    let key = NodeKey::of(draw()?).map_err(wrong)?;
    atomic::make_directory(&folder)?;
    let mut line = Zeroizing::new(String::with_capacity(128));
    line.push_str(&key.text());
    line.push('\n');
    atomic::write(&path, line.as_bytes())?;
    Ok(key)
}

/// Every claim that is remembered below `state` and opens with one of `keys`. Blocks.
pub fn remembered(state: &Path, keys: &[Arc<FleetKey>]) -> Vec<Claim> {
    let Ok(files) = fs::read_dir(state.join("fleet/claims")) else { return Vec::new() };
    let mut claims = Vec::new();
    let mut foreign = 0;
    for file in files.flatten() {
        let name = file.file_name();
        let Some(key) = name.to_str().and_then(key_of) else { continue };
        let content = match atomic::read(&file.path()) {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!("fleet: {}: {error}", file.path().display());
                continue;
            }
        };
        match keys.iter().find_map(|secret| open(secret, &key, &content)) {
            Some(found) => claims.extend(found),
            None => {
                foreign += 1;
                let _ = fs::rename(file.path(), file.path().with_extension("aside"));
            }
        }
    }
    if foreign > 0 {
        tracing::warn!("fleet: {foreign} subjects that were remembered do not open with the fleet key; set aside");
    }
    claims
}

/// When each node was seen last, as an earlier run knew. Blocks.
pub fn sightings(state: &Path) -> Sightings {
    let text = atomic::read(&state.join("fleet/seen.json")).ok().flatten();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Writes down when each node was seen last. Blocks; what cannot be written is known a little less at the next start.
pub fn keep_sightings(state: &Path, seen: &Sightings) {
    if let Ok(text) = serde_json::to_vec(seen) {
        let folder = state.join("fleet");
        let _ = atomic::make_directory(&folder).and_then(|()| atomic::write(&folder.join("seen.json"), &text));
    }
}

impl Disk {
    /// Starts the thread that writes below `state`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(state: &Path, key: Arc<FleetKey>) -> io::Result<Disk> {
        let (say, inbox) = channel();
        let folder = state.join("fleet/claims");
        std::thread::Builder::new().name("fleet disk".to_owned()).spawn(move || run(&folder, key, &inbox))?;
        Ok(Disk { say })
    }

    /// Remembers these claims on a subject, and no others.
    pub fn put(&self, key: SubjectKey, claims: Vec<Arc<Claim>>) {
        // The thread ends with us alone.
        let _ = self.say.send(Said::Put(key, claims));
    }

    /// Seals with this key from now on.
    pub fn seal_with(&self, key: Arc<FleetKey>) {
        let _ = self.say.send(Said::Key(key));
    }
}

fn run(folder: &Path, mut secret: Arc<FleetKey>, inbox: &Receiver<Said>) {
    let mut waiting: HashMap<SubjectKey, Vec<Arc<Claim>>> = HashMap::new();
    let told = Mutex::new(false);
    loop {
        let said = match waiting.is_empty() {
            true => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => inbox.recv_timeout(AGAIN),
        };
        match said {
            Ok(said) => {
                let mut next = Some(said);
                while let Some(said) = next {
                    match said {
                        Said::Put(key, claims) => drop(waiting.insert(key, claims)),
                        Said::Key(key) => secret = key,
                    }
                    next = inbox.try_recv().ok();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        waiting.retain(|key, claims| match write(folder, &secret, key, claims) {
            Ok(()) => false,
            Err(error) => {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                if !std::mem::replace(&mut *told, true) {
                    tracing::error!(
                        "fleet: what is learned cannot be kept over a restart: {}: {error}",
                        folder.display()
                    );
                }
                true
            }
        });
    }
}

fn write(folder: &Path, secret: &FleetKey, key: &SubjectKey, claims: &[Arc<Claim>]) -> io::Result<()> {
    let path = place(folder, key);
    if claims.is_empty() {
        return match path.exists() {
            true => atomic::remove(&path),
            false => Ok(()),
        };
    }
    atomic::make_directory(folder)?;
    let parts: Vec<Zeroizing<Vec<u8>>> = claims.iter().take(MOST).map(|claim| claim.to_bytes()).collect();
    // Room from the start: growing would leave copies of keys behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum()));
    for part in &parts {
        let length = u32::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(part);
    }
    let mut nonce = [0; 12];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| io::Error::other("the system gives no randomness"))?;
    atomic::write(&path, &secret.seal(nonce, &context(key), &plain))
}

fn open(secret: &FleetKey, key: &SubjectKey, sealed: &[u8]) -> Option<Vec<Claim>> {
    let plain = secret.open(&context(key), sealed)?;
    let (mut rest, mut claims) = (&plain[..], Vec::new());
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (claim, more) = more.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        claims.push(Claim::from_bytes(claim).ok()?);
        rest = more;
    }
    Some(claims)
}

/// Claims on another subject are no answer to this one.
fn context(key: &SubjectKey) -> Vec<u8> {
    [b"semper claims 1\0", &key.0[..]].concat()
}

fn place(folder: &Path, key: &SubjectKey) -> PathBuf {
    folder.join(key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn key_of(name: &str) -> Option<SubjectKey> {
    Some(SubjectKey(name.parse::<crate::words::Fingerprint>().ok()?.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Body, NodeId, Subject};

    #[test]
    fn a_node_stays_the_same_over_restarts_and_its_key_is_its_own() {
        use std::os::unix::fs::PermissionsExt as _;
        let state = tempfile::tempdir().unwrap();
        let first = node_key(state.path(), || Ok([5; 32])).unwrap();
        let again = node_key(state.path(), || panic!("it is there")).unwrap();
        assert_eq!(first.id(), again.id());
        let file = state.path().join("fleet/node.key");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "x").unwrap();
        assert!(node_key(state.path(), || Ok([6; 32])).is_err(), "never another node by accident");
    }

    #[test]
    fn claims_are_remembered_sealed_and_those_of_another_fleet_key_are_set_aside() {
        let state = tempfile::tempdir().unwrap();
        let (one, two) = (Arc::new(FleetKey::of([1; 32])), Arc::new(FleetKey::of([2; 32])));
        let claim = Claim::new(Subject::Ticket(1), 3, NodeId::of_key(b"1"), Body::copy(b"a secret of the fleet"));
        let claim = Arc::new(claim);
        let key = claim.mark().key;
        let folder = state.path().join("fleet/claims");
        write(&folder, &one, &key, std::slice::from_ref(&claim)).unwrap();
        let file = fs::read(place(&folder, &key)).unwrap();
        assert!(!file.windows(8).any(|window| window == b"a secret"));
        assert_eq!(remembered(state.path(), &[two.clone(), one.clone()]), [(*claim).clone()]);
        // The same bytes under another subject are no claim on it.
        let mut other = key;
        other.0[0] ^= 1;
        fs::write(place(&folder, &other), &file).unwrap();
        assert_eq!(remembered(state.path(), std::slice::from_ref(&one)).len(), 1);
        assert!(remembered(state.path(), &[two]).is_empty());
        assert!(!place(&folder, &key).exists() && place(&folder, &key).with_extension("aside").exists());
        write(&folder, &one, &key, &[]).unwrap();
        assert!(remembered(state.path(), &[one]).is_empty());
    }
}
