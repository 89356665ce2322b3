//! Which location answers? Prefix, exact, `^~`, regular expressions, nesting, named; and how the URI is read first.

use crate::compare::{ask, case, get, raw, server};

#[test]
fn the_kinds_of_location_win_in_nginxs_order() {
    let inside = "location = / { return 200 exact-root; }
        location / { return 200 root; }
        location /docs { return 200 docs; }
        location /docs/ { return 200 docs-slash; }
        location = /docs/a { return 200 exact; }
        location ^~ /docs/plain/ { return 200 caret; }
        location ~ \\.gif$ { return 200 gif; }
        location ~* \\.GIF2?$ { return 200 gif-nocase; }
        location ~ ^/docs/plain { return 200 never-under-caret; }
        location ~ (?<name>[a-z]+)-(\\d+)$ { return 200 \"$name $2\"; }";
    server(inside).same(&[
        get("/", 200),
        get("/x", 200),
        get("/docs", 200),
        get("/docsy", 200),
        get("/docs/", 200),
        get("/docs/a", 200),
        get("/docs/a/", 200),
        get("/docs/plain/x.gif", 200),
        get("/docs/plain", 200),
        get("/docs/x.gif", 200),
        get("/docs/x.GIF", 200),
        get("/X.gIf2", 200),
        get("/n/word-42", 200),
    ]);
}

#[test]
fn nested_locations_are_searched_inside_the_prefix() {
    let inside = "location /a/ { return 200 a;
            location /a/b/ { return 200 ab; location ~ z$ { return 200 abz; } }
            location ~ y$ { return 200 ay; }
            location = /a/e { return 200 ae; } }
        location ~ y$ { return 200 y; }
        location ~ z$ { return 200 z; }";
    server(inside).same(&[
        get("/a/", 200),
        get("/a/b/", 200),
        get("/a/b/z", 200),
        get("/a/b/y", 200),
        get("/a/y", 200),
        get("/a/z", 200),
        get("/a/e", 200),
        get("/y", 200),
    ]);
}

#[test]
fn the_uri_is_decoded_and_normalized_before_matching() {
    let inside = "location / { return 200 \"root $uri | $request_uri\"; }
        location /a/b { return 200 \"ab $uri\"; }
        location \"/sp ace\" { return 200 \"space $uri\"; }
        location = /exact { return 200 exact; }";
    server(inside).same(&[
        get("/a/b", 200),
        get("/a//b", 200),
        get("/a/./b", 200),
        get("/a/x/../b", 200),
        get("/%61/%62", 200),
        get("/a%2Fb", 200),
        get("/a/%2e%2e/a/b", 200),
        get("/sp%20ace", 200),
        get("/exact?x", 200),
        get("/exact#frag", 200),
        get("/exact%23frag", 200),
        get("/..", 400),
        get("/../x", 400),
        get("/a/../../x", 400),
        get("/a/..", 200),
        get("/a/.", 200),
        get("/a/...", 200),
        get("/%zz", 400),
        get("/%2", 400),
        get("/%00", 400),
        get("/a%00b", 400),
        get("/%ff", 200),
        get("/a;b=c", 200),
        get("/?", 200),
        get("/?a?b", 200),
        get("/+", 200),
        ask("GET http://a.test/a/b HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("GET http://other.test/a/b?x HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200).here(400),
        ask("GET http://a.test HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("GET HTTP://A.TEST/exact HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("GET * HTTP/1.1\nHost: a.test\nConnection: close\n\n", 400),
        ask("OPTIONS * HTTP/1.1\nHost: a.test\nConnection: close\n\n", 400),
        ask("GET relative HTTP/1.1\nHost: a.test\nConnection: close\n\n", 400),
    ]);
    server("merge_slashes off; location / { return 200 \"$uri\"; } location //x { return 200 two; }").same(&[
        get("//x", 200),
        get("/a//b", 200),
        get("/x", 200),
    ]);
    server("location / { return 200 \"$uri\"; }")
        .same(&[raw(b"GET /\xc3\xbc HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", 200)]);
}

#[test]
fn server_names_are_chosen_as_nginx_does() {
    let conf = "server { listen 127.0.0.1:%port1%; server_name first.test; return 200 first; }
        server { listen 127.0.0.1:%port1% default_server; server_name \"\"; return 200 default; }
        server { listen 127.0.0.1:%port1%; server_name exact.test www.exact.test; return 200 exact; }
        server { listen 127.0.0.1:%port1%; server_name *.wild.test; return 200 wild; }
        server { listen 127.0.0.1:%port1%; server_name *.deep.wild.test; return 200 deep; }
        server { listen 127.0.0.1:%port1%; server_name mail.*; return 200 mail; }
        server { listen 127.0.0.1:%port1%; server_name .dot.test; return 200 dot; }
        server { listen 127.0.0.1:%port1%; server_name ~^(?<who>[a-z]+)\\.re\\.test$; return 200 \"re $who\"; }
        server { listen 127.0.0.1:%port1%; server_name ~^x; return 200 rex; }
        server { listen 127.0.0.1:%port2%; server_name lone.test; return 200 \"lone $server_name $host $http_host\"; }";
    let host = |name: &str, status| ask(&format!("GET / HTTP/1.1\nHost: {name}\nConnection: close\n\n"), status);
    case(conf).same(&[
        host("first.test", 200),
        host("FIRST.test", 200),
        host("first.test.", 200),
        host("first.test:8080", 200),
        host("exact.test", 200),
        host("a.wild.test", 200),
        host("a.b.wild.test", 200),
        host("a.deep.wild.test", 200),
        host("wild.test", 200),
        host("mail.anything", 200),
        host("mail.dot.test", 200),
        host("dot.test", 200),
        host("a.b.dot.test", 200),
        host("who.re.test", 200),
        host("xyz", 200),
        host("unknown.test", 200),
        host("127.0.0.1", 200),
        host("[::1]:80", 200),
        host("", 400),
        host("bad_under.test", 200),
        host("a..b", 400),
        host("a/b", 400),
        host("a b", 400),
        host("a\tb", 400),
        host("a:b:c", 200).here(400),
        host("[::1", 200).here(400),
        host(".", 400),
        host("a@b", 200),
        host("ä.test", 200),
        ask("GET / HTTP/1.1\nHost: any.thing:1\nConnection: close\n\n", 200).on(2),
        ask("GET / HTTP/1.0\n\n", 200),
        ask("GET / HTTP/1.0\n\n", 200).on(2),
    ]);
}

#[test]
fn an_internal_location_is_not_found_from_outside() {
    let inside = "location /in/ { internal; return 200 inside; } location /go { rewrite ^ /in/x last; }
        location /err { error_page 404 = /in/page; return 404; }
        location /try { try_files /none /in/y; }";
    server(inside).same(&[get("/in/", 404), get("/go", 200), get("/err", 200), get("/try", 200)]);
}

#[test]
fn a_prefix_with_a_slash_and_a_proxying_handler_redirects() {
    server(
        "location /app/ { proxy_pass http://127.0.0.1:%port9%; } location /files/ { } location = /no { return 200; }",
    )
    .file("www/files/x", "")
    .same(&[get("/app", 301), get("/app?x=1", 301), get("/files", 301), get("/no", 200)]);
}

#[test]
fn limit_except_guards_methods() {
    let inside = "location / { limit_except GET { deny all; } return 200 ok; }
        location /file { limit_except GET POST { deny all; } }";
    server(inside).file("www/file", "f").same(&[
        get("/file", 200),
        ask("HEAD /file HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("DELETE /file HTTP/1.1\nHost: a.test\nConnection: close\n\n", 403),
        ask("POST /file HTTP/1.1\nHost: a.test\nContent-Length: 0\nConnection: close\n\n", 405),
    ]);
}
