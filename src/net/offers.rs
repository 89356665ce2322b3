//! How does OpenSSL name what TLS numbers? Cipher suites and groups, for `$ssl_cipher`, `$ssl_ciphers`, `$ssl_curve` and
//! `$ssl_curves`. Numbers without a name are written in hex, as nginx writes them.

use super::connection::Offered;
use rustls::{CipherSuite, NamedGroup};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::OnceLock;

/// Groups by number; OpenSSL has no name to show for the hybrid ones.
const GROUPS: [(u16, &str); 35] = [
    (1, "sect163k1"),
    (2, "sect163r1"),
    (3, "sect163r2"),
    (4, "sect193r1"),
    (5, "sect193r2"),
    (6, "sect233k1"),
    (7, "sect233r1"),
    (8, "sect239k1"),
    (9, "sect283k1"),
    (10, "sect283r1"),
    (11, "sect409k1"),
    (12, "sect409r1"),
    (13, "sect571k1"),
    (14, "sect571r1"),
    (15, "secp160k1"),
    (16, "secp160r1"),
    (17, "secp160r2"),
    (18, "secp192k1"),
    (19, "prime192v1"),
    (20, "secp224k1"),
    (21, "secp224r1"),
    (22, "secp256k1"),
    (23, "prime256v1"),
    (24, "secp384r1"),
    (25, "secp521r1"),
    (26, "brainpoolP256r1"),
    (27, "brainpoolP384r1"),
    (28, "brainpoolP512r1"),
    (29, "X25519"),
    (30, "X448"),
    (256, "ffdhe2048"),
    (257, "ffdhe3072"),
    (258, "ffdhe4096"),
    (259, "ffdhe6144"),
    (260, "ffdhe8192"),
];

/// The name of a cipher suite.
pub(super) fn cipher(number: u16) -> Option<&'static str> {
    static NAMES: OnceLock<HashMap<u16, &'static str>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let lines = include_str!("suites.tsv").lines().filter_map(|line| line.split_once('\t'));
        lines.filter_map(|(number, name)| Some((u16::from_str_radix(number, 16).ok()?, name))).collect()
    });
    names.get(&number).copied()
}

fn group(number: u16) -> Option<&'static str> {
    GROUPS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The name of the group that was agreed on; a hybrid one by its own name.
pub(super) fn negotiated(agreed: NamedGroup) -> &'static str {
    match agreed {
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        other => group(other.into()).or_else(|| other.as_str()).unwrap_or_default(),
    }
}

/// What a hello offers, in its order.
pub(super) fn offered(ciphers: &[CipherSuite], groups: Option<&[NamedGroup]>) -> Offered {
    let list = |numbers: &mut dyn Iterator<Item = (u16, Option<&'static str>)>| {
        let mut text = String::new();
        for (number, name) in numbers {
            let colon = if text.is_empty() { "" } else { ":" };
            // Writing to memory cannot fail.
            let _ = match name {
                Some(name) => write!(text, "{colon}{name}"),
                None => write!(text, "{colon}0x{number:04x}"),
            };
        }
        text.into()
    };
    Offered {
        ciphers: list(&mut ciphers.iter().map(|suite| u16::from(*suite)).map(|number| (number, cipher(number)))),
        curves: list(&mut groups.unwrap_or_default().iter().map(|g| u16::from(*g)).map(|n| (n, group(n)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_openssls_names_and_unknown_ones_are_hex() {
        let suites = [0x0a0a, 0x1301, 0xc02b, 0xcca9, 0x00ff].map(CipherSuite::from);
        let groups = [0x2a2a, 0x11ec, 29, 23, 257].map(NamedGroup::from);
        let offered = offered(&suites, Some(&groups));
        let ciphers = "0x0a0a:TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:\
                       TLS_EMPTY_RENEGOTIATION_INFO_SCSV";
        assert_eq!(offered.ciphers, ciphers);
        assert_eq!(offered.curves, "0x2a2a:0x11ec:X25519:prime256v1:ffdhe3072");
        assert_eq!(super::offered(&[], None), Offered::default());
        assert_eq!(negotiated(NamedGroup::secp256r1), "prime256v1");
    }
}
