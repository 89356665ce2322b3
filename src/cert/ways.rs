//! Which kinds of challenge can work? Of those that are allowed, the ones for which something stands on this node and which
//! the names permit. What failed last is left to the order in which the ways are tried.

use super::stage::Way;
use crate::plan::acme::ChallengeKind;
use crate::words::Identifier;

/// What stands on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// A plain listener, or one for challenges alone.
    pub http: bool,
    /// A TLS listener.
    pub tls: bool,
}

impl Default for Standing {
    /// Everything: for who does not know.
    fn default() -> Standing {
        Standing { http: true, tls: true }
    }
}

/// The ways of `ways` that can bring a certificate for `names`. If none can, those that the names permit, else all of them:
/// an authority that says why not is better than silence.
pub fn workable(ways: Vec<Way>, names: &[Identifier], standing: Standing) -> Vec<Way> {
    let permitted: Vec<Way> = ways.iter().filter(|way| permits(way.challenge, names)).cloned().collect();
    let stands = |way: &&Way| match way.challenge {
        Some(ChallengeKind::Http01) => standing.http,
        Some(ChallengeKind::TlsAlpn01) => standing.tls,
        // Whoever has no provider has not got this way.
        Some(ChallengeKind::Dns01) | None => true,
    };
    let standing: Vec<Way> = permitted.iter().filter(stands).cloned().collect();
    [standing, permitted, ways].into_iter().find(|ways| !ways.is_empty()).unwrap_or_default()
}

/// Whether a challenge of this kind, with another where it cannot be, covers all names.
fn permits(kind: Option<ChallengeKind>, names: &[Identifier]) -> bool {
    let wildcard = |name: &Identifier| matches!(name, Identifier::Dns(name) if name.is_wildcard());
    match kind {
        None => true,
        Some(ChallengeKind::Dns01) => names.iter().any(|name| matches!(name, Identifier::Dns(_))),
        Some(ChallengeKind::Http01 | ChallengeKind::TlsAlpn01) => !names.iter().any(wildcard),
    }
}

/// The kind for one name of an order that goes by `kind`: addresses have no DNS-01 (RFC 8738 7).
pub fn for_name(kind: ChallengeKind, name: &Identifier) -> ChallengeKind {
    match (kind, name) {
        (ChallengeKind::Dns01, Identifier::Ip(_)) => ChallengeKind::Http01,
        (kind, _) => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::ChallengeKind::{Dns01, Http01, TlsAlpn01};
    use super::*;

    fn ways(kinds: &[ChallengeKind]) -> Vec<Way> {
        let way = |kind: &ChallengeKind| Way { issuer: "a".into(), authority: "u".into(), challenge: Some(*kind) };
        kinds.iter().map(way).collect()
    }

    fn kinds(allowed: &[ChallengeKind], names: &[&str], standing: Standing) -> Vec<ChallengeKind> {
        let names: Vec<Identifier> = names.iter().map(|name| name.parse().unwrap()).collect();
        workable(ways(allowed), &names, standing).into_iter().filter_map(|way| way.challenge).collect()
    }

    #[test]
    fn a_wildcard_goes_by_dns_alone_and_an_address_never_does() {
        let all = [Http01, TlsAlpn01, Dns01];
        let everything = Standing::default();
        assert_eq!(kinds(&all, &["a.example", "*.a.example"], everything), [Dns01]);
        assert_eq!(kinds(&all, &["192.0.2.1"], everything), [Http01, TlsAlpn01]);
        assert_eq!(kinds(&all, &["a.example"], everything), all);
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!((for_name(Dns01, &address), for_name(TlsAlpn01, &address)), (Http01, TlsAlpn01));
    }

    #[test]
    fn what_no_listener_answers_is_not_tried() {
        let all = [Http01, TlsAlpn01, Dns01];
        assert_eq!(kinds(&all, &["a.example"], Standing { http: false, tls: true }), [TlsAlpn01, Dns01]);
        assert_eq!(kinds(&all, &["a.example"], Standing { http: false, tls: false }), [Dns01]);
    }

    #[test]
    fn there_is_always_a_way() {
        let nothing = Standing { http: false, tls: false };
        assert_eq!(kinds(&[Http01], &["a.example"], nothing), [Http01]);
        assert_eq!(kinds(&[Http01], &["*.a.example"], nothing), [Http01]);
    }
}
