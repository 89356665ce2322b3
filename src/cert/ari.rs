//! When does the authority itself want a certificate renewed (ARI, RFC 9773)? The certificate's name in that protocol,
//! the answer, and the moment chosen within its window. Pure; `acme` asks.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::inspect::Leaf;
use crate::clock::UnixTime;

/// The identifier of `leaf` in renewalInfo URLs and in `replaces` (RFC 9773 4.1); `None` without a key identifier.
pub fn certificate_id(leaf: &Leaf) -> Option<String> {
    let key_id = leaf.authority_key_id.as_ref()?;
    Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(key_id), URL_SAFE_NO_PAD.encode(&leaf.serial)))
}

/// What an authority answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalInfo {
    /// The window begins.
    pub start: UnixTime,
    /// The window ends.
    pub end: UnixTime,
    /// Why, in words for humans, if the authority has a page about it.
    pub explanation: Option<String>,
    /// When to ask again (Retry-After).
    pub ask_again: Duration,
}

/// The moment chosen within a window; it stays as long as the window stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Begin of the window it was chosen from.
    pub start: UnixTime,
    /// End of that window.
    pub end: UnixTime,
    /// Renew then; in the past means now.
    pub at: UnixTime,
}

/// Bounds of what an authority may ask for as its interval of questions: one minute to one day.
pub fn ask_again(answer: Duration) -> Duration {
    answer.clamp(Duration::from_secs(60), Duration::from_secs(86_400))
}

/// Chooses the moment within the window of `info`. The same window keeps the earlier choice; a window that ends before
/// it starts, or after the certificate, is no answer.
pub fn choose(info: &RenewalInfo, so_far: Option<Choice>, not_after: UnixTime, draw: f64) -> Option<Choice> {
    if info.end <= info.start || info.end > not_after {
        return None;
    }
    if let Some(choice) = so_far.filter(|c| (c.start, c.end) == (info.start, info.end)) {
        return Some(choice);
    }
    let at = info.start + info.end.since(info.start).mul_f64(draw.clamp(0.0, 1.0));
    Some(Choice { start: info.start, end: info.end, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(start: i64, end: i64) -> RenewalInfo {
        let (start, end) = (UnixTime::from_seconds(start), UnixTime::from_seconds(end));
        RenewalInfo { start, end, explanation: None, ask_again: Duration::from_secs(1) }
    }

    #[test]
    fn a_choice_stays_while_the_window_stays_and_moves_when_it_moves() {
        let end = UnixTime::from_seconds(1000);
        let first = choose(&info(100, 200), None, end, 0.25).unwrap();
        assert_eq!(first.at, UnixTime::from_seconds(125));
        assert_eq!(choose(&info(100, 200), Some(first), end, 0.9), Some(first));
        assert_eq!(choose(&info(100, 300), Some(first), end, 0.5).unwrap().at, UnixTime::from_seconds(200));
    }

    #[test]
    fn a_window_that_makes_no_sense_is_no_answer() {
        let end = UnixTime::from_seconds(1000);
        assert_eq!(choose(&info(200, 200), None, end, 0.5), None);
        assert_eq!(choose(&info(300, 200), None, end, 0.5), None);
        assert_eq!(choose(&info(900, 1001), None, end, 0.5), None);
    }

    #[test]
    fn the_identifier_of_rfc_9773_is_built_from_key_identifier_and_serial() {
        // The example of RFC 9773 4.1.
        let mut leaf = crate::cert::inspect::tests::any_leaf();
        leaf.authority_key_id = Some(
            [
                0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE,
                0x01, 0xC8, 0xD4,
            ]
            .into(),
        );
        leaf.serial = [0x00, 0x87, 0x65, 0x43, 0x21].into();
        assert_eq!(certificate_id(&leaf).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
    }
}
