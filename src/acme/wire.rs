//! How does one request reach an authority and its response come back? HTTP/1.1 over TLS, directly or through a proxy,
//! with a limit on every wait and every size. Follows nothing and understands nothing of ACME.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fault::Fault;
use super::pacing::Pacing;
use super::proxy::Proxy;
use super::trust;
use crate::clock::Clock;

/// For each address of a host.
const CONNECT: Duration = Duration::from_secs(5);
/// For look-up, connect, TLS and proxy together.
const REACH: Duration = Duration::from_secs(15);
/// From the first byte of the request to the last of the response.
const EXCHANGE: Duration = Duration::from_secs(30);
/// A chain of certificates is a few KiB, a directory less.
const LARGEST_BODY: usize = 1 << 20;
/// Idle connections kept for each origin.
const IDLE: usize = 4;

type Sender = SendRequest<Full<Bytes>>;

/// Connections to the hosts of one issuer.
pub struct Wire {
    trusted: Option<PathBuf>,
    verify: bool,
    proxy: Proxy,
    clock: Arc<dyn Clock>,
    tls: OnceLock<Arc<ClientConfig>>,
    idle: Mutex<HashMap<String, Vec<Sender>>>,
    pacing: Arc<Pacing>,
}

impl Wire {
    /// Connects to nobody yet; roots are read with the first request. Where the machine's clock is doubted, an authority is
    /// judged by `clock` too. All requests keep to `pacing`.
    pub fn new(
        trusted: Option<PathBuf>,
        verify: bool,
        proxy: Proxy,
        clock: Arc<dyn Clock>,
        pacing: Arc<Pacing>,
    ) -> Wire {
        Wire { trusted, verify, proxy, clock, tls: OnceLock::new(), idle: Mutex::default(), pacing }
    }

    /// Sends a request and reads the whole response, whatever its status.
    pub async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Fault> {
        let place = Place::of(request.uri())?;
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse().map_err(|_| Fault::Url { url: parts.uri.to_string() })?;
        if let Ok(host) = HeaderValue::from_str(&place.authority) {
            parts.headers.insert(header::HOST, host);
        }
        let fresh = |parts: &http::request::Parts| Request::from_parts(parts.clone(), Full::new(body.clone()));
        // A kept connection may have ended meanwhile. Then once more over a new one: a signed request is refused by the
        // authority if it comes twice, so this is safe.
        if let Some(sender) = self.take_idle(&place.origin) {
            match self.over(&place, sender, fresh(&parts)).await {
                Err(Fault::Broken { .. }) => {}
                done => return done,
            }
        }
        let sender = match timeout(REACH, self.reach(&place)).await {
            Ok(reached) => reached?,
            Err(_) => return Err(place.unreached("no connection in time")),
        };
        self.over(&place, sender, fresh(&parts)).await
    }

    async fn over(
        &self,
        place: &Place,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Fault> {
        let whole = async {
            let response = sender.send_request(request).await.map_err(|error| place.broken(&error))?;
            let (parts, mut body) = response.into_parts();
            let mut content = BytesMut::new();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(|error| place.broken(&error))?.into_data() {
                    if content.len() + data.len() > LARGEST_BODY {
                        return Err(Fault::TooLarge { origin: place.origin.clone() });
                    }
                    content.extend_from_slice(&data);
                }
            }
            Ok(Response::from_parts(parts, content.freeze()))
        };
        // At the last moment: a connection that was slow to come would push requests together.
        self.pacing.turn().await;
        let response = match timeout(EXCHANGE, whole).await {
            Ok(response) => response?,
            Err(_) => return Err(Fault::TimedOut { origin: place.origin.clone() }),
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(place.origin.clone()).or_default();
        if kept.len() < IDLE {
            kept.push(sender);
        }
        Ok(response)
    }

    fn take_idle(&self, origin: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(origin)?;
        kept.retain(|sender| !sender.is_closed());
        let ready = kept.iter().rposition(Sender::is_ready)?;
        Some(kept.swap_remove(ready))
    }

    async fn reach(&self, place: &Place) -> Result<Sender, Fault> {
        let via = self.proxy.toward(&place.host).filter(|_| place.tls);
        let target = format!("{}:{}", place.host_in_authority(), place.port);
        let mut stream = connect(via.unwrap_or(&target)).await.map_err(|detail| place.unreached(&detail))?;
        if via.is_some() {
            self.proxy.tunnel(&mut stream, &target).await.map_err(|detail| place.unreached(&detail))?;
        }
        if !place.tls {
            return handshake(place, stream).await;
        }
        let config = match self.tls.get() {
            Some(config) => config.clone(),
            None => {
                let config = trust::client(self.trusted.as_deref(), self.verify, self.clock.clone())?;
                self.tls.get_or_init(|| config).clone()
            }
        };
        let name = ServerName::try_from(place.host.clone()).map_err(|_| place.unreached("not a host name"))?;
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
        handshake(place, stream.map_err(|error| place.unreached(&error.to_string()))?).await
    }
}

async fn handshake(place: &Place, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, Fault> {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|error| place.broken(&error))?;
    // Ends when the sender is dropped or the authority hangs up; its errors reach the one who sends.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

async fn connect(target: &str) -> Result<TcpStream, String> {
    let mut last = format!("{target}: no address");
    for address in tokio::net::lookup_host(target).await.map_err(|error| format!("{target}: {error}"))? {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no connection in time"),
        }
    }
    Err(last)
}

/// Scheme, host and port of a URL.
struct Place {
    origin: String,
    authority: String,
    host: String,
    port: u16,
    tls: bool,
}

impl Place {
    fn of(uri: &Uri) -> Result<Place, Fault> {
        let refused = || Fault::Url { url: uri.to_string() };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused());
        };
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_owned();
        let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let tls = match scheme {
            "https" => true,
            "http" if here => false,
            _ => return Err(refused()),
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let authority = authority.as_str().rsplit('@').next().unwrap_or_default().to_owned();
        Ok(Place { origin: format!("{scheme}://{}", authority.to_ascii_lowercase()), authority, host, port, tls })
    }

    fn host_in_authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    fn unreached(&self, detail: &str) -> Fault {
        Fault::Connect { origin: self.origin.clone(), detail: detail.to_owned() }
    }

    fn broken(&self, error: &hyper::Error) -> Fault {
        Fault::Broken { origin: self.origin.clone(), detail: error.to_string() }
    }
}

/// Whether two URLs have the same scheme, host and port.
pub fn same_origin(one: &Uri, other: &Uri) -> bool {
    matches!((Place::of(one), Place::of(other)), (Ok(one), Ok(other)) if one.origin == other.origin)
}
