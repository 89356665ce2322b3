//! A state path as it lies when many certificates of the built-in authority were issued: what the benches begin with.

use semper::cert::bundle::{Bundle, Origin, PrivateKey};
use semper::cert::journal::{Record, Shelf, StageRecord};
use semper::cert::ledger::Ledger;
use semper::cert::stage::{Event, Held, Policy, Stage};
use semper::clock::{Clock, UnixTime};
use semper::node::clock::RealClock;
use semper::plan::acme::{Authority, InternalAuthority, Issuer};
use semper::plan::certificate::{CertSpec, KeyKind};
use semper::store::Directory;
use semper::words::Place;
use std::path::Path;

/// One name, one certificate.
pub fn spec(number: usize) -> CertSpec {
    let name = format!("n{number}.example.com").parse().unwrap();
    CertSpec::new("inner", vec![name], KeyKind::EcdsaP256, Place::built_in())
}

/// The issuer of all.
pub fn issuer(state: &Path) -> Issuer {
    let authority = Authority::Internal(InternalAuthority::default());
    Issuer::new("inner", Some(state.to_owned()), authority, Place::built_in())
}

/// Bundles and journals as they lie after the certificates were issued.
pub fn fill(state: &Path, specs: &[CertSpec], issuer: &Issuer) {
    let shelf = Directory::view(state).unwrap();
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().unwrap()).unwrap();
    let now = time::OffsetDateTime::now_utc();
    for spec in specs {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![spec.identifiers[0].to_string()]).unwrap();
        (params.not_before, params.not_after) = (now - time::Duration::days(1), now + time::Duration::days(89));
        let leaf = params.signed_by(&key, &root).unwrap();
        let origin = Origin {
            id: spec.id.clone(),
            epoch: 1,
            issuer: "inner".into(),
            authority: "internal".into(),
            obtained_at: UnixTime(now.unix_timestamp() * 1000),
        };
        let chain = leaf.pem() + &root.pem();
        let bundle = Bundle::new(origin, chain.as_bytes(), PrivateKey::from_pkcs8(key.serialize_der())).unwrap();
        let event = Event::Started(Some(Held::of(&bundle)));
        let (stage, _) = Stage::new().step(
            RealClock.now(),
            event,
            &Policy::of(issuer, std::slice::from_ref(issuer), &spec.identifiers[..]),
            &mut Ledger::default(),
            0.5,
        );
        shelf.save(&Record::Stage(spec.id.clone()), &StageRecord::write(&stage)).unwrap();
        shelf.replace(&bundle, None).unwrap();
    }
}
