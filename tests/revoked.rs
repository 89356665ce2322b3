//! What happens when an authority puts a certificate on its list of revoked ones? A real semper, a certificate that names a
//! list, a server that serves it, and Pebble for the certificates that follow.
#![allow(clippy::unwrap_used)]

mod bed;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bed::ca::Ca;
use bed::client::{Tls, serial};
use bed::faulty::{Fault, Faulty, When, Wrong};
use bed::origin::{Origin, Reply};
use bed::pebble::{Pebble, Settings};
use bed::server::{Semper, Server, Site, http};
use bed::{PATIENCE, free_port, wait_for, wait_some};

const NAME: &str = "shop.site.test";
const SOON: Duration = Duration::from_secs(2);

/// An authority whose first certificate names a list, and the list.
struct Bed {
    lists: Origin,
    /// Who signs the list, and what stands on it.
    list: Arc<Mutex<(Arc<Ca>, Vec<String>)>>,
    own: Arc<Ca>,
    front: Faulty,
    site: Site,
    _pebble: Pebble,
}

impl Bed {
    /// `more` goes into the acme_issuer.
    fn new(more: &str) -> Bed {
        let http_port = free_port();
        let pebble = Pebble::with(&Settings::checking(http_port, free_port()));
        let own = Arc::new(Ca::new("an authority with a list"));
        let list = Arc::new(Mutex::new((own.clone(), Vec::new())));
        let kept = list.clone();
        let lists = Origin::start(move |_| {
            let (by, serials) = kept.lock().unwrap().clone();
            Reply::ok(by.list(&serials, SOON))
        });
        let url = format!("http://{}/1.crl", lists.address());
        let by = own.clone();
        let sign = move |request| by.sign_listed(request, &url, Duration::from_secs(90 * 86_400));
        let first = Fault { path: "/certZ", when: When::Times(1), wrong: Wrong::Signed(Arc::new(sign)) };
        let of_front = Ca::new("the proxy");
        let front = Faulty::before(&pebble, &of_front, vec![first]);
        let site = Site::new("");
        let trusted = site.file("front.pem", of_front.pem());
        site.rewrite(&http(&format!(
            "acme_issuer le {{ uri {}; ssl_trusted_certificate {}; accept_terms_of_service; challenge http;
                 retry_interval 1s; limits none; {more} }}
             acme_issuer second {{ uri internal; }}
             server {{ listen 127.0.0.1:{http_port}; server_name {NAME}; return 204; }}
             server {{ listen 127.0.0.1:%port2% ssl; server_name {NAME}; acme_certificate le;
                 ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 served; }}",
            front.directory(),
            trusted.display()
        )));
        site.file("semper.conf", format!("state_path {}/state;\n", site.dir().display()));
        Bed { lists, list, own, front, site, _pebble: pebble }
    }

    fn shown(&self, server: &Server) -> String {
        serial(&Tls::blind().chain(server.port(2), NAME).unwrap()[0])
    }

    /// Starts, and waits for the certificate that names the list, and until the list was fetched.
    fn start(&self) -> (Server, String) {
        let server = Semper::serve(&self.site);
        let tls = Tls::trusting(&self.own.pem());
        wait_for("the certificate", PATIENCE, || tls.chain(server.port(2), NAME).is_ok());
        let first = self.shown(&server);
        wait_for("the list to be fetched twice", PATIENCE, || self.lists.connections() >= 2);
        assert_eq!(self.shown(&server), first, "it is not on the list");
        (server, first)
    }

    fn revoke(&self, serial: &str) {
        *self.list.lock().unwrap() = (self.own.clone(), vec![serial.to_owned()]);
    }

    fn folder(&self) -> Option<std::path::PathBuf> {
        let all = std::fs::read_dir(self.site.dir().join("state/certs")).ok()?;
        let mut all = all.map(|entry| entry.unwrap().path());
        all.find(|path| !path.to_string_lossy().ends_with("standby"))
    }
}

#[test]
fn a_certificate_on_its_authoritys_list_is_replaced_at_once_and_put_away() {
    let bed = Bed::new("");
    let (server, first) = bed.start();
    // A list that somebody else signed says nothing.
    *bed.list.lock().unwrap() = (Arc::new(Ca::new("an authority with a list")), vec![first.clone()]);
    let fetched = bed.lists.connections();
    wait_for("the foreign list to be fetched", PATIENCE, || bed.lists.connections() > fetched);
    server.wait_for_line("error.log", "has not signed it");
    assert_eq!((bed.shown(&server), bed.front.orders()), (first.clone(), 1));
    bed.revoke(&first);
    wait_for("another certificate", PATIENCE * 2, || bed.shown(&server) != first);
    server.wait_for_line("error.log", "has been revoked by its authority");
    let folder = bed.folder().unwrap();
    wait_for("the old one to be put away", PATIENCE, || folder.join("1.disowned").exists());
    assert!(folder.join("2.pem").exists() && !folder.join("1.pem").exists());
    assert_eq!(bed.front.orders(), 2);
}

#[test]
fn a_standby_takes_over_from_a_revoked_certificate_while_the_authority_is_down() {
    let bed = Bed::new("standby second;");
    let (server, first) = bed.start();
    let standby = wait_some("the standby", PATIENCE, || {
        let all = std::fs::read_dir(bed.site.dir().join("state/certs")).ok()?;
        let mut all = all.map(|entry| entry.unwrap().path().join("bundle.pem"));
        all.find(|path| path.to_string_lossy().contains("~standby") && path.exists())
    });
    let down = Wrong::Instead(503, vec!["Retry-After: 60".into()], "down".into());
    bed.front.spoil(Fault { path: "/", when: When::For(Duration::from_secs(600)), wrong: down });
    bed.revoke(&first);
    let said = wait_some("the list to be believed", PATIENCE, || {
        server.read("error.log").contains("has been revoked by its authority").then(Instant::now)
    });
    wait_for("the standby to be shown", PATIENCE, || bed.shown(&server) != first);
    assert!(said.elapsed() < Duration::from_secs(1), "{:?}", said.elapsed());
    let text = std::fs::read_to_string(standby).unwrap();
    let ready = rustls::pki_types::pem::PemObject::from_pem_slice(text.as_bytes()).unwrap();
    assert_eq!(bed.shown(&server), serial(&ready));
    // A restart knows it too.
    drop(server);
    let server = Semper::serve(&bed.site);
    assert_eq!(bed.shown(&server), serial(&ready));
}
