//! What does an error of an authority mean? Turns errors of instant-acme and of the transport into the failures that
//! `cert` knows. Decides nothing about what follows.

use instant_acme::{Error, Problem};

use super::fault::{Fault, kind};
use crate::cert::failure::Failure;
use crate::words::Identifier;

/// What an error means, wherever in an order it came.
pub fn failure(error: &Error) -> Failure {
    if let Some(fault) = Fault::of(error) {
        return of_fault(fault);
    }
    match error {
        Error::Api(problem) => of_problem(problem),
        Error::Crypto | Error::KeyRejected => Failure::Account { detail: error.to_string() },
        Error::Json(_) | Error::Str(_) | Error::Unsupported(_) => {
            Failure::Lost { detail: format!("it answered with something else than it should: {error}") }
        }
        other => Failure::Unreachable { detail: other.to_string() },
    }
}

/// What a fault of the transport means.
pub fn of_fault(fault: &Fault) -> Failure {
    let detail = fault.to_string();
    match fault {
        Fault::Status { status: 429, retry_after, .. } => Failure::Limited { until: *retry_after, detail },
        Fault::Status { status: 500.., retry_after: Some(until), .. } => {
            Failure::Limited { until: Some(*until), detail }
        }
        Fault::Status { retry_after, .. } if fault.kind() == Some("rateLimited") => {
            Failure::Limited { until: *retry_after, detail }
        }
        Fault::Status { status: 500.., .. } => Failure::Unreachable { detail },
        Fault::Status { problem: Some(problem), status, .. } => match of_problem(problem) {
            Failure::Refused { .. } if *status == 404 => Failure::Lost { detail },
            other => other,
        },
        Fault::Status { status: 404 | 410, .. } => Failure::Lost { detail },
        Fault::Status { .. } => Failure::Refused { names: vec![], detail },
        Fault::Trust { .. } | Fault::Url { .. } => Failure::Local { detail },
        Fault::Connect { .. } | Fault::Broken { .. } | Fault::TimedOut { .. } | Fault::TooLarge { .. } => {
            Failure::Unreachable { detail }
        }
        Fault::Redirected { .. } => Failure::Unreachable { detail },
    }
}

/// What a problem document means (RFC 8555 6.7).
pub fn of_problem(problem: &Problem) -> Failure {
    let detail = problem.to_string();
    match kind(problem).unwrap_or_default() {
        "rateLimited" => Failure::Limited { until: None, detail },
        "badNonce" | "serverInternal" => Failure::Unreachable { detail },
        "accountDoesNotExist" | "malformed" | "orderNotReady" | "unauthorized" => Failure::Lost { detail },
        "alreadyReplaced" => Failure::ReplacesRefused { detail },
        "externalAccountRequired"
        | "userActionRequired"
        | "invalidContact"
        | "unsupportedContact"
        | "badSignatureAlgorithm"
        | "badPublicKey" => Failure::Account { detail },
        _ => Failure::Refused { names: names(problem), detail },
    }
}

/// Whether the authority says that it does not know our account.
pub fn account_unknown(error: &Error) -> bool {
    match (Fault::of(error), error) {
        (Some(fault), _) => fault.kind() == Some("accountDoesNotExist"),
        (None, Error::Api(problem)) => kind(problem) == Some("accountDoesNotExist"),
        _ => false,
    }
}

/// Whether a refused newOrder with `replaces` may pass without it. Authorities say no in many words, so every error
/// that is not plainly about something else counts.
pub fn blames_replaces(failure: &Failure, error: &Error) -> bool {
    let problem = match (Fault::of(error), error) {
        (Some(fault), _) => fault.kind(),
        (None, Error::Api(problem)) => kind(problem),
        _ => None,
    };
    let elsewhere = ["accountDoesNotExist", "caa", "rejectedIdentifier", "unsupportedIdentifier", "invalidProfile"];
    match failure {
        Failure::ReplacesRefused { .. } => true,
        Failure::Lost { .. } | Failure::Refused { .. } => !problem.is_some_and(|kind| elsewhere.contains(&kind)),
        _ => false,
    }
}

fn names(problem: &Problem) -> Vec<Identifier> {
    let named = problem.subproblems.iter().filter_map(|sub| sub.identifier.as_ref());
    named.filter_map(|identifier| identifier.authorized(false).to_string().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::failure::Next;
    use crate::clock::UnixTime;

    fn fault(status: u16, kind: &str) -> Fault {
        let text = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"d"}}"#);
        Fault::Status {
            status,
            problem: serde_json::from_str(&text).ok(),
            retry_after: (status == 429).then_some(UnixTime(5)),
            text: String::new(),
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        assert!(matches!(of_fault(&fault(429, "rateLimited")), Failure::Limited { until: Some(_), .. }));
        assert!(matches!(of_fault(&fault(503, "serverInternal")), Failure::Unreachable { .. }));
        assert!(matches!(of_fault(&fault(404, "malformed")), Failure::Lost { .. }));
        assert!(matches!(of_fault(&fault(403, "caa")), Failure::Refused { .. }));
        assert!(matches!(of_fault(&fault(409, "alreadyReplaced")), Failure::ReplacesRefused { .. }));
        assert!(matches!(of_fault(&fault(400, "badNonce")), Failure::Unreachable { .. }));
        assert_eq!(of_fault(&fault(400, "externalAccountRequired")).next(), Next::OtherIssuer);
    }

    #[test]
    fn replaces_is_blamed_unless_something_else_is() {
        let blamed = |status, kind| {
            let error = Error::from(fault(status, kind));
            blames_replaces(&failure(&error), &error)
        };
        assert!(blamed(409, "alreadyReplaced") && blamed(404, "malformed") && blamed(400, "somethingNew"));
        assert!(!blamed(429, "rateLimited") && !blamed(403, "caa") && !blamed(500, "serverInternal"));
    }
}
