//! `if` in its forms, and what its pseudo-location inherits.

use crate::compare::{ask, get, get_with, server};

#[test]
fn if_compares_strings_patterns_and_files() {
    let inside = "location /eq { if ($arg_a = yes) { return 200 equal; } return 200 not; }
        location /ne { if ($arg_a != yes) { return 200 different; } return 200 same; }
        location /re { if ($http_x ~ ^b(.*)e$) { return 200 \"match $1\"; } return 200 no; }
        location /rei { if ($http_x ~* ^B) { return 200 match; } return 200 no; }
        location /nre { if ($http_x !~ ^b) { return 200 unmatched; } return 200 matched; }
        location /set { if ($arg_a) { return 200 true; } return 200 false; }
        location /f { if (-f $document_root$uri) { return 200 file; } return 200 none; }
        location /nf { if (!-f $document_root$uri) { return 200 none; } return 200 file; }
        location /d { if (-d $document_root$uri) { return 200 dir; } return 200 none; }
        location /e { if (-e $document_root$uri) { return 200 there; } return 200 none; }
        location /m { if ($request_method = POST) { return 405; } return 200 ok; }";
    server(inside).file("www/f/x", "x").file("www/d/y", "y").file("www/nf/x", "").file("www/e/x", "").same(&[
        get("/eq?a=yes", 200),
        get("/eq?a=YES", 200),
        get("/eq", 200),
        get("/ne?a=yes", 200),
        get("/ne", 200),
        get_with("/re", "X: because-e", 200),
        get_with("/re", "X: zzz", 200),
        get_with("/rei", "X: bx", 200),
        get_with("/nre", "X: bx", 200),
        get("/nre", 200),
        get("/set", 200),
        get("/set?a=0", 200),
        get("/set?a=00", 200),
        get("/set?a=1", 200),
        get("/f/x", 200),
        get("/f", 200),
        get("/f/none", 200),
        get("/nf/x", 200),
        get("/nf/none", 200),
        get("/d", 200),
        get("/d/y", 200),
        get("/e/x", 200),
        get("/e/none", 200),
        ask("POST /m HTTP/1.1\nHost: a.test\nContent-Length: 0\nConnection: close\n\n", 405),
    ]);
}

#[test]
fn if_is_a_location_of_its_own_when_it_is_true() {
    let inside = "location / { add_header X-A outer; root %dir%/www; if ($arg_v = 1) { add_header X-B inner; } }
        location /root { if ($arg_v = 1) { root %dir%/other; } }
        location /two { if ($arg_a) { add_header X-One 1; } if ($arg_b) { add_header X-Two 2; } }
        location /seq { set $x start; if ($arg_a) { set $x \"${x}-a\"; } if ($arg_b) { set $x \"${x}-b\"; } return 200 $x; }
        location /break { if ($arg_a) { break; } return 200 after; }";
    server(inside).file("www/f", "f").file("www/root", "www").file("other/root", "other").file("www/two", "2").same(&[
        get("/f", 200),
        get("/f?v=1", 200),
        get("/root", 200),
        get("/root?v=1", 200),
        get("/two?a=1", 200),
        get("/two?b=1", 200),
        get("/two?a=1&b=1", 200),
        get("/seq?a=1&b=1", 200),
        get("/seq?b=1", 200),
        get("/break?a=1", 404),
        get("/break", 200),
    ]);
}

#[test]
fn if_in_the_server_sends_away() {
    let inside = "if ($host = old.test) { return 301 https://new.test$request_uri; }
        if ($http_user_agent ~* (bad|worse)) { return 403; }
        if ($arg_go) { rewrite ^ /gone? last; }
        location / { return 200 root; } location /gone { return 200 \"gone $args\"; }";
    server(inside).same(&[
        ask("GET /x?y HTTP/1.1\nHost: old.test\nConnection: close\n\n", 301),
        get_with("/", "User-Agent: a Worse robot", 403),
        get("/any?go=1", 200),
        get("/any", 200),
    ]);
}
