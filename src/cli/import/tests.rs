//! Fixtures made by hand: what the three programs keep, with orphans, copies that differ and damage of every kind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::adopt::Verdict;
use super::*;
use crate::cert::journal::{Record, Shelf as _};
use crate::plan::acme::{AcmeServer, Authority, Issuer};
use crate::plan::certificate::{CertSpec, KeyKind};
use crate::store::Directory;
use crate::words::Place;

const DIRECTORY: &str = "https://ca.test/dir";
const NOW: UnixTime = UnixTime(1_800_000_000_000);

/// Chain and key of a certificate for `names` that ends `days` from now, signed by a CA.
fn certificate(names: &[&str], days: i64) -> (String, String) {
    let at = |days: i64| time::OffsetDateTime::from_unix_timestamp(1_800_000_000 + days * 86_400).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "a CA");
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut leaf = rcgen::CertificateParams::new(names).unwrap();
    (leaf.not_before, leaf.not_after) = (at(days - 90), at(days));
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca_pem, ca_key).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
    (format!("{leaf}{ca_pem}"), key.serialize_pem())
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// One lineage as certbot makes it.
fn lineage(root: &Path, name: &str, number: u32, (chain, key): &(String, String)) {
    write(root, &format!("archive/{name}/fullchain{number}.pem"), chain);
    write(root, &format!("archive/{name}/privkey{number}.pem"), key);
    fs::create_dir_all(root.join(format!("live/{name}"))).unwrap();
    for kind in ["fullchain", "privkey"] {
        let link = root.join(format!("live/{name}/{kind}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("../../archive/{name}/{kind}{number}.pem"), link).unwrap();
    }
    write(root, &format!("renewal/{name}.conf"), &format!("[renewalparams]\nserver = {DIRECTORY}\n"));
}

fn plan(state: &Path, names: &[&[&str]]) -> Plan {
    let server = AcmeServer { terms_accepted: true, ..AcmeServer::at(DIRECTORY) };
    let issuer = Issuer::new("le", Some(state.to_owned()), Authority::Acme(server), Place::built_in());
    let spec = |names: &&[&str]| {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        CertSpec::new("le", names, KeyKind::EcdsaP256, Place::built_in())
    };
    Plan { issuers: Box::new([issuer]), certificates: names.iter().map(spec).collect(), ..Plan::default() }
}

fn by_name<'a>(report: &'a Report, name: &str) -> &'a CertificateLine {
    report.certificates.iter().find(|line| line.name == name).unwrap()
}

#[test]
fn certbots_estate_is_shown_judged_and_taken_over_once() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = root.path();
    let good = certificate(&["a.example", "www.a.example"], 60);
    lineage(root, "a.example", 3, &good);
    lineage(root, "b.example", 1, &certificate(&["b.example"], 30));
    write(root, "archive/b.example/fullchain2.pem", &certificate(&["b.example"], 80).0);
    write(root, "archive/b.example/privkey2.pem", "newer");
    lineage(root, "expired.example", 1, &certificate(&["expired.example"], -1));
    lineage(root, "forgotten.example", 1, &certificate(&["a.example", "www.a.example"], 20));
    fs::remove_file(root.join("renewal/forgotten.example.conf")).unwrap();
    lineage(root, "gone.example", 1, &certificate(&["gone.example"], 50));
    fs::remove_dir_all(root.join("live/gone.example")).unwrap();
    lineage(root, "mixed.example", 1, &(good.0.clone(), certificate(&["mixed.example"], 5).1));
    write(root, "renewal/alone.example.conf", "");
    let state = state.path().join("state");
    let plan = plan(&state, &[&["a.example", "www.a.example"], &["c.example"]]);

    let report = survey(root, &plan, NOW, false).unwrap();
    assert_eq!(report.program, "certbot");
    assert!(matches!(by_name(&report, "a.example").verdict, Verdict::Wanted(_)), "{}", report.text());
    assert_eq!(by_name(&report, "a.example").authority.as_deref(), Some(DIRECTORY));
    let text = |name: &str| by_name(&report, name).notes.join("; ");
    assert!(text("b.example").contains("shows number 1") && text("b.example").contains("number 2"));
    assert!(text("forgotten.example").contains("orphan") && text("forgotten.example").contains("differs from"));
    assert!(text("gone.example").contains("live/gone.example is missing"));
    for (name, why) in [("expired.example", "expired"), ("mixed.example", "mismatch"), ("alone.example", "alone")] {
        let Verdict::Refused(said) = &by_name(&report, name).verdict else { panic!("{name} was not refused") };
        assert!(said.contains(why), "{name}: {said}");
    }
    assert!(!state.exists(), "nothing is written without --write");

    let report = survey(root, &plan, NOW, true).unwrap();
    assert!(matches!(by_name(&report, "a.example").verdict, Verdict::Adopted(_)), "{}", report.text());
    let held = Directory::view(&state).unwrap().bundle(&plan.certificates[0].id).unwrap().unwrap();
    assert_eq!((held.epoch, &held.authority[..]), (1, DIRECTORY));
    assert_eq!(held.leaf.not_after, NOW + Duration::from_secs(60 * 86_400));
    // A second time there is nothing to do, and a newer one takes its place.
    let report = survey(root, &plan, NOW, true).unwrap();
    assert!(matches!(by_name(&report, "a.example").verdict, Verdict::Left(_)));
    lineage(root, "a.example", 4, &certificate(&["a.example", "www.a.example"], 88));
    survey(root, &plan, NOW, true).unwrap();
    assert_eq!(Directory::view(&state).unwrap().bundle(&plan.certificates[0].id).unwrap().unwrap().epoch, 2);
}

#[test]
fn caddys_and_nginxs_estates_are_taken_over_with_their_accounts() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = root.path();
    let (chain, key) = certificate(&["a.example"], 60);
    let folder = "certificates/ca.test-dir/a.example/a.example";
    write(root, &format!("{folder}.crt"), &chain);
    write(root, &format!("{folder}.key"), &key);
    write(root, &format!("{folder}.json"), "{}");
    let account = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let users = "acme/ca.test-dir/users/me@a.example/me";
    write(root, &format!("{users}.key"), &account);
    write(root, &format!("{users}.json"), r#"{"contact":["mailto:me@a.example"],"location":"https://ca.test/acct/7"}"#);
    let state_path = state.path().join("one");
    let wanted = plan(&state_path, &[&["a.example"]]);
    let report = survey(root, &wanted, NOW, true).unwrap();
    assert_eq!(report.program, "Caddy");
    assert!(matches!(report.certificates[0].verdict, Verdict::Adopted(_)), "{}", report.text());
    assert!(matches!(report.accounts[0].verdict, Verdict::Adopted(_)), "{}", report.text());
    let shelf = Directory::view(&state_path).unwrap();
    let kept = shelf.load(&Record::Account("le".into())).unwrap().unwrap();
    let kept = crate::cert::journal::Account::read(&kept).unwrap();
    assert_eq!((&kept.url[..], &kept.authority[..]), ("https://ca.test/acct/7", DIRECTORY));

    let root = tempfile::tempdir().unwrap();
    write(root.path(), "account.key", &account);
    write(root.path(), "account.url", "https://ca.test/acct/8\n");
    write(root.path(), "a.example-1f.crt", &chain);
    write(root.path(), "a.example-1f.key", &key);
    let wanted = plan(&state.path().join("two"), &[&["a.example"]]);
    let report = survey(root.path(), &wanted, NOW, true).unwrap();
    assert_eq!(report.program, "nginx-acme");
    assert!(matches!(report.certificates[0].verdict, Verdict::Adopted(_)), "{}", report.text());
    assert!(matches!(report.accounts[0].verdict, Verdict::Adopted(_)), "{}", report.text());
    // An account is never put in the place of another.
    let report = survey(root.path(), &wanted, NOW, true).unwrap();
    assert!(matches!(report.accounts[0].verdict, Verdict::Left(_)));
}

#[test]
fn hostile_estates_are_named_and_nothing_of_them_is_taken() {
    let (root, other, state) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = root.path();
    let (chain, key) = certificate(&["a.example"], 60);
    fs::write(other.path().join("key.pem"), &key).unwrap();
    for name in ["out", "html", "cut", "huge", "pipe", "empty"] {
        lineage(root, name, 1, &(chain.clone(), key.clone()));
    }
    let at = |name: &str, file: &str| root.join(format!("archive/{name}/{file}"));
    fs::remove_file(at("out", "privkey1.pem")).unwrap();
    symlink(other.path().join("key.pem"), at("out", "privkey1.pem")).unwrap();
    fs::write(at("html", "fullchain1.pem"), "<html>not found</html>").unwrap();
    fs::write(at("cut", "fullchain1.pem"), &chain[..chain.len() / 3]).unwrap();
    fs::write(at("huge", "fullchain1.pem"), chain.repeat(5000)).unwrap();
    fs::remove_file(at("pipe", "fullchain1.pem")).unwrap();
    nix::unistd::mkfifo(&at("pipe", "fullchain1.pem"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(at("empty", "privkey1.pem"), "").unwrap();
    write(root, "renewal/..conf", "server = x");
    symlink(".", root.join("accounts")).unwrap();
    let state = state.path().join("state");
    let plan = plan(&state, &[&["a.example"]]);
    let report = survey(root, &plan, NOW, true).unwrap();
    for line in &report.certificates {
        assert!(matches!(line.verdict, Verdict::Refused(_)), "{}: {:?}", line.name, line.verdict);
    }
    assert!(!serde_json::to_string(&report).unwrap().contains("PRIVATE KEY"));
    assert!(survey(other.path(), &plan, NOW, true).is_err());
    assert!(survey(Path::new("/nonexistent"), &plan, NOW, true).is_err());
}
