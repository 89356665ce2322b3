//! What went wrong on the way to an authority, kept whole: status, problem document, Retry-After. instant-acme would
//! drop two of the three, so the transport raises these and `order` reads them back.

use instant_acme::{Error, Problem};

use crate::clock::UnixTime;

/// Why a request brought no usable response.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The authority was not reached: look-up, connect, TLS or a proxy in between. The request had no effect.
    #[error("{origin}: {detail}")]
    Connect {
        /// Scheme, host and port.
        origin: String,
        /// What failed.
        detail: String,
    },
    /// The connection broke or the response is not HTTP. The request may have had its effect.
    #[error("{origin}: {detail}")]
    Broken {
        /// Scheme, host and port.
        origin: String,
        /// What failed.
        detail: String,
    },
    /// No whole response within the time that a request may take. The request may have had its effect.
    #[error("{origin}: no answer in time")]
    TimedOut {
        /// Scheme, host and port.
        origin: String,
    },
    /// The response is larger than anything an authority has to say.
    #[error("{origin}: the response is too large")]
    TooLarge {
        /// Scheme, host and port.
        origin: String,
    },
    /// The authority sent us elsewhere; requests are signed for one place and do not follow.
    #[error("{origin}: redirected to {to}, which is not followed")]
    Redirected {
        /// Scheme, host and port.
        origin: String,
        /// The Location it gave.
        to: String,
    },
    /// The authority said no.
    #[error("{status}: {}", words(.problem, .text))]
    Status {
        /// The HTTP status.
        status: u16,
        /// The problem document, if it was one.
        problem: Option<Problem>,
        /// The moment of its Retry-After.
        retry_after: Option<UnixTime>,
        /// The beginning of the body, if it was no problem document.
        text: String,
    },
    /// The URL cannot be asked: not http or https, or plain http to another machine.
    #[error("{url}: only https is asked, and http on this machine")]
    Url {
        /// The URL.
        url: String,
    },
    /// The trusted certificates cannot be read. The operator's to mend.
    #[error("{detail}")]
    Trust {
        /// What failed.
        detail: String,
    },
}

impl Fault {
    /// The fault behind an error of instant-acme, if ours is behind it.
    pub fn of(error: &Error) -> Option<&Fault> {
        match error {
            Error::Other(inner) => inner.downcast_ref(),
            _ => None,
        }
    }

    /// The problem type without its prefix: `rateLimited`, `caa` …
    pub fn kind(&self) -> Option<&str> {
        match self {
            Fault::Status { problem: Some(problem), .. } => kind(problem),
            _ => None,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Other(Box::new(fault))
    }
}

/// The type of a problem without its prefix.
pub fn kind(problem: &Problem) -> Option<&str> {
    let full = problem.r#type.as_deref()?;
    Some(full.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(full))
}

fn words(problem: &Option<Problem>, text: &str) -> String {
    match problem {
        Some(problem) => problem.to_string(),
        None => text.chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}
