//! What do a plain socket, a TLS client and curl get from a server? Blocking and simple: bytes out, bytes in, an answer
//! cut from them by HTTP/1's framing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

/// How long an open connection must be silent before it counts as kept open.
const SILENCE: Duration = Duration::from_millis(500);

/// What came back on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Everything received.
    pub bytes: Vec<u8>,
    /// The other side ended the connection (else it stayed silent).
    pub closed: bool,
    /// With a reset.
    pub reset: bool,
}

/// Sends `request` at once and reads until the server closes or is silent for half a second after its last byte.
pub fn exchange(port: u16, request: &[u8]) -> Exchange {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let _ = stream.write_all(request);
    read_all(&mut stream, SILENCE)
}

/// Sends each part with a pause after it, then reads as [`exchange`] does.
pub fn exchange_parts(port: u16, parts: &[&[u8]], pause: Duration) -> Exchange {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    for part in parts {
        if stream.write_all(part).is_err() {
            break;
        }
        std::thread::sleep(pause);
    }
    read_all(&mut stream, SILENCE)
}

/// Reads until the end of the stream, or until nothing has come for `silence` after something did.
pub fn read_all(stream: &mut TcpStream, silence: Duration) -> Exchange {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = Vec::new();
    let mut part = [0; 16 * 1024];
    let mut last = Instant::now();
    loop {
        match stream.read(&mut part) {
            Ok(0) => return Exchange { bytes, closed: true, reset: false },
            Ok(count) => {
                bytes.extend_from_slice(&part[..count]);
                last = Instant::now();
            }
            Err(fault) if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let limit = if bytes.is_empty() { silence.max(Duration::from_secs(2)) } else { silence };
                if last.elapsed() > limit {
                    return Exchange { bytes, closed: false, reset: false };
                }
            }
            Err(_) => return Exchange { bytes, closed: true, reset: true },
        }
    }
}

/// One HTTP/1 response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status line without its end.
    pub line: String,
    /// The code in it.
    pub status: u16,
    /// Header fields in the order they came, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body with its transfer coding taken off.
    pub body: Vec<u8>,
}

impl Answer {
    /// Cuts one response off the front of `bytes` and returns it with the rest; `None` if there is no whole head.
    /// `bodiless`: the request was a HEAD.
    pub fn parse(bytes: &[u8], bodiless: bool) -> Option<(Answer, &[u8])> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end - 4]).into_owned();
        let mut lines = head.split("\r\n");
        let line = lines.next()?.to_owned();
        let status: u16 = line.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { line, status, headers, body: Vec::new() };
        let rest = &bytes[end..];
        if bodiless || status == 204 || status == 304 || (100..200).contains(&status) {
            return Some((answer, rest));
        }
        if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            let (body, rest) = dechunk(rest);
            answer.body = body;
            return Some((answer, rest));
        }
        let length = answer.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(rest.len());
        let (body, rest) = rest.split_at(length.min(rest.len()));
        answer.body = body.to_vec();
        Some((answer, rest))
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn dechunk(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        bytes = &bytes[end + 2..];
        if size == 0 {
            // Trailers stay in the rest.
            return (body, bytes.strip_prefix(b"\r\n").unwrap_or(bytes));
        }
        let take = size.min(bytes.len());
        body.extend_from_slice(&bytes[..take]);
        bytes = &bytes[(take + 2).min(bytes.len())..];
    }
    (body, bytes)
}

/// How a TLS client behaves.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

/// A TLS connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Tls {
    /// Trusts the roots in `pem` and nothing else.
    pub fn trusting(pem: &str) -> Tls {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        Tls { config: Arc::new(builder().with_root_certificates(roots).with_no_client_auth()) }
    }

    /// Takes any certificate: for looking at what is served.
    pub fn blind() -> Tls {
        let config = builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(semper::net::proof::AnyServer::default()))
            .with_no_client_auth();
        Tls { config: Arc::new(config) }
    }

    /// The same client offering these ALPN protocols.
    pub fn alpn(&self, protocols: &[&str]) -> Tls {
        let mut config = (*self.config).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Tls { config: Arc::new(config) }
    }

    /// The same client showing a certificate of its own.
    pub fn showing(&self, chain: &str, key: &str) -> Tls {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let own = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key));
        let mut config = (*self.config).clone();
        config.client_auth_cert_resolver = Arc::new(own);
        Tls { config: Arc::new(config) }
    }

    /// The configuration, for asynchronous clients.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Connects to `port` of the loopback and finishes the handshake for `name`.
    pub fn connect(&self, port: u16, name: &str) -> std::io::Result<TlsStream> {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(self.config.clone(), name).map_err(std::io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(StreamOwned::new(session, tcp))
    }

    /// The chain that is served for `name`, leaf first.
    pub fn chain(&self, port: u16, name: &str) -> std::io::Result<Vec<CertificateDer<'static>>> {
        let stream = self.connect(port, name)?;
        Ok(stream.conn.peer_certificates().unwrap_or_default().to_vec())
    }

    /// Sends `request` on a connection of its own and reads to its end.
    pub fn exchange(&self, port: u16, name: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = self.connect(port, name)?;
        stream.write_all(request)?;
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(fault) if bytes.is_empty() => Err(fault),
            _ => Ok(bytes),
        }
    }

    /// A plain GET on a connection of its own.
    pub fn get(&self, port: u16, name: &str, target: &str) -> std::io::Result<Answer> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let bytes = self.exchange(port, name, head.as_bytes())?;
        Answer::parse(&bytes, false).map(|(answer, _)| answer).ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

/// Serial number of a certificate in lower-case hexadecimal.
pub fn serial(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    parsed.raw_serial_as_string().replace(':', "")
}

/// Runs curl quietly with a time limit.
pub fn curl(arguments: &[&str]) -> Output {
    Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().expect("curl is installed")
}

/// Ends the sending half, so that the server sees the end of the request.
pub fn finish(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}
