//! Who is at the other end? The first frame of either side: which node, which run of it, which release; signed with the
//! node's own key over what the TLS session has exported (RFC 5705) and the side that speaks. So it holds for this very
//! connection and direction alone: neither replay nor reflection is a proof.

use super::identity::{self, NodeId, NodeKey};

/// The label of the export.
pub(super) const EXPORT: &[u8] = b"EXPORTER-semper-node-proof-1";
/// No hello is longer.
pub(super) const LONGEST: usize = 512;
const MAGIC: &[u8; 8] = b"semper\x00\x01";
const CONTEXT: &[u8] = b"semper node proof 1\x00";
const RELEASE: usize = 64;

/// What one side says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its public key.
    pub public: [u8; 32],
    /// Drawn at the start of its process.
    pub life: u64,
    /// The oldest and the newest form of messages that it understands.
    pub speaks: (u16, u16),
    /// Its release, for people.
    pub release: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// It called.
    Caller,
    /// It was called.
    Called,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Caller => Side::Called,
            Side::Called => Side::Caller,
        }
    }
}

/// Why a hello is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not of this protocol.
    #[error("it does not speak as a node does")]
    Foreign,
    /// Whoever speaks does not have the key of the node that it names, or repeats what was said elsewhere.
    #[error("it did not prove which node it is")]
    Unproved,
}

impl Hello {
    /// The node's id.
    pub fn id(&self) -> NodeId {
        identity::id_of(&self.public)
    }

    pub(super) fn sign(&self, key: &NodeKey, side: Side, exported: &[u8; 32]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.public);
        out.extend(self.life.to_be_bytes());
        out.extend(self.speaks.0.to_be_bytes());
        out.extend(self.speaks.1.to_be_bytes());
        let release: String = self.release.chars().filter(char::is_ascii_graphic).take(RELEASE).collect();
        // At most RELEASE bytes.
        out.push(u8::try_from(release.len()).unwrap_or(0));
        out.extend(release.as_bytes());
        let signature = key.sign(&signed(&out, side, exported));
        out.extend(signature);
        out
    }

    /// Reads what the other side, which is `side`, said on the connection that exported `exported`.
    pub(super) fn check(frame: &[u8], side: Side, exported: &[u8; 32]) -> Result<Hello, Refusal> {
        let (body, signature) = frame.split_last_chunk::<64>().ok_or(Refusal::Foreign)?;
        let hello = Hello::read(body).ok_or(Refusal::Foreign)?;
        match identity::verify(&hello.public, &signed(body, side, exported), signature) {
            true => Ok(hello),
            false => Err(Refusal::Unproved),
        }
    }

    /// Reads everything but the proof; whatever a later release adds behind is passed over.
    pub fn read(body: &[u8]) -> Option<Hello> {
        let rest = body.strip_prefix(MAGIC)?;
        let (public, rest) = rest.split_first_chunk::<32>()?;
        let (life, rest) = rest.split_first_chunk::<8>()?;
        let (oldest, rest) = rest.split_first_chunk::<2>()?;
        let (newest, rest) = rest.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first()?;
        let release = rest.get(..usize::from(*length)).filter(|text| text.len() <= RELEASE)?;
        let release = std::str::from_utf8(release).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))?;
        Some(Hello {
            public: *public,
            life: u64::from_be_bytes(*life),
            speaks: (u16::from_be_bytes(*oldest), u16::from_be_bytes(*newest)),
            release: release.to_owned(),
        })
    }
}

fn signed(body: &[u8], side: Side, exported: &[u8; 32]) -> Vec<u8> {
    let side = match side {
        Side::Caller => b'c',
        Side::Called => b's',
    };
    [CONTEXT, &[side], exported, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(key: &NodeKey) -> Hello {
        Hello { public: key.public(), life: 9, speaks: (1, 3), release: "0.1.0".into() }
    }

    #[test]
    fn a_proof_holds_for_its_node_side_and_connection_alone() {
        let (key, other) = (NodeKey::of([1; 32]).unwrap(), NodeKey::of([2; 32]).unwrap());
        let said = hello(&key).sign(&key, Side::Caller, &[5; 32]);
        assert!(said.len() <= LONGEST);
        assert_eq!(Hello::check(&said, Side::Caller, &[5; 32]), Ok(hello(&key)));
        assert_eq!(Hello::check(&said, Side::Called, &[5; 32]), Err(Refusal::Unproved), "reflected");
        assert_eq!(Hello::check(&said, Side::Caller, &[6; 32]), Err(Refusal::Unproved), "replayed elsewhere");
        let forged = hello(&key).sign(&other, Side::Caller, &[5; 32]);
        assert_eq!(Hello::check(&forged, Side::Caller, &[5; 32]), Err(Refusal::Unproved), "another's name");
        for at in 0..said.len() {
            let mut wrong = said.clone();
            wrong[at] ^= 1;
            assert!(Hello::check(&wrong, Side::Caller, &[5; 32]).is_err(), "{at}");
            assert!(Hello::check(&said[..at], Side::Caller, &[5; 32]).is_err(), "{at}");
        }
    }

    #[test]
    fn a_longer_hello_of_a_later_release_is_understood() {
        let key = NodeKey::of([1; 32]).unwrap();
        let said = hello(&key).sign(&key, Side::Called, &[5; 32]);
        let mut body = said[..said.len() - 64].to_vec();
        body.extend(b"more");
        let signature = key.sign(&signed(&body, Side::Called, &[5; 32]));
        body.extend(signature);
        assert_eq!(Hello::check(&body, Side::Called, &[5; 32]), Ok(hello(&key)));
    }
}
