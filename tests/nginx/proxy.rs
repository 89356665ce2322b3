//! proxy_pass: URI rules, headers both ways, redirects, cookies, bodies, methods.

use crate::bed::origin::{Received, Reply};
use crate::compare::{ask, get, get_with, raw, server};

fn target(request: &Received) -> Reply {
    Reply::with(200, &["Content-Type: text/plain"], request.target())
}

#[test]
fn the_uri_is_replaced_kept_or_built() {
    let inside = "location /none/ { proxy_pass http://%origin%; }
        location /slash/ { proxy_pass http://%origin%/; }
        location /path/ { proxy_pass http://%origin%/new/; }
        location /nosl { proxy_pass http://%origin%/new; }
        location = /exact { proxy_pass http://%origin%/other?fixed=1; }
        location ~ ^/re/ { proxy_pass http://%origin%; }
        location /var/ { proxy_pass http://%origin%/v$uri$is_args$args; }
        location /varnone/ { set $up %origin%; proxy_pass http://$up; }
        location /rw/ { rewrite ^/rw/(.*)$ /changed/$1 break; proxy_pass http://%origin%; }
        location /rwp/ { rewrite ^/rwp/(.*)$ /changed/$1 break; proxy_pass http://%origin%/ignored/; }
        location /rwq/ { rewrite ^/rwq/(.*)$ /changed?q=$1 break; proxy_pass http://%origin%; }
        location @named { proxy_pass http://%origin%; } location /try { try_files /nothing @named; }
        location /cond/ { proxy_pass http://%origin%/a/; if ($arg_x) { proxy_pass http://%origin%; } }";
    server(inside).origin(target).same(&[
        get("/none/a%20b//c/../d?x=%31", 200),
        get("/none/%2e%2e/none/x", 200),
        get("/slash/a%20b//c?x", 200),
        get("/slash/", 200),
        get("/path/a/../b%2Fc", 200),
        get("/path/%41%3f%25", 200),
        get("/nosly", 200),
        get("/nosl", 200),
        get("/exact?a=b", 200),
        get("/re/a%20b?c", 200),
        // nginx sends the space on, within the request line.
        get("/var/x%20y?z=1", 200).here(500),
        get("/varnone/x%20y?z=1", 200),
        get("/rw/x%20y?z=1", 200),
        get("/rwp/x", 200),
        get("/rwq/x?z=1", 200),
        get("/try%20this?a", 200),
        get("/cond/y", 200),
        get("/cond/y?x=1", 200),
        get("/path/%D1%8F", 200),
        raw(b"GET /path/\xd1\x8f HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", 200),
        ask("GET http://a.test/none/abs?q HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
    ]);
}

#[test]
fn the_upstream_sees_nginxs_headers() {
    let inside = "location / { proxy_pass http://%origin%; }
        location /11 { proxy_pass http://%origin%; proxy_http_version 1.1; }
        location /ka { proxy_pass http://%origin%; proxy_http_version 1.1; proxy_set_header Connection \"\"; }
        location /set { proxy_pass http://%origin%; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Empty \"\"; proxy_set_header Accept-Encoding \"\"; proxy_set_header X-Arg $arg_none; }
        location /up { proxy_pass http://%origin%; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; }
        location /nopass { proxy_pass http://%origin%; proxy_pass_request_headers off; }
        location /nobody { proxy_pass http://%origin%; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }
        location /body { proxy_pass http://%origin%; proxy_set_body \"new $request_method\"; }
        location /method { proxy_pass http://%origin%; proxy_method PUT; }";
    let origin = |request: &Received| Reply::ok(&request.body);
    let many = "X-A: 1\nx-a: 2\nTE: trailers\nKeep-Alive: 5\nProxy-Connection: x\nUpgrade: foo\nAccept-Encoding: gzip\nX-Forwarded-For: 1.2.3.4\nCookie: a=1\nCookie: b=2\nX-Empty: theirs\nUser-Agent: test";
    server(inside).origin(origin).same(&[
        get("/", 200),
        get_with("/", many, 200),
        get_with("/11", many, 200),
        get_with("/ka", many, 200),
        get_with("/set", many, 200),
        get_with("/nopass", many, 200),
        ask("POST /nobody HTTP/1.1\nHost: a.test\nContent-Length: 3\nConnection: close\n\nabc", 200),
        ask("POST /body HTTP/1.1\nHost: a.test\nContent-Length: 3\nConnection: close\n\nabc", 200),
        ask("POST /method HTTP/1.1\nHost: a.test\nContent-Length: 3\nConnection: close\n\nabc", 200),
        ask("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nConnection: close\n\n3\nabc\n0\n\n", 200),
        ask("POST /11 HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nConnection: close\n\n3\nabc\n0\n\n", 200),
        ask("GET / HTTP/1.0\n\n", 200),
        ask("GET / HTTP/1.1\nHost: A.Test:81\nConnection: close\n\n", 200),
        ask("DELETE / HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("HEAD / HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
        ask("GET /up HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: websocket\n\n", 200),
    ]);
}

#[test]
fn a_streamed_body_keeps_its_framing() {
    let inside = "proxy_request_buffering off; proxy_http_version 1.1; location / { proxy_pass http://%origin%; }";
    server(inside).origin(|request| Reply::ok(&request.body)).same(&[
        ask("POST / HTTP/1.1\nHost: a.test\nContent-Length: 3\nConnection: close\n\nabc", 200),
        // nginx gives a length to chunks that have all come already; who streams cannot count on that.
        ask("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nConnection: close\n\n3\nabc\n0\n\n", 200)
            .here(200),
    ]);
}

#[test]
fn the_client_sees_the_upstreams_headers_less_the_hidden_ones() {
    let inside = "location / { proxy_pass http://%origin%; }
        location /hide { proxy_pass http://%origin%; proxy_hide_header X-One; proxy_pass_header Server; proxy_pass_header Date; }
        location /ignore { proxy_pass http://%origin%; proxy_ignore_headers X-Accel-Redirect Set-Cookie; }
        location /add { proxy_pass http://%origin%; add_header X-One ours; add_header X-New \"$upstream_http_x_one\"; }
        location /internal/ { internal; return 200 \"internal $uri\"; }";
    let origin = |request: &Received| match request.target() {
        "/accel" => Reply::with(
            200,
            &["X-Accel-Redirect: /internal/x%20y?z", "X-Keep: no", "Set-Cookie: k=v", "Content-Type: x/y"],
            "hidden",
        ),
        "/ignore" => Reply::with(200, &["X-Accel-Redirect: /internal/x", "Set-Cookie: k=v"], "shown"),
        "/limit" => Reply::with(
            200,
            &[
                "X-Accel-Limit-Rate: 1000000",
                "X-Accel-Buffering: no",
                "X-Accel-Expires: 5",
                "X-Accel-Charset: utf-8",
                "Content-Type: text/html",
            ],
            "charset",
        ),
        _ => Reply::with(
            200,
            &[
                "X-One: 1",
                "x-ONE: 2",
                "Server: theirs",
                "Date: Tue, 14 Nov 2023 22:13:20 GMT",
                "X-Pad: p",
                "Status: 299",
                "Keep-Alive: timeout=5",
                "Cache-Control: no-store",
                "Set-Cookie: a=1",
                "Set-Cookie: b=2",
                "ETag: \"e\"",
                "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT",
                "Expires: 0",
            ],
            "body",
        ),
    };
    server(inside).origin(origin).same(&[
        get("/", 200),
        get("/hide", 200),
        get("/ignore", 200),
        get("/add", 200),
        get("/accel", 200),
        // nginx takes only charsets that its configuration names somewhere.
        get("/limit", 200).here(200),
    ]);
}

#[test]
fn redirects_and_cookies_are_rewritten() {
    let inside = "location /app/ { proxy_pass http://%origin%/; }
        location /off/ { proxy_pass http://%origin%/; proxy_redirect off; }
        location /own/ { proxy_pass http://%origin%/; proxy_redirect http://x.test/ /y/; proxy_redirect ~^http://([a-z]+)\\.re/(.*)$ http://$host/$1/$2; }
        location /cookie/ { proxy_pass http://%origin%/; proxy_cookie_domain inner.test a.test; proxy_cookie_path / /cookie/; }
        location /both/ { proxy_pass http://%origin%/; proxy_redirect default; proxy_redirect / /z/; }";
    let origin = |request: &Received| {
        let host = request.header("host").unwrap_or_default().to_owned();
        let location = match request.target() {
            "/self" => format!("Location: http://{host}/there?x=1"),
            "/rel" => "Location: /rel".to_owned(),
            "/x" => "Location: http://x.test/deep".to_owned(),
            "/re" => "Location: http://abc.re/rest".to_owned(),
            "/refresh" => format!("Refresh: 5; url=http://{host}/later"),
            _ => "X-None: 1".to_owned(),
        };
        Reply::with(
            302,
            &[&location, "Set-Cookie: a=b; Domain=inner.test; Path=/p; HttpOnly", "Set-Cookie: plain=1"],
            "",
        )
    };
    let mut asks = Vec::new();
    for prefix in ["/app", "/off", "/own", "/cookie", "/both"] {
        asks.extend(["self", "rel", "x", "re", "refresh", "none"].map(|name| get(&format!("{prefix}/{name}"), 302)));
    }
    server(inside).origin(origin).same(&asks);
}

#[test]
fn odd_answers_of_the_upstream_are_judged_as_nginx_does() {
    let origin = |request: &Received| match request.target() {
        "/nolength" => Reply::raw("HTTP/1.1 200 OK\r\nX: y\r\n\r\nuntil the end"),
        "/chunked" => {
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        }
        "/short" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        "/noreason" => Reply::raw("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
        "/reason" => Reply::raw("HTTP/1.1 299 Strange Reason\r\nContent-Length: 2\r\n\r\nok"),
        "/http10" => Reply::raw("HTTP/1.0 200 OK\r\n\r\nten"),
        "/nohead" => Reply::raw("just a body"),
        "/garbage" => Reply::raw("HTTX/1.1 200 OK\r\n\r\n"),
        "/badheader" => Reply::raw("HTTP/1.1 200 OK\r\nbad header line\r\nContent-Length: 2\r\n\r\nok"),
        "/twolengths" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"),
        "/clte" => {
            Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        }
        "/hangup" => Reply::hang_up(),
        "/100" => Reply::raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        "/103" => {
            Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        }
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => Reply::raw("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        "/big" => Reply::raw(format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\n\r\n", "x".repeat(9000))),
        "/lf" => Reply::raw("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        "/toolong" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"),
        _ => Reply::ok("fine"),
    };
    let with = |target: &str, status| get(target, status);
    server("location / { proxy_pass http://%origin%; proxy_http_version 1.1; }").origin(origin).same(&[
        with("/nolength", 200),
        with("/chunked", 200),
        with("/short", 200),
        with("/noreason", 200),
        with("/reason", 299),
        with("/http10", 200),
        with("/nohead", 0).here(502),
        with("/garbage", 200).here(502),
        with("/badheader", 502),
        with("/twolengths", 502),
        with("/clte", 502),
        with("/hangup", 502),
        with("/204", 204),
        with("/304", 304),
        with("/big", 502),
        with("/lf", 200),
        with("/toolong", 200),
        ask("GET /chunked HTTP/1.0\n\n", 200),
        ask("GET /nolength HTTP/1.1\nHost: a\n\n", 200),
        ask("GET /chunked HTTP/1.1\nHost: a\n\n", 200),
        ask("GET /missing-path HTTP/1.1\nHost: a\n\n", 200),
    ]);
}
