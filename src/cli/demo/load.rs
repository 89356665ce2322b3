//! What do clients of the demo see? A few threads that ask again and again, some on connections that stay, some on new
//! ones, and verify every chain against the root.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::cert::inspect::Leaf;
use crate::clock::UnixTime;

/// Clients at a time.
const CLIENTS: usize = 4;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);
/// Requests on one connection of a client that stays.
const STAY: u32 = 200;
/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Serial number of the newest certificate that was shown, and its end.
    pub certificate: Option<(String, UnixTime)>,
    /// How often another certificate was shown than before.
    pub renewals: u64,
    /// Requests that were answered as they should.
    pub answered: u64,
    /// All others.
    pub failed: u64,
    /// Why the last of these failed.
    pub last_failure: Option<String>,
}

/// Clients at work.
pub struct Load {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts asking `name` at `at`; chains must lead to `root`.
    pub fn start(at: SocketAddr, name: &str, root: &[u8]) -> Result<Load, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.to_vec()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // A resumed session shows no certificate, and the point is to see each new one.
        config.resumption = rustls::client::Resumption::disabled();
        let config = Arc::new(config);
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| rustls::Error::General("not a name".to_owned()))?;
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let client = |number: usize| {
            let (seen, stop, config, name) = (seen.clone(), stop.clone(), config.clone(), name.clone());
            // Every other client comes anew for each request.
            let requests = if number.is_multiple_of(2) { STAY } else { 1 };
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(why) = visit(at, &config, &name, requests, &seen, &stop) {
                        let mut seen = lock(&seen);
                        seen.failed += 1;
                        seen.last_failure = Some(why.to_string());
                        drop(seen);
                        std::thread::sleep(PAUSE);
                    }
                }
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Ok(Load { seen, stop, clients })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Lets every client finish what it is at.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let _ = client.join();
        }
        lock(&self.seen).clone()
    }
}

// A client that panicked leaves whole numbers behind.
fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection with so many requests.
fn visit(
    at: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    requests: u32,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let socket = TcpStream::connect_timeout(&at, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let connection = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    for number in 0..requests {
        if number > 0 {
            std::thread::sleep(PAUSE);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let close = if number + 1 == requests { "close" } else { "keep-alive" };
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: {close}\r\n\r\n", name.to_str());
        stream.write_all(head.as_bytes())?;
        answer(&mut stream)?;
        if number == 0 {
            note_certificate(&stream.conn, seen);
        }
        lock(seen).answered += 1;
    }
    stream.conn.send_close_notify();
    let _ = stream.flush();
    std::thread::sleep(PAUSE);
    Ok(())
}

/// Reads one answer with a length; anything but 200 is a failure.
fn answer(stream: &mut impl io::Read) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 200") {
                return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
            if bytes.len() >= end + 4 + length {
                return Ok(());
            }
        }
        match stream.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&part[..count]),
        }
    }
}

fn note_certificate(connection: &ClientConnection, seen: &Mutex<Seen>) {
    let leaf = connection.peer_certificates().and_then(|chain| Leaf::read(chain.first()?).ok());
    let Some(leaf) = leaf else { return };
    let mut seen = lock(seen);
    let newer = seen.certificate.as_ref().is_none_or(|(serial, until)| {
        // Two clients may tell in the other order.
        *serial != leaf.serial_text() && leaf.not_after > *until
    });
    if newer {
        seen.renewals += u64::from(seen.certificate.is_some());
        seen.certificate = Some((leaf.serial_text(), leaf.not_after));
    }
}
