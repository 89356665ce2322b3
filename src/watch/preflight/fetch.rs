//! What does an address answer to the question of an authority? One GET over plain HTTP, its redirects followed as an
//! authority follows them (no certificate is checked), bounded in bytes, hops and time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cert::reach::{Answer, is_inner};
use crate::net::dns::{self, Dns};
use crate::watch::anyone;
use crate::zone::challenges::HTTP01_PATH;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(3);
/// An answer is a line; a page of an error is looked at no further.
const LARGEST: usize = 16 * 1024;
/// Redirects that are followed.
const HOPS: usize = 4;

/// Where to ask.
pub struct Place {
    pub name: String,
    pub at: SocketAddr,
    /// What stands for ports 80 and 443.
    pub ports: (u16, u16),
    /// Redirects may lead to inner addresses.
    pub inner: bool,
    /// The operator has said that the address is ours.
    pub declared: bool,
}

/// What came back.
struct Page {
    status: u16,
    by: String,
    location: Option<String>,
    body: Vec<u8>,
}

/// Asks for `token`; one of `accepted` is our answer.
pub async fn fetch(dns: &Dns, place: Place, token: &str, accepted: &[String]) -> Answer {
    let Place { mut name, mut at, ports, inner, .. } = place;
    let (mut path, mut tls, mut first_at) = (format!("{HTTP01_PATH}{token}"), false, Some(at));
    let mut redirected_by = String::new();
    for _ in 0..=HOPS {
        let page = match ask(&name, at, tls, &path).await {
            Ok(page) => page,
            // The first hop is the address itself; later ones are what it sends authorities to.
            Err(_) if !redirected_by.is_empty() => {
                let to = format!("{}://{name}", if tls { "https" } else { "http" });
                return Answer::Astray { to, by: redirected_by };
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && first_at.is_some() => {
                return Answer::Refused;
            }
            Err(_) => return Answer::Silent,
        };
        let ours = std::str::from_utf8(&page.body).is_ok_and(|body| accepted.iter().any(|one| one == body.trim_end()));
        if page.status == 200 && ours {
            return Answer::Ours;
        }
        let target = page.location.as_deref().filter(|_| matches!(page.status, 301 | 302 | 303 | 307 | 308));
        let Some(target) = target.and_then(|location| Target::of(location, &name, tls)) else {
            // What stands in front could not reach, or did not trust, what stands behind.
            let insists = tls && matches!(page.status, 495 | 496 | 502 | 503 | 520..=527 | 530);
            return match insists {
                true => Answer::Insists { status: page.status, by: page.by },
                false => Answer::Other { status: page.status, by: page.by },
            };
        };
        if target.host != name {
            let Ok(host) = dns::name(&target.host) else { return Answer::Other { status: page.status, by: page.by } };
            let Some(ip) = dns.addresses(&host).await.ok().and_then(|found| found.first().copied()) else {
                return Answer::Other { status: page.status, by: page.by };
            };
            if is_inner(ip) && !inner {
                // Authorities do not go there, and whoever owns a name must not send us there.
                return Answer::Astray { to: format!("{} at the inner address {ip}", target.host), by: page.by };
            }
            at.set_ip(ip);
            first_at = None;
        }
        (redirected_by, name, path, tls) = (page.by, target.host, target.path, target.tls);
        at.set_port(if tls { ports.1 } else { ports.0 });
    }
    Answer::Other { status: 310, by: redirected_by }
}

/// Where a redirect leads. Authorities follow to ports 80 and 443 alone.
struct Target {
    host: String,
    path: String,
    tls: bool,
}

impl Target {
    fn of(location: &str, host: &str, tls: bool) -> Option<Target> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Target { host: host.to_owned(), path: location.to_owned(), tls });
        }
        let uri: http::Uri = location.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host()?.to_ascii_lowercase();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Target { host, path, tls })
    }
}

async fn ask(name: &str, at: SocketAddr, tls: bool, path: &str) -> io::Result<Page> {
    let stream = timeout(CONNECT, TcpStream::connect(at)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    if !tls {
        return talk(stream, name, path).await;
    }
    let host = ServerName::try_from(name.to_owned()).map_err(|_| io::ErrorKind::InvalidInput)?;
    talk(tokio_rustls::TlsConnector::from(anyone::client()).connect(host, stream).await?, name, path).await
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, name: &str, path: &str) -> io::Result<Page> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: semper/{} preflight\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    // Whoever ends a TLS connection without saying so has still said what it said.
    let read = (&mut stream).take(LARGEST as u64).read_to_end(&mut bytes).await;
    if bytes.is_empty() {
        read?;
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let httparse::Status::Complete(length) = head.parse(&bytes).map_err(|_| bad())? else { return Err(bad()) };
    let field = |name: &str| {
        let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value).into_owned())
    };
    let by: String = field("server").unwrap_or_else(|| "a server without a name".into());
    let by = by.chars().filter(|c| !c.is_control()).take(40).collect();
    let (status, location) = (head.code.unwrap_or_default(), field("location"));
    let mut body = bytes.split_off(length);
    if field_is_chunked(&bytes) {
        body = first_chunk(&body);
    }
    Ok(Page { status, by, location, body })
}

fn field_is_chunked(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.contains("transfer-encoding: chunked")
}

/// The first chunk of a body: what we wait for is shorter than any server would cut.
fn first_chunk(body: &[u8]) -> Vec<u8> {
    match httparse::parse_chunk_size(body) {
        Ok(httparse::Status::Complete((start, size))) => {
            let end = usize::try_from(size).unwrap_or(0).saturating_add(start).min(body.len());
            body[start..end].to_vec()
        }
        _ => Vec::new(),
    }
}
