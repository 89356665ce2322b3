//! How much does an authority allow? `limits` of `acme_issuer`, frozen: data, so that the decisions know no authority by
//! name. What is used up is counted by `cert::ledger`.

use std::net::IpAddr;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// So many in any span of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many the authority allows; semper stays below.
    pub count: u32,
    /// Within which time.
    pub per: Duration,
}

/// What an authority allows to one account; `None`: without limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// New orders.
    pub orders: Option<Rate>,
    /// Certificates for names below one registered domain.
    pub domain: Option<Rate>,
    /// Certificates for exactly the same names.
    pub set: Option<Rate>,
    /// Failed validations of one name.
    pub failures: Option<Rate>,
    /// Failed validations of one name in a row, after which the authority pauses it.
    pub row: Option<u32>,
    /// Renewals of the same names count against `set` and `failures` alone.
    pub renewals_exempt: bool,
    /// `set` was not said by the authority: its span is never longer than the life of what it issues.
    pub elastic: bool,
    /// The gap between two orders once a few have begun together.
    pub pace: Duration,
}

impl Limits {
    /// Let's Encrypt, as of 2026-08: <https://letsencrypt.org/docs/rate-limits/>.
    pub const LETS_ENCRYPT: Limits = Limits {
        orders: Some(Rate { count: 300, per: Duration::from_secs(3 * 3600) }),
        domain: Some(Rate { count: 50, per: WEEK }),
        set: Some(Rate { count: 5, per: WEEK }),
        failures: Some(Rate { count: 5, per: HOUR }),
        row: Some(1152),
        renewals_exempt: true,
        elastic: false,
        pace: Duration::from_secs(1),
    };

    /// An authority of which nothing is known: what the strictest of the known ones allows, but for domains.
    pub const CAUTIOUS: Limits = Limits { domain: None, renewals_exempt: false, elastic: true, ..Limits::LETS_ENCRYPT };

    /// One's own authority: no limits but what keeps an error from running in a circle.
    pub const OWN: Limits = Limits {
        orders: None,
        domain: None,
        set: Some(Rate { count: 5, per: WEEK }),
        failures: None,
        row: None,
        renewals_exempt: true,
        elastic: true,
        pace: Duration::from_millis(20),
    };

    /// Without any (`limits none`): the pace alone is left.
    pub const NONE: Limits = Limits { set: None, ..Limits::OWN };

    /// What holds for the directory at `url` unless the configuration says otherwise: the known limits of Let's Encrypt,
    /// none for a directory on this machine or in a private network, and caution for every other.
    pub fn of_directory(url: &str) -> Limits {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = host.split(['/', '?', '#']).next().unwrap_or(host);
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => host.split(':').next().unwrap_or(host),
        };
        let private = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
            Err(_) => !host.contains('.') || [".localhost", ".internal", ".test"].iter().any(|end| host.ends_with(end)),
        };
        match host {
            "acme-v02.api.letsencrypt.org" => Limits::LETS_ENCRYPT,
            _ if private => Limits::OWN,
            _ => Limits::CAUTIOUS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_follow_from_the_directory() {
        let of = Limits::of_directory;
        assert_eq!(of("https://acme-v02.api.letsencrypt.org/directory"), Limits::LETS_ENCRYPT);
        for own in
            ["https://127.0.0.1:14000/dir", "https://[::1]/dir", "https://10.1.2.3/", "https://ca.internal:8443/x"]
        {
            assert_eq!(of(own), Limits::OWN, "{own}");
        }
        for other in ["https://acme.zerossl.com/v2/DV90", "https://acme-staging-v02.api.letsencrypt.org/directory"] {
            assert_eq!(of(other), Limits::CAUTIOUS, "{other}");
        }
    }
}
