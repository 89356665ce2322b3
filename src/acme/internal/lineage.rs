//! What signs in the built-in authority, and what came before it? One key with its certificate, and for a root that
//! followed another: the old root, and the new one as the old one signed it. Touches no file.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::acme::keys;
use crate::cert::bundle::PrivateKey;
use crate::cert::inspect::Leaf;
use crate::cert::pem;
use crate::clock::UnixTime;
use crate::plan::certificate::KeyKind;

/// A key that signs, with its certificate.
#[derive(Clone)]
pub struct Signer {
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    facts: Leaf,
    before: Option<Before>,
}

/// The root before this one.
#[derive(Clone)]
struct Before {
    /// This root, signed by that one.
    crossed: CertificateDer<'static>,
    /// That root.
    root: CertificateDer<'static>,
    not_after: UnixTime,
}

impl Signer {
    /// A new root. `before` signs it too.
    pub fn root(name: &str, life: Duration, before: Option<&Signer>, now: UnixTime) -> Result<Signer, rcgen::Error> {
        let key = keys::generate(KeyKind::EcdsaP256)?;
        let pair = KeyPair::try_from(&key.der())?;
        let mut params = authority(&format!("semper {name} {}", now.seconds()), 1, now, now + life);
        let certificate = params.self_signed(&pair)?.der().clone();
        let before = match before {
            Some(old) => {
                params.not_after = moment(old.not_after().min(now + life));
                params.use_authority_key_identifier_extension = true;
                let crossed = params.signed_by(&pair, &old.issuer()?)?.der().clone();
                Some(Before { crossed, root: old.certificate.clone(), not_after: old.not_after() })
            }
            None => None,
        };
        let facts = read(&certificate)?;
        Ok(Signer { key, certificate, facts, before })
    }

    /// A new intermediate below `root`; it does not outlive it.
    pub fn intermediate(name: &str, life: Duration, root: &Signer, now: UnixTime) -> Result<Signer, rcgen::Error> {
        let key = keys::generate(KeyKind::EcdsaP256)?;
        let until = (now + life).min(root.not_after());
        let mut params = authority(&format!("semper {name} {} intermediate", now.seconds()), 0, now, until);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&KeyPair::try_from(&key.der())?, &root.issuer()?)?.der().clone();
        let facts = read(&certificate)?;
        Ok(Signer { key, certificate, facts, before: None })
    }

    /// When it ends.
    pub fn not_after(&self) -> UnixTime {
        self.facts.not_after
    }

    /// Whether it need not be renewed yet: a third of its life is left, and a certificate of `leaf` fits into it (or, if
    /// one never did, half of its own life).
    pub fn lasts(&self, now: UnixTime, leaf: Duration) -> bool {
        let life = self.facts.lifetime();
        self.facts.left(now) >= (life / 3).max(leaf.min(life / 2)) && self.facts.is_authority
    }

    /// Whether `root` signed it.
    pub fn is_signed_by(&self, root: &Signer) -> bool {
        self.facts.issuer == root.facts.subject
    }

    /// What signs below it.
    pub fn issuer(&self) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&self.certificate, KeyPair::try_from(&self.key.der())?)
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        section(&self.certificate)
    }

    /// What follows an intermediate in a chain: this root; while the one before it is in force, the way to that one.
    pub fn chain(&self, now: UnixTime) -> String {
        match self.before.as_ref().filter(|before| now < before.not_after) {
            Some(before) => section(&before.crossed) + &section(&before.root),
            None => self.pem(),
        }
    }

    /// What clients should trust: this root, and the one before it while that is in force.
    pub fn trusted(&self, now: UnixTime) -> String {
        match self.before.as_ref().filter(|before| now < before.not_after) {
            Some(before) => self.pem() + &section(&before.root),
            None => self.pem(),
        }
    }

    /// The record: key, certificate, and what came before.
    pub fn text(&self) -> Zeroizing<String> {
        let key = self.key.to_pem();
        // Room for everything from the start: growing would leave copies of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(key.len() + 8192));
        text.push_str(&key);
        text.push_str(&self.pem());
        if let Some(before) = &self.before {
            text.push_str(&section(&before.crossed));
            text.push_str(&section(&before.root));
        }
        text
    }

    /// Reads [`Signer::text`]; `None` for anything damaged, and for what may not sign.
    pub fn read(text: &[u8]) -> Option<Signer> {
        let key = PrivateKey::from_pem(text).ok()?;
        let mut certificates = certificates(text)?.into_iter();
        let certificate = certificates.next()?;
        let facts = Leaf::read(&certificate).ok()?;
        (key.public_key() == Ok(facts.key_fingerprint) && facts.is_authority).then_some(())?;
        let before = match (certificates.next(), certificates.next()) {
            (Some(crossed), Some(root)) => {
                let not_after = Leaf::read(&root).ok()?.not_after;
                Some(Before { crossed, root, not_after })
            }
            _ => None,
        };
        Some(Signer { key, certificate, facts, before })
    }
}

/// The certificates of a record of the built-in authority that clients should trust, and when each ends; the newest
/// first. Nothing of the key.
pub fn trusted(record: &[u8], now: UnixTime) -> Option<String> {
    Signer::read(record).map(|signer| signer.trusted(now))
}

fn certificates(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    for section in pem::sections(text) {
        let section = section.ok()?;
        if section.label == "CERTIFICATE" {
            found.push(CertificateDer::from(section.der.to_vec()));
        }
    }
    Some(found)
}

fn authority(name: &str, below: u8, now: UnixTime, until: UnixTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // The moment in the name keeps an older one of the same issuer apart from this one.
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now - Duration::from_secs(60));
    params.not_after = moment(until);
    params
}

fn read(der: &[u8]) -> Result<Leaf, rcgen::Error> {
    Leaf::read(der).map_err(|_| rcgen::Error::CouldNotParseCertificate)
}

fn section(der: &[u8]) -> String {
    let mut out = String::new();
    pem::write(&mut out, "CERTIFICATE", der);
    out
}

/// Certificates count whole seconds, up to the year 9999 (RFC 5280 4.1.2.5).
pub fn moment(at: UnixTime) -> OffsetDateTime {
    const LAST: i64 = 253_402_300_799;
    OffsetDateTime::from_unix_timestamp(at.seconds().clamp(0, LAST)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
