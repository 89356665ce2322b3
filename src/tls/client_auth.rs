//! What do we ask of a client's certificate, and what do we think of the one it shows? (`ssl_verify_client`.) As nginx, a
//! bad certificate never fails the handshake: it is judged afterwards, and also when a session is resumed, and the
//! request is answered with 400. Only the proof that the client holds the key is demanded within the handshake.

use super::tickets::Identity;
use super::trust::{Role, Trust};
use crate::clock::UnixTime;
use crate::net::connection::ClientCertificate;
use crate::net::proof::{Proof, proved_by_signature};
use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DistinguishedName, Error};
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
    proof: Proof,
}

impl AnyCertificate {
    pub fn new(hints: Arc<[DistinguishedName]>) -> AnyCertificate {
        AnyCertificate { hints, proof: Proof::default() }
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

    proved_by_signature!();
}
