//! How does a real authority misbehave on demand? A TLS proxy before Pebble that passes everything on until it is told
//! what goes wrong with which request. Pebble builds its URLs from the Host that it is asked by, so all of them lead
//! through here.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::ca::{self, Ca};
use super::client::{Answer, Tls};
use super::pebble::Pebble;

/// What goes wrong with a request.
#[derive(Clone)]
pub enum Wrong {
    /// This comes instead of an answer, and Pebble hears nothing.
    Instead(u16, Vec<String>, String),
    /// The connection is reset before anything happens.
    Reset,
    /// Pebble does it, and the answer is lost.
    AnswerLost,
    /// Nothing is said for this long, then the connection ends.
    Silence(Duration),
    /// The answer comes one byte a second.
    Drip,
    /// The answer comes without its Replay-Nonce.
    NoNonce,
    /// The answer's body is cut in the middle, and its length still promised.
    Torn,
    /// The answer's JSON has another status.
    Status(&'static str),
    /// The answer's body is this.
    Body(&'static str),
    /// The answer's body is followed by this many newlines.
    Huge(usize),
    /// The first text stands in the answer's body as the second.
    Replaced(&'static str, &'static str),
    /// Every token in the answer is this one.
    Token(&'static str),
    /// The chain is another one.
    Certificate(Forged),
    /// The chain is what this makes of the request.
    Signed(Arc<Sign>),
}

/// Signs a request; the chain.
pub type Sign = dyn Fn(rcgen::CertificateSigningRequestParams) -> String + Send + Sync;

/// A certificate that is no good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Forged {
    Key,
    Names,
    Expired,
    Cut,
}

/// Which requests it happens to.
#[derive(Clone, Copy)]
pub enum When {
    /// The first so many.
    Times(usize),
    /// Every one about the first object that is asked for, and none about a later object.
    FirstObject,
    /// Every one until so long after the first.
    For(Duration),
}

/// A fault: requests whose path begins so, when, and what.
#[derive(Clone)]
pub struct Fault {
    pub path: &'static str,
    pub when: When,
    pub wrong: Wrong,
}

#[derive(Default)]
struct State {
    faults: Vec<Live>,
    seen: Vec<(Instant, String, u16)>,
    /// The request for a certificate that came last, DER.
    csr: Vec<u8>,
    deactivated: usize,
}

struct Live {
    fault: Fault,
    met: usize,
    first: Option<(Instant, String)>,
}

/// The proxy; it stops taking connections when dropped.
pub struct Faulty {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct Way {
    pebble: u16,
    tls: Tls,
    own: Ca,
    config: Arc<ServerConfig>,
    port: u16,
}

impl Faulty {
    /// Stands before `pebble` with `faults`; its own certificate is of `ca`.
    pub fn before(pebble: &Pebble, ca: &Ca, faults: Vec<Fault>) -> Faulty {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let issued = ca.issue(&["localhost"]);
        let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let tls = Tls::trusting(&std::fs::read_to_string(pebble.trusted()).unwrap());
        let own = Ca::new("an authority of its own");
        let way = Arc::new(Way { pebble: pebble.port(), tls, own, config, port });
        let live = |fault| Live { fault, met: 0, first: None };
        let faults = faults.into_iter().map(live).collect();
        let state = Arc::new(Mutex::new(State { faults, ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (way, state) = (way.clone(), shared.clone());
                std::thread::spawn(move || serve(&way, &state, stream));
            }
        });
        Faulty { port, state }
    }

    /// From now on this goes wrong too.
    pub fn spoil(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push(Live { fault, met: 0, first: None });
    }

    /// URL of the ACME directory, through the proxy.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// Whether every fault happened at least once.
    pub fn all_met(&self) -> bool {
        self.state.lock().unwrap().faults.iter().all(|live| live.met > 0)
    }

    /// Orders that Pebble has accepted.
    pub fn orders(&self) -> usize {
        self.state.lock().unwrap().seen.iter().filter(|(_, line, s)| line == "POST /order-plz" && *s == 201).count()
    }

    /// Authorizations that were given up.
    pub fn deactivated(&self) -> usize {
        self.state.lock().unwrap().deactivated
    }

    /// The largest number of requests within any `window`.
    pub fn most_within(&self, window: Duration) -> usize {
        let state = self.state.lock().unwrap();
        let times: Vec<Instant> = state.seen.iter().map(|(at, ..)| *at).collect();
        times
            .iter()
            .map(|from| times.iter().filter(|at| *at >= from && **at < *from + window).count())
            .max()
            .unwrap_or(0)
    }

    /// Every request, with the moment since the first, and Pebble's answer (0: it never heard of it).
    pub fn log(&self) -> String {
        let state = self.state.lock().unwrap();
        let Some((first, ..)) = state.seen.first() else { return "no request".into() };
        let line = |(at, line, status): &(Instant, String, u16)| {
            format!("{:>7.2} {line} {status}\n", at.duration_since(*first).as_secs_f32())
        };
        state.seen.iter().map(line).collect()
    }
}

fn serve(way: &Way, state: &Mutex<State>, tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    let Ok(raw) = tcp.try_clone() else { return };
    let Ok(session) = ServerConnection::new(way.config.clone()) else { return };
    let mut stream = BufReader::new(StreamOwned::new(session, tcp));
    while let Some((line, headers, body)) = receive(&mut stream) {
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        note(state, path, &body);
        let wrong = choose(state, path);
        let heard = |status: u16| {
            state.lock().unwrap().seen.push((Instant::now(), format!("{method} {path}"), status));
        };
        let plain = |status: u16, more: &[String], body: &str| {
            let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
            format!("HTTP/1.1 {status} Wrong\r\nContent-Length: {}\r\n{more}\r\n{body}", body.len()).into_bytes()
        };
        let bytes = match wrong {
            Some(Wrong::Reset) => {
                heard(0);
                let _ = socket2::SockRef::from(&raw).set_linger(Some(Duration::ZERO));
                return;
            }
            Some(Wrong::Silence(time)) => {
                heard(0);
                std::thread::sleep(time);
                return;
            }
            Some(Wrong::Instead(status, more, body)) => {
                heard(0);
                plain(status, &more, &body)
            }
            wrong => {
                let Some(answer) = ask(way, method, path, &headers, &body) else { return };
                heard(answer.status);
                if matches!(wrong, Some(Wrong::AnswerLost)) {
                    let _ = socket2::SockRef::from(&raw).set_linger(Some(Duration::ZERO));
                    return;
                }
                let drips = matches!(wrong, Some(Wrong::Drip));
                let torn = matches!(wrong, Some(Wrong::Torn));
                let bytes = spoil(way, state, answer, wrong);
                let bytes = if torn { bytes[..bytes.len() - 40].to_vec() } else { bytes };
                for byte in bytes.iter().filter(|_| drips) {
                    if stream.get_mut().write_all(&[*byte]).and_then(|()| stream.get_mut().flush()).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_secs(1)); // the fault itself
                }
                if torn {
                    let _ = stream.get_mut().write_all(&bytes);
                    let _ = stream.get_mut().flush();
                    return;
                }
                bytes
            }
        };
        if stream.get_mut().write_all(&bytes).and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}

type Request = (String, Vec<String>, Vec<u8>);

fn receive(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = || {
        let mut text = String::new();
        stream.read_line(&mut text).ok().filter(|read| *read > 0).map(|_| text.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        match line()? {
            end if end.is_empty() => break,
            field => headers.push(field),
        }
    }
    let length = headers.iter().filter_map(|field| field.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.filter_map(|(_, value)| value.trim().parse::<usize>().ok()).next().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((first, headers, body))
}

/// The fault that this request meets.
fn choose(state: &Mutex<State>, path: &str) -> Option<Wrong> {
    let now = Instant::now();
    let mut state = state.lock().unwrap();
    let live = state.faults.iter_mut().find(|live| {
        path.starts_with(live.fault.path)
            && match (live.fault.when, &live.first) {
                (When::Times(times), _) => live.met < times,
                (_, None) => true,
                (When::FirstObject, Some((_, object))) => object == path,
                (When::For(time), Some((begun, _))) => now < *begun + time,
            }
    })?;
    live.met += 1;
    live.first.get_or_insert_with(|| (now, path.to_owned()));
    Some(live.fault.wrong.clone())
}

fn note(state: &Mutex<State>, path: &str, body: &[u8]) {
    let decoded = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let outer: Value = serde_json::from_slice(body).unwrap_or_default();
    let inner: Value = serde_json::from_slice(&decoded(&outer["payload"])).unwrap_or_default();
    let mut state = state.lock().unwrap();
    if path.starts_with("/finalize-order") {
        state.csr = decoded(&inner["csr"]);
    }
    state.deactivated += usize::from(inner["status"] == "deactivated");
}

/// Pebble's own answer.
fn ask(way: &Way, method: &str, path: &str, headers: &[String], body: &[u8]) -> Option<Answer> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n", way.port);
    let passed = ["content-type", "content-length", "user-agent", "accept", "accept-language"];
    for field in headers {
        if field.split_once(':').is_some_and(|(name, _)| passed.contains(&&*name.to_ascii_lowercase())) {
            request.push_str(&format!("{field}\r\n"));
        }
    }
    let mut request = format!("{request}\r\n").into_bytes();
    request.extend_from_slice(body);
    let bytes = way.tls.exchange(way.pebble, "localhost", &request).ok()?;
    Answer::parse(&bytes, method == "HEAD").map(|(answer, _)| answer)
}

/// The answer as it goes out.
fn spoil(way: &Way, state: &Mutex<State>, answer: Answer, wrong: Option<Wrong>) -> Vec<u8> {
    let mut body = answer.body.clone();
    match &wrong {
        Some(Wrong::Status(status)) => {
            let mut value: Value = serde_json::from_slice(&body).unwrap_or_default();
            value["status"] = Value::from(*status);
            body = value.to_string().into_bytes();
        }
        Some(Wrong::Body(text)) => body = text.as_bytes().to_vec(),
        Some(Wrong::Replaced(from, to)) => body = String::from_utf8_lossy(&body).replace(from, to).into_bytes(),
        Some(Wrong::Huge(newlines)) => body.resize(body.len() + newlines, b'\n'),
        Some(Wrong::Token(token)) => {
            let mut value: Value = serde_json::from_slice(&body).unwrap_or_default();
            for challenge in value["challenges"].as_array_mut().into_iter().flatten() {
                challenge["token"] = Value::from(*token);
            }
            body = value.to_string().into_bytes();
        }
        Some(Wrong::Certificate(forged)) => body = forge(way, state, &body, *forged),
        Some(Wrong::Signed(sign)) => body = sign(request(state)).into_bytes(),
        _ => {}
    }
    let mut head = format!("{}\r\nContent-Length: {}\r\n", answer.line, body.len());
    let dropped = ["content-length", "transfer-encoding", "connection"];
    for (name, value) in &answer.headers {
        let nonce = matches!(wrong, Some(Wrong::NoNonce)) && name.eq_ignore_ascii_case("replay-nonce");
        if !nonce && !dropped.contains(&&*name.to_ascii_lowercase()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let mut bytes = format!("{head}\r\n").into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

/// The request for a certificate that came last.
fn request(state: &Mutex<State>) -> rcgen::CertificateSigningRequestParams {
    let csr = state.lock().unwrap().csr.clone();
    rcgen::CertificateSigningRequestParams::from_der(&csr.into()).unwrap()
}

/// A chain that must not be taken.
fn forge(way: &Way, state: &Mutex<State>, good: &[u8], forged: Forged) -> Vec<u8> {
    if forged == Forged::Cut {
        return good[..good.len() - 200].to_vec();
    }
    let request = request(state);
    let names = request.params.subject_alt_names.iter().filter_map(|name| match name {
        rcgen::SanType::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    });
    let names: Vec<String> = names.collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let day = Duration::from_secs(86_400);
    match forged {
        Forged::Key => way.own.issue(&names).chain.into_bytes(),
        Forged::Names => way.own.sign(request, &["other.test"], ca::now() - day, ca::now() + day).into_bytes(),
        _ => way.own.sign(request, &names, ca::now() - day * 2, ca::now() - day).into_bytes(),
    }
}
