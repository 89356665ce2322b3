//! Is a certificate from a file to be taken over when nobody renews it, for which names, and from when on? For drop-in
//! users who changed nothing but the binary and named one issuer. Never what is private: it would be published in the
//! logs of certificate transparency. Pure: leaf and names in, verdict out.

use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime as PkiTime};
use webpki::{EndEntityCert, KeyUsage};

use super::domain;
use super::inspect::Leaf;
use crate::clock::UnixTime;
use crate::plan::rescue::Rescue;
use crate::words::Identifier;

/// What becomes of one file certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken over from this moment on, for these names, if nobody has renewed it.
    From(UnixTime, Vec<Identifier>),
    /// It is left alone, whatever happens.
    Never(Reason),
}

/// Why a file certificate is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It leads to no root that browsers know.
    NotPublic,
    /// No server uses it under a name that can be certified.
    NoNames,
    /// A name or address that nobody outside should hear of.
    Inner(Identifier),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotPublic => f.write_str("it leads to no public root"),
            Reason::NoNames => f.write_str("no server uses it under a name that it speaks for"),
            Reason::Inner(name) => write!(f, "{name} is not a public name; `names={name}` would publish it"),
        }
    }
}

/// Judges a file certificate that servers use under the names `in_use`; `public`: see [`is_public`].
pub fn judge(leaf: &Leaf, public: bool, in_use: &[Identifier], rule: &Rescue) -> Verdict {
    let mut names: Vec<Identifier> = in_use.iter().filter(|name| leaf.covers(name)).cloned().collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Verdict::Never(Reason::NoNames);
    }
    let named = |name: &Identifier| rule.names.contains(name);
    if !public && !names.iter().all(named) {
        return Verdict::Never(Reason::NotPublic);
    }
    if let Some(inner) = names.iter().find(|name| !named(name) && !domain::is_public(name)) {
        return Verdict::Never(Reason::Inner(inner.clone()));
    }
    let before = rule.before.unwrap_or(leaf.lifetime() / 6);
    Verdict::From(leaf.not_after - before, names)
}

/// Judges a file that cannot be read, and never could since we run: nobody knows whose certificate it was. Names that are
/// public, or named, are taken over from `from` on; one that is neither keeps it from all of them, for then the file may
/// well be a private one.
pub fn judge_unreadable(in_use: &[Identifier], rule: &Rescue, from: UnixTime) -> Verdict {
    let wildcard = |name: &Identifier| matches!(name, Identifier::Dns(name) if name.is_wildcard());
    let mut names: Vec<Identifier> = in_use.iter().filter(|name| !wildcard(name)).cloned().collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Verdict::Never(Reason::NoNames);
    }
    match names.iter().find(|name| !rule.names.contains(name) && !domain::is_public(name)) {
        Some(inner) => Verdict::Never(Reason::Inner(inner.clone())),
        None => Verdict::From(from, names),
    }
}

/// Whether a chain (leaf first) leads to one of `roots`. The dates do not count: an expired one was public too.
pub fn is_public(chain: &[CertificateDer<'_>], not_before: UnixTime, roots: &[TrustAnchor<'_>]) -> bool {
    let Some((leaf, between)) = chain.split_first() else { return false };
    let Ok(leaf) = EndEntityCert::try_from(leaf) else { return false };
    let then = PkiTime::since_unix_epoch(std::time::Duration::from_secs(
        u64::try_from(not_before.seconds()).unwrap_or(0).saturating_add(1),
    ));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(algorithms, roots, between, then, KeyUsage::server_auth(), None, None).is_ok()
}

/// Whether the file is to be shown: it is in force, and outside of its rescue point.
pub fn file_leads(leaf_ends: UnixTime, from: UnixTime, now: UnixTime) -> bool {
    now < leaf_ends && now < from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Place;
    use std::time::Duration;

    const DAY: i64 = 86_400;

    fn leaf(names: &[&str]) -> Leaf {
        let mut leaf = crate::cert::inspect::tests::any_leaf();
        leaf.identifiers = list(names);
        (leaf.not_before, leaf.not_after) = (UnixTime(0), UnixTime::from_seconds(90 * DAY));
        leaf
    }

    fn list(names: &[&str]) -> Vec<Identifier> {
        names.iter().map(|n| n.parse().unwrap()).collect()
    }

    fn rule(names: &[&str]) -> Rescue {
        Rescue { issuer: "le".into(), before: None, names: list(names), place: Place::built_in() }
    }

    #[test]
    fn a_public_certificate_is_taken_over_with_a_sixth_of_its_life_left() {
        let own = leaf(&["example.com", "*.example.com", "unused.example.com"]);
        let used = list(&["www.example.com", "example.com", "elsewhere.example.org"]);
        let names = list(&["example.com", "www.example.com"]);
        let at = UnixTime::from_seconds(75 * DAY);
        assert_eq!(judge(&own, true, &used, &rule(&[])), Verdict::From(at, names.clone()));
        let before = Rescue { before: Some(Duration::from_secs(86_400)), ..rule(&[]) };
        assert_eq!(judge(&own, true, &used, &before), Verdict::From(UnixTime::from_seconds(89 * DAY), names));
    }

    #[test]
    fn nothing_private_is_ever_taken_over_unless_it_is_named() {
        let reason = |public: bool, names: &[&str], rule: &Rescue| match judge(&leaf(names), public, &list(names), rule)
        {
            Verdict::Never(reason) => Some(reason),
            Verdict::From(..) => None,
        };
        assert_eq!(reason(false, &["example.com"], &rule(&[])), Some(Reason::NotPublic));
        for inner in ["db.internal", "printer.local", "10.0.0.1", "host"] {
            let name = inner.parse().unwrap();
            assert_eq!(reason(true, &["example.com", inner], &rule(&[])), Some(Reason::Inner(name)));
        }
        assert_eq!(reason(false, &["db.internal"], &rule(&["db.internal"])), None);
        assert_eq!(reason(false, &["db.internal", "example.com"], &rule(&["db.internal"])), Some(Reason::NotPublic));
        assert_eq!(
            judge(&leaf(&["a.example.com"]), true, &list(&["b.example.com"]), &rule(&[])),
            Verdict::Never(Reason::NoNames)
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_taken_over_for_public_and_named_names_alone() {
        let at = UnixTime(7);
        let judged = |names: &[&str], named: &[&str]| judge_unreadable(&list(names), &rule(named), at);
        let names = list(&["a.example.com", "b.example.com"]);
        assert_eq!(judged(&["b.example.com", "a.example.com", "*.example.com"], &[]), Verdict::From(at, names));
        let inner = Reason::Inner("db.internal".parse().unwrap());
        assert_eq!(judged(&["a.example.com", "db.internal"], &[]), Verdict::Never(inner));
        assert_eq!(judged(&["db.internal"], &["db.internal"]), Verdict::From(at, list(&["db.internal"])));
        assert_eq!(judged(&["*.example.com"], &[]), Verdict::Never(Reason::NoNames));
        assert!(matches!(judged(&["192.0.2.1"], &[]), Verdict::Never(_)));
    }

    #[test]
    fn a_chain_is_public_if_it_leads_to_a_known_root_whatever_its_dates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::new(vec![]).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.distinguished_name.push(rcgen::DnType::CommonName, "root");
        let root_cert = root.self_signed(&key).unwrap();
        let own = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
        params.not_before = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(1_700_086_400).unwrap();
        let issued = params.signed_by(&own, &rcgen::Issuer::new(root, key)).unwrap();
        let from = UnixTime::from_seconds(1_700_000_000);
        let anchor = webpki::anchor_from_trusted_cert(root_cert.der()).unwrap();
        assert!(is_public(&[issued.der().clone()], from, &[anchor]));
        assert!(!is_public(&[issued.der().clone()], from, &[]));
        assert!(!is_public(&[root_cert.der().clone()], from, &[]));
        assert!(!is_public(&[], from, &[]));
    }

    #[test]
    fn the_file_leads_until_its_rescue_point_and_again_when_it_is_new() {
        let at = UnixTime::from_seconds;
        assert!(file_leads(at(90), at(75), at(74)));
        assert!(!file_leads(at(90), at(75), at(75)) && !file_leads(at(90), at(95), at(90)));
    }
}
