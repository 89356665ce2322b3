//! Does semper get along with another authority than Pebble? acme2certifier, which shares no code and few habits with it: an
//! order from nothing, the window of renewal information (RFC 9773), and the renewal within it that names what it replaces.
#![allow(clippy::unwrap_used)]

mod bed;

use std::process::Command;
use std::time::Duration;

use bed::ca::Ca;
use bed::client::{Tls, serial};
use bed::process::Process;
use bed::server::{Semper, Site, http};
use bed::{PATIENCE, free_port, must_be_complete, root, wait_for};

const NAME: &str = "a.second.test";

/// Where acme2certifier lives; `None` where it cannot be installed and need not be there.
fn python() -> Option<String> {
    let built = Command::new("bash").arg(root().join("tests/second-ca/build.sh")).output().unwrap();
    if built.status.success() {
        return Some(String::from_utf8(built.stdout).unwrap().trim().to_owned());
    }
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(!must_be_complete(), "acme2certifier cannot be installed: {said}");
    eprintln!("left out: acme2certifier cannot be installed: {said}");
    None
}

/// A running acme2certifier with its DNS server.
struct Second {
    port: u16,
    authority: Ca,
    folder: tempfile::TempDir,
    process: Process,
    _names: Process,
}

impl Second {
    fn start(python: &str, http_port: u16) -> Second {
        let folder = tempfile::Builder::new().prefix("second").tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let (port, dns) = (free_port(), free_port());
        let authority = Ca::new("the second authority");
        let own = authority.issue(&["localhost"]);
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("own.pem", &own.chain);
        write("own.key", &own.key);
        write("ca.pem", &authority.pem());
        write("ca.key", &authority.key());
        write("ca.crl", &authority.empty_crl());
        std::fs::create_dir(folder.path().join("certs")).unwrap();
        // A window that begins some seconds after the issue and lasts four.
        write(
            "acme_srv.cfg",
            &format!(
                "[DEFAULT]\ndebug: False\ndns_server_list: [\"127.0.0.1\"]\n\
                 [CAhandler]\nhandler_module: acme2certifier.cahandlers.openssl_ca_handler\n\
                 issuing_ca_key: {dir}/ca.key\nissuing_ca_cert: {dir}/ca.pem\nissuing_ca_crl: {dir}/ca.crl\n\
                 cert_save_path: {dir}/certs\ncert_validity_days: 1\n\
                 [DBhandler]\nhandler: wsgi\ndbfile: {dir}/acme.db\n\
                 [Renewalinfo]\nrenewalthreshold_pctg: 0.01\nrenewal_window_duration: 4\nretry_after_timeout: 60\n"
            ),
        );
        let names = Process::start(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{}", free_port())]),
            &folder.path().join("names.log"),
        );
        let mut command = Command::new(python);
        command.arg(root().join("tests/second-ca/serve.py")).arg(port.to_string()).args(["own.pem", "own.key"]);
        command.args([http_port.to_string(), dns.to_string()]).current_dir(folder.path());
        command.env("ACME_SRV_CONFIGFILE", folder.path().join("acme_srv.cfg"));
        let process = Process::start(&mut command, &folder.path().join("output"));
        let mut second = Second { port, authority, folder, process, _names: names };
        wait_for("the second authority", PATIENCE, || {
            assert!(second.process.ended().is_none(), "it ended:\n{}", second.process.output());
            second.process.output().contains("\nlistening")
        });
        second
    }

    fn trusted(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// What each order said that it replaces.
    fn orders(&self) -> Vec<String> {
        let output = self.process.output();
        output.lines().filter_map(|line| line.strip_prefix("POST /acme/neworders ")).map(str::to_owned).collect()
    }
}

#[test]
fn another_authority_issues_and_its_window_brings_the_renewal() {
    let Some(python) = python() else { return };
    let http_port = free_port();
    let second = Second::start(&python, http_port);
    let site = Site::new(&http(&format!(
        "
    acme_issuer second {{
        uri https://localhost:{}/directory;
        ssl_trusted_certificate {};
        contact admin@second.test;
        challenge http;
        retry_interval 1s;
        order_timeout 20s;
    }}
    server {{ listen 127.0.0.1:{http_port}; server_name {NAME}; return 204; }}
    server {{
        listen 127.0.0.1:%port2% ssl;
        server_name {NAME};
        acme_certificate second;
        ssl_certificate $acme_certificate;
        ssl_certificate_key $acme_certificate_key;
        return 200 served;
    }}",
        second.port,
        second.trusted()
    )));
    site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
    let server = Semper::serve(&site);
    let tls = Tls::trusting(&second.authority.pem());
    wait_for("the first certificate", PATIENCE, || tls.chain(server.port(2), NAME).is_ok());
    let first = serial(&tls.chain(server.port(2), NAME).unwrap()[0]);
    let state = site.dir().join("state").display().to_string();
    wait_for("the window", PATIENCE, || {
        let said = Semper::run(&["explain", NAME, "--state", &state]);
        String::from_utf8_lossy(&said.stdout).contains("the authority suggests a moment between")
    });
    let renewed = || tls.chain(server.port(2), NAME).is_ok_and(|chain| serial(&chain[0]) != first);
    wait_for("the renewal within the window", PATIENCE + Duration::from_secs(20), renewed);
    let orders = second.orders();
    assert_eq!(orders[0], "", "the first order replaces nothing");
    assert!(orders[1].contains('.'), "the second names what it replaces: {orders:?}\n{}", second.process.output());
    assert_eq!(second.process.output().matches("POST /acme/newaccount").count(), 1);
}
