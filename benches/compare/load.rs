//! Who asks? HTTP/1.1 and HTTP/2 clients over plain TCP and TLS, on one current-thread runtime.

use rustls_pki_types::ServerName;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Counted by all clients of one run.
#[derive(Default)]
pub struct Count {
    pub done: Cell<u64>,
    pub failed: Cell<u64>,
    /// Kept connections that the proxy closed between two requests.
    pub cut: Cell<u64>,
    pub stop: Cell<bool>,
}

pub type Shared = Rc<Count>;

impl Count {
    pub fn one(&self) {
        self.done.set(self.done.get() + 1);
    }

    pub fn fail(&self) {
        self.failed.set(self.failed.get() + 1);
    }

    /// A failure with its reason: a rare one is worth nothing without it.
    pub fn fail_with(&self, what: &str, why: &dyn std::fmt::Debug) {
        eprintln!("{what} failed: {why:?}");
        self.fail();
    }
}

/// Where to and how.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub name: &'static str,
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A client configuration that trusts `root`; X25519 only, so that all peers do the same work.
pub fn client(
    root: rustls_pki_types::CertificateDer<'static>,
    alpn: &[&str],
    resume: bool,
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
    if !resume {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Arc::new(config)
}

pub async fn connect(target: &Target) -> std::io::Result<Box<dyn Io>> {
    let tcp = TcpStream::connect(target.address).await?;
    tcp.set_nodelay(true)?;
    match &target.tls {
        None => Ok(Box::new(tcp)),
        Some(config) => {
            let name = ServerName::try_from(target.name).unwrap();
            Ok(Box::new(tokio_rustls::TlsConnector::from(config.clone()).connect(name, tcp).await?))
        }
    }
}

/// Reads one answer; `Ok(None)`: the connection was closed before its first byte.
pub async fn answer(io: &mut dyn Io, buffer: &mut [u8]) -> std::io::Result<Option<u16>> {
    let mut filled = 0;
    let head = loop {
        if let Some(end) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        match io.read(&mut buffer[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            got => filled += got,
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let length = text.lines().find_map(|l| l.strip_prefix("content-length:")).and_then(|v| v.trim().parse().ok());
    let mut left: usize = length.unwrap_or(0usize).saturating_sub(filled - head);
    while left > 0 {
        match io.read(buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            got => left = left.saturating_sub(got),
        }
    }
    Ok(Some(status))
}

/// Keeps one connection and asks for `path` until told to stop.
pub async fn keep_alive(target: Target, path: &'static str, count: Shared) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", target.name);
    let mut buffer = vec![0; 64 << 10];
    while !count.stop.get() {
        let Ok(mut io) = connect(&target).await else {
            count.fail();
            tokio::task::yield_now().await;
            continue;
        };
        let mut fresh = true;
        while !count.stop.get() {
            if io.write_all(request.as_bytes()).await.is_err() || io.flush().await.is_err() {
                if fresh {
                    count.fail()
                } else {
                    count.cut.set(count.cut.get() + 1)
                }
                break;
            }
            match answer(&mut *io, &mut buffer).await {
                Ok(Some(200)) => count.one(),
                Ok(None) if !fresh => {
                    count.cut.set(count.cut.get() + 1);
                    break;
                }
                Err(error) if !fresh && error.kind() == std::io::ErrorKind::ConnectionReset => {
                    count.cut.set(count.cut.get() + 1);
                    break;
                }
                _ => {
                    count.fail();
                    break;
                }
            }
            fresh = false;
        }
    }
}

/// One connection and one request after the other: the price of a handshake.
pub async fn handshakes(target: Target, path: &'static str, count: Shared) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.name);
    let mut buffer = vec![0; 64 << 10];
    while !count.stop.get() {
        let once = async {
            let mut io = connect(&target).await?;
            io.write_all(request.as_bytes()).await?;
            io.flush().await?;
            answer(&mut *io, &mut buffer).await
        };
        match once.await {
            Ok(Some(200)) => count.one(),
            other => count.fail_with("a new connection", &other),
        }
    }
}

/// Uploads `bytes` again and again over one connection.
pub async fn uploads(target: Target, bytes: usize, path: &'static str, count: Shared) {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {bytes}\r\n\r\n", target.name);
    let piece = vec![b'u'; 128 << 10];
    let mut buffer = vec![0; 64 << 10];
    while !count.stop.get() {
        let Ok(mut io) = connect(&target).await else { return count.fail() };
        while !count.stop.get() {
            let once = async {
                io.write_all(head.as_bytes()).await?;
                let mut left = bytes;
                while left > 0 {
                    let now = left.min(piece.len());
                    io.write_all(&piece[..now]).await?;
                    left -= now;
                }
                io.flush().await?;
                answer(&mut *io, &mut buffer).await
            };
            match once.await {
                Ok(Some(200)) => count.one(),
                other => {
                    count.fail_with("an upload", &other);
                    break;
                }
            }
        }
    }
}

/// One HTTP/2 connection with `streams` requests under way at any time.
pub async fn http2(target: Target, path: &'static str, streams: usize, count: Shared) {
    let Ok(io) = connect(&target).await else { return count.fail() };
    let Ok((send, connection)) = h2::client::handshake(io).await else { return count.fail() };
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    let uri = format!("https://{}{path}", target.name);
    let one_after_the_other = |send: h2::client::SendRequest<bytes::Bytes>, uri: String, count: Shared| async move {
        while !count.stop.get() {
            let request = http::Request::get(&uri).body(()).unwrap();
            let once = async {
                let mut ready = send.clone().ready().await?;
                let (response, _) = ready.send_request(request, true)?;
                let mut body = response.await?.into_body();
                while let Some(piece) = body.data().await {
                    let piece = piece?;
                    let _ = body.flow_control().release_capacity(piece.len());
                }
                Ok::<(), h2::Error>(())
            };
            match once.await {
                Ok(()) => count.one(),
                Err(error) => {
                    count.fail_with("a stream", &error);
                    return;
                }
            }
        }
    };
    let mut tasks = Vec::new();
    for _ in 0..streams {
        tasks.push(tokio::task::spawn_local(one_after_the_other(send.clone(), uri.clone(), count.clone())));
    }
    for task in tasks {
        let _ = task.await;
    }
}
