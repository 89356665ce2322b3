//! Where do new keys and certificate requests come from? From the system's randomness, in the kinds of the plan.
//! RSA keys take a second or so: callers use a blocking thread.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, RsaKeySize, SanType};

use crate::cert::bundle::PrivateKey;
use crate::plan::certificate::KeyKind;
use crate::words::Identifier;

/// A new private key.
pub fn generate(kind: KeyKind) -> Result<PrivateKey, rcgen::Error> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    let pair = match kind {
        KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyKind::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyKind::Rsa3072 => rsa(RsaKeySize::_3072),
        KeyKind::Rsa4096 => rsa(RsaKeySize::_4096),
    }?;
    Ok(PrivateKey::from_pkcs8(pair.serialize_der()))
}

/// A certificate request (PKCS #10, DER) for `identifiers`, signed by `key`. The subject is empty, or the first host
/// name if `common_name` asks for it and it fits (64 bytes, X.520).
pub fn request(key: &PrivateKey, identifiers: &[Identifier], common_name: bool) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = parameters(identifiers)?;
    let first = identifiers.iter().find_map(|name| match name {
        Identifier::Dns(name) if name.as_str().len() <= 64 => Some(name.as_str()),
        _ => None,
    });
    if let Some(first) = first.filter(|_| common_name) {
        params.distinguished_name.push(DnType::CommonName, first);
    }
    let pair = KeyPair::try_from(&key.der())?;
    Ok(params.serialize_request(&pair)?.der().to_vec())
}

/// Parameters of a certificate over `identifiers`, with an empty subject.
pub fn parameters(identifiers: &[Identifier]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for identifier in identifiers {
        params.subject_alt_names.push(match identifier {
            Identifier::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Identifier::Ip(ip) => SanType::IpAddress(*ip),
        });
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::inspect::PublicKeyKind;

    #[test]
    fn every_kind_of_key_makes_a_request_of_its_kind() {
        let names: Vec<Identifier> = ["a.example", "192.0.2.1"].iter().map(|n| n.parse().unwrap()).collect();
        for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa2048, KeyKind::Rsa3072] {
            let key = generate(kind).unwrap();
            for common_name in [false, true] {
                let der = request(&key, &names, common_name).unwrap();
                let (_, csr) = <x509_parser::certification_request::X509CertificationRequest<'_> as x509_parser::prelude::FromDer<'_, _>>::from_der(&der).unwrap();
                assert_eq!(csr.certification_request_info.subject.iter_common_name().count(), usize::from(common_name));
            }
            let pair = KeyPair::try_from(&key.der()).unwrap();
            let leaf = parameters(&names).unwrap().self_signed(&pair).unwrap();
            let leaf = crate::cert::inspect::Leaf::read(leaf.der()).unwrap();
            assert!(leaf.key.is(kind) && leaf.key != PublicKeyKind::Other, "{kind:?}");
            assert_eq!(leaf.identifiers, names);
        }
    }
}
