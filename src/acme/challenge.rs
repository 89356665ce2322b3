//! How is control over a name shown? Opens challenges in the shared table before the authority is told to look, and
//! closes them when the order lets go. Serves nothing itself.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CustomExtension, KeyPair};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;

use super::dns01::{self, Dns01, Wish};
use super::keys;
use crate::cert::failure::Failure;
use crate::clock::UnixTime;
use crate::plan::acme::ChallengeKind;
use crate::plan::certificate::CertId;
use crate::words::Identifier;
use crate::zone::challenges::{Challenges, Kind, Told, server_name};

/// The challenges that one order has open; they close when this is dropped.
pub struct Opened {
    table: Arc<Challenges>,
    dns01: Option<Arc<Dns01>>,
    http01: Vec<String>,
    tls_alpn01: Vec<String>,
    /// Tokens that other nodes were told of.
    told: Vec<String>,
    records: Vec<dns01::Standing>,
}

impl Opened {
    /// None yet.
    pub fn none(table: Arc<Challenges>, dns01: Option<Arc<Dns01>>) -> Opened {
        Opened { table, dns01, http01: Vec::new(), tls_alpn01: Vec::new(), told: Vec::new(), records: Vec::new() }
    }

    /// Writes the records that `wishes` ask for, those that stand already left alone, and waits until the name servers
    /// show them, `at_most` so long: then the authority may look all the same.
    pub async fn write(&mut self, wishes: Vec<Wish>, at_most: Duration) -> Result<(), Failure> {
        let unprepared = |wish: &Wish, detail: String| Failure::Unprepared {
            kind: ChallengeKind::Dns01,
            names: vec![Identifier::Dns(wish.name.clone())],
            detail,
        };
        let end = tokio::time::Instant::now() + at_most;
        let first_new = self.records.len();
        for wish in wishes {
            if self.records.iter().any(|record| record.is_for(&wish)) {
                continue;
            }
            let Some(dns01) = &self.dns01 else {
                return Err(unprepared(&wish, "the issuer has no dns_provider".into()));
            };
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            match tokio::time::timeout(left, dns01.present(wish.clone())).await {
                Ok(Ok(record)) => self.records.push(record),
                Ok(Err(error)) => return Err(unprepared(&wish, error.to_string())),
                Err(_) => return Err(unprepared(&wish, "it took too long".into())),
            }
        }
        let Some(dns01) = &self.dns01 else { return Ok(()) };
        for record in &self.records[first_new..] {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            if let Err(why) = dns01.wait(record, left).await {
                tracing::warn!("{}: the authority is asked before every name server shows it: {why}", record.target);
            }
        }
        Ok(())
    }

    /// Waits until the other nodes of the fleet answer too, wherever the authority may look. Those that do not are named.
    pub async fn spread(&self, spec: &CertId) {
        let silent = self.table.spread(self.told.clone()).await;
        if !silent.is_empty() {
            tracing::warn!(
                "{spec}: the authority is asked although these do not answer for the fleet: {}",
                silent.join(", ")
            );
        }
    }

    /// Opens a challenge of `kind` for `identifier`, until `until` at the latest.
    pub fn open(
        &mut self,
        kind: ChallengeKind,
        identifier: &Identifier,
        token: &str,
        key_authorization: &str,
        until: UnixTime,
    ) -> Result<(), Failure> {
        is_token(identifier, token)?;
        let tell = |kind| {
            let remaining = until.since(self.table.now());
            let (name, token, key_authorization) = (identifier.clone(), token.to_owned(), key_authorization.to_owned());
            self.table.tell(&Told { kind, name, token, key_authorization, remaining });
        };
        let full = |error: crate::zone::challenges::TableFull| Failure::Local { detail: error.to_string() };
        match kind {
            ChallengeKind::Http01 => {
                self.table.open_http01(token, key_authorization, until).map_err(full)?;
                tell(Kind::Http01);
                self.http01.push(token.to_owned());
                self.told.push(token.to_owned());
            }
            ChallengeKind::TlsAlpn01 => {
                let certificate = tls_alpn01(identifier, key_authorization)
                    .map_err(|detail| Failure::Local { detail: format!("challenge certificate: {detail}") })?;
                let sni = server_name(identifier);
                self.table.open_tls_alpn01(&sni, Arc::new(certificate), until).map_err(full)?;
                tell(Kind::TlsAlpn01);
                self.tls_alpn01.push(sni);
                self.told.push(token.to_owned());
            }
            // Other servers are asked for these: see [`Opened::write`].
            ChallengeKind::Dns01 => {}
        }
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.http01.iter().for_each(|token| self.table.close_http01(token));
        self.tls_alpn01.iter().for_each(|sni| self.table.close_tls_alpn01(sni));
        self.told.iter().for_each(|token| self.table.tell_end(token));
        let records = std::mem::take(&mut self.records);
        if let (Some(dns01), Ok(runtime)) = (self.dns01.clone(), tokio::runtime::Handle::try_current())
            && !records.is_empty()
        {
            // Nobody waits for it: the order may go on, or be gone.
            runtime.spawn(async move {
                for record in records {
                    dns01.clear(record).await;
                }
            });
        }
    }
}

/// RFC 8555 8.3: tokens are base64url and nothing else. They become part of answers, and arguments of hooks.
pub fn is_token(identifier: &Identifier, token: &str) -> Result<(), Failure> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !token.is_empty() && token.len() <= 1024 && token.bytes().all(good) {
        return Ok(());
    }
    Err(Failure::Refused { names: vec![identifier.clone()], detail: "it sent a token that is none".into() })
}

/// The certificate with which a node answers under TLS-ALPN-01 for a challenge that another one opened.
///
/// # Errors
/// What the library said.
pub fn challenge_certificate(identifier: &Identifier, key_authorization: &str) -> Result<CertifiedKey, String> {
    tls_alpn01(identifier, key_authorization)
}

/// The certificate of RFC 8737 3: self-signed, for one identifier, with the digest of the key authorization.
fn tls_alpn01(identifier: &Identifier, key_authorization: &str) -> Result<CertifiedKey, String> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key_authorization.as_bytes());
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let mut params = keys::parameters(std::slice::from_ref(identifier)).map_err(|error| error.to_string())?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    #[test]
    fn a_challenge_closes_with_its_order() {
        let table = Arc::new(Challenges::new(Arc::new(VirtualClock::default())));
        let name: Identifier = "a.example".parse().unwrap();
        let mut opened = Opened::none(table.clone(), None);
        opened.open(ChallengeKind::TlsAlpn01, &name, "token", "token.thumb", UnixTime(10)).unwrap();
        let shown = table.tls_alpn01("A.example").unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&shown.cert[0]).unwrap();
        let acme = certificate.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(acme.critical && acme.value.len() == 34, "an octet string of 32 bytes");
        drop(opened);
        assert!(table.tls_alpn01("a.example").is_none());
    }

    #[test]
    fn a_token_with_other_characters_never_reaches_the_table() {
        let table = Arc::new(Challenges::new(Arc::new(VirtualClock::default())));
        let mut opened = Opened::none(table, None);
        for bad in ["", "../../etc", "a b", "a%2f", "<x>"] {
            let refused = opened.open(ChallengeKind::Http01, &"a.b".parse().unwrap(), bad, "x", UnixTime(1));
            assert!(matches!(refused, Err(Failure::Refused { .. })), "{bad}");
        }
    }
}
