//! return, rewrite, set, break, and their order.

use crate::compare::{get, server};

#[test]
fn return_sends_codes_texts_and_redirects() {
    let inside = "default_type text/plain;
        location /t { return 200 \"text $request_method\"; }
        location /empty { return 204; }
        location /b { return 200; }
        location /url { return http://x.test/y; }
        location /https { return https://$host$request_uri; }
        location /scheme { return $scheme://z.test/; }
        location /301 { return 301 /moved; }
        location /302 { return 302 /moved?x=$arg_x; }
        location /303 { return 303 /moved; }
        location /307 { return 307 /moved; }
        location /308 { return 308 http://abs.test/; }
        location /rel { return 301 relative; }
        location /403 { return 403; }
        location /404t { return 404 nope; }
        location /410 { return 410; }
        location /500 { return 500; }
        location /503 { return 503 \"busy\\n\"; }
        location /444 { return 444; }
        location /418 { return 418; }
        location /429 { return 429; }
        location /599 { return 599; }
        location /200e { return 200 \"\"; }";
    let mut asks: Vec<_> =
        [("/t", 200), ("/empty", 204), ("/b", 200), ("/url", 302), ("/https?q=1", 302), ("/scheme", 302)]
            .map(|(target, status)| get(target, status))
            .into();
    for status in [301, 302, 303, 307, 308, 403, 410, 418, 429, 500, 503, 599] {
        asks.push(get(&format!("/{status}?x=1"), status));
    }
    asks.extend([get("/rel", 301), get("/404t", 404), get("/444", 0), get("/200e", 200)]);
    server(inside).same(&asks);
}

#[test]
fn rewrite_flags_do_what_they_say() {
    let inside = "location / { return 200 \"root $uri?$args\"; }
        location /last { rewrite ^/last/(.*)$ /seen/$1 last; return 200 unreached-unless-no-match; }
        location /break { rewrite ^/break/(.*)$ /file-$1 break; }
        location /redirect { rewrite ^/redirect/(.*)$ /to/$1 redirect; }
        location /permanent { rewrite ^/permanent/(.*)$ /to/$1 permanent; }
        location /abs { rewrite ^/abs/(.*)$ http://x.test/$1; }
        location /noargs { rewrite ^/noargs/(.*)$ /to/$1? last; }
        location /ownargs { rewrite ^/ownargs/(.*)$ /to/$1?a=1 last; }
        location /ownonly { rewrite ^/ownonly/(.*)$ /to/$1?a=1? last; }
        location /chain { rewrite ^/chain/a /chain/b; rewrite ^/chain/b /chain/c; rewrite ^/chain/c /end last; }
        location /loop { rewrite ^ /loop last; }
        location /named { rewrite ^/named/(?<what>\\w+) /to/$what-$what last; }
        location /case { rewrite (?i)^/CASE/(.*) /to/$1 last; }
        location /nomatch { rewrite ^/zzz /never last; return 200 unmatched; }";
    server(inside).file("www/file-x", "the file").same(&[
        get("/last/x?q=1", 200),
        get("/last", 200),
        get("/break/x", 200),
        get("/break/none", 404),
        get("/redirect/x?q=1", 302),
        get("/permanent/x%20y", 301),
        get("/abs/x?q=1", 302),
        get("/noargs/x?q=1", 200),
        get("/ownargs/x?q=1", 200),
        get("/ownargs/x", 200),
        get("/ownonly/x?q=1", 200),
        get("/chain/a", 200),
        get("/loop", 500),
        get("/named/ab", 200),
        get("/case/x", 200),
        get("/nomatch", 200),
    ]);
}

#[test]
fn rewrites_of_the_server_come_first_and_keep_what_they_set() {
    let inside = "set $who server; rewrite ^/old/(.*)$ /new/$1; rewrite ^/gone /x break;
        location /new/ { set $more \"$who-$1\"; return 200 \"$uri $more $request_uri\"; }
        location / { return 200 \"root $uri $who\"; }";
    server(inside).same(&[get("/old/a?b=c", 200), get("/gone", 200), get("/other", 200)]);
}

#[test]
fn set_joins_variables_and_captures() {
    let inside = "location ~ ^/(?<one>[^/]+)/([^/]+)$ { set $two $2; set $both \"${one}_${two}!\"; return 200 \"$both $1 $uri\"; }
        location /dollar { set $x 5; return 200 \"${x}px $x-\"; }
        location /undef { return 200 \"[$arg_none][$cookie_none][$http_none]\"; }";
    server(inside).same(&[get("/a/b", 200), get("/a%20b/c", 200), get("/dollar", 200), get("/undef", 200)]);
}

#[test]
fn rewritten_uris_are_escaped_in_redirects() {
    let inside = "location /r/ { rewrite ^/r/(.*)$ /to/$1 redirect; }
        location /q/ { rewrite ^/q/(.*)$ /to?v=$1 redirect; }
        location /u/ { return 302 /to$uri; }
        location /m/ { return 302 http://x.test/$request_uri; }";
    server(inside).same(&[
        get("/r/a%20b", 302),
        get("/r/%D1%8F", 302),
        get("/q/a%26b%3Dc", 302),
        get("/q/a+b", 302),
        get("/u/a%20b", 302),
        get("/m/a%20b", 302),
        get("/r/a%3Fb", 302),
        // nginx would send a second header line here.
        get("/u/x%0d%0aSet-Cookie:%20a=b", 302).here(302),
    ]);
}
