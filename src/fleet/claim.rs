//! What is a claim? Somebody's word about a subject: a generation number, a body or its end (a tombstone), and who said it.
//! What enters the merge is its [`Mark`] alone. Holds bodies in memory that is wiped; never shows them.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::node_id::NodeId;
use super::subject::{Kind, Subject, SubjectKey};
use super::wire::{BadBytes, Reader, Writer};
use crate::words::Fingerprint;

/// The longest body: a chain with hundreds of names and an RSA key needs a tenth.
pub const LONGEST_BODY: usize = 192 * 1024;

/// What a claim carries, in memory that is wiped when the last copy goes. Opaque here; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Arc<Zeroizing<Vec<u8>>>);

impl Body {
    /// A body of `bytes`, which are taken over without a copy.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Body {
        Body(Arc::new(bytes))
    }

    /// A body with a copy of `bytes`.
    pub fn copy(bytes: &[u8]) -> Body {
        Body::new(Zeroizing::new(bytes.to_vec()))
    }

    /// A body without content: that of most tombstones and facts.
    pub fn empty() -> Body {
        Body::copy(&[])
    }

    /// What it holds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The SHA-256 of everything that a claim says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What of a claim enters the merge: a tombstone beats what is of the same epoch, a later epoch beats an earlier one.
/// The order of the fields is the order of the merge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// About what.
    pub key: SubjectKey,
    /// The generation; a newer one has a larger number.
    pub epoch: u64,
    /// Whether it says that there is nothing (any more).
    pub tombstone: bool,
    /// Of everything it says.
    pub digest: Digest,
    /// The kind of the subject: who does not hold the claim still knows what it is about.
    pub kind: Kind,
}

impl Mark {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.raw(&self.key.0);
        writer.u64(self.epoch);
        writer.u8(u8::from(self.tombstone));
        writer.raw(&self.digest.0);
        writer.u8(self.kind.0);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Mark, BadBytes> {
        let key = SubjectKey(reader.array()?);
        let epoch = reader.u64()?;
        let tombstone = reader.flag()?;
        let digest = Digest(reader.array()?);
        Ok(Mark { key, epoch, tombstone, digest, kind: Kind(reader.u8()?) })
    }
}

/// Somebody's word about a subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    subject: Subject,
    epoch: u64,
    tombstone: bool,
    origin: NodeId,
    body: Body,
    mark: Mark,
}

impl Claim {
    /// `origin` says: `subject` is `body`, in generation `epoch`. Facts and first words have epoch 1.
    pub fn new(subject: Subject, epoch: u64, origin: NodeId, body: Body) -> Claim {
        Claim::build(subject, epoch, false, origin, body)
    }

    /// `origin` says: all of `subject` up to and including `epoch` is over. `reason` is shown to people.
    pub fn tombstone(subject: Subject, epoch: u64, origin: NodeId, reason: &str) -> Claim {
        Claim::build(subject, epoch, true, origin, Body::copy(reason.as_bytes()))
    }

    fn build(subject: Subject, epoch: u64, tombstone: bool, origin: NodeId, body: Body) -> Claim {
        let written = subject.to_bytes();
        let key = SubjectKey(Fingerprint::of(&written).0);
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        hash.update(b"semper claim 1\0");
        hash.update(&key.0);
        hash.update(&epoch.to_be_bytes());
        hash.update(&[u8::from(tombstone)]);
        hash.update(origin.as_bytes());
        hash.update(body.as_bytes());
        let mut digest = Digest::default();
        digest.0.copy_from_slice(hash.finish().as_ref());
        let mark = Mark { key, epoch, tombstone, digest, kind: subject.kind() };
        Claim { subject, epoch, tombstone, origin, body, mark }
    }

    /// About what.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The generation.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it says that the subject is over.
    pub fn is_tombstone(&self) -> bool {
        self.tombstone
    }

    /// Who said it. Passed on by others, so no proof.
    pub fn origin(&self) -> NodeId {
        self.origin
    }

    /// What it carries; of a tombstone: the reason.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What enters the merge.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// How many bytes it has on the link.
    pub fn size(&self) -> usize {
        self.subject.to_bytes().len() + self.body.as_bytes().len() + 64
    }

    /// The form for carriers: the same bytes for the same claim, its digest not among them. Holds the body unsealed.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::with_room(self.size());
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads what [`Claim::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`BadBytes`]: not well-formed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Claim, BadBytes> {
        Claim::read(&mut Reader::new(bytes))
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.subject.write(writer);
        writer.u64(self.epoch);
        writer.u8(u8::from(self.tombstone));
        writer.raw(self.origin.as_bytes());
        writer.bytes(self.body.as_bytes());
    }

    /// Reads one; the digest is computed, never believed. What a node says of itself is its own word or none, facts have no
    /// end, and epochs begin with 1.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Claim, BadBytes> {
        let subject = Subject::read(reader)?;
        let epoch = reader.u64()?;
        let tombstone = reader.flag()?;
        let origin = NodeId::from_bytes(reader.array()?);
        let body = Body::copy(reader.bytes(LONGEST_BODY)?);
        let foreign = subject.owner().is_some_and(|owner| owner != origin);
        if epoch == 0 || foreign || (tombstone && subject.kind().is_fact()) {
            return Err(BadBytes::Malformed);
        }
        Ok(Claim::build(subject, epoch, tombstone, origin, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_reads_what_it_writes_and_its_digest_binds_everything() {
        let (one, two) = (NodeId::of_key(b"1"), NodeId::of_key(b"2"));
        let claim = Claim::new(Subject::Ticket(1), 3, one, Body::copy(b"secret"));
        assert_eq!(Claim::from_bytes(&claim.to_bytes()).as_ref(), Ok(&claim));
        let others = [
            Claim::new(Subject::Ticket(2), 3, one, Body::copy(b"secret")),
            Claim::new(Subject::Ticket(1), 4, one, Body::copy(b"secret")),
            Claim::new(Subject::Ticket(1), 3, two, Body::copy(b"secret")),
            Claim::new(Subject::Ticket(1), 3, one, Body::copy(b"secreT")),
            Claim::tombstone(Subject::Ticket(1), 3, one, "secret"),
        ];
        for other in others {
            assert_ne!(other.mark().digest, claim.mark().digest);
        }
        assert!(!format!("{claim:?}").contains("secret"));
    }

    #[test]
    fn epoch_zero_the_end_of_a_fact_and_oversize_are_refused() {
        let me = NodeId::of_key(b"1");
        let fact = Subject::Removed(me);
        assert!(Claim::from_bytes(&Claim::new(fact.clone(), 1, me, Body::empty()).to_bytes()).is_ok());
        assert!(Claim::from_bytes(&Claim::tombstone(fact.clone(), 1, me, "").to_bytes()).is_err());
        assert!(Claim::from_bytes(&Claim::new(fact, 0, me, Body::empty()).to_bytes()).is_err());
        let big = Claim::new(Subject::Ticket(1), 1, me, Body::copy(&vec![0; LONGEST_BODY + 1]));
        assert_eq!(Claim::from_bytes(&big.to_bytes()), Err(BadBytes::Long));
    }
}
