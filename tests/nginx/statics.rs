//! Static files: index, types, conditional requests, ranges, methods, expires.

use crate::compare::{ask, case, get, get_with, server};

#[test]
fn files_come_with_type_length_and_validators() {
    server("types { text/html html; text/css css; image/png png; } default_type application/octet-stream;")
        .file("www/index.html", "<p>home</p>\n")
        .file("www/a.css", "body{}")
        .file("www/A.PNG", [0x89, b'P', b'N', b'G'])
        .file("www/noext", "plain")
        .file("www/empty.html", "")
        .file("www/sub/index.html", "sub")
        .same(&[
            get("/", 200),
            get("/index.html", 200),
            get("/a.css?x=1", 200),
            get("/A.PNG", 200),
            get("/noext", 200),
            get("/empty.html", 200),
            get("/missing", 404),
            get("/sub", 301),
            get("/sub/", 200),
            get("/sub/?q", 200),
            get("/sub?q=1", 301),
            get("/%69ndex.html", 200),
            get("/index.html/", 404),
            get("/./sub/../index.html", 200),
            get("//sub//index.html", 200),
            ask("HEAD / HTTP/1.1\nHost: a.test\nConnection: close\n\n", 200),
            ask("HEAD /missing HTTP/1.1\nHost: a.test\nConnection: close\n\n", 404),
            ask("POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\nConnection: close\n\n", 405),
            ask("PUT / HTTP/1.1\nHost: a.test\nContent-Length: 2\nConnection: close\n\nhi", 405),
            ask("DELETE / HTTP/1.1\nHost: a.test\nConnection: close\n\n", 405),
            ask("OPTIONS / HTTP/1.1\nHost: a.test\nConnection: close\n\n", 405),
            ask("GET / HTTP/1.0\n\n", 200),
            ask("GET / HTTP/1.0\nHost: a.test\nConnection: keep-alive\n\n", 200),
        ]);
}

#[test]
fn a_directory_without_an_index_is_forbidden_and_an_absent_one_not_found() {
    server("").file("www/dir/x", "x").same(&[get("/dir/", 403), get("/dir", 301), get("/none/", 404)]);
}

#[test]
fn index_tries_its_names_in_turn_and_jumps_to_the_match() {
    server("index first.html second.htm /last.html; location ~ htm$ { add_header X-Jumped yes; }")
        .file("www/a/second.htm", "second")
        .file("www/b/first.html", "first")
        .file("www/b/second.htm", "not me")
        .file("www/last.html", "last")
        .file("www/c/x", "")
        .same(&[get("/a/", 200), get("/b/", 200), get("/c/", 200)]);
}

#[test]
fn if_modified_since_and_if_none_match_give_304() {
    // The files are dated Tue, 14 Nov 2023 22:13:20 GMT.
    server("").file("www/f.txt", "0123456789").same(&[
        get_with("/f.txt", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT", 304),
        get_with("/f.txt", "If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT", 200),
        get_with("/f.txt", "If-Modified-Since: Mon, 13 Nov 2023 22:13:20 GMT", 200),
        get_with("/f.txt", "If-Modified-Since: garbage", 200),
        get_with("/f.txt", "If-None-Match: \"6553f100-a\"", 304),
        get_with("/f.txt", "If-None-Match: W/\"6553f100-a\"", 304),
        get_with("/f.txt", "If-None-Match: \"x\", \"6553f100-a\"", 304),
        get_with("/f.txt", "If-None-Match: *", 304),
        get_with("/f.txt", "If-None-Match: \"other\"", 200),
        get_with("/f.txt", "If-Match: \"6553f100-a\"", 200),
        get_with("/f.txt", "If-Match: \"other\"", 412),
        get_with("/f.txt", "If-Unmodified-Since: Mon, 13 Nov 2023 22:13:20 GMT", 412),
        get_with("/f.txt", "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:20 GMT", 200),
        get_with("/f.txt", "If-None-Match: \"other\"\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT", 200),
    ]);
}

#[test]
fn if_modified_since_before_and_off() {
    let inside = "location /before/ { alias %dir%/www/; if_modified_since before; }
                  location /off/ { alias %dir%/www/; if_modified_since off; }
                  location /noetag/ { alias %dir%/www/; etag off; }";
    server(inside).file("www/f.txt", "0123456789").same(&[
        get_with("/before/f.txt", "If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT", 304),
        get_with("/off/f.txt", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT", 200),
        get("/noetag/f.txt", 200),
        get_with("/noetag/f.txt", "If-None-Match: \"6553f100-a\"", 200),
    ]);
}

#[test]
fn ranges_are_cut_as_nginx_cuts_them() {
    server("").file("www/f.txt", "0123456789abcdef").same(&[
        get_with("/f.txt", "Range: bytes=0-0", 206),
        get_with("/f.txt", "Range: bytes=2-5", 206),
        get_with("/f.txt", "Range: bytes=10-", 206),
        get_with("/f.txt", "Range: bytes=-3", 206),
        get_with("/f.txt", "Range: bytes=-100", 206),
        get_with("/f.txt", "Range: bytes=5-100", 206),
        get_with("/f.txt", "Range: bytes=16-", 416),
        get_with("/f.txt", "Range: bytes=5-2", 416),
        get_with("/f.txt", "Range: bytes=0-1,4-5", 206),
        get_with("/f.txt", "Range: bytes=0-1, 4-5 , -1", 206),
        get_with("/f.txt", "Range: bytes=0-15,0-15,0-15", 200),
        get_with("/f.txt", "Range: bytes=0-1,99-100", 206),
        get_with("/f.txt", "Range: bytes=", 200),
        get_with("/f.txt", "Range: bytes=a-b", 416),
        get_with("/f.txt", "Range: lines=0-1", 200),
        get_with("/f.txt", "Range: bytes=0-1\nIf-Range: \"6553f100-10\"", 206),
        get_with("/f.txt", "Range: bytes=0-1\nIf-Range: \"old\"", 200),
        get_with("/f.txt", "Range: bytes=0-1\nIf-Range: Tue, 14 Nov 2023 22:13:20 GMT", 206),
        get_with("/f.txt", "Range: bytes=0-1\nIf-Range: Tue, 14 Nov 2023 22:13:21 GMT", 200),
        ask("HEAD /f.txt HTTP/1.1\nHost: a.test\nRange: bytes=2-5\nConnection: close\n\n", 206),
    ]);
    server("max_ranges 1; location /none { max_ranges 0; }")
        .file("www/f.txt", "0123456789")
        .file("www/none", "0123")
        .same(&[
            get_with("/f.txt", "Range: bytes=0-1,4-5", 200),
            get_with("/f.txt", "Range: bytes=0-1", 206),
            get_with("/none", "Range: bytes=0-1", 200),
        ]);
}

#[test]
fn root_and_alias_map_uris_to_files() {
    let inside = "location /i/ { alias %dir%/pictures/; } location /exact { alias %dir%/pictures/one; }
                  location ~ ^/u/(.+)$ { alias %dir%/pictures/$1; }
                  location /r/ { root %dir%/other; } location /v { root %dir%/$arg_where; }";
    server(inside).file("pictures/one", "1").file("other/r/two", "2").file("spot/v", "v").same(&[
        get("/i/one", 200),
        get("/i/", 403),
        get("/i", 404),
        get("/exact", 200),
        get("/u/one", 200),
        get("/u/none", 404),
        get("/r/two", 200),
        get("/v?where=spot", 200),
        get("/v?where=nowhere", 404),
        get("/i/../r/two", 200),
    ]);
}

#[test]
fn try_files_falls_through_to_its_last_word() {
    let inside = "location / { try_files $uri $uri/ /fallback.html; }
                  location /code/ { try_files $uri =418; }
                  location /named/ { try_files $uri @back; }
                  location /args/ { try_files $uri /fallback.html?from=$uri&$args; }
                  location /dironly/ { try_files $uri/ =404; }
                  location @back { return 202 \"back $uri\"; }
                  location = /fallback.html { add_header X-Args $args; add_header X-Uri $uri; }";
    server(inside)
        .file("www/fallback.html", "fallback")
        .file("www/there.txt", "there")
        .file("www/d/index.html", "d index")
        .file("www/dironly/x/index.html", "x")
        .file("www/code/here", "here")
        .same(&[
            get("/there.txt", 200),
            get("/d", 301),
            get("/d/", 200),
            get("/nowhere?k=v", 200),
            get("/code/here", 200),
            get("/code/none", 418),
            get("/named/a%20b", 202),
            get("/args/x?y=z", 200),
            get("/dironly/x", 301),
            get("/dironly/y", 404),
            ask("POST /nowhere HTTP/1.1\nHost: a.test\nContent-Length: 3\nConnection: close\n\nabc", 405),
        ]);
}

#[test]
fn a_trailing_slash_redirect_keeps_host_and_port_as_told() {
    let block = |more: &str| {
        format!("server {{ listen 127.0.0.1:%port1%; server_name a.test b.test; root %dir%/www; {more} }}")
    };
    for more in ["", "absolute_redirect off;", "port_in_redirect off;", "server_name_in_redirect on;"] {
        case(&block(more)).file("www/d/x", "").same(&[
            get("/d", 301),
            ask("GET /d HTTP/1.1\nHost: b.test:99\nConnection: close\n\n", 301),
            ask("GET /d HTTP/1.0\n\n", 301),
        ]);
    }
}

#[test]
fn odd_names_of_files_are_found_and_escaped() {
    server("")
        .file("www/a b/x", "space")
        .file("www/%41", "percent")
        .file("www/q?r", "question")
        .file("www/ü", "u")
        .same(&[
            get("/a%20b/x", 200),
            get("/a%20b", 301),
            get("/a+b/x", 404),
            get("/%2541", 200),
            get("/q%3Fr", 200),
            get("/%C3%BC", 200),
            get("/%c3%bc", 200),
        ]);
}

#[test]
fn symlinks_and_unreadable_things() {
    server("").file("www/real", "real").same(&[
        get("/real/x", 404),
        get("/.keep", 200),
        get(&format!("/{}", "n".repeat(300)), 404),
    ]);
}
