//! How does the built-in authority issue? With a root of its own, kept on the shelf, at once, asking nobody and bound by
//! no limit. Calls block for the time of a signature and a write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::keys;
use crate::cert::bundle::{Bundle, Origin, PrivateKey};
use crate::cert::failure::Failure;
use crate::cert::inspect::Leaf;
use crate::cert::journal::{Record, Shelf};
use crate::clock::{Clock, UnixTime};
use crate::plan::acme::InternalAuthority;
use crate::plan::certificate::{CertSpec, KeyKind};

/// The built-in authority behind one issuer.
pub struct BuiltIn {
    name: String,
    settings: InternalAuthority,
    shelf: Arc<dyn Shelf>,
    clock: Arc<dyn Clock>,
    root: Mutex<Option<Root>>,
}

#[derive(Clone)]
struct Root {
    certificate: String,
    key: PrivateKey,
    not_after: UnixTime,
}

impl BuiltIn {
    /// Nothing is made or read yet.
    pub fn new(name: &str, settings: InternalAuthority, shelf: Arc<dyn Shelf>, clock: Arc<dyn Clock>) -> BuiltIn {
        BuiltIn { name: name.to_owned(), settings, shelf, clock, root: Mutex::default() }
    }

    /// The certificate of the root in PEM, for clients to trust.
    pub fn root_certificate(&self) -> Result<String, Failure> {
        self.root().map(|root| root.certificate)
    }

    /// A new certificate with a new key, as generation `epoch`.
    pub fn issue(&self, spec: &CertSpec, epoch: u64) -> Result<Bundle, Failure> {
        let now = self.clock.now();
        let root = self.root()?;
        let key = keys::generate(spec.key).map_err(local)?;
        // The root stands in the chain too, so that it leads on for everybody who looks.
        let chain = self.sign(spec, &key, &root, now).map_err(local)? + &root.certificate;
        let origin = Origin {
            id: spec.id.clone(),
            epoch,
            issuer: self.name.clone(),
            authority: "internal".into(),
            obtained_at: now,
        };
        Bundle::new(origin, chain.as_bytes(), key)
            .map_err(|error| Failure::BadCertificate { detail: error.to_string() })
    }

    fn sign(&self, spec: &CertSpec, key: &PrivateKey, root: &Root, now: UnixTime) -> Result<String, rcgen::Error> {
        let life = self.settings.leaf_lifetime;
        let pair = KeyPair::try_from(&key.der())?;
        let root_pair = KeyPair::try_from(&root.key.der())?;
        let issuer = rcgen::Issuer::from_ca_cert_pem(&root.certificate, root_pair)?;
        let mut params = keys::parameters(&spec.identifiers)?;
        // A little into the past, for clients whose clock is behind; never so much that a short life loses by it.
        params.not_before = moment(now - (life / 10).min(Duration::from_secs(60)));
        params.not_after = moment((now + life).min(root.not_after));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&pair, &issuer)?.pem())
    }

    /// The root: from memory, from the shelf, or a new one if there is none that outlives a leaf. Kept before use.
    fn root(&self) -> Result<Root, Failure> {
        let mut slot = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = self.clock.now() + self.settings.leaf_lifetime.min(self.settings.root_lifetime / 2);
        let good = |root: &Root| root.not_after >= needed;
        if let Some(root) = slot.as_ref().filter(|root| good(root)) {
            return Ok(root.clone());
        }
        let record = Record::Authority(self.name.clone());
        let stored = self.shelf.load(&record).map_err(local)?;
        let root = match stored.as_deref().and_then(|text| Root::read(text)).filter(good) {
            Some(root) => root,
            None => {
                let root = self.new_root().map_err(local)?;
                self.shelf.save(&record, root.text().as_bytes()).map_err(local)?;
                root
            }
        };
        *slot = Some(root.clone());
        Ok(root)
    }

    fn new_root(&self) -> Result<Root, rcgen::Error> {
        let now = self.clock.now();
        let key = keys::generate(KeyKind::EcdsaP256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // The moment in the name keeps an older root of the same issuer apart from this one.
        params.distinguished_name.push(DnType::CommonName, format!("semper {} {}", self.name, now.seconds()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = moment(now - Duration::from_secs(60));
        params.not_after = moment(now + self.settings.root_lifetime);
        let certificate = params.self_signed(&KeyPair::try_from(&key.der())?)?;
        let not_after = UnixTime::from_seconds(params.not_after.unix_timestamp());
        Ok(Root { certificate: certificate.pem(), key, not_after })
    }
}

impl Root {
    fn text(&self) -> Zeroizing<String> {
        let key = self.key.to_pem();
        let mut text = Zeroizing::new(String::with_capacity(key.len() + self.certificate.len() + 1));
        text.push_str(&key);
        text.push_str(&self.certificate.replace("\r\n", "\n"));
        text
    }

    fn read(text: &[u8]) -> Option<Root> {
        use rustls_pki_types::pem::PemObject;
        let key = PrivateKey::from_pem(text).ok()?;
        let der = rustls_pki_types::CertificateDer::from_pem_slice(text).ok()?;
        let leaf = Leaf::read(&der).ok()?;
        let begin = text.windows(27).position(|w| w == b"-----BEGIN CERTIFICATE-----")?;
        let certificate = std::str::from_utf8(&text[begin..]).ok()?.to_owned();
        (key.public_key() == Ok(leaf.key_fingerprint) && leaf.is_authority).then_some(())?;
        Some(Root { certificate, key, not_after: leaf.not_after })
    }
}

/// Certificates count whole seconds, up to the year 9999 (RFC 5280 4.1.2.5).
fn moment(at: UnixTime) -> OffsetDateTime {
    const LAST: i64 = 253_402_300_799;
    OffsetDateTime::from_unix_timestamp(at.seconds().clamp(0, LAST)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::Local { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::journal::ShelfError;
    use crate::clock::VirtualClock;
    use crate::plan::certificate::CertId;
    use crate::words::Place;

    /// A shelf of one record.
    #[derive(Default)]
    struct One(Mutex<Option<Vec<u8>>>);

    impl Shelf for One {
        fn load(&self, _: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
            Ok(self.0.lock().unwrap().clone().map(Zeroizing::new))
        }
        fn save(&self, _: &Record, content: &[u8]) -> Result<(), ShelfError> {
            *self.0.lock().unwrap() = Some(content.to_vec());
            Ok(())
        }
        fn remove(&self, _: &Record) -> Result<(), ShelfError> {
            Ok(())
        }
        fn bundle(&self, _: &CertId) -> Result<Option<Bundle>, ShelfError> {
            Ok(None)
        }
        fn replace(&self, _: &Bundle, _: Option<u64>) -> Result<(), ShelfError> {
            Ok(())
        }
    }

    fn authority(seconds: u64, shelf: Arc<One>, clock: Arc<VirtualClock>) -> BuiltIn {
        let leaf_lifetime = Duration::from_secs(seconds);
        let settings = InternalAuthority { leaf_lifetime, ..InternalAuthority::default() };
        BuiltIn::new("inner", settings, shelf, clock)
    }

    fn spec() -> CertSpec {
        let names = ["a.example", "*.b.example", "10.0.0.1"].iter().map(|n| n.parse().unwrap()).collect();
        CertSpec::new("inner", names, KeyKind::EcdsaP256, Place::built_in())
    }

    #[test]
    fn it_issues_down_to_seconds_and_the_chain_verifies() {
        let clock = Arc::new(VirtualClock::default());
        clock.set(UnixTime::from_seconds(1_800_000_000));
        let authority = authority(60, Arc::default(), clock.clone());
        let bundle = authority.issue(&spec(), 3).unwrap();
        assert_eq!(bundle.leaf.not_after, clock.now() + Duration::from_secs(60));
        assert!(spec().identifiers.iter().all(|name| bundle.leaf.covers(name)));
        let root = authority.root_certificate().unwrap();
        let root =
            <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(root.as_bytes())
                .unwrap();
        let anchor = webpki::anchor_from_trusted_cert(&root).unwrap();
        let leaf = webpki::EndEntityCert::try_from(&bundle.chain[0]).unwrap();
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &[],
            rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_030)),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        )
        .unwrap();
    }

    #[test]
    fn the_root_outlives_restarts_and_is_replaced_before_it_ends() {
        let (clock, shelf) = (Arc::new(VirtualClock::default()), Arc::new(One::default()));
        let first = authority(60, shelf.clone(), clock.clone()).root_certificate().unwrap();
        let again = authority(60, shelf.clone(), clock.clone()).root_certificate().unwrap();
        assert_eq!(first, again);
        clock.set(UnixTime::from_seconds(3650 * 86_400 - 30));
        let later = authority(60, shelf, clock);
        assert_ne!(later.root_certificate().unwrap(), first);
        assert!(later.issue(&spec(), 1).unwrap().leaf.left(UnixTime::from_seconds(3650 * 86_400)) > Duration::ZERO);
    }

    #[test]
    fn a_damaged_root_is_replaced() {
        let shelf = Arc::new(One(Mutex::new(Some(b"-----BEGIN nothing".to_vec()))));
        let authority = authority(60, shelf, Arc::new(VirtualClock::default()));
        authority.issue(&spec(), 1).unwrap();
    }
}
