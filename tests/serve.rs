//! Does the service keep the promises that a comparison with nginx cannot show? Reloads, challenges, logs whatever
//! happens, headers that cannot be injected, plans that are let go.
#![allow(clippy::unwrap_used)]

mod serving;

use semper::http::message::{Body, BodyError};
use semper::http::message::{Malformed, Service, Source, Version};
use semper::net::connection::TlsFacts;
use semper::words::Identifier;
use serving::{Bench, Seen, plan, request, run};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

#[test]
fn fields_stand_in_nginxs_order() {
    run(async {
        let bench = Bench::server("add_header X-A 1; expires 1h; gzip on; gzip_vary on; gzip_min_length 1;");
        bench.file("www/a.html", "hello");
        let seen = bench.get("/a.html").await;
        let expected = [
            "Server",
            "Date",
            "Content-Type",
            "Last-Modified",
            "Vary",
            "ETag",
            "Expires",
            "Cache-Control",
            "X-A",
            "Accept-Ranges",
        ];
        assert_eq!(seen.names(), expected);
        assert_eq!((seen.status, seen.length, seen.text().as_str()), (200, Some(5), "hello"));
        assert_eq!(seen.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(seen.field("server").unwrap().starts_with("semper/"));
    });
}

#[test]
fn a_value_from_the_request_cannot_begin_a_header_of_its_own() {
    run(async {
        let bench = Bench::server(
            "add_header X-Uri $uri always; location /r { return 302 http://x$uri; } location /t { return 301 $uri; }",
        );
        for target in ["/r/a%0d%0aSet-Cookie:%20x=1", "/t/a%0aX:%20y", "/none%0d%0aX-Y:%20z%00"] {
            let seen = bench.get(target).await;
            for (name, value) in &seen.fields {
                assert!(!value.contains(['\r', '\n', '\0']), "{target}: {name}: {value}");
            }
        }
    });
}

#[test]
fn the_next_request_of_a_connection_uses_the_new_plan() {
    run(async {
        let bench = Bench::server("location / { return 200 old; }");
        let connection = bench.connection(None);
        assert_eq!(bench.ask(request(connection.clone(), "GET", "/", &[])).await.text(), "old");
        let old = Arc::downgrade(&bench.plan);
        let inside = "server { listen 127.0.0.1:80; server_name a.test; location / { return 200 new; } }";
        bench.worker.replace(plan(inside, bench.folder.path()), 2);
        let seen = bench.ask(request(connection.clone(), "GET", "/", &[])).await;
        assert_eq!((seen.text().as_str(), seen.close), ("new", false));
        let Bench { plan, worker, .. } = bench;
        drop(plan);
        assert_eq!(old.strong_count(), 0, "somebody holds the old plan");
        drop(worker);
    });
}

#[test]
fn a_connection_whose_listener_is_gone_is_answered_as_before_and_closed() {
    run(async {
        let bench = Bench::server("location / { return 200 old; }");
        let connection = bench.connection(None);
        bench.worker.replace(plan("server { listen 127.0.0.1:81; }", bench.folder.path()), 2);
        let seen = bench.ask(request(connection, "GET", "/", &[])).await;
        assert_eq!((seen.text().as_str(), seen.close), ("old", true));
    });
}

#[test]
fn a_tls_connection_goes_on_unless_its_own_settings_have_changed() {
    run(async {
        let with = |more: &str| {
            format!(
                "server {{ listen 127.0.0.1:80 ssl; server_name a.test; ssl_certificate /c/a.pem;
                 ssl_certificate_key /c/a.key; {more} location / {{ return 200 x; }} }}"
            )
        };
        let bench = Bench::new(&with(""));
        for (more, closes) in [("ssl_session_timeout 1h;", true), ("", false)] {
            let facts = TlsFacts { sni: Some("a.test".into()), protocol: "TLSv1.3", ..TlsFacts::default() };
            let connection = bench.connection(Some(facts));
            bench.worker.replace(plan(&with(more), bench.folder.path()), 2);
            let seen = bench.ask(request(connection, "GET", "/", &[])).await;
            assert_eq!((seen.status, seen.close), (200, closes), "{more}");
        }
    });
}

#[test]
fn a_request_that_is_given_up_is_logged_as_499_once() {
    run(async {
        let quiet = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inside = "location / { return 200 x; } location /p { proxy_pass http://%quiet%; }";
        let bench = Bench::server(&inside.replace("%quiet%", &quiet.local_addr().unwrap().to_string()));
        let call = bench.worker.call(request(bench.connection(None), "GET", "/p", &[]));
        drop(tokio::time::timeout(std::time::Duration::from_millis(20), call).await);
        // Answered, but the client went away before anything was sent.
        let mut response = bench.worker.call(request(bench.connection(None), "GET", "/unsent", &[])).await;
        let sent = semper::http::message::Sent { client_gone: true, ..Default::default() };
        response.finish.take().unwrap().finish(sent);
        drop(bench.worker.call(request(bench.connection(None), "GET", "/dropped", &[])).await);
        let log = bench.read("access.log");
        let statuses: Vec<_> = log.lines().map(|line| line.split(' ').nth(8).unwrap()).collect();
        assert_eq!(statuses, ["499", "499", "200"], "{log}");
        assert_eq!(bench.stats.sum().writing, 0);
        assert_eq!(bench.stats.sum().requests, 3);
    });
}

#[test]
fn a_challenge_is_answered_before_everything_else() {
    run(async {
        let bench = Bench::server(
            "location / { deny all; } location /.well-known/acme-challenge/ { return 301 https://a.test$uri; }
             add_header X-A 1 always;",
        );
        let token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
        let path = format!("/.well-known/acme-challenge/{token}");
        assert_eq!(bench.get(&path).await.status, 301);
        bench.challenges.set_thumbprint(Some("thumb"));
        let name: Identifier = "a.test".parse().unwrap();
        bench.challenges.manage([&name]);
        let seen = bench.get(&path).await;
        assert_eq!((seen.status, seen.text()), (200, format!("{token}.thumb")));
        assert_eq!(seen.field("content-type"), Some("text/plain"));
        assert_eq!((seen.field("x-content-type-options"), seen.field("x-a")), (Some("nosniff"), None));
        assert_eq!(bench.get(&format!("{path}/more")).await.status, 301);
    });
}

#[test]
fn another_names_challenge_is_answered_only_where_its_own_configuration_fails() {
    run(async {
        let bench = Bench::server("location /.well-known/ { alias %dir%/webroot/; }");
        bench.challenges.set_thumbprint(Some("thumb"));
        let (own, other) = ("a".repeat(43), "b".repeat(43));
        bench.file(&format!("webroot/acme-challenge/{own}"), "certbot's");
        let path = |token: &str| format!("/.well-known/acme-challenge/{token}");
        assert_eq!(bench.get(&path(&own)).await.text(), "certbot's");
        let seen = bench.get(&path(&other)).await;
        assert_eq!((seen.status, seen.text()), (200, format!("{other}.thumb")));
        let log = bench.read("access.log");
        assert!(log.lines().all(|line| line.contains(" 200 ")), "{log}");
    });
}

#[test]
fn a_broken_head_gets_the_page_and_the_log_line_of_its_server() {
    run(async {
        let bench = Bench::server("error_page 400 /bad; location = /bad { internal; return 200 mine; }");
        let malformed = |status| Malformed {
            status,
            reason: "client sent invalid header line while reading client request headers".into(),
            line: "GET /x HTTP/1.1".into(),
            silent: false,
            version: Version::Http11,
            head_length: 30,
            host: Some("a.test".into()),
            started: tokio::time::Instant::now(),
        };
        let seen = Seen::of(bench.worker.refuse(malformed(400), bench.connection(None)).await).await;
        assert_eq!((seen.status, seen.text().as_str(), seen.close), (400, "mine", true));
        let seen = Seen::of(bench.worker.refuse(malformed(408), bench.connection(None)).await).await;
        assert_eq!((seen.status, seen.close), (444, true));
        let log = bench.read("access.log");
        assert!(log.contains("\"GET /x HTTP/1.1\" 400 4") && log.contains("\"GET /x HTTP/1.1\" 408 0"), "{log}");
        let error = bench.read("error.log");
        let expected = "*7 client sent invalid header line while reading client request headers, client: 192.0.2.7, \
                        server: a.test, request: \"GET /x HTTP/1.1\"";
        assert!(error.contains(expected), "{error}");
    });
}

#[test]
fn plain_http_on_a_tls_port_and_missing_certificates_have_pages_of_their_own() {
    run(async {
        let bench = Bench::new(
            "server { listen 127.0.0.1:80 ssl; server_name a.test; ssl_certificate /c/a.pem;
             ssl_certificate_key /c/a.key; ssl_client_certificate /c/ca.pem; ssl_verify_client on; }",
        );
        let plain = {
            let mut connection = Rc::into_inner(bench.connection(None)).unwrap();
            connection.plain_on_tls = true;
            Rc::new(connection)
        };
        let seen = bench.ask(request(plain, "GET", "/", &[])).await;
        assert!(seen.text().contains("The plain HTTP request was sent to HTTPS port"));
        assert_eq!((seen.status, seen.close), (400, true));
        let facts = |name: &str| TlsFacts { sni: Some(name.into()), ..TlsFacts::default() };
        let seen = bench.ask(request(bench.connection(Some(facts("a.test"))), "GET", "/", &[])).await;
        assert!(seen.text().contains("No required SSL certificate was sent"));
        let seen = bench.ask(request(bench.connection(Some(facts("b.test"))), "GET", "/", &[])).await;
        assert_eq!(seen.status, 421);
    });
}

struct Endless;
impl Source for Endless {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<bytes::Bytes, BodyError>>> {
        Poll::Ready(Some(Ok(bytes::Bytes::from_static(&[0; 4096]))))
    }
}

#[test]
fn a_body_beyond_its_limit_is_refused_announced_or_not() {
    run(async {
        let bench = Bench::server("client_max_body_size 10k; location / { proxy_pass http://192.0.2.1; }");
        let mut long = request(bench.connection(None), "POST", "/", &[("Content-Length", "10241")]);
        long.content_length = Some(10_241);
        let seen = bench.ask(long).await;
        assert_eq!((seen.status, seen.close), (413, true));
        let mut endless = request(bench.connection(None), "POST", "/", &[("Transfer-Encoding", "chunked")]);
        (endless.content_length, endless.body) = (None, Body::Stream(Box::new(Endless)));
        assert_eq!(bench.ask(endless).await.status, 413);
        assert!(bench.read("error.log").contains("[error] "), "{}", bench.read("error.log"));
    });
}

#[test]
fn buffered_lines_wait_and_a_rotated_log_is_found_again() {
    run(async {
        let bench = Bench::server("access_log %dir%/b.log combined buffer=4k flush=20ms; access_log %dir%/c.log;");
        bench.get("/x").await;
        assert_eq!((bench.read("b.log").as_str(), bench.read("c.log").lines().count()), ("", 1));
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
        assert_eq!(bench.read("b.log").lines().count(), 1);
        bench.get("/y").await;
        bench.worker.flush();
        assert_eq!(bench.read("b.log").lines().count(), 2);
        std::fs::rename(bench.folder.path().join("c.log"), bench.folder.path().join("c.log.1")).unwrap();
        assert!(bench.logs.reopen().is_empty());
        bench.get("/z").await;
        assert_eq!((bench.read("c.log").lines().count(), bench.read("c.log.1").lines().count()), (1, 2));
    });
}

#[test]
fn satisfy_joins_address_and_password() {
    run(async {
        let bench = Bench::server(
            "auth_basic here; auth_basic_user_file %dir%/users;
             location /any { satisfy any; deny all; return 404; } location /all { allow 192.0.2.0/24; deny all; }
             location /open { auth_basic off; } location /denied { deny 192.0.2.7; }",
        );
        bench.file("users", "me:{PLAIN}secret\n");
        for folder in ["any", "all", "open", "denied"] {
            bench.file(&format!("www/{folder}/x"), "x");
        }
        let me = [("Authorization", "Basic bWU6c2VjcmV0")];
        let wrong = [("Authorization", "Basic bWU6d3Jvbmc=")];
        for (target, fields, status) in [
            ("/all/x", &[][..], 401),
            ("/all/x", &me[..], 200),
            ("/all/x", &wrong[..], 401),
            ("/open/x", &[][..], 200),
            ("/denied/x", &me[..], 403),
        ] {
            assert_eq!(bench.get_with(target, fields).await.status, status, "{target} {fields:?}");
        }
        let seen = bench.get("/all/x").await;
        assert_eq!(seen.field("www-authenticate"), Some("Basic realm=\"here\""));
        assert!(bench.read("error.log").contains("user \"me\": password mismatch, client: 192.0.2.7"));
        assert!(!bench.read("error.log").contains("secret") && !bench.read("error.log").contains("wrong"));
    });
}
