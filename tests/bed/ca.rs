//! Which certificates do tests need? A root that a test makes for itself, and leaves from it with any names, life and key.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use time::OffsetDateTime;

/// Kind of key of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    P256,
    P384,
    Rsa2048,
}

/// A root certificate and its key.
pub struct Ca {
    pub(super) issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A leaf with its key, as PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The leaf alone.
    pub certificate: String,
    /// The leaf and the root that signed it.
    pub chain: String,
    /// The private key (PKCS #8).
    pub key: String,
}

impl Ca {
    /// A new root.
    pub fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = now() - Duration::from_secs(86_400);
        params.not_after = now() + Duration::from_secs(10 * 365 * 86_400);
        let key = KeyPair::generate().unwrap();
        Ca { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// The root as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its key as PEM (PKCS #8).
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A list of revoked certificates with nothing on it, as PEM.
    pub fn empty_crl(&self) -> String {
        let list = rcgen::CertificateRevocationListParams {
            this_update: now() - Duration::from_secs(60),
            next_update: now() + Duration::from_secs(86_400),
            crl_number: rcgen::SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A leaf for `names` (DNS names or IP addresses), valid for 90 days.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_for(names, Kind::P256, Duration::from_secs(90 * 86_400))
    }

    /// A leaf for `names` with a key of `kind`, valid from an hour ago until `life` from now.
    pub fn issue_for(&self, names: &[&str], kind: Kind, life: Duration) -> Issued {
        self.issue_between(names, kind, now() - Duration::from_secs(3600), now() + life)
    }

    /// A leaf valid between two moments; an expired one, for example.
    pub fn issue_between(&self, names: &[&str], kind: Kind, from: OffsetDateTime, until: OffsetDateTime) -> Issued {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        params.not_before = from;
        params.not_after = until;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(algorithm(kind)).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: leaf.pem(), chain: format!("{}{}", leaf.pem(), self.pem()), key: key.serialize_pem() }
    }

    /// A chain for the key of a request, with these names and dates whatever it asked for.
    pub fn sign(
        &self,
        mut request: rcgen::CertificateSigningRequestParams,
        names: &[&str],
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> String {
        request.params.subject_alt_names =
            names.iter().map(|name| rcgen::SanType::DnsName((*name).try_into().unwrap())).collect();
        request.params.not_before = from;
        request.params.not_after = until;
        request.params.use_authority_key_identifier_extension = true;
        request.signed_by(&self.issuer).unwrap().pem() + &self.pem()
    }
}

/// The present moment, for choosing lives of certificates.
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn algorithm(kind: Kind) -> &'static SignatureAlgorithm {
    match kind {
        Kind::P256 => &PKCS_ECDSA_P256_SHA256,
        Kind::P384 => &PKCS_ECDSA_P384_SHA384,
        Kind::Rsa2048 => &PKCS_RSA_SHA256,
    }
}
