//! Which chain of a certificate is taken? The one that leads to the preferred issuer, if the authority offers it among
//! its alternatives (RFC 8555 7.4.2), else the first.

use instant_acme::{Error, Order};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::drive::Work;
use crate::cert::inspect::Leaf;

/// More alternatives than this are not looked at.
const ALTERNATIVES: usize = 8;

/// The chain of an order that is valid, in PEM.
pub async fn fetch(work: &Work<'_>, order: &mut Order) -> Result<Vec<u8>, Error> {
    let first = order.certificate().await?.unwrap_or_default().into_bytes();
    let Some(preferred) = &work.ca.server.preferred_chain else {
        return Ok(first);
    };
    if leads_to(&first, preferred) {
        return Ok(first);
    }
    let alternates = order.state().certificate.as_ref().map(|url| work.session.note(url).alternates);
    for url in alternates.unwrap_or_default().into_iter().take(ALTERNATIVES) {
        // A signed request for the URL is all we want: that the answer is no order is sure, and it is in the notes.
        let _ = work.account.order(url.clone()).await;
        if let Some(text) = work.session.note(&url).text.filter(|text| leads_to(text, preferred)) {
            return Ok(text.to_vec());
        }
    }
    tracing::info!("no chain to {preferred:?} is offered for {}; the first is taken", work.spec.id);
    Ok(first)
}

/// Whether the topmost certificate of a chain was issued by the common name `preferred`.
fn leads_to(pem: &[u8], preferred: &str) -> bool {
    let last = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).last();
    let last = last.and_then(|der| Leaf::read(&der).ok());
    last.is_some_and(|last| last.issuer_common_name.as_deref() == Some(preferred))
}
