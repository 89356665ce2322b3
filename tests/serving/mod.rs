//! A bench for the service: a worker with a plan out of configuration text, requests made by hand, no sockets.
#![allow(dead_code)]

use bytes::Bytes;
use semper::clock::{Dice, UnixTime, VirtualClock};
use semper::conf::{MemoryWorld, Options, load};
use semper::http::message::{Body, Request, Response, Sent, Service, Version};
use semper::http::serve::{Parts, Worker};
use semper::net::connection::{Bound, Connection, Endpoint, Ends, TlsFacts};
use semper::net::dial::NoUpstreamTls;
use semper::net::log::LogFiles;
use semper::net::opener::OwnRights;
use semper::plan::Plan;
use semper::words::Fields;
use semper::zone::challenges::Challenges;
use semper::zone::stats::Stats;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;

struct Fixed;
impl Dice for Fixed {
    fn draw(&self) -> f64 {
        0.5
    }
}

/// A worker, and the folder where its files stand.
pub struct Bench {
    pub worker: Rc<Worker>,
    pub plan: Arc<Plan>,
    pub challenges: Arc<Challenges>,
    pub logs: Arc<LogFiles>,
    pub stats: Arc<Stats>,
    pub folder: TempDir,
}

/// The plan of a configuration with this inside of `http`; `%dir%` is `folder`.
pub fn plan(inside: &str, folder: &Path) -> Arc<Plan> {
    let dir = folder.to_string_lossy();
    let text = format!("error_log %dir%/error.log info; events {{}} http {{ access_log %dir%/access.log; {inside} }}");
    let world = MemoryWorld::with_file("/c/nginx.conf", text.replace("%dir%", &dir));
    let loaded = load(&world, &Options::new("/c/nginx.conf", folder));
    Arc::new(loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.complaints)))
}

impl Bench {
    /// A worker for one server with this inside.
    pub fn server(inside: &str) -> Bench {
        Bench::new(&format!("server {{ listen 127.0.0.1:80; server_name a.test; root %dir%/www; {inside} }}"))
    }

    /// A worker for this inside of `http`.
    pub fn new(inside: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("www")).unwrap();
        let plan = plan(inside, folder.path());
        let clock = Arc::new(VirtualClock::default());
        clock.set(UnixTime::from_seconds(784_111_777));
        let logs = Arc::new(LogFiles::new(Arc::new(OwnRights)));
        let challenges = Arc::new(Challenges::new(clock.clone()));
        let stats = Arc::new(Stats::new(1));
        let parts = Parts {
            clock,
            dice: Arc::new(Fixed),
            challenges: challenges.clone(),
            opener: Arc::new(OwnRights),
            logs: logs.clone(),
            stats: stats.clone(),
            limits: Arc::default(),
            upstreams: Arc::default(),
            upstream_tls: Arc::new(NoUpstreamTls),
            counts: Arc::new([]),
            hostname: "box".into(),
            number: 0,
        };
        let worker = Worker::new(parts, plan.clone(), 1);
        Bench { worker, plan, challenges, logs, stats, folder }
    }

    /// A file below the folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A log, or any other file.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// A connection to the first listener.
    pub fn connection(&self, tls: Option<TlsFacts>) -> Rc<Connection> {
        let listener = &self.plan.http.as_ref().unwrap().listeners[0];
        let servers = listener.addresses[0].clone();
        let server = servers.default_server.clone();
        let bound = Bound { epoch: 1, plan: self.plan.clone(), listener: listener.address.clone(), servers, server };
        let remote = Endpoint::Tcp("192.0.2.7:4321".parse().unwrap());
        let local = Endpoint::Tcp("127.0.0.1:80".parse().unwrap());
        let ends = Ends { remote, local, proxied: None };
        Rc::new(Connection::new(7, ends, tls, bound, tokio::time::Instant::now()))
    }

    /// The answer to a GET on a connection of its own, sent to the end.
    pub async fn get(&self, target: &str) -> Seen {
        self.ask(request(self.connection(None), "GET", target, &[])).await
    }

    /// The answer to a GET with these fields.
    pub async fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Seen {
        self.ask(request(self.connection(None), "GET", target, fields)).await
    }

    /// The answer to a request, sent to the end.
    pub async fn ask(&self, request: Request) -> Seen {
        Seen::of(self.worker.call(request).await).await
    }
}

/// A request for `a.test`.
pub fn request(connection: Rc<Connection>, method: &str, target: &str, fields: &[(&str, &str)]) -> Request {
    let mut all = Fields::default();
    all.push("Host", "a.test");
    for (name, value) in fields {
        all.push(Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    }
    Request {
        method: Bytes::copy_from_slice(method.as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        version: Version::Http11,
        host: Some("a.test".into()),
        host_port: None,
        fields: all,
        line: Bytes::from(format!("{method} {target} HTTP/1.1")),
        head_length: 40,
        content_length: Some(0),
        body: Body::Empty,
        started: tokio::time::Instant::now(),
        connection,
    }
}

/// What a client would see.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub length: Option<u64>,
    pub body: Vec<u8>,
    pub close: bool,
}

impl Seen {
    /// Reads a response to its end and ends it.
    pub async fn of(mut response: Response) -> Seen {
        let mut body = Vec::new();
        while let Some(chunk) = response.body.chunk().await {
            body.extend_from_slice(&chunk.unwrap());
        }
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let fields = response.fields.iter().map(|field| (text(&field.name), text(&field.value))).collect();
        let body_bytes = body.len() as u64;
        let sent = Sent { bytes: body_bytes + 100, body_bytes, request_length: 40, complete: true, client_gone: false };
        if let Some(finish) = response.finish.take() {
            finish.finish(sent);
        }
        Seen { status: response.status, fields, length: response.content_length, body, close: response.close }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Names of all fields in order.
    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| &**name).collect()
    }
}

/// Runs `test` where a worker runs: one thread, local tasks.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(test));
}
