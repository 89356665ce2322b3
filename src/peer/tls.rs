//! What does TLS know on a link? One raw public key for all members, made from the fleet key; TLS 1.3 alone, no
//! certificates, no resumption. While the fleet key is changed, a member holds two: the caller says by the server name
//! which of them it means, so that members which know only one are met with that one.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use zeroize::Zeroizing;

use crate::words::FleetKey;

/// What is spoken inside.
const ALPN: &[u8] = b"semper-fleet/1";

/// The fleet keys that this node holds: the present one, and the one before while it is being changed.
#[derive(Clone, Debug)]
pub struct Keys {
    all: Vec<Arc<LinkKey>>,
    server: Arc<ServerConfig>,
}

/// What a fleet key is on the link.
#[derive(Debug)]
pub(super) struct LinkKey {
    /// How people call it.
    pub(super) name: String,
    pub(super) server_name: ServerName<'static>,
    hint: String,
    shown: Arc<CertifiedKey>,
    pub(super) client: Arc<ClientConfig>,
}

impl Keys {
    /// From the present key and perhaps the one before.
    ///
    /// # Errors
    /// What the library says; it never refuses keys that were derived.
    pub fn new(present: &FleetKey, before: Option<&FleetKey>) -> Result<Keys, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let keys = std::iter::once(present).chain(before);
        let all: Vec<Arc<LinkKey>> =
            keys.map(|key| LinkKey::new(key, &provider).map(Arc::new)).collect::<Result<_, _>>()?;
        let members = Arc::new(Members::new(&provider, all.iter().map(|key| key.shown.clone()).collect()));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(members)
            .with_cert_resolver(Arc::new(Asked(all.clone())));
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Keys { all, server: Arc::new(server) })
    }

    pub(super) fn all(&self) -> &[Arc<LinkKey>] {
        &self.all
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// The name of the key behind the server name that a caller sent.
    pub(super) fn named(&self, server_name: Option<&str>) -> Option<&str> {
        self.all.iter().find(|key| Some(&*key.hint) == server_name).map(|key| &*key.name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|key| key.name == name)
    }
}

impl LinkKey {
    fn new(key: &FleetKey, provider: &Arc<CryptoProvider>) -> Result<LinkKey, Error> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8(&key.link_seed()).to_vec()));
        let signing = aws_lc_rs::sign::any_eddsa_type(match &der {
            PrivateKeyDer::Pkcs8(der) => der,
            _ => return Err(Error::General("the key of the link has another form".to_owned())),
        })?;
        let spki = signing.public_key().ok_or(Error::General("the key of the link has no public half".to_owned()))?;
        let shown = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki.to_vec())], signing));
        let verifier = Arc::new(Members::new(provider, vec![shown.clone()]));
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(shown.clone())));
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        let hint = key.hint();
        let server_name =
            ServerName::try_from(hint.clone()).map_err(|_| Error::General("no server name".to_owned()))?;
        Ok(LinkKey { name: key.name(), server_name, hint, shown, client: Arc::new(client) })
    }
}

/// PKCS #8 (RFC 8410 7) around the seed of an Ed25519 key.
fn pkcs8(seed: &[u8; 32]) -> Zeroizing<[u8; 48]> {
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let mut der = Zeroizing::new([0; 48]);
    der[..16].copy_from_slice(&HEAD);
    der[16..].copy_from_slice(seed);
    der
}

/// Shows the key that the caller asks for; a stranger does not know its name.
#[derive(Debug)]
struct Asked(Vec<Arc<LinkKey>>);

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name()?;
        self.0.iter().find(|key| key.hint == asked).map(|key| key.shown.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes those who hold one of the keys, and nobody else. Dates, names and chains do not exist here.
#[derive(Debug)]
struct Members {
    keys: Vec<Arc<CertifiedKey>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Members {
    fn new(provider: &CryptoProvider, keys: Vec<Arc<CertifiedKey>>) -> Members {
        Members { keys, algorithms: provider.signature_verification_algorithms }
    }

    fn knows(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let known = more.is_empty() && self.keys.iter().any(|key| key.cert.first().is_some_and(|own| own == shown));
        if known { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn signed(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is never spoken on a link".to_owned()))
}

impl ServerCertVerifier for Members {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.knows(shown, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Members {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.knows(shown, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
