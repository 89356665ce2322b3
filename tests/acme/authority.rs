//! An ACME server that does as it is told, also wrongly: orders, challenges that are valid at once, real certificates,
//! renewal information, and a fault for any request.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::origin::{Origin, Received, Reply};

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// This instead of an answer, and nothing is done.
    Instead(u16, Vec<String>, String),
    /// The connection ends without an answer, and nothing is done.
    HangUp,
    /// It is done, but the answer never comes.
    AnswerLost,
    /// Nothing is said for a long time.
    Silence,
    /// The object stays in this status for ever.
    Stuck(&'static str),
    /// The authorization has a token like this.
    Token(&'static str),
    /// The authorization is invalid, with these words.
    Invalid(&'static str),
    /// The certificate is for another key, other names, has ended, or is cut.
    Certificate(Bad),
    /// `replaces` is accepted, and not echoed.
    NoEcho,
}

#[derive(Clone, Copy)]
pub enum Bad {
    Key,
    Names,
    Expired,
    Cut,
    Html,
    Huge,
}

struct Rule {
    endpoint: &'static str,
    /// The object's number, for objects that have one.
    object: Option<usize>,
    times: usize,
    met: bool,
    fault: Fault,
}

struct Order {
    names: Vec<Value>,
    valid: bool,
    csr: Option<Vec<u8>>,
    replaces: Option<String>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    orders: Vec<Order>,
    log: Vec<String>,
    nonce: u64,
    /// The answer about certificates: seconds from now, begin and end; none: 404.
    window: Option<(i64, i64)>,
    life: i64,
}

/// The server; stops when dropped.
pub struct FakeCa {
    origin: Origin,
    state: Arc<Mutex<State>>,
}

impl FakeCa {
    pub fn start() -> FakeCa {
        let root = Root::new();
        let state = Arc::new(Mutex::new(State { life: 86_400, ..State::default() }));
        let inner = state.clone();
        let origin = Origin::start(move |request| answer(&inner, &root, request));
        FakeCa { origin, state }
    }

    pub fn directory(&self) -> String {
        format!("http://{}/dir", self.origin.address())
    }

    /// The next `times` requests to `endpoint` (of object number `object`, if given) go wrong.
    pub fn fault(&self, endpoint: &'static str, object: Option<usize>, times: usize, fault: Fault) {
        self.state.lock().unwrap().rules.push(Rule { endpoint, object, times, met: false, fault });
    }

    pub fn suggest(&self, window: Option<(i64, i64)>) {
        self.state.lock().unwrap().window = window;
    }

    /// Whether every fault happened at least once.
    pub fn all_met(&self) -> bool {
        self.state.lock().unwrap().rules.iter().all(|rule| rule.met)
    }

    /// What each order said it replaces.
    pub fn orders(&self) -> Vec<Option<String>> {
        self.state.lock().unwrap().orders.iter().map(|order| order.replaces.clone()).collect()
    }

    /// Method and path of every request.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }
}

struct Root {
    certificate: String,
    key: rcgen::KeyPair,
}

impl Root {
    fn new() -> Root {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "fake root");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Root { certificate: params.self_signed(&key).unwrap().pem(), key }
    }

    fn chain(&self, order: &Order, bad: Option<Bad>, life: i64) -> String {
        let key = rcgen::KeyPair::try_from(self.key.serialize_der()).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&self.certificate, key).unwrap();
        let csr = order.csr.clone().unwrap().into();
        let mut request = rcgen::CertificateSigningRequestParams::from_der(&csr).unwrap();
        let now = time::OffsetDateTime::now_utc();
        request.params.not_before = now - time::Duration::seconds(60);
        request.params.not_after = now + time::Duration::seconds(life);
        request.params.use_authority_key_identifier_extension = true;
        request.params.serial_number =
            Some(rcgen::SerialNumber::from(now.unix_timestamp_nanos().to_be_bytes().to_vec()));
        match bad {
            Some(Bad::Names) => {
                request.params.subject_alt_names = vec![rcgen::SanType::DnsName("other.test".try_into().unwrap())];
            }
            Some(Bad::Expired) => {
                request.params.not_before = now - time::Duration::days(2);
                request.params.not_after = now - time::Duration::days(1);
            }
            Some(Bad::Key) => {
                let other = rcgen::KeyPair::generate().unwrap();
                return request.params.signed_by(&other, &issuer).unwrap().pem() + &self.certificate;
            }
            _ => {}
        }
        let chain = request.signed_by(&issuer).unwrap().pem() + &self.certificate;
        match bad {
            Some(Bad::Cut) => chain[..chain.len() - 200].to_owned(),
            Some(Bad::Html) => "<!DOCTYPE html><title>Sorry</title>".into(),
            Some(Bad::Huge) => chain + &"\n".repeat(8 << 20),
            _ => chain,
        }
    }
}

fn answer(state: &Mutex<State>, root: &Root, request: &Received) -> Reply {
    let mut state = state.lock().unwrap();
    let method = request.line.split(' ').next().unwrap_or_default();
    let path = request.target().to_owned();
    state.log.push(format!("{method} {path}"));
    let mut parts = path.trim_start_matches('/').split('/');
    let endpoint = parts.next().unwrap_or_default().to_owned();
    let object = parts.next().and_then(|number| number.parse::<usize>().ok());
    let rule = state
        .rules
        .iter_mut()
        .find(|rule| rule.times > 0 && rule.endpoint == endpoint && (rule.object.is_none() || rule.object == object));
    let fault = rule.map(|rule| {
        rule.times -= 1;
        rule.met = true;
        rule.fault.clone()
    });
    match &fault {
        Some(Fault::Instead(status, headers, body)) => {
            let mut all: Vec<&str> = headers.iter().map(String::as_str).collect();
            let nonce = nonce(&mut state);
            all.push(&nonce);
            return Reply::with(*status, &all, body);
        }
        Some(Fault::HangUp) => return Reply::hang_up(),
        Some(Fault::Silence) => {
            drop(state);
            std::thread::sleep(std::time::Duration::from_secs(40));
            return Reply::hang_up();
        }
        _ => {}
    }
    let base = format!("http://{}", request.header("host").unwrap_or_default());
    let (status, mut headers, body) = act(&mut state, root, &endpoint, object, &base, payload(request), fault.as_ref());
    if let Some(Fault::AnswerLost) = fault {
        return Reply::hang_up();
    }
    headers.push(nonce(&mut state));
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    Reply::with(status, &headers, body)
}

fn nonce(state: &mut State) -> String {
    state.nonce += 1;
    format!("Replay-Nonce: nonce{}", state.nonce)
}

fn payload(request: &Received) -> Value {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let payload = URL_SAFE_NO_PAD.decode(body["payload"].as_str().unwrap_or_default()).unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_default()
}

fn act(
    state: &mut State,
    root: &Root,
    endpoint: &str,
    object: Option<usize>,
    base: &str,
    payload: Value,
    fault: Option<&Fault>,
) -> (u16, Vec<String>, String) {
    let missing =
        || (404, vec![], r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"no such thing"}"#.into());
    let (window, life) = (state.window, state.life);
    match (endpoint, object) {
        ("dir", _) => (
            200,
            vec![],
            json!({
                "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/acct"),
                "newOrder": format!("{base}/order"), "renewalInfo": format!("{base}/ari"),
            })
            .to_string(),
        ),
        ("nonce", _) => (200, vec![], String::new()),
        ("acct", _) => (201, vec![format!("Location: {base}/a/1")], r#"{"status":"valid"}"#.into()),
        ("ari", _) => match window {
            Some((start, end)) => {
                let at = |seconds| jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
                let window = json!({ "start": at(start).to_string(), "end": at(end).to_string() });
                (200, vec!["Retry-After: 3600".into()], json!({ "suggestedWindow": window }).to_string())
            }
            None => missing(),
        },
        ("order", _) => {
            let replaces = payload["replaces"].as_str().map(str::to_owned);
            let names = payload["identifiers"].as_array().cloned().unwrap_or_default();
            let number = state.orders.len();
            state.orders.push(Order { names, valid: false, csr: None, replaces });
            let mut body = describe(&state.orders[number], number, base, fault);
            if matches!(fault, Some(Fault::NoEcho)) {
                body["replaces"] = Value::Null;
            }
            (201, vec![format!("Location: {base}/o/{number}")], body.to_string())
        }
        (_, Some(number)) if number < state.orders.len() => {
            let order = &mut state.orders[number];
            match endpoint {
                "o" => (200, vec![], describe(order, number, base, fault).to_string()),
                "z" if payload["status"] == "deactivated" => (
                    200,
                    vec![],
                    r#"{"status":"deactivated","challenges":[],"identifier":{"type":"dns","value":"a.test"}}"#.into(),
                ),
                "z" => (200, vec![], authorization(order, number, base, fault).to_string()),
                "c" => {
                    order.valid = true;
                    (200, vec![], challenge(number, base, "valid", "t0k3n-t0k3n-t0k3n-t0k3n-t0k3n").to_string())
                }
                "f" => {
                    order.csr = URL_SAFE_NO_PAD.decode(payload["csr"].as_str().unwrap_or_default()).ok();
                    (200, vec![], describe(order, number, base, fault).to_string())
                }
                "cert" => {
                    let bad = match fault {
                        Some(Fault::Certificate(bad)) => Some(*bad),
                        _ => None,
                    };
                    (200, vec![], root.chain(order, bad, life))
                }
                _ => missing(),
            }
        }
        _ => missing(),
    }
}

fn describe(order: &Order, number: usize, base: &str, fault: Option<&Fault>) -> Value {
    let status = match (fault, order.valid, &order.csr) {
        (Some(Fault::Stuck(status)), ..) => status,
        (_, false, _) => "pending",
        (_, true, None) => "ready",
        (_, true, Some(_)) => "valid",
    };
    let mut body = json!({
        "status": status, "identifiers": order.names, "authorizations": [format!("{base}/z/{number}")],
        "finalize": format!("{base}/f/{number}"), "replaces": order.replaces,
    });
    if status == "valid" {
        body["certificate"] = json!(format!("{base}/cert/{number}"));
    }
    body
}

fn authorization(order: &Order, number: usize, base: &str, fault: Option<&Fault>) -> Value {
    let token = match fault {
        Some(Fault::Token(token)) => token,
        _ => "t0k3n-t0k3n-t0k3n-t0k3n-t0k3n",
    };
    let status = match fault {
        Some(Fault::Stuck(status)) => status,
        Some(Fault::Invalid(_)) => "invalid",
        _ if order.valid => "valid",
        _ => "pending",
    };
    let mut challenge = challenge(number, base, status, token);
    if let Some(Fault::Invalid(words)) = fault {
        challenge["error"] = json!({ "type": "urn:ietf:params:acme:error:connection", "detail": words });
    }
    json!({ "status": status, "identifier": order.names[0], "challenges": [challenge] })
}

fn challenge(number: usize, base: &str, status: &str, token: &str) -> Value {
    let status = if status == "invalid" || status == "valid" { status } else { "pending" };
    json!({ "type": "http-01", "url": format!("{base}/c/{number}"), "token": token, "status": status })
}
