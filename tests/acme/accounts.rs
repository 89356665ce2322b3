//! Against Pebble: an account's contacts and key change, its certificates are revoked, and a crash in between locks
//! nobody out.

use std::sync::Arc;
use std::time::Duration;

use semper::acme::{Doomed, Reason};
use semper::cert::bundle::Bundle;
use semper::cert::journal::{self, Record, Shelf};
use semper::plan::acme::{AccountKey, AcmeServer, ChallengeKind};
use semper::plan::certificate::KeyKind;
use semper::store::Directory;

use crate::bed::client::serial;
use crate::bed::pebble::Pebble;
use crate::bed::{PATIENCE, wait_for};
use crate::house::{Gate, House, block_on, ca, issuer, spec};

const SECOND: Duration = Duration::from_secs(1);

fn server(pebble: &Pebble) -> AcmeServer {
    AcmeServer {
        trusted_certificate: Some(pebble.trusted().into()),
        terms_accepted: true,
        challenges: vec![ChallengeKind::Http01],
        ..AcmeServer::at(pebble.directory())
    }
}

fn shelf(path: &std::path::Path) -> Arc<dyn Shelf> {
    wait_for("the lock", PATIENCE, || Directory::open(path).is_ok());
    Arc::new(Directory::open(path).unwrap())
}

fn obtain(gate: &Gate, server: AcmeServer, state: &std::path::Path, key: KeyKind) -> Arc<Bundle> {
    let house = House::open(gate, &issuer(server, state), &spec(&["a.test"], key), shelf(state), SECOND);
    let bundle = house.wait(0, PATIENCE);
    wait_for("the order to be forgotten", PATIENCE, || !state.join(format!("certs/{}/order.json", bundle.id)).exists());
    house.close();
    bundle
}

fn account(state: &std::path::Path) -> journal::Account {
    let text = Directory::view(state).unwrap().load(&Record::Account("test".into())).unwrap().unwrap();
    journal::Account::read(&text).unwrap()
}

fn doomed(bundle: &Bundle) -> Doomed {
    Doomed { leaf: bundle.chain[0].clone(), key: bundle.key.clone() }
}

#[test]
fn an_account_keeps_its_url_when_it_gets_another_key_whatever_crashes() {
    for account_key in [
        AccountKey::Shared,
        AccountKey::Own(KeyKind::EcdsaP256),
        AccountKey::Own(KeyKind::EcdsaP384),
        AccountKey::Own(KeyKind::Rsa2048),
    ] {
        let (gate, state) = (Gate::open(), tempfile::tempdir().unwrap());
        let pebble = Pebble::start(gate.http(), gate.tls());
        let server = AcmeServer { account_key, ..server(&pebble) };
        obtain(&gate, server.clone(), state.path(), KeyKind::EcdsaP256);
        let (before, issuer) = (account(state.path()), issuer(server.clone(), state.path()));

        let one = ca(&gate, &issuer, shelf(state.path()));
        block_on(one.roll_key()).unwrap();
        drop(one);
        let after = account(state.path());
        assert_eq!(after.url, before.url);
        assert_ne!(after.thumbprint, before.thumbprint);

        // The process ended after the authority's yes and before it was written down.
        shelf(state.path()).save(&Record::Account("test".into()), &before.write()).unwrap();
        let one = ca(&gate, &issuer, shelf(state.path()));
        block_on(one.roll_key()).unwrap();
        assert_eq!(account(state.path()), after);
        one.settle_key().unwrap();
        drop(one);
        assert_eq!(pebble.log().matches("POST /rollover-account-key").count(), 1, "once is enough");

        std::fs::remove_dir_all(state.path().join("certs")).unwrap();
        obtain(&gate, server, state.path(), KeyKind::EcdsaP256);
        assert_eq!(account(state.path()), after, "and the orders go on with it");
    }
}

#[test]
fn a_change_of_key_that_never_reached_the_authority_is_made_up_for_with_the_next_order() {
    let (gate, state) = (Gate::open(), tempfile::tempdir().unwrap());
    let pebble = Pebble::start(gate.http(), gate.tls());
    obtain(&gate, server(&pebble), state.path(), KeyKind::EcdsaP256);
    let before = account(state.path());
    let fresh = rcgen::KeyPair::generate().unwrap();
    shelf(state.path()).save(&Record::NextSharedAccountKey, fresh.serialize_pem().as_bytes()).unwrap();
    std::fs::remove_dir_all(state.path().join("certs")).unwrap();
    obtain(&gate, server(&pebble), state.path(), KeyKind::EcdsaP256);
    let after = account(state.path());
    assert_eq!(after.url, before.url);
    assert_ne!(after.thumbprint, before.thumbprint);
}

#[test]
fn new_contacts_of_the_configuration_reach_the_authority() {
    let (gate, state) = (Gate::open(), tempfile::tempdir().unwrap());
    let pebble = Pebble::start(gate.http(), gate.tls());
    obtain(&gate, server(&pebble), state.path(), KeyKind::EcdsaP256);
    let before = account(state.path());
    std::fs::remove_dir_all(state.path().join("certs")).unwrap();
    let told = AcmeServer { contacts: vec!["mailto:night@example.com".into()], ..server(&pebble) };
    obtain(&gate, told, state.path(), KeyKind::EcdsaP256);
    let after = account(state.path());
    assert_eq!((after.url, after.contacts), (before.url, vec!["mailto:night@example.com".to_owned()]));
}

#[test]
fn a_certificate_is_revoked_by_its_account_or_by_its_own_key() {
    let gate = Gate::open();
    let pebble = Pebble::start(gate.http(), gate.tls());
    for key in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa2048] {
        for own_account in [true, false] {
            let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let bundle = obtain(&gate, server(&pebble), state.path(), key);
            let place = if own_account { state.path() } else { other.path() };
            let one = ca(&gate, &issuer(server(&pebble), place), shelf(place));
            block_on(one.revoke(&doomed(&bundle), Reason::KeyCompromise)).unwrap();
            let standing = pebble.standing(&serial(&bundle.chain[0]));
            assert!(standing.contains("Revoked") && standing.contains("\"Reason\": 1"), "{standing}");
            block_on(one.revoke(&doomed(&bundle), Reason::KeyCompromise)).expect("twice is no error");
        }
    }
}
