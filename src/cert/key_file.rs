//! Which private key stands in a key file, and does it belong to a certificate? Reads every form that `ssl_certificate_key`
//! takes, encrypted ones with the passwords of `ssl_password_file`. Compares public halves without loading the key, so
//! that ten thousand keys cost little; the signing key is loaded when it first signs.

use super::bundle::PrivateKey;
use super::der::{self, BIT_STRING, INTEGER, OCTET_STRING, OID, Reader};
use super::pem::{self, BadPem};
use aws_lc_rs::cipher::{AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use md5::{Digest, Md5};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Why there is no usable key. Whose fault: whoever wrote the file; the same bytes will never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No key, or one that cannot be read.
    #[error("no readable private key")]
    None,
    /// Encrypted, and none of the passwords opens it (or there is none).
    #[error("no password opens the private key")]
    Password,
    /// Encrypted in a way that is not known here (3DES, scrypt): `openssl pkcs8 -topk8` writes one that is.
    #[error("the private key is encrypted in an old form; rewrite it with `openssl pkcs8 -topk8`")]
    Cipher,
    /// It belongs to another certificate.
    #[error("key values mismatch")]
    Mismatch,
}

const ENCRYPT_ROUNDS_MOST: u32 = 10_000_000;
const OID_PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const OID_PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const OID_HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2];
const OID_AES_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1];
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// The private key of `text` that belongs to the certificate with this SubjectPublicKeyInfo, in PKCS #8.
///
/// # Errors
/// [`BadKey`].
pub fn read(text: &[u8], passwords: &[&[u8]], public: &[u8]) -> Result<PrivateKey, BadKey> {
    for section in pem::sections(text) {
        let section = section.map_err(|_: BadPem| BadKey::None)?;
        let plain = match section.label {
            "PRIVATE KEY" => section.der,
            "ENCRYPTED PRIVATE KEY" => decrypt(&section.der, passwords)?,
            label @ ("RSA PRIVATE KEY" | "EC PRIVATE KEY") => {
                let inner = match section.dek_info {
                    Some(cipher) => legacy(&section.der, cipher, passwords)?,
                    None => section.der,
                };
                pkcs8(&inner, public, if label == "RSA PRIVATE KEY" { OID_RSA } else { OID_EC })?
            }
            _ => continue,
        };
        return belongs(&plain, public).map(|()| PrivateKey::from_pkcs8(plain.to_vec()));
    }
    Err(BadKey::None)
}

/// The passwords of a file: one a line, as nginx reads them.
pub fn passwords(file: &[u8]) -> Vec<&[u8]> {
    let lines = file.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).collect()
}

/// SEC 1 or PKCS #1 as PKCS #8: the algorithm is that of the certificate, or the key belongs to another one.
fn pkcs8(inner: &[u8], public: &[u8], kind: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadKey> {
    let algorithm = Reader(public).sequence().and_then(|mut spki| spki.any()).ok_or(BadKey::Mismatch)?;
    if Reader(algorithm.1).take(OID) != Some(kind) {
        return Err(BadKey::Mismatch);
    }
    let wrapped = der::wrap(OCTET_STRING, &[inner]);
    Ok(der::wrap(der::SEQUENCE, &[&[INTEGER, 1, 0], algorithm.2, &wrapped]))
}

/// Whether a PKCS #8 key is the private half of `public`, a SubjectPublicKeyInfo.
///
/// # Errors
/// [`BadKey::Mismatch`], or [`BadKey::None`] for what cannot be read.
pub(super) fn belongs(pkcs8: &[u8], public: &[u8]) -> Result<(), BadKey> {
    let mut spki = Reader(public).sequence().ok_or(BadKey::Mismatch)?;
    let (_, algorithm, _) = spki.any().ok_or(BadKey::Mismatch)?;
    let bits = spki.take(BIT_STRING).and_then(|b| b.get(1..)).ok_or(BadKey::Mismatch)?;
    let kind = Reader(algorithm).take(OID).ok_or(BadKey::Mismatch)?;
    let mut key = Reader(pkcs8).sequence().ok_or(BadKey::None)?;
    key.take(INTEGER).ok_or(BadKey::None)?;
    let mut own_algorithm = key.sequence().ok_or(BadKey::None)?;
    let inner = key.take(OCTET_STRING).ok_or(BadKey::None)?;
    if own_algorithm.take(OID) != Some(kind) {
        return Err(BadKey::Mismatch);
    }
    let same = match kind {
        OID_RSA => rsa_public(inner).ok_or(BadKey::None)? == rsa_integers(Reader(bits)).ok_or(BadKey::Mismatch)?,
        OID_EC => match ec_public(inner).ok_or(BadKey::None)? {
            Some(point) => point == bits,
            None => computed(pkcs8)? == public,
        },
        _ => computed(pkcs8)? == public,
    };
    if same { Ok(()) } else { Err(BadKey::Mismatch) }
}

/// Modulus and exponent of an RSAPrivateKey.
fn rsa_public(inner: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut key = Reader(inner).sequence()?;
    key.take(INTEGER)?;
    Some((key.take(INTEGER)?, key.take(INTEGER)?))
}

fn rsa_integers(mut bits: Reader<'_>) -> Option<(&[u8], &[u8])> {
    let mut key = bits.sequence()?;
    Some((key.take(INTEGER)?, key.take(INTEGER)?))
}

/// The public point of an ECPrivateKey, if it is there: `Some(None)` if not.
fn ec_public(inner: &[u8]) -> Option<Option<&[u8]>> {
    const PUBLIC: u8 = 0xa1;
    let mut key = Reader(inner).sequence()?;
    key.take(INTEGER)?;
    key.take(OCTET_STRING)?;
    while let Some((tag, content, _)) = key.any() {
        if tag == PUBLIC {
            return Some(Reader(content).take(BIT_STRING).and_then(|b| b.get(1..)));
        }
    }
    Some(None)
}

/// The public half, computed; dear.
fn computed(pkcs8: &[u8]) -> Result<Vec<u8>, BadKey> {
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from(pkcs8);
    let pair = rcgen::KeyPair::try_from(&der).map_err(|_| BadKey::None)?;
    Ok(rcgen::PublicKeyData::subject_public_key_info(&pair))
}

/// OpenSSL's own form from before PKCS #8 (`Proc-Type: 4,ENCRYPTED`), as far as it used AES.
fn legacy(sealed: &[u8], dek_info: &str, passwords: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, BadKey> {
    let (cipher, key_length) = match dek_info.split_once(',').map(|(name, _)| name) {
        Some("AES-128-CBC") => (&AES_128, 16),
        Some("AES-256-CBC") => (&AES_256, 32),
        _ => return Err(BadKey::Cipher),
    };
    let iv = dek_info.split_once(',').and_then(|(_, iv)| hex16(iv.trim())).ok_or(BadKey::None)?;
    let opened = passwords.iter().find_map(|password| {
        // EVP_BytesToKey with MD5, once, the first half of the IV being the salt.
        let mut key = Zeroizing::new(Vec::with_capacity(32));
        while key.len() < key_length {
            let last = key.len().saturating_sub(16);
            let block = Md5::new().chain_update(&key[last..]).chain_update(password).chain_update(&iv[..8]).finalize();
            key.extend_from_slice(&block);
        }
        open(cipher, &key, iv, sealed)
    });
    opened.ok_or(BadKey::Password)
}

fn hex16(text: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(out)
}

/// Decrypts what holds a key; `None` for a wrong password.
fn open(
    cipher: &'static aws_lc_rs::cipher::Algorithm,
    key: &[u8],
    iv: [u8; 16],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(cipher, key).ok()?).ok()?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let length = cipher.decrypt(&mut text, DecryptionContext::Iv128(iv.into())).ok()?.len();
    text.truncate(length);
    // A wrong password may give good padding by chance, but hardly a sequence that fits.
    Reader(&text).sequence()?.take(INTEGER)?;
    Some(text)
}

/// What PBES2 (RFC 8018 6.2) says about an encrypted key.
struct Pbes2<'a> {
    hash: aws_lc_rs::pbkdf2::Algorithm,
    salt: &'a [u8],
    rounds: NonZeroU32,
    cipher: &'static aws_lc_rs::cipher::Algorithm,
    key_length: usize,
    iv: [u8; 16],
    sealed: &'a [u8],
}

fn decrypt(der: &[u8], passwords: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, BadKey> {
    let sealed = pbes2(der).ok_or(BadKey::Cipher)?;
    let opened = passwords.iter().find_map(|password| {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..sealed.key_length];
        aws_lc_rs::pbkdf2::derive(sealed.hash, sealed.rounds, sealed.salt, password, key);
        open(sealed.cipher, key, sealed.iv, sealed.sealed)
    });
    opened.ok_or(BadKey::Password)
}

fn pbes2(der: &[u8]) -> Option<Pbes2<'_>> {
    use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA384, PBKDF2_HMAC_SHA512};
    let mut outer = Reader(der).sequence()?;
    let mut algorithm = outer.sequence()?;
    let sealed = outer.take(OCTET_STRING)?;
    (algorithm.take(OID)? == OID_PBES2).then_some(())?;
    let mut parameters = algorithm.sequence()?;
    let (mut derivation, mut encryption) = (parameters.sequence()?, parameters.sequence()?);
    (derivation.take(OID)? == OID_PBKDF2).then_some(())?;
    let mut derivation = derivation.sequence()?;
    let salt = derivation.take(OCTET_STRING)?;
    let rounds =
        derivation.take(INTEGER)?.iter().try_fold(0u32, |n, b| n.checked_mul(256)?.checked_add((*b).into()))?;
    let rounds = NonZeroU32::new(rounds).filter(|n| n.get() <= ENCRYPT_ROUNDS_MOST)?;
    // An optional key length may stand before the hash, which is SHA-1 if it is not named.
    let mut hash = PBKDF2_HMAC_SHA1;
    while let Some((tag, content, _)) = derivation.any() {
        if tag == der::SEQUENCE {
            hash = match Reader(content).take(OID)?.strip_prefix(OID_HMAC)? {
                [7] => PBKDF2_HMAC_SHA1,
                [9] => PBKDF2_HMAC_SHA256,
                [10] => PBKDF2_HMAC_SHA384,
                [11] => PBKDF2_HMAC_SHA512,
                _ => return None,
            };
        }
    }
    let (cipher, key_length) = match encryption.take(OID)?.strip_prefix(OID_AES_CBC)? {
        [2] => (&AES_128, 16),
        [42] => (&AES_256, 32),
        _ => return None,
    };
    let iv = encryption.take(OCTET_STRING)?.try_into().ok()?;
    Some(Pbes2 { hash, salt, rounds, cipher, key_length, iv, sealed })
}
