//! `-t` and the other flags: the same words, in the same order of checks, with the same exit code.

use std::path::Path;
use std::process::Command;

use crate::bed::server::{Site, nginx_binary, semper_binary};

/// What a run said: exit code, stderr and stdout with names of programs and places masked.
fn said(binary: &Path, site: &Site, arguments: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let arguments: Vec<String> = arguments.iter().map(|argument| site.fill(argument)).collect();
    let out = Command::new(binary).args(&arguments).output().unwrap();
    let dir = site.dir().to_string_lossy().into_owned();
    let mask = |bytes: &[u8]| {
        let mut text = String::from_utf8_lossy(bytes).replace(&dir, "%dir%");
        for number in 1..=9 {
            text = text.replace(&site.port(number).to_string(), &format!("%port{number}%"));
        }
        text
    };
    let words = mask(&out.stderr);
    let lines = words
        .lines()
        .map(|line| line.strip_prefix("semper: ").map_or(line.to_owned(), |rest| format!("nginx: {rest}")));
    (out.status.code(), lines.collect(), mask(&out.stdout))
}

/// The lines that nginx writes too: what semper adds (a caret, the list of what is not honoured) is left out.
fn common(lines: &[String]) -> Vec<String> {
    // A refusal is one, whether or not the syntax was found to be in order before.
    let refused = lines.iter().any(|line| line.contains("[emerg]"));
    let ours = |line: &&String| {
        line.contains("\" is ignored: ")
            || line.contains("not honoured, without harm: ")
            || refused && line.ends_with("syntax is ok")
    };
    lines.iter().filter(|line| line.starts_with("nginx: ")).filter(|line| !ours(line)).cloned().collect()
}

fn same_verdicts(confs: &[&str]) {
    let mut faults = Vec::new();
    for conf in confs {
        let (nginx_site, semper_site) = (Site::new(conf), Site::new(conf));
        for site in [&nginx_site, &semper_site] {
            site.file("logs/.keep", "");
            site.file("inc/a.conf", "# nothing\n");
            site.file("inc/broken.conf", "events {}\nnonsense;\n");
        }
        let flags = ["-t", "-p", "%dir%", "-c", "%dir%/nginx.conf", "-e", "%dir%/err.log"];
        let expected = said(nginx_binary(), &nginx_site, &flags);
        if std::env::var_os("SEMPER_COMPARE_NGINX_ONLY").is_some() {
            println!("{conf}\n{expected:#?}");
            continue;
        }
        let found = said(semper_binary(), &semper_site, &flags);
        if expected.0 != found.0 || common(&expected.1) != common(&found.1) {
            faults.push(format!(
                "{conf}\n--- nginx {:?}\n{}\n--- semper {:?}\n{}",
                expected.0,
                expected.1.join("\n"),
                found.0,
                found.1.join("\n")
            ));
        }
    }
    assert!(faults.is_empty(), "{} differences\n{}", faults.len(), faults.join("\n\n"));
}

#[test]
fn the_language_is_judged_in_nginxs_words() {
    same_verdicts(&[
        "",
        "events {}",
        "http {}",
        "events {} http {}",
        "events {",
        "events {} }",
        "events {} http { server {",
        "events {} http { server { listen 127.0.0.1:%port1%; } ",
        "events {} nonsense;",
        "events {} nonsense {}",
        "events {} http { nonsense on; }",
        "events {} http { server { nonsense",
        "events {} http { server { listen 80 }",
        "events {} http { server { listen; } }",
        "events {} http { server { root /a /b; } }",
        "events {} server { }",
        "events {} listen 80;",
        "events {} http { location / {} }",
        "events {} http { worker_processes 1; }",
        "events { worker_connections 10 20; }",
        "events {} events {}",
        "events {} http {} http {}",
        "events; http {}",
        "events {} http;",
        "events {} user;",
        "events {} \"quoted\" x;",
        "events {} http { log_format a 'x'b; }",
        "events {} http { log_format a 'unclosed; }",
        "events {} http { log_format a \"x\"\"y\"; }",
        "events {} include inc/*.conf;",
        "events {} include inc/none*.conf;",
        "events {} include inc/none.conf;",
        "include inc/broken.conf;",
        "events {} http { server { ; } }",
        "events {} http { server { {} } }",
        "\n\n# comment\nevents {}\nhttp {\n  server {\n    root /a\n    index b;\n  }\n}\n",
    ]);
}

#[test]
fn values_are_judged_in_nginxs_words() {
    let http = |text: &str| format!("events {{}} http {{ access_log off; {text} }}");
    let confs: Vec<String> = [
        "sendfile maybe;",
        "sendfile ON;",
        "keepalive_timeout abc;",
        "keepalive_timeout 1x;",
        "keepalive_timeout -1;",
        "client_max_body_size 1z;",
        "client_max_body_size 1g;",
        "client_header_buffer_size 1g;",
        "client_max_body_size -1;",
        "large_client_header_buffers 4;",
        "large_client_header_buffers 0 8k;",
        "keepalive_requests x;",
        "server_tokens yes;",
        "satisfy some;",
        "root /a; root /b;",
        "gzip on; gzip off;",
        "gzip_comp_level 10;",
        "gzip_types text/html;",
        "log_format main x; log_format main y;",
        "access_log %dir%/a none;",
        "access_log off off;",
        "error_page 200 /x;",
        "error_page 404;",
        "error_page 99 /x;",
        "error_page abc /x;",
        "map $a $b { x; }",
        "map $a b { default 1; }",
        "map $a $b { x 1; x 2; }",
        "map $a $b { default 1; default 2; }",
        "map $a $b { ~( 1; }",
        "types { a/b; }",
        "add_header X;",
        "expires x;",
        "proxy_set_header X;",
        "proxy_http_version 2;",
        "proxy_next_upstream nonsense;",
        "proxy_buffers 1 4k;",
        "proxy_buffer_size 16k; proxy_busy_buffers_size 4k; server { location / { proxy_pass http://127.0.0.1:1; } }",
        "resolver;",
        "ssl_protocols SSLv9;",
        "ssl_verify_client maybe;",
        "ssl_session_cache bogus;",
        "limit_rate x;",
    ]
    .iter()
    .map(|text| http(text))
    .collect();
    same_verdicts(&confs.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn servers_locations_and_upstreams_are_judged_in_nginxs_words() {
    let server =
        |text: &str| format!("events {{}} http {{ access_log off; server {{ listen 127.0.0.1:%port1%; {text} }} }}");
    let http = |text: &str| format!("events {{}} http {{ access_log off; {text} }}");
    let mut confs: Vec<String> = [
        "location / {} location / {}",
        "location = / {} location = / {}",
        "location /a { location /b {} }",
        "location = /a { location /a/b {} }",
        "location ~ a { location /b {} }",
        "location @n { location /x {} }",
        "location / { location @n {} }",
        "location ~ ( {}",
        "location ~* {}",
        "location ^ /a {}",
        "location a b c {}",
        "location {}",
        "location / { proxy_pass nonsense; }",
        "location / { proxy_pass ftp://a; }",
        "location / { proxy_pass http://; }",
        "location / { proxy_pass http://127.0.0.1:99999; }",
        "location / { proxy_pass http://127.0.0.1:0; }",
        "location ~ x { proxy_pass http://127.0.0.1:1/uri; }",
        "location @x { proxy_pass http://127.0.0.1:1/uri; }",
        "location / { if ($a) { proxy_pass http://127.0.0.1:1/uri; } }",
        "location / { proxy_pass http://127.0.0.1:1; proxy_pass http://127.0.0.1:2; }",
        "location / { alias /a; root /b; }",
        "location / { root /b; alias /a; }",
        "location / { root /$nosuchvariable; }",
        "location / { return; }",
        "location / { return 1000; }",
        "location / { return abc; }",
        "location / { return 200 a b; }",
        "location / { rewrite x; }",
        "location / { rewrite ( y; }",
        "location / { rewrite x y z; }",
        "location / { set x 1; }",
        "location / { set $x; }",
        "location / { if x { } }",
        "location / { if ($x { } }",
        "location / { if ($a = ) { } }",
        "location / { if ($a ~ \"(\") { } }",
        "location / { if (-z x) { } }",
        "location / { if ($a) { root /x; location /y {} } }",
        "location / { try_files a; }",
        "location / { try_files $uri =abc; }",
        "location / { try_files $uri =1000; }",
        "location / { limit_except GET { root /x; nonsense; } }",
        "location / { limit_except NOTAMETHOD { deny all; } }",
        "location / { allow 1.2.3; }",
        "location / { deny 1.2.3.4/33; }",
        "location / { allow 10.0.0.1/8; }",
        "location / { internal on; }",
        "listen 127.0.0.1:%port1%;",
        "listen 127.0.0.1:%port2% default_server; listen 127.0.0.1:%port2% default_server;",
        "listen 127.0.0.1:0;",
        "listen 127.0.0.1:65536;",
        "listen 127.0.0.1:%port2% nonsense;",
        "listen 127.0.0.1:%port2% backlog=x;",
        "listen 127.0.0.1:%port2% ssl;",
        "listen 127.0.0.1:%port2% http2;",
        "listen [::1;",
        "server_name ~(;",
        "server_name a*b.test;",
        "server_name *.*.test;",
        "server_name a.test a.test;",
        "server_name a/b;",
        "ssl_certificate %dir%/none.pem;",
        "listen 127.0.0.1:%port2% ssl; ssl_certificate %dir%/none.pem; ssl_certificate_key %dir%/none.key;",
    ]
    .iter()
    .map(|text| server(text))
    .collect();
    confs.extend(
        [
            "upstream u {} ",
            "upstream u { server 127.0.0.1:1; } upstream u { server 127.0.0.1:2; }",
            "upstream u { server; }",
            "upstream u { server 127.0.0.1:1 weight=x; }",
            "upstream u { server 127.0.0.1:1 nonsense; }",
            "upstream u { server 127.0.0.1:1 max_fails=x; }",
            "upstream u { server 127.0.0.1:1 fail_timeout=x; }",
            "upstream u { server 127.0.0.1:1 backup; } server { location / { proxy_pass http://u; } }",
            "upstream u { hash $x; server 127.0.0.1:1 backup; }",
            "upstream u { keepalive 0; server 127.0.0.1:1; }",
            "upstream u { keepalive 4; least_conn; server 127.0.0.1:1; }",
            "upstream u { ip_hash; least_conn; server 127.0.0.1:1; }",
            "upstream u { server 127.0.0.1:1; } server { listen 127.0.0.1:%port1%; location / { proxy_pass http://u:81; } }",
            "server { listen 127.0.0.1:%port1%; server_name a.test; } server { listen 127.0.0.1:%port1%; server_name a.test; }",
            "server { listen 127.0.0.1:%port1% default_server; } server { listen 127.0.0.1:%port1% default_server; }",
            "server { listen 127.0.0.1:%port1% backlog=5; } server { listen 127.0.0.1:%port1% backlog=6; }",
            "server { listen 127.0.0.1:%port1%; error_page 404 @none; }",
        ]
        .iter()
        .map(|text| http(text)),
    );
    same_verdicts(&confs.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn flags_have_nginxs_words_and_exit_codes() {
    let conf = "daemon off;\npid %dir%/pid;\nevents {}\nhttp { access_log off; include inc/*.conf; }\n";
    let site = Site::new(conf);
    site.file(
        "inc/a.conf",
        "# included\nserver { listen 127.0.0.1:%port1%; }\n".replace("%port1%", &site.port(1).to_string()),
    );
    site.file("logs/.keep", "");
    let place = ["-p", "%dir%", "-c", "%dir%/nginx.conf", "-e", "%dir%/err.log"];
    let mut faults = Vec::new();
    let runs: &[&[&str]] = &[
        &["-t"],
        &["-tq"],
        &["-qt"],
        &["-T"],
        &["-Tq"],
        &["-x"],
        &["x"],
        &["-s"],
        &["-s", "foo"],
        &["-sfoo"],
        &["-s", "reload"],
        &["-s", "stop"],
        &["-g"],
        &["-c"],
        &["-p"],
        &["-t", "-g", "worker_processes 1"],
        &["-t", "-g", "worker_processes 1;"],
        &["-t", "-g", "nonsense 1;"],
        &["-t", "-g", "http {"],
        &["-t", "-gpid", "%dir%/x;"],
        &["-t", "-c", "%dir%/none.conf"],
    ];
    for run in runs {
        let arguments: Vec<&str> = if run.len() == 1 && matches!(run[0], "-s" | "-g" | "-c" | "-p") {
            run.to_vec()
        } else {
            place.iter().chain(run.iter()).copied().collect()
        };
        let expected = said(nginx_binary(), &site, &arguments);
        if std::env::var_os("SEMPER_COMPARE_NGINX_ONLY").is_some() {
            println!("{run:?}\n{expected:#?}");
            continue;
        }
        let found = said(semper_binary(), &site, &arguments);
        if (expected.0, common(&expected.1), &expected.2) != (found.0, common(&found.1), &found.2) {
            faults.push(format!("{run:?}\n--- nginx {expected:#?}\n--- semper {found:#?}"));
        }
    }
    assert!(faults.is_empty(), "{} differences\n{}", faults.len(), faults.join("\n\n"));
}
