//! Who renews certificates on this machine today? certbot's renewal files, timers, cron lines, hooks, and the traces of
//! other clients. Reads below a root folder (so that tests can build one); changes nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One certificate of certbot: `renewal/NAME.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lineage {
    /// certbot's name of it.
    pub name: String,
    /// The renewal file.
    pub file: PathBuf,
    /// `fullchain =`: what nginx.conf usually names.
    pub fullchain: Option<PathBuf>,
    /// `privkey =`.
    pub privkey: Option<PathBuf>,
    /// `authenticator =`: webroot, nginx, standalone, dns-…, manual.
    pub authenticator: Option<String>,
    /// `server =`: the ACME directory.
    pub server: Option<String>,
    /// The names that its webroot is for (`[[webroot_map]]`), which are those of its certificate.
    pub names: Vec<String>,
    /// `autorenew = False`: certbot leaves it alone.
    pub rests: bool,
    /// Its own hooks (`pre_hook`, `post_hook`, `renew_hook`, `deploy_hook`).
    pub hooks: Vec<String>,
}

/// What starts a renewal or follows one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Trigger {
    /// Where it stands.
    pub file: PathBuf,
    /// What it is: `systemd timer`, `cron`, `hook`, `acme.sh`…
    pub kind: &'static str,
    /// The line or name that says so.
    pub says: String,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Renewers {
    /// certbot's certificates.
    pub lineages: Vec<Lineage>,
    /// Timers, cron lines, hooks, other clients.
    pub triggers: Vec<Trigger>,
}

/// Clients whose names betray a cron line or a unit.
const CLIENTS: [&str; 7] = ["certbot", "acme.sh", "dehydrated", "lego ", "getssl", "acme-tiny", "acmetool"];

/// Folders whose presence alone betrays a client.
const TRACES: [(&str, &str); 4] = [
    ("root/.acme.sh", "acme.sh"),
    ("etc/dehydrated", "dehydrated"),
    ("var/lib/acme", "acmetool"),
    ("etc/lego", "lego"),
];

impl Renewers {
    /// Looks below `root` (`/` on a real machine).
    pub fn below(root: &Path) -> Renewers {
        let mut found = Renewers::default();
        for file in entries(&root.join("etc/letsencrypt/renewal")) {
            if file.extension().is_some_and(|e| e == "conf")
                && let Ok(text) = fs::read_to_string(&file)
            {
                found.lineages.push(Lineage::parse(&file, &text));
            }
        }
        for folder in ["etc/systemd/system/timers.target.wants", "etc/systemd/system/snapd.mounts.target.wants"] {
            for file in entries(&root.join(folder)) {
                let name = name_of(&file);
                if CLIENTS.iter().any(|c| name.contains(c.trim())) {
                    found.triggers.push(Trigger { file, kind: "systemd timer", says: name });
                }
            }
        }
        found.cron(root);
        for folder in ["pre", "deploy", "post"] {
            for file in entries(&root.join("etc/letsencrypt/renewal-hooks").join(folder)) {
                found.triggers.push(Trigger { says: format!("{folder} hook {}", name_of(&file)), file, kind: "hook" });
            }
        }
        for (folder, client) in TRACES {
            let file = root.join(folder);
            if file.is_dir() {
                found.triggers.push(Trigger { file, kind: "another client", says: client.to_owned() });
            }
        }
        found
    }

    fn cron(&mut self, root: &Path) {
        let mut files = vec![root.join("etc/crontab")];
        for folder in ["etc/cron.d", "var/spool/cron/crontabs", "etc/cron.daily", "etc/cron.weekly"] {
            files.extend(entries(&root.join(folder)));
        }
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let line = text
                .lines()
                .map(str::trim)
                .find(|line| !line.starts_with('#') && CLIENTS.iter().any(|client| line.contains(client.trim())));
            if let Some(line) = line {
                self.triggers.push(Trigger { says: line.to_owned(), file, kind: "cron" });
            }
        }
    }

    /// What still renews one of `names` although semper looks after it: a sentence for each lineage of certbot that a
    /// timer or a cron line keeps alive. Both would order, and share the authority's limits.
    pub fn rivals(&self, names: &[String]) -> Vec<String> {
        let starts =
            |trigger: &&Trigger| matches!(trigger.kind, "systemd timer" | "cron") && trigger.says.contains("certbot");
        let Some(trigger) = self.triggers.iter().find(starts) else { return Vec::new() };
        let names: HashSet<&String> = names.iter().collect();
        let mut found = Vec::new();
        for lineage in self.lineages.iter().filter(|lineage| !lineage.rests) {
            let theirs = lineage.names.iter().chain([&lineage.name]);
            let Some(both) = theirs.into_iter().find(|name| names.contains(name)) else { continue };
            found.push(format!(
                "certbot still renews {both} too ({}, started by {}): `certbot delete --cert-name {}`, or `autorenew = False` \
                 in its renewal file, leaves the name to semper",
                lineage.file.display(),
                trigger.file.display(),
                lineage.name
            ));
        }
        found
    }

    /// The lineage whose files a server names, by the path as written or where its links lead.
    pub fn lineage_of(&self, certificate: &Path) -> Option<&Lineage> {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.lineages.iter().find(|l| {
            let folder = l.fullchain.as_deref().and_then(Path::parent);
            folder.is_some_and(|folder| certificate.starts_with(folder))
                || l.fullchain.as_deref().is_some_and(|chain| real(chain) == real(certificate))
        })
    }
}

impl Lineage {
    /// Reads certbot's `renewal/NAME.conf`: `key = value` lines, `[renewalparams]`.
    pub fn parse(file: &Path, text: &str) -> Lineage {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut lineage = Lineage { name: stem, file: file.to_owned(), ..Lineage::default() };
        let mut webroots = false;
        for line in text.lines().map(str::trim) {
            webroots = line == "[[webroot_map]]" || webroots && !line.starts_with('[');
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim().to_owned();
            match key.trim() {
                name if webroots => lineage.names.push(name.to_owned()),
                "autorenew" => lineage.rests = value.eq_ignore_ascii_case("false"),
                "fullchain" => lineage.fullchain = Some(value.into()),
                "privkey" => lineage.privkey = Some(value.into()),
                "authenticator" => lineage.authenticator = Some(value),
                "server" => lineage.server = Some(value),
                hook @ ("pre_hook" | "post_hook" | "renew_hook" | "deploy_hook") => {
                    lineage.hooks.push(format!("{hook}: {value}"));
                }
                _ => {}
            }
        }
        lineage
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    all.sort();
    all
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/letsencrypt/renewal/example.com.conf",
            "version = 2.1.0\nfullchain = /etc/letsencrypt/live/example.com/fullchain.pem\n\
             privkey = /etc/letsencrypt/live/example.com/privkey.pem\n[renewalparams]\nauthenticator = webroot\n\
             server = https://ca.test/dir\nrenew_hook = systemctl reload nginx\n[[webroot_map]]\n\
             www.example.com = /var/www\n",
        );
        write("etc/systemd/system/timers.target.wants/certbot.timer", "");
        write("etc/systemd/system/timers.target.wants/apt-daily.timer", "");
        write("etc/cron.d/certbot", "# certbot\n0 */12 * * * root certbot -q renew\n");
        write("etc/letsencrypt/renewal-hooks/deploy/reload.sh", "nginx -s reload\n");
        write("root/.acme.sh/account.conf", "");
        root
    }

    #[test]
    fn every_renewer_of_a_machine_is_found() {
        let root = machine();
        let found = Renewers::below(root.path());
        assert_eq!(found.lineages.len(), 1);
        assert_eq!(found.lineages[0].authenticator.as_deref(), Some("webroot"));
        assert_eq!(found.lineages[0].hooks, ["renew_hook: systemctl reload nginx"]);
        let kinds: Vec<_> = found.triggers.iter().map(|t| t.kind).collect();
        assert_eq!(kinds, ["systemd timer", "cron", "hook", "another client"]);
        assert_eq!(found.triggers[1].says, "0 */12 * * * root certbot -q renew");
    }

    #[test]
    fn a_certificate_is_traced_to_its_lineage() {
        let found = Renewers::below(machine().path());
        let of = |path: &str| found.lineage_of(Path::new(path)).map(|l| l.name.as_str());
        assert_eq!(of("/etc/letsencrypt/live/example.com/fullchain.pem"), Some("example.com"));
        assert_eq!(of("/etc/letsencrypt/live/example.com/cert.pem"), Some("example.com"));
        assert_eq!(of("/etc/ssl/other.pem"), None);
    }

    #[test]
    fn a_certbot_that_still_runs_for_one_of_our_names_is_a_rival() {
        let root = machine();
        let ours = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = Renewers::below(root.path());
        assert_eq!(found.rivals(&ours(&["other.example"])), Vec::<String>::new());
        let said = found.rivals(&ours(&["www.example.com", "x.example"]));
        assert!(
            said.len() == 1 && said[0].contains("certbot.timer") && said[0].contains("example.com.conf"),
            "{said:?}"
        );
        // At rest, or with nobody who starts it, it is none.
        let file = root.path().join("etc/letsencrypt/renewal/example.com.conf");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("autorenew = False\n{text}")).unwrap();
        assert!(Renewers::below(root.path()).rivals(&ours(&["www.example.com"])).is_empty());
        fs::write(&file, text).unwrap();
        fs::remove_dir_all(root.path().join("etc/systemd")).unwrap();
        fs::remove_dir_all(root.path().join("etc/cron.d")).unwrap();
        assert!(Renewers::below(root.path()).rivals(&ours(&["www.example.com"])).is_empty());
    }

    #[test]
    fn a_machine_without_any_is_an_empty_report() {
        assert_eq!(Renewers::below(Path::new("/nonexistent")), Renewers::default());
    }
}
