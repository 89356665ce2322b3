//! Do programs beside semper serve what it obtained, and what it renewed? A real nginx and a real PostgreSQL read what is
//! exported, and are told by the hook.
#![allow(clippy::unwrap_used)]

mod bed;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bed::process::Process;
use bed::server::{Semper, Server, Site, http, nginx_binary, semper_binary};
use bed::{PATIENCE, free_port, wait_for, wait_some};

fn is_root() -> bool {
    nix::unistd::getuid().is_root()
}

/// semper as an ordinary user sees it where it can be started so: the master may write what the server process may not.
fn site(export: &str) -> Site {
    let user = if is_root() { "user nobody nogroup;" } else { "" };
    let site = Site::new(&format!(
        "{user}
pid %dir%/pid; error_log %dir%/error.log info; worker_processes 1; events {{ }}
state_path %dir%/state;
{export}
http {{
    access_log off;
    acme_issuer inner {{ uri internal; }}
    server {{
        listen 127.0.0.1:%port1% ssl;
        server_name a.test b.test;
        acme_certificate inner;
        ssl_certificate $acme_certificate;
        ssl_certificate_key $acme_certificate_key;
        return 204;
    }}
}}"
    ));
    std::fs::set_permissions(site.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    site
}

/// The serial number that is served on a port, as OpenSSL sees it.
fn serial(port: u16, more: &[&str]) -> Option<String> {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "a.test"]).args(more);
    let shown = client.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE-----")?;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text[begin..]).unwrap();
    Some(serial_of(file.path()))
}

fn serial_of(path: &Path) -> String {
    let read = Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(path).output().unwrap();
    String::from_utf8(read.stdout).unwrap()
}

fn renew(server: &Server) {
    let mut command = Command::new(semper_binary());
    let output = command.args(["renew", "a.test", "-c"]).arg(server.dir().join("nginx.conf")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn nginx_serves_what_was_exported_and_after_a_renewal_the_new_one() {
    let hook = "echo $RENEWED_DOMAINS $RENEWED_LINEAGE >> %dir%/hook.log; \
                if test -e %dir%/nginx.pid; then kill -HUP $(cat %dir%/nginx.pid); fi";
    let site = site(&format!("export all to=%dir%/out layout=certbot 'hook={hook}';"));
    let live = site.dir().join("out/live/a.test");
    let log = site.dir().join("hook.log");
    let server = Semper::serve(&site);
    wait_for("the first hook", PATIENCE, || lines(&log) == 1);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), format!("a.test b.test {}\n", live.display()));
    let key = std::fs::metadata(live.join("privkey.pem")).unwrap();
    assert_eq!((key.mode() & 0o777, key.uid()), (0o600, nix::unistd::getuid().as_raw()));

    let port = free_port();
    let dir = site.dir().display();
    let user = if is_root() { "user root;" } else { "" };
    site.file(
        "other/nginx.conf",
        format!(
            "{user} daemon off; pid {dir}/nginx.pid; error_log {dir}/other/error.log; events {{ }}
http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {dir}/out/live/a.test/fullchain.pem;
ssl_certificate_key {dir}/out/live/a.test/privkey.pem; return 204; }} }}"
        ),
    );
    let mut nginx = Command::new(nginx_binary());
    nginx.arg("-p").arg(site.dir().join("other")).arg("-c").arg(site.dir().join("other/nginx.conf"));
    let _nginx = Process::start(&mut nginx, &site.dir().join("other/output"));
    let first = wait_some("nginx", PATIENCE, || serial(port, &[]));
    assert_eq!(first, serial_of(&live.join("cert.pem")));

    renew(&server);
    wait_for("the second hook", PATIENCE, || lines(&log) == 2);
    wait_for("nginx to serve the new one", PATIENCE, || serial(port, &[]).is_some_and(|now| now != first));
    assert_eq!(serial(port, &[]).unwrap(), serial_of(&live.join("cert.pem")));
    // What is the same already is left alone.
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_for_line("error.log", "reconfiguring");
    renew(&server);
    wait_for("the third hook", PATIENCE, || lines(&log) >= 3);
    assert_eq!(lines(&log), 3, "a reload alone runs no hook");
}

#[test]
fn a_hook_that_fails_is_shown_in_the_status() {
    let site = site("export a.test to=%dir%/out layout=haproxy 'hook=echo no such service >&2; exit 7';");
    let server = Semper::serve(&site);
    let status = || {
        let mut command = Command::new(semper_binary());
        let output = command.arg("status").arg("-c").arg(site.conf()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_for("the trouble", PATIENCE, || status().contains("the hook failed: exit status: 7: no such service"));
    let text = std::fs::read_to_string(site.dir().join("out/a.test.pem")).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----") && text.contains("PRIVATE KEY"));
    drop(server);
}

/// The programs of PostgreSQL, which Debian keeps out of the path.
fn postgres_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
    folders.sort();
    folders.pop().unwrap()
}

/// A command as the account of PostgreSQL, which refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

#[test]
fn postgres_reloads_a_renewed_certificate() {
    let bin = postgres_bin();
    let owner = if is_root() { "owner=postgres" } else { "" };
    let hook = "test -e %dir%/db/postmaster.pid && kill -HUP $(head -1 %dir%/db/postmaster.pid) || true";
    let site = site(&format!("export a.test to=%dir%/pg {owner} mode=0600 'hook={hook}';"));
    let data = site.dir().join("db");
    std::fs::create_dir(&data).unwrap();
    if is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        std::os::unix::fs::chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
    let mut initdb = as_postgres(&bin.join("initdb"));
    let made = initdb.args(["--no-sync", "-A", "trust", "-D"]).arg(&data).output().unwrap();
    assert!(made.status.success(), "{made:?}");

    let server = Semper::serve(&site);
    let exported = site.dir().join("pg/a.test");
    wait_for("the export", PATIENCE, || exported.join("privkey.pem").exists());
    let port = free_port();
    let mut command = as_postgres(&bin.join("postgres"));
    command.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")]);
    command.args(["-c", "unix_socket_directories=", "-c", "ssl=on", "-c"]);
    command.arg(format!("ssl_cert_file={}/fullchain.pem", exported.display()));
    command.arg("-c").arg(format!("ssl_key_file={}/privkey.pem", exported.display()));
    let _postgres = Process::start(&mut command, &site.dir().join("postgres.log"));
    let shown = || serial(port, &["-starttls", "postgres"]);
    let first = wait_some("PostgreSQL", PATIENCE, shown);
    assert_eq!(first, serial_of(&exported.join("cert.pem")));
    renew(&server);
    wait_for("PostgreSQL to serve the new one", PATIENCE, || shown().is_some_and(|now| now != first));
}

#[test]
fn what_is_exported_is_what_is_served_also_while_a_standby_is() {
    let site = Site::new(&http(
        "acme_issuer first { uri internal; leaf_lifetime 6s; standby second; }
         acme_issuer second { uri internal; }
         server { listen 127.0.0.1:%port1% ssl; server_name a.test b.test; acme_certificate first;
             ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 204; }",
    ));
    let dir = site.dir().display().to_string();
    site.file("semper.conf", format!("state_path {dir}/state;\nexport all to={dir}/out;\n"));
    let server = Semper::serve(&site);
    let exported = site.dir().join("out/a.test/cert.pem");
    wait_for("the export", PATIENCE, || exported.exists());
    // Nobody renews it: when it ends, the standby is served.
    let mut command = Command::new(semper_binary());
    let paused = command.args(["pause", "a.test", "-c"]).arg(site.conf()).output().unwrap();
    assert!(paused.status.success(), "{paused:?}");
    let standby = wait_some("the standby", PATIENCE, || {
        let all = std::fs::read_dir(site.dir().join("state/certs")).ok()?;
        let mut all = all.map(|entry| entry.unwrap().path().join("bundle.pem"));
        all.find(|path| path.to_string_lossy().contains("~standby") && path.exists()).map(|path| serial_of(&path))
    });
    wait_for("the standby to be served", PATIENCE, || serial(server.port(1), &[]).as_ref() == Some(&standby));
    wait_for("and exported", PATIENCE, || serial_of(&exported) == standby);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (line, words) in [
        ("export a.test;", "invalid number of arguments in \"export\" directive"),
        ("export a.test layout=pem;", "\"export\" needs \"to=FOLDER\""),
        ("export /x to=/x;", "\"/x\" is neither a name nor \"all\""),
        ("export all to=/x layout=tar;", "invalid parameter \"layout=tar\""),
        ("export all to=/x mode=0644;", "let everybody read private keys"),
        ("export all to=/x mode=0400;", "invalid parameter \"mode=0400\""),
        ("export all to=/x owner=nobody-of-that-name;", "getpwnam(\"nobody-of-that-name\") failed"),
        ("export all to=/x hook=;", "invalid parameter \"hook=\""),
        ("export c.test to=/x;", "no certificate is obtained that \"export c.test\" could take"),
    ] {
        let site = site(line);
        let output = Semper::run(&["-t", "-c", site.conf().to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{line}: {said}");
    }
}
