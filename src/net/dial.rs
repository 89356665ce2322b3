//! How is an upstream reached? TCP or a unix socket, with a deadline, a local address and keepalive probes where asked
//! for, and TLS on top. Knows no HTTP and no pool; what it gives back is a [`Stream`].

use crate::plan::tls::UpstreamTls;
use crate::plan::upstream::UpstreamAddress;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// Makes TLS configurations for upstreams. `tls` implements it, `node` hands it to the workers.
pub trait UpstreamTlsConfigs: Send + Sync {
    /// The configuration for `tls`: trust, own certificate, versions, session cache, and SNI (sent only with
    /// `proxy_ssl_server_name on`). Equal settings give the same configuration, so that sessions are resumed.
    fn config(&self, tls: &Arc<UpstreamTls>) -> Arc<ClientConfig>;
}

/// For processes that make no TLS configurations: every handshake fails, because nobody is trusted.
#[derive(Clone, Copy, Debug)]
pub struct NoUpstreamTls;

impl UpstreamTlsConfigs for NoUpstreamTls {
    fn config(&self, _: &Arc<UpstreamTls>) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("aws-lc-rs speaks the default versions");
        Arc::new(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
    }
}

/// What to dial.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Whom.
    pub address: &'a UpstreamAddress,
    /// `proxy_connect_timeout`: for the connection, and once more for the handshake.
    pub timeout: Duration,
    /// `proxy_socket_keepalive`.
    pub keepalive: bool,
    /// `proxy_bind`; a port of 0 is the kernel's choice.
    pub bind: Option<SocketAddr>,
    /// TLS: the configuration, and the name for SNI and verification without its port.
    pub tls: Option<(&'a Arc<ClientConfig>, &'a [u8])>,
}

/// Why nobody was reached. Nothing of a request was sent: repeating it elsewhere is always safe.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The kernel refused, or the other side did.
    #[error("connect() failed ({}) while connecting to upstream", errno(.0))]
    Connect(io::Error),
    /// `proxy_bind` names an address that is not ours.
    #[error("bind({local}) failed ({}) while connecting to upstream", errno(.source))]
    Bind {
        /// The address.
        local: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("upstream timed out (110: Connection timed out) while connecting to upstream")]
    ConnectTimeout,
    /// The handshake took too long.
    #[error("upstream timed out (110: Connection timed out) while SSL handshaking to upstream")]
    HandshakeTimeout,
    /// The handshake failed.
    #[error("SSL_do_handshake() failed ({0}) while SSL handshaking to upstream")]
    Handshake(io::Error),
    /// The upstream hung up in the middle of the handshake.
    #[error("peer closed connection in SSL handshake while SSL handshaking to upstream")]
    HandshakeClosed,
    /// `proxy_ssl_verify`: the chain does not lead to a trusted root, or is out of date.
    #[error("upstream SSL certificate verify error: ({0}) while SSL handshaking to upstream")]
    Untrusted(String),
    /// `proxy_ssl_verify`: it is somebody else's certificate.
    #[error("upstream SSL certificate does not match \"{0}\" while SSL handshaking to upstream")]
    WrongName(String),
}

/// An error as nginx shows it: `111: Connection refused`.
pub fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            format!("{code}: {text}")
        }
        None => error.to_string(),
    }
}

impl DialError {
    /// Whether it is a matter of time (504, `proxy_next_upstream timeout`) rather than a failure (502, `error`).
    pub fn is_timeout(&self) -> bool {
        match self {
            DialError::ConnectTimeout | DialError::HandshakeTimeout => true,
            DialError::Connect(_)
            | DialError::Bind { .. }
            | DialError::Handshake(_)
            | DialError::HandshakeClosed
            | DialError::Untrusted(_)
            | DialError::WrongName(_) => false,
        }
    }
}

/// Connects.
///
/// # Errors
/// See [`DialError`]; nothing was sent but the handshake.
pub async fn dial(target: Target<'_>) -> Result<Stream, DialError> {
    let connected = tokio::time::timeout(target.timeout, connect(&target));
    let plain = connected.await.map_err(|_| DialError::ConnectTimeout)??;
    let Some((config, name)) = target.tls else { return Ok(Stream::Plain(plain)) };
    let server_name = server_name(name, target.address);
    let handshake = tokio_rustls::TlsConnector::from(config.clone()).connect(server_name, plain);
    match tokio::time::timeout(target.timeout, handshake).await {
        Err(_) => Err(DialError::HandshakeTimeout),
        Ok(Err(error)) => Err(handshake_error(error, name)),
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
    }
}

async fn connect(target: &Target<'_>) -> Result<Plain, DialError> {
    match target.address {
        UpstreamAddress::Unix(path) => UnixStream::connect(path).await.map(Plain::Unix).map_err(DialError::Connect),
        UpstreamAddress::Tcp(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let socket = socket.map_err(DialError::Connect)?;
            if let Some(local) = target.bind {
                bind(&socket, local, *address)?;
            }
            if target.keepalive {
                socket.set_keepalive(true).map_err(DialError::Connect)?;
            }
            let stream = socket.connect(*address).await.map_err(DialError::Connect)?;
            // Head and body may be written apart; Nagle would hold the second back.
            let _ = stream.set_nodelay(true);
            Ok(Plain::Tcp(stream))
        }
    }
}

/// Without a port the kernel chooses one when it connects, so that the same port may serve several upstreams.
fn bind(socket: &TcpSocket, local: SocketAddr, remote: SocketAddr) -> Result<(), DialError> {
    if local.is_ipv4() != remote.is_ipv4() {
        return Ok(());
    }
    if local.port() == 0 {
        let _ = nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true);
    }
    socket.bind(local).map_err(|source| DialError::Bind { local, source })
}

/// The name for SNI and verification. A name that cannot be one is replaced by the address, which is never sent as SNI
/// and which no certificate check can take for a name.
fn server_name(name: &[u8], address: &UpstreamAddress) -> ServerName<'static> {
    let bare = name.strip_prefix(b"[").and_then(|n| n.strip_suffix(b"]")).unwrap_or(name);
    let named =
        std::str::from_utf8(bare).ok().and_then(|n| ServerName::try_from(n.trim_end_matches('.').to_owned()).ok());
    named.unwrap_or_else(|| {
        let ip = match address {
            UpstreamAddress::Tcp(address) => address.ip(),
            UpstreamAddress::Unix(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        ServerName::IpAddress(ip.into())
    })
}

fn handshake_error(error: io::Error, name: &[u8]) -> DialError {
    use rustls::CertificateError as Bad;
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return DialError::HandshakeClosed;
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
            DialError::WrongName(String::from_utf8_lossy(name).into_owned())
        }
        // `tls` says it in OpenSSL's number and words.
        Some(rustls::Error::InvalidCertificate(Bad::Other(words))) => DialError::Untrusted(words.0.to_string()),
        Some(rustls::Error::InvalidCertificate(bad)) => DialError::Untrusted(bad.to_string()),
        _ => DialError::Handshake(error),
    }
}

/// A connected socket.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A unix-domain socket.
    Unix(UnixStream),
}

/// A connection to an upstream.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(Plain),
    /// With it.
    Tls(Box<TlsStream<Plain>>),
}

impl Stream {
    /// Whether nothing has come and nobody has hung up while the connection lay idle. Costs no system call unless the
    /// kernel has said that something happened.
    pub fn is_quiet(&self) -> bool {
        let plain = match self {
            Stream::Plain(plain) => plain,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut probe = [0];
        let nothing = |read: io::Result<usize>| matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        match plain {
            Plain::Tcp(tcp) => tcp.poll_read_ready(&mut cx).is_pending() || nothing(tcp.try_read(&mut probe)),
            Plain::Unix(unix) => unix.poll_read_ready(&mut cx).is_pending() || nothing(unix.try_read(&mut probe)),
        }
    }

    /// Whether TLS is spoken on it.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }
}

macro_rules! each {
    ($self:expr, $kind:ident, $($variant:ident)|+, $stream:ident => $call:expr) => {
        match $self.get_mut() { $($kind::$variant($stream) => { let $stream = Pin::new($stream); $call })+ }
    };
}

macro_rules! io_of {
    ($kind:ident: $($variant:ident)|+) => {
        impl AsyncRead for $kind {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                each!(self, $kind, $($variant)|+, stream => stream.poll_read(cx, buf))
            }
        }

        impl AsyncWrite for $kind {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                each!(self, $kind, $($variant)|+, stream => stream.poll_write(cx, buf))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                each!(self, $kind, $($variant)|+, stream => stream.poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                match self { $($kind::$variant(stream) => stream.is_write_vectored()),+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self, $kind, $($variant)|+, stream => stream.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self, $kind, $($variant)|+, stream => stream.poll_shutdown(cx))
            }
        }
    };
}

io_of!(Plain: Tcp | Unix);
io_of!(Stream: Plain | Tls);

#[cfg(test)]
mod tests;
