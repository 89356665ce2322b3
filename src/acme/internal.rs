//! How does the built-in authority issue? With a root and an intermediate of its own, kept on the shelf, at once, asking
//! nobody and bound by no limit. Calls block for the time of a signature and a write.
//!
//! The intermediate signs certificates; the root signs intermediates. Both are renewed with a third of their life left.
//! A new root is signed by the one before it as well, so that whoever trusts either of them trusts what is issued, until
//! the old one ends: its key is thrown away with that signature.

mod lineage;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

pub use self::lineage::trusted;
use self::lineage::{Signer, moment};
use super::keys;
use crate::cert::bundle::{Bundle, Origin, PrivateKey};
use crate::cert::failure::Failure;
use crate::cert::journal::{Record, Shelf};
use crate::clock::{Clock, UnixTime};
use crate::plan::acme::InternalAuthority;
use crate::plan::certificate::CertSpec;

/// The built-in authority behind one issuer.
pub struct BuiltIn {
    name: String,
    settings: InternalAuthority,
    shelf: Arc<dyn Shelf>,
    clock: Arc<dyn Clock>,
    signers: Mutex<Option<Signers>>,
}

/// The root, and the intermediate that it signed.
#[derive(Clone)]
struct Signers {
    root: Signer,
    intermediate: Signer,
}

impl BuiltIn {
    /// Nothing is made or read yet.
    pub fn new(name: &str, settings: InternalAuthority, shelf: Arc<dyn Shelf>, clock: Arc<dyn Clock>) -> BuiltIn {
        BuiltIn { name: name.to_owned(), settings, shelf, clock, signers: Mutex::default() }
    }

    /// The certificates that clients should trust, in PEM: the root, and the one before it while that is in force.
    pub fn root_certificates(&self) -> Result<String, Failure> {
        self.signers().map(|signers| signers.root.trusted(self.clock.now()))
    }

    /// A new certificate with a new key, as generation `epoch`.
    pub fn issue(&self, spec: &CertSpec, epoch: u64) -> Result<Bundle, Failure> {
        let now = self.clock.now();
        let signers = self.signers()?;
        let key = keys::generate(spec.key).map_err(local)?;
        let leaf = self.sign(spec, &key, &signers.intermediate, now).map_err(local)?;
        // The root stands in the chain too, so that it leads on for everybody who looks.
        let chain = leaf + &signers.intermediate.pem() + &signers.root.chain(now);
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

    fn sign(&self, spec: &CertSpec, key: &PrivateKey, signer: &Signer, now: UnixTime) -> Result<String, rcgen::Error> {
        let life = self.settings.leaf_lifetime;
        let pair = KeyPair::try_from(&key.der())?;
        let mut params = keys::parameters(&spec.identifiers)?;
        // A little into the past, for clients whose clock is behind; never so much that a short life loses by it.
        params.not_before = moment(now - (life / 10).min(Duration::from_secs(60)));
        params.not_after = moment((now + life).min(signer.not_after()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&pair, &signer.issuer()?)?.pem())
    }

    /// Root and intermediate: from memory, from the shelf, or new ones. Kept before use.
    fn signers(&self) -> Result<Signers, Failure> {
        let mut slot = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let leaf = self.settings.leaf_lifetime;
        if let Some(known) =
            slot.as_ref().filter(|known| known.root.lasts(now, leaf) && known.intermediate.lasts(now, leaf))
        {
            return Ok(known.clone());
        }
        let root = self.root(now)?;
        let intermediate = self.intermediate(&root, now)?;
        Ok(slot.insert(Signers { root, intermediate }).clone())
    }

    fn root(&self, now: UnixTime) -> Result<Signer, Failure> {
        let record = Record::Authority(self.name.clone());
        let stored = self.shelf.load(&record).map_err(local)?.and_then(|text| Signer::read(&text));
        if let Some(root) = stored.as_ref().filter(|root| root.lasts(now, self.settings.leaf_lifetime)) {
            return Ok(root.clone());
        }
        let before = stored.filter(|root| now < root.not_after());
        let root = Signer::root(&self.name, self.settings.root_lifetime, before.as_ref(), now).map_err(local)?;
        self.shelf.save(&record, root.text().as_bytes()).map_err(local)?;
        tracing::info!(
            level = "notice",
            "acme_issuer {}: a new root of the built-in authority, valid until {}; `semper ca root` shows it",
            self.name,
            root.not_after()
        );
        Ok(root)
    }

    fn intermediate(&self, root: &Signer, now: UnixTime) -> Result<Signer, Failure> {
        let record = Record::Intermediate(self.name.clone());
        let stored = self.shelf.load(&record).map_err(local)?.and_then(|text| Signer::read(&text));
        let good = |signer: &Signer| signer.is_signed_by(root) && signer.lasts(now, self.settings.leaf_lifetime);
        if let Some(signer) = stored.filter(good) {
            return Ok(signer);
        }
        let life = (self.settings.root_lifetime / 10).max(self.settings.leaf_lifetime * 3);
        let signer = Signer::intermediate(&self.name, life, root, now).map_err(local)?;
        self.shelf.save(&record, signer.text().as_bytes()).map_err(local)?;
        Ok(signer)
    }
}

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::Local { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::cert::journal::ShelfError;
    use crate::clock::VirtualClock;
    use crate::plan::certificate::{CertId, KeyKind};
    use crate::words::Place;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use zeroize::Zeroizing;

    /// A shelf of records alone.
    #[derive(Default)]
    struct Records(Mutex<HashMap<Record, Vec<u8>>>);

    impl Shelf for Records {
        fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
            Ok(self.0.lock().unwrap().get(record).cloned().map(Zeroizing::new))
        }
        fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
            self.0.lock().unwrap().insert(record.clone(), content.to_vec());
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
        fn disown(&self, _: &CertId, _: u64) -> Result<(), ShelfError> {
            Ok(())
        }
    }

    fn authority(seconds: u64, shelf: Arc<Records>, clock: Arc<VirtualClock>) -> BuiltIn {
        let leaf_lifetime = Duration::from_secs(seconds);
        let settings = InternalAuthority { leaf_lifetime, ..InternalAuthority::default() };
        BuiltIn::new("inner", settings, shelf, clock)
    }

    fn spec() -> CertSpec {
        let names = ["a.example", "*.b.example", "10.0.0.1"].iter().map(|n| n.parse().unwrap()).collect();
        CertSpec::new("inner", names, KeyKind::EcdsaP256, Place::built_in())
    }

    /// Whether a client that trusts `root` alone takes what `bundle` shows.
    fn is_trusted(bundle: &Bundle, root: &CertificateDer<'_>, now: UnixTime) -> bool {
        let anchor = webpki::anchor_from_trusted_cert(root).unwrap();
        let leaf = webpki::EndEntityCert::try_from(&bundle.chain[0]).unwrap();
        let now = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.seconds() as u64));
        let usage = webpki::KeyUsage::server_auth();
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &bundle.chain[1..], now, usage, None, None)
            .is_ok()
    }

    fn roots(authority: &BuiltIn) -> Vec<CertificateDer<'static>> {
        let text = authority.root_certificates().unwrap();
        CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect()
    }

    #[test]
    fn it_issues_down_to_seconds_and_the_chain_verifies() {
        let clock = Arc::new(VirtualClock::default());
        clock.set(UnixTime::from_seconds(1_800_000_000));
        let authority = authority(60, Arc::default(), clock.clone());
        let bundle = authority.issue(&spec(), 3).unwrap();
        assert_eq!(bundle.leaf.not_after, clock.now() + Duration::from_secs(60));
        assert!(spec().identifiers.iter().all(|name| bundle.leaf.covers(name)));
        assert_eq!((bundle.chain.len(), roots(&authority).len()), (3, 1));
        assert!(is_trusted(&bundle, &roots(&authority)[0], clock.now()));
    }

    #[test]
    fn root_and_intermediate_outlive_restarts() {
        let (clock, shelf) = (Arc::new(VirtualClock::default()), Arc::new(Records::default()));
        let (one, other) = (authority(60, shelf.clone(), clock.clone()), authority(60, shelf, clock));
        let (first, again) = (one.issue(&spec(), 1).unwrap(), other.issue(&spec(), 1).unwrap());
        assert_eq!(first.chain[1..], again.chain[1..]);
    }

    #[test]
    fn through_thirty_years_both_old_and_new_roots_are_enough_for_a_client() {
        const DAY: Duration = Duration::from_secs(86_400);
        let clock = Arc::new(VirtualClock::default());
        clock.set(UnixTime::from_seconds(1_800_000_000));
        let authority = authority(7 * 86_400, Arc::default(), clock.clone());
        let (mut known, mut intermediates) = (Vec::new(), std::collections::HashSet::new());
        for _ in 0..30 * 12 {
            let now = clock.now();
            let bundle = authority.issue(&spec(), 1).unwrap();
            intermediates.insert(bundle.chain[1].to_vec());
            for root in roots(&authority) {
                assert!(is_trusted(&bundle, &root, now), "at {now}");
                if !known.contains(&root) {
                    known.push(root);
                }
            }
            assert_eq!(bundle.leaf.not_after, now + DAY * 7);
            clock.set(now + DAY * 30);
        }
        assert!((4..7).contains(&known.len()), "{} roots", known.len());
        assert!((40..60).contains(&intermediates.len()), "{} intermediates", intermediates.len());
    }

    #[test]
    fn a_new_root_is_trusted_by_whoever_knows_the_old_one_only() {
        let (clock, shelf) = (Arc::new(VirtualClock::default()), Arc::new(Records::default()));
        clock.set(UnixTime::from_seconds(1_800_000_000));
        let authority = authority(60, shelf, clock.clone());
        let old = roots(&authority).remove(0);
        clock.set(clock.now() + Duration::from_secs(2600 * 86_400));
        let bundle = authority.issue(&spec(), 2).unwrap();
        assert_eq!(roots(&authority).len(), 2);
        assert!(roots(&authority).iter().all(|root| is_trusted(&bundle, root, clock.now())));
        assert_eq!(roots(&authority)[1], old);
    }

    #[test]
    fn a_damaged_root_is_replaced() {
        let shelf = Arc::new(Records::default());
        for record in [Record::Authority("inner".into()), Record::Intermediate("inner".into())] {
            shelf.save(&record, b"-----BEGIN nothing").unwrap();
        }
        authority(60, shelf, Arc::new(VirtualClock::default())).issue(&spec(), 1).unwrap();
    }
}
