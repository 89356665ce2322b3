//! Does a look at what is served see what a client would see, and does nobody notice? A real listener, real handshakes.
#![allow(clippy::unwrap_used)]

mod tls_bed;

use semper::net::own;
use semper::watch::probe::{Look, Unseen, look};
use std::net::SocketAddr;
use std::time::Duration;
use tls_bed::{Bed, Kind, TestCa, connect, server};

fn see(address: SocketAddr, own: bool) -> Result<Vec<u8>, Unseen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let timeout = Duration::from_secs(20);
    let at = Look { address, name: "a.example".to_owned(), proxy_protocol: false, own, timeout };
    runtime.block_on(look(&at))
}

#[test]
fn a_look_sees_the_leaf_and_is_counted_nowhere() {
    let ca = TestCa::new();
    let (a, b) = (ca.issue(&["a.example"], Kind::P256), ca.issue(&["b.example"], Kind::Rsa));
    let bed = Bed::new(vec![server(0, &["b.example"], &[&b]), server(1, &["a.example"], &[&a])], &[&a, &b]);
    assert_eq!(see(bed.address, true).unwrap(), a.leaf());
    assert_eq!(bed.accepted(), 0, "our own look is nobody's connection");
    assert_eq!(see(bed.address, false).unwrap(), a.leaf());
    assert_eq!(bed.accepted(), 1, "a look from outside is one like any other");
    connect(&bed, ca.client(), "b.example").unwrap().hello().unwrap();
    assert_eq!(bed.accepted(), 2);
}

#[test]
fn a_certificate_that_nobody_trusts_or_that_has_expired_is_seen_too() {
    let ca = TestCa::new();
    let old = ca.issue_expired(&["a.example"]);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&old])], &[&old]);
    assert_eq!(see(bed.address, true).unwrap(), old.leaf());
}

#[test]
fn nobody_and_somebody_else_are_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let talker = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut one, _) = listener.accept().unwrap();
        one.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        let _ = one.read(&mut [0; 512]);
    });
    assert!(matches!(see(address, true), Err(Unseen::Handshake(_))));
    talker.join().unwrap();
    assert!(matches!(see(address, true), Err(Unseen::Unreachable(_))), "nobody listens there any more");
}

#[test]
fn what_is_announced_is_known_until_it_is_over() {
    let one: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let announced = own::announce(one);
    assert!(own::is_ours(one) && !own::is_ours("127.0.0.1:10".parse().unwrap()));
    drop(announced);
    assert!(!own::is_ours(one));
}
