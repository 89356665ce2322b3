//! When does the authority itself want a certificate renewed? Asks for renewal information (RFC 9773 4), which needs no
//! account and no signature. What follows from the answer is `cert::ari`'s to say.

use std::time::Duration;

use serde::Deserialize;

use super::transport::{Transport, retry_after};
use crate::cert::ari::RenewalInfo;
use crate::clock::UnixTime;

/// When the authority does not say when to ask again.
const AGAIN: Duration = Duration::from_secs(21_600);

/// The authority's answer about the certificate `ari_id`; `None` if it does not support such questions, does not answer,
/// or answers nonsense.
pub async fn ask(transport: &Transport, ari_id: &str, now: UnixTime) -> Option<RenewalInfo> {
    let base = transport.directory().await.ok()?.renewal_info?;
    let mut request = http::Request::new(bytes::Bytes::new());
    *request.uri_mut() = format!("{}/{ari_id}", base.trim_end_matches('/')).parse().ok()?;
    let response = transport.send(request).await.and_then(|response| transport.success(response));
    let response = response.inspect_err(|fault| tracing::info!("no renewal information: {fault}")).ok()?;
    let again = retry_after(response.headers(), now).map_or(AGAIN, |at| at.since(now));
    read(response.body(), again)
}

fn read(text: &[u8], ask_again: Duration) -> Option<RenewalInfo> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        suggested_window: Window,
        #[serde(rename = "explanationURL")]
        explanation: Option<String>,
    }
    #[derive(Deserialize)]
    struct Window {
        start: String,
        end: String,
    }
    let moment = |text: String| text.parse::<jiff::Timestamp>().ok().map(|at| UnixTime(at.as_millisecond()));
    let Answer { suggested_window: Window { start, end }, explanation } = serde_json::from_slice(text).ok()?;
    Some(RenewalInfo { start: moment(start)?, end: moment(end)?, explanation, ask_again })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_9773_is_read_and_nonsense_is_not() {
        let text = br#"{"suggestedWindow":{"start":"2025-01-02T04:00:00Z","end":"2025-01-03T04:00:00Z"},
            "explanationURL":"https://acme.example.com/docs/ari"}"#;
        let info = read(text, AGAIN).unwrap();
        assert_eq!(info.end.since(info.start), Duration::from_secs(86_400));
        assert_eq!(info.explanation.as_deref(), Some("https://acme.example.com/docs/ari"));
        for bad in [&b"<html>"[..], b"{}", br#"{"suggestedWindow":{"start":"soon","end":"later"}}"#] {
            assert!(read(bad, AGAIN).is_none());
        }
    }
}
