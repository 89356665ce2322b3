//! Promises of what is shown where several bundles could be.

use super::*;
use crate::cert::bundle::{Origin, PrivateKey};
use crate::clock::VirtualClock;
use crate::plan::certificate::{CertSpec, KeyKind};
use crate::words::Place;

const NOW: i64 = 1_800_000_000;

fn names(list: &[&str]) -> Vec<Identifier> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

fn bundle(id: &CertId, epoch: u64, issuer: &str, names: &[&str], days: i64) -> Bundle {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW - 3600).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(NOW + days * 86_400).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let obtained_at = UnixTime::from_seconds(NOW);
    let origin = Origin { id: id.clone(), epoch, issuer: issuer.into(), authority: "internal".into(), obtained_at };
    Bundle::new(origin, pem.as_bytes(), PrivateKey::from_pkcs8(key.serialize_der())).unwrap()
}

struct Bed {
    sources: Sources,
    certificates: Arc<Certificates>,
    clock: Arc<VirtualClock>,
    id: CertId,
    names: Vec<Identifier>,
}

impl Bed {
    fn new(list: &[&str]) -> Bed {
        let certificates = Certificates::new().unwrap();
        let clock = Arc::new(VirtualClock::default());
        clock.set(UnixTime::from_seconds(NOW));
        let sources = Sources::new(certificates.clone(), clock.clone());
        let names = names(list);
        Bed { sources, certificates, clock, id: CertId::of(&names, KeyKind::EcdsaP256), names }
    }

    fn shown(&self, sni: &str) -> String {
        let slot = self.certificates.slot(&CertificateSource::Acme(self.id.clone()));
        slot.shown_for(sni).unwrap().fingerprint.to_string()
    }

    fn later(&self, days: i64) {
        self.clock.set(UnixTime::from_seconds(NOW + days * 86_400));
        self.sources.tick();
    }
}

fn print(bundle: &Bundle) -> String {
    bundle.leaf.fingerprint.to_string()
}

#[test]
fn the_standby_is_shown_from_the_second_in_which_the_first_is_worth_nothing() {
    let bed = Bed::new(&["a.example"]);
    let standby = bed.id.variant("standby");
    let first = bundle(&bed.id, 1, "a", &["a.example"], 10);
    let second = bundle(&standby, 1, "b", &["a.example"], 30);
    let members = vec![(standby, Provenance::Standby)];
    bed.sources.group(&bed.id, &bed.names, members.clone(), vec![first.clone(), second.clone()]);
    assert!(bed.sources.has(&bed.id, &members) && !bed.sources.has(&bed.id, &[]));
    assert_eq!(bed.shown("a.example"), print(&first));
    bed.sources.mark(&bed.id, 1, false, true);
    assert_eq!(bed.shown("a.example"), print(&second), "its authority is about to revoke it");
    bed.sources.mark(&bed.id, 1, false, false);
    assert_eq!(bed.shown("a.example"), print(&first));
    bed.later(10);
    assert_eq!(bed.shown("a.example"), print(&second), "it has expired");
    let next = bundle(&bed.id, 2, "a", &["a.example"], 90);
    let spec = CertSpec::new("a", bed.names.clone(), KeyKind::EcdsaP256, Place::built_in());
    bed.sources.offer(vec![Installed { spec: Arc::new(spec), bundle: Arc::new(next.clone()) }]);
    assert_eq!(bed.shown("a.example"), print(&next));
    bed.sources.mark(&bed.id, 2, true, false);
    assert_eq!(bed.shown("a.example"), print(&second), "it is revoked");
}

#[test]
fn a_split_off_name_keeps_the_old_one_until_it_has_its_own() {
    let bed = Bed::new(&["a.example", "b.example"]);
    let own = CertId::of(&names(&["b.example"]), KeyKind::EcdsaP256);
    let both = bundle(&bed.id, 1, "a", &["a.example", "b.example"], 5);
    let rest = bundle(&bed.id, 2, "a", &["a.example"], 90);
    let members = vec![(own.clone(), Provenance::Apart)];
    bed.sources.group(&bed.id, &bed.names, members, vec![rest.clone(), both.clone()]);
    assert_eq!((bed.shown("a.example"), bed.shown("b.example")), (print(&rest), print(&both)));
    bed.later(5);
    assert_eq!(bed.shown("b.example"), print(&rest), "nothing speaks for it any more");
    let alone = bundle(&own, 1, "a", &["b.example"], 60);
    let spec = CertSpec::new("a", names(&["b.example"]), KeyKind::EcdsaP256, Place::built_in());
    bed.sources.offer(vec![Installed { spec: Arc::new(spec), bundle: Arc::new(alone.clone()) }]);
    assert_eq!((bed.shown("a.example"), bed.shown("b.example")), (print(&rest), print(&alone)));
    bed.sources.ungroup(&bed.id);
    assert_eq!(bed.shown("b.example"), print(&rest), "alone again");
}

#[test]
fn one_that_stands_alone_is_swapped_in_and_not_kept() {
    let bed = Bed::new(&["a.example"]);
    let spec = Arc::new(CertSpec::new("a", bed.names.clone(), KeyKind::EcdsaP256, Place::built_in()));
    let first = bundle(&bed.id, 1, "a", &["a.example"], 10);
    bed.sources.offer(vec![Installed { spec, bundle: Arc::new(first.clone()) }]);
    assert_eq!(bed.shown("a.example"), print(&first));
    assert!(!bed.sources.is_busy());
}
