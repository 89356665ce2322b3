//! What proxy_pass passes on beside heads and bodies: trailers and the flags of cookies; and how ends are counted and made.

use crate::bed::origin::{Received, Reply};
use crate::compare::{ask, case, get, get_with, raw, server};

#[test]
fn cookies_get_flags_and_lose_them() {
    let inside = "location /one/ { proxy_pass http://%origin%/; proxy_cookie_flags a secure samesite=lax; proxy_cookie_flags ~^A httponly; }
        location /all/ { proxy_pass http://%origin%/; proxy_cookie_flags ~ secure httponly samesite=strict; }
        location /less/ { proxy_pass http://%origin%/; proxy_cookie_flags ~ nosecure nohttponly nosamesite; }
        location /none/ { proxy_pass http://%origin%/; proxy_cookie_flags c samesite=none; proxy_cookie_path / /x/; }
        location /odd/ { proxy_pass http://%origin%/; proxy_cookie_flags a nonsense secure; }
        location /var/ { set $flag secure; set $name a; proxy_pass http://%origin%/; proxy_cookie_flags $name $flag $arg_f; }
        location /in/ { proxy_cookie_flags a secure; location /in/off/ { proxy_pass http://%origin%/; proxy_cookie_flags off; }
            location /in/on/ { proxy_pass http://%origin%/; } }";
    let origin = |_: &Received| {
        Reply::with(
            200,
            &[
                "Set-Cookie: a=b; Path=/p",
                "Set-Cookie: Abc=1;secure;  HttpOnly ; SameSite=Lax;Expires=never",
                "Set-Cookie: c",
                "Set-Cookie: secure=1; Secure",
                "Set-Cookie: e=",
                "Set-Cookie: c=; samesite; path=/",
            ],
            "",
        )
    };
    let paths = ["one", "all", "less", "none", "odd", "var", "in/off", "in/on"];
    let mut asks: Vec<_> = paths.iter().map(|path| get(&format!("/{path}/"), 200)).collect();
    asks.push(get("/var/?f=httponly", 200));
    asks.push(get("/var/?f=nonsense", 200));
    server(inside).origin(origin).same(&asks);
}

fn trailing(request: &Received) -> Reply {
    let trailers = "X-Sum: 5\r\nX-Hidden: 1\r\nServer-Timing: db;dur=1\r\n";
    match request.target() {
        "/chunked" => Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n{trailers}\r\n"
        )),
        "/long" => {
            let body = "x".repeat(300_000);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Reply::raw(format!("{head}{:x}\r\n{body}\r\n0\r\n{trailers}\r\n", body.len()))
        }
        _ => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    }
}

#[test]
fn trailers_are_passed_on_where_that_is_asked_for() {
    let inside = "log_format t '$request $status $upstream_trailer_x_sum $sent_trailer_x_sum $sent_trailer_x_own';
        server { listen 127.0.0.1:%port1%; server_name a.test; access_log %dir%/access.log t; proxy_http_version 1.1; proxy_hide_header X-Hidden;
        location /on/ { proxy_pass http://%origin%/; proxy_pass_trailers on; }
        location /unbuffered/ { proxy_pass http://%origin%/; proxy_pass_trailers on; proxy_buffering off; }
        location /off/ { proxy_pass http://%origin%/; }
        location /own/ { proxy_pass http://%origin%/; proxy_pass_trailers on; add_trailer X-Own mine; }
        location /asked/ { proxy_pass http://%origin%/; proxy_pass_trailers on; proxy_set_header Connection te; proxy_set_header TE trailers; } }";
    let mut asks = Vec::new();
    for place in ["on", "unbuffered", "off", "own", "asked"] {
        asks.extend(["chunked", "long", "none"].map(|name| get(&format!("/{place}/{name}"), 200)));
    }
    asks.push(ask("GET /on/chunked HTTP/1.0\nHost: a.test\n\n", 200));
    asks.push(ask("HEAD /on/chunked HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200));
    case(inside).origin(trailing).same(&asks);
}

#[test]
fn the_length_of_an_answer_counts_its_framing() {
    let inside = "log_format l '$request $upstream_response_length $upstream_bytes_received';
        server { listen 127.0.0.1:%port1%; server_name a.test; access_log %dir%/access.log l; proxy_http_version 1.1;
        location /b/ { proxy_pass http://%origin%/; } location /u/ { proxy_pass http://%origin%/; proxy_buffering off; } }";
    let origin = |request: &Received| match request.target() {
        "/counted" => Reply::with(200, &[], "hello"),
        "/close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
        _ => trailing(request),
    };
    let mut asks = Vec::new();
    for place in ["b", "u"] {
        asks.extend(["counted", "close", "chunked", "long", "none"].map(|name| get(&format!("/{place}/{name}"), 200)));
    }
    case(inside).origin(origin).same(&asks);
}

#[test]
fn connections_that_time_out_are_reset_where_that_is_asked_for() {
    for reset in ["", "reset_timedout_connection on;"] {
        let inside = format!(
            "{reset} client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s;
            location /drop {{ return 444; }} location /ok {{ return 200 ok; }} location /body {{ proxy_pass http://%origin%; }}"
        );
        server(&inside).origin(trailing).same(&[
            get("/drop", 0),
            get_with("/ok", "X: y", 200),
            raw(b"GET /ok HTTP/1.1\r\nHost: a.test\r\n", 0),
            raw(b"GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n", 200),
            raw(b"POST /body HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc", 0),
            raw(b"", 0),
        ]);
    }
}
