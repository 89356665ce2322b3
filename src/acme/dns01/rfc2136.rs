//! How is a record written by a signed update (RFC 2136, RFC 8945)? One record is added or removed, never a whole set:
//! others may have theirs beside it. An answer that is not signed by our key counts for nothing.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::update_message::{append, delete_by_rdata};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm as Algorithm, TsigError};
use hickory_proto::rr::{Name, RData, Record, RecordSet, RecordType, TSigner};
use zeroize::Zeroizing;

use super::{Dns01, Dns01Error, Standing};
use crate::net::dns::{self, DnsError};
use crate::plan::dns::{DnsProvider, Method, TsigAlgorithm, TsigKey};

/// For one exchange with the server.
const ONE: Duration = Duration::from_secs(10);
/// How far clocks may differ (RFC 8945 10).
const FUDGE: u16 = 300;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Add,
    Remove,
}

/// Adds or removes the record of `standing`, at the first server that answers.
pub async fn change(
    ours: &Dns01,
    settings: &DnsProvider,
    standing: &Standing,
    change: Change,
) -> Result<(), Dns01Error> {
    let Method::Rfc2136 { servers, key } = &settings.method else { return Ok(()) };
    let asked = |what: &str| {
        let what = format!("{what} {}", standing.target);
        move |source| Dns01Error::Dns { what, source }
    };
    let target = dns::name(&standing.target).map_err(asked("the name"))?;
    let signer = key.as_ref().map(|key| signer(ours, key)).transpose()?;
    let mut last = DnsError::NobodyToAsk;
    for server in servers {
        let zone = match &settings.zone {
            Some(zone) => dns::name(zone.as_str()).map_err(asked("the zone of"))?,
            None => match zone(*server, &target).await {
                Ok(zone) => zone,
                Err(error) => {
                    last = error;
                    continue;
                }
            },
        };
        if !zone.zone_of(&target) {
            let (server, zone) = (*server, dns::text(&zone));
            let detail = format!("{} does not stand in it", standing.target);
            return Err(Dns01Error::Refused { server, zone, detail });
        }
        let message = update(&target, &standing.value, &zone, settings.ttl, change);
        match send(ours, *server, message, signer.as_ref(), &zone).await {
            Err(Dns01Error::Dns { source, .. }) if source.is_from_here() => last = source,
            done => return done,
        }
    }
    Err(asked(if change == Change::Add { "writing" } else { "removing" })(last))
}

fn update(target: &Name, value: &str, zone: &Name, ttl: Duration, change: Change) -> Message {
    let ttl = u32::try_from(ttl.as_secs()).unwrap_or(60);
    let record = Record::from_rdata(target.clone(), ttl, RData::TXT(TXT::new(vec![value.to_owned()])));
    let set = RecordSet::from(record);
    match change {
        Change::Add => append(set, zone.clone(), false, false),
        Change::Remove => delete_by_rdata(set, zone.clone(), false),
    }
}

async fn send(
    ours: &Dns01,
    server: SocketAddr,
    mut message: Message,
    signer: Option<&TSigner>,
    zone: &Name,
) -> Result<(), Dns01Error> {
    let refused = |detail: String| Dns01Error::Refused { server, zone: dns::text(zone), detail };
    let now = u64::try_from(ours.clock.now().seconds()).unwrap_or(0);
    if let Some(signer) = signer {
        message.finalize(signer, now).map_err(|error| refused(format!("it cannot be signed: {error}")))?;
    }
    let unreached = |source| Dns01Error::Dns { what: format!("the update of {}", dns::text(zone)), source };
    // Over TCP: nobody can answer in the server's place without seeing the connection, and nothing is sent twice.
    let response = match dns::exchange_by_stream(server, &message, ONE).await {
        Err(DnsError::Unreachable { .. }) => dns::exchange(server, &message, ONE).await,
        done => done,
    }
    .map_err(unreached)?;
    let answer = &response.message;
    if let Some(signer) = signer {
        let ours = message.signature().map(|record| record.data.mac.clone()).unwrap_or_default();
        let verified = signer.verify_message_byte(&response.bytes, Some(&ours), true);
        match verified {
            Ok((_, _, range)) if range.contains(&now) => {}
            Ok(_) => return Err(refused("the clocks differ by more than five minutes".into())),
            // A server that did not accept our key cannot sign with it.
            Err(_) if answer.response_code != ResponseCode::NoError => {}
            Err(_) => return Err(refused("its answer is not signed by our key".into())),
        }
    }
    match answer.response_code {
        ResponseCode::NoError => Ok(()),
        code => {
            let error = answer.signature().and_then(|record| record.data.error);
            Err(refused(words(code, error.as_ref())))
        }
    }
}

/// What a refusal means, for people.
fn words(code: ResponseCode, error: Option<&TsigError>) -> String {
    match (error, code) {
        (Some(TsigError::BadKey), _) => "BADKEY: it does not know a key of that name and algorithm".into(),
        (Some(TsigError::BadSig), _) => "BADSIG: its key of that name has another secret".into(),
        (Some(TsigError::BadTime), _) => "BADTIME: its clock and ours differ by more than five minutes".into(),
        (_, ResponseCode::NotAuth) => "NOTAUTH: it does not answer for that zone, or not with that key".into(),
        (_, ResponseCode::Refused) => "REFUSED: it does not let this key (or address) write there".into(),
        (_, code) => code.to_string(),
    }
}

/// The zone of `target` as the server itself tells it.
async fn zone(server: SocketAddr, target: &Name) -> Result<Name, DnsError> {
    let mut at = target.clone();
    while !at.is_root() {
        let response = dns::exchange(server, &dns::question(&at, RecordType::SOA, false), ONE).await?;
        match response.message.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {
                if let Some(zone) = dns::zone_in(&response.message, &at) {
                    return Ok(zone);
                }
            }
            // Names below a zone cut that it does not serve; the zone above may be its own.
            ResponseCode::Refused | ResponseCode::NotAuth => {}
            code => return Err(DnsError::Failed { server, code }),
        }
        at = at.base_name();
    }
    Err(DnsError::NoZone(dns::text(target)))
}

fn signer(ours: &Dns01, key: &TsigKey) -> Result<TSigner, Dns01Error> {
    let wrong = |why: String| Dns01Error::Secret(format!("tsig key {} ({}): {why}", key.name, key.secret));
    let secret = ours.secrets.read(&key.secret).map_err(|error| wrong(error.to_string()))?;
    let text = std::str::from_utf8(&secret).map_err(|_| wrong("it is no text".into()))?;
    let bytes = STANDARD.decode(secret_of(text)).map_err(|_| wrong("it is not base64".into()))?;
    let bytes = Zeroizing::new(bytes);
    let algorithm = match key.algorithm {
        TsigAlgorithm::Sha256 => Algorithm::HmacSha256,
        TsigAlgorithm::Sha384 => Algorithm::HmacSha384,
        TsigAlgorithm::Sha512 => Algorithm::HmacSha512,
    };
    let name = dns::name(key.name.as_str()).map_err(|error| wrong(error.to_string()))?;
    TSigner::new(bytes.to_vec(), algorithm, name, FUDGE).map_err(|error| wrong(error.to_string()))
}

/// The secret of a bare text, or of a key file of BIND: `key "…" { algorithm …; secret "…"; };`.
fn secret_of(text: &str) -> &str {
    match text.split_once("secret").filter(|_| text.contains('{')) {
        Some((_, rest)) => rest.split(['"', ';', ' ', '\t']).find(|part| !part.is_empty()).unwrap_or_default(),
        None => text.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_of_bind_is_as_good_as_its_secret() {
        let file = "key \"semper\" {\n\talgorithm hmac-sha256;\n\tsecret \"AAECAw==\";\n};\n";
        assert_eq!(secret_of(file), "AAECAw==");
        assert_eq!(secret_of(" AAECAw==\n"), "AAECAw==");
    }

    #[test]
    fn refusals_have_words_of_their_own() {
        assert!(words(ResponseCode::NotAuth, Some(&TsigError::BadKey)).starts_with("BADKEY"));
        assert!(words(ResponseCode::NotAuth, Some(&TsigError::BadSig)).contains("another secret"));
        assert!(words(ResponseCode::NotAuth, None).contains("does not answer for that zone"));
    }
}
