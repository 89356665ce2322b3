//! Against Pebble: every kind of challenge, key and name; accounts; chains; restarts; a death at every write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use semper::cert::bundle::Bundle;
use semper::cert::failure::Failure;
use semper::cert::inspect::Leaf;
use semper::cert::journal::{Record, Shelf, ShelfError};
use semper::cert::stage::Stage;
use semper::plan::acme::{AcmeServer, ChallengeKind, ExternalAccount};
use semper::plan::certificate::{CertId, KeyKind};
use semper::store::Directory;
use semper::words::SecretRef;
use zeroize::Zeroizing;

use crate::bed::PATIENCE;
use crate::bed::pebble::{Pebble, Settings};
use crate::bed::wait_for;
use crate::house::{Gate, House, issuer, spec};

const SECOND: Duration = Duration::from_secs(1);

fn server(pebble: &Pebble, challenge: ChallengeKind) -> AcmeServer {
    AcmeServer {
        trusted_certificate: Some(pebble.trusted().into()),
        terms_accepted: true,
        contacts: vec!["admin@example.com".into()],
        challenges: vec![challenge],
        ..AcmeServer::at(pebble.directory())
    }
}

fn shelf(path: &std::path::Path) -> Arc<dyn Shelf> {
    Arc::new(Directory::open(path).unwrap())
}

/// Whether the chain leads to the root that Pebble says it has.
fn trusted(bundle: &Bundle, pebble: &Pebble) {
    let root = CertificateDer::from_pem_slice(pebble.root().as_bytes()).unwrap();
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let leaf = webpki::EndEntityCert::try_from(&bundle.chain[0]).unwrap();
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &bundle.chain[1..],
        rustls_pki_types::UnixTime::now(),
        webpki::KeyUsage::server_auth(),
        None,
        None,
    )
    .unwrap();
}

#[test]
fn every_challenge_and_every_kind_of_key_brings_a_certificate() {
    let gate = Gate::open();
    let pebble = Pebble::start(gate.http(), gate.tls());
    let wishes = [
        (ChallengeKind::Http01, KeyKind::EcdsaP256, &["one.test", "two.test"][..]),
        (ChallengeKind::TlsAlpn01, KeyKind::EcdsaP384, &["three.test", "four.test"]),
        (ChallengeKind::Http01, KeyKind::Rsa2048, &["127.0.0.1", "five.test"]),
        (ChallengeKind::TlsAlpn01, KeyKind::EcdsaP256, &["127.0.0.1"]),
    ];
    for (challenge, key, names) in wishes {
        let state = tempfile::tempdir().unwrap();
        let wish = spec(names, key);
        let house =
            House::open(&gate, &issuer(server(&pebble, challenge), state.path()), &wish, shelf(state.path()), SECOND);
        let bundle = house.wait(0, PATIENCE);
        trusted(&bundle, &pebble);
        assert!(bundle.leaf.key.is(key), "{names:?}");
        assert!(wish.identifiers.iter().all(|name| bundle.leaf.covers(name)));
    }
}

#[test]
fn a_restart_places_no_order_and_serves_what_is_held() {
    let gate = Gate::open();
    let pebble = Pebble::start(gate.http(), gate.tls());
    let state = tempfile::tempdir().unwrap();
    let (issuer, wish) =
        (issuer(server(&pebble, ChallengeKind::Http01), state.path()), spec(&["a.test"], KeyKind::EcdsaP256));
    let house = House::open(&gate, &issuer, &wish, shelf(state.path()), SECOND);
    let first = house.wait(0, PATIENCE);
    wait_for("the order to be forgotten", PATIENCE, || {
        !state.path().join(format!("certs/{}/order.json", wish.id)).exists()
    });
    house.close();
    for _ in 0..3 {
        wait_for("the lock", PATIENCE, || Directory::open(state.path()).is_ok());
        let shelf = shelf(state.path());
        assert_eq!(shelf.bundle(&wish.id).unwrap().unwrap().leaf, first.leaf);
        let house = House::open(&gate, &issuer, &wish, shelf, SECOND);
        wait_for("the stage", PATIENCE, || matches!(house.stage(), Stage::Serving { .. }));
        std::thread::sleep(Duration::from_millis(200));
        house.close();
    }
    assert_eq!((pebble.orders(), pebble.issued()), (1, 1));
}

#[test]
fn short_lives_are_renewed_again_and_again_with_new_keys() {
    let gate = Gate::open();
    let pebble = Pebble::with(&Settings { life: 8, ..Settings::checking(gate.http(), gate.tls()) });
    let state = tempfile::tempdir().unwrap();
    let issuer = issuer(server(&pebble, ChallengeKind::Http01), state.path());
    let house = House::open(&gate, &issuer, &spec(&["a.test"], KeyKind::EcdsaP256), shelf(state.path()), SECOND);
    house.wait(2, PATIENCE * 2);
    let all = house.installed();
    assert!(all.windows(2).all(|two| two[0].epoch < two[1].epoch));
    assert!(all.windows(2).all(|two| two[0].leaf.key_fingerprint != two[1].leaf.key_fingerprint));
    assert!(all.windows(2).all(|two| two[1].leaf.not_before < two[0].leaf.not_after), "never a gap");
}

#[test]
fn an_external_account_is_bound_and_a_missing_one_is_named() {
    let gate = Gate::open();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let binding = Some(("kid-1".to_owned(), key.to_owned()));
    let pebble = Pebble::with(&Settings { binding, ..Settings::checking(gate.http(), gate.tls()) });
    let wish = spec(&["a.test"], KeyKind::EcdsaP256);
    let state = tempfile::tempdir().unwrap();
    let bare = server(&pebble, ChallengeKind::Http01);
    let house = House::open(&gate, &issuer(bare.clone(), state.path()), &wish, shelf(state.path()), SECOND);
    wait_for("a failure", PATIENCE, || matches!(house.stage().trouble().last, Some(Failure::Account { .. })));
    house.close();

    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("hmac"), format!("{key}\n")).unwrap();
    let external = ExternalAccount { kid: "kid-1".into(), key: SecretRef::File(state.path().join("hmac")) };
    let bound = AcmeServer { external_account: Some(external), ..bare };
    let house = House::open(&gate, &issuer(bound, state.path()), &wish, shelf(state.path()), SECOND);
    trusted(&house.wait(0, PATIENCE), &pebble);
}

#[test]
fn terms_that_are_not_accepted_are_named() {
    let gate = Gate::open();
    let pebble = Pebble::start(gate.http(), gate.tls());
    let state = tempfile::tempdir().unwrap();
    let issuer = issuer(AcmeServer { terms_accepted: false, ..server(&pebble, ChallengeKind::Http01) }, state.path());
    let house = House::open(&gate, &issuer, &spec(&["a.test"], KeyKind::EcdsaP256), shelf(state.path()), SECOND);
    wait_for("a failure", PATIENCE, || house.stage().trouble().failures > 0);
    let why = house.stage().trouble().last.clone().unwrap().to_string();
    assert!(why.contains("terms of service"), "{why}");
    assert_eq!(pebble.orders(), 0);
}

#[test]
fn the_preferred_chain_is_found_among_the_alternatives() {
    let gate = Gate::open();
    let pebble = Pebble::with(&Settings { alternate_roots: 2, ..Settings::checking(gate.http(), gate.tls()) });
    let name = |root: String| {
        let der = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
        Leaf::read(&der).unwrap().issuer_common_name.unwrap()
    };
    let (first, other) = (name(pebble.root()), name(pebble.other_root(2)));
    assert_ne!(first, other);
    for (preferred, expected) in [(None, &first), (Some("no such root"), &first), (Some(&*other), &other)] {
        let state = tempfile::tempdir().unwrap();
        let preferred_chain = preferred.map(str::to_owned);
        let issuer = issuer(AcmeServer { preferred_chain, ..server(&pebble, ChallengeKind::Http01) }, state.path());
        let house = House::open(&gate, &issuer, &spec(&["a.test"], KeyKind::EcdsaP256), shelf(state.path()), SECOND);
        let bundle = house.wait(0, PATIENCE);
        let top = Leaf::read(bundle.chain.last().unwrap()).unwrap().issuer_common_name;
        assert_eq!(top.as_ref(), Some(expected), "{preferred:?}");
        house.close();
    }
}

#[test]
fn refused_nonces_cost_patience_and_nothing_else() {
    let gate = Gate::open();
    let pebble = Pebble::with(&Settings { refused_nonces: 30, ..Settings::checking(gate.http(), gate.tls()) });
    for name in ["a.test", "b.test", "c.test"] {
        let state = tempfile::tempdir().unwrap();
        let issuer = issuer(server(&pebble, ChallengeKind::Http01), state.path());
        let house = House::open(&gate, &issuer, &spec(&[name], KeyKind::EcdsaP256), shelf(state.path()), SECOND);
        house.wait(0, PATIENCE * 2);
        house.close();
    }
    assert_eq!(pebble.issued(), 3);
}

/// A shelf on which the process dies with a certain write: nothing after it happens.
struct Mortal {
    shelf: Directory,
    left: AtomicUsize,
    dead: AtomicBool,
    buried: AtomicBool,
    /// Whether the last write still reached the disk.
    after: bool,
}

impl Mortal {
    fn live<T>(&self, writes: bool, work: impl FnOnce() -> Result<T, ShelfError>) -> Result<T, ShelfError> {
        if self.dead.load(Ordering::SeqCst) {
            return self.die();
        }
        let last = writes && self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && !self.after {
            return self.die();
        }
        let done = work();
        if last { self.die() } else { done }
    }

    fn die<T>(&self) -> Result<T, ShelfError> {
        self.dead.store(true, Ordering::SeqCst);
        while !self.buried.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(ShelfError::InUse { path: "the dead".into() })
    }
}

impl Shelf for Mortal {
    fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
        self.live(false, || self.shelf.load(record))
    }
    fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
        self.live(true, || self.shelf.save(record, content))
    }
    fn remove(&self, record: &Record) -> Result<(), ShelfError> {
        self.live(true, || self.shelf.remove(record))
    }
    fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
        self.live(false, || self.shelf.bundle(id))
    }
    fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError> {
        self.live(true, || self.shelf.replace(bundle, expected))
    }
    fn disown(&self, id: &CertId, epoch: u64) -> Result<(), ShelfError> {
        self.live(true, || self.shelf.disown(id, epoch))
    }
}

#[test]
fn a_death_at_any_write_loses_nothing_and_orders_nothing_twice() {
    let gate = Gate::open();
    let pebble = Pebble::start(gate.http(), gate.tls());
    let wish = spec(&["a.test"], KeyKind::EcdsaP256);
    let mut deaths = 0;
    for write in 1..30 {
        for after in [false, true] {
            let state = tempfile::tempdir().unwrap();
            let issuer = issuer(server(&pebble, ChallengeKind::Http01), state.path());
            let issued = pebble.issued();
            let mortal = Arc::new(Mortal {
                shelf: Directory::open(state.path()).unwrap(),
                left: AtomicUsize::new(write),
                dead: AtomicBool::new(false),
                buried: AtomicBool::new(false),
                after,
            });
            let house = House::open(&gate, &issuer, &wish, mortal.clone(), SECOND);
            let order = state.path().join(format!("certs/{}/order.json", wish.id));
            wait_for("death or a certificate", PATIENCE, || {
                mortal.dead.load(Ordering::SeqCst) || !house.installed().is_empty() && !order.exists()
            });
            let died = mortal.dead.load(Ordering::SeqCst);
            house.close();
            mortal.buried.store(true, Ordering::SeqCst);
            drop(mortal);
            wait_for("the lock", PATIENCE, || Directory::open(state.path()).is_ok());

            let house = House::open(&gate, &issuer, &wish, shelf(state.path()), SECOND);
            wait_for("the certificate", PATIENCE, || matches!(house.stage(), Stage::Serving { .. }));
            house.close();
            assert_eq!(pebble.issued() - issued, 1, "died with write {write}, after it: {after}");
            deaths += usize::from(died);
            if !died {
                assert!(deaths >= 12, "{deaths} deaths");
                return;
            }
        }
    }
    panic!("an order has fewer than 30 writes");
}
