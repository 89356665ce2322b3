//! What passes between a driver of connections (`conn/`) and what answers requests (`serve`)? The one seam of `http/`:
//! both HTTP/1 and HTTP/2 hand over a [`Request`] and send the [`Response`] that comes back. Knows no sockets.

use crate::net::connection::Connection;
use crate::plan::location::Settings;
use crate::words::Fields;
use bytes::Bytes;
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The version of HTTP that a client spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/0.9: no head at all.
    Http09,
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1 and any later 1.x.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// `$server_protocol`: `HTTP/1.1`, `HTTP/2.0`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http09 => "HTTP/0.9",
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }
}

/// A well-formed request. Its framing has been checked; its body has not been read.
pub struct Request {
    /// As sent: `GET`.
    pub method: Bytes,
    /// `$request_uri`: the target in origin form, never decoded; `/` for an absolute form without a path.
    pub target: Bytes,
    /// What the client spoke.
    pub version: Version,
    /// The host: of an absolute-form target, else of `Host` or `:authority`; lower case, without port and trailing dot.
    /// `None` only in HTTP/1.0 and 0.9.
    pub host: Option<Bytes>,
    /// `$request_port`: the port that stood behind the host.
    pub host_port: Option<u16>,
    /// Header fields as they came, less those that nginx drops. `Host` of HTTP/2 is made from `:authority`.
    pub fields: Fields,
    /// `$request`: the request line for the log (HTTP/2: made as nginx makes it).
    pub line: Bytes,
    /// Bytes of line and head (`$request_length` before the body).
    pub head_length: u64,
    /// Content-Length; `None` when chunked, or when HTTP/2 gave none and the stream is open. `Some(0)`: no body.
    pub content_length: Option<u64>,
    /// The body, read from the connection as it is polled.
    pub body: Body,
    /// When its first byte was read.
    pub started: tokio::time::Instant,
    /// Where it came.
    pub connection: Rc<Connection>,
}

/// A head that cannot be served. The driver asks the service for a page, sends it and closes.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// nginx's status: 400, 405, 408, 414, 494, 501, 505.
    pub status: u16,
    /// Nothing will be sent, because the client went quiet (408) or away (400): only the log line counts.
    pub silent: bool,
    /// nginx's words for the error log: "client sent invalid method while reading client request line".
    pub reason: Cow<'static, str>,
    /// The request line as far as it was read, for the access log.
    pub line: Bytes,
    /// What the client seems to speak.
    pub version: Version,
    /// Bytes read.
    pub head_length: u64,
    /// The host, if it was understood before the mistake; `None`: the default server answers.
    pub host: Option<Bytes>,
    /// When its first byte was read.
    pub started: tokio::time::Instant,
}

/// What is sent back.
pub struct Response {
    /// 100 to 999. 444: nothing is sent and the connection is closed. 101: `tunnel` takes over.
    pub status: u16,
    /// The reason phrase of an upstream, as nginx passes it on; `None`: the standard one.
    pub reason: Option<Bytes>,
    /// Header fields in order. The driver adds `Connection`, `Keep-Alive` and `Transfer-Encoding`, and nothing else:
    /// Server, Date, Content-Type, Content-Length are here already. No hop-by-hop field stands here (save for 101).
    pub fields: Fields,
    /// `Content-Length` is sent from this, in the place where nginx sends it. `None` with a body: chunked, or until close.
    pub content_length: Option<u64>,
    /// The body. Not sent for HEAD, 1xx, 204, 304, whatever it holds.
    pub body: Body,
    /// Close the connection after this (HTTP/2: nothing).
    pub close: bool,
    /// The settings that hold while sending and afterwards: send_timeout, keepalive_*, lingering_*.
    pub settings: Arc<Settings>,
    /// Told once, when all has been sent or the client has gone: writes the access log.
    pub finish: Option<Box<dyn Finish>>,
    /// With 101 (or a CONNECT's 2xx): takes the connection over.
    pub tunnel: Option<Box<dyn Tunnel>>,
}

/// How the sending of a [`Response`] ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// `$bytes_sent`: head and body with framing, before TLS.
    pub bytes: u64,
    /// `$body_bytes_sent`.
    pub body_bytes: u64,
    /// `$request_length`: head and body that were read.
    pub request_length: u64,
    /// `$request_completion`: all was sent.
    pub complete: bool,
    /// The client went away first (499 if nothing had been sent).
    pub client_gone: bool,
}

/// What happens after an answer was sent.
pub trait Finish {
    /// Called once by the driver, before the connection is closed or the next request is read.
    fn finish(self: Box<Self>, sent: Sent);
}

/// The two byte streams of a connection that was upgraded.
pub trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Duplex for T {}

/// Takes a connection over after 101.
pub trait Tunnel {
    /// Runs until either side is done. `client` first yields what had been read already. Returns the bytes that were sent
    /// to the client and those that were read from it.
    fn run(self: Box<Self>, client: Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = (u64, u64)>>>;
}

/// What answers requests. One for each worker, shared by its connections.
pub trait Service: 'static {
    /// Answers a request. Dropping the future means that the client has gone: whatever was begun is given up and logged
    /// (499) by the service itself.
    fn call(&self, request: Request) -> impl Future<Output = Response>;

    /// The answer to a head that cannot be served.
    fn refuse(&self, malformed: Malformed, connection: Rc<Connection>) -> impl Future<Output = Response>;
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's framing is broken. Its fault: 400.
    #[error("client sent invalid chunked body")]
    Framing,
    /// The client's body is longer than `client_max_body_size`. Its fault: 413.
    #[error("client intended to send too large chunked body")]
    TooLarge,
    /// The client went quiet: 408.
    #[error("client timed out while reading the request body")]
    ClientTimeout,
    /// The client closed the connection: nobody is left to answer.
    #[error("client prematurely closed connection")]
    ClientGone,
    /// The upstream broke off or went quiet in the middle of its answer; what was sent cannot be taken back.
    #[error("upstream prematurely closed connection while reading the response")]
    UpstreamGone,
    /// A file or temp file failed: our fault, 500.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A body, either way.
#[derive(Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// A part of a file. Read in the worker as nginx does without `aio`.
    File(FileBody),
    /// Comes bit by bit.
    Stream(Box<dyn Source>),
}

/// A part of an open file.
pub struct FileBody {
    /// The file.
    pub file: Rc<std::fs::File>,
    /// First byte.
    pub offset: u64,
    /// Bytes left to send.
    pub length: u64,
}

/// A body that comes bit by bit.
pub trait Source {
    /// The next piece; never an empty one; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// Trailer fields, after the end.
    fn trailers(&mut self) -> Option<Fields> {
        None
    }

    /// `client_body_timeout` for the reads to come. A client's body knows only its server's until the location is found.
    fn set_timeout(&mut self, _: Duration) {}

    /// A piece that was just handed out is a good moment to flush (unbuffered upstream answers, server-sent events).
    fn flush_each(&self) -> bool {
        false
    }
}

/// Bytes of a file that are read at once.
const FILE_CHUNK: usize = 64 * 1024;

impl Body {
    /// The bytes that will come, if known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::File(part) => Some(part.length),
            Body::Stream(_) => None,
        }
    }

    /// The next piece; `None` at the end.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Body::File(part) => Poll::Ready(part.next_chunk().transpose()),
            Body::Stream(source) => source.poll_chunk(cx),
        }
    }

    /// The next piece, awaited.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Whether a piece that was just handed out should be sent at once.
    pub fn flush_each(&self) -> bool {
        matches!(self, Body::Stream(source) if source.flush_each())
    }

    /// `client_body_timeout` of the location that was found.
    pub fn set_timeout(&mut self, timeout: Duration) {
        if let Body::Stream(source) = self {
            source.set_timeout(timeout);
        }
    }

    /// Trailer fields, after the end.
    pub fn trailers(&mut self) -> Option<Fields> {
        match self {
            Body::Stream(source) => source.trailers(),
            _ => None,
        }
    }
}

impl FileBody {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        use std::os::unix::fs::FileExt;
        if self.length == 0 {
            return Ok(None);
        }
        let want = usize::try_from(self.length).unwrap_or(FILE_CHUNK).min(FILE_CHUNK);
        let mut buffer = vec![0; want];
        let got = self.file.read_at(&mut buffer, self.offset)?;
        if got == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file became shorter").into());
        }
        buffer.truncate(got);
        self.offset += got as u64;
        self.length -= got as u64;
        Ok(Some(Bytes::from(buffer)))
    }
}
