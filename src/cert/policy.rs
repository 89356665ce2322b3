//! Which rules hold for one certificate? Its names, the ways to get it and what each authority allows: the configuration
//! as the decisions need it. Never stored: a reload may change it under a running stage.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::plan::acme::{Authority, ChallengeKind, Issuer};
use crate::plan::limits::Limits;
use crate::words::Identifier;

/// One way to get a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The issuer's name.
    pub issuer: String,
    /// The authority behind it: directory URL or `internal`.
    pub authority: String,
    /// How control over the names is shown; `None` where nothing is asked.
    pub challenge: Option<ChallengeKind>,
}

/// The rules for one certificate. Cheap to clone: certificates of one issuer share all but the names.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The names that it shall speak for.
    pub names: Arc<[Identifier]>,
    /// The ways that may be tried, in order: the kinds of challenge of the first issuer, then those of its fallbacks;
    /// never empty.
    pub ways: Arc<[Way]>,
    /// What each authority of the ways allows, by its directory URL. One that is missing has [`Limits::CAUTIOUS`].
    pub limits: Arc<[(String, Limits)]>,
    /// The longest that one order may take.
    pub order_patience: Duration,
    /// The unit of the retry ladder: a minute, or a second where nobody has limits.
    pub minute: Duration,
    /// The local clock is doubted, and this is the moment that the others agree upon: no order begins by itself for a
    /// certificate that is in force then. `None`: the clock is trusted.
    pub believed: Option<UnixTime>,
}

impl Policy {
    /// The rules for `names` over `ways` at authorities of which nothing is known.
    pub fn new(names: impl Into<Arc<[Identifier]>>, ways: impl Into<Arc<[Way]>>) -> Policy {
        Policy {
            names: names.into(),
            ways: ways.into(),
            limits: Arc::default(),
            order_patience: Duration::from_secs(900),
            minute: Duration::from_secs(60),
            believed: None,
        }
    }

    /// The rules for certificates of `issuer` over `names`; `others` are where its fallbacks are found. A fallback that is
    /// not there is left out.
    pub fn of(issuer: &Issuer, others: &[Issuer], names: impl Into<Arc<[Identifier]>>) -> Policy {
        let found = issuer.fallback.iter().filter_map(|name| others.iter().find(|other| other.name == *name));
        let all: Vec<&Issuer> = std::iter::once(issuer).chain(found).collect();
        let ways: Vec<Way> = all.iter().flat_map(|issuer| ways(issuer)).collect();
        let limits: Vec<_> = all.iter().map(|i| (i.authority_name().to_owned(), i.limits())).collect();
        let (order_patience, minute) = match &issuer.authority {
            Authority::Acme(server) => (server.order_timeout, server.retry_interval),
            Authority::Internal(_) => (Duration::from_secs(900), Duration::from_secs(1)),
        };
        Policy { limits: limits.into(), order_patience, minute, ..Policy::new(names, ways) }
    }

    /// The same rules for other names.
    pub fn for_names(&self, names: impl Into<Arc<[Identifier]>>) -> Policy {
        Policy { names: names.into(), ..self.clone() }
    }

    /// What `authority` allows.
    pub fn limits(&self, authority: &str) -> &Limits {
        static CAUTIOUS: Limits = Limits::CAUTIOUS;
        self.limits.iter().find(|(name, _)| name == authority).map_or(&CAUTIOUS, |(_, limits)| limits)
    }
}

fn ways(issuer: &Issuer) -> Vec<Way> {
    let way =
        |challenge| Way { issuer: issuer.name.to_string(), authority: issuer.authority_name().to_owned(), challenge };
    match &issuer.authority {
        Authority::Acme(server) if server.challenges.is_empty() => vec![way(Some(ChallengeKind::Http01))],
        Authority::Acme(server) => server.challenges.iter().map(|kind| way(Some(*kind))).collect(),
        Authority::Internal(_) => vec![way(None)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::acme::AcmeServer;
    use crate::words::Place;

    #[test]
    fn the_challenges_of_the_first_issuer_come_before_its_fallbacks() {
        let acme =
            |name: &str, url: &str| Issuer::new(name, None, Authority::Acme(AcmeServer::at(url)), Place::built_in());
        let first = Issuer { fallback: vec!["b".into(), "gone".into()], ..acme("a", "https://a.example/") };
        let policy = Policy::of(&first, &[acme("b", "https://b.example/"), first.clone()], vec![]);
        let told: Vec<_> =
            policy.ways.iter().map(|way| (&*way.issuer, way.challenge.map(ChallengeKind::as_str))).collect();
        let (http, alpn) = (Some("http-01"), Some("tls-alpn-01"));
        assert_eq!(told, [("a", http), ("a", alpn), ("b", http), ("b", alpn)]);
        assert_eq!(policy.limits("https://b.example/"), &Limits::CAUTIOUS);
        assert_eq!(policy.limits.len(), 2);
    }
}
