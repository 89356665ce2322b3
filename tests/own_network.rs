//! What works only where port 80 is free and paths are Debian's? In a network and with mounts of its own: the listener for
//! challenges, the quick start, the rights of master and server process, and semper called as `nginx`.
#![allow(clippy::unwrap_used)]

mod bed;

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bed::ca::Ca;
use bed::client::{Answer, Tls, exchange, serial};
use bed::namespace::{inside, run};
use bed::origin::Origin;
use bed::pebble::Pebble;
use bed::process::Process;
use bed::server::{Nginx, Semper, Server, Site, http, semper_binary};
use bed::{PATIENCE, free_port, wait_for, wait_some, write_private};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LONG: Duration = Duration::from_secs(60);

/// A server with TLS alone, its certificate from Pebble by HTTP-01.
fn tls_alone(pebble: &Pebble, listen: &str) -> Site {
    let site = Site::new(&http(&format!(
        "acme_issuer pebble {{ uri {}; ssl_trusted_certificate {}; challenge http; accept_terms_of_service; }}
        server {{ listen 127.0.0.1:%port2% ssl; server_name a.test; acme_certificate pebble;
            ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; return 200 fine; }}",
        pebble.directory(),
        pebble.trusted()
    )));
    site.file("semper.conf", format!("state_path {}/state;\n{listen}\n", site.dir().display()));
    site
}

fn certified(server: &Server, pebble: &Pebble) {
    let tls = Tls::trusting(&pebble.root());
    wait_for(&format!("a certificate\n{}", server.complaints()), LONG, || {
        tls.get(server.port(2), "a.test", "/").is_ok_and(|answer| answer.text() == "fine")
    });
}

/// The status that a GET gets; 0: nobody listens, or nobody answers.
fn status(port: u16, target: &str) -> u16 {
    if TcpStream::connect(("127.0.0.1", port)).is_err() {
        return 0;
    }
    let head = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    Answer::parse(&exchange(port, head.as_bytes()).bytes, false).map_or(0, |(answer, _)| answer.status)
}

#[test]
fn where_nobody_listens_on_port_80_a_listener_for_challenges_is_opened() {
    if !inside("where_nobody_listens_on_port_80_a_listener_for_challenges_is_opened") {
        return;
    }
    let pebble = Pebble::start(80, free_port());
    let site = tls_alone(&pebble, "");
    let server = Semper::serve(&site);
    certified(&server, &pebble);
    assert_eq!(status(80, "/"), 404, "it serves nothing else");
    assert!(TcpStream::connect("[::1]:80").is_ok(), "both families");
    // A server of the configuration takes the port over, and gives it back.
    let conf = site.read("nginx.conf");
    let with = conf.replacen("server {", "server { listen 80; return 200 own; } server {", 1);
    server.reload(&with);
    wait_for("the configuration's own", PATIENCE, || status(80, "/") == 200);
    server.reload(&conf);
    wait_for("the listener for challenges", PATIENCE, || status(80, "/") == 404);
}

#[test]
fn the_listener_for_challenges_may_stand_elsewhere_or_nowhere() {
    let port = free_port();
    let pebble = Pebble::start(port, free_port());
    let site = tls_alone(&pebble, &format!("acme_challenge_listen 127.0.0.1:{port};"));
    let server = Semper::serve(&site);
    certified(&server, &pebble);
    assert_eq!(status(port, "/"), 404);
    assert_eq!(status(port, "/.well-known/acme-challenge/x/../../etc/passwd"), 404);
    drop(server);

    let site = tls_alone(&pebble, "acme_challenge_listen off;");
    let server = Semper::serve(&site);
    wait_for("a failed validation", LONG, || server.complaints().contains("no valid certificate is held"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens there");
}

#[test]
fn a_listener_for_challenges_that_cannot_be_bound_stops_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let pebble = Pebble::start(port, free_port());
    let site = tls_alone(&pebble, &format!("acme_challenge_listen 127.0.0.1:{port};"));
    let server = Semper::serve(&site);
    assert!(Tls::blind().get(server.port(2), "a.test", "/").is_ok(), "it serves");
    server.wait_for_line("error.log", "challenges cannot be answered there");
}

#[test]
fn the_quick_start_does_the_main_job_without_a_file() {
    if !inside("the_quick_start_does_the_main_job_without_a_file") {
        return;
    }
    let pebble = Pebble::start(80, 443);
    let upstream = Nginx::start(&http(
        "server { listen 127.0.0.1:%port1%; return 200 \"$http_host $http_x_forwarded_proto $request_uri\"; }",
    ));
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(semper_binary());
    command.arg(format!("example.com=127.0.0.1:{}", upstream.port(1))).args(["--authority", &pebble.directory()]);
    command.arg("--state").arg(folder.path().join("state")).env("SSL_CERT_FILE", pebble.trusted());
    let mut semper = Process::start(&mut command, &folder.path().join("output"));
    let tls = Tls::trusting(&pebble.root());
    wait_for("the upstream's page", LONG, || {
        assert!(semper.ended().is_none(), "{}", semper.output());
        tls.get(443, "example.com", "/hello").is_ok_and(|answer| answer.text() == "example.com https /hello")
    });
    let redirect = exchange(80, b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n").bytes;
    let redirect = String::from_utf8_lossy(&redirect).into_owned();
    assert!(redirect.contains(" 301 ") && redirect.contains("Location: https://example.com/a?b"), "{redirect}");
    semper.signal(Signal::SIGTERM);
    assert!(semper.wait(PATIENCE).success(), "{}", semper.output());
}

/// What only the super-user may do, the master does; what talks to strangers is nobody.
#[test]
fn the_master_keeps_the_rights_and_the_server_process_has_none() {
    if !inside("the_master_keeps_the_rights_and_the_server_process_has_none") {
        return;
    }
    let ca = Ca::new("Test root");
    let template = |port: u16, text: &str| {
        http(&format!(
            "server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:%port1% ssl; server_name a.test;
              ssl_certificate keys/a.pem; ssl_certificate_key keys/a.key; return 200 {text}; }}"
        ))
        .replace("user root;", "user nobody nogroup;")
    };
    let site = Site::new(&template(81, "one"));
    let issue = || {
        let issued = ca.issue(&["a.test"]);
        write_private(&site.dir().join("keys/a.key"), &issued.key);
        write_private(&site.dir().join("keys/a.pem"), &issued.chain);
    };
    issue();
    std::fs::set_permissions(site.dir().join("keys"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(site.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Semper::serve(&site);
    let tls = Tls::trusting(&ca.pem());
    let text = |server: &Server| tls.get(server.port(1), "a.test", "/").map(|answer| answer.text()).unwrap_or_default();
    let shown = |server: &Server| serial(&tls.chain(server.port(1), "a.test").unwrap()[0]);
    let child = |server: &mut Server| {
        wait_some("the server process", PATIENCE, || server.process().children().first().copied())
    };
    assert_eq!(text(&server), "one");
    let id = child(&mut server);
    let rights = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    assert!(rights.contains("Uid:\t65534\t65534") && rights.contains("CapEff:\t0000000000000000"), "{rights}");

    // A new port below 1024.
    server.reload(&template(82, "two"));
    wait_for("port 82", PATIENCE, || status(82, "/") == 200 && text(&server) == "two");
    wait_for("port 81 to close", PATIENCE, || TcpStream::connect(("127.0.0.1", 81)).is_err());
    assert_eq!(child(&mut server), id, "the same process serves");

    // A replaced key, without a reload: only the master can read it, and it is looked for every ten seconds.
    let before = shown(&server);
    issue();
    wait_for("the replaced key", LONG, || shown(&server) != before);
    assert_eq!(server.read("error.log").matches("reconfiguring").count(), 2, "{}", server.complaints());

    // Logs that only the master may open.
    std::fs::rename(server.dir().join("access.log"), server.dir().join("old.log")).unwrap();
    server.signal(Signal::SIGUSR1);
    wait_for("a new log", PATIENCE, || {
        text(&server);
        server.read("access.log").contains("GET")
    });

    // A server process that dies: its successor reads the key and has the ports.
    kill(Pid::from_raw(i32::try_from(id).unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(status(82, "/"), 200, "its listeners never closed");
    assert_eq!(text(&server), "two");
    assert_ne!(child(&mut server), id);
}

/// Debian's own main file, as its package has it, but for the ports.
const DEBIAN: &str = "user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 768; }
http {
    sendfile on; tcp_nopush on; types_hash_max_size 2048;
    include /etc/nginx/mime.types; default_type application/octet-stream;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers on;
    access_log /var/log/nginx/access.log; gzip on;
    include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*;
}
";
const SITE: &str = "server { listen 80 default_server; listen [::]:80 default_server; root /var/www/html; index index.html; server_name _; location / { try_files $uri $uri/ =404; } }";

#[test]
fn called_as_nginx_it_takes_debians_places_and_nginxs_commands() {
    if !inside("called_as_nginx_it_takes_debians_places_and_nginxs_commands") {
        return;
    }
    // Fresh folders over the real ones; nothing outside of this test sees them.
    for folder in ["/var/log", "/run", "/var/lib", "/opt", "/srv"] {
        run("mount", &["-t", "tmpfs", "tmpfs", folder]);
    }
    let etc = Path::new("/srv/etc");
    run("cp", &["-a", "/etc", "/srv/etc"]);
    run("mount", &["--bind", etc.to_str().unwrap(), "/etc"]);
    for folder in ["/etc/nginx/sites-enabled", "/etc/nginx/conf.d", "/var/log/nginx", "/srv/html", "/var/lib/nginx"] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write("/etc/nginx/nginx.conf", DEBIAN).unwrap();
    std::fs::write("/etc/nginx/mime.types", "types { text/html html; }").unwrap();
    std::fs::write("/etc/nginx/sites-enabled/default", SITE.replace("/var/www/html", "/srv/html")).unwrap();
    std::fs::write("/srv/html/index.html", "welcome").unwrap();
    let nginx = "/opt/nginx";
    std::os::unix::fs::symlink(semper_binary(), nginx).unwrap();

    run(nginx, &["-t"]);
    run(nginx, &[]);
    let page = || String::from_utf8(exchange(80, b"GET / HTTP/1.0\r\n\r\n").bytes).unwrap();
    assert!(page().ends_with("welcome") && page().contains("Content-Type: text/html"), "{}", page());
    let pid: i32 = std::fs::read_to_string("/run/nginx.pid").unwrap().trim().parse().unwrap();
    std::fs::write("/srv/html/index.html", "changed").unwrap();
    std::fs::write("/etc/nginx/conf.d/more.conf", "server { listen 8080; return 200 more; }").unwrap();
    run(nginx, &["-s", "reload"]);
    wait_for("the new server", PATIENCE, || status(8080, "/") == 200);
    assert!(page().ends_with("changed"));
    assert!(std::fs::read_to_string("/var/log/nginx/access.log").unwrap().contains("GET / HTTP/1.0"));
    std::fs::rename("/var/log/nginx/access.log", "/var/log/nginx/access.log.1").unwrap();
    run(nginx, &["-s", "reopen"]);
    wait_for("the new log", PATIENCE, || {
        page();
        std::fs::read_to_string("/var/log/nginx/access.log").is_ok_and(|text| text.contains("GET"))
    });
    run(nginx, &["-s", "quit"]);
    wait_for("its end", PATIENCE, || kill(Pid::from_raw(pid), None).is_err() && !Path::new("/run/nginx.pid").exists());
}

#[test]
fn an_upstream_whose_host_is_not_known_yet_costs_its_own_location_alone() {
    if !inside("an_upstream_whose_host_is_not_known_yet_costs_its_own_location_alone") {
        return;
    }
    let origin = Origin::echo();
    let site = Site::new(&http(&format!(
        "upstream group {{ server later.test:{port}; }}
        server {{ listen 127.0.0.1:%port1%; location / {{ return 200 fine; }}
            location /direct {{ proxy_pass http://later.test:{port}; }} location /group {{ proxy_pass http://group; }} }}",
        port = origin.address().port()
    )));
    let hosts = site.file("hosts", "127.0.0.1 localhost\n");
    run("mount", &["--bind", hosts.to_str().unwrap(), "/etc/hosts"]);
    let dir = site.dir().to_str().unwrap().to_owned();
    let tested = Semper::run(&["-t", "-p", &dir, "-c", site.conf().to_str().unwrap(), "-e", "stderr"]);
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(!tested.status.success() && said.contains("host not found in upstream \"later.test"), "{said}");

    let server = Semper::serve(&site);
    assert_eq!(server.get(1, "/").text(), "fine");
    assert_eq!((server.get(1, "/direct").status, server.get(1, "/group").status), (502, 502));
    assert!(server.complaints().contains("host not found in upstream \"later.test"), "{}", server.complaints());
    std::fs::write(&hosts, "127.0.0.1 localhost later.test\n").unwrap();
    wait_for("the host to be found", PATIENCE, || {
        (server.get(1, "/direct").status, server.get(1, "/group").status) == (200, 200)
    });
}
