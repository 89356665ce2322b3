//! gzip, gzip_static, gunzip, charset, sub_filter: whose answers are coded and with which headers.

use crate::bed::origin::Reply;
use crate::compare::{get, get_with, server};

#[test]
fn what_is_not_compressed_is_left_alone() {
    let inside =
        "gzip on; gzip_min_length 100; gzip_types text/css; types { text/html html; text/css css; image/png png; }
        location /off { gzip off; }";
    server(inside)
        .file("www/big.html", "x".repeat(500))
        .file("www/small.html", "x")
        .file("www/big.png", "x".repeat(500))
        .same(&[
            get("/big.html", 200),
            get_with("/small.html", "Accept-Encoding: gzip", 200),
            get_with("/big.png", "Accept-Encoding: gzip", 200),
            get_with("/big.html", "Accept-Encoding: identity", 200),
            get_with("/big.html", "Accept-Encoding: gzip;q=0", 200),
            get_with("/big.html", "Accept-Encoding: br", 200),
        ]);
}

#[test]
fn gzip_vary_is_said_even_when_the_answer_is_plain() {
    let inside = "gzip on; gzip_vary on; gzip_min_length 1; types { text/html html; }";
    server(inside).file("www/a.html", "hello hello hello").same(&[get("/a.html", 200), get("/none", 404)]);
}

#[test]
fn gzip_static_sends_the_file_beside() {
    let inside = "gzip_static on; location /always { gzip_static always; } types { text/html html; }";
    server(inside)
        .later("gzip_static")
        .file("www/a.html", "plain")
        .file("www/a.html.gz", "not really gzip")
        .file("www/b.html", "only plain")
        .file("www/always.html.gz", "always")
        .same(&[
            get("/a.html", 200),
            get_with("/a.html", "Accept-Encoding: gzip", 200),
            get_with("/a.html", "Accept-Encoding: gzip, deflate, br", 200),
            get_with("/b.html", "Accept-Encoding: gzip", 200),
            get_with("/a.html", "Accept-Encoding: gzip\nRange: bytes=0-2", 206),
            get("/always.html", 200),
        ]);
}

#[test]
fn charset_is_added_to_its_types() {
    let inside = "charset utf-8; types { text/html html; text/css css; image/png png; text/plain txt; } location /off/ { charset off; alias %dir%/www/; }";
    server(inside).file("www/a.html", "a").file("www/a.css", "a").file("www/a.png", "a").file("www/a.txt", "a").same(
        &[get("/a.html", 200), get("/a.css", 200), get("/a.png", 200), get("/a.txt", 200), get("/off/a.html", 200)],
    );
}

#[test]
fn compressed_answers_lose_length_and_strong_validators() {
    // The compressed bytes themselves may differ between two correct compressors: HEAD compares the headers.
    let inside = "gzip on; gzip_min_length 1; gzip_vary on; gzip_proxied any; types { text/html html; } location /p/ { proxy_pass http://%origin%; }";
    let head = |target: &str, more: &str| {
        crate::compare::ask(&format!("HEAD {target} HTTP/1.1\nHost: a.test\n{more}Connection: close\n\n"), 200)
    };
    server(inside)
        .file("www/a.html", "hello ".repeat(100))
        .origin(|_| {
            Reply::with(200, &["Content-Type: text/html", "ETag: \"abc\"", "Accept-Ranges: bytes"], "hi ".repeat(100))
        })
        .same(&[
            head("/a.html", "Accept-Encoding: gzip\n"),
            head("/a.html", "Accept-Encoding: deflate, gzip;q=0.5, *;q=0\n"),
            head("/p/x", "Accept-Encoding: gzip\n"),
            head("/p/x", "Accept-Encoding: gzip\nVia: 1.1 other\n"),
        ]);
}
