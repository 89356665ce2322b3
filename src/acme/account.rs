//! Who are we to an authority? Loads the account or registers it; key and account are on the shelf before they are
//! used. By default one key serves all issuers, so that one thumbprint answers for all of them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Around;
use super::fault::Fault;
use super::jws::AccountKey;
use super::keys;
use super::transport::{Directory, Transport};
use super::verdict::of_fault;
use crate::cert::bundle::PrivateKey;
use crate::cert::failure::Failure;
use crate::cert::journal::{self, Record};
use crate::plan::acme::{AccountKey as KeySource, AcmeServer};
use crate::plan::certificate::KeyKind;
use crate::words::SecretRef;

/// Attempts to sign one request anew because the nonce was refused (RFC 8555 6.5).
const NONCES: usize = 5;

mod upkeep;

/// Our account at one authority.
#[derive(Clone)]
pub struct Account {
    /// Its URL.
    pub url: String,
    /// Its key.
    pub key: PrivateKey,
}

/// Where the account of one issuer is looked up and made.
pub struct Registry {
    name: String,
    server: AcmeServer,
    transport: Arc<Transport>,
    around: Around,
    known: tokio::sync::Mutex<Option<Account>>,
}

impl Registry {
    /// Nothing is read or asked yet.
    pub fn new(name: &str, server: AcmeServer, transport: Arc<Transport>, around: Around) -> Registry {
        Registry { name: name.to_owned(), server, transport, around, known: tokio::sync::Mutex::default() }
    }

    /// The account: from memory, from the shelf, or registered now. One caller at a time; the others wait for it.
    pub async fn account(&self) -> Result<Account, Failure> {
        let mut known = self.known.lock().await;
        if let Some(account) = known.as_ref() {
            return Ok(account.clone());
        }
        let key = self.key()?;
        let Some((stored, next)) = self.stored(&key)? else {
            let url = self.register(&key).await?;
            return Ok(known.insert(Account { url, key: key.private().clone() }).clone());
        };
        let (url, key) = match next {
            // A change of key has begun, and nobody knows whether the authority heard of it.
            Some(next) if stored.thumbprint != next.thumbprint() => match self.change(&key, &next, &stored).await {
                Ok(()) => (stored.url, next),
                Err(why) => {
                    tracing::warn!("the account at {} keeps its key for now: {why}", self.name);
                    (stored.url, key)
                }
            },
            Some(next) => (stored.url, next),
            None => {
                self.tell_contacts(&key, &stored).await;
                (stored.url, key)
            }
        };
        Ok(known.insert(Account { url, key: key.private().clone() }).clone())
    }

    /// Forgets the account, because the authority does not know it (any more); the key stays.
    pub async fn forget(&self) {
        *self.known.lock().await = None;
        if let Err(error) = self.around.shelf.remove(&Record::Account(self.name.clone())) {
            tracing::error!("the account at {} cannot be forgotten: {error}", self.name);
        }
    }

    /// The account key: read, or made and kept. Its thumbprint answers challenges whose token we never saw.
    pub fn key(&self) -> Result<AccountKey, Failure> {
        let private = match &self.server.account_key {
            KeySource::Shared => self.kept_key(Record::SharedAccountKey, KeyKind::EcdsaP256)?,
            KeySource::Own(kind) => self.kept_key(Record::AccountKey(self.name.clone()), *kind)?,
            KeySource::File(path) => self.file_key(path)?,
        };
        let key = AccountKey::new(private).map_err(account)?;
        if self.server.account_key == KeySource::Shared {
            self.around.challenges.set_thumbprint(Some(&key.thumbprint()));
        }
        Ok(key)
    }

    fn kept_key(&self, record: Record, kind: KeyKind) -> Result<PrivateKey, Failure> {
        // Issuers share a shelf, and none may make a second shared key while another makes the first.
        static MAKING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = self.around.shelf.load(&record).map_err(local)? {
            match PrivateKey::from_pem(&text) {
                Ok(key) => return Ok(key),
                // Nobody will ever sign with it again; a new account costs nothing.
                Err(why) => {
                    tracing::error!(
                        "{}: the account key is damaged ({why}) and set aside; a new one is made",
                        self.name
                    );
                    self.around.shelf.set_aside(&record).map_err(local)?;
                }
            }
        }
        let key = keys::generate(kind).map_err(local)?;
        self.around.shelf.save(&record, key.to_pem().as_bytes()).map_err(local)?;
        Ok(key)
    }

    fn file_key(&self, path: &Path) -> Result<PrivateKey, Failure> {
        let text = self.around.secrets.read(&SecretRef::File(path.to_owned()));
        let text = text.map_err(|error| account(format!("{}: {error}", path.display())))?;
        PrivateKey::from_pem(&text).map_err(|error| account(format!("{}: {error}", path.display())))
    }

    async fn register(&self, key: &AccountKey) -> Result<String, Failure> {
        let directory = self.transport.directory().await.map_err(|fault| of_fault(&fault))?;
        let payload = self.payload(key, &directory)?;
        let target = &directory.new_account;
        let response = self.post(&directory, target, |nonce| key.new_account(target, nonce, &payload)).await?;
        let url = response.headers().get(header::LOCATION).and_then(|url| url.to_str().ok());
        let url = url.ok_or_else(|| account("the authority gave no account URL"))?.to_owned();
        let kept = journal::Account {
            version: journal::VERSION,
            authority: self.server.directory.to_string(),
            url: url.clone(),
            thumbprint: key.thumbprint(),
            contacts: self.contacts(),
        };
        // A disk that refuses must not stop an order: the same key gets the same account again.
        if let Err(error) = self.around.shelf.save(&Record::Account(self.name.clone()), &kept.write()) {
            tracing::error!("the account at {} cannot be written down: {error}", self.name);
        }
        tracing::info!("account {url} stands at {}", self.name);
        Ok(url)
    }

    fn payload(&self, key: &AccountKey, directory: &Directory) -> Result<Value, Failure> {
        let mut payload = json!({ "contact": self.contacts() });
        if let Some(terms) = &directory.meta.terms_of_service {
            if !self.server.terms_accepted {
                return Err(account(format!("its terms of service ({terms}) are not accepted in the configuration")));
            }
            payload["termsOfServiceAgreed"] = Value::Bool(true);
        }
        match &self.server.external_account {
            Some(external) => {
                let secret = self.around.secrets.read(&external.key);
                let secret = secret.map_err(|error| account(format!("{}: {error}", external.key)))?;
                let secret = decode(&secret).ok_or_else(|| account(format!("{}: not base64url", external.key)))?;
                payload["externalAccountBinding"] = key.binding(&external.kid, &secret, &directory.new_account);
            }
            None if directory.meta.external_account_required => {
                return Err(account("it asks for an external account, and none is configured"));
            }
            None => {}
        }
        Ok(payload)
    }

    /// Posts to `target` what `sign` makes of a nonce.
    async fn post(
        &self,
        directory: &Directory,
        target: &str,
        sign: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Response<Bytes>, Failure> {
        let mut nonce = None;
        for _ in 0..NONCES {
            let fresh = match nonce.take() {
                Some(nonce) => nonce,
                None => self.nonce(directory).await?,
            };
            let body = sign(&fresh).ok_or_else(|| account("the request cannot be signed"))?;
            let mut request = Request::new(Bytes::from(body));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = url(target)?;
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jose+json"));
            let answer = self.transport.send(request).await.and_then(|response| self.transport.success(response));
            let response = answer.map_err(|fault| match of_fault(&fault) {
                // Whatever it is about, it is about the account.
                Failure::Refused { detail, .. } | Failure::Lost { detail } => Failure::Account { detail },
                other => other,
            })?;
            // Only a refused nonce comes back as a response with this status.
            if response.status() != StatusCode::BAD_REQUEST {
                return Ok(response);
            }
            nonce = nonce_of(&response);
        }
        Err(Failure::Unreachable { detail: "it refuses every nonce".into() })
    }

    async fn nonce(&self, directory: &Directory) -> Result<String, Failure> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = url(&directory.new_nonce)?;
        let answer = self.transport.send(request).await.and_then(|response| self.transport.success(response));
        let response = answer.map_err(|fault| of_fault(&fault))?;
        nonce_of(&response).ok_or_else(|| Failure::Unreachable { detail: "it gave no nonce".into() })
    }

    fn contacts(&self) -> Vec<String> {
        let full = |contact: &String| if contact.contains(':') { contact.clone() } else { format!("mailto:{contact}") };
        self.server.contacts.iter().map(full).collect()
    }
}

fn nonce_of(response: &Response<Bytes>) -> Option<String> {
    Some(response.headers().get("replay-nonce")?.to_str().ok()?.to_owned())
}

fn url(text: &str) -> Result<http::Uri, Failure> {
    text.parse().map_err(|_| of_fault(&Fault::Url { url: text.to_owned() }))
}

/// The HMAC key of an external account: base64url, with or without padding; base64 is forgiven.
fn decode(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim_ascii();
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    let text = &text[..end];
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok().map(Zeroizing::new)
}

fn account(detail: impl std::fmt::Display) -> Failure {
    Failure::Account { detail: detail.to_string() }
}

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::Local { detail: error.to_string() }
}
