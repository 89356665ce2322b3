//! Who keeps an old plan in memory? Ten reloads of a large configuration under open WebSockets, or under connections that
//! are kept alive and ask nothing, must leave one plan: memory stays near that of one, and the connections live on.
#![allow(clippy::unwrap_used)]

mod bed;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bed::server::{Semper, Site, http};
use bed::{PATIENCE, wait_for};

const SERVERS: usize = 3000;

fn conf(sockets: u16, turn: usize) -> String {
    let mut inside = format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:%port1%;
        location /socket {{
            proxy_pass http://127.0.0.1:{sockets};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
        location /turn{turn} {{ return 200 turn; }}
    }}\n"
    );
    for number in 0..SERVERS {
        let _ = writeln!(
            inside,
            "server {{ listen 127.0.0.1:%port1%; server_name n{number}.test; add_header X-Turn {turn};
              location / {{ return 200 {number}; }} location /a {{ root /srv/{number}; gzip on; }} }}"
        );
    }
    http(&format!("server_names_hash_max_size 100000;\n{inside}"))
}

/// Upgrades everybody and echoes.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|got| got == 1) {
                    head.push(byte[0]);
                }
                client
                    .write_all(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
                    .unwrap();
                while client.read(&mut byte).is_ok_and(|got| got == 1) {
                    client.write_all(&byte).unwrap();
                }
            });
        }
    });
    port
}

fn open(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(b"GET /socket HTTP/1.1\r\nHost: any\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    client
}

fn still_echoes(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
}

#[test]
fn ten_reloads_under_open_websockets_leave_one_plan_in_memory() {
    let sockets = echo();
    let site = Site::new(&http("server { listen 127.0.0.1:%port1%; return 204; }"));
    let server = Semper::serve(&site);
    let empty = server.resident();
    let mut tunnels = Vec::new();
    let mut after = Vec::new();
    for turn in 1..=10 {
        server.reload(&conf(sockets, turn));
        wait_for("the new plan", PATIENCE * 3, || server.get(1, &format!("/turn{turn}")).status == 200);
        tunnels.push(open(server.port(1)));
        tunnels.iter_mut().for_each(still_echoes);
        after.push(server.resident());
    }
    // Building needs the old and the new plan side by side, so the second figure is the honest base.
    let plan = after[0].saturating_sub(empty);
    let grown = after[9].saturating_sub(after[1]);
    println!("empty {empty}, then {after:?}");
    assert!(grown < plan * 2, "grew by {grown} bytes over eight reloads; one plan takes about {plan}");
}

fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET /number HTTP/1.1\r\nHost: n7.test\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n7") {
        client.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn ten_reloads_under_idle_connections_leave_one_plan_in_memory() {
    let site = Site::new(&http("server { listen 127.0.0.1:%port1%; return 204; }"));
    let server = Semper::serve(&site);
    let empty = server.resident();
    let mut idle: Vec<TcpStream> = Vec::new();
    let mut after = Vec::new();
    for turn in 1..=10 {
        server.reload(&conf(1, turn));
        wait_for("the new plan", PATIENCE * 3, || server.get(1, &format!("/turn{turn}")).status == 200);
        let mut client = TcpStream::connect(("127.0.0.1", server.port(1))).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        ask(&mut client);
        idle.push(client);
        after.push(server.resident());
    }
    let plan = after[0].saturating_sub(empty);
    let grown = after[9].saturating_sub(after[1]);
    println!("empty {empty}, then {after:?}");
    assert!(grown < plan * 2, "grew by {grown} bytes over eight reloads; one plan takes about {plan}");
    for client in &mut idle {
        assert!(ask(client).contains("X-Turn: 10"), "the newest plan answers");
    }
}

#[test]
fn an_idle_connection_whose_terms_are_gone_is_closed_at_once() {
    let one = "server { listen 127.0.0.1:%port1%; return 200 one; }";
    let two = format!("{one} server {{ listen 127.0.0.1:%port2%; return 200 7; }}");
    let server = Semper::start(&http(&two));
    let mut client = TcpStream::connect(("127.0.0.1", server.port(2))).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&mut client);
    server.reload(&http(one));
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "its listener is gone: it ends long before keepalive_timeout");
}
