//! Does the command line speak as nginx does? The same arguments go to a real nginx and to semper: stderr and exit code.
#![allow(clippy::unwrap_used)]

mod bed;

use std::path::Path;
use std::process::{Command, Output};

use bed::server::{Semper, Site, http, nginx_binary, semper_binary};

/// What a program said and how it ended; what names the moment or the process is taken out.
fn said(program: &Path, arguments: &[String]) -> (i32, String) {
    let Output { status, stderr, .. } = Command::new(program).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8_lossy(&stderr).into_owned())
}

fn same(site: &Site, arguments: &[&str]) {
    let arguments: Vec<String> = arguments.iter().map(|argument| site.fill(argument)).collect();
    let (nginx, semper) = (said(nginx_binary(), &arguments), said(semper_binary(), &arguments));
    assert_eq!(semper, nginx, "{arguments:?}");
}

fn site(inside: &str) -> Site {
    let site = Site::new(&http(inside));
    std::fs::create_dir(site.dir().join("logs")).unwrap();
    site
}

const GOOD: &str = "server { listen 127.0.0.1:%port1%; return 204; }";

#[test]
fn a_command_line_that_is_not_understood_gets_the_words_of_nginx() {
    let site = site(GOOD);
    for line in [
        &["-x"][..],
        &["-tx"],
        &["stop", "-t"],
        &["-t", "stop"],
        &["--help"],
        &["-s", "foo"],
        &["-sfoo"],
        &["-p"],
        &["-c"],
        &["-e"],
        &["-g"],
        &["-s"],
    ] {
        if line[0].starts_with('-') {
            same(&site, line);
        }
    }
}

#[test]
fn a_test_speaks_as_nginx_whether_it_succeeds_or_fails() {
    let good = site(GOOD);
    let place = ["-p", "%dir%", "-c", "%dir%/nginx.conf", "-e", "%dir%/error.log"];
    let with = |more: &[&'static str]| [&place[..], more].concat();
    same(&good, &with(&["-t"]));
    same(&good, &with(&["-tq"]));
    same(&good, &with(&["-t", "-g", "worker_rlimit_nofile 1024;"]));
    same(&good, &with(&["-t", "-g", "pid"]));
    same(&good, &with(&["-t", "-g", "wat;"]));
    same(&good, &["-t", "-p%dir%", "-c%dir%/none.conf", "-e", "%dir%/error.log"]);
    same(&site("wat on;"), &with(&["-t"]));
    same(&site("server { listen 127.0.0.1:%port1% ssl; return 204; }"), &with(&["-t"]));
    let missing =
        "server { listen 127.0.0.1:%port1% ssl; ssl_certificate c.pem; ssl_certificate_key k.pem; return 204; }";
    same(&site(missing), &with(&["-t"]));
    same(&site("server { listen 127.0.0.1:%port1%; access_log none/a.log; }"), &with(&["-t"]));
}

#[test]
fn a_test_ends_with_the_list_of_what_is_not_honoured() {
    let site = site("sendfile on; server { listen 127.0.0.1:%port1%; tcp_nopush on; location / { sendfile on; } }");
    let (dir, conf) = (site.fill("%dir%"), site.fill("%dir%/nginx.conf"));
    let text = String::from_utf8_lossy(&Semper::run(&["-t", "-p", &dir, "-c", &conf]).stderr).into_owned();
    let lines: Vec<&str> = text.lines().rev().take(2).collect();
    assert!(lines[0].ends_with("test is successful"), "{text}");
    assert_eq!(lines[1], "semper: not honoured, without harm: sendfile, tcp_nopush", "{text}");
}

#[test]
fn a_signal_needs_a_good_configuration_and_a_pid_file() {
    let place = ["-p", "%dir%", "-c", "%dir%/nginx.conf", "-e", "%dir%/error.log", "-s", "reload"];
    let good = site(GOOD);
    same(&good, &place);
    good.file("pid", "\n");
    same(&good, &place);
    let broken = site("wat;");
    broken.file("pid", "1\n");
    same(&broken, &place);
}

#[test]
fn a_dump_shows_every_file_as_it_is() {
    let site = site("include more.conf;");
    site.file("more.conf", format!("# more\n{}", site.fill(GOOD)));
    let place = ["-p", "%dir%", "-c", "%dir%/nginx.conf", "-e", "%dir%/error.log", "-T", "-q"];
    let arguments: Vec<String> = place.iter().map(|argument| site.fill(argument)).collect();
    let dump = |program: &Path| Command::new(program).args(&arguments).output().unwrap().stdout;
    assert_eq!(String::from_utf8(dump(semper_binary())).unwrap(), String::from_utf8(dump(nginx_binary())).unwrap());
}

#[test]
fn versions_and_help_go_to_stderr_and_name_the_real_library() {
    let output = Semper::run(&["-v"]);
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b"nginx version: nginx/1.28.3\n"[..]));
    let text = String::from_utf8(Semper::run(&["-V"]).stderr).unwrap();
    let starts = [
        "nginx version: nginx/1.28.",
        "built with rustls",
        "TLS SNI support enabled",
        "configure arguments: --",
        "semper version: semper/",
    ];
    for (line, start) in text.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    let help = Semper::run(&["-h"]);
    assert!(help.status.success() && String::from_utf8(help.stderr).unwrap().contains("-s signal     : send signal"));
}

#[test]
fn offline_asks_neither_names_nor_certificates_nor_sockets() {
    let inside = "server { listen 192.0.2.1:80 ssl; ssl_certificate /none.pem; ssl_certificate_key /none.key; access_log /none/a;
        location / { proxy_pass http://nobody.invalid; } }";
    let site = Site::new(&http(inside));
    let conf = site.conf();
    let output = Semper::run(&["-t", "--offline", "-p", site.dir().to_str().unwrap(), "-c", conf.to_str().unwrap()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.ends_with("test is successful\n"), "{text}");
}

#[test]
fn the_demo_renews_and_fails_no_request() {
    let output = Semper::run(&["demo", "--for", "10s", "--lifetime", "8s"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("curl --cacert") && text.contains(" 0 failed"), "{text}");
    assert!(text.contains("1 renewals"), "{text}");
}
