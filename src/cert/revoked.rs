//! Is a certificate on the list of what its authority has revoked? Reads where such lists lie (RFC 5280 4.2.1.13) and
//! judges one: by the signature of the certificate's own issuer, its dates and what it speaks for. Nothing that is not
//! proved so counts against a certificate. Pure: `watch` fetches, `node` carries.

use rustls_pki_types::{CertificateDer, UnixTime as PkiTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::der::{INTEGER, Reader};
use crate::clock::UnixTime;

/// Lists of one certificate that are looked at, and the longest URL of one.
const MOST: usize = 4;
const LONGEST: usize = 2048;

/// Why a list says nothing about a certificate. Whose fault: whoever publishes it, or stands in between; another one may
/// do, later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The bytes are no list of revoked certificates.
    #[error("it is no list of revoked certificates ({0})")]
    NotAList(String),
    /// The certificate's issuer does not stand in its chain: nobody's signature can be proved.
    #[error("the chain does not hold the issuer of the certificate")]
    NoIssuer,
    /// It is another authority's, or of other certificates.
    #[error("it does not speak for this certificate")]
    Foreign,
    /// The issuer did not sign it.
    #[error("the issuer of the certificate has not signed it")]
    NotSigned,
    /// A newer one should be there.
    #[error("its time is over")]
    Outdated,
    /// Something else is wrong with it, or with the certificate.
    #[error("it cannot be judged ({0})")]
    Other(String),
}

/// Where the lists lie that a certificate (DER) names: `http` alone, and none that somebody else signs.
pub fn lists(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let mut found = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else { continue };
        let own = points.iter().filter(|point| point.crl_issuer.is_none() && point.reasons.is_none());
        for name in own.filter_map(|point| point.distribution_point.as_ref()) {
            let DistributionPointName::FullName(names) = name else { continue };
            found.extend(names.iter().filter_map(|name| match name {
                GeneralName::URI(url) if url.len() <= LONGEST && is_plain(url) => Some((*url).to_owned()),
                _ => None,
            }));
        }
    }
    found.dedup();
    found.truncate(MOST);
    found
}

/// Lists are fetched over plain HTTP (RFC 5280 8): over TLS, a list would be needed to fetch a list.
fn is_plain(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
        && url.bytes().all(|b| b.is_ascii_graphic())
}

/// A list, read and not yet believed.
pub struct List<'a> {
    parsed: CertRevocationList<'a>,
    /// When the next one is promised.
    pub next_update: UnixTime,
}

impl<'a> List<'a> {
    /// Reads a list in DER.
    ///
    /// # Errors
    /// It is none, or one of a kind that is not understood whole.
    pub fn read(der: &'a [u8]) -> Result<List<'a>, Unusable> {
        let parsed = BorrowedCertRevocationList::from_der(der).map_err(|why| Unusable::NotAList(why.to_string()))?;
        let next_update = next_update(der).ok_or_else(|| Unusable::NotAList("no date".to_owned()))?;
        Ok(List { parsed: parsed.into(), next_update })
    }

    /// Whether the serial number stands on it; cheap, and proves nothing.
    pub fn mentions(&self, serial: &[u8]) -> bool {
        !matches!(self.parsed.find_serial(serial), Ok(None))
    }

    /// Whether the leaf of `chain` is revoked by it.
    ///
    /// # Errors
    /// It says nothing about this certificate.
    pub fn revokes(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<bool, Unusable> {
        let [leaf, issuer, ..] = chain else { return Err(Unusable::NoIssuer) };
        let anchor = webpki::anchor_from_trusted_cert(issuer).map_err(|_| Unusable::NoIssuer)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(|why| Unusable::Other(why.to_string()))?;
        let lists = [&self.parsed];
        let options = RevocationOptionsBuilder::new(&lists)
            .expect("there is one list")
            .with_depth(RevocationCheckDepth::EndEntity)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let now = PkiTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let (algorithms, usage) = (webpki::ALL_VERIFICATION_ALGS, KeyUsage::server_auth());
        match leaf.verify_for_usage(algorithms, &[anchor], &[], now, usage, Some(options), None) {
            Ok(_) => Ok(false),
            Err(Error::CertRevoked) => Ok(true),
            Err(Error::UnknownIssuer) => Err(Unusable::NoIssuer),
            Err(Error::UnknownRevocationStatus) => Err(Unusable::Foreign),
            Err(Error::CrlExpired { .. }) => Err(Unusable::Outdated),
            Err(Error::InvalidCrlSignatureForPublicKey) => Err(Unusable::NotSigned),
            Err(other) => Err(Unusable::Other(other.to_string())),
        }
    }
}

/// `nextUpdate` of a list (RFC 5280 5.1.2.5), without reading what it lists.
fn next_update(der: &[u8]) -> Option<UnixTime> {
    let mut list = Reader(der).sequence()?.sequence()?;
    let mut next = list.any()?;
    if next.0 == INTEGER {
        next = list.any()?;
    }
    // That was the algorithm; then come the issuer, this update and the next one.
    let (_, _) = (next, list.any()?);
    list.any()?;
    let (_, _, whole) = list.any()?;
    let (_, time) = ASN1Time::from_der(whole).ok()?;
    Some(UnixTime::from_seconds(time.timestamp()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CrlDistributionPoint,
        DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    };
    use time::OffsetDateTime;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap()
    }

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (at(-1000), at(1_000_000));
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn chain(of: &CertifiedIssuer<'static, KeyPair>, serial: u64, urls: &[&str]) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(-100), at(100_000));
        params.serial_number = Some(SerialNumber::from(serial));
        let point = |url: &&str| CrlDistributionPoint { uris: vec![(*url).to_owned()] };
        params.crl_distribution_points = urls.iter().map(point).collect();
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), of).unwrap();
        vec![leaf.der().clone(), of.der().clone()]
    }

    fn list(by: &CertifiedIssuer<'static, KeyPair>, serials: &[u64], until: i64) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at(-10),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: at(-50),
            next_update: at(until),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(by).unwrap().der().to_vec()
    }

    fn judged(der: &[u8], chain: &[CertificateDer<'_>]) -> Result<bool, Unusable> {
        List::read(der)?.revokes(chain, UnixTime::from_seconds(NOW))
    }

    #[test]
    fn a_certificate_on_the_list_of_its_issuer_is_revoked_and_another_is_not() {
        let own = authority("ca");
        let der = list(&own, &[7, 4711], 50);
        assert_eq!(judged(&der, &chain(&own, 4711, &[])), Ok(true));
        assert_eq!(judged(&der, &chain(&own, 4712, &[])), Ok(false));
        let read = List::read(&der).unwrap();
        assert!(read.mentions(&[7]) && !read.mentions(&[8]));
        assert_eq!(read.next_update, UnixTime::from_seconds(NOW + 50));
    }

    #[test]
    fn a_long_list_is_read_too() {
        let own = authority("ca");
        let serials: Vec<u64> = (1..5000).collect();
        let der = list(&own, &serials, 50);
        assert!(der.len() > 1 << 16);
        assert_eq!(judged(&der, &chain(&own, 4999, &[])), Ok(true));
        assert_eq!(List::read(&der).unwrap().next_update, UnixTime::from_seconds(NOW + 50));
    }

    #[test]
    fn nothing_but_a_good_list_of_the_own_issuer_counts_against_a_certificate() {
        let (own, other, twin) = (authority("ca"), authority("other"), authority("ca"));
        let chain = chain(&own, 7, &[]);
        assert_eq!(judged(&list(&other, &[7], 50), &chain), Err(Unusable::Foreign));
        assert_eq!(judged(&list(&twin, &[7], 50), &chain), Err(Unusable::NotSigned), "the same name, another key");
        assert_eq!(judged(&list(&own, &[7], -1), &chain), Err(Unusable::Outdated));
        let good = list(&own, &[7], 50);
        assert_eq!(judged(&good, &chain[..1]), Err(Unusable::NoIssuer));
        assert_eq!(judged(&good, &[chain[0].clone(), other.der().clone()]), Err(Unusable::NoIssuer));
        let not_a_list = |der: &[u8]| matches!(judged(der, &chain), Err(Unusable::NotAList(_)));
        for garbage in [&b""[..], b"<html>", &[0x30, 0x80, 0, 0], &chain[0], &good[..good.len() - 1]] {
            assert!(not_a_list(garbage), "{garbage:?}");
        }
        // One bit anywhere: no list, another's, not signed, or of another time; never a revocation that is believed.
        for at in 0..good.len() {
            let mut bent = good.clone();
            bent[at] ^= 1;
            assert!(judged(&bent, &chain).is_err(), "byte {at}");
        }
    }

    #[test]
    fn where_lists_lie_is_read_and_only_plain_http_is_gone_to() {
        let own = authority("ca");
        let urls = |urls: &[&str]| lists(&chain(&own, 7, urls)[0]);
        assert_eq!(
            urls(&["http://a.test/1.crl", "http://a.test/2.crl"]),
            ["http://a.test/1.crl", "http://a.test/2.crl"]
        );
        assert!(urls(&[]).is_empty());
        assert!(urls(&["ldap://a.test/x", "https://a.test/x", "file:///etc/passwd", "http:/x", "h"]).is_empty());
        assert!(urls(&["http://a.test/ x", &format!("http://a.test/{}", "x".repeat(3000))]).is_empty());
        assert_eq!(urls(&["http://1/", "http://2/", "http://3/", "http://4/", "http://5/"]).len(), MOST);
        assert!(lists(b"nonsense").is_empty());
    }

    #[test]
    fn the_date_is_found_in_nothing_that_is_cut() {
        let good = list(&authority("ca"), &[7], 50);
        for end in 0..good.len() {
            let _ = (next_update(&good[..end]), List::read(&good[..end]).is_err());
        }
        assert_eq!(Duration::from_secs(50), List::read(&good).unwrap().next_update.since(UnixTime::from_seconds(NOW)));
    }
}
