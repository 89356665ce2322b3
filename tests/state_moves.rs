//! Does a node come back on another machine without asking its authority again? `semper state export` on one state path,
//! `import` on another, and a real semper on each.
#![allow(clippy::unwrap_used)]

mod bed;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use bed::server::{Semper, Server, Site, http, semper_binary};
use bed::{PATIENCE, wait_for, wait_some};

const CONF: &str = "
    acme_issuer inner { uri internal; }
    server {
        listen 127.0.0.1:%port1% ssl;
        server_name a.test;
        acme_certificate inner;
        ssl_certificate $acme_certificate;
        ssl_certificate_key $acme_certificate_key;
        return 204;
    }";

fn state(site: &Path, words: &[&str], passphrase: &str) -> Output {
    let mut command = Command::new(semper_binary());
    command.arg("state").args(words).arg("-c").arg(site.join("nginx.conf")).env("SEMPER_PASSPHRASE", passphrase);
    command.stdin(Stdio::null()).output().unwrap()
}

fn site() -> Site {
    Site::new(&format!("state_path %dir%/state;\n{}", http(CONF)))
}

/// The bundles of a state path, by name.
fn bundles(site: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(site.join("state/certs")).into_iter().flatten() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "pem") {
                found
                    .push((path.file_name().unwrap().to_string_lossy().into(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn serve(site: &Site) -> Server {
    let server = Semper::serve(site);
    wait_some("a bundle", PATIENCE, || (!bundles(site.dir()).is_empty()).then_some(()));
    server
}

#[test]
fn a_node_comes_back_elsewhere_with_its_certificates_and_orders_none() {
    let (old, new) = (site(), site());
    let running = serve(&old);
    let file = old.dir().join("sealed");
    let file = file.to_str().unwrap();
    // While it runs; and never over a file that is there.
    let exported = state(old.dir(), &["export", file], "correct horse");
    assert!(exported.status.success(), "{exported:?}");
    assert!(!state(old.dir(), &["export", file], "correct horse").status.success());
    drop(running);

    let wrong = state(new.dir(), &["import", file], "battery staple");
    assert!(!wrong.status.success() && !new.dir().join("state").exists(), "{wrong:?}");
    let imported = state(new.dir(), &["import", file, "--json"], "correct horse");
    assert!(imported.status.success(), "{imported:?}");
    let before = bundles(old.dir());
    assert!(!before.is_empty() && bundles(new.dir()) == before, "the same bundles lie there");
    let running = serve(&new);
    let status = || Command::new(semper_binary()).args(["status", "-c"]).arg(new.conf()).output().unwrap();
    wait_for("semper to answer", PATIENCE, || status().status.success());
    assert!(bundles(new.dir()) == before, "nothing was ordered");
    // Never below a running semper.
    let refused = state(new.dir(), &["import", file], "correct horse");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by a running semper"), "{refused:?}");
    drop(running);
}

#[test]
fn without_a_passphrase_nothing_is_sealed() {
    let site = site();
    drop(serve(&site));
    let file = site.dir().join("sealed");
    let output = state(site.dir(), &["export", file.to_str().unwrap()], "short");
    assert!(!output.status.success() && !file.exists(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("at least 8 characters"));
}
