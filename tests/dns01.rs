//! Is control shown by DNS? Wildcards from Pebble, which asks real BIND: records written by signed updates, by hooks as
//! certbot and lego call theirs, and through acme-dns's API. And what happens when servers and hooks misbehave.
#![allow(clippy::unwrap_used)]

mod bed;
#[path = "dns01/hostile.rs"]
mod hostile;

use std::sync::{Arc, Mutex};

use std::os::unix::fs::PermissionsExt;

use bed::bind::{Bind, SECRET};
use bed::client::Tls;
use bed::origin::{Origin, Reply};
use bed::pebble::{Pebble, Settings};
use bed::server::{Semper, Server, Site, http};
use bed::{PATIENCE, wait_for};

const ZONE: &str = "site.test";

/// A site with a wildcard certificate, whose records are written as `provider` says.
fn site(bind: &Bind, provider: &str, name: &str) -> (Site, Pebble) {
    let site = Site::new("");
    let pebble = Pebble::with(&Settings { dns: Some(bind.port()), ..Settings::checking(site.port(1), site.port(2)) });
    site.rewrite(&http(&format!(
        "server {{ listen 127.0.0.1:%port1%; listen 127.0.0.1:%port2% ssl; server_name {name} *.{name};
            acme_certificate test; location / {{ return 200 hello; }} }}"
    )));
    let provider = provider.replace("%dns%", &bind.address().to_string());
    let own = format!(
        "state_path %dir%/state;\nacme_resolver {dns};\nacme_dns_provider own {{ propagation {dns}; {provider} }}\n\
         acme_issuer test {{ uri {uri}; ssl_trusted_certificate {trusted}; accept_terms_of_service; dns_provider own;
         staging {uri}; }}\n",
        dns = bind.address(),
        uri = pebble.directory(),
        trusted = pebble.trusted(),
    );
    let own = site.fill(&own);
    site.file("semper.conf", own);
    (site, pebble)
}

/// Waits until a name below the wildcard is served with a certificate of Pebble's.
fn certified(server: &Server, pebble: &Pebble, name: &str) {
    let tls = Tls::trusting(&pebble.root());
    wait_for(&format!("a wildcard certificate for {name}"), PATIENCE * 2, || tls.chain(server.port(2), name).is_ok());
}

fn script(site: &Site, name: &str, text: &str) -> String {
    let path = site.file(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

/// `renew --dry-run`: whether it would succeed, and what it says.
fn dry_run(site: &Site, name: &str) -> (bool, String) {
    let state = site.dir().join("state").display().to_string();
    let out = Semper::run(&["renew", "--dry-run", name, "--state", &state]);
    let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (out.status.success(), text)
}

/// Writes to BIND from a shell: `update add|delete NAME VALUE`.
fn nsupdate(bind: &Bind) -> String {
    format!(
        "update() {{ printf 'server 127.0.0.1 {}\\nzone {ZONE}\\nupdate %s %s 1 TXT \"%s\"\\nsend\\n' \"$@\" | \
         nsupdate -y hmac-sha256:semper:{SECRET}; }}\n",
        bind.port()
    )
}

#[test]
fn a_wildcard_comes_by_signed_updates_through_a_cname_and_the_records_go_again() {
    let bind = Bind::start(&[
        (ZONE, "@ IN A 127.0.0.1\n_acme-challenge IN CNAME site.acme.other.test.\n"),
        ("acme.other.test", ""),
    ]);
    let key = bind.key_file();
    let provider = format!("rfc2136 %dns%; tsig semper hmac-sha256 file:{};", key.display());
    let (site, pebble) = site(&bind, &provider, ZONE);
    let server = Semper::serve(&site);
    certified(&server, &pebble, "any.site.test");
    let changes = |what: &str| bind.log().matches(what).count();
    // The wildcard and its base: two values of one name, in the zone where the CNAME leads.
    assert_eq!(changes("updating zone 'acme.other.test/IN': adding an RR at 'site.acme.other.test' TXT"), 2);
    wait_for("both records to go", PATIENCE, || changes("'acme.other.test/IN': deleting an RR at site.acme") == 2);
    assert_eq!(changes("updating zone 'site.test/IN'"), 0);
    // A dry run writes and removes its records too, and installs nothing.
    let issued = pebble.issued();
    let (good, text) = dry_run(&site, ZONE);
    assert!(
        good && text.contains("preflight for dns-01: nothing found") && text.contains("by dns-01 came in"),
        "{text}"
    );
    assert_eq!(pebble.issued(), issued + 1);
    wait_for("its records to go", PATIENCE, || changes("'acme.other.test/IN': deleting an RR at site.acme") == 4);
    assert!(!server.complaints().contains(SECRET));
}

#[test]
fn hooks_of_certbot_run_as_they_are() {
    let bind = Bind::start(&[(ZONE, "@ IN A 127.0.0.1\n")]);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let (site, pebble) = site(&bind, &format!("exec certbot '{dir}/auth --quiet' {dir}/clean;"), ZONE);
    let update = nsupdate(&bind);
    let auth = format!(
        "#!/bin/sh\n{update}[ \"$1\" = --quiet ] || exit 9\n[ -z \"${{CERTBOT_TOKEN+x}}${{CERTBOT_AUTH_OUTPUT+x}}\" ] || exit 8\n\
         update add _acme-challenge.$CERTBOT_DOMAIN $CERTBOT_VALIDATION\n\
         echo \"$CERTBOT_ALL_DOMAINS $CERTBOT_REMAINING_CHALLENGES\" >> {dir}/seen\necho id-of-$CERTBOT_VALIDATION\n"
    );
    let clean = format!(
        "#!/bin/sh\n{update}[ \"$CERTBOT_AUTH_OUTPUT\" = id-of-$CERTBOT_VALIDATION ] && \
         update delete _acme-challenge.$CERTBOT_DOMAIN $CERTBOT_VALIDATION && echo clean >> {dir}/seen\n"
    );
    for (name, text) in [("auth", auth), ("clean", clean)] {
        let path = script(&site, name, &text);
        std::fs::copy(path, folder.path().join(name)).unwrap();
    }
    let server = Semper::serve(&site);
    certified(&server, &pebble, "any.site.test");
    let seen = || std::fs::read_to_string(folder.path().join("seen")).unwrap_or_default();
    wait_for("the clean-up", PATIENCE, || seen().matches("clean").count() == 2);
    assert!(seen().starts_with("site.test,site.test 1\nsite.test,site.test 0\n"), "{}", seen());
}

#[test]
fn hooks_of_lego_run_as_they_are_with_secrets_that_nobody_sees() {
    let bind = Bind::start(&[(ZONE, "@ IN A 127.0.0.1\n")]);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    std::fs::write(folder.path().join("token"), "a-token-of-tests\n").unwrap();
    let provider = format!("exec lego {dir}/hook; exec_env API_TOKEN file:{dir}/token; exec_env CARGO_PKG_NAME;");
    let (site, pebble) = site(&bind, &provider, ZONE);
    let update = nsupdate(&bind);
    // The first call fails, and says too much.
    let text = format!(
        "#!/bin/sh\n{update}echo \"$*\" >> {dir}/seen\n[ \"$API_TOKEN\" = a-token-of-tests ] || exit 7\n\
         [ -e {dir}/second ] || {{ touch {dir}/second; echo \"no, $API_TOKEN is wrong\" >&2; exit 3; }}\n\
         case $1 in present) update add $2 $3;; cleanup) update delete $2 $3;; esac\nenv > {dir}/env\n"
    );
    std::fs::copy(script(&site, "hook", &text), folder.path().join("hook")).unwrap();
    let mut own = site.read("semper.conf");
    own = own.replace("dns_provider own;", "dns_provider own; retry_interval 1s;");
    site.file("semper.conf", own);
    let server = Semper::serve(&site);
    certified(&server, &pebble, "any.site.test");
    let seen = std::fs::read_to_string(folder.path().join("seen")).unwrap();
    assert!(seen.starts_with("present _acme-challenge.site.test. "), "{seen}");
    // Of our own environment it sees what it was promised.
    let env = std::fs::read_to_string(folder.path().join("env")).unwrap();
    let has = |name: &str| env.lines().any(|line| line.starts_with(&format!("{name}=")));
    assert!(["PATH", "CERTBOT_DOMAIN", "SEMPER_RECORD", "API_TOKEN", "CARGO_PKG_NAME"].into_iter().all(has), "{env}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !has("CARGO_MANIFEST_DIR") && !has("CARGO"), "{env}");
    let log = server.complaints();
    assert!(log.contains("no, *** is wrong") && !log.contains("a-token-of-tests"), "{log}");
}

#[test]
fn acme_dns_is_told_and_a_missing_cname_is_named() {
    let bind = Bind::start(&[
        (ZONE, "@ IN A 127.0.0.1\n_acme-challenge IN CNAME d420c923.auth.test.\n"),
        ("bare.test", "@ IN A 127.0.0.1\n"),
        ("auth.test", ""),
    ]);
    // What acme-dns does with an update: it keeps the last two values and answers for them itself. Here BIND does.
    let writes = Arc::new(Mutex::new(Vec::new()));
    let (seen, port) = (writes.clone(), bind.port());
    let api = Origin::start(move |request| {
        let right = request.header("x-api-user") == Some("user-1") && request.header("x-api-key") == Some("pass-1");
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        if !right || request.line != "POST /update HTTP/1.1" || body["subdomain"] != "d420c923" {
            return Reply::with(401, &[], "{\"error\": \"forbidden\"}");
        }
        let value = body["txt"].as_str().unwrap().to_owned();
        let input =
            format!("server 127.0.0.1 {port}\nzone auth.test\nupdate add d420c923.auth.test 1 TXT \"{value}\"\nsend\n");
        let mut child = std::process::Command::new("nsupdate")
            .args(["-y", &format!("hmac-sha256:semper:{SECRET}")])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        seen.lock().unwrap().push(value.clone());
        Reply::ok(format!("{{\"txt\": \"{value}\"}}"))
    });
    let account = r#"{"username": "user-1", "password": "pass-1", "fulldomain": "d420c923.auth.test", "subdomain": "d420c923", "allowfrom": []}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.json");
    std::fs::write(&path, format!("{{\"site.test\": {account}, \"bare.test\": {account}}}")).unwrap();
    let provider = format!("acme_dns http://127.0.0.1:{}; accounts file:{};", api.port(), path.display());
    let (site_one, pebble) = site(&bind, &provider, ZONE);
    let server = Semper::serve(&site_one);
    certified(&server, &pebble, "any.site.test");
    assert_eq!(writes.lock().unwrap().len(), 2);
    drop(server);

    let (bare, pebble) = site(&bind, &provider, "bare.test");
    let server = Semper::serve(&bare);
    let words = "_acme-challenge.bare.test must be a CNAME to d420c923.auth.test; it is none";
    wait_for("the cause", PATIENCE, || server.complaints().contains(words));
    assert_eq!((pebble.log().matches("DNS-01").count(), writes.lock().unwrap().len()), (0, 2));
    assert!(!server.complaints().contains("pass-1"));
}

#[test]
fn a_challenge_cname_that_belongs_to_somebody_else_is_named_and_costs_no_validation() {
    let bind =
        Bind::start(&[(ZONE, "@ IN A 127.0.0.1\n_acme-challenge IN CNAME abc.dcv.cdn.test.\n"), ("cdn.test", "")]);
    let key = bind.key_file();
    let provider = format!("rfc2136 %dns%; tsig semper hmac-sha256 file:{}; domains {ZONE};", key.display());
    let (site, pebble) = site(&bind, &provider, ZONE);
    let server = Semper::serve(&site);
    let words = "_acme-challenge.site.test is a CNAME to abc.dcv.cdn.test, which this provider does not write";
    wait_for("the cause", PATIENCE, || server.complaints().contains(words));
    let (good, text) = dry_run(&site, ZONE);
    assert!(!good && text.contains("preflight for dns-01: ") && text.contains("abc.dcv.cdn.test"), "{text}");
    assert!(!bind.log().contains("updating zone"), "{}", bind.log());
    assert!(!pebble.log().contains("Attempting to validate"), "{}", pebble.log());
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_its_line() {
    let provider = "acme_dns_provider p { exec lego /bin/true; }";
    for (own, issuer, words) in [
        ("", "", "acme_certificate for *.site.test needs \"dns_provider\" in acme_issuer \"test\""),
        ("", "dns_provider p;", "unknown acme_dns_provider \"p\""),
        ("", "challenge dns-01; ", "needs \"dns_provider\""),
        ("acme_dns_provider p { }", "dns_provider p;", "needs \"rfc2136\", \"exec\" or \"acme_dns\""),
        ("acme_dns_provider p { exec lego a; rfc2136 192.0.2.1; }", "", "second way"),
        ("acme_dns_provider p { exec perl a; }", "", "unknown kind of hook \"perl\""),
        ("acme_dns_provider p { exec certbot a b c; }", "", "quote those with arguments"),
        ("acme_dns_provider p { exec lego a; tsig a hmac-sha256 file:x; }", "", "\"tsig\" goes with \"rfc2136\" alone"),
        (
            "acme_dns_provider p { rfc2136 192.0.2.1; tsig a hmac-md5 file:x; }",
            "",
            "unsupported algorithm \"hmac-md5\"",
        ),
        ("acme_dns_provider p { rfc2136 192.0.2.1; tsig a hmac-sha256 c2Vj; }", "", "a secret is given as file:PATH"),
        ("acme_dns_provider p { acme_dns https://a.test; }", "", "\"acme_dns\" needs \"accounts\""),
        (
            "acme_dns_provider p { exec lego a; } acme_dns_provider p { exec lego a; }",
            "",
            "duplicate acme_dns_provider",
        ),
        ("acme_resolver 192.0.2.1; acme_resolver 192.0.2.2;", "", "duplicate"),
        (provider, "dns_provider p;", "test is successful"),
        (provider, "challenge dns-01 http-01; dns_provider p;", "test is successful"),
    ] {
        let server = match words.starts_with("needs \"dns_p") {
            true => "server_name site.test; acme_certificate test;",
            false => "server_name *.site.test; acme_certificate test;",
        };
        let site = Site::new(&format!(
            "events {{ }} {own}\nacme_issuer test {{ uri https://ca.test; {issuer} }}\nhttp {{ server {{ listen 127.0.0.1:%port1%; {server} }} }}"
        ));
        let out = Semper::run(&["-t", "--offline", "-c", site.conf().to_str().unwrap(), "-e", "stderr"]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains(words), "{own} {issuer}: {said}");
    }
}
