//! What do we ask of a client's certificate, and what do we think of the one it shows? (`ssl_verify_client`.) As nginx, a
//! bad certificate never fails the handshake: it is judged afterwards, and also when a session is resumed, and the
//! request is answered with 400. Only the proof that the client holds the key is demanded within the handshake.

use super::tickets::Identity;
use super::trust::{Role, Trust};
use crate::clock::UnixTime;
use crate::net::connection::ClientCertificate;
use bytes::Bytes;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;

/// The demands of one server on its clients' certificates.
#[derive(Debug)]
pub(super) struct ClientDemands {
    pub trust: Arc<Trust>,
    pub depth: u32,
    pub hints: Arc<[DistinguishedName]>,
    pub identity: Identity,
}

impl ClientDemands {
    /// What we think of `chain`; `None` if there is none.
    pub fn judge(&self, chain: Option<&[CertificateDer<'_>]>, now: UnixTime) -> Option<Arc<ClientCertificate>> {
        let chain = chain?;
        let der = Bytes::copy_from_slice(chain.first()?);
        let verdict = self.trust.check(chain, Role::Client, self.depth, now);
        let only_untrusted = verdict.as_ref().is_err_and(|fault| fault.only_untrusted);
        let failed = verdict.err().map(|fault| fault.words.into());
        Some(Arc::new(ClientCertificate { der, failed, only_untrusted }))
    }
}

/// Asks for a certificate, takes any, and has the client prove that it holds the key.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    hints: Arc<[DistinguishedName]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    pub fn new(hints: Arc<[DistinguishedName]>) -> AnyCertificate {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        AnyCertificate { hints, algorithms }
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// rustls's own goes through webpki, which does not read certificates of version 1.
pub(super) fn verify_tls12_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = public_key(cert)?;
    let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
    let (_, verifiers) = algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme).ok_or_else(bad)?;
    let key = webpki::RawPublicKeyEntity::try_from(&spki).map_err(|_| bad())?;
    let proven = verifiers.iter().any(|verifier| key.verify_signature(*verifier, message, dss.signature()).is_ok());
    if proven { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad()) }
}

/// The public key of a certificate of any version.
pub(super) fn public_key(cert: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = x509_parser::parse_x509_certificate(cert).map_err(bad)?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}
