//! A bench for the drivers of connections: a service made of a closure, a client at the other end of the stream.
#![allow(dead_code)]

use bytes::Bytes;
use semper::http::conn::{Drain, serve};
use semper::http::message::{Body, BodyError, Finish, Malformed, Request, Response, Sent, Service, Source};
use semper::net::connection::{Bound, Connection, Endpoint, Ends, TlsFacts};
use semper::plan::Plan;
use semper::plan::client::{ClientLimits, HeadLimits};
use semper::plan::listener::{AddressServers, ListenAddress, NameTable};
use semper::plan::location::{Location, Settings};
use semper::plan::server::Server;
use semper::words::Fields;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

type Answering = dyn Fn(Request) -> Pin<Box<dyn Future<Output = Response>>>;

/// An answer with a body in memory.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Response {
    let body: Bytes = body.into();
    Response {
        status,
        reason: None,
        fields: Fields::default(),
        content_length: Some(body.len() as u64),
        body: Body::Full(body),
        close: false,
        settings: Arc::default(),
        finish: None,
        tunnel: None,
    }
}

/// 200.
pub fn ok(body: impl Into<Bytes>) -> Response {
    answer(200, body)
}

/// A body that comes in pieces, perhaps slowly, perhaps not to the end.
pub struct Pieces {
    pieces: VecDeque<Result<Bytes, BodyError>>,
    gap: Option<Duration>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Pieces {
    /// At once.
    pub fn of(pieces: &[&'static str]) -> Body {
        Body::Stream(Box::new(Pieces::new(pieces)))
    }

    /// And then an error.
    pub fn then(pieces: &[&'static str], error: BodyError) -> Body {
        let mut all = Pieces::new(pieces);
        all.pieces.push_back(Err(error));
        Body::Stream(Box::new(all))
    }

    /// With a gap before each.
    pub fn slowly(pieces: &[&'static str], gap: Duration) -> Body {
        Body::Stream(Box::new(Pieces { gap: Some(gap), ..Pieces::new(pieces) }))
    }

    fn new(pieces: &[&'static str]) -> Pieces {
        Pieces { pieces: pieces.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect(), gap: None, sleep: None }
    }
}

impl Source for Pieces {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(gap) = self.gap {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(gap)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
        Poll::Ready(self.pieces.pop_front())
    }
}

/// A driver with a service, and what it was told.
pub struct Bench {
    service: Rc<Answering>,
    limits: ClientLimits,
    head: HeadLimits,
    pub http2: bool,
    pub alpn: Option<&'static str>,
    pub finished: Rc<RefCell<Vec<Sent>>>,
    pub refused: Rc<RefCell<Vec<Malformed>>>,
    pub drain: Rc<Drain>,
}

impl Bench {
    pub fn new<F: Future<Output = Response> + 'static>(service: impl Fn(Request) -> F + 'static) -> Bench {
        Bench {
            service: Rc::new(move |request| Box::pin(service(request))),
            limits: ClientLimits::default(),
            head: HeadLimits::default(),
            http2: false,
            alpn: None,
            finished: Rc::default(),
            refused: Rc::default(),
            drain: Drain::new(),
        }
    }

    pub fn limits(mut self, change: impl FnOnce(&mut ClientLimits)) -> Bench {
        change(&mut self.limits);
        self
    }

    pub fn head(mut self, change: impl FnOnce(&mut HeadLimits)) -> Bench {
        change(&mut self.head);
        self
    }

    pub fn http2(mut self) -> Bench {
        self.http2 = true;
        self
    }

    pub fn alpn(mut self, protocol: &'static str) -> Bench {
        self.alpn = Some(protocol);
        self
    }

    fn server(&self) -> Arc<Server> {
        let settings = Arc::new(Settings { client: self.limits.clone(), ..Settings::default() });
        let bare = Server::bare(0, "a", None);
        let root = Location { settings, ..(*bare.root).clone() };
        Arc::new(Server { root: Arc::new(root), head: self.head.clone(), http2: self.http2, ..bare })
    }

    /// A connection as the accept loop would make it.
    pub fn connection(&self) -> Rc<Connection> {
        let server = self.server();
        let servers = AddressServers {
            local: None,
            ssl: self.alpn.is_some(),
            http2: false,
            proxy_protocol: false,
            default_server: server.clone(),
            names: NameTable::default(),
        };
        let address = "127.0.0.1:80".parse().unwrap();
        let ends = Ends { remote: Endpoint::Tcp(address), local: Endpoint::Tcp(address), proxied: None };
        let servers = Arc::new(servers);
        let bound = Bound { epoch: 1, plan: plan(), listener: ListenAddress::Tcp(address), servers, server };
        let tls = self.alpn.map(|alpn| TlsFacts { alpn: Some(alpn.into()), ..TlsFacts::default() });
        Rc::new(Connection::new(1, ends, tls, bound, tokio::time::Instant::now()))
    }

    /// The service as the driver takes it.
    pub fn service(&self) -> Rc<impl Service + use<>> {
        let settings = self.server().root.settings.clone();
        let (finished, refused) = (self.finished.clone(), self.refused.clone());
        Rc::new(Answers { service: self.service.clone(), settings, finished, refused })
    }

    /// Runs `client` against the driver over an in-memory stream, for ten seconds at most.
    pub fn run(self, client: impl AsyncFnOnce(Client)) {
        local(async {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let counts = Rc::new(Counts::default());
            let counted = Counted { io: far, counts: counts.clone() };
            let driver = serve(counted, self.connection(), self.service(), self.drain.clone());
            let driver = tokio::task::spawn_local(driver);
            client(Client { io: near, counts, driver, read: Vec::new() }).await;
        });
    }
}

/// Runs `test` on one thread, for ten seconds at most.
pub fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    let test = async { tokio::time::timeout(Duration::from_secs(10), test).await };
    runtime.block_on(tasks.run_until(test)).expect("the test hangs");
}

/// A plan with nothing in it.
fn plan() -> Arc<Plan> {
    Arc::default()
}

struct Answers {
    service: Rc<Answering>,
    settings: Arc<Settings>,
    finished: Rc<RefCell<Vec<Sent>>>,
    refused: Rc<RefCell<Vec<Malformed>>>,
}

impl Answers {
    fn complete(&self, mut response: Response) -> Response {
        response.settings = self.settings.clone();
        response.finish = Some(Box::new(Record(self.finished.clone())));
        response
    }
}

impl Service for Answers {
    async fn call(&self, request: Request) -> Response {
        self.complete((self.service)(request).await)
    }

    async fn refuse(&self, malformed: Malformed, _: Rc<Connection>) -> Response {
        let status = malformed.status;
        self.refused.borrow_mut().push(malformed);
        self.complete(answer(status, "refused"))
    }
}

struct Record(Rc<RefCell<Vec<Sent>>>);

impl Finish for Record {
    fn finish(self: Box<Self>, sent: Sent) {
        self.0.borrow_mut().push(sent);
    }
}

/// How often the driver's stream gave and took something.
#[derive(Default)]
pub struct Counts {
    pub reads: Cell<u32>,
    pub writes: Cell<u32>,
}

/// A stream that counts.
pub struct Counted<I> {
    io: I,
    counts: Rc<Counts>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.counts.reads.set(self.counts.reads.get() + u32::from(read.is_ready()));
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.counts.writes.set(self.counts.writes.get() + 1);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The other end.
pub struct Client {
    pub io: DuplexStream,
    pub counts: Rc<Counts>,
    driver: tokio::task::JoinHandle<()>,
    read: Vec<u8>,
}

impl Client {
    pub async fn send(&mut self, bytes: &str) {
        self.io.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn more(&mut self) {
        let count = self.io.read_buf(&mut self.read).await.unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
    }

    /// A head with its empty line.
    pub async fn read_head(&mut self) -> String {
        loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                return String::from_utf8(self.read.drain(..at + 4).collect()).unwrap();
            }
            self.more().await;
        }
    }

    pub async fn exactly(&mut self, count: usize) -> String {
        while self.read.len() < count {
            self.more().await;
        }
        String::from_utf8(self.read.drain(..count).collect()).unwrap()
    }

    /// A head with a body that has a Content-Length.
    pub async fn answer(&mut self) -> String {
        let head = self.read_head().await;
        let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let body = self.exactly(length.unwrap_or("0").parse().unwrap()).await;
        head + &body
    }

    /// Everything until the driver closes.
    pub async fn rest(&mut self) -> String {
        while self.io.read_buf(&mut self.read).await.unwrap() > 0 {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// Until the driver is done, without reading.
    pub async fn done(&mut self) {
        (&mut self.driver).await.unwrap();
    }
}
