//! Whom do we trust, and does a chain lead there? Authorities and revocation lists from files, checked with webpki, and
//! with what OpenSSL takes and webpki does not: leaves of X.509 version 1, and leaves that are trusted themselves.
//! Serves both directions: clients that show certificates, and upstreams.

use crate::cert::der::{BIT_STRING, Reader, SEQUENCE};
use crate::cert::gate::ChainFault;
use crate::cert::pem;
use crate::clock::UnixTime;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor};
use std::time::Duration;
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

/// Which end of the connection shows the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]

pub(super) enum Role {
    Client,
    Server,
}

/// Authorities and revocation lists.
#[derive(Debug, Default)]
pub(super) struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    /// The trusted certificates themselves.
    certificates: Vec<CertificateDer<'static>>,
    /// `None`: revocation is not looked at.
    revoked: Option<Vec<CertRevocationList<'static>>>,
}

/// Why a chain was not accepted, in OpenSSL's number and words (`$ssl_client_verify` shows them).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}:{words}")]
pub(super) struct Unverified {
    pub code: u8,
    pub words: &'static str,
    /// Nobody whom we trust vouches for it; nothing else is wrong.
    pub only_untrusted: bool,
}

impl Unverified {
    fn because(code: u8, words: &'static str) -> Unverified {
        Unverified { code, words, only_untrusted: false }
    }
}

/// The certificates of a PEM file with authorities.
pub(super) fn read_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ChainFault> {
    let mut found = Vec::new();
    for section in pem::sections(text) {
        let section = section?;
        if matches!(section.label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            x509_parser::parse_x509_certificate(&section.der).map_err(|_| ChainFault::NotACertificate)?;
            found.push(CertificateDer::from(section.der.to_vec()));
        }
    }
    if found.is_empty() { Err(ChainFault::None) } else { Ok(found) }
}

/// The lists of a PEM file with revocations.
pub(super) fn read_revoked(text: &[u8]) -> Result<Vec<CertRevocationList<'static>>, ChainFault> {
    let mut found = Vec::new();
    for section in pem::sections(text) {
        let section = section?;
        if section.label == "X509 CRL" {
            let list = OwnedCertRevocationList::from_der(&section.der).map_err(|_| ChainFault::NotACertificate)?;
            found.push(list.into());
        }
    }
    if found.is_empty() { Err(ChainFault::None) } else { Ok(found) }
}

impl Trust {
    /// Trusts `certificates`; those that cannot be authorities still vouch for themselves.
    pub fn new(certificates: Vec<CertificateDer<'static>>, revoked: Option<Vec<CertRevocationList<'static>>>) -> Trust {
        let anchors = certificates.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok());
        Trust { anchors: anchors.map(|anchor| anchor.to_owned()).collect(), certificates, revoked }
    }

    /// The names of the authorities, for the certificate request.
    pub fn subjects<'a>(certificates: &'a [CertificateDer<'static>]) -> impl Iterator<Item = Vec<u8>> + 'a {
        certificates.iter().filter_map(|der| {
            let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
            Some(parsed.subject().as_raw().to_vec())
        })
    }

    /// Whether `chain` (leaf first) leads to someone trusted over at most `depth` certificates in between, at `now`.
    pub fn check(&self, chain: &[CertificateDer<'_>], role: Role, depth: u32, now: UnixTime) -> Result<(), Unverified> {
        let (leaf, between) =
            chain.split_first().ok_or_else(|| Unverified::because(1, "unspecified certificate error"))?;
        if self.certificates.contains(leaf) && self.revoked.is_none() {
            return in_force(leaf, now);
        }
        let result = match EndEntityCert::try_from(leaf) {
            Ok(parsed) => self.by_webpki(&parsed, between, role, depth, now),
            Err(Error::UnsupportedCertVersion) if self.revoked.is_none() => return self.version1(leaf, now),
            Err(error) => Err(error),
        };
        result.map_err(|error| words(&error, leaf, between))
    }

    fn by_webpki(
        &self,
        leaf: &EndEntityCert<'_>,
        between: &[CertificateDer<'_>],
        role: Role,
        depth: u32,
        now: UnixTime,
    ) -> Result<(), Error> {
        let lists: Vec<_> = self.revoked.iter().flatten().collect();
        let revocation = match &self.revoked {
            None => None,
            Some(_) => Some(
                RevocationOptionsBuilder::new(&lists)
                    .map_err(|_| Error::UnknownRevocationStatus)?
                    .with_depth(RevocationCheckDepth::Chain)
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    .with_expiration_policy(ExpirationPolicy::Enforce)
                    .build(),
            ),
        };
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let short_enough = |path: &VerifiedPath<'_>| {
            let length = path.intermediate_certificates().count();
            if length <= usize::try_from(depth).unwrap_or(usize::MAX) {
                Ok(())
            } else {
                Err(Error::MaximumPathDepthExceeded)
            }
        };
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.anchors,
            between,
            seconds(now),
            usage,
            revocation,
            Some(&short_enough),
        )
        .map(|_| ())
    }

    /// A leaf of version 1, as `openssl x509 -req` wrote them for decades: signed directly by an authority, in force.
    fn version1(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Unverified> {
        let broken = || Unverified::because(1, "unspecified certificate error");
        let signed = Signed::read(leaf).ok_or_else(broken)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| broken())?;
        let issuer = parsed.issuer().as_raw();
        let vouched = self.certificates.iter().any(|authority| {
            let Ok((_, authority)) = x509_parser::parse_x509_certificate(authority) else { return false };
            authority.subject().as_raw() == issuer && signed.by(authority.public_key().raw).is_some()
        });
        if vouched { in_force(leaf, now) } else { Err(words(&Error::UnknownIssuer, leaf, &[])) }
    }
}

/// A certificate, taken apart for its signature.
struct Signed<'a> {
    message: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(certificate: &'a [u8]) -> Option<Signed<'a>> {
        let mut parts = Reader(certificate).sequence()?;
        let (_, _, message) = parts.any()?;
        Some(Signed { message, algorithm: parts.take(SEQUENCE)?, signature: parts.take(BIT_STRING)?.get(1..)? })
    }

    /// Whether the holder of this SubjectPublicKeyInfo signed it.
    fn by(&self, spki: &[u8]) -> Option<()> {
        let mut spki = Reader(spki).sequence()?;
        let kind = spki.take(SEQUENCE)?;
        let key = spki.take(BIT_STRING)?.get(1..)?;
        let fits = |verifier: &&&dyn SignatureVerificationAlgorithm| {
            verifier.signature_alg_id().as_ref() == self.algorithm && verifier.public_key_alg_id().as_ref() == kind
        };
        let verifier = webpki::ALL_VERIFICATION_ALGS.iter().find(fits)?;
        verifier.verify_signature(key, self.message, self.signature).ok()
    }
}

fn in_force(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Unverified> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|_| Unverified::because(1, "unspecified certificate error"))?;
    let validity = parsed.validity();
    if now.seconds() < validity.not_before.timestamp() {
        return Err(Unverified::because(9, "certificate is not yet valid"));
    }
    if now.seconds() > validity.not_after.timestamp() {
        return Err(Unverified::because(10, "certificate has expired"));
    }
    Ok(())
}

fn seconds(now: UnixTime) -> rustls::pki_types::UnixTime {
    rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.seconds()).unwrap_or(0)))
}

/// What OpenSSL would have said.
fn words(error: &Error, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>]) -> Unverified {
    let self_issued = |der: &CertificateDer<'_>| {
        x509_parser::parse_x509_certificate(der)
            .is_ok_and(|(_, cert)| cert.subject().as_raw() == cert.issuer().as_raw())
    };
    let untrusted = |code, words| Unverified { code, words, only_untrusted: true };
    match error {
        Error::UnknownIssuer | Error::CaUsedAsEndEntity if self_issued(leaf) => {
            untrusted(18, "self-signed certificate")
        }
        Error::UnknownIssuer if between.iter().any(self_issued) => {
            untrusted(19, "self-signed certificate in certificate chain")
        }
        Error::UnknownIssuer if between.is_empty() => untrusted(21, "unable to verify the first certificate"),
        Error::UnknownIssuer => untrusted(20, "unable to get local issuer certificate"),
        Error::CertExpired { .. } => Unverified::because(10, "certificate has expired"),
        Error::CertNotValidYet { .. } => Unverified::because(9, "certificate is not yet valid"),
        Error::CertRevoked => Unverified::because(23, "certificate revoked"),
        Error::UnknownRevocationStatus => Unverified::because(3, "unable to get certificate CRL"),
        Error::CrlExpired { .. } => Unverified::because(12, "CRL has expired"),
        Error::MaximumPathDepthExceeded => Unverified::because(22, "certificate chain too long"),
        Error::PathLenConstraintViolated => Unverified::because(25, "path length constraint exceeded"),
        Error::RequiredEkuNotFoundContext(_) => Unverified::because(26, "unsuitable certificate purpose"),
        Error::InvalidSignatureForPublicKey => Unverified::because(7, "certificate signature failure"),
        Error::NameConstraintViolation => Unverified::because(47, "permitted subtree violation"),
        _ => Unverified::because(1, "unspecified certificate error"),
    }
}
