//! What does instant-acme see of the network? A client that keeps the directory, raises every refusal as a whole
//! [`Fault`], follows no redirect away from its origin, and remembers of each response what instant-acme drops:
//! Retry-After, Location, links to other chains, the moment at which an order or authorization expires.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use serde::Deserialize;

use super::fault::{self, Fault};
use super::jws::AccountKey;
use super::pacing::Pacing;
use super::proxy::Proxy;
use super::wire::{Wire, same_origin};
use crate::clock::{Clock, UnixTime};
use crate::plan::acme::AcmeServer;

/// A directory is asked for again after this time; if that fails, the one we have is used further.
const DIRECTORY_AGE: Duration = Duration::from_secs(3600);
/// When an authority does not say when to ask for renewal information again.
const RENEWAL_INFO: &str = "21600";
const USER_AGENT: &str = concat!("semper/", env!("CARGO_PKG_VERSION"));

/// The way to one authority, shared by all of its orders.
pub struct Transport {
    wire: Wire,
    clock: Arc<dyn Clock>,
    directory_url: String,
    directory: Mutex<Option<(UnixTime, Bytes)>>,
}

/// The parts of a directory (RFC 8555 7.1.1) that instant-acme keeps to itself or drops.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Where nonces come from.
    pub new_nonce: String,
    /// Where accounts are made.
    pub new_account: String,
    /// Where orders are placed.
    pub new_order: String,
    /// Where an account gets another key, if anywhere.
    pub key_change: Option<String>,
    /// Where certificates are revoked, if anywhere.
    pub revoke_cert: Option<String>,
    /// Where renewal information stands (RFC 9773), if anywhere.
    pub renewal_info: Option<String>,
    /// The rest.
    #[serde(default)]
    pub meta: Meta,
}

/// `meta` of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The terms that have to be accepted, if there are any.
    pub terms_of_service: Option<String>,
    /// An account needs an external account binding.
    #[serde(default)]
    pub external_account_required: bool,
    /// The names by which CAA records may let this authority in.
    #[serde(default)]
    pub caa_identities: Vec<String>,
    /// Profiles by name, each with a description.
    #[serde(default)]
    pub profiles: HashMap<String, String>,
}

/// What a response said besides its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Retry-After, as a moment.
    pub retry_after: Option<UnixTime>,
    /// Location.
    pub location: Option<String>,
    /// Links with `rel="alternate"`: other chains of the same certificate (RFC 8555 7.4.2).
    pub alternates: Vec<String>,
    /// The member `expires` of an order or authorization.
    pub expires: Option<UnixTime>,
    /// The body, if it is no JSON (a chain in PEM).
    pub text: Option<Bytes>,
}

impl Transport {
    /// The way to `server`; nothing is asked yet. The proxy is that of the environment.
    pub fn new(server: &AcmeServer, clock: Arc<dyn Clock>) -> Transport {
        let proxy = Proxy::from_environment(|name| std::env::var(name).ok());
        let directory = server.directory.parse::<Uri>();
        let pacing = Pacing::toward(&directory.as_ref().map_or_else(|_| server.directory.to_string(), origin));
        Transport {
            wire: Wire::new(server.trusted_certificate.clone(), server.verify, proxy, clock.clone(), pacing),
            clock,
            directory_url: server.directory.to_string(),
            directory: Mutex::default(),
        }
    }

    /// A client for one order; its notes are its own.
    pub fn session(self: &Arc<Self>) -> Session {
        Session { transport: self.clone(), notes: Arc::default(), key: None }
    }

    /// Sends a request and returns a response of success; everything else is a fault.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Fault> {
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let (method, mut uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
        let mut response = self.wire.exchange(request).await?;
        for _ in 0..3 {
            let Some(to) = redirection(&response) else { break };
            let target = target(&uri, &to);
            match target {
                Some(target) if method == Method::GET && same_origin(&uri, &target) => {
                    let mut again = Request::new(Bytes::new());
                    *again.uri_mut() = target.clone();
                    *again.headers_mut() = headers.clone();
                    uri = target;
                    response = self.wire.exchange(again).await?;
                }
                _ => return Err(Fault::Redirected { origin: origin(&uri), to }),
            }
        }
        match redirection(&response) {
            Some(to) => Err(Fault::Redirected { origin: origin(&uri), to }),
            None => {
                if let Some(date) = date(response.headers()) {
                    self.clock.heard(date);
                }
                Ok(response)
            }
        }
    }

    /// Asks for the directory, whatever is kept, to hear the authority's clock.
    pub async fn hear_the_time(&self) -> Result<(), Fault> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.directory_url.parse().map_err(|_| Fault::Url { url: self.directory_url.clone() })?;
        self.send(request).await.map(drop)
    }

    /// The directory: from the network if the one we have is old, else the one we have.
    pub async fn directory(&self) -> Result<Directory, Fault> {
        let text = self.directory_text().await?;
        serde_json::from_slice(&text).map_err(|error| Fault::Broken {
            origin: self.directory_url.clone(),
            detail: format!("not a directory: {error}"),
        })
    }

    /// The directory as it was last seen; nothing is asked.
    pub fn kept_directory(&self) -> Option<Directory> {
        let kept = self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        kept.and_then(|(_, text)| serde_json::from_slice(&text).ok())
    }

    /// Forgets the directory, because one of its URLs no longer answers.
    pub fn forget_directory(&self) {
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn directory_text(&self) -> Result<Bytes, Fault> {
        let kept = self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, text)) = &kept
            && self.clock.now().since(*at) < DIRECTORY_AGE
        {
            return Ok(text.clone());
        }
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.directory_url.parse().map_err(|_| Fault::Url { url: self.directory_url.clone() })?;
        let fetched = match self.send(request).await {
            Ok(response) => self.success(response).map(Response::into_body),
            Err(fault) => Err(fault),
        };
        let fetched = fetched.and_then(|text| match serde_json::from_slice::<Directory>(&text) {
            Ok(_) => Ok(text),
            Err(error) => {
                Err(Fault::Broken { origin: self.directory_url.clone(), detail: format!("not a directory: {error}") })
            }
        });
        match (fetched, kept) {
            (Ok(text), _) => {
                let mut slot = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = Some((self.clock.now(), text.clone()));
                Ok(text)
            }
            (Err(fault), Some((_, text))) => {
                tracing::info!("{fault}; the directory as it was is used further");
                Ok(text)
            }
            (Err(fault), None) => Err(fault),
        }
    }

    /// Turns a response that says no into a fault. `badNonce` passes: whoever signed has to sign again.
    pub fn success(&self, response: Response<Bytes>) -> Result<Response<Bytes>, Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = serde_json::from_slice::<Problem>(response.body()).ok();
        let bad_nonce = problem.as_ref().and_then(fault::kind) == Some("badNonce");
        if bad_nonce && status == StatusCode::BAD_REQUEST {
            return Ok(response);
        }
        Err(Fault::Status {
            status: status.as_u16(),
            problem,
            retry_after: retry_after(response.headers(), self.clock.now()),
            text: String::from_utf8_lossy(&response.body()[..response.body().len().min(400)]).into_owned(),
        })
    }
}

/// The client that one order gives to instant-acme.
#[derive(Clone)]
pub struct Session {
    transport: Arc<Transport>,
    notes: Arc<Mutex<HashMap<String, Note>>>,
    /// The account's key; it signs what instant-acme cannot sign.
    key: Option<Arc<AccountKey>>,
}

impl Session {
    /// The way it goes.
    pub fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// The same for the account of `key`. If that is of another kind than instant-acme's, every signed request is signed
    /// again on its way.
    pub fn of_account(self, key: AccountKey) -> Session {
        Session { key: Some(Arc::new(key)), ..self }
    }

    /// The key authorization of a token (RFC 8555 8.1), by our key, whatever key the library holds.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        Some(format!("{token}.{}", self.key.as_ref()?.thumbprint()))
    }

    /// What the last response from `url` said.
    pub fn note(&self, url: &str) -> Note {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned().unwrap_or_default()
    }

    async fn answer(self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Error> {
        let (parts, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let url = parts.uri.to_string();
        if parts.method == Method::GET && url == self.transport.directory_url {
            return Ok(Response::new(self.transport.directory_text().await?));
        }
        let body = match &self.key {
            Some(key) if parts.method == Method::POST && !key.is_known_to_library() => {
                key.again(&body).map(Bytes::from).ok_or(Error::Crypto)?
            }
            _ => body,
        };
        let (method, asks_renewal) = (parts.method.clone(), parts.method == Method::GET);
        let mut response = self.transport.send(Request::from_parts(parts, body)).await?;
        let note = note(&response, self.transport.clock.now());
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(url, note);
        if method == Method::HEAD && response.status() == StatusCode::NO_CONTENT {
            *response.status_mut() = StatusCode::OK; // RFC 8555 7.2 allows both; instant-acme knows one.
        }
        let mut response = self.transport.success(response)?;
        if asks_renewal && !response.headers().contains_key(header::RETRY_AFTER) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RENEWAL_INFO));
        }
        Ok(response)
    }
}

impl HttpClient for Session {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let session = self.clone();
        Box::pin(async move {
            let (parts, body) = session.answer(request).await?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

fn redirection(response: &Response<Bytes>) -> Option<String> {
    let to = response.headers().get(header::LOCATION)?;
    response.status().is_redirection().then(|| String::from_utf8_lossy(to.as_bytes()).into_owned())
}

fn target(from: &Uri, to: &str) -> Option<Uri> {
    if to.starts_with('/') && !to.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(to.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    to.parse().ok()
}

fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or(""), uri.authority().map_or("", |a| a.as_str()))
}

/// Date (RFC 9110 6.6.1).
fn date(headers: &HeaderMap) -> Option<UnixTime> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UnixTime::default() + date)
}

/// Retry-After (RFC 9110 10.2.3): seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<UnixTime> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(now + Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UnixTime::default() + date)
}

fn note(response: &Response<Bytes>, now: UnixTime) -> Note {
    #[derive(Deserialize)]
    struct Expires {
        expires: Option<String>,
    }
    let headers = response.headers();
    let json = serde_json::from_slice::<Expires>(response.body()).ok();
    let expires = json.as_ref().and_then(|json| json.expires.as_deref()?.parse::<jiff::Timestamp>().ok());
    Note {
        retry_after: retry_after(headers, now),
        location: headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned),
        alternates: headers.get_all(header::LINK).iter().filter_map(|v| v.to_str().ok()).flat_map(alternates).collect(),
        expires: expires.map(|at| UnixTime(at.as_millisecond())),
        text: json.is_none().then(|| response.body().clone()),
    }
}

/// The targets with `rel="alternate"` of a Link header (RFC 8288).
fn alternates(link: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = link;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((url, after)) = after.split_once('>') else { break };
        let parameters = after.split('<').next().unwrap_or_default();
        let alternate = parameters.split([';', ',']).any(|parameter| {
            let parameter: String = parameter.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
            parameter.eq_ignore_ascii_case("rel=alternate")
        });
        if alternate {
            found.push(url.to_owned());
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_other_chains_are_found_and_others_are_not() {
        let link =
            r#"<https://a/1>;rel="alternate", <https://a/index>; rel=index, <https://a/2>; title="x"; rel=alternate"#;
        assert_eq!(alternates(link), ["https://a/1", "https://a/2"]);
        assert_eq!(alternates("<https://a/1"), [""; 0]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let at = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, UnixTime::from_seconds(100))
        };
        assert_eq!(at("77"), Some(UnixTime::from_seconds(177)));
        assert_eq!(at("Thu, 01 Jan 1970 01:00:00 GMT"), Some(UnixTime::from_seconds(3600)));
        assert_eq!(at("soon"), None);
        assert!(at("99999999999999999999").is_none());
    }
}
