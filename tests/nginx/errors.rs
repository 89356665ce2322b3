//! error_page in its forms, the built-in pages, recursion.

use crate::bed::origin::Reply;
use crate::compare::{ask, get, get_with, server};

#[test]
fn error_page_jumps_redirects_and_changes_codes() {
    let inside = "error_page 404 /404.html; error_page 403 =200 /403.html; error_page 410 = /code; error_page 500 502 503 /50x.html;
        error_page 418 http://x.test/tea; error_page 419 @named; error_page 420 =302 /elsewhere; error_page 421 =418 @named;
        location = /404.html { add_header X-Page yes; } location /code { return 202 changed; }
        location @named { return 200 \"named $uri $request_method\"; }
        location ~ ^/c/(\\d+) { if ($uri = /c/403) { return 403; } if ($uri = /c/410) { return 410; } if ($uri = /c/418) { return 418; }
            if ($uri = /c/419) { return 419; } if ($uri = /c/420) { return 420; } if ($uri = /c/421) { return 421; } if ($uri = /c/503) { return 503; } return 404; }";
    server(inside).file("www/404.html", "custom 404").file("www/403.html", "custom 403").same(&[
        get("/none", 404),
        get("/c/403", 200),
        get("/c/410", 202),
        get("/c/418", 302),
        get("/c/419", 419),
        get("/c/420", 404),
        get("/c/421", 418),
        get("/c/503", 404),
        ask("HEAD /none HTTP/1.1\nHost: a.test\nConnection: close\n\n", 404),
        ask("POST /none HTTP/1.1\nHost: a.test\nContent-Length: 3\nConnection: close\n\nabc", 404),
        ask("POST /c/419 HTTP/1.1\nHost: a.test\nContent-Length: 0\nConnection: close\n\n", 419),
    ]);
}

#[test]
fn error_pages_are_inherited_whole_and_do_not_recurse_unless_told() {
    let inside = "error_page 404 /e404; error_page 403 /e403;
        location /own { error_page 404 /other; return 404; }
        location /none { return 403; }
        location /e404 { return 403; } location /e403 { return 200 page; } location /other { return 200 other; }
        location /rec { recursive_error_pages on; error_page 404 /rec2; return 404; }
        location /rec2 { recursive_error_pages on; error_page 403 /e403; return 403; }";
    server(inside).same(&[get("/own", 404), get("/none", 403), get("/missing", 403), get("/rec", 403)]);
}

#[test]
fn the_built_in_pages_are_nginxs() {
    let codes = [
        400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 421, 429, 500, 501, 502, 503,
        504, 505, 507,
    ];
    let mut inside = String::new();
    for code in codes {
        inside.push_str(&format!("location /{code} {{ return {code}; }} "));
    }
    let asks: Vec<_> = codes
        .iter()
        .map(|code| if *code == 408 { get("/408", 0).here(0) } else { get(&format!("/{code}"), *code) })
        .collect();
    server(&inside).same(&asks);
    // The length in the log is that of the name, which is another one here.
    server(&format!("server_tokens off; access_log off; {inside}")).same(&[get("/404", 404), get("/502", 502)]);
    server("msie_padding on; msie_refresh off;").same(&[get_with(
        "/x",
        "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0)",
        404,
    )]);
}

#[test]
fn upstream_errors_are_intercepted_only_when_told() {
    let inside = "error_page 404 /mine; error_page 500 =200 @named; location /mine { return 200 mine; } location @named { return 200 named; }
        location /pass/ { proxy_pass http://%origin%; } location /catch/ { proxy_pass http://%origin%; proxy_intercept_errors on; }
        location /dead/ { proxy_pass http://127.0.0.1:%port9%; error_page 502 = /mine; }
        location /deadpage/ { proxy_pass http://127.0.0.1:%port9%; }";
    server(inside)
        .origin(|request| match request.target() {
            target if target.ends_with("404") => Reply::with(404, &[], "theirs"),
            target if target.ends_with("500") => Reply::with(500, &[], "theirs"),
            _ => Reply::ok("fine"),
        })
        .same(&[
            get("/pass/404", 404),
            get("/catch/404", 404),
            get("/catch/500", 200),
            get("/catch/ok", 200),
            get("/dead/x", 200),
            get("/deadpage/x", 502),
        ]);
}
