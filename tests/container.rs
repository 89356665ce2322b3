//! Does semper run as its image runs it? As uid 65532 without any capability, on a read-only root, writing below its own
//! folder only: it serves, obtains a certificate, reloads, and ends. No container engine: a mount namespace.
#![allow(clippy::unwrap_used)]

mod bed;

use std::os::unix::fs::chown;
use std::path::Path;

use bed::client::Tls;
use bed::server::{Server, Site, http, nginx_binary, semper_binary};
use bed::{PATIENCE, must_be_complete, wait_for};
use nix::sys::signal::Signal;

const UID: u32 = 65532;

const CONF: &str = "
    acme_issuer own { uri internal; }
    server { listen 127.0.0.1:%port1%; server_name a.test; return 200 plain; }
    server { listen 127.0.0.1:%port2% ssl; server_name a.test; acme_certificate own;
        ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key;
        client_body_buffer_size 1k; location / { return 200 $scheme; } location /up { proxy_pass http://127.0.0.1:%port1%; } }";

/// Starts `binary` in a mount namespace where all but the site's folder is read-only, without rights.
fn contained(binary: &Path, site: &Site) -> Server {
    let dir = site.dir().to_str().unwrap();
    let script = "mount --make-rprivate / && mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro / && \
        exec setpriv --reuid 65532 --regid 65532 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \"$@\"";
    own(site.dir());
    Server::start_inside(&["unshare", "--mount", "sh", "-c", script, dir], binary, site, &[], &[])
}

fn own(path: &Path) {
    chown(path, Some(UID), Some(UID)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

/// Namespaces and other people's ids need root; CI has it.
fn rootless() -> bool {
    let rootless = !nix::unistd::getuid().is_root();
    assert!(!(rootless && must_be_complete()), "this test needs root: run `make test` as root");
    rootless
}

fn field(process: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn without_rights_on_a_read_only_root_everything_works() {
    if rootless() {
        return;
    }
    let site = Site::new(&http(CONF).replace("user root;\n", ""));
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    let mut semper = contained(semper_binary(), &site);
    let master = semper.process().id();
    for process in std::iter::once(master).chain(semper.process().children()) {
        assert_eq!(field(process, "Uid:"), UID.to_string());
        assert_eq!(field(process, "CapEff:"), "0000000000000000");
    }
    assert_eq!(semper.get(1, "/").text(), "plain");
    wait_for("the certificate", PATIENCE, || {
        Tls::blind().chain(semper.port(2), "a.test").is_ok_and(|chain| chain.len() > 1)
    });
    assert_eq!(Tls::blind().get(semper.port(2), "a.test", "/").unwrap().text(), "https");
    assert_eq!(Tls::blind().get(semper.port(2), "a.test", "/up").unwrap().text(), "plain");
    let state = std::fs::metadata(site.dir().join("state")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&state.permissions()) & 0o777, 0o700);
    semper.reload(&http(CONF).replace("user root;\n", "").replace("200 plain", "200 again"));
    wait_for("the new routes", PATIENCE, || semper.get(1, "/").text() == "again");
    semper.signal(Signal::SIGUSR1);
    semper.signal(Signal::SIGQUIT);
    assert!(semper.process().wait(PATIENCE).success(), "{}", semper.complaints());
}

#[test]
fn the_namespace_itself_is_tight() {
    if rootless() {
        return;
    }
    // The same walls around nginx: what this file promises does not rest on semper alone.
    let site = Site::new(&http("server { listen 127.0.0.1:%port1%; return 200 nginx; }").replace("user root;\n", ""));
    let mut nginx = contained(nginx_binary(), &site);
    assert_eq!(nginx.get(1, "/").text(), "nginx");
    let root = format!("/proc/{}/root", nginx.process().id());
    assert!(std::fs::write(format!("{root}/usr/it-is-writable"), "").is_err());
}
