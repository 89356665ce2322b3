//! How is a record written at an acme-dns server? One POST with the account's credentials (its `/update`); the server
//! answers for a name of its own, to which the CNAME of the challenge leads.

use bytes::Bytes;
use http::{Request, header};
use serde::Deserialize;
use zeroize::Zeroize;

use super::{Dns01, Dns01Error, Standing};
use crate::acme::pacing::Pacing;
use crate::acme::proxy::Proxy;
use crate::acme::wire::Wire;
use crate::cert::dns01;
use crate::plan::dns::{DnsProvider, Method};
use crate::words::{DomainName, SecretRef};

/// An account, as `/register` answers and as other clients store it.
#[derive(Deserialize)]
struct Account {
    username: String,
    password: String,
    #[serde(alias = "fullDomain")]
    fulldomain: String,
    #[serde(alias = "subDomain")]
    subdomain: String,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.username.zeroize();
        self.password.zeroize();
    }
}

/// The name that the CNAME of `name` has to lead to, in lower case without the last dot.
pub fn full_domain(ours: &Dns01, accounts: &SecretRef, name: &DomainName) -> Result<String, Dns01Error> {
    let account = account(ours, accounts, name)?;
    Ok(account.fulldomain.trim_end_matches('.').to_ascii_lowercase())
}

/// Sets the value at the account of the name.
pub async fn present(ours: &Dns01, settings: &DnsProvider, standing: &Standing) -> Result<(), Dns01Error> {
    let Method::AcmeDns { url, accounts, trusted } = &settings.method else { return Ok(()) };
    let account = account(ours, accounts, &standing.wish.name)?;
    let failed = |detail: String| Dns01Error::AcmeDns(format!("{url}: {detail}"));
    let body = serde_json::json!({ "subdomain": account.subdomain, "txt": standing.value }).to_string();
    let request = Request::post(format!("{}/update", url.trim_end_matches('/')))
        .header(header::CONTENT_TYPE, "application/json")
        .header("X-Api-User", account.username.as_str())
        .header("X-Api-Key", account.password.as_str())
        .body(Bytes::from(body))
        .map_err(|error| failed(error.to_string()))?;
    let proxy = Proxy::from_environment(|name| std::env::var(name).ok());
    let wire = Wire::new(trusted.clone(), true, proxy, ours.clock.clone(), Pacing::toward(url));
    let response = wire.exchange(request).await;
    let response = response.map_err(|fault| failed(fault.to_string()))?;
    if response.status().is_success() {
        return Ok(());
    }
    // Its errors are short words: `forbidden`, `bad_txt` …
    let said = String::from_utf8_lossy(response.body());
    let said: String = said.chars().filter(|c| !c.is_control()).take(100).collect();
    Err(failed(format!("the update for {} was answered with {}: {said}", account.fulldomain, response.status())))
}

/// The account for a name: of a map, that of the nearest name at or above it; else the only one.
fn account(ours: &Dns01, accounts: &SecretRef, name: &DomainName) -> Result<Account, Dns01Error> {
    let wrong = |why: String| Dns01Error::Secret(format!("accounts of acme-dns ({accounts}): {why}"));
    let text = ours.secrets.read(accounts).map_err(|error| wrong(error.to_string()))?;
    // What serde says may quote what it read; only where it stands is told.
    let bad = |error: serde_json::Error| wrong(format!("not JSON of accounts, at line {}", error.line()));
    let all: serde_json::Value = serde_json::from_slice(&text).map_err(bad)?;
    if all.get("fulldomain").is_some() || all.get("fullDomain").is_some() {
        return serde_json::from_value(all).map_err(bad);
    }
    let map = all.as_object().ok_or_else(|| wrong("not JSON of accounts".into()))?;
    let name = dns01::bare(name);
    let fits = map.keys().filter(|key| dns01::below(name, key.trim_start_matches("*.")));
    match fits.max_by_key(|key| key.len()).and_then(|key| map.get(key)) {
        Some(account) => Account::deserialize(account).map_err(bad),
        None => Err(wrong(format!("none for {name}"))),
    }
}
