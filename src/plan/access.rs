//! Who gets in? (allow, deny, auth_basic, satisfy.)

use super::template::Template;
use std::net::IpAddr;

/// Access rules of a location.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `allow` and `deny` in order; the first that matches decides, none lets through.
    pub rules: Box<[AccessRule]>,
    /// `auth_basic` with `auth_basic_user_file`.
    pub basic: Option<AuthBasic>,
    /// `auth_delay`: how long a 401 waits. Default not at all.
    pub delay: std::time::Duration,
    /// `satisfy any`: one of the two is enough. Default all.
    pub satisfy_any: bool,
}

/// `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// `allow`.
    pub allow: bool,
    /// Who is meant.
    pub whom: Whom,
}

/// Whom an access rule means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// `all`.
    All,
    /// An address with the length of its network prefix.
    Net(IpAddr, u8),
    /// `unix:`.
    Unix,
}

impl Whom {
    /// Whether `client` is meant; `None` is a client on a unix socket. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn means(&self, client: Option<IpAddr>) -> bool {
        match (self, client.map(|ip| ip.to_canonical())) {
            (Whom::All, _) => true,
            (Whom::Unix, client) => client.is_none(),
            (Whom::Net(IpAddr::V4(net), bits), Some(IpAddr::V4(ip))) => {
                let mask = u32::MAX.checked_shl(32 - u32::from((*bits).min(32))).unwrap_or(0);
                u32::from(*net) & mask == u32::from(ip) & mask
            }
            (Whom::Net(IpAddr::V6(net), bits), Some(IpAddr::V6(ip))) => {
                let mask = u128::MAX.checked_shl(128 - u32::from((*bits).min(128))).unwrap_or(0);
                u128::from(*net) & mask == u128::from(ip) & mask
            }
            (Whom::Net(..), _) => false,
        }
    }
}

/// `auth_basic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthBasic {
    /// The realm; the value `off` at run time lets everybody through.
    pub realm: Template,
    /// `auth_basic_user_file`: path of the password file.
    pub user_file: Template,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_mean_their_members_only() {
        let net = Whom::Net("10.0.0.0".parse().unwrap(), 8);
        assert!(net.means("10.255.0.1".parse().ok()) && net.means("::ffff:10.1.1.1".parse().ok()));
        assert!(!net.means("11.0.0.1".parse().ok()) && !net.means("::1".parse().ok()) && !net.means(None));
        assert!(Whom::Net("::".parse().unwrap(), 0).means("fe80::1".parse().ok()));
        assert!(Whom::Net("0.0.0.0".parse().unwrap(), 0).means("1.2.3.4".parse().ok()));
    }
}
