//! Are upstreams reached, and is it said in nginx's words when they are not?

use super::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

const SECOND: Duration = Duration::from_secs(5);

fn plain(address: &UpstreamAddress) -> Target<'_> {
    Target { address, timeout: SECOND, keepalive: false, bind: None, tls: None }
}

/// A TLS server for `app.test` that tells which name its client sent, and the configuration of a client that trusts it.
async fn tls_server() -> (UpstreamAddress, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = UpstreamAddress::Tcp(listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let name = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
                let _ = stream.write_all(name.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (address, Arc::new(client))
}

async fn heard(stream: Result<Stream, DialError>) -> String {
    let mut text = String::new();
    stream.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "current_thread")]
async fn tls_is_spoken_with_the_name_and_sni_only_where_it_is_on() {
    let (address, config) = tls_server().await;
    let with = |config| Target { tls: Some((config, b"app.test")), ..plain(&address) };
    assert_eq!(heard(dial(with(&config)).await).await, "app.test");
    let mut silent = (*config).clone();
    silent.enable_sni = false;
    assert_eq!(heard(dial(with(&Arc::new(silent))).await).await, "-");
}

#[tokio::test(flavor = "current_thread")]
async fn a_stranger_and_a_wrong_name_are_told_apart() {
    let (address, config) = tls_server().await;
    let wrong = dial(Target { tls: Some((&config, b"other.test")), ..plain(&address) }).await.unwrap_err();
    assert!(wrong.to_string().starts_with("upstream SSL certificate does not match \"other.test\""), "{wrong}");
    let (stranger, _) = tls_server().await;
    let stranger = dial(Target { tls: Some((&config, b"app.test")), ..plain(&stranger) }).await.unwrap_err();
    assert!(matches!(stranger, DialError::Untrusted(_)), "{stranger}");
    assert!(!stranger.is_timeout() && !wrong.is_timeout());
}

#[tokio::test(flavor = "current_thread")]
async fn a_handshake_has_a_deadline_and_may_be_cut_short() {
    let (_, config) = tls_server().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = UpstreamAddress::Tcp(silent.local_addr().unwrap());
    let short = Target { tls: Some((&config, b"app.test")), timeout: Duration::from_millis(50), ..plain(&address) };
    let late = dial(short).await.unwrap_err();
    assert!(matches!(late, DialError::HandshakeTimeout) && late.is_timeout(), "{late}");
    let target = Target { timeout: SECOND, ..short };
    let first = silent.accept().await.unwrap();
    let (cut, second) = tokio::join!(dial(target), async { silent.accept().await.map(drop) });
    drop(first);
    second.unwrap();
    assert!(matches!(cut, Err(DialError::HandshakeClosed | DialError::Handshake(_))));
}

#[tokio::test(flavor = "current_thread")]
async fn unix_sockets_are_reached_and_missing_ones_named_by_errno() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let missing = UpstreamAddress::Unix(path.clone());
    let error = dial(plain(&missing)).await.unwrap_err();
    assert_eq!(error.to_string(), "connect() failed (2: No such file or directory) while connecting to upstream");
    let listener = UnixListener::bind(&path).unwrap();
    let (dialled, accepted) = tokio::join!(dial(plain(&missing)), listener.accept());
    accepted.unwrap().0.write_all(b"hi").await.unwrap();
    assert_eq!(heard(dialled).await, "hi");
}

#[tokio::test(flavor = "current_thread")]
async fn the_local_address_is_the_one_that_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = UpstreamAddress::Tcp(listener.local_addr().unwrap());
    let bind = Some("127.0.0.5:0".parse().unwrap());
    let (dialled, accepted) = tokio::join!(dial(Target { bind, ..plain(&address) }), listener.accept());
    dialled.unwrap();
    assert_eq!(accepted.unwrap().1.ip().to_string(), "127.0.0.5");
    let bind = Some("192.0.2.1:0".parse().unwrap());
    let error = dial(Target { bind, ..plain(&address) }).await.unwrap_err();
    assert!(error.to_string().starts_with("bind(192.0.2.1:0) failed (99: Cannot assign"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_quiet_connection_is_told_from_one_that_was_closed_or_spoken_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = UpstreamAddress::Tcp(listener.local_addr().unwrap());
    for speak in [true, false] {
        let (dialled, accepted) = tokio::join!(dial(plain(&address)), listener.accept());
        let (dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap().0);
        assert!(dialled.is_quiet());
        if speak {
            accepted.write_all(b"x").await.unwrap();
        } else {
            accepted.shutdown().await.unwrap();
        }
        while dialled.is_quiet() {
            tokio::task::yield_now().await;
        }
    }
}
