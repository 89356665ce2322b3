//! What do two nodes say to each other, byte for byte? Each message is one frame: the protocol's version, a kind, its
//! fields. Kinds that are not known and fields behind the last known one are passed over, so that two releases run side
//! by side. Everything is bounded; nothing is believed.
//!
//! How frames are told apart on a stream, and who may send them, is `peer`'s matter.

use std::time::Duration;

use zeroize::Zeroizing;

use super::claim::{Claim, Digest, Mark};
use super::subject::SubjectKey;
use super::wire::{BadBytes, Reader, Writer};
use crate::clock::UnixTime;

/// The version that stands in every frame. It changes only when old nodes must not even try.
pub const PROTOCOL: u8 = 1;
/// The longest frame; a longer one ends the link.
pub const LONGEST_MESSAGE: usize = 256 * 1024;
/// Claims are put together into one message up to about this many bytes; a single claim may be longer.
pub const CLAIMS_TOGETHER: usize = 64 * 1024;
/// Marks, keys or tokens in one message at most.
pub const MOST_MARKS: usize = 1024;
/// Claims in one message at most.
pub const MOST_CLAIMS: usize = 256;
/// Tokens in one message at most.
pub const MOST_TOKENS: usize = 256;
/// Thumbprints in one message at most.
pub const MOST_THUMBPRINTS: usize = 64;
/// Buckets of the digest.
pub const BUCKETS: usize = 256;

/// How an authority looks at a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Look {
    /// HTTP-01 (RFC 8555 8.3).
    Http01,
    /// TLS-ALPN-01 (RFC 8737).
    TlsAlpn01,
}

/// An open challenge, as nodes tell it to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// How the authority looks.
    pub look: Look,
    /// The token: 16 to 256 letters of base64url.
    pub token: String,
    /// The name that is validated, as the authority writes it.
    pub name: String,
    /// The key authorization: `token.thumbprint`.
    pub answer: String,
    /// How long it stays open from now on.
    pub remaining: Duration,
}

/// Longest time for which a token stays open.
pub const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(2 * 3600);

/// What is said first, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Bits of what the sender understands beyond the first release; unknown bits are passed over.
    pub features: u64,
    /// Drawn at each start of the process: a node that started anew is known by it.
    pub incarnation: u64,
    /// The release, for people.
    pub release: String,
    /// `hold all`: the sender takes every bundle.
    pub holds_all: bool,
}

/// What a node says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First words.
    Hello(Hello),
    /// I am alive; this is the digest of all I know, and my civil clock.
    Ping {
        /// Digest of everything.
        root: Digest,
        /// The sender's clock: a witness when time is judged.
        civil: UnixTime,
    },
    /// The digests of my 256 buckets, since our roots differ.
    Buckets(Vec<u64>),
    /// All the marks that I have from the first key to the last one, both included.
    Marks {
        /// First key of the range.
        from: SubjectKey,
        /// Last key of the range.
        to: SubjectKey,
        /// Sorted by key.
        marks: Vec<Mark>,
    },
    /// Send me the claims on these subjects.
    Want(Vec<SubjectKey>),
    /// Claims, new or asked for.
    Claims(Vec<Claim>),
    /// I have just learned these.
    Offer(Vec<Mark>),
    /// I know of these, but do not hold them.
    NotHeld(Vec<SubjectKey>),
    /// Open challenges.
    Tokens(Vec<Token>),
    /// I answer for these tokens from now on.
    TokensKnown(Vec<String>),
    /// These tokens are over.
    TokensOver(Vec<String>),
    /// Somebody looks for this token here; do you know it?
    AskToken {
        /// Chosen by who asks; comes back in the answer.
        id: u64,
        /// Which.
        token: String,
    },
    /// What I know of the token you asked for.
    TokenAnswer {
        /// Of the question.
        id: u64,
        /// `None`: nothing.
        token: Option<Token>,
    },
    /// Accounts (thumbprints of their keys) for which I answer without a token.
    Covers(Vec<String>),
    /// I stop for good or for a while, on purpose.
    Leaving,
}

impl Message {
    /// The frame, without a length in front. May hold private keys: it is wiped when dropped.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let room = match self {
            Message::Claims(claims) => claims.iter().map(Claim::size).sum::<usize>() + 64,
            Message::Marks { marks, .. } | Message::Offer(marks) => marks.len() * 74 + 128,
            _ => 256,
        };
        let mut w = Writer::with_room(room);
        w.u8(PROTOCOL);
        w.u8(self.kind());
        match self {
            Message::Hello(hello) => {
                w.u64(hello.features);
                w.u64(hello.incarnation);
                w.text(&hello.release);
                w.u8(u8::from(hello.holds_all));
            }
            Message::Ping { root, civil } => {
                w.raw(&root.0);
                w.u64(civil.0.cast_unsigned());
            }
            Message::Buckets(buckets) => buckets.iter().for_each(|bucket| w.u64(*bucket)),
            Message::Marks { from, to, marks } => {
                w.raw(&from.0);
                w.raw(&to.0);
                list(&mut w, marks, |w, mark| mark.write(w));
            }
            Message::Want(keys) | Message::NotHeld(keys) => list(&mut w, keys, |w, key| w.raw(&key.0)),
            Message::Claims(claims) => list(&mut w, claims, |w, claim| claim.write(w)),
            Message::Offer(marks) => list(&mut w, marks, |w, mark| mark.write(w)),
            Message::Tokens(tokens) => list(&mut w, tokens, |w, token| token.write(w)),
            Message::TokensKnown(names) | Message::TokensOver(names) | Message::Covers(names) => {
                list(&mut w, names, |w, name| w.text(name));
            }
            Message::AskToken { id, token } => {
                w.u64(*id);
                w.text(token);
            }
            Message::TokenAnswer { id, token } => {
                w.u64(*id);
                list(&mut w, token.as_slice(), |w, token| token.write(w));
            }
            Message::Leaving => {}
        }
        w.finish()
    }

    /// Reads a frame; `None`: of a kind that only a later release knows, to be passed over.
    ///
    /// # Errors
    /// [`BadBytes`]: the peer is not sane, or speaks another protocol; the link ends.
    pub fn decode(frame: &[u8]) -> Result<Option<Message>, BadBytes> {
        if frame.len() > LONGEST_MESSAGE {
            return Err(BadBytes::Long);
        }
        let mut r = Reader::new(frame);
        if r.u8()? != PROTOCOL {
            return Err(BadBytes::Version);
        }
        let kind = r.u8()?;
        let key = |r: &mut Reader<'_>| r.array().map(SubjectKey);
        let message = match kind {
            1 => Message::Hello(Hello {
                features: r.u64()?,
                incarnation: r.u64()?,
                release: r.text(128)?.to_owned(),
                holds_all: r.flag()?,
            }),
            2 => Message::Ping { root: Digest(r.array()?), civil: UnixTime(r.u64()?.cast_signed()) },
            3 => Message::Buckets((0..BUCKETS).map(|_| r.u64()).collect::<Result<_, _>>()?),
            4 => {
                let (from, to) = (key(&mut r)?, key(&mut r)?);
                let marks = r.list(MOST_MARKS, Mark::read)?;
                let sorted = marks.windows(2).all(|pair| pair[0] < pair[1]);
                if !sorted || marks.iter().any(|mark| mark.key < from || to < mark.key) {
                    return Err(BadBytes::Malformed);
                }
                Message::Marks { from, to, marks }
            }
            5 => Message::Want(r.list(MOST_MARKS, key)?),
            6 => Message::Claims(r.list(MOST_CLAIMS, Claim::read)?),
            7 => Message::Offer(r.list(MOST_MARKS, Mark::read)?),
            8 => Message::NotHeld(r.list(MOST_MARKS, key)?),
            9 => Message::Tokens(r.list(MOST_TOKENS, Token::read)?),
            10 => Message::TokensKnown(r.list(MOST_TOKENS, token_name)?),
            11 => Message::TokensOver(r.list(MOST_TOKENS, token_name)?),
            12 => Message::AskToken { id: r.u64()?, token: token_name(&mut r)? },
            13 => Message::TokenAnswer { id: r.u64()?, token: r.list(1, Token::read)?.pop() },
            14 => Message::Covers(r.list(MOST_THUMBPRINTS, |r| r.text(128).map(str::to_owned))?),
            15 => Message::Leaving,
            0 => return Err(BadBytes::Malformed),
            _ => return Ok(None),
        };
        Ok(Some(message))
    }

    fn kind(&self) -> u8 {
        match self {
            Message::Hello(_) => 1,
            Message::Ping { .. } => 2,
            Message::Buckets(_) => 3,
            Message::Marks { .. } => 4,
            Message::Want(_) => 5,
            Message::Claims(_) => 6,
            Message::Offer(_) => 7,
            Message::NotHeld(_) => 8,
            Message::Tokens(_) => 9,
            Message::TokensKnown(_) => 10,
            Message::TokensOver(_) => 11,
            Message::AskToken { .. } => 12,
            Message::TokenAnswer { .. } => 13,
            Message::Covers(_) => 14,
            Message::Leaving => 15,
        }
    }
}

impl Token {
    /// Whether a peer would take it: one that is not must not be sent, or the link ends.
    pub fn is_sound(&self) -> bool {
        let mut w = Writer::default();
        self.write(&mut w);
        Token::read(&mut Reader::new(&w.finish())).is_ok()
    }

    fn write(&self, w: &mut Writer) {
        w.u8(match self.look {
            Look::Http01 => 1,
            Look::TlsAlpn01 => 2,
        });
        w.text(&self.token);
        w.text(&self.name);
        w.text(&self.answer);
        w.u32(u32::try_from(self.remaining.as_secs()).unwrap_or(u32::MAX));
    }

    fn read(r: &mut Reader<'_>) -> Result<Token, BadBytes> {
        let look = match r.u8()? {
            1 => Look::Http01,
            2 => Look::TlsAlpn01,
            _ => return Err(BadBytes::Malformed),
        };
        let token = token_name(r)?;
        let (name, answer) = (r.text(256)?.to_owned(), r.text(512)?.to_owned());
        let remaining = Duration::from_secs(r.u32()?.into());
        let fits = answer.strip_prefix(&token).and_then(|rest| rest.strip_prefix('.')).is_some_and(is_base64url);
        if name.is_empty() || !fits || remaining > LONGEST_TOKEN_LIFE {
            return Err(BadBytes::Malformed);
        }
        Ok(Token { look, token, name, answer, remaining })
    }
}

fn token_name(r: &mut Reader<'_>) -> Result<String, BadBytes> {
    let text = r.text(256)?;
    if text.len() < 16 || !is_base64url(text) {
        return Err(BadBytes::Malformed);
    }
    Ok(text.to_owned())
}

fn is_base64url(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn list<T>(w: &mut Writer, members: &[T], write: impl Fn(&mut Writer, &T)) {
    w.count(members.len());
    members.iter().for_each(|member| write(w, member));
}

/// Does any frame make the reader panic, or read what it would not write again? One entry for the fuzz target and tests.
///
/// # Panics
/// If what was read is written differently and then read differently: a fault of ours.
pub fn fuzz(data: &[u8]) {
    if let Ok(Some(message)) = Message::decode(data) {
        let again = message.encode();
        assert!(again.len() <= data.len(), "a frame grew");
        assert_eq!(Message::decode(&again), Ok(Some(message)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Body, NodeId, Subject};

    fn token() -> Token {
        Token {
            look: Look::Http01,
            token: "abcdefghijklmnop".into(),
            name: "a.example".into(),
            answer: "abcdefghijklmnop.thumb".into(),
            remaining: Duration::from_secs(60),
        }
    }

    fn all() -> Vec<Message> {
        let claim = Claim::new(Subject::Ticket(1), 1, NodeId::of_key(b"1"), Body::copy(b"x"));
        let (mark, key) = (claim.mark(), claim.mark().key);
        let (from, to) = (SubjectKey::FIRST, SubjectKey::LAST);
        vec![
            Message::Hello(Hello { features: 1, incarnation: 2, release: "semper 1".into(), holds_all: true }),
            Message::Ping { root: Digest([1; 32]), civil: UnixTime(-5) },
            Message::Buckets(vec![7; BUCKETS]),
            Message::Marks { from, to, marks: vec![mark] },
            Message::Want(vec![key]),
            Message::Claims(vec![claim]),
            Message::Offer(vec![mark]),
            Message::NotHeld(vec![key]),
            Message::Tokens(vec![token()]),
            Message::TokensKnown(vec![token().token]),
            Message::TokensOver(vec![token().token]),
            Message::AskToken { id: 9, token: token().token },
            Message::TokenAnswer { id: 9, token: Some(token()) },
            Message::TokenAnswer { id: 9, token: None },
            Message::Covers(vec!["thumb".into()]),
            Message::Leaving,
        ]
    }

    #[test]
    fn a_message_reads_what_it_writes_and_tolerates_fields_of_a_later_release() {
        for message in all() {
            let mut frame = message.encode().to_vec();
            assert_eq!(Message::decode(&frame), Ok(Some(message.clone())));
            frame.extend_from_slice(b"later");
            assert_eq!(Message::decode(&frame), Ok(Some(message)));
        }
        assert_eq!(Message::decode(&[PROTOCOL, 99, 1, 2, 3]), Ok(None), "of a later release");
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_refused() {
        for message in all() {
            let frame = message.encode();
            for end in 0..frame.len() {
                assert!(Message::decode(&frame[..end]).is_err(), "{message:?} cut at {end}");
            }
        }
    }

    #[test]
    fn hostile_frames_are_refused() {
        let mut greedy = vec![PROTOCOL, 6];
        greedy.extend_from_slice(&u32::MAX.to_be_bytes());
        let mut unsorted = Message::Marks { from: SubjectKey::FIRST, to: SubjectKey::FIRST, marks: vec![] };
        if let (Message::Marks { marks, .. }, Message::Offer(outside)) = (&mut unsorted, &all()[6]) {
            marks.clone_from(outside);
        }
        let mut traversal = token();
        traversal.token = "../../etc/passwd".into();
        let mut foreign = token();
        foreign.answer = "other.thumb".into();
        let mut endless = token();
        endless.remaining = Duration::MAX;
        let cases = [
            greedy,
            unsorted.encode().to_vec(),
            Message::Tokens(vec![traversal]).encode().to_vec(),
            Message::Tokens(vec![foreign]).encode().to_vec(),
            Message::Tokens(vec![endless]).encode().to_vec(),
            vec![PROTOCOL, 0],
            vec![PROTOCOL + 1, 15],
            vec![PROTOCOL],
            vec![],
            vec![PROTOCOL; LONGEST_MESSAGE + 1],
        ];
        for case in cases {
            assert!(Message::decode(&case).is_err(), "{:?}", &case[..case.len().min(40)]);
        }
    }
}
