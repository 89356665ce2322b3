//! Promises about what stands behind the certificates of a plan, with built-in authorities.

use std::time::Duration;

use super::*;
use crate::clock::{Clock, VirtualClock};
use crate::node::clock::{RealClock, RealDice};
use crate::node::keeper::Tools;
use crate::node::secrets::OwnSecrets;
use crate::plan::acme::{AcmeServer, Authority, InternalAuthority};
use crate::plan::certificate::{KeyKind, Standby};
use crate::plan::tls::CertificateSource;
use crate::store::Directory;
use crate::tls::certificates::Certificates;
use crate::words::Place;
use crate::zone::challenges::Challenges;

fn names(list: &[&str]) -> Vec<Identifier> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

fn inner(name: &str, state: &std::path::Path) -> Issuer {
    let authority = Authority::Internal(InternalAuthority::default());
    Issuer::new(name, Some(state.to_owned()), authority, Place::built_in())
}

fn spec(issuer: &str, list: &[&str]) -> CertSpec {
    CertSpec::new(issuer, names(list), KeyKind::EcdsaP256, Place::built_in())
}

fn keepers() -> (Keepers, Arc<Certificates>) {
    let (certificates, clock) = (Certificates::new().unwrap(), Arc::new(RealClock));
    let sources = Arc::new(Sources::new(certificates.clone(), clock.clone()));
    let shown = sources.clone();
    let publish = Arc::new(move |installed| shown.offer(installed));
    let tools = Tools { clock: clock.clone(), dice: Arc::new(RealDice), publish, beats: Arc::default() };
    let mut keepers = Keepers::new(tools, Arc::new(Challenges::new(clock)), Arc::new(OwnSecrets));
    keepers.arrange_with(sources);
    (keepers, certificates)
}

/// Follows changes until `done`.
async fn until(keepers: &mut Keepers, what: &str, mut done: impl FnMut(&Keepers) -> bool) {
    for _ in 0..600 {
        if done(keepers) {
            return;
        }
        if let Ok(id) = tokio::time::timeout(Duration::from_millis(50), keepers.changed()).await {
            keepers.heed(&id);
        }
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn a_standby_is_kept_ready_and_takes_over_from_a_disowned_certificate() {
    let state = tempfile::tempdir().unwrap();
    let first = Issuer { standby: Some("second".into()), ..inner("first", state.path()) };
    let wish = spec("first", &["a.test"]);
    let (mut keepers, certificates) = keepers();
    keepers.adopt(&[first, inner("second", state.path())], std::slice::from_ref(&wish));
    let (main, standby) = (wish.id.clone(), wish.id.variant("standby"));
    let holds = |keepers: &Keepers, id: &CertId| {
        keepers.kept.get(id).is_some_and(|(_, handle)| handle.stage().held().is_some())
    };
    until(&mut keepers, "both are held", |keepers| holds(keepers, &main) && holds(keepers, &standby)).await;
    let source = CertificateSource::Acme(main.clone());
    let issuer = |certificates: &Certificates| {
        let held = certificates.held(&source).unwrap();
        crate::cert::inspect::Leaf::read(held.leaf()).unwrap().fingerprint
    };
    let shelf = Directory::view(state.path()).unwrap();
    let (own, ready) = (shelf.bundle(&main).unwrap().unwrap(), shelf.bundle(&standby).unwrap().unwrap());
    assert_ne!(own.leaf.key_fingerprint, ready.leaf.key_fingerprint, "it has a key of its own");
    assert_eq!(issuer(&certificates), own.leaf.fingerprint);
    keepers.sources.as_ref().unwrap().mark(&main, own.epoch, true, false);
    assert_eq!(issuer(&certificates), ready.leaf.fingerprint);
    // And it goes when nobody asks for it any more.
    keepers.adopt(&[inner("first", state.path())], std::slice::from_ref(&wish));
    assert!(!keepers.kept.contains_key(&standby));
}

#[tokio::test]
async fn a_certificate_says_by_itself_who_keeps_a_second_one_ready() {
    let state = tempfile::tempdir().unwrap();
    let (mut keepers, _) = keepers();
    let issuers = [
        Issuer { standby: Some("second".into()), ..inner("first", state.path()) },
        inner("second", state.path()),
        inner("third", state.path()),
    ];
    let wish = |name: &str, standby: Standby| CertSpec { standby, ..spec("first", &[name]) };
    let wishes = [
        wish("a.test", Standby::AsIssuer),
        wish("b.test", Standby::Off),
        wish("c.test", Standby::By("third".into())),
        CertSpec { standby: Standby::By("third".into()), ..spec("second", &["d.test"]) },
    ];
    keepers.adopt(&issuers, &wishes);
    let by = |wish: &CertSpec| keepers.kept.get(&wish.id.variant("standby")).map(|(spec, _)| spec.issuer.to_string());
    assert_eq!(wishes.each_ref().map(by), [Some("second".into()), None, Some("third".into()), Some("third".into())]);
}

#[tokio::test]
async fn a_disowned_certificate_without_a_standby_gives_way_to_an_older_one_and_comes_back_never() {
    let state = tempfile::tempdir().unwrap();
    let (mut keepers, certificates) = keepers();
    let wish = spec("a", &["a.test"]);
    let id = wish.id.clone();
    keepers.adopt(&[inner("a", state.path())], std::slice::from_ref(&wish));
    let epoch = |keepers: &Keepers| keepers.kept[&id].1.stage().held().map_or(0, |held| held.epoch);
    until(&mut keepers, "the first", |keepers| epoch(keepers) == 1).await;
    let shelf = Directory::view(state.path()).unwrap();
    let first = shelf.bundle(&id).unwrap().unwrap().leaf.fingerprint;
    assert!(keepers.renew(&id));
    until(&mut keepers, "the second", |keepers| epoch(keepers) == 2).await;
    // The authority is away, and then the second one is worth nothing.
    let away = Authority::Acme(AcmeServer::at("https://127.0.0.1:1/dir"));
    let away = Issuer::new("a", Some(state.path().to_owned()), away, Place::built_in());
    keepers.adopt(&[away], std::slice::from_ref(&wish));
    keepers.kept[&id].1.tell(Word::Event(Event::Disowned(2)));
    let shown = || certificates.held(&CertificateSource::Acme(id.clone())).unwrap().fingerprint;
    until(&mut keepers, "the first is shown", |_| shown() == first).await;
    // It is back.
    keepers.adopt(&[inner("a", state.path())], std::slice::from_ref(&wish));
    keepers.renew(&id);
    until(&mut keepers, "the third", |keepers| epoch(keepers) == 3).await;
    let third = shelf.bundle(&id).unwrap().unwrap().leaf.fingerprint;
    until(&mut keepers, "it is shown", |_| shown() == third).await;
    let epochs = || shelf.bundles(&id).unwrap().iter().map(|bundle| bundle.epoch).collect::<Vec<_>>();
    until(&mut keepers, "the second is put away", |_| epochs() == [3, 1]).await;
    assert!(!keepers.sources.as_ref().unwrap().is_grouped(&id), "it stands alone again");
}

#[tokio::test]
async fn a_name_that_is_added_does_not_cost_the_others_their_certificate() {
    let state = tempfile::tempdir().unwrap();
    let (mut keepers, certificates) = keepers();
    let before = spec("a", &["a.test"]);
    keepers.adopt(&[inner("a", state.path())], std::slice::from_ref(&before));
    let id = before.id.clone();
    until(&mut keepers, "it is held", |keepers| keepers.kept[&id].1.stage().held().is_some()).await;
    // The authority is away now.
    let away = Authority::Acme(AcmeServer::at("https://127.0.0.1:1/dir"));
    let away = Issuer::new("a", Some(state.path().to_owned()), away, Place::built_in());
    let after = spec("a", &["a.test", "b.test"]);
    keepers.adopt(&[away], std::slice::from_ref(&after));
    let shown = certificates.held(&CertificateSource::Acme(after.id.clone())).unwrap();
    let old = Directory::view(state.path()).unwrap().bundle(&id).unwrap().unwrap();
    assert_eq!(shown.fingerprint, old.leaf.fingerprint);
}

#[test]
fn what_left_is_noted_kept_for_a_month_and_put_aside() {
    let state = tempfile::tempdir().unwrap();
    let shelf = Directory::open(state.path()).unwrap();
    let (stays, goes) = (spec("a", &["a.test"]).id, spec("a", &["b.test"]).id);
    for id in [&stays, &goes] {
        shelf.save(&Record::Stage(id.clone()), b"{}").unwrap();
    }
    let wanted: HashSet<CertId> = [stays.clone()].into();
    let clock = VirtualClock::default();
    let day = |day: i64, wanted: &HashSet<CertId>| {
        clock.set(UnixTime::from_seconds(day * 86_400));
        tidy(&shelf, wanted, clock.now());
        let mut ids = shelf.ids().unwrap();
        ids.sort();
        ids
    };
    let both = vec![stays.clone(), goes.clone()];
    assert_eq!(day(0, &wanted), both);
    assert_eq!(day(29, &wanted), both);
    // It comes back, and leaves again: the month begins anew.
    assert_eq!(day(29, &both.iter().cloned().collect()), both);
    assert_eq!(day(30, &wanted), both);
    assert_eq!(day(59, &wanted), both);
    assert_eq!(day(60, &wanted), [stays]);
    assert!(state.path().join("archive").join(format!("{goes}.1/stage.json")).exists(), "nothing is destroyed");
}

#[tokio::test]
async fn another_authority_issues_when_the_first_cannot_be_reached() {
    let state = tempfile::tempdir().unwrap();
    let (mut keepers, certificates) = keepers();
    let away = Authority::Acme(AcmeServer::at("https://127.0.0.1:1/dir"));
    let away = Issuer::new("away", Some(state.path().to_owned()), away, Place::built_in());
    let away = Issuer { fallback: vec!["near".into()], ..away };
    let wish = spec("away", &["a.test"]);
    keepers.adopt(&[away, inner("near", state.path())], std::slice::from_ref(&wish));
    let id = wish.id.clone();
    until(&mut keepers, "the second issues", |keepers| keepers.kept[&id].1.stage().held().is_some()).await;
    assert!(certificates.held(&CertificateSource::Acme(id.clone())).is_some());
    let bundle = Directory::view(state.path()).unwrap().bundle(&id).unwrap().unwrap();
    assert_eq!(bundle.issuer, "near");
    assert!(state.path().join("ledger.json").exists(), "what was used up is on disk");
}
