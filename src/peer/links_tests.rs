//! Nodes on loopback: those that belong together, and those that do not.

use std::collections::HashSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::peer::frame;
use crate::peer::hello::{EXPORT, Hello, Side};
use crate::words::FleetKey;

struct Half;

impl Dice for Half {
    fn draw(&self) -> f64 {
        0.5
    }
}

struct Node {
    links: Links,
    heard: mpsc::Receiver<Event>,
    at: SocketAddr,
}

fn keys(present: u8, before: Option<u8>) -> Keys {
    let key = |n: u8| FleetKey::of([n; 32]);
    Keys::new(&key(present), before.map(key).as_ref()).unwrap()
}

fn bound() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

fn address(at: SocketAddr) -> PeerAddress {
    PeerAddress { host: at.ip().to_string().into(), port: at.port() }
}

/// Node `n` on a listener of its own, which calls `peers`.
fn node(n: u8, keys: Keys, listener: std::net::TcpListener, peers: &[SocketAddr]) -> Node {
    let at = listener.local_addr().unwrap();
    let key = NodeKey::of([n; 32]).unwrap();
    let (links, heard) = Links::new(key, u64::from(n), (1, 1), keys.clone(), Arc::new(Half));
    let peers = peers.iter().copied().map(address).collect();
    links.adopt(Settings { keys, listeners: vec![listener], peers });
    Node { links, heard, at }
}

impl Node {
    async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(20), self.heard.recv()).await.expect("an event").unwrap()
    }

    /// Waits until exactly these nodes are linked.
    async fn linked_with(&mut self, others: &[&Links]) {
        let wanted: HashSet<NodeId> = others.iter().map(|other| other.id()).collect();
        let mut changes = self.links.0.changes();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let linked: HashSet<NodeId> = self.links.standing().into_iter().map(|one| one.node).collect();
            if linked == wanted {
                return;
            }
            let waited = tokio::time::timeout_at(end, changes.changed()).await;
            waited.unwrap_or_else(|_| panic!("{linked:?} of {wanted:?}, {:?}", self.links.calls())).unwrap();
        }
    }

    /// Nothing is linked, whatever has happened.
    fn is_alone(&mut self) -> bool {
        let up = std::iter::from_fn(|| self.heard.try_recv().ok()).any(|event| matches!(event, Event::Up { .. }));
        !up && self.links.standing().is_empty()
    }
}

#[tokio::test]
async fn nodes_that_call_each_other_and_themselves_end_with_one_link_each_and_messages_in_order() {
    let (ours, one) = bound();
    let (theirs, two) = bound();
    let all = [one, two];
    let mut a = node(1, keys(7, None), ours, &all);
    let mut b = node(2, keys(7, None), theirs, &all);
    let (links_a, links_b) = (a.links.clone(), b.links.clone());
    a.linked_with(&[&links_b]).await;
    b.linked_with(&[&links_a]).await;
    let own =
        |links: &Links, at| links.calls().iter().any(|(peer, call)| *peer == address(at) && *call == Call::Ourselves);
    while !own(&a.links, one) || !own(&b.links, two) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (from, to) = (a.links.id(), b.links.id());
    // Until the doubled call is settled a message may go down with the link that loses.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for n in 0..100u8 {
        a.links.send(&to, Zeroizing::new(vec![n; usize::from(n) * 100 + 1])).unwrap();
    }
    for n in 0..100u8 {
        loop {
            if let Event::Message { node, bytes, .. } = b.next().await {
                assert_eq!((node, &*bytes), (from, &vec![n; usize::from(n) * 100 + 1]));
                break;
            }
        }
    }
    let (x, y) = (a.links.standing(), b.links.standing());
    assert_eq!((x.len(), y.len()), (1, 1));
    assert_ne!(x[0].called, y[0].called, "both ends keep the same one");
}

#[tokio::test]
async fn a_stranger_fails_in_the_handshake_and_noise_too() {
    let (listener, at) = bound();
    let mut a = node(1, keys(7, None), listener, &[]);
    let stranger = NodeKey::of([9; 32]).unwrap();
    let me = Me { key: stranger, life: 1, speaks: (1, 1), release: "x".into() };
    let refused = link::call(at, &keys(8, None), &me).await;
    assert!(matches!(refused, Err(Missed::Stranger(_) | Missed::Ended(_))));
    // Even one who has learned by which name our key is asked for.
    let (ours, theirs) = (keys(7, None), keys(8, None));
    let tcp = TcpStream::connect(at).await.unwrap();
    let tls = TlsConnector::from(theirs.all()[0].client.clone());
    assert!(tls.connect(ours.all()[0].server_name.clone(), tcp).await.is_err());
    let mut noise = TcpStream::connect(at).await.unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = noise.read_to_end(&mut answer).await;
    assert!(answer.len() < 16, "an alert at most");
    assert!(a.is_alone());
}

/// A member that has the fleet key and says what it likes: TLS is done, the hello is its own affair.
async fn member(at: SocketAddr) -> (tokio_rustls::client::TlsStream<TcpStream>, [u8; 32]) {
    let keys = keys(7, None);
    let key = &keys.all()[0];
    let tcp = TcpStream::connect(at).await.unwrap();
    let tls = TlsConnector::from(key.client.clone()).connect(key.server_name.clone(), tcp).await.unwrap();
    let exported = tls.get_ref().1.export_keying_material([0; 32], EXPORT, None).unwrap();
    (tls, exported)
}

fn said(key: &NodeKey, side: Side, exported: &[u8; 32]) -> Vec<u8> {
    let hello = Hello { public: key.public(), life: 1, speaks: (1, 1), release: "x".into() };
    let body = hello.sign(key, side, exported);
    [&frame::head(body.len()).unwrap(), &body[..]].concat()
}

async fn ends(mut stream: tokio_rustls::client::TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    // An end or a reset: both are a refusal; what was said before it does not count.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.expect("it is hung up");
}

#[tokio::test]
async fn the_fleet_key_without_the_proof_of_a_node_is_not_enough() {
    let (listener, at) = bound();
    let mut a = node(1, keys(7, None), listener, &[]);
    let key = NodeKey::of([2; 32]).unwrap();
    let (_, elsewhere) = member(at).await;
    for (side, of_another, what) in
        [(Side::Caller, true, "a proof of another connection"), (Side::Called, false, "a proof of the other side")]
    {
        let (mut stream, exported) = member(at).await;
        let exported = if of_another { elsewhere } else { exported };
        stream.write_all(&said(&key, side, &exported)).await.unwrap();
        ends(stream).await;
        assert!(a.is_alone(), "{what}");
    }
    // Our own hello sent back to us, on the same connection.
    let (mut stream, _) = member(at).await;
    let mut hello = vec![0; 4];
    stream.read_exact(&mut hello).await.unwrap();
    hello.resize(4 + u32::from_be_bytes(hello[..4].try_into().unwrap()) as usize, 0);
    stream.read_exact(&mut hello[4..]).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    ends(stream).await;
    assert!(a.is_alone());
    // A first frame that is far too long, and none at all.
    let (mut stream, _) = member(at).await;
    stream.write_all(&1_000_000u32.to_be_bytes()).await.unwrap();
    ends(stream).await;
    ends(member(at).await.0).await;
    assert!(a.is_alone());
}

#[tokio::test]
async fn a_node_that_announces_a_huge_frame_loses_its_link_and_nobody_else_does() {
    let (listener, at) = bound();
    let mut a = node(1, keys(7, None), listener, &[]);
    let (other, _) = bound();
    let mut b = node(2, keys(7, None), other, &[at]);
    let links_b = b.links.clone();
    a.linked_with(&[&links_b]).await;
    let (mut stream, exported) = member(at).await;
    let key = NodeKey::of([3; 32]).unwrap();
    stream.write_all(&said(&key, Side::Caller, &exported)).await.unwrap();
    loop {
        if matches!(a.next().await, Event::Up { node, .. } if node == key.id()) {
            break;
        }
    }
    stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    loop {
        if let Event::Down { node, why, .. } = a.next().await {
            assert_eq!((node, why.as_str()), (key.id(), "a frame of 4294967295 bytes was announced"));
            break;
        }
    }
    a.links.send(&links_b.id(), Zeroizing::new(b"still there".to_vec())).unwrap();
    loop {
        if let Event::Message { bytes, .. } = b.next().await {
            break assert_eq!(&**bytes, b"still there");
        }
    }
}

#[tokio::test]
async fn while_the_fleet_key_is_changed_a_node_with_both_reaches_those_with_either() {
    let (old, at_old) = bound();
    let (new, at_new) = bound();
    let (both, at_both) = bound();
    let mut o = node(1, keys(7, None), old, &[at_both]);
    let mut n = node(2, keys(8, None), new, &[at_both]);
    let mut b = node(3, keys(8, Some(7)), both, &[at_old, at_new]);
    let (links_o, links_n, links_b) = (o.links.clone(), n.links.clone(), b.links.clone());
    b.linked_with(&[&links_o, &links_n]).await;
    o.linked_with(&[&links_b]).await;
    n.linked_with(&[&links_b]).await;
    // The old key is given up: who has nothing else is let go, at once.
    let (again, _) = bound();
    b.links.adopt(Settings { keys: keys(8, None), listeners: vec![again], peers: vec![address(at_new)] });
    b.linked_with(&[&links_n]).await;
}

#[tokio::test]
async fn a_node_that_was_removed_is_refused_though_it_has_the_key() {
    let (listener, at) = bound();
    let mut a = node(1, keys(7, None), listener, &[]);
    let (other, _) = bound();
    let b = node(2, keys(7, None), other, &[at]);
    a.linked_with(&[&b.links]).await;
    a.links.ban([b.links.id()]);
    a.linked_with(&[]).await;
    while !matches!(b.links.calls()[0].1, Call::Failed { .. } | Call::Calling) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(a.links.send(&b.links.id(), Zeroizing::default()), Err(Unsent::Gone));
    assert!(a.links.standing().is_empty());
}

#[tokio::test]
async fn a_node_that_comes_back_is_linked_again() {
    let (listener, at) = bound();
    let (other, at_b) = bound();
    let mut a = node(1, keys(7, None), listener.try_clone().unwrap(), &[at_b]);
    let b = node(2, keys(7, None), other.try_clone().unwrap(), &[at]);
    a.linked_with(&[&b.links]).await;
    assert_eq!(a.at, at);
    b.links.close();
    a.linked_with(&[]).await;
    b.links.adopt(Settings { keys: keys(7, None), listeners: vec![other], peers: vec![address(at)] });
    a.linked_with(&[&b.links]).await;
}
