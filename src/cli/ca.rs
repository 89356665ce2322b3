//! Whom must clients trust for certificates of the built-in authority, and how do they come to? `semper ca root` prints the
//! roots, `semper trust` puts them into the system's trust store and takes them out again. The private key of a root is
//! read with it and never shown.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand};

use crate::acme::internal;
use crate::cert::inspect::Leaf;
use crate::cert::journal::{Record, Shelf as _};
use crate::cert::pem;
use crate::clock::{Clock as _, UnixTime};
use crate::node::clock::RealClock;
use crate::plan::acme::Authority;
use crate::store::Directory;
use crate::words::Fingerprint;

use super::commands::Place;

/// `semper ca …`.
#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Prints the root certificates of the built-in authority in PEM, the newest first: what clients should trust.
    Root {
        /// The name of its `acme_issuer`. Default: every built-in authority of the configuration.
        issuer: Option<String>,
        /// Which configuration.
        #[command(flatten)]
        place: Place,
        /// For programs: name, fingerprint, dates and PEM of each.
        #[arg(long)]
        json: bool,
    },
}

/// `semper trust`.
#[derive(Debug, Args)]
pub struct Trust {
    /// The name of its `acme_issuer`. Default: every built-in authority of the configuration.
    issuer: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Takes out again what `semper trust` put in.
    #[arg(long)]
    uninstall: bool,
    /// The system below this folder, of an image for example; then no program is run to make it take effect.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// A root that clients should trust.
#[derive(Debug, serde::Serialize)]
struct Root {
    issuer: String,
    fingerprint: String,
    not_before: UnixTime,
    not_after: UnixTime,
    pem: String,
}

/// Where systems keep roots that were added by hand, and what makes a change take effect.
const STORES: [(&str, &[&str]); 3] = [
    ("usr/local/share/ca-certificates", &["update-ca-certificates"]),
    ("etc/pki/ca-trust/source/anchors", &["update-ca-trust", "extract"]),
    ("etc/ca-certificates/trust-source/anchors", &["trust", "extract-compat"]),
];

impl Ca {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let Ca::Root { issuer, place, json } = self;
        let roots = match roots(&place, issuer.as_deref()) {
            Ok(roots) => roots,
            Err(words) => return fail(&words),
        };
        if json {
            println!("{}", serde_json::to_string_pretty(&roots).unwrap_or_default());
        } else {
            for root in &roots {
                println!("# {} until {}, SHA-256 {}", root.issuer, root.not_after, root.fingerprint);
                print!("{}", root.pem);
            }
        }
        ExitCode::SUCCESS
    }
}

impl Trust {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let system = self.root.clone().unwrap_or_else(|| "/".into());
        let Some((folder, update)) = STORES.iter().find(|(folder, _)| system.join(folder).is_dir()) else {
            return fail(&format!("no trust store that semper knows lies below {}", system.display()));
        };
        let folder = system.join(folder);
        let done = if self.uninstall {
            uninstall(&folder, self.issuer.as_deref())
        } else {
            roots(&self.place, self.issuer.as_deref()).and_then(|roots| install(&folder, &roots))
        };
        match done {
            Err(words) => fail(&words),
            Ok(0) => {
                println!("nothing to do in {}", folder.display());
                ExitCode::SUCCESS
            }
            Ok(_) if self.root.is_some() => ExitCode::SUCCESS,
            Ok(_) => take_effect(update),
        }
    }
}

fn take_effect(update: &[&str]) -> ExitCode {
    match Command::new(update[0]).args(&update[1..]).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => fail(&format!("{} ended with {status}", update.join(" "))),
        Err(error) => fail(&format!("{} cannot be run: {error}", update.join(" "))),
    }
}

fn fail(words: &str) -> ExitCode {
    eprintln!("semper: {words}");
    ExitCode::FAILURE
}

/// The roots of one issuer, or of all.
fn roots(place: &Place, issuer: Option<&str>) -> Result<Vec<Root>, String> {
    let now = RealClock.now();
    let mut found = Vec::new();
    for (name, state) in authorities(place)? {
        if issuer.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let record = Directory::view(&state).and_then(|shelf| shelf.load(&Record::Authority(name.clone())));
        match record.map_err(|error| error.to_string())?.and_then(|record| internal::trusted(&record, now)) {
            Some(text) => found.extend(split(&name, &text)),
            None => eprintln!(
                "semper: {name} has no root yet in {}: it is made with its first certificate",
                state.display()
            ),
        }
    }
    if found.is_empty() {
        let of = issuer.map_or_else(String::new, |name| format!(" named {name:?}"));
        return Err(format!("no root of a built-in authority{of} (`acme_issuer NAME {{ uri internal; }}`) was found"));
    }
    Ok(found)
}

/// The built-in authorities of the configuration and their state paths; with `--state`, whatever lies there.
fn authorities(place: &Place) -> Result<Vec<(String, PathBuf)>, String> {
    let plan = if place.has_state() { None } else { place.plan() };
    if let Some(plan) = plan {
        let internal = plan.issuers.iter().filter(|issuer| matches!(issuer.authority, Authority::Internal(_)));
        let with_path = internal.filter_map(|issuer| Some((issuer.name.to_string(), issuer.state_path.clone()?)));
        return Ok(with_path.collect());
    }
    let state = place.state_path();
    let names = Directory::view(&state).and_then(|shelf| shelf.authorities()).map_err(|error| error.to_string())?;
    Ok(names.into_iter().map(|name| (name, state.clone())).collect())
}

fn split(issuer: &str, text: &str) -> Vec<Root> {
    let mut roots = Vec::new();
    for section in pem::sections(text.as_bytes()).flatten() {
        let Ok(facts) = Leaf::read(&section.der) else { continue };
        let mut pem = String::new();
        pem::write(&mut pem, "CERTIFICATE", &section.der);
        roots.push(Root {
            issuer: issuer.to_owned(),
            fingerprint: Fingerprint::of(&section.der).to_string(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            pem,
        });
    }
    roots
}

/// One file for each root: tools of the system take no more than one from each.
fn install(folder: &Path, roots: &[Root]) -> Result<usize, String> {
    for root in roots {
        let path = folder.join(format!("{}{}.crt", prefix(&root.issuer), &root.fingerprint.replace(':', "")[..12]));
        std::fs::write(&path, &root.pem).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(roots.len())
}

fn uninstall(folder: &Path, issuer: Option<&str>) -> Result<usize, String> {
    let said = |error: std::io::Error| format!("{}: {error}", folder.display());
    let prefix = issuer.map_or_else(|| "semper-".to_owned(), prefix);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).map_err(said)? {
        let entry = entry.map_err(said)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) && name.ends_with(".crt") {
            std::fs::remove_file(entry.path()).map_err(said)?;
            println!("{} removed", entry.path().display());
            count += 1;
        }
    }
    Ok(count)
}

/// What the files of an issuer begin with; nothing of its name that means something to a file system.
fn prefix(issuer: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("semper-{}-", issuer.chars().map(plain).collect::<String>())
}
