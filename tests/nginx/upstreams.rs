//! upstream blocks: weights, backups, down, failures and the next one, hashing, keep-alive to them.

use crate::bed::origin::{Received, Reply};
use crate::compare::{ask, case, get, get_with};

const LOG: &str = "log_format up '$status $upstream_status $upstream_addr'; ";

fn failing(request: &Received) -> Reply {
    match request.target() {
        target if target.contains("503") => Reply::with(503, &[], "busy"),
        target if target.contains("hang") => Reply::hang_up(),
        _ => Reply::ok("fine"),
    }
}

#[test]
fn a_dead_server_is_passed_over_and_remembered() {
    let conf = format!(
        "{LOG} upstream u {{ server 127.0.0.1:%port9%; server %origin%; }} upstream all_dead {{ server 127.0.0.1:%port8%; server 127.0.0.1:%port9%; }}
         upstream spare {{ server 127.0.0.1:%port9%; server %origin% backup; }} upstream down {{ server 127.0.0.1:%port9% down; server %origin%; }}
         server {{ listen 127.0.0.1:%port1%; access_log %dir%/access.log up; location /u {{ proxy_pass http://u; }} location /dead {{ proxy_pass http://all_dead; }}
            location /spare {{ proxy_pass http://spare; }} location /down {{ proxy_pass http://down; }} }}"
    );
    case(&conf).origin(failing).same(&[
        get("/u/1", 200),
        get("/u/2", 200),
        get("/u/3", 200),
        get("/dead", 502),
        get("/dead", 502),
        get("/spare", 200),
        get("/spare", 200),
        get("/down", 200),
        get("/down", 200),
    ]);
}

#[test]
fn next_upstream_repeats_what_it_may() {
    let conf = format!(
        "{LOG} upstream u {{ server %origin% max_fails=0; server %origin% max_fails=0; }}
         server {{ listen 127.0.0.1:%port1%; access_log %dir%/access.log up; location / {{ proxy_pass http://u; }}
            location /try/ {{ proxy_pass http://u; proxy_next_upstream error timeout http_503; }}
            location /non/ {{ proxy_pass http://u; proxy_next_upstream error timeout http_503 non_idempotent; }}
            location /off/ {{ proxy_pass http://u; proxy_next_upstream off; }}
            location /one/ {{ proxy_pass http://u; proxy_next_upstream error http_503; proxy_next_upstream_tries 1; }} }}"
    );
    let post = |target: &str, status| {
        ask(&format!("POST {target} HTTP/1.1\nHost: a\nContent-Length: 3\nConnection: close\n\nabc"), status)
    };
    case(&conf).origin(failing).same(&[
        get("/503", 503),
        get("/hang", 502),
        get("/try/503", 503),
        get("/try/hang", 502),
        get("/off/hang", 502),
        get("/one/503", 503),
        post("/hang", 502),
        post("/try/503", 503),
        post("/non/503", 503),
    ]);
}

#[test]
fn weights_turn_smoothly() {
    let conf = format!(
        "{LOG} upstream u {{ server %origin% weight=3; server 127.0.0.1:%port2%; }}
         server {{ listen 127.0.0.1:%port2%; access_log off; return 200 second; }}
         server {{ listen 127.0.0.1:%port1%; access_log %dir%/access.log up; location / {{ proxy_pass http://u; }} }}"
    );
    case(&conf).origin(failing).same(&(0..9).map(|n| get(&format!("/{n}"), 200)).collect::<Vec<_>>());
}

#[test]
fn hashes_send_a_key_to_the_same_server() {
    let conf = format!(
        "{LOG} upstream h {{ hash $arg_k; server 127.0.0.1:%port2%; server 127.0.0.1:%port3%; server 127.0.0.1:%port4%; }}
         upstream i {{ ip_hash; server 127.0.0.1:%port2%; server 127.0.0.1:%port3%; server 127.0.0.1:%port4%; }}
         server {{ listen 127.0.0.1:%port2%; access_log off; return 200 two; }} server {{ listen 127.0.0.1:%port3%; access_log off; return 200 three; }}
         server {{ listen 127.0.0.1:%port4%; access_log off; return 200 four; }}
         server {{ listen 127.0.0.1:%port1%; access_log %dir%/access.log up; location /h {{ proxy_pass http://h; }} location /i {{ proxy_pass http://i; }} }}"
    );
    let mut asks: Vec<_> = (0..8).map(|n| get(&format!("/h?k=key{n}"), 200)).collect();
    asks.extend([get("/i", 200), get("/i", 200)]);
    case(&conf).same(&asks);
}

#[test]
fn kept_connections_are_used_again() {
    let conf = "upstream k { server %origin%; keepalive 4; } server { listen 127.0.0.1:%port1%; location / { proxy_pass http://k; proxy_http_version 1.1; proxy_set_header Connection \"\"; add_header X-Connection $upstream_http_x_connection; } }";
    let origin = |request: &Received| Reply::with(200, &[&format!("X-Connection: {}", request.connection)], "x");
    case(conf).origin(origin).same(&[get("/1", 200), get("/2", 200), get_with("/3", "X: y", 200)]);
}

#[test]
fn unix_sockets_serve_as_upstreams_and_listeners() {
    let conf = "upstream u { server unix:%dir%/sock; } server { listen unix:%dir%/sock; access_log off; return 200 \"unix $remote_addr\"; }
        server { listen 127.0.0.1:%port1%; location /u { proxy_pass http://u; } location /d { proxy_pass http://unix:%dir%/sock:/uri; } }";
    case(conf).same(&[get("/u", 200), get("/d", 200)]);
}
