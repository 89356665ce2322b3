//! What stands behind the proxy in a test? A small HTTP/1 origin: it keeps every request as it came and answers what a
//! function says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request as the origin received it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Request line without its end.
    pub line: String,
    /// Header lines without their ends, in order.
    pub headers: Vec<String>,
    /// The body with its transfer coding taken off.
    pub body: Vec<u8>,
    /// Which connection it came on, counted from 1.
    pub connection: usize,
}

impl Received {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.headers.iter().filter_map(|line| line.split_once(':'));
        fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The target of the request line.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Line and headers as one text.
    pub fn head(&self) -> String {
        format!("{}\n{}\n", self.line, self.headers.join("\n"))
    }
}

/// What the origin does with a request: raw bytes to send, and whether the connection is closed after them.
pub struct Reply {
    bytes: Vec<u8>,
    close: bool,
}

impl Reply {
    /// A 200 with `body`.
    pub fn ok(body: impl AsRef<[u8]>) -> Reply {
        Reply::with(200, &[], body)
    }

    /// An answer with status, header lines and body; Content-Length is added.
    pub fn with(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status} Origin\r\nContent-Length: {}\r\n", body.len()).into_bytes();
        for line in headers {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Reply { bytes, close: false }
    }

    /// Exactly these bytes, then the end of the connection.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Reply {
        Reply { bytes: bytes.as_ref().to_vec(), close: true }
    }

    /// The end of the connection without an answer.
    pub fn hang_up() -> Reply {
        Reply::raw([])
    }
}

type Script = dyn Fn(&Received) -> Reply + Send + Sync;

/// A running origin; it ends when dropped.
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    seen: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    over: AtomicBool,
    script: Box<Script>,
}

impl Origin {
    /// Answers every request with its own head (and body) as text.
    pub fn echo() -> Origin {
        Origin::start(|request| {
            let mut body = request.head().into_bytes();
            body.extend_from_slice(&request.body);
            Reply::with(200, &["Content-Type: text/plain"], body)
        })
    }

    /// Answers as `script` says, any number of connections at a time.
    pub fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            script: Box::new(script),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::SeqCst) {
                    break;
                }
                let state = shared.clone();
                std::thread::spawn(move || {
                    let _ = state.serve(stream);
                });
            }
        });
        Origin { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Received> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Takes the requests so far away.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.seen.lock().unwrap())
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(mut request) = receive(&mut reader, &mut writer)? {
            request.connection = connection;
            let reply = (self.script)(&request);
            let last = reply.close
                || request.line.ends_with("HTTP/1.0") && request.header("connection").is_none()
                || request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            self.seen.lock().unwrap().push(request);
            writer.write_all(&reply.bytes)?;
            if last {
                break;
            }
        }
        let _ = writer.shutdown(std::net::Shutdown::Both);
        Ok(())
    }
}

fn receive(reader: &mut BufReader<TcpStream>, writer: &mut TcpStream) -> std::io::Result<Option<Received>> {
    let mut request = Received::default();
    if reader.read_line(&mut request.line)? == 0 {
        return Ok(None);
    }
    request.line.truncate(request.line.trim_end().len());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            field => request.headers.push(field.to_owned()),
        }
    }
    if request.header("expect").is_some() {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if request.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            request.body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(length) = request.header("content-length").and_then(|value| value.parse().ok()) {
        request.body = vec![0; length];
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}
