//! Which certificates shall be held? `acme_certificate ISSUER [identifier …] [key=alg[:size]]
//! [standby=ISSUER|off]`, frozen.
//! Says what is wanted, never what is held: that is `cert` and `store`.

use std::fmt;
use std::sync::Arc;

use super::acme::Issuer;
use crate::words::{Identifier, Place};

/// One certificate that shall always be in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertSpec {
    /// Its identity over reloads, restarts and changes of issuer.
    pub id: CertId,
    /// The names it speaks for: sorted, each once, never empty. Those of `acme_certificate`, else of `server_name`.
    pub identifiers: Vec<Identifier>,
    /// The `acme_issuer` that signs it.
    pub issuer: Arc<str>,
    /// What kind of key it has. Default ECDSA P-256.
    pub key: KeyKind,
    /// `standby=`: who keeps a second one ready. Default: as its issuer says.
    pub standby: Standby,
    /// Where it was said first.
    pub place: Place,
}

/// Who keeps a second certificate ready.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Standby {
    /// Whoever `standby` of its issuer names, if anybody.
    #[default]
    AsIssuer,
    /// `standby=off`: nobody.
    Off,
    /// `standby=NAME`: this issuer.
    By(Arc<str>),
}

impl Standby {
    /// The issuer's name, for a certificate of `issuer`.
    pub fn of<'a>(&'a self, issuer: &'a Issuer) -> Option<&'a str> {
        match self {
            Standby::AsIssuer => issuer.standby.as_deref(),
            Standby::Off => None,
            Standby::By(name) => Some(name),
        }
    }
}

impl CertSpec {
    /// The wish for a certificate over `identifiers`, in any order.
    pub fn new(issuer: impl Into<Arc<str>>, mut identifiers: Vec<Identifier>, key: KeyKind, place: Place) -> CertSpec {
        identifiers.sort();
        identifiers.dedup();
        let (id, standby) = (CertId::of(&identifiers, key), Standby::default());
        CertSpec { id, identifiers, issuer: issuer.into(), key, standby, place }
    }
}

/// The identity of a [`CertSpec`]: its names and its kind of key, not its issuer, so that after a change of issuer the
/// certificate held so far is still found. Safe as a file name; begins with the first name for human eyes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertId(Arc<str>);

/// Why a text is no [`CertId`]: it has bytes that no identity has, or begins with a dot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the identity of a certificate")]
pub struct NotACertId;

impl TryFrom<String> for CertId {
    type Error = NotACertId;
    fn try_from(text: String) -> Result<CertId, NotACertId> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._-~".contains(&b);
        if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.bytes().all(good) {
            return Err(NotACertId);
        }
        Ok(CertId(text.into()))
    }
}

impl From<CertId> for String {
    fn from(id: CertId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl CertId {
    /// The identity of a certificate over `identifiers` (sorted, each once) with a key of kind `key`.
    pub fn of(identifiers: &[Identifier], key: KeyKind) -> CertId {
        let mut text = String::from(key.as_str());
        for identifier in identifiers {
            text.push('\n');
            text.push_str(&identifier.to_string());
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let mut id: String = identifiers.first().map_or_else(String::new, Identifier::to_string);
        id = id.replace('*', "_").replace(':', "-");
        id.truncate(100);
        id.push('~');
        for byte in &digest.as_ref()[..8] {
            id.push_str(&format!("{byte:02x}"));
        }
        CertId(id.into())
    }

    /// The identity of what stands behind this certificate for another purpose: `standby`, `rescue`.
    pub fn variant(&self, purpose: &str) -> CertId {
        CertId(format!("{}~{purpose}", self.0).into())
    }

    /// Whether it is the standby of another certificate.
    pub fn is_standby(&self) -> bool {
        self.0.ends_with("~standby")
    }

    /// Whether it stands behind another certificate.
    pub fn is_variant(&self) -> bool {
        self.0.matches('~').count() > 1
    }

    /// The identity as text; letters, digits, `.`, `-`, `_` and `~`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kind of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub enum KeyKind {
    /// ECDSA over P-256.
    #[default]
    #[serde(rename = "ecdsa:256")]
    EcdsaP256,
    /// ECDSA over P-384.
    #[serde(rename = "ecdsa:384")]
    EcdsaP384,
    /// RSA, 2048 bits.
    #[serde(rename = "rsa:2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa:3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "rsa:4096")]
    Rsa4096,
}

impl KeyKind {
    /// As `key=` of `acme_certificate` writes it: `ecdsa:256`, `rsa:2048` …
    pub fn as_str(self) -> &'static str {
        match self {
            KeyKind::EcdsaP256 => "ecdsa:256",
            KeyKind::EcdsaP384 => "ecdsa:384",
            KeyKind::Rsa2048 => "rsa:2048",
            KeyKind::Rsa3072 => "rsa:3072",
            KeyKind::Rsa4096 => "rsa:4096",
        }
    }

    /// Reads `alg[:size]`; `ecdsa` alone is P-256, `rsa` alone 2048 bits, as nginx's module has it.
    pub fn parse(text: &str) -> Option<KeyKind> {
        match text {
            "ecdsa" | "ecdsa:256" => Some(KeyKind::EcdsaP256),
            "ecdsa:384" => Some(KeyKind::EcdsaP384),
            "rsa" | "rsa:2048" => Some(KeyKind::Rsa2048),
            "rsa:3072" => Some(KeyKind::Rsa3072),
            "rsa:4096" => Some(KeyKind::Rsa4096),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<Identifier> {
        list.iter().map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn the_order_of_names_and_the_issuer_do_not_change_the_identity() {
        let one = CertSpec::new("a", names(&["b.example", "a.example"]), KeyKind::EcdsaP256, Place::built_in());
        let two =
            CertSpec::new("b", names(&["a.example", "b.example", "a.example"]), KeyKind::EcdsaP256, Place::built_in());
        let rsa = CertSpec::new("a", names(&["a.example", "b.example"]), KeyKind::Rsa2048, Place::built_in());
        assert_eq!(one.id, two.id);
        assert_ne!(one.id, rsa.id);
        assert!(one.id.as_str().starts_with("a.example~"));
    }

    #[test]
    fn an_identity_is_safe_as_a_file_name() {
        for name in ["*.example.com", "::1", "127.0.0.1"] {
            let id = CertId::of(&names(&[name]), KeyKind::EcdsaP256);
            assert_eq!(CertId::try_from(id.to_string()), Ok(id));
        }
        for bad in ["", "../x", ".x", "a/b", "a b"] {
            assert!(CertId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
