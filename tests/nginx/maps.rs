//! map, geo, split_clients and the core variables.

use crate::bed::origin::Reply;
use crate::compare::{ask, case, get, get_with, server};

const SERVER: &str = "server { listen 127.0.0.1:%port1%; server_name a.test; default_type text/plain;";

#[test]
fn map_looks_up_strings_wildcards_and_patterns() {
    let conf = format!(
        "map $arg_k $plain {{ default other; a one; \"b c\" two; ~^x(.*)$ re-$1; ~*^Y y; '' empty; \\default literal; }}
         map $http_host $by_host {{ hostnames; default none; exact.test e; *.wild.test w; .dot.test d; mail.* m; }}
         map \"$arg_a:$arg_b\" $joined {{ \"1:2\" both; default \"[$arg_a]\"; }}
         map $plain $second {{ one first-of-$plain; default -; }}
         {SERVER} return 200 \"$plain|$by_host|$joined|$second\"; }}"
    );
    let host = |name: &str| ask(&format!("GET /?k=zz HTTP/1.1\nHost: {name}\nConnection: close\n\n"), 200);
    case(&conf).same(&[
        get("/?k=a", 200),
        get("/?k=A", 200),
        get("/?k=b%20c", 200),
        get("/?k=xyz", 200),
        get("/?k=yes", 200),
        get("/?k=", 200),
        get("/", 200),
        get("/?k=default", 200),
        get("/?a=1&b=2", 200),
        get("/?a=3&b=4", 200),
        host("exact.test"),
        host("a.wild.test"),
        host("dot.test"),
        host("x.dot.test"),
        host("mail.z"),
    ]);
}

#[test]
fn geo_chooses_by_address() {
    let conf = format!(
        "geo $where {{ default far; 127.0.0.0/8 near; 127.0.0.2 second; }}
         geo $arg_ip $net {{ default -; 10.0.0.0/8 ten; 10.1.0.0/16 ten-one; 192.168.0.1 one; 2001:db8::/32 six; }}
         {SERVER} return 200 \"$where|$net\"; }}"
    );
    let addresses = ["10.0.0.1", "10.1.2.3", "192.168.0.1", "192.168.0.2", "2001:db8::1", "::1", "bogus", ""];
    let asks: Vec<_> = addresses.iter().map(|ip| get(&format!("/?ip={ip}"), 200)).collect();
    case(&conf).same(&asks);
}

#[test]
fn geo_knows_ranges_deletions_and_clients_behind_proxies() {
    let conf = format!(
        "geo $arg_ip $range {{ ranges; default -; 10.0.0.0-10.1.255.255 wide; 10.0.0.5-10.0.0.9 cut; 10.1.0.0-10.1.255.255 over;
            127.0.0.0-127.255.255.255 near; delete 10.0.0.5-10.0.0.9; 192.0.2.0-192.0.2.255 \"\"; }}
         geo $arg_ip $deleted {{ default d; 10.0.0.0/8 ten; 10.1.0.0/16 one; delete 10.1.0.0/16; include %dir%/more.conf; ::/0 six; }}
         geo $behind {{ default -; proxy 127.0.0.0/8; 10.0.0.0/8 ten; 192.0.2.0/24 doc; 127.0.0.1 here; }}
         geo $all_behind {{ default -; proxy_recursive; proxy 127.0.0.0/8; proxy 10.0.0.0/8; 10.0.0.0/8 ten; 192.0.2.0/24 doc; }}
         {SERVER} return 200 \"$range|$deleted|$behind|$all_behind\"; }}"
    );
    let addresses = [
        "10.0.0.4",
        "10.0.0.7",
        "10.1.2.3",
        "127.0.0.1",
        "192.0.2.1",
        "255.255.255.255",
        "8.8.8.8",
        "2001:db8::1",
        "x",
    ];
    let mut asks: Vec<_> = addresses.iter().map(|ip| get(&format!("/?ip={ip}"), 200)).collect();
    for chain in ["10.0.0.1", "192.0.2.1, 10.0.0.1", "192.0.2.1,10.0.0.1:80 , ", "junk", "192.0.2.1, junk", " "] {
        asks.push(get_with("/", &format!("X-Forwarded-For: {chain}"), 200));
    }
    asks.push(get_with("/", "X-Forwarded-For: 192.0.2.9\nX-Forwarded-For: 10.0.0.2, 10.0.0.1", 200));
    case(&conf).file("more.conf", "8.8.8.0/24 eight;\n").same(&asks);
}

#[test]
fn the_client_is_whom_a_trusted_proxy_names() {
    let inside = "default_type text/plain; set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8;
        location / { return 200 \"$remote_addr|$realip_remote_addr|$proxy_add_x_forwarded_for\"; }
        location /port { return 200 \"$remote_port\"; }
        location /deny { deny 192.0.2.0/24; allow all; root %dir%/www; }
        location /all { real_ip_header X-Forwarded-For; real_ip_recursive on; error_page 404 = @said; root %dir%/www; }
        location /one { real_ip_header X-Forwarded-For; error_page 404 = @said; root %dir%/www; }
        location /other { real_ip_header X-Client; error_page 404 = @said; root %dir%/www; }
        location @said { return 200 \"$remote_addr|$realip_remote_addr\"; }";
    let with = |target: &str, headers: &str, status| get_with(target, headers, status);
    server(inside).same(&[
        with("/", "X-Real-IP: 192.0.2.7", 200),
        with("/", "X-Real-IP: 192.0.2.7:8080", 200),
        with("/", "X-Real-IP: [2001:db8::1]:99", 200),
        with("/port", "X-Real-IP: [2001:db8::1]:99", 200),
        with("/port", "X-Real-IP: 192.0.2.7", 200),
        with("/", "X-Real-IP: nobody", 200),
        with("/", "X-Real-IP: 192.0.2.7, 192.0.2.8", 200),
        get("/", 200),
        with("/deny", "X-Real-IP: 192.0.2.7", 403),
        with("/deny", "X-Real-IP: 192.0.3.7", 404),
        with("/all", "X-Forwarded-For: 1.1.1.1, 192.0.2.5, 10.0.0.1", 200),
        with("/all", "X-Forwarded-For: 192.0.2.5\nX-Forwarded-For: 10.0.0.1", 200),
        with("/one", "X-Forwarded-For: 192.0.2.5, 10.0.0.1", 200),
        with("/other", "X-Client: 192.0.2.44", 200),
        with("/other", "X-Real-IP: 192.0.2.7\nX-Client: 192.0.2.44", 200),
    ]);
}

#[test]
fn split_clients_chooses_by_hash() {
    let conf = format!("split_clients $arg_k $part {{ 30% a; 30% b; * c; }} {SERVER} return 200 $part; }}");
    let asks: Vec<_> = (0..12).map(|n| get(&format!("/?k=key{n}"), 200)).collect();
    case(&conf).same(&asks);
}

#[test]
fn core_variables_have_nginxs_values() {
    let inside = "default_type text/plain; location / { return 200 \"$scheme|$host|$server_name|$server_addr|$server_port|$server_protocol|$request_method|$uri|$document_uri|$request_uri|$args|$query_string|$is_args|$arg_a|$arg_B|$document_root|$request_filename|$remote_addr|$remote_user|$content_type|$content_length|$http_x_y|$cookie_c|$http_cookie|$https|$proxy_protocol_addr|$binary_remote_addr|$limit_rate|$request_body|$status|$hostname-\"; }
        location /len { return 200 \"$request_length|$body_bytes_sent|$bytes_sent|$request_completion|$pipe|$nginx_version-\"; }
        location /hdr { add_header X-Type $sent_http_content_type; add_header X-Len $sent_http_content_length; return 200 abc; }";
    server(inside).same(&[
        get("/p%20q?a=1&b=2&A=3", 200),
        get("/?a=first&a=second", 200),
        get("/?xa=no&a", 200),
        get("/?", 200),
        get_with("/", "X-Y: one\nX-Y: two", 200),
        get_with("/", "Cookie: a=1; c=two; d=3\nCookie: c=four", 200),
        get_with("/", "Authorization: Basic dXNlcjpwYXNz", 200),
        ask(
            "POST /x HTTP/1.1\nHost: A.TEST:99\nContent-Type: text/x\nContent-Length: 3\nConnection: close\n\nabc",
            200,
        ),
        ask("GET / HTTP/1.0\n\n", 200),
        get("/len", 200),
        get("/hdr", 200),
    ]);
}

#[test]
fn upstream_variables_reach_headers_and_logs() {
    let conf = "log_format up '$status $upstream_status $upstream_addr $upstream_http_x_one $upstream_cookie_s $upstream_response_length $proxy_host $proxy_port';
        server { listen 127.0.0.1:%port1%; access_log %dir%/access.log up; location / { proxy_pass http://%origin%; add_header X-Up \"$upstream_status $upstream_http_x_one\"; } location /none { return 204; } }";
    case(conf)
        .origin(|_| Reply::with(200, &["X-One: first", "X-One: second", "Set-Cookie: s=v; Path=/"], "hello"))
        .same(&[get("/", 200), get("/none", 204)]);
}
