//! Which cipher suites does an OpenSSL cipher string mean, of those that we can speak? Strings are read as OpenSSL reads
//! them, over the suites that rustls has for TLS 1.2; names of suites that it lacks are told, so that they can be said.

/// A TLS 1.2 suite that we can speak: OpenSSL's name, the IANA name, and the words that mean it.
struct Suite {
    openssl: &'static str,
    iana: &'static str,
    ecdsa: bool,
    cipher: Cipher,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes256,
    Aes128,
    ChaCha,
}

const SUITES: [Suite; 6] = [
    suite("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", true, Cipher::Aes256),
    suite("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", false, Cipher::Aes256),
    suite("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", true, Cipher::ChaCha),
    suite("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", false, Cipher::ChaCha),
    suite("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", true, Cipher::Aes128),
    suite("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", false, Cipher::Aes128),
];

const fn suite(openssl: &'static str, iana: &'static str, ecdsa: bool, cipher: Cipher) -> Suite {
    Suite { openssl, iana, ecdsa, cipher }
}

/// TLS 1.3 suites that we can speak.
const SUITES_13: [&str; 3] = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

/// Words that mean some of our suites.
fn means(word: &str, suite: &Suite) -> Option<bool> {
    let aes = suite.cipher != Cipher::ChaCha;
    Some(match word {
        "ALL" | "DEFAULT" | "HIGH" | "FIPS" | "TLSv1.2" | "PROFILE=SYSTEM" => true,
        "COMPLEMENTOFALL" => false,
        "ECDHE" | "EECDH" | "kEECDH" | "kECDHE" | "ECDH" | "AEAD" => true,
        "aECDSA" | "ECDSA" => suite.ecdsa,
        "aRSA" => !suite.ecdsa,
        "AES" => aes,
        "AESGCM" => aes,
        "AES128" => suite.cipher == Cipher::Aes128,
        "AES256" => suite.cipher == Cipher::Aes256,
        "CHACHA20" => !aes,
        "SUITEB128" | "SUITEB128ONLY" => suite.ecdsa && aes,
        "SUITEB192" => suite.ecdsa && suite.cipher == Cipher::Aes256,
        _ if word == suite.openssl || word == suite.iana => true,
        _ => return None,
    })
}

/// Words that OpenSSL knows and that mean none of our suites.
const NONE_OF_OURS: [&str; 58] = [
    "aNULL",
    "eNULL",
    "NULL",
    "kRSA",
    "RSA",
    "kDHE",
    "kEDH",
    "kDHr",
    "kDHd",
    "kDH",
    "DHE",
    "EDH",
    "DH",
    "ADH",
    "AECDH",
    "aDSS",
    "DSS",
    "aDH",
    "kECDHr",
    "kECDHe",
    "kECDH",
    "aECDH",
    "PSK",
    "kPSK",
    "aPSK",
    "kECDHEPSK",
    "kDHEPSK",
    "kRSAPSK",
    "SRP",
    "kSRP",
    "aSRP",
    "GOST94",
    "kGOST",
    "aGOST",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "AESCCM",
    "AESCCM8",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "MD5",
    "SHA",
    "SHA1",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "LOW",
    "MEDIUM",
    "COMPLEMENTOFDEFAULT",
];

/// What a cipher string comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Ciphers {
    /// IANA names of TLS 1.2 suites, in order.
    pub suites: Vec<&'static str>,
    /// Names of single suites that were asked for and that we cannot speak.
    pub lacking: Vec<String>,
}

/// Reads an OpenSSL cipher string.
pub fn read(text: &str) -> Ciphers {
    let mut chosen: Vec<usize> = Vec::new();
    let mut killed: Vec<usize> = Vec::new();
    let mut lacking = Vec::new();
    for word in text.split([':', ',', ' ', ';']).filter(|word| !word.is_empty() && !word.starts_with('@')) {
        let (operator, rule) = match word.as_bytes()[0] {
            b'!' | b'-' | b'+' => (word.as_bytes()[0], &word[1..]),
            _ => (b' ', word),
        };
        let known = known(rule);
        if operator == b' ' && !known {
            lacking.push(rule.to_owned());
        }
        let matching: Vec<usize> = (0..SUITES.len()).filter(|index| matches(rule, &SUITES[*index])).collect();
        match operator {
            b'!' => {
                chosen.retain(|index| !matching.contains(index));
                killed.extend(matching);
            }
            b'-' => chosen.retain(|index| !matching.contains(index)),
            b'+' => {
                let moved: Vec<usize> = chosen.extract_if(.., |index| matching.contains(index)).collect();
                chosen.extend(moved);
            }
            _ => {
                let new = matching.into_iter().filter(|index| !killed.contains(index) && !chosen.contains(index));
                let new: Vec<usize> = new.collect();
                chosen.extend(new);
            }
        }
    }
    Ciphers { suites: chosen.into_iter().map(|index| SUITES[index].iana).collect(), lacking }
}

/// Whether every part of `A+B` means the suite.
fn matches(rule: &str, suite: &Suite) -> bool {
    // `SHA256` and `SHA384` mean the MAC of a suite, as OpenSSL has it, and ours have none.
    !rule.is_empty() && rule.split('+').all(|word| means(word, suite).unwrap_or(false))
}

fn known(rule: &str) -> bool {
    rule.split('+').all(|word| {
        NONE_OF_OURS.contains(&word)
            || ["SHA256", "SHA384", "TLSv1", "TLSv1.0", "SSLv3"].contains(&word)
            || SUITES_13.contains(&word)
            || SUITES.iter().any(|suite| means(word, suite).is_some())
    })
}

/// Reads a list of TLS 1.3 suites (`ssl_conf_command Ciphersuites`): those that we can speak, and the others.
pub fn read_13(text: &str) -> (Vec<&'static str>, Vec<String>) {
    let mut suites = Vec::new();
    let mut lacking = Vec::new();
    for word in text.split(':').filter(|word| !word.is_empty()) {
        match SUITES_13.iter().find(|suite| **suite == word) {
            Some(suite) => suites.push(*suite),
            None => lacking.push(word.to_owned()),
        }
    }
    (suites, lacking)
}

/// Reads a list of groups (`ssl_ecdh_curve`): rustls's names of those that we can speak, and the others.
pub fn read_curves(text: &str) -> (Vec<&'static str>, Vec<String>) {
    let mut curves = Vec::new();
    let mut lacking = Vec::new();
    for word in text.split(':').filter(|word| !word.is_empty() && *word != "auto") {
        match word {
            "prime256v1" | "P-256" | "secp256r1" => curves.push("secp256r1"),
            "secp384r1" | "P-384" => curves.push("secp384r1"),
            "X25519" | "x25519" => curves.push("X25519"),
            "X25519MLKEM768" => curves.push("X25519MLKEM768"),
            other => lacking.push(other.to_owned()),
        }
    }
    (curves, lacking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_of_nginx_means_every_suite() {
        assert_eq!(read("HIGH:!aNULL:!MD5").suites.len(), 6);
        assert_eq!(read("DEFAULT").suites.len(), 6);
        assert_eq!(read("EECDH+AESGCM:EDH+AESGCM").suites.len(), 4);
    }

    #[test]
    fn single_suites_keep_their_order_and_unknown_ones_are_told() {
        let ciphers = read("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256");
        let expected = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
        assert_eq!(ciphers.suites, expected);
        assert_eq!(ciphers.lacking, ["DHE-RSA-AES128-GCM-SHA256"]);
    }

    #[test]
    fn a_killed_suite_never_comes_back() {
        assert_eq!(read("ALL:!ECDSA:ECDSA").suites.len(), 3);
        assert_eq!(read("ALL:-ECDSA:ECDSA").suites.len(), 6);
        assert_eq!(read("ALL:+AES256").suites.last(), Some(&"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"));
    }

    #[test]
    fn a_string_of_suites_that_we_lack_means_nothing() {
        assert!(read("AES256-SHA:RC4+RSA").suites.is_empty());
    }
}
