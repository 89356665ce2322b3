//! add_header, expires, keep-alive and the headers nginx writes by itself.

use crate::compare::{ask, get, get_with, raw, server};

#[test]
fn add_header_follows_codes_inheritance_and_always() {
    let inside = "add_header X-S server; add_header X-Always always-s always;
        location /in { return 200 in; } location /own { add_header X-L location; return 200 own; }
        location /err { return 404; } location /redir { return 302 /x; } location /nocontent { return 204; }
        location /var { add_header X-Uri \"$uri $arg_x\"; add_header X-Empty $arg_none; return 200 var; }
        location /dup { add_header X-D one; add_header X-D two; return 200 dup; }
        location /special { add_header Last-Modified \"Tue, 14 Nov 2023 22:13:20 GMT\"; add_header ETag '\"x\"'; add_header Cache-Control no-store; add_header Link '</a>; rel=preload'; return 200 s; }
        location /lm { add_header Last-Modified \"\"; }";
    server(inside).file("www/lm", "x").same(&[
        get("/in", 200),
        get("/own", 200),
        get("/err", 404),
        get("/redir", 302),
        get("/nocontent", 204),
        get("/var?x=y%20z", 200),
        get("/dup", 200),
        get("/special", 200),
        get("/lm", 200),
        get("/missing", 404),
    ]);
}

#[test]
fn a_variable_never_carries_a_line_break_into_a_header() {
    let inside = "location / { add_header X-Uri $uri; return 200 x; } location /to { return 302 $arg_u; }";
    server(inside).same(&[get("/to?u=/a%0d%0ab", 302)]);
}

#[test]
fn expires_in_its_forms() {
    // Values that depend on the present moment are left out: Expires is compared only where it is fixed.
    let inside = "location /epoch { expires epoch; } location /off { expires off; }
        location /neg { expires -1; add_header Expires \"\"; }";
    server(inside).file("www/epoch", "e").file("www/off", "o").same(&[get("/epoch", 200), get("/off", 200)]);
}

#[test]
fn connections_are_kept_as_nginx_keeps_them() {
    let inside = "location / { return 200 \"$connection_requests\\n\"; } location /off { keepalive_timeout 0; return 200 off; }
        location /hint { keepalive_timeout 30 20; return 200 hint; } location /one { keepalive_requests 1; return 200 one; }";
    server(inside).same(&[
        ask("GET / HTTP/1.1\nHost: a.test\n\n", 200),
        ask("GET / HTTP/1.1\nHost: a.test\n\nGET /2 HTTP/1.1\nHost: a.test\n\nGET /3 HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("GET / HTTP/1.1\nHost: a.test\nConnection: Close\n\n", 200),
        ask("GET / HTTP/1.1\nHost: a.test\nConnection: keep-alive\n\n", 200),
        ask("GET / HTTP/1.0\nConnection: keep-alive\n\n", 200),
        ask("GET / HTTP/1.0\nConnection: Keep-Alive\n\nGET / HTTP/1.0\n\n", 200),
        ask("GET / HTTP/1.0\n\n", 200),
        ask("GET /off HTTP/1.1\nHost: a.test\n\n", 200),
        ask("GET /hint HTTP/1.1\nHost: a.test\n\n", 200),
        ask("GET /one HTTP/1.1\nHost: a.test\n\n", 200),
        ask("POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\n\nhelloGET /next HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\nGET /next HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        raw(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", 200),
        raw(b"GET / HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200).here(400),
    ]);
}

#[test]
fn expect_100_continue_is_answered_when_the_body_is_read() {
    let inside =
        "client_max_body_size 10; location / { proxy_pass http://%origin%; } location /no { return 200 unread; }";
    server(inside).origin(|request| crate::bed::origin::Reply::ok(&request.body)).same(&[
        ask("POST / HTTP/1.1\nHost: a.test\nExpect: 100-continue\nContent-Length: 5\nConnection: close\n\nhello", 100),
        ask("POST / HTTP/1.1\nHost: a.test\nExpect: 100-continue\nContent-Length: 50\nConnection: close\n\n", 413),
        ask("POST / HTTP/1.1\nHost: a.test\nExpect: something\nContent-Length: 5\nConnection: close\n\nhello", 200),
    ]);
}

#[test]
fn bodies_have_a_limit() {
    let inside = "client_max_body_size 4; location / { proxy_pass http://%origin%; } location /off { client_max_body_size 0; proxy_pass http://%origin%; }
        location /ret { return 200 r; }";
    let post = |target: &str, body: &str, status| {
        ask(
            &format!(
                "POST {target} HTTP/1.1\nHost: a.test\nContent-Length: {}\nConnection: close\n\n{body}",
                body.len()
            ),
            status,
        )
    };
    let chunked = |target: &str, body: &str, status| {
        let head = format!("POST {target} HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nConnection: close\n\n");
        ask(&format!("{head}{:x}\n{body}\n0\n\n", body.len()), status)
    };
    server(inside).origin(|request| crate::bed::origin::Reply::ok(&request.body)).same(&[
        post("/", "1234", 200),
        post("/", "12345", 413),
        post("/off", "123456789", 200),
        post("/ret", "12345", 413),
        chunked("/", "1234", 200),
        chunked("/", "12345", 413),
        chunked("/off", "123456789", 200),
    ]);
}

#[test]
fn heads_have_limits() {
    let long = |length: usize| "x".repeat(length);
    server("large_client_header_buffers 2 1k; client_header_buffer_size 1k; location / { return 200 ok; }").same(&[
        get(&format!("/{}", long(900)), 200),
        get(&format!("/{}", long(1100)), 414),
        get_with("/", &format!("X: {}", long(900)), 200),
        get_with("/", &format!("X: {}", long(1100)), 400),
        get_with("/", &format!("X: {0}\nY: {0}\nZ: {0}\nA: {0}", long(800)), 400),
    ]);
}

#[test]
fn underscores_and_odd_header_names() {
    server("location / { return 200 \"[$http_a_b][$http_c]\"; }").same(&[
        get_with("/", "a_b: under\nC: see", 200),
        get_with("/", "a-b: dash", 200),
        get_with("/", "a.b: dot\nC: see", 200),
    ]);
    server("underscores_in_headers on; location / { return 200 \"[$http_a_b]\"; }").same(&[get_with(
        "/",
        "a_b: under",
        200,
    )]);
    server("ignore_invalid_headers off; location / { return 200 \"[$http_a_b][$http_c]\"; }")
        .same(&[get_with("/", "a_b: under\nC: see", 200), get_with("/", "a.b: dot\nC: see", 200)]);
}
