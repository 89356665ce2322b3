//! What depends on who the client is and how it came: keepalive_disable, valid_referers, $tcpinfo_…, $request_body.

use crate::bed::origin::{Received, Reply};
use crate::compare::{ask, case, get_with, server};

fn kept(method: &str, agent: &str) -> crate::compare::Ask {
    ask(&format!("{method} /x HTTP/1.1\nHost: a.test\nUser-Agent: {agent}\nContent-Length: 0\n\n"), 200)
}

const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) AppleWebKit/605 Version/17 Safari/605";
const CHROME: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) AppleWebKit/537 Chrome/120.0 Safari/537";
const MSIE: &str = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0)";
const OPERA: &str = "Mozilla/4.0 (compatible; MSIE 5.5; Windows NT 5.0) Opera 8";

#[test]
fn connections_of_troublesome_browsers_are_not_kept() {
    for disabled in ["", "keepalive_disable safari;", "keepalive_disable msie6 safari;", "keepalive_disable none;"] {
        // 0.2 s, so that a kept connection ends soon.
        server(&format!("{disabled} keepalive_timeout 200ms; location /x {{ return 200 x; }}")).same(&[
            kept("POST", MSIE),
            kept("GET", MSIE),
            kept("POST", OPERA),
            kept("GET", SAFARI),
            kept("GET", CHROME),
        ]);
    }
}

#[test]
fn valid_referers_are_told_from_others() {
    let inside = "location /a { valid_referers none blocked server_names example.com *.example.org www.galaxy.* path.test/ok ~\\.google\\.; return 200 [$invalid_referer]; }
        location /b { valid_referers example.com; if ($invalid_referer) { return 403; } return 200 ok; location /b/c { return 200 [$invalid_referer]; } }
        location /d { return 200 [$invalid_referer]; }
        location /e { valid_referers .dot.test; return 200 [$invalid_referer]; }
        location /f { valid_referers ~^https?x; return 200 [$invalid_referer]; }";
    let mut asks = Vec::new();
    for referer in [
        "http://example.com/",
        "https://EXAMPLE.com:8080/x",
        "http://www.example.com",
        "http://x.example.org/a?b",
        "http://example.org",
        "http://www.galaxy.de",
        "http://path.test/ok/x",
        "http://path.test:80/ok",
        "http://path.test/no",
        "http://www.google.de/",
        "http://x.test/?q=.google.",
        "http://a.test/",
        "http://b9.test/",
        "http://dot.test/",
        "http://a.dot.test/",
        "http://a.b",
        "ftp://example.com/",
        "example.com",
        "",
    ] {
        let header = format!("Referer: {referer}");
        for path in ["/a", "/b/c", "/d", "/e", "/f"] {
            asks.push(get_with(path, &header, 200));
        }
    }
    asks.push(get_with("/b", "Referer: http://example.com/", 200));
    asks.push(get_with("/b", "Referer: http://other.com/", 403));
    asks.push(get_with("/b", "X: y", 403));
    asks.push(get_with("/a", "X: y", 200));
    server(&format!("server_name ~^b[0-9]\\.test$; {inside}")).same(&asks);
}

fn echo(request: &Received) -> Reply {
    let seen = request.header("x-body").unwrap_or("-").to_owned();
    Reply::with(200, &["Content-Type: text/plain"], format!("{seen}|{}", String::from_utf8_lossy(&request.body)))
}

#[test]
fn the_body_that_was_read_can_be_passed_on_and_logged() {
    let inside = "log_format body '$status [$request_body]';
        server { listen 127.0.0.1:%port1%; server_name a.test; access_log %dir%/access.log body; client_body_buffer_size 1k;
        location /p { proxy_pass http://%origin%; proxy_set_header X-Body $request_body; }
        location /s { proxy_pass http://%origin%; proxy_set_body \"<$request_body>\"; }
        location /n { proxy_pass http://%origin%; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; proxy_set_header X-Body $request_body; }
        location /r { return 200 [$request_body]; } }";
    let post = |path: &str, body: &str| {
        let length = body.len();
        ask(&format!("POST {path} HTTP/1.1\nHost: a.test\nContent-Length: {length}\nConnection: close\n\n{body}"), 200)
    };
    let long = "0123456789".repeat(2000);
    let chunked =
        "POST /s HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nConnection: close\n\n3\nabc\n2\nde\n0\n\n";
    case(inside).origin(echo).same(&[
        post("/p", "abc"),
        post("/s", "a b\"c"),
        post("/n", "abc"),
        post("/r", "abc"),
        post("/p", ""),
        post("/s", &long),
        ask(chunked, 200),
        get_with("/s", "X: y", 200),
    ]);
}

#[test]
fn bodies_are_read_before_they_are_replaced() {
    let inside = "client_max_body_size 4; location /s { proxy_pass http://%origin%; proxy_set_body fixed; }
        location /n { proxy_pass http://%origin%; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }";
    let chunked = |path: &str, status| {
        let head = format!("POST {path} HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nConnection: close\n\n");
        ask(&format!("{head}3\nabc\n2\nde\n0\n\n"), status)
    };
    server(inside).origin(echo).same(&[chunked("/s", 413), chunked("/n", 413)]);
}

#[test]
fn the_kernel_measures_every_connection() {
    let inside = "map $tcpinfo_rtt:$tcpinfo_rttvar:$tcpinfo_snd_cwnd:$tcpinfo_rcv_space $measured {
            default no; '~^[0-9]+:[0-9]+:[1-9][0-9]*:[1-9][0-9]*$' yes; }
        server { listen 127.0.0.1:%port1%; server_name a.test; location / { return 200 $measured; } }";
    case(inside).same(&[get_with("/", "X: y", 200)]);
}
