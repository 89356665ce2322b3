//! Which versions, cipher suites and groups may be negotiated? Turns the words of the plan into what rustls takes.

use crate::plan::tls::TlsProtocol;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// Nothing is left to negotiate. Whose fault: the configuration's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no TLS version, cipher suite or group is left of ssl_protocols, ssl_ciphers and ssl_ecdh_curve")]
pub struct NothingLeft;

/// What `protocol` allows: a provider with these suites and groups, and the versions.
///
/// # Errors
/// [`NothingLeft`].
pub(super) fn provider(
    protocol: &TlsProtocol,
) -> Result<(Arc<CryptoProvider>, Vec<&'static SupportedProtocolVersion>), NothingLeft> {
    let mut provider = aws_lc_rs::default_provider();
    let (tls13, tls12): (Vec<_>, Vec<_>) = provider.cipher_suites.into_iter().partition(|s| s.tls13().is_some());
    let tls13 = if protocol.tls13 { pick(tls13, &protocol.ciphersuites) } else { Vec::new() };
    let tls12 = if protocol.tls12 { pick(tls12, &protocol.ciphers) } else { Vec::new() };
    let mut versions = Vec::with_capacity(2);
    if !tls13.is_empty() {
        versions.push(&rustls::version::TLS13);
    }
    if !tls12.is_empty() {
        versions.push(&rustls::version::TLS12);
    }
    provider.cipher_suites = tls13.into_iter().chain(tls12).collect();
    if !protocol.curves.is_empty() {
        provider.kx_groups = protocol.curves.iter().filter_map(|name| group(name)).collect();
    }
    if versions.is_empty() || provider.kx_groups.is_empty() {
        return Err(NothingLeft);
    }
    Ok((Arc::new(provider), versions))
}

/// Those of `suites` that are named, in the order of the names; all without names.
fn pick(suites: Vec<SupportedCipherSuite>, names: &[Box<str>]) -> Vec<SupportedCipherSuite> {
    if names.is_empty() {
        return suites;
    }
    let same = |suite: &SupportedCipherSuite, name: &str| {
        suite.suite().as_str().is_some_and(|own| own == name || own.replacen("TLS13_", "TLS_", 1) == name)
    };
    names.iter().filter_map(|name| suites.iter().find(|suite| same(suite, name)).copied()).collect()
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    let wanted = match name.to_ascii_lowercase().as_str() {
        "x25519" => NamedGroup::X25519,
        "prime256v1" | "p-256" | "secp256r1" => NamedGroup::secp256r1,
        "secp384r1" | "p-384" => NamedGroup::secp384r1,
        "x25519mlkem768" => NamedGroup::X25519MLKEM768,
        "secp256r1mlkem768" => NamedGroup::secp256r1MLKEM768,
        _ => return None,
    };
    aws_lc_rs::ALL_KX_GROUPS.iter().copied().find(|group| group.name() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Box<[Box<str>]> {
        list.iter().map(|n| (*n).into()).collect()
    }

    #[test]
    fn only_what_is_named_is_negotiated_in_the_order_of_the_names() {
        let protocol = TlsProtocol {
            ciphers: names(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "X"]),
            ciphersuites: names(&["TLS_AES_128_GCM_SHA256"]),
            curves: names(&["P-384", "prime256v1", "brainpool"]),
            ..TlsProtocol::default()
        };
        let (provider, versions) = provider(&protocol).unwrap();
        let suites: Vec<_> = provider.cipher_suites.iter().filter_map(|s| s.suite().as_str()).collect();
        assert_eq!(
            suites,
            [
                "TLS13_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
            ]
        );
        let groups: Vec<_> = provider.kx_groups.iter().map(|g| g.name()).collect();
        assert_eq!(groups, [NamedGroup::secp384r1, NamedGroup::secp256r1]);
        assert_eq!(versions.len(), 2);
    }

    #[test]
    fn versions_can_be_left_out_but_not_everything() {
        let only13 = TlsProtocol { tls12: false, ..TlsProtocol::default() };
        assert_eq!(provider(&only13).unwrap().1, [&rustls::version::TLS13]);
        let none = TlsProtocol { tls12: false, tls13: false, ..TlsProtocol::default() };
        assert_eq!(provider(&none).unwrap_err(), NothingLeft);
        let unknown = TlsProtocol { curves: names(&["brainpool"]), ..TlsProtocol::default() };
        assert_eq!(provider(&unknown).unwrap_err(), NothingLeft);
    }
}
