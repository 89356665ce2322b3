//! How is state sealed with a passphrase? scrypt (RFC 7914) makes a key of it, AES-256-GCM seals; the lines on top say
//! how, and are sealed with it. Knows nothing of what is inside, and touches no file.
//!
//! ```text
//! semper sealed state 1
//! scrypt 17 8 1 SALT
//! NONCE (12 bytes), then what is sealed, then the tag (16 bytes)
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scrypt::Params;
use zeroize::Zeroizing;

const HEAD: &str = "semper sealed state 1";
/// 128 MiB and a fraction of a second for each guess.
const COST: (u8, u32, u32) = (17, 8, 1);
/// What a foreign file may ask of this machine at most: 1 GiB.
const HIGHEST: (u8, u32, u32) = (20, 8, 4);
const SALT: usize = 16;

/// Why it cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a file of ours, cut, or of a later version.
    #[error("this is no sealed state of this version")]
    Format,
    /// Another passphrase, or the file was changed. The two cannot be told apart.
    #[error("the passphrase is wrong, or the file is damaged")]
    Closed,
    /// The system has no randomness or no memory for it.
    #[error("the system refuses randomness or memory")]
    System,
}

/// Seals `content`.
pub fn seal(content: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, SealError> {
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE_LEN]);
    aws_lc_rs::rand::fill(&mut salt).and_then(|()| aws_lc_rs::rand::fill(&mut nonce)).map_err(|_| SealError::System)?;
    let (log_n, r, p) = COST;
    let head = format!("{HEAD}\nscrypt {log_n} {r} {p} {}\n", STANDARD.encode(salt));
    let key = key(passphrase, &salt, COST)?;
    // Sealed in place in a buffer of its own, which holds the plain content until then.
    let mut body = Zeroizing::new(Vec::with_capacity(content.len() + 16));
    body.extend_from_slice(content);
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(head.as_bytes()), &mut body)
        .map_err(|_| SealError::System)?;
    let mut out = Vec::with_capacity(head.len() + NONCE_LEN + body.len() + 16);
    for part in [head.as_bytes(), &nonce, &body, tag.as_ref()] {
        out.extend_from_slice(part);
    }
    Ok(out)
}

/// Opens what [`seal`] made.
pub fn open(sealed: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut ends = sealed.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let (_, end) = ends.next().zip(ends.next()).filter(|(_, end)| *end < 256).ok_or(SealError::Format)?;
    let head = std::str::from_utf8(&sealed[..end]).map_err(|_| SealError::Format)?;
    let (cost, salt) = read_head(head).ok_or(SealError::Format)?;
    let nonce = sealed.get(end..end + NONCE_LEN).ok_or(SealError::Format)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Format)?;
    let key = key(passphrase, &salt, cost)?;
    let mut body = Zeroizing::new(sealed[end + NONCE_LEN..].to_vec());
    let length = key.open_in_place(nonce, Aad::from(head.as_bytes()), &mut body).map_err(|_| SealError::Closed)?.len();
    body.truncate(length);
    Ok(body)
}

fn read_head(head: &str) -> Option<((u8, u32, u32), Vec<u8>)> {
    let mut lines = head.lines();
    (lines.next()? == HEAD).then_some(())?;
    let mut words = lines.next()?.strip_prefix("scrypt ")?.split(' ');
    let cost = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let salt = STANDARD.decode(words.next()?).ok()?;
    let bearable = cost.0 <= HIGHEST.0 && cost.1 <= HIGHEST.1 && cost.2 <= HIGHEST.2;
    (bearable && words.next().is_none()).then_some((cost, salt))
}

fn key(passphrase: &[u8], salt: &[u8], (log_n, r, p): (u8, u32, u32)) -> Result<LessSafeKey, SealError> {
    let params = Params::new(log_n, r, p).map_err(|_| SealError::Format)?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase, salt, &params, &mut *key).map_err(|_| SealError::System)?;
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| SealError::System)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_its_passphrase_alone_and_shows_nothing() {
        let sealed = seal(b"-----BEGIN PRIVATE KEY-----", b"correct horse").unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"PRIVATE"));
        assert_eq!(open(&sealed, b"correct horse").unwrap().as_slice(), b"-----BEGIN PRIVATE KEY-----");
        assert_eq!(open(&sealed, b"correct horsf"), Err(SealError::Closed));
        assert_eq!(open(&sealed[..sealed.len() - 1], b"correct horse"), Err(SealError::Closed));
    }

    #[test]
    fn what_is_damaged_foreign_or_greedy_is_refused_before_it_costs_anything() {
        let cases: [&[u8]; 7] = [
            b"",
            b"semper sealed state 1\n",
            b"semper sealed state 2\nscrypt 17 8 1 AAAA\n0123456789ab0123456789abcdef0123",
            b"semper sealed state 1\nscrypt 40 8 1 AAAA\n0123456789ab0123456789abcdef0123",
            b"semper sealed state 1\nscrypt 17 4294967295 1 AAAA\n0123456789ab0123456789abcdef0123",
            b"semper sealed state 1\nscrypt 17 8 1 AAAA more\n0123456789ab0123456789abcdef0123",
            b"semper sealed state 1\nscrypt 17 8 1 AAAA\n0123",
        ];
        for case in cases {
            assert_eq!(open(case, b"x"), Err(SealError::Format), "{case:?}");
        }
    }
}
