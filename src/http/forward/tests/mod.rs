//! Does forwarding keep its promises against upstreams of every kind? Real sockets on loopback, upstreams written here.

mod answers;
mod asked;
mod failures;
mod requests;

use super::{Asked, Forwarder};
use crate::clock::Dice;
use crate::http::answer::{Answer, Turn};
use crate::http::message::{Body, BodyError};
use crate::net::dial::UpstreamTlsConfigs;
use crate::plan::proxy::{Proxy, ProxyTo};
use crate::plan::template::Template;
use crate::plan::tls::UpstreamTls;
use crate::plan::upstream::{Balance, Upstream, UpstreamAddress, UpstreamKeepalive, UpstreamServer};
use crate::words::Place;
use crate::zone::upstreams::Upstreams;
use asked::Fake;
use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct NoDice;
impl Dice for NoDice {
    fn draw(&self) -> f64 {
        0.0
    }
}

struct NoTls;
impl UpstreamTlsConfigs for NoTls {
    fn config(&self, _: &Arc<UpstreamTls>) -> Arc<rustls::ClientConfig> {
        unreachable!("no test here speaks TLS")
    }
}

pub(super) fn forwarder() -> Rc<Forwarder> {
    Forwarder::new(Arc::new(Upstreams::default()), Arc::new(NoTls), Arc::new(NoDice))
}

/// Runs a test on a worker of its own; a test that hangs fails.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, within);
}

/// What an upstream does with one connection, step by step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Reads a head and this many bytes of body.
    Read(usize),
    /// Sends these bytes.
    Send(&'static str),
    /// Sends this many bytes `x`.
    Fill(usize),
    /// Does nothing for so many milliseconds.
    Wait(u64),
    /// Sends back whatever comes, until the end.
    Echo,
}

/// An upstream whose n-th connection goes by the n-th script; the last one counts for all that follow.
pub(super) struct Scripted {
    pub address: SocketAddr,
    /// Everything that was read, connection by connection.
    pub heard: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Scripted {
    pub(super) async fn new(scripts: Vec<Vec<Step>>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Rc::new(RefCell::new(Vec::new()));
        let all = heard.clone();
        tokio::task::spawn_local(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let script = scripts[number.min(scripts.len() - 1)].clone();
                all.borrow_mut().push(Vec::new());
                tokio::task::spawn_local(play(stream, script, all.clone(), number));
            }
        });
        Scripted { address, heard }
    }

    pub(super) fn connections(&self) -> usize {
        self.heard.borrow().len()
    }

    /// What connection `number` heard, as text.
    pub(super) fn text(&self, number: usize) -> String {
        String::from_utf8_lossy(&self.heard.borrow()[number]).into_owned()
    }
}

async fn play(mut stream: TcpStream, script: Vec<Step>, heard: Rc<RefCell<Vec<Vec<u8>>>>, number: usize) {
    for step in script {
        match step {
            Step::Read(body) => {
                let mut got = Vec::new();
                loop {
                    let head = got.windows(4).position(|four| four == b"\r\n\r\n");
                    if head.is_some_and(|at| got.len() >= at + 4 + body) {
                        break;
                    }
                    let mut chunk = [0; 4096];
                    match stream.read(&mut chunk).await {
                        Ok(count) if count > 0 => {
                            got.extend_from_slice(&chunk[..count]);
                            heard.borrow_mut()[number].extend_from_slice(&chunk[..count]);
                        }
                        _ => return,
                    }
                }
            }
            Step::Send(text) => drop(stream.write_all(text.as_bytes()).await),
            Step::Fill(count) => drop(stream.write_all(&vec![b'x'; count]).await),
            Step::Wait(time) => tokio::time::sleep(Duration::from_millis(time)).await,
            Step::Echo => {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        }
    }
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

pub(super) fn upstream(addresses: &[SocketAddr]) -> Upstream {
    let server = |address: &SocketAddr| UpstreamServer::new(address.to_string(), [UpstreamAddress::Tcp(*address)]);
    Upstream {
        name: "app".into(),
        implicit: false,
        place: Place::built_in(),
        servers: addresses.iter().map(server).collect(),
        balance: Balance::RoundRobin,
        keepalive: None,
        zone: None,
    }
}

pub(super) fn kept(addresses: &[SocketAddr]) -> Upstream {
    let hour = Duration::from_secs(3600);
    let keepalive = UpstreamKeepalive { connections: 4, requests: 1000, time: hour, timeout: hour };
    Upstream { keepalive: Some(keepalive), ..upstream(addresses) }
}

/// `proxy_pass http://app;` with nginx's defaults, save HTTP/1.1 and no `Connection: close`.
pub(super) fn proxy(upstream: Upstream) -> Proxy {
    let second = Duration::from_secs(1);
    Proxy {
        http11: true,
        set_headers: Box::new([("Host".into(), Template::literal("app")), ("Connection".into(), Template::default())]),
        connect_timeout: second,
        send_timeout: second,
        read_timeout: second,
        temp_path: std::env::temp_dir(),
        ..Proxy::to(ProxyTo::Upstream(Arc::new(upstream)), "app")
    }
}

pub(super) async fn text(body: &mut Body) -> Result<String, BodyError> {
    let mut all = Vec::new();
    while let Some(piece) = body.chunk().await {
        all.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8(all).unwrap())
}

/// Forwards one request.
pub(super) async fn ask(forwarder: &Rc<Forwarder>, fake: &mut Fake, proxy: &Proxy) -> Result<Answer, Turn> {
    forwarder.forward(fake, &Arc::new(proxy.clone())).await.map(|answer| *answer)
}

/// Forwards one request, which is answered, and reads the body.
pub(super) async fn get(forwarder: &Rc<Forwarder>, fake: &mut Fake, proxy: &Proxy) -> (Answer, String) {
    let mut answer = ask(forwarder, fake, proxy).await.unwrap();
    let body = text(&mut answer.body).await.unwrap();
    (answer, body)
}

/// The facts of all tries, as the log shows them.
pub(super) fn statuses(fake: &Fake) -> Vec<u16> {
    fake.upstreamed().tries.borrow().iter().map(|fact| fact.status).collect()
}
