//! How does a test make an authority below a root, and a list of what it revoked? More of [`Ca`], for those tests alone.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;

use super::ca::{Ca, Issued, now};

impl Ca {
    /// An authority whose own certificate this one signed. Its leaves' chains end with it.
    pub fn below(&self, name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now() - Duration::from_secs(86_400);
        params.not_after = now() + Duration::from_secs(5 * 365 * 86_400);
        let key = KeyPair::generate().unwrap();
        Ca { issuer: CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap() }
    }

    /// A chain for a request, valid for `life`; the leaf names `url` as the place of its authority's list.
    pub fn sign_listed(
        &self,
        mut request: rcgen::CertificateSigningRequestParams,
        url: &str,
        life: Duration,
    ) -> String {
        let serial: Vec<u8> = (0..16).map(|_| 1 + (now().nanosecond() % 100) as u8).collect();
        request.params.not_before = now() - Duration::from_secs(60);
        request.params.not_after = now() + life;
        request.params.serial_number = Some(SerialNumber::from(serial));
        request.params.use_authority_key_identifier_extension = true;
        request.params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: vec![url.to_owned()] }];
        request.signed_by(&self.issuer).unwrap().pem() + &self.pem()
    }

    /// The list of what this authority revoked, by serial numbers in hexadecimal, in DER; the next one comes after `until`.
    pub fn list(&self, serials: &[String], until: Duration) -> Vec<u8> {
        let byte = |at: usize, text: &str| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        let revoked = |text: &String| RevokedCertParams {
            serial_number: SerialNumber::from((0..text.len()).step_by(2).map(|at| byte(at, text)).collect::<Vec<_>>()),
            revocation_time: now() - Duration::from_secs(1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now() - Duration::from_secs(60),
            next_update: now() + until,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    /// The list of what this authority revoked, as PEM.
    pub fn revoking(&self, leaves: &[&Issued]) -> String {
        let revoked = |leaf: &&Issued| {
            let der = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(parsed.raw_serial()),
                revocation_time: now() - Duration::from_secs(60),
                reason_code: None,
                invalidity_date: None,
            }
        };
        let list = CertificateRevocationListParams {
            this_update: now() - Duration::from_secs(3600),
            next_update: now() + Duration::from_secs(86_400),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: leaves.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}
