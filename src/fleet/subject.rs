//! What may a claim be about? Each subject has a key, under which all nodes find it, whether they know its kind or not.
//! What stands in the body of a claim is known to those who make and use it, not here.

use std::fmt;

use super::node_id::NodeId;
use super::wire::{BadBytes, Reader, Writer};
use crate::plan::certificate::CertId;
use crate::words::Fingerprint;

/// The longest text in a subject: an authority's URL, the name of something internal.
const LONGEST_TEXT: usize = 512;
/// The longest subject of a kind that only a later release knows.
const LONGEST_OTHER: usize = 1024;

/// What a claim is about.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// The newest generation of a certificate with its private key. Secret.
    Bundle(CertId),
    /// The account at an authority (directory URL), or `default` for the key that serves all. Secret.
    Account(String),
    /// An order under way for a certificate: who placed it, until when. Its key makes it secret.
    Order(CertId),
    /// The moment of renewal chosen within an authority's window.
    Ari(CertId),
    /// The secret that seals session tickets in the epochs that fall on this slot. Secret.
    Ticket(u8),
    /// How much of the limits of an authority a node has used.
    Ledger(NodeId, String),
    /// Something of the built-in authority: its root, an intermediate. Secret.
    Internal(String),
    /// What a node says of itself: release, configuration, last reload, addresses.
    Report(NodeId),
    /// Which certificates of a bucket (first byte of the key) a node serves.
    Serving(NodeId, u8),
    /// A node was removed and stays so. A fact: it has no end.
    Removed(NodeId),
    /// A private key (by the SHA-256 of its public key) is known to others. A fact: it has no end.
    Compromised(Fingerprint),
    /// The answer to a challenge. Passes within the hour and never enters the digest; for carriers that keep it.
    Token(String),
    /// Of a later release: kept and passed on, not understood.
    Other(u8, Vec<u8>),
}

/// The kind of a subject: the first byte of its written form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Kind(pub u8);

impl Kind {
    /// Of [`Subject::Bundle`].
    pub const BUNDLE: Kind = Kind(1);
    /// Of [`Subject::Account`].
    pub const ACCOUNT: Kind = Kind(2);
    /// Of [`Subject::Order`].
    pub const ORDER: Kind = Kind(3);
    /// Of [`Subject::Ari`].
    pub const ARI: Kind = Kind(4);
    /// Of [`Subject::Ticket`].
    pub const TICKET: Kind = Kind(5);
    /// Of [`Subject::Ledger`].
    pub const LEDGER: Kind = Kind(6);
    /// Of [`Subject::Internal`].
    pub const INTERNAL: Kind = Kind(7);
    /// Of [`Subject::Report`].
    pub const REPORT: Kind = Kind(8);
    /// Of [`Subject::Serving`].
    pub const SERVING: Kind = Kind(9);
    /// Of [`Subject::Removed`].
    pub const REMOVED: Kind = Kind(10);
    /// Of [`Subject::Compromised`].
    pub const COMPROMISED: Kind = Kind(11);
    /// Of [`Subject::Token`].
    pub const TOKEN: Kind = Kind(12);

    /// Whether it is a fact: it holds for ever, so it can have no tombstone.
    pub fn is_fact(self) -> bool {
        matches!(self, Kind::REMOVED | Kind::COMPROMISED)
    }

    /// Whether it is told to every peer at once. The rest spreads by comparing, within some rounds.
    pub fn is_urgent(self) -> bool {
        !matches!(self, Kind::LEDGER | Kind::SERVING | Kind::REPORT)
    }

    /// Whether claims of this kind lie with all nodes only under `hold all`.
    pub fn is_held_by_choice(self) -> bool {
        matches!(self, Kind::BUNDLE)
    }

    /// Whether it passes by itself and stays out of the digest.
    pub fn is_passing(self) -> bool {
        self == Kind::TOKEN
    }

    /// Whether a carrier that stores claims outside of the nodes must seal the body. Kinds of later releases count as
    /// secret.
    pub fn is_secret(self) -> bool {
        matches!(self, Kind::BUNDLE | Kind::ACCOUNT | Kind::ORDER | Kind::TICKET | Kind::INTERNAL) || self.0 > 12
    }
}

/// Under which key a subject stands: the SHA-256 of its written form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectKey(pub [u8; 32]);

impl SubjectKey {
    /// The first key.
    pub const FIRST: SubjectKey = SubjectKey([0; 32]);
    /// The last key.
    pub const LAST: SubjectKey = SubjectKey([255; 32]);

    /// In which of the 256 buckets of the digest it stands.
    pub fn bucket(&self) -> u8 {
        self.0[0]
    }

    /// The first key of a bucket.
    pub fn first_of(bucket: u8) -> SubjectKey {
        let mut key = SubjectKey::FIRST;
        key.0[0] = bucket;
        key
    }

    /// The last key of a bucket.
    pub fn last_of(bucket: u8) -> SubjectKey {
        let mut key = SubjectKey::LAST;
        key.0[0] = bucket;
        key
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Subject {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Subject::Bundle(_) => Kind::BUNDLE,
            Subject::Account(_) => Kind::ACCOUNT,
            Subject::Order(_) => Kind::ORDER,
            Subject::Ari(_) => Kind::ARI,
            Subject::Ticket(_) => Kind::TICKET,
            Subject::Ledger(..) => Kind::LEDGER,
            Subject::Internal(_) => Kind::INTERNAL,
            Subject::Report(_) => Kind::REPORT,
            Subject::Serving(..) => Kind::SERVING,
            Subject::Removed(_) => Kind::REMOVED,
            Subject::Compromised(_) => Kind::COMPROMISED,
            Subject::Token(_) => Kind::TOKEN,
            Subject::Other(kind, _) => Kind(*kind),
        }
    }

    /// Its key.
    pub fn key(&self) -> SubjectKey {
        SubjectKey(Fingerprint::of(&self.to_bytes()).0)
    }

    /// The node that alone speaks about this, if there is one.
    pub fn owner(&self) -> Option<NodeId> {
        match self {
            Subject::Ledger(node, _) | Subject::Report(node) | Subject::Serving(node, _) => Some(*node),
            _ => None,
        }
    }

    /// The written form: the kind, then what stands behind it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.kind().0];
        match self {
            Subject::Bundle(cert) | Subject::Order(cert) | Subject::Ari(cert) => {
                out.extend_from_slice(cert.as_str().as_bytes());
            }
            Subject::Account(text) | Subject::Internal(text) | Subject::Token(text) => {
                out.extend_from_slice(text.as_bytes());
            }
            Subject::Ticket(slot) => out.push(*slot),
            Subject::Ledger(node, authority) => {
                out.extend_from_slice(node.as_bytes());
                out.extend_from_slice(authority.as_bytes());
            }
            Subject::Report(node) | Subject::Removed(node) => out.extend_from_slice(node.as_bytes()),
            Subject::Serving(node, bucket) => {
                out.extend_from_slice(node.as_bytes());
                out.push(*bucket);
            }
            Subject::Compromised(key) => out.extend_from_slice(&key.0),
            Subject::Other(_, bytes) => out.extend_from_slice(bytes),
        }
        out
    }

    /// Reads what [`Subject::to_bytes`] wrote. A kind that is not known becomes [`Subject::Other`].
    ///
    /// # Errors
    /// [`BadBytes`]: not well-formed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Subject, BadBytes> {
        let mut reader = Reader::new(bytes);
        let kind = Kind(reader.u8()?);
        let rest = &bytes[1..];
        let text = || match std::str::from_utf8(rest) {
            Ok(text) if text.len() > LONGEST_TEXT => Err(BadBytes::Long),
            Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => Ok(text.to_owned()),
            _ => Err(BadBytes::Malformed),
        };
        let cert = || text().and_then(|text| CertId::try_from(text).map_err(|_| BadBytes::Malformed));
        let subject = match kind {
            Kind::BUNDLE => Subject::Bundle(cert()?),
            Kind::ACCOUNT => Subject::Account(text()?),
            Kind::ORDER => Subject::Order(cert()?),
            Kind::ARI => Subject::Ari(cert()?),
            Kind::TICKET => Subject::Ticket(last(&mut reader, Reader::u8)?),
            Kind::LEDGER => {
                let node = NodeId::from_bytes(reader.array()?);
                let authority = std::str::from_utf8(&rest[32..]).map_err(|_| BadBytes::Malformed)?;
                if authority.is_empty() || authority.len() > LONGEST_TEXT || authority.chars().any(char::is_control) {
                    return Err(BadBytes::Malformed);
                }
                Subject::Ledger(node, authority.to_owned())
            }
            Kind::INTERNAL => Subject::Internal(text()?),
            Kind::REPORT => Subject::Report(NodeId::from_bytes(last(&mut reader, Reader::array)?)),
            Kind::SERVING => {
                let node = NodeId::from_bytes(reader.array()?);
                Subject::Serving(node, last(&mut reader, Reader::u8)?)
            }
            Kind::REMOVED => Subject::Removed(NodeId::from_bytes(last(&mut reader, Reader::array)?)),
            Kind::COMPROMISED => Subject::Compromised(Fingerprint(last(&mut reader, Reader::array)?)),
            Kind::TOKEN => Subject::Token(text()?),
            Kind(0) => return Err(BadBytes::Malformed),
            Kind(_) if rest.len() > LONGEST_OTHER => return Err(BadBytes::Long),
            Kind(other) => Subject::Other(other, rest.to_vec()),
        };
        Ok(subject)
    }

    /// Writes it with its length.
    pub(super) fn write(&self, writer: &mut Writer) {
        let bytes = self.to_bytes();
        writer.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        writer.raw(&bytes);
    }

    /// Reads what [`Subject::write`] wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Subject, BadBytes> {
        let count = usize::from(reader.u16()?);
        Subject::from_bytes(reader.raw(count)?)
    }
}

/// The value that ends the subject: nothing may follow it.
fn last<'a, T>(
    reader: &mut Reader<'a>,
    value: impl FnOnce(&mut Reader<'a>) -> Result<T, BadBytes>,
) -> Result<T, BadBytes> {
    let value = value(reader)?;
    if reader.is_empty() { Ok(value) } else { Err(BadBytes::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Subject> {
        let cert = CertId::try_from("a.example~0123456789abcdef".to_owned()).unwrap();
        let node = NodeId::of_key(&[7; 32]);
        vec![
            Subject::Bundle(cert.clone()),
            Subject::Account("https://ca.example/directory".into()),
            Subject::Order(cert.clone()),
            Subject::Ari(cert),
            Subject::Ticket(3),
            Subject::Ledger(node, "internal".into()),
            Subject::Internal("root".into()),
            Subject::Report(node),
            Subject::Serving(node, 255),
            Subject::Removed(node),
            Subject::Compromised(Fingerprint::of(b"key")),
            Subject::Token("abcdefghijklmnop".into()),
            Subject::Other(200, b"later".to_vec()),
        ]
    }

    #[test]
    fn a_subject_reads_what_it_writes_and_no_two_share_a_key() {
        let mut keys: Vec<SubjectKey> = all().iter().map(Subject::key).collect();
        for subject in all() {
            assert_eq!(Subject::from_bytes(&subject.to_bytes()), Ok(subject));
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all().len());
    }

    #[test]
    fn a_subject_that_is_cut_lengthened_or_empty_is_refused() {
        let bad: [&[u8]; 9] =
            [b"", b"\0", b"\x01", b"\x01../etc/passwd", b"\x02", b"\x02a\nb", b"\x05", b"\x05ab", b"\x0ashort"];
        for bytes in bad {
            assert!(Subject::from_bytes(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(Subject::from_bytes(&[200; 2000]), Err(BadBytes::Long));
        let mut long = Subject::Removed(NodeId::of_key(b"x")).to_bytes();
        long.push(0);
        assert_eq!(Subject::from_bytes(&long), Err(BadBytes::Malformed));
    }
}
