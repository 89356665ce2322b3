//! Where do the certificates of the comparison come from? One root, made here, and leaves signed by it.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::path::Path;

pub struct Root {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Root {
    pub fn new() -> Root {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "bench root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Root { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub fn der(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Writes NAME.crt and NAME.key into `dir`.
    pub fn leaf(&self, dir: &Path, file: &str, names: &[String], rsa: bool) {
        let key = if rsa {
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
        } else {
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
        };
        let params = CertificateParams::new(names.to_vec()).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(dir.join(format!("{file}.crt")), leaf.pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        // HAProxy wants both in one file.
        std::fs::write(dir.join(format!("{file}.pem")), format!("{}{}", leaf.pem(), key.serialize_pem())).unwrap();
    }
}
