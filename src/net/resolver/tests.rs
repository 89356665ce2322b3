//! Are names found where `resolver` says? Against a name server written here, on loopback.

use super::*;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;

/// Answers every A question for `app.test.` with 192.0.2.7 and TTL 1, everything else with NXDOMAIN.
async fn name_server(asked: Arc<AtomicUsize>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let mut question = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut question).await.unwrap();
            let question = &question[..length];
            let end = 12 + question[12..].iter().position(|b| *b == 0).unwrap() + 5;
            let known = question[12..].starts_with(b"\x03app\x04test\0\0\x01");
            asked.fetch_add(usize::from(known), Ordering::SeqCst);
            let mut answer = question[..2].to_vec();
            answer.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
            answer.extend(&question[12..end]);
            if known {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 7]);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

fn settings(server: SocketAddr) -> Arc<Settings> {
    Arc::new(Settings {
        servers: Box::new([server]),
        valid: Some(Duration::from_secs(60)),
        ipv4: true,
        ipv6: false,
        timeout: Duration::from_secs(5),
    })
}

#[tokio::test(flavor = "current_thread")]
async fn names_are_asked_of_the_configured_server_and_kept_as_long_as_valid_says() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let asked = Arc::new(AtomicUsize::new(0));
            let settings = settings(name_server(asked.clone()).await);
            let resolvers = Resolvers::default();
            for _ in 0..3 {
                let found = resolvers.resolve(Some(&settings), "app.test").await.unwrap();
                assert_eq!(found, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
            }
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            let missing = resolvers.resolve(Some(&settings), "nobody.test").await;
            assert!(matches!(missing, Err(ResolveError::NotFound)), "{missing:?}");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_is_its_own_answer() {
    let resolvers = Resolvers::default();
    assert_eq!(resolvers.resolve(None, "[::1]").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
}
