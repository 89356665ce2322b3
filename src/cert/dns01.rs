//! Which record shows control over a name by DNS? Names and contents of the records of DNS-01 (RFC 8555 8.4) and of
//! dns-persist-01, and whether the end of a chain of CNAMEs is ours to write. Asks nobody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::UnixTime;
use crate::words::DomainName;

/// Where the record of DNS-01 for `name` stands; the same for `example.com` and `*.example.com`.
pub fn record_name(name: &DomainName) -> String {
    format!("_acme-challenge.{}", bare(name))
}

/// The name without `*.`.
pub fn bare(name: &DomainName) -> &str {
    name.as_str().strip_prefix("*.").unwrap_or(name.as_str())
}

/// What the record says: the digest of the key authorization.
pub fn record_value(key_authorization: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key_authorization.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref())
}

/// Why a record cannot be written where the CNAMEs lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The CNAME leads out of what the provider writes.
    #[error(
        "{from} is a CNAME to {to}, which this provider does not write: remove that CNAME (a CDN's, perhaps), or let it \
         point to a name below {}", .writes.join(" or ")
    )]
    Elsewhere {
        /// The name of the challenge.
        from: String,
        /// Where its CNAMEs end.
        to: String,
        /// What the provider writes.
        writes: Vec<String>,
    },
    /// acme-dns answers only for names of its own, so a CNAME must lead there.
    #[error("{from} must be a CNAME to {wanted}; it is {}", .found.as_deref().map_or("none".into(), |to| format!("one to {to}")))]
    NotDelegated {
        /// The name of the challenge.
        from: String,
        /// Where it has to lead.
        wanted: String,
        /// Where it leads, if anywhere.
        found: Option<String>,
    },
}

/// The name to write, at the end of `chain` (which begins with the name of the challenge): that of acme-dns if `wanted` is
/// given, else any below one of `writes` (none: everything). Names in lower case without the last dot.
pub fn target<'a>(chain: &'a [String], writes: &[DomainName], wanted: Option<&str>) -> Result<&'a str, Stranger> {
    let (first, last) = (chain.first().map_or("", String::as_str), chain.last().map_or("", String::as_str));
    let found = (chain.len() > 1).then(|| last.to_owned());
    if let Some(wanted) = wanted {
        // What lies between does not matter, nor whether acme-dns's own name is an alias in turn.
        return match chain.iter().find(|name| name.as_str() == wanted) {
            Some(name) => Ok(name),
            None => Err(Stranger::NotDelegated { from: first.to_owned(), wanted: wanted.to_owned(), found }),
        };
    }
    if found.is_some() && !writes.is_empty() && !writes.iter().any(|suffix| below(last, suffix.as_str())) {
        let writes = writes.iter().map(ToString::to_string).collect();
        return Err(Stranger::Elsewhere { from: first.to_owned(), to: last.to_owned(), writes });
    }
    Ok(last)
}

/// Whether `name` is `zone` or stands below it.
pub fn below(name: &str, zone: &str) -> bool {
    name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

/// The one record that lets an authority validate `name` by dns-persist-01 for good, as a line of a zone file:
/// `issuer_domain` is the name by which the authority wants to be called, `account` the URL of our account there.
pub fn persistent_record(name: &DomainName, issuer_domain: &str, account: &str, until: Option<UnixTime>) -> String {
    let mut value = format!("{issuer_domain}; accounturi={account}");
    if name.is_wildcard() {
        value.push_str("; policy=wildcard");
    }
    if let Some(until) = until {
        value.push_str(&format!("; persistUntil={}", until.seconds()));
    }
    // A string of a TXT record holds 255 bytes at most.
    let strings: Vec<String> =
        value.as_bytes().chunks(255).map(|part| format!("\"{}\"", String::from_utf8_lossy(part))).collect();
    format!("_validation-persist.{}. 300 IN TXT {}", bare(name), strings.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_wildcard_and_its_base_share_one_record() {
        let names = ["example.com", "*.example.com"].map(|name| name.parse::<DomainName>().unwrap());
        assert!(names.iter().all(|name| record_name(name) == "_acme-challenge.example.com"));
        // RFC 8555 8.4: base64url of the SHA-256, without padding.
        assert_eq!(record_value("a.b").len(), 43);
        assert!(!record_value("a.b").contains(['=', '+', '/']));
    }

    #[test]
    fn a_cname_that_leads_to_strangers_is_named() {
        let ours = ["example.com".parse::<DomainName>().unwrap()];
        let at_home = chain(&["_acme-challenge.a.example.com"]);
        assert_eq!(target(&at_home, &ours, None), Ok("_acme-challenge.a.example.com"));
        let delegated = chain(&["_acme-challenge.a.example.net", "x.acme.example.com"]);
        assert_eq!(target(&delegated, &ours, None), Ok("x.acme.example.com"));
        let cdn = chain(&["_acme-challenge.a.example.com", "abc.dcv.cdn.example.org"]);
        let why = target(&cdn, &ours, None).unwrap_err().to_string();
        assert!(why.contains("_acme-challenge.a.example.com is a CNAME to abc.dcv.cdn.example.org"), "{why}");
        // notexample.com is not below example.com.
        let near = chain(&["_acme-challenge.a.example.com", "x.notexample.com"]);
        assert!(target(&near, &ours, None).is_err());
        assert!(target(&cdn, &[], None).is_ok(), "a provider that writes everything takes it");
    }

    #[test]
    fn acme_dns_needs_the_cname_that_leads_to_it() {
        let wanted = Some("d420c923.auth.example.net");
        let right = chain(&["_acme-challenge.a.example", "d420c923.auth.example.net"]);
        assert_eq!(target(&right, &[], wanted), Ok("d420c923.auth.example.net"));
        let none = target(&right[..1], &[], wanted).unwrap_err().to_string();
        assert!(none.ends_with("must be a CNAME to d420c923.auth.example.net; it is none"), "{none}");
        let other = chain(&["_acme-challenge.a.example", "ffff.auth.example.net"]);
        let other = target(&other, &[], wanted).unwrap_err().to_string();
        assert!(other.ends_with("it is one to ffff.auth.example.net"), "{other}");
    }

    #[test]
    fn the_persistent_record_is_one_line_for_a_zone_file() {
        let name: DomainName = "*.example.com".parse().unwrap();
        let line = persistent_record(&name, "ca.example", "https://ca.example/acct/1", None);
        assert_eq!(
            line,
            "_validation-persist.example.com. 300 IN TXT \"ca.example; accounturi=https://ca.example/acct/1; policy=wildcard\""
        );
        let until =
            persistent_record(&"a.example".parse().unwrap(), "ca.example", "u", Some(UnixTime::from_seconds(9)));
        assert!(until.ends_with("\"ca.example; accounturi=u; persistUntil=9\""), "{until}");
    }
}
