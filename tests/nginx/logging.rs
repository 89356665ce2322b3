//! access_log: formats, escapes, conditions, several files.

use crate::compare::{ask, case, get, get_with, raw};

#[test]
fn formats_hold_what_nginx_writes() {
    let conf = "log_format main '$remote_addr - $remote_user \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" $request_length $connection_requests $request_completion $pipe';
        log_format json escape=json '{\"uri\":\"$uri\",\"agent\":\"$http_user_agent\",\"arg\":\"$arg_a\",\"none\":\"$http_none\"}';
        log_format none escape=none '$http_user_agent|$request_uri';
        server { listen 127.0.0.1:%port1%; access_log %dir%/main.log main; access_log %dir%/json.log json; access_log %dir%/none.log none;
            location / { return 200 hello; } location /404 { return 404 none; } location /204 { return 204; } }";
    case(conf).logs(&["main.log", "json.log", "none.log"]).same(&[
        get("/", 200),
        get("/404?x", 404),
        get("/204", 204),
        get_with("/", "User-Agent: a \"quoted\" \\ agent\nReferer: http://x/\"", 200),
        raw(
            b"GET /?a=%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: tab\there \xc3\xbc \xff \x01\r\nConnection: close\r\n\r\n",
            200,
        ),
        get("/a%22b?a=x\"y", 200),
        ask("HEAD / HTTP/1.1\nHost: a\nConnection: close\n\n", 200),
        ask("POST / HTTP/1.1\nHost: a\nContent-Length: 5\nConnection: close\n\nhello", 200),
        raw(b"GARBAGE\r\n\r\n", 400),
        raw(b"GET /a b HTTP/1.1\r\n\r\n", 400),
    ]);
}

#[test]
fn logs_are_off_conditional_or_in_files_named_by_variables() {
    let conf = "map $status $loggable { ~^[23] 0; default 1; }
        server { listen 127.0.0.1:%port1%; location / { access_log %dir%/some.log combined if=$loggable; if ($arg_s) { return 404; } return 200 x; }
            location /off { access_log off; return 200 off; } location /var { access_log %dir%/by-$arg_f.log; return 200 v; } }";
    case(conf).logs(&["access.log", "some.log", "by-a.log", "by-b.log"]).same(&[
        get("/", 200),
        get("/?s=1", 404),
        get("/off", 200),
        get("/var?f=a", 200),
        get("/var?f=b", 200),
        get("/var?f=a&again", 200),
    ]);
}
