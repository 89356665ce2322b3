//! What is a bundle? A private key and the chain of its certificate: one value, one file, never halves.
//! Reads and writes the text form; keeps nothing and decides nothing.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::inspect::Leaf;
use super::key_file::{self, BadKey};
use super::pem;
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;
use crate::words::Fingerprint;

/// One generation of one certificate, with its key.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Which specification it fulfils.
    pub id: CertId,
    /// The number of this generation; a newer one has a larger number.
    pub epoch: u64,
    /// The name of the issuer that was asked, and the authority behind it (directory URL or `internal`).
    pub issuer: String,
    /// The directory URL of that issuer, or `internal`.
    pub authority: String,
    /// When it was obtained, by the clock of that moment.
    pub obtained_at: UnixTime,
    /// The certificates, the leaf first; never empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the leaf.
    pub key: PrivateKey,
    /// What the leaf says.
    pub leaf: Leaf,
}

/// Why something is no bundle. Whose fault: whoever handed it over; the same bytes will never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBundle {
    /// There is no certificate in it, or something else than certificates.
    #[error("no readable certificate chain")]
    Chain,
    /// The private key is missing or unreadable.
    #[error("no readable private key")]
    Key,
    /// The key does not belong to the first certificate.
    #[error("the private key does not match the certificate")]
    Mismatch,
    /// The lines on top are missing, damaged or of a later format.
    #[error("not a bundle of format 1")]
    Format,
}

const HEAD: &str = "semper bundle 1";

impl Bundle {
    /// Joins a chain in PEM (leaf first) with its key.
    pub fn new(of: Origin, chain_pem: &[u8], key: PrivateKey) -> Result<Bundle, BadBundle> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain_pem).collect::<Result<_, _>>().map_err(|_| BadBundle::Chain)?;
        let leaf = chain.first().ok_or(BadBundle::Chain)?;
        let (leaf, public) = Leaf::read_with_key(leaf).map_err(|_| BadBundle::Chain)?;
        if chain.iter().skip(1).any(|link| Leaf::read(link).is_err()) {
            return Err(BadBundle::Chain);
        }
        // Compared without loading the key: thousands are read in one start.
        key_file::belongs(&key.0, &public).map_err(|bad| match bad {
            BadKey::Mismatch => BadBundle::Mismatch,
            _ => BadBundle::Key,
        })?;
        let Origin { id, epoch, issuer, authority, obtained_at } = of;
        Ok(Bundle { id, epoch, issuer, authority, obtained_at, chain, key, leaf })
    }

    /// The text form: some lines of our own, then key and chain in PEM, so that other programs can read the file too.
    pub fn to_text(&self) -> Zeroizing<String> {
        // Room for everything from the start: growing would leave copies of the key behind.
        let bytes: usize = self.chain.iter().map(|c| c.len()).sum::<usize>() + self.key.0.len();
        let mut out = Zeroizing::new(String::with_capacity(bytes * 2 + 2048));
        let _ = write!(
            out,
            "{HEAD}\nid: {}\nepoch: {}\nissuer: {}\nauthority: {}\nobtained-at: {}\n",
            self.id, self.epoch, self.issuer, self.authority, self.obtained_at.0
        );
        pem::write(&mut out, "PRIVATE KEY", &self.key.0);
        out.push_str(&self.chain_text());
        out
    }

    /// The chain alone in PEM, leaf first.
    pub fn chain_text(&self) -> String {
        let mut out = String::new();
        for link in &self.chain {
            pem::write(&mut out, "CERTIFICATE", link);
        }
        out
    }

    /// Reads what [`Bundle::to_text`] wrote.
    pub fn from_text(text: &[u8]) -> Result<Bundle, BadBundle> {
        let begin = text.windows(5).position(|w| w == b"-----").ok_or(BadBundle::Format)?;
        let mut lines = std::str::from_utf8(&text[..begin]).map_err(|_| BadBundle::Format)?.lines();
        if lines.next() != Some(HEAD) {
            return Err(BadBundle::Format);
        }
        let mut field = |name: &str| {
            let line = lines.next().ok_or(BadBundle::Format)?;
            line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).ok_or(BadBundle::Format)
        };
        let origin = Origin {
            id: CertId::try_from(field("id")?.to_owned()).map_err(|_| BadBundle::Format)?,
            epoch: field("epoch")?.parse().map_err(|_| BadBundle::Format)?,
            issuer: field("issuer")?.to_owned(),
            authority: field("authority")?.to_owned(),
            obtained_at: UnixTime(field("obtained-at")?.parse().map_err(|_| BadBundle::Format)?),
        };
        Bundle::new(origin, &text[begin..], PrivateKey::from_pem(&text[begin..])?)
    }
}

/// Where a bundle comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// See [`Bundle::id`].
    pub id: CertId,
    /// See [`Bundle::epoch`].
    pub epoch: u64,
    /// See [`Bundle::issuer`].
    pub issuer: String,
    /// See [`Bundle::authority`].
    pub authority: String,
    /// See [`Bundle::obtained_at`].
    pub obtained_at: UnixTime,
}

/// A private key in PKCS #8. Never printed; wiped when the last holder lets go.
#[derive(Clone)]
pub struct PrivateKey(Arc<Zeroizing<Vec<u8>>>);

impl PrivateKey {
    /// Takes a key in PKCS #8 DER; not checked here.
    pub fn from_pkcs8(der: Vec<u8>) -> PrivateKey {
        PrivateKey(Arc::new(Zeroizing::new(der)))
    }

    /// The first private key in a PEM text: PKCS #8 as it stands, SEC 1 and PKCS #1 turned into it.
    pub fn from_pem(text: &[u8]) -> Result<PrivateKey, BadBundle> {
        match PrivateKeyDer::from_pem_slice(text).map_err(|_| BadBundle::Key)? {
            PrivateKeyDer::Pkcs8(key) => Ok(PrivateKey::from_pkcs8(key.secret_pkcs8_der().to_vec())),
            PrivateKeyDer::Sec1(key) => [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
                .into_iter()
                .find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, key.secret_sec1_der()).ok())
                .and_then(|pair| pair.to_pkcs8v1().ok())
                .map(|document| PrivateKey::from_pkcs8(document.as_ref().to_vec()))
                .ok_or(BadBundle::Key),
            PrivateKeyDer::Pkcs1(key) => {
                let pair = RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(|_| BadBundle::Key)?;
                let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| BadBundle::Key)?;
                Ok(PrivateKey::from_pkcs8(document.as_ref().to_vec()))
            }
            _ => Err(BadBundle::Key),
        }
    }

    /// The key in PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(self.0.len() * 2 + 128));
        pem::write(&mut out, "PRIVATE KEY", &self.0);
        out
    }

    /// The key in PKCS #8 DER.
    pub fn der(&self) -> PrivatePkcs8KeyDer<'_> {
        PrivatePkcs8KeyDer::from(&self.0[..])
    }

    /// The digest of the SubjectPublicKeyInfo that belongs to it.
    pub fn public_key(&self) -> Result<Fingerprint, BadBundle> {
        let pair = rcgen::KeyPair::try_from(&self.der()).map_err(|_| BadBundle::Key)?;
        Ok(Fingerprint::of(&rcgen::PublicKeyData::subject_public_key_info(&pair)))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, PrivateKey) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (cert.pem(), PrivateKey::from_pkcs8(key.serialize_der()))
    }

    fn origin() -> Origin {
        let id = CertId::try_from("a.example~00".to_owned()).unwrap();
        Origin { id, epoch: 7, issuer: "ca".into(), authority: "https://ca/dir".into(), obtained_at: UnixTime(99) }
    }

    #[test]
    fn a_bundle_reads_what_it_wrote() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
            let (chain, key) = made(algorithm);
            let bundle = Bundle::new(origin(), chain.as_bytes(), key).unwrap();
            let again = Bundle::from_text(bundle.to_text().as_bytes()).unwrap();
            assert_eq!((again.epoch, &again.authority[..], again.obtained_at), (7, "https://ca/dir", UnixTime(99)));
            assert_eq!(again.leaf, bundle.leaf);
            assert_eq!(again.chain, bundle.chain);
            assert_eq!(again.key.0, bundle.key.0);
        }
    }

    #[test]
    fn a_bundle_cut_anywhere_is_refused_as_a_whole() {
        let (chain, key) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let text = Bundle::new(origin(), chain.as_bytes(), key).unwrap().to_text();
        // The last byte is the newline after the last line, which may be missing.
        for end in 0..text.len() - 1 {
            assert!(Bundle::from_text(&text.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn keys_in_the_older_forms_are_taken_too() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let sec1: aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
        let mut text = String::new();
        pem::write(&mut text, "EC PRIVATE KEY", sec1.as_ref());
        let key = PrivateKey::from_pem(text.as_bytes()).unwrap();
        let again = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(key.public_key().unwrap(), again.public_key().unwrap());
        assert_eq!(PrivateKey::from_pem(b"").unwrap_err(), BadBundle::Key);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (chain, _) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (_, other) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(Bundle::new(origin(), chain.as_bytes(), other.clone()).unwrap_err(), BadBundle::Mismatch);
        assert_eq!(Bundle::new(origin(), b"<html>", other.clone()).unwrap_err(), BadBundle::Chain);
        assert!(!format!("{other:?}").contains(&format!("{:?}", &other.0[..4])));
    }
}
