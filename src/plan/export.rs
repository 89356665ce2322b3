//! Who else wants the certificates that semper obtains? `export`: where they go, in which layout, and what runs then.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::certificate::CertSpec;
use crate::words::Identifier;

/// One `export` line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Which certificates: those of this name, or (`all`) every one that is obtained.
    pub name: Option<Identifier>,
    /// `to=`: the folder. Absolute.
    pub folder: PathBuf,
    /// `layout=`. Default [`Layout::Pem`].
    pub layout: Layout,
    /// `owner=USER[:GROUP]`: whose the files become, user and group. Default: whoever writes them, which is root where
    /// the master is.
    pub owner: Option<(u32, u32)>,
    /// `mode=`: of the files; folders may be searched by whoever may read. Default 0600.
    pub mode: u32,
    /// `hook=`: run by the shell after every switch.
    pub hook: Option<Box<str>>,
    /// `hook_timeout=`: then it is ended and counts as failed. Default a minute.
    pub hook_timeout: Duration,
}

/// How files are laid out below the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// `NAME/{cert,chain,fullchain,privkey}.pem`.
    Pem,
    /// `live/NAME/*.pem` as links into `archive/NAME/`, as certbot has them.
    Certbot,
    /// `NAME.pem`: chain and key in one file.
    Haproxy,
}

impl Export {
    /// The name under which a certificate is exported: the name that was asked for, else its first one, without `*.`.
    pub fn lineage(&self, spec: &CertSpec) -> Option<String> {
        let name = match &self.name {
            Some(name) => spec.identifiers.contains(name).then_some(name)?,
            None => spec.identifiers.first()?,
        };
        // An IPv6 address has colons, which some readers of paths take for separators.
        Some(name.to_string().trim_start_matches("*.").replace(':', "-"))
    }
}

/// Which certificates go where: for each export, lineage names and their certificates. Where two have the same name (an
/// ECDSA and an RSA key, say) the first of the configuration keeps it, and the others add their kind of key.
pub fn lineages<'a>(exports: &'a [Export], specs: &'a [CertSpec]) -> Vec<(&'a Export, String, &'a CertSpec)> {
    let mut found: Vec<(&Export, String, &CertSpec)> = Vec::new();
    for export in exports {
        for spec in specs {
            let Some(mut lineage) = export.lineage(spec) else { continue };
            let taken = |name: &str, found: &[(&Export, String, &CertSpec)]| {
                found.iter().any(|(other, taken, _)| other.folder == export.folder && taken == name)
            };
            if taken(&lineage, &found) {
                lineage = format!("{lineage}-{}", spec.key.as_str().replace(':', "-"));
            }
            if !taken(&lineage, &found) {
                found.push((export, lineage, spec));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::certificate::KeyKind;
    use crate::words::Place;

    fn export(name: Option<&str>) -> Export {
        let name = name.map(|name| name.parse().unwrap());
        let (folder, layout) = ("/x".into(), Layout::Pem);
        Export { name, folder, layout, owner: None, mode: 0o600, hook: None, hook_timeout: Duration::from_secs(60) }
    }

    fn spec(names: &[&str], key: KeyKind) -> CertSpec {
        CertSpec::new("a", names.iter().map(|name| name.parse().unwrap()).collect(), key, Place::built_in())
    }

    #[test]
    fn two_certificates_of_one_name_go_to_two_places_and_others_stay_at_home() {
        let specs = [
            spec(&["*.a.test", "b.test"], KeyKind::EcdsaP256),
            spec(&["*.a.test"], KeyKind::Rsa2048),
            spec(&["2001:db8::1"], KeyKind::EcdsaP256),
        ];
        let names = |export: Export| -> Vec<String> {
            lineages(&[export], &specs).into_iter().map(|(_, name, _)| name).collect()
        };
        assert_eq!(names(export(None)), ["a.test", "a.test-rsa-2048", "2001-db8--1"]);
        assert_eq!(names(export(Some("b.test"))), ["b.test"]);
        assert_eq!(names(export(Some("c.test"))), [""; 0]);
    }
}
