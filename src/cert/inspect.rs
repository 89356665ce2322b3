//! What does a certificate say of itself: names, dates, serial, issuer, key? Reads one DER certificate and judges
//! nothing; whether it may be served is the gate's question.

use std::net::IpAddr;
use std::time::Duration;

use x509_parser::prelude::*;
use x509_parser::public_key::PublicKey;

use crate::clock::UnixTime;
use crate::plan::certificate::KeyKind;
use crate::words::{DomainName, Fingerprint, Identifier};

/// One certificate, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The subject alternative names that are host names or addresses; without any, the common name if it is a name.
    pub identifiers: Vec<Identifier>,
    /// The subject, as text for human eyes.
    pub subject: String,
    /// The issuer, as text for human eyes.
    pub issuer: String,
    /// The common name of the issuer.
    pub issuer_common_name: Option<String>,
    /// In force from this moment on.
    pub not_before: UnixTime,
    /// In force up to and with this second.
    pub not_after: UnixTime,
    /// The serial number as DER has it, a leading zero byte included (RFC 9773 4.1 wants it so).
    pub serial: Box<[u8]>,
    /// The key identifier of the Authority Key Identifier extension.
    pub authority_key_id: Option<Box<[u8]>>,
    /// What kind of key it carries.
    pub key: PublicKeyKind,
    /// Subject and issuer are the same.
    pub self_issued: bool,
    /// It may sign other certificates (basic constraints say CA).
    pub is_authority: bool,
    /// The digest of the whole certificate.
    pub fingerprint: Fingerprint,
    /// The digest of its SubjectPublicKeyInfo: the same as long as the key is the same.
    pub key_fingerprint: Fingerprint,
}

/// The kind of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// ECDSA over the curve of so many bits (256, 384, 521).
    Ecdsa(usize),
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// Ed25519.
    Ed25519,
    /// Something else.
    Other,
}

impl PublicKeyKind {
    /// Whether this is the kind that a plan asks for.
    pub fn is(self, wanted: KeyKind) -> bool {
        self == match wanted {
            KeyKind::EcdsaP256 => PublicKeyKind::Ecdsa(256),
            KeyKind::EcdsaP384 => PublicKeyKind::Ecdsa(384),
            KeyKind::Rsa2048 => PublicKeyKind::Rsa(2048),
            KeyKind::Rsa3072 => PublicKeyKind::Rsa(3072),
            KeyKind::Rsa4096 => PublicKeyKind::Rsa(4096),
        }
    }
}

/// The bytes are no X.509 certificate. Whose fault: whoever made or cut them; reading again will not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate")]
pub struct NotACertificate;

impl Leaf {
    /// Reads one certificate in DER; bytes after it are an error.
    pub fn read(der: &[u8]) -> Result<Leaf, NotACertificate> {
        Leaf::read_with_key(der).map(|(leaf, _)| leaf)
    }

    /// As [`Leaf::read`], with its SubjectPublicKeyInfo.
    pub fn read_with_key(der: &[u8]) -> Result<(Leaf, Vec<u8>), NotACertificate> {
        let (rest, cert) = X509Certificate::from_der(der).map_err(|_| NotACertificate)?;
        if !rest.is_empty() {
            return Err(NotACertificate);
        }
        let common_name =
            |name: &X509Name<'_>| name.iter_common_name().next().and_then(|cn| cn.as_str().ok()).map(str::to_owned);
        let mut identifiers = alternative_names(&cert);
        if identifiers.is_empty() {
            identifiers.extend(common_name(cert.subject()).and_then(|cn| cn.parse().ok()));
        }
        let authority_key_id = cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(aki) => aki.key_identifier.as_ref().map(|id| id.0.into()),
            _ => None,
        });
        let leaf = Leaf {
            identifiers,
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            issuer_common_name: common_name(cert.issuer()),
            not_before: UnixTime::from_seconds(cert.validity().not_before.timestamp()),
            not_after: UnixTime::from_seconds(cert.validity().not_after.timestamp()),
            serial: cert.raw_serial().into(),
            authority_key_id,
            key: key_kind(cert.public_key()),
            self_issued: cert.subject().as_raw() == cert.issuer().as_raw(),
            is_authority: cert.is_ca(),
            fingerprint: Fingerprint::of(der),
            key_fingerprint: Fingerprint::of(cert.public_key().raw),
        };
        Ok((leaf, cert.public_key().raw.to_vec()))
    }

    /// From `not_before` to `not_after`; zero if they are the wrong way round.
    pub fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// Whether `now` lies within its dates.
    pub fn in_force(&self, now: UnixTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// How long it is still valid; zero after its end.
    pub fn left(&self, now: UnixTime) -> Duration {
        self.not_after.since(now)
    }

    /// Whether it speaks for `wanted`. A wanted wildcard needs the same wildcard.
    pub fn covers(&self, wanted: &Identifier) -> bool {
        self.identifiers.iter().any(|held| match (held, wanted) {
            (Identifier::Dns(held), Identifier::Dns(wanted)) if wanted.is_wildcard() => held == wanted,
            (Identifier::Dns(held), Identifier::Dns(wanted)) => held.covers(wanted.as_str()),
            (Identifier::Ip(held), Identifier::Ip(wanted)) => held == wanted,
            _ => false,
        })
    }

    /// The serial number as hexadecimal digits, without the leading zero byte.
    pub fn serial_text(&self) -> String {
        let digits = match &self.serial[..] {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn alternative_names(cert: &X509Certificate<'_>) -> Vec<Identifier> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else {
        return Vec::new();
    };
    let read = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => name.parse::<DomainName>().ok().map(Identifier::Dns),
        GeneralName::IPAddress(bytes) => match *bytes {
            v4 if v4.len() == 4 => <[u8; 4]>::try_from(v4).ok().map(|b| Identifier::Ip(IpAddr::from(b))),
            v6 => <[u8; 16]>::try_from(v6).ok().map(|b| Identifier::Ip(IpAddr::from(b))),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(read).collect()
}

fn key_kind(spki: &SubjectPublicKeyInfo<'_>) -> PublicKeyKind {
    const ED25519: &str = "1.3.101.112";
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => PublicKeyKind::Rsa(rsa.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => PublicKeyKind::Ecdsa(256),
                Some("1.3.132.0.34") => PublicKeyKind::Ecdsa(384),
                Some("1.3.132.0.35") => PublicKeyKind::Ecdsa(521),
                _ => PublicKeyKind::Other,
            }
        }
        _ if spki.algorithm.algorithm.to_id_string() == ED25519 => PublicKeyKind::Ed25519,
        _ => PublicKeyKind::Other,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A leaf for tests of other rooms.
    pub(crate) fn any_leaf() -> Leaf {
        Leaf::read(&made(&["a.example"], &rcgen::PKCS_ECDSA_P256_SHA256)).unwrap()
    }

    fn made(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut params =
            rcgen::CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        params.serial_number = Some(rcgen::SerialNumber::from(vec![0x87, 0x65]));
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_dates_serial_and_key_are_read() {
        let leaf = Leaf::read(&made(
            &["A.example", "*.b.example", "192.0.2.1", "2001:db8::1"],
            &rcgen::PKCS_ECDSA_P384_SHA384,
        ))
        .unwrap();
        assert_eq!(leaf.identifiers.len(), 4);
        assert_eq!(leaf.lifetime(), Duration::from_secs(90 * 86_400));
        assert_eq!(leaf.key, PublicKeyKind::Ecdsa(384));
        assert!(leaf.key.is(KeyKind::EcdsaP384) && !leaf.key.is(KeyKind::EcdsaP256));
        assert_eq!(&leaf.serial[..], [0, 0x87, 0x65]);
        assert_eq!(leaf.serial_text(), "8765");
        assert!(leaf.self_issued && !leaf.is_authority);
    }

    #[test]
    fn a_wildcard_covers_a_host_but_a_host_covers_no_wildcard() {
        let leaf =
            Leaf::read(&made(&["a.example", "*.b.example", "192.0.2.1"], &rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
        for good in ["a.example", "x.b.example", "*.b.example", "192.0.2.1"] {
            assert!(leaf.covers(&good.parse().unwrap()), "{good}");
        }
        for bad in ["b.example", "x.y.b.example", "*.a.example", "192.0.2.2"] {
            assert!(!leaf.covers(&bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn a_truncated_or_prolonged_certificate_is_refused() {
        let der = made(&["a.example"], &rcgen::PKCS_ED25519);
        assert_eq!(Leaf::read(&der).unwrap().key, PublicKeyKind::Ed25519);
        assert_eq!(Leaf::read(&der[..der.len() - 1]), Err(NotACertificate));
        assert_eq!(Leaf::read(&[&der[..], b"x"].concat()), Err(NotACertificate));
        assert_eq!(Leaf::read(b"<html>"), Err(NotACertificate));
    }
}
