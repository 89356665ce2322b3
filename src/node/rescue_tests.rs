//! Promises of the rescue, with the built-in authority in the place of a public one.

use std::time::Duration;

use super::*;
use crate::cert::bundle::PrivateKey;
use crate::cert::gate::Pair;
use crate::clock::VirtualClock;
use crate::conf::{MemoryWorld, Options, load};
use crate::node::clock::RealDice;
use crate::node::keeper::Tools;
use crate::node::secrets::OwnSecrets;
use crate::node::sources::Sources;
use crate::zone::challenges::Challenges;

struct Bed {
    state: tempfile::TempDir,
    root: rcgen::Issuer<'static, rcgen::KeyPair>,
    anchor: TrustAnchor<'static>,
}

struct Node {
    plan: Plan,
    certificates: Arc<Certificates>,
    keepers: Keepers,
    rescuer: Rescuer,
}

impl Bed {
    fn new() -> Bed {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "public root");
        let root = params.self_signed(&key).unwrap();
        let anchor = webpki::anchor_from_trusted_cert(root.der()).unwrap().to_owned();
        Bed { state: tempfile::tempdir().unwrap(), root: rcgen::Issuer::new(params, key), anchor }
    }

    /// A certificate of ninety days of which so many are left.
    fn pair(&self, name: &str, left: i64) -> Pair {
        let now = RealClock.now().seconds();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = time::OffsetDateTime::from_unix_timestamp(now - (90 - left) * 86_400).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(now + left * 86_400).unwrap();
        let chain = vec![params.signed_by(&key, &self.root).unwrap().der().clone()];
        let leaf = Leaf::read(&chain[0]).unwrap();
        Pair { chain, key: PrivateKey::from_pkcs8(key.serialize_der()), leaf }
    }

    fn node(&self, name: &str, outside: bool) -> Node {
        let (certificates, clock) = (Certificates::new().unwrap(), Arc::new(RealClock));
        let sources = Arc::new(Sources::new(certificates.clone(), clock.clone()));
        let shown = sources.clone();
        let publish = Arc::new(move |installed| shown.offer(installed));
        let tools = Tools { clock: clock.clone(), dice: Arc::new(RealDice), publish, beats: Arc::default() };
        let mut keepers = Keepers::new(tools, Arc::new(Challenges::new(clock.clone())), Arc::new(OwnSecrets));
        keepers.arrange_with(sources);
        let state = self.state.path().display();
        let conf = format!(
            "events {{}} acme_issuer own {{ uri internal; state_path {state}; }} rescue own;
             http {{ server {{ listen 443 ssl; server_name {name}; ssl_certificate /f.pem; ssl_certificate_key /f.key; }} }}"
        );
        let mut world = MemoryWorld::with_file("/etc/nginx/nginx.conf", &*conf);
        world.lenient = true;
        let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx"));
        let plan = loaded.plan.unwrap_or_else(|| panic!("refused"));
        keepers.adopt(&plan.issuers, &plan.certificates);
        let resolve: Resolve = Arc::new(move |_| outside.then(|| vec!["192.0.2.1".parse().unwrap()]));
        let rescuer = Rescuer::new(certificates.clone(), clock, vec![self.anchor.clone()].into(), resolve);
        Node { plan, certificates, keepers, rescuer }
    }
}

impl Node {
    fn source(&self) -> CertificateSource {
        names_in_use(&self.plan).into_keys().next().unwrap().clone()
    }

    fn file(&self, pair: &Pair) -> Fingerprint {
        self.certificates.install(&self.source(), pair.clone()).unwrap().fingerprint
    }

    fn look(&mut self) -> Fingerprint {
        self.rescuer.look(&self.plan, &mut self.keepers);
        self.certificates.held(&self.source()).unwrap().fingerprint
    }

    async fn until_other(&mut self, than: Fingerprint) -> Fingerprint {
        for _ in 0..500 {
            let shown = self.look();
            if shown != than {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it is never taken over");
    }
}

#[tokio::test]
async fn a_file_that_nobody_renews_is_taken_over_and_a_new_one_takes_over_again() {
    let bed = Bed::new();
    let mut node = bed.node("www.example.com", true);
    let old = bed.pair("www.example.com", 14);
    let file = node.file(&old);
    let ours = node.until_other(file).await;
    // Somebody touches the old file: it is shown for a second at most.
    node.file(&old);
    node.rescuer.tick();
    assert_eq!(node.certificates.held(&node.source()).unwrap().fingerprint, ours);
    // A restart begins with the file, and shows ours before anybody is answered.
    drop(node);
    let mut node = bed.node("www.example.com", false);
    node.file(&old);
    assert_eq!(node.look(), ours, "without a look-up");
    // Somebody renews the file after all.
    let new = node.file(&bed.pair("www.example.com", 89));
    assert_eq!(node.look(), new);
    node.rescuer.tick();
    assert_eq!((node.look(), node.rescuer.is_busy()), (new, false));
    assert!(node.keepers.stages().is_empty(), "and ours is no longer kept");
}

#[tokio::test]
async fn a_file_that_could_never_be_read_is_taken_over_after_a_while_and_a_good_one_takes_over_again() {
    let bed = Bed::new();
    let mut node = bed.node("www.example.com", true);
    let clock = Arc::new(VirtualClock::default());
    clock.set(RealClock.now());
    node.rescuer.clock = clock.clone();
    let waits = |node: &mut Node| {
        node.rescuer.look(&node.plan, &mut node.keepers);
        assert!(node.keepers.stages().is_empty() && node.certificates.held(&node.source()).is_none());
        node.rescuer.words(&node.plan)[0].1.clone()
    };
    assert!(waits(&mut node).starts_with("taken over by own on "));
    clock.set(clock.now() + Duration::from_secs(299));
    waits(&mut node);
    clock.set(clock.now() + Duration::from_secs(2));
    let mut ours = None;
    for _ in 0..500 {
        node.rescuer.look(&node.plan, &mut node.keepers);
        ours = node.certificates.held(&node.source()).map(|held| held.fingerprint);
        if ours.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ours = ours.expect("it is taken over");
    assert!(node.rescuer.words(&node.plan)[0].1.starts_with("semper has taken it over by own; shown until"));
    node.rescuer.tick();
    assert_eq!(node.look(), ours);
    let file = node.file(&bed.pair("www.example.com", 80));
    assert_eq!(node.look(), file, "somebody mended it");
    assert!(node.keepers.stages().is_empty());
    // Nobody outside knows the name, or it is none of theirs.
    for (name, outside) in [("www.example.com", false), ("db.internal", true)] {
        let bed = Bed::new();
        let mut node = bed.node(name, outside);
        node.rescuer.clock = clock.clone();
        waits(&mut node);
        clock.set(clock.now() + Duration::from_secs(600));
        let words = waits(&mut node);
        assert!(words.contains("not found outside") || words.contains("never taken over"), "{name}: {words}");
    }
}

#[tokio::test]
async fn what_is_well_private_or_unknown_outside_is_left_alone() {
    let bed = Bed::new();
    for (name, left, outside) in
        [("www.example.com", 16, true), ("db.internal", 5, true), ("www.example.com", 5, false)]
    {
        let mut node = bed.node(name, outside);
        let file = node.file(&bed.pair(name, left));
        assert_eq!(node.look(), file);
        assert!(node.keepers.stages().is_empty() && !node.rescuer.is_busy(), "{name} {left}");
    }
}

#[test]
fn the_forecast_says_what_would_be_rescued_and_what_not() {
    let bed = Bed::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut plan = bed.node("www.example.com", true).plan;
    let folder = tempfile::tempdir().unwrap();
    let pair = bed.pair("www.example.com", 20);
    let mut chain = String::new();
    pair.chain.iter().for_each(|der| crate::cert::pem::write(&mut chain, "CERTIFICATE", der));
    std::fs::write(folder.path().join("f.pem"), chain).unwrap();
    std::fs::write(folder.path().join("f.key"), pair.key.to_pem().as_bytes()).unwrap();
    let conf = folder.path().display();
    let text = format!(
        "events {{}} acme_issuer own {{ uri internal; }} rescue own names=www.example.com;
         http {{ server {{ listen 443 ssl; server_name www.example.com; ssl_certificate {conf}/f.pem;
         ssl_certificate_key {conf}/f.key; }} }}"
    );
    let mut world = MemoryWorld::with_file("/etc/nginx/nginx.conf", &*text);
    world.lenient = true;
    let named = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx")).plan.unwrap();
    let now = RealClock.now();
    let lines = forecast(&named, &crate::net::files::Disk, now);
    assert!(lines[0].contains("would be rescued by own from") && lines[0].contains("www.example.com"), "{lines:?}");
    std::fs::write(folder.path().join("f.key"), "nonsense").unwrap();
    let lines = forecast(&named, &crate::net::files::Disk, now);
    let wanted = "would be rescued by own now (it cannot be read): www.example.com";
    assert!(lines[0].ends_with(wanted), "{lines:?}");
    std::fs::write(folder.path().join("f.key"), pair.key.to_pem().as_bytes()).unwrap();
    plan.http = named.http.clone();
    let lines = forecast(&plan, &crate::net::files::Disk, now);
    assert!(lines[0].ends_with("would not be rescued: it leads to no public root"), "{lines:?}");
}
