//! Which names does a plan serve, with which certificates, and which challenge can prove them? Plain functions of a plan.

use crate::plan::Plan;
use crate::plan::listener::ListenAddress;
use crate::plan::server::Server;
use crate::plan::tls::CertificateSource;
use crate::words::{DomainName, Identifier};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One name as it is served today.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ServedName {
    /// As `server_name` spells it.
    pub name: String,
    /// The `server` blocks, as FILE:LINE.
    pub servers: Vec<String>,
    /// Certificate files that serve it.
    pub files: Vec<PathBuf>,
    /// Certificates that an `acme_issuer` keeps, if any.
    pub issuer: Option<String>,
    /// Which challenge can prove it.
    pub challenge: Challenge,
}

/// Which challenge can prove a name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Challenge {
    /// A listener on port 80 stands, or semper opens one.
    Http01 {
        /// `false`: no server listens on port 80 today; semper would open it for challenges alone.
        listener: bool,
    },
    /// A wildcard: only a DNS record proves it.
    Dns01,
    /// No public CA signs it (an internal suffix, a pattern, a catch-all).
    None {
        /// Why.
        why: &'static str,
    },
}

/// Endings under which no public CA signs.
const INTERNAL: [&str; 10] =
    ["local", "localhost", "internal", "lan", "home", "corp", "intranet", "test", "invalid", "example"];

/// Every name of every TLS server of `plan`, sorted.
pub fn served(plan: &Plan) -> Vec<ServedName> {
    let Some(http) = &plan.http else { return Vec::new() };
    let port80 = http.listeners.iter().any(|l| matches!(&l.address, ListenAddress::Tcp(a) if a.port() == 80));
    let mut names: BTreeMap<String, ServedName> = BTreeMap::new();
    for server in &http.servers {
        let Some(tls) = &server.tls else { continue };
        for name in &server.names {
            if name.is_empty() || &**name == "_" {
                continue;
            }
            let entry = names.entry(name.to_string()).or_insert_with(|| ServedName {
                name: name.to_string(),
                servers: Vec::new(),
                files: Vec::new(),
                issuer: None,
                challenge: challenge(name, port80),
            });
            entry.servers.push(server.place.to_string());
            for source in &tls.certificates {
                match source {
                    CertificateSource::File(pair) if !entry.files.iter().any(|known| **known == *pair.certificate) => {
                        entry.files.push(pair.certificate.to_path_buf());
                    }
                    CertificateSource::File(_) => {}
                    CertificateSource::Acme(id) => {
                        entry.issuer = plan.certificates.iter().find(|c| c.id == *id).map(|c| c.issuer.to_string());
                    }
                }
            }
        }
    }
    names.into_values().collect()
}

fn challenge(name: &str, port80: bool) -> Challenge {
    if name.starts_with('~') || name.ends_with(".*") {
        return Challenge::None { why: "a pattern is no name that a CA could sign" };
    }
    if name.starts_with('.') || name.starts_with("*.") {
        return Challenge::Dns01;
    }
    match name.parse::<Identifier>() {
        Ok(Identifier::Ip(_)) => Challenge::Http01 { listener: port80 },
        Ok(Identifier::Dns(name)) if is_internal(&name) => Challenge::None { why: "no public CA signs this ending" },
        Ok(Identifier::Dns(_)) => Challenge::Http01 { listener: port80 },
        Err(_) => Challenge::None { why: "not a domain name" },
    }
}

fn is_internal(name: &DomainName) -> bool {
    let last = name.as_str().rsplit('.').next().unwrap_or_default();
    !name.as_str().contains('.') || INTERNAL.contains(&last)
}

/// The lines for `semper.conf` that hand a server's certificate to an issuer.
pub fn hand_over(server: &Server) -> Option<String> {
    let names: Vec<&str> = server.names.iter().map(|n| &**n).filter(|n| n.parse::<DomainName>().is_ok()).collect();
    (!names.is_empty()).then(|| format!("server_certificates {} {{ acme_certificate letsencrypt; }}", names.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_name_has_its_challenge() {
        assert_eq!(challenge("www.site.org", true), Challenge::Http01 { listener: true });
        assert_eq!(challenge("www.site.org", false), Challenge::Http01 { listener: false });
        assert_eq!(challenge("*.site.org", true), Challenge::Dns01);
        assert_eq!(challenge(".site.org", true), Challenge::Dns01);
        for private in ["db.internal", "localhost", "~^w.*$", "www.site.*", "a b"] {
            assert!(matches!(challenge(private, true), Challenge::None { .. }), "{private}");
        }
    }
}
