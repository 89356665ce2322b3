//! How do claims get into etcd and out of it? One key for each subject, whose value is everything that holds for it, sealed
//! whole: whoever runs etcd can neither read claims nor make any. What stands there is joined with what is brought, never
//! replaced, so that it does not matter who writes first. Whatever does not open is passed over, named, and written anew by
//! the first node that has something to say about it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::client::{Client, Expected, Fence, Kept, LARGEST_VALUE};
use super::envelope::Sealer;
use super::fault::EtcdError;
use crate::fleet::state::SIBLINGS;
use crate::fleet::wire::{BadBytes, Reader, Writer};
use crate::fleet::{Claim, State, SubjectKey};

/// Under which keys claims stand that stay.
pub const CLAIMS: &str = "claims/";
/// Under which keys answers to challenges stand; they go with the lease of the node that asked.
pub const TOKENS: &str = "tokens/";
/// Under which keys nodes say that they are there; they go with the node's lease.
pub const NODES: &str = "nodes/";
/// The form of a value.
const FORMAT: u8 = 1;
/// Somebody else writes the same subject at the same moment; so often it is read and joined anew.
const TRIES: usize = 8;

/// What was found under a key.
#[derive(Clone, Debug)]
pub struct Found {
    /// About what.
    pub key: SubjectKey,
    /// What is claimed. Empty if it does not open.
    pub claims: Vec<Arc<Claim>>,
    /// It stands there and does not open: another fleet key, or somebody meddled.
    pub unopened: bool,
}

/// Claims to and from one etcd.
pub struct Carrier {
    client: Arc<Client>,
    sealer: Sealer,
    /// What stands there as far as was seen, by the digests of its claims: saves asking for what is there already.
    there: Mutex<HashMap<SubjectKey, [u8; 32]>>,
}

impl Carrier {
    /// Brings and fetches through `client`, sealed by `sealer`.
    pub fn new(client: Arc<Client>, sealer: Sealer) -> Carrier {
        Carrier { client, sealer, there: Mutex::default() }
    }

    /// The client.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Whether exactly these claims stand there, as far as was seen.
    pub fn has(&self, key: &SubjectKey, claims: &[Arc<Claim>]) -> bool {
        self.there().get(key) == Some(&digest(claims))
    }

    /// Forgets what was seen: a new list follows.
    pub fn forget(&self) {
        self.there().clear();
    }

    /// Joins what stands under `key` with `claims`, which are all about it. Returns what stands there now, where that is
    /// more than `claims`.
    ///
    /// # Errors
    /// Under a fence [`EtcdError::DutyLost`]; [`EtcdError::Conflict`] if others write the same without end.
    pub async fn publish(
        &self,
        key: SubjectKey,
        claims: &[Arc<Claim>],
        fence: Option<&Fence>,
    ) -> Result<Vec<Arc<Claim>>, EtcdError> {
        if claims.is_empty() || (fence.is_none() && self.has(&key, claims)) {
            return Ok(Vec::new());
        }
        let path = path(CLAIMS, &key);
        let mut last = EtcdError::Conflict { key: path.clone() };
        for _ in 0..TRIES {
            let stands = self.client.get(&path).await?;
            let (theirs, clean) = match &stands {
                None => (Vec::new(), false),
                Some(kept) => self.open(kept).map_or((Vec::new(), false), |(claims, old)| (claims, !old)),
            };
            let joined = joined(&key, claims, &theirs);
            if clean && same(&joined, &theirs) {
                self.there().insert(key, digest(&joined));
                return Ok(more(&joined, claims));
            }
            let (version, expected) = next(stands.as_ref());
            let sealed = self.seal(&path, version, &joined)?;
            match self.client.write(&path, sealed, expected, fence).await {
                Ok(_) => {
                    self.there().insert(key, digest(&joined));
                    return Ok(more(&joined, claims));
                }
                Err(error @ EtcdError::Conflict { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Shows a claim that passes under `place` ([`TOKENS`] or [`NODES`]), for as long as `lease` lives.
    pub async fn show(&self, place: &str, claim: &Arc<Claim>, lease: i64) -> Result<(), EtcdError> {
        let path = path(place, &claim.mark().key);
        let stands = self.client.get(&path).await?;
        let (version, expected) = next(stands.as_ref());
        let sealed = self.seal(&path, version, std::slice::from_ref(claim))?;
        self.client.write_under(&path, sealed, expected, lease).await.map(|_| ())
    }

    /// What is claimed under `key` at present.
    pub async fn claims(&self, key: &SubjectKey) -> Result<Option<Found>, EtcdError> {
        let kept = self.client.get(&path(CLAIMS, key)).await?;
        Ok(kept.and_then(|kept| self.read(&kept)))
    }

    /// The answer to a challenge that stands under `key`.
    pub async fn token(&self, key: &SubjectKey) -> Result<Option<Found>, EtcdError> {
        let kept = self.client.get(&path(TOKENS, key)).await?;
        Ok(kept.and_then(|kept| self.read(&kept)).filter(|found| !found.unopened))
    }

    /// Shows it no longer.
    pub async fn hide(&self, place: &str, key: &SubjectKey) -> Result<(), EtcdError> {
        let path = path(place, key);
        match self.client.get(&path).await? {
            None => Ok(()),
            Some(kept) => self.client.remove(&path, Expected::Revision(kept.modified), None).await.map(|_| ()),
        }
    }

    /// What `kept` says; `None` for keys that are not about subjects.
    pub fn read(&self, kept: &Kept) -> Option<Found> {
        let key = subject(&kept.key)?;
        match self.open(kept) {
            Some((claims, old)) => {
                // What is sealed with the old fleet key is to be written anew, so it counts as not there.
                if kept.key.starts_with(CLAIMS) && !old {
                    self.there().insert(key, digest(&claims));
                }
                Some(Found { key, claims, unopened: false })
            }
            None => {
                if kept.key.starts_with(CLAIMS) {
                    self.there().remove(&key);
                }
                Some(Found { key, claims: Vec::new(), unopened: true })
            }
        }
    }

    /// A key is gone. Claims never go: somebody removed it, and it is to be written anew.
    pub fn gone(&self, key: &str) -> Option<SubjectKey> {
        let subject = subject(key)?;
        if key.starts_with(CLAIMS) {
            self.there().remove(&subject);
        }
        Some(subject)
    }

    fn seal(&self, path: &str, version: i64, claims: &[Arc<Claim>]) -> Result<Vec<u8>, EtcdError> {
        let room = claims.iter().map(|claim| claim.size() + 4).sum::<usize>() + 8;
        let mut writer = Writer::with_room(room);
        writer.u8(FORMAT);
        writer.u8(u8::try_from(claims.len()).unwrap_or(u8::MAX));
        claims.iter().for_each(|claim| writer.bytes(&claim.to_bytes()));
        let sealed = self.sealer.seal(path, version, &writer.finish());
        sealed.ok_or_else(|| EtcdError::TooLarge { key: path.to_owned(), size: room })
    }

    /// The claims of a value, and whether it was sealed with the old fleet key. Claims about something else than the key
    /// says are as good as none.
    fn open(&self, kept: &Kept) -> Option<(Vec<Arc<Claim>>, bool)> {
        let key = subject(&kept.key)?;
        let (plain, old) = self.sealer.open(&kept.key, kept.version, &kept.value).ok()?;
        let claims = claims(&plain).ok()?;
        claims.iter().all(|claim| claim.mark().key == key).then_some((claims, old))
    }

    // Every change is one call of the map, so a panic elsewhere leaves it whole.
    fn there(&self) -> MutexGuard<'_, HashMap<SubjectKey, [u8; 32]>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next(stands: Option<&Kept>) -> (i64, Expected) {
    stands.map_or((1, Expected::Absent), |kept| (kept.version.saturating_add(1), Expected::Revision(kept.modified)))
}

/// Reads the claims of a value.
fn claims(plain: &Zeroizing<Vec<u8>>) -> Result<Vec<Arc<Claim>>, BadBytes> {
    let mut reader = Reader::new(plain);
    if reader.u8()? != FORMAT {
        return Err(BadBytes::Version);
    }
    let count = reader.u8()?;
    if usize::from(count) > SIBLINGS {
        return Err(BadBytes::Long);
    }
    (0..count).map(|_| Claim::from_bytes(reader.bytes(LARGEST_VALUE)?).map(Arc::new)).collect()
}

/// The join of two sets of claims about one subject, by the one law that nodes have for it.
fn joined(key: &SubjectKey, ours: &[Arc<Claim>], theirs: &[Arc<Claim>]) -> Vec<Arc<Claim>> {
    let mut state = State::default();
    // What the state refuses (an epoch that no honest history leads to) is not passed on.
    for claim in ours.iter().chain(theirs) {
        let _ = state.admit(claim.clone());
    }
    state.claims(key).cloned().collect()
}

fn same(one: &[Arc<Claim>], other: &[Arc<Claim>]) -> bool {
    digest(one) == digest(other)
}

fn more(joined: &[Arc<Claim>], ours: &[Arc<Claim>]) -> Vec<Arc<Claim>> {
    joined.iter().filter(|claim| !ours.iter().any(|our| our.mark() == claim.mark())).cloned().collect()
}

/// Of the digests of these claims, in whatever order they come.
fn digest(claims: &[Arc<Claim>]) -> [u8; 32] {
    let mut marks: Vec<[u8; 32]> = claims.iter().map(|claim| claim.mark().digest.0).collect();
    marks.sort_unstable();
    let mut hash = Context::new(&SHA256);
    marks.iter().for_each(|mark| hash.update(mark));
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

fn path(under: &str, key: &SubjectKey) -> String {
    let digits: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{under}{digits}")
}

fn subject(path: &str) -> Option<SubjectKey> {
    let digits = [CLAIMS, TOKENS, NODES].iter().find_map(|place| path.strip_prefix(place))?;
    let mut key = [0; 32];
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 64 || !digits.bytes().all(lower) {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(SubjectKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Body, NodeId, Subject};

    fn claim(epoch: u64, body: &[u8]) -> Arc<Claim> {
        Arc::new(Claim::new(Subject::Ticket(1), epoch, NodeId::of_key(b"n"), Body::copy(body)))
    }

    #[test]
    fn a_value_holds_the_join_whoever_writes_first() {
        let key = Subject::Ticket(1).key();
        let (old, new, twin) = (claim(1, b"old"), claim(2, b"new"), claim(2, b"twin"));
        let one = joined(&key, std::slice::from_ref(&old), &[new.clone(), twin.clone()]);
        let other = joined(&key, &[twin.clone(), new.clone()], std::slice::from_ref(&old));
        assert!(same(&one, &other) && one.len() == 2);
        assert_eq!(more(&one, &[new]), [twin]);
    }

    #[test]
    fn keys_lead_back_to_their_subjects_and_nothing_else_does() {
        let key = Subject::Ticket(1).key();
        assert_eq!(subject(&path(CLAIMS, &key)), Some(key));
        for wrong in ["claims/", "duty/00", "claims/zz", &path("other/", &key), &path(CLAIMS, &key).to_uppercase()] {
            assert_eq!(subject(wrong), None, "{wrong}");
        }
        assert_eq!(subject(&format!("claims/{}", "é".repeat(32))), None);
    }

    #[test]
    fn values_that_are_cut_or_too_many_are_refused() {
        let writer = |count: u8, claims: &[Arc<Claim>]| {
            let mut writer = Writer::with_room(1000);
            writer.u8(FORMAT);
            writer.u8(count);
            claims.iter().for_each(|claim| writer.bytes(&claim.to_bytes()));
            writer.finish()
        };
        let one = [claim(1, b"a")];
        assert_eq!(claims(&writer(1, &one)).unwrap(), one);
        assert!(claims(&writer(2, &one)).is_err());
        assert!(claims(&writer(200, &one)).is_err());
        assert!(claims(&Zeroizing::new(vec![9, 0])).is_err() && claims(&Zeroizing::default()).is_err());
    }
}
