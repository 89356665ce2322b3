//! What do other programs hold that semper would order again? `semper import PATH` reads the state of certbot, Caddy or
//! nginx's ACME module and says what it found; `--write` takes over what the configuration asks for, so that no order is
//! placed. What was read is never changed.

mod adopt;
mod caddy;
mod certbot;
mod found;
mod jwk;
mod nginx_acme;
mod reach;

use std::io;
use std::path::Path;

use self::adopt::{Adoption, Verdict};
use self::found::Estate;
use self::reach::Reach;
use crate::clock::UnixTime;
use crate::plan::Plan;

/// What was found, and what becomes of it.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// The folder.
    pub path: String,
    /// Whose it is.
    pub program: &'static str,
    /// Certificates, by name.
    pub certificates: Vec<CertificateLine>,
    /// Accounts.
    pub accounts: Vec<AccountLine>,
}

/// A certificate of the report.
#[derive(Debug, serde::Serialize)]
pub struct CertificateLine {
    /// What the other program calls it.
    pub name: String,
    /// The file of its chain.
    pub file: String,
    /// The names it speaks for.
    pub identifiers: Vec<String>,
    /// Until when it is in force.
    pub not_after: Option<UnixTime>,
    /// The directory URL of its authority, if known.
    pub authority: Option<String>,
    /// What is odd about it: orphans, copies that differ.
    pub notes: Vec<String>,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// An account of the report.
#[derive(Debug, serde::Serialize)]
pub struct AccountLine {
    /// The file of its key.
    pub file: String,
    /// The directory URL of its authority, if known.
    pub authority: Option<String>,
    /// Its own URL, if known.
    pub url: Option<String>,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A reader: whose state it knows, how it tells, how it reads.
type Reader = (&'static str, fn(&Reach) -> bool, fn(&Reach) -> Estate);

const READERS: [Reader; 3] = [
    ("certbot", certbot::is_it, certbot::read),
    ("Caddy", caddy::is_it, caddy::read),
    ("nginx-acme", nginx_acme::is_it, nginx_acme::read),
];

/// Reads `path` and judges it by `plan`; with `write`, takes over what is wanted.
///
/// # Errors
/// When the folder cannot be read, or is nobody's that is known.
pub fn survey(path: &Path, plan: &Plan, now: UnixTime, write: bool) -> io::Result<Report> {
    let reach = Reach::below(path)?;
    let Some((program, _, read)) = READERS.iter().find(|(_, is_it, _)| is_it(&reach)) else {
        let text = "neither certbot's folder, nor Caddy's storage, nor a state path of nginx's ACME module";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    };
    let mut estate = read(&reach);
    estate.compare();
    let mut adoption = Adoption::new(plan, now, write);
    // Accounts first: an order that is placed after all then uses the account that its limits are counted for.
    let accounts = adoption.accounts(&estate);
    let certificates = adoption.certificates(&estate);
    Ok(Report {
        path: path.display().to_string(),
        program,
        certificates: estate
            .certificates
            .iter()
            .zip(certificates)
            .map(|(found, verdict)| line(found, verdict))
            .collect(),
        accounts: estate.accounts.into_iter().zip(accounts).map(|(found, verdict)| account(found, verdict)).collect(),
    })
}

fn line(found: &found::Found, verdict: Verdict) -> CertificateLine {
    CertificateLine {
        name: found.name.clone(),
        file: found.file.clone(),
        identifiers: found.names(),
        not_after: found.not_after(),
        authority: found.authority.clone(),
        notes: found.notes.clone(),
        verdict,
    }
}

fn account(found: found::FoundAccount, verdict: Verdict) -> AccountLine {
    AccountLine { file: found.file, authority: found.authority, url: found.url, verdict }
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = format!("{}: {}\n", self.path, self.program);
        for certificate in &self.certificates {
            let until = certificate.not_after.map(|end| format!(", valid until {end}")).unwrap_or_default();
            let names = certificate.identifiers.join(" ");
            let _ = writeln!(out, "certificate {} ({names}{until})", certificate.name);
            for note in &certificate.notes {
                let _ = writeln!(out, "  NOTE {note}");
            }
            let _ = writeln!(out, "  {}", certificate.verdict.text());
        }
        for account in &self.accounts {
            let _ = writeln!(out, "account {}", account.url.as_deref().unwrap_or(&account.file));
            let _ = writeln!(out, "  {}", account.verdict.text());
        }
        let wanted = self.certificates.iter().filter(|line| matches!(line.verdict, Verdict::Wanted(_))).count();
        if wanted > 0 {
            let _ = writeln!(out, "{wanted} certificate(s) would be taken over: `semper import --write {}`", self.path);
        }
        out
    }

    /// Whether something that was to be written could not be.
    pub fn failed(&self) -> bool {
        let refused =
            |line: &CertificateLine| matches!(&line.verdict, Verdict::Refused(why) if why.contains("running semper"));
        self.certificates.iter().any(refused)
    }
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Verdict::Wanted(what) => format!("would be taken over as {what}"),
            Verdict::Adopted(what) => format!("TAKEN OVER as {what}"),
            Verdict::Left(why) => format!("left alone: {why}"),
            Verdict::Refused(why) => format!("NOT USABLE: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
