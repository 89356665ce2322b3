//! Does the other side of a handshake hold the key of the certificate that it shows? Demanded of clients, upstreams and
//! authorities alike, whatever is thought of the certificate itself.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Checks signatures of handshakes. rustls's own check goes through webpki, which does not read certificates of version 1.
#[derive(Clone, Copy, Debug)]
pub struct Proof(WebPkiSupportedAlgorithms);

impl Default for Proof {
    fn default() -> Proof {
        Proof(aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl Proof {
    /// TLS 1.2.
    ///
    /// # Errors
    /// The signature is not that of the certificate's key.
    pub fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = public_key(cert)?;
        let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
        let (_, verifiers) = self.0.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme).ok_or_else(bad)?;
        let key = webpki::RawPublicKeyEntity::try_from(&spki).map_err(|_| bad())?;
        let proven = verifiers.iter().any(|verifier| key.verify_signature(*verifier, message, dss.signature()).is_ok());
        if proven { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad()) }
    }

    /// TLS 1.3.
    ///
    /// # Errors
    /// The signature is not that of the certificate's key.
    pub fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, &self.0)
    }

    /// What may be signed with.
    pub fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The public key of a certificate of any version.
fn public_key(cert: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = x509_parser::parse_x509_certificate(cert).map_err(bad)?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}

/// The three methods of a certificate verifier that are the same for all; `self.proof` does them.
macro_rules! proved_by_signature {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.proof.tls12(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.proof.tls13(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.proof.schemes()
        }
    };
}
pub(crate) use proved_by_signature;

/// Believes any server that holds the key of what it shows: `ssl_verify off`, and tests that look for themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyServer {
    proof: Proof,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    proved_by_signature!();
}
