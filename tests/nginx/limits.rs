//! limit_req, limit_conn: who does too much, over all workers.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::bed::server::{Nginx, Semper, Server, main};
use crate::bed::{PATIENCE, wait_for};
use crate::compare::{case, get};

const SERVER: &str = "server { listen 127.0.0.1:%port1%; server_name a.test; default_type text/plain;";

#[test]
fn a_burst_passes_and_more_is_refused() {
    // So slow that nothing drains away during the test.
    let conf = format!(
        "limit_req_zone $arg_k zone=slow:1m rate=1r/m;
         limit_req_zone $arg_l zone=other:64k rate=2r/m;
         {SERVER}
            add_header X-Said \"$limit_req_status-$limit_conn_status\" always;
            location /two {{ limit_req zone=slow burst=1 nodelay; try_files /none @said; }}
            location /none {{ limit_req zone=other; limit_req_status 429; limit_req_log_level info; try_files /x @said; }}
            location /both {{ limit_req zone=slow burst=3 nodelay; limit_req zone=other burst=1 delay=1; try_files /x @said; }}
            location /dry {{ limit_req zone=slow; limit_req_dry_run on; try_files /x @said; }}
            location @said {{ return 200 ok; }}
         }}"
    );
    let asks = [
        get("/two?k=a", 200),
        get("/two?k=a", 200),
        get("/two?k=a", 503),
        get("/two?k=b", 200),
        get("/two", 200),
        get("/none?l=a", 200),
        get("/none?l=a", 429),
        get("/dry?k=c", 200),
        get("/dry?k=c", 200),
        get("/both?k=d&l=d", 200),
        get("/both?k=d&l=d", 200),
        get("/both?k=d&l=d", 503),
        get("/both?k=d", 200),
        get("/both?k=d", 200),
        get("/both?k=d", 503),
    ];
    case(&conf).same(&asks);
}

fn conf(inside: &str) -> String {
    main(&format!("http {{ access_log off; client_body_temp_path %dir%/body; proxy_temp_path %dir%/proxy; {inside} }}"))
        .replace("worker_processes 1;", "worker_processes 4;")
}

fn both(inside: &str, check: impl Fn(&Server)) {
    check(&Nginx::start(&conf(inside)));
    check(&Semper::start(&conf(inside)));
}

fn send(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port(1))).unwrap();
    stream.write_all(text.replace('\n', "\r\n").as_bytes()).unwrap();
    stream
}

fn status(server: &Server, target: &str) -> u16 {
    let mut stream = send(server, &format!("GET {target} HTTP/1.1\nHost: a.test\nConnection: close\n\n"));
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn all_workers_count_together() {
    let inside = format!(
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/m;
         {SERVER} location / {{ limit_req zone=z burst=9 nodelay; try_files /x @ok; }} location @ok {{ return 200 ok; }} }}"
    );
    both(&inside, |server| {
        let passed = (0..40).filter(|_| status(server, "/") == 200).count();
        assert_eq!(passed, 10, "a first one and a burst of nine");
    });
}

#[test]
fn requests_under_way_are_counted_until_they_end() {
    let inside = format!(
        "limit_conn_zone $binary_remote_addr zone=z:1m;
         {SERVER} location / {{ limit_conn z 2; proxy_pass http://127.0.0.1:%port2%; }}
            location /free {{ return 200 ok; }} location /get {{ limit_conn z 2; limit_conn_status 429; try_files /x @ok; }}
            location @ok {{ return 200 ok; }} }}"
    );
    both(&inside, |server| {
        let post = "POST / HTTP/1.1\nHost: a.test\nContent-Length: 10\n\nhalf";
        let (one, two) = (send(server, post), send(server, post));
        wait_for("both to be counted", PATIENCE, || status(server, "/get") == 429);
        assert_eq!(status(server, "/free"), 200);
        drop(one);
        wait_for("one to be let go", PATIENCE, || status(server, "/get") == 200);
        drop(two);
    });
}
