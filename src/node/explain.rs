//! Everything about one name, for somebody who is awake at night: who answers for it, what is shown, what has been tried,
//! what happens next and why then, what a human could do. Words and their text form.

use serde::{Deserialize, Serialize};

use super::admin::Progress;
use super::demanded::Demanded;
use super::snippet::Program;
use super::status::{Certificate, Shown};
use crate::cert::ari::Choice;
use crate::cert::rehearse::{Moment, span};
use crate::cert::wishes::Pause;
use crate::clock::UnixTime;

/// The answer about a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The name.
    pub name: String,
    /// Now, by the server's clock.
    pub now: UnixTime,
    /// Which server takes it at which address, a line each.
    pub servers: Vec<String>,
    /// Certificates that semper obtains for it.
    pub kept: Vec<Kept>,
    /// Certificates of files that are shown for it.
    pub files: Vec<Certificate>,
    /// How it stands as a name on demand, where such names are served.
    #[serde(default)]
    pub on_demand: Option<Demanded>,
    /// What becomes of each of these files if nobody renews it, or why nothing does.
    #[serde(default)]
    pub rescues: Vec<(String, String)>,
}

/// A certificate that semper obtains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// How it stands.
    pub progress: Progress,
    /// The directory URL of its issuer, or `internal`.
    pub authority: String,
    /// The kind of its key.
    pub key: String,
    /// Where the configuration asks for it.
    pub place: String,
    /// What is shown; `None`: the placeholder.
    pub shown: Option<Shown>,
    /// Who issued what is held, and when it was obtained.
    pub obtained: Option<(String, UnixTime)>,
    /// Why the next thing happens when it does.
    pub why_then: String,
    /// The moment drawn from the authority's window.
    pub window: Option<Choice>,
    /// Failures in a row, and since when.
    pub failures: (u32, Option<UnixTime>),
    /// What a human could do; empty when nothing needs to be done.
    pub advice: Vec<String>,
    /// What is used up of the authorities' limits, and what they refuse for a while, in words.
    pub limits: Vec<String>,
    /// Names that are not in the certificate at present, and why.
    pub left_out: Vec<String>,
    /// It is left alone: since when, and who said so.
    pub paused: Option<Pause>,
    /// Pages of the authority about this certificate: what they say, and where.
    #[serde(default)]
    pub pages: Vec<String>,
    /// What has been tried, the oldest first.
    pub past: Vec<Moment>,
    /// The digest of the account key, and the account's URL.
    pub account: Option<(String, Option<String>)>,
    /// The name by which CAA and dns-persist-01 records call the authority, if it said one.
    pub authority_name: Option<String>,
}

/// What would happen to one certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its names.
    pub names: Vec<String>,
    /// What, in order.
    pub moments: Vec<Moment>,
}

impl Explained {
    /// The lines with which a node that runs another program answers challenges of these accounts too.
    pub fn snippet(&self, program: Program) -> Option<String> {
        let account = |kept: &'_ Kept| {
            kept.account.as_ref().map(|(thumbprint, _)| (kept.progress.issuer.clone(), thumbprint.clone()))
        };
        let mut accounts: Vec<(String, String)> = self.kept.iter().filter_map(account).collect();
        accounts.dedup();
        let accounts: Vec<(&str, &str)> = accounts.iter().map(|(issuer, print)| (&issuer[..], &print[..])).collect();
        program.lines(&accounts)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.name);
        for line in &self.servers {
            out.push_str(&format!("  {line}\n"));
        }
        if self.servers.is_empty() {
            out.push_str("  no server of the running configuration has a listener\n");
        }
        if let Some(demanded) = &self.on_demand {
            out.push('\n');
            out.push_str(&demanded.text(self.now));
        }
        for kept in &self.kept {
            out.push('\n');
            out.push_str(&kept.text(self.now));
        }
        for file in &self.files {
            let shown = file.shown.as_ref().map_or("nothing yet".to_owned(), |shown| validity(shown, self.now));
            out.push_str(&format!("\ncertificate of {}\n", file.names.join(" ")));
            out.push_str(&row("renewed by", "somebody else; semper watches the file and takes what is good"));
            out.push_str(&row("file", &file.source));
            out.push_str(&row("shown", &shown));
            let rescues = self.rescues.iter().filter(|(path, _)| *path == file.source);
            rescues.for_each(|(_, words)| out.push_str(&row("rescue", words)));
        }
        if self.kept.is_empty() && self.files.is_empty() && self.on_demand.is_none() {
            out.push_str("\nno certificate here is for this name; write `acme_certificate ISSUER;` in its server\n");
        }
        out
    }
}

impl Kept {
    fn text(&self, now: UnixTime) -> String {
        let progress = &self.progress;
        let mut out = format!("certificate of {} ({})\n", progress.names.join(" "), progress.id);
        out.push_str(&row(
            "renewed by",
            &format!("semper, from {} ({}), key {}", progress.issuer, self.authority, self.key),
        ));
        out.push_str(&row("asked for", &self.place));
        let shown = self.shown.as_ref().map_or("NOTHING YET: a placeholder".to_owned(), |shown| validity(shown, now));
        out.push_str(&row("shown", &shown));
        if let (Some(epoch), Some((by, at))) = (progress.epoch, &self.obtained) {
            let ago = span(now.since(*at));
            out.push_str(&row("held", &format!("generation {epoch}, obtained from {by} {ago} ago ({})", second(*at))));
        }
        if let Some(step) = &progress.step {
            out.push_str(&row("now", &format!("its order {step}")));
        }
        let next = match &self.paused {
            Some(pause) => format!("PAUSED {pause}: nothing, until `semper resume {}`", progress.names[0]),
            None => format!("{} ({}): {}", self.when(now), second(progress.next), self.why_then),
        };
        out.push_str(&row("next", &next));
        if let Some(words) = &progress.revoking {
            out.push_str(&row("revoking", words));
        }
        if let Some(trouble) = &progress.trouble {
            let since = self.failures.1.map_or(String::new(), |at| format!(" since {}", second(at)));
            out.push_str(&row("trouble", &format!("{} failed in a row{since}, the last: {trouble}", self.failures.0)));
        }
        self.limits.iter().for_each(|words| out.push_str(&row("limit", words)));
        self.left_out.iter().for_each(|words| out.push_str(&row("left out", words)));
        for advice in &self.advice {
            out.push_str(&row("to do", advice));
        }
        self.pages.iter().for_each(|words| out.push_str(&row("page", words)));
        for happened in self.past.iter().rev().take(10) {
            out.push_str(&row("past", &format!("{} {}", second(happened.at), happened.words)));
        }
        out
    }

    fn when(&self, now: UnixTime) -> String {
        let next = self.progress.next;
        if next <= now { "now".to_owned() } else { format!("in {}", span(next.since(now))) }
    }

    /// The record by which the authority may always issue for these names (dns-persist-01).
    pub fn persistent_record(&self) -> Option<String> {
        let (_, account) = self.account.as_ref()?;
        let account = account.as_ref()?;
        let authority = self.authority_name.as_deref().unwrap_or("ISSUER-DOMAIN-NAME");
        let mut names: Vec<&str> = self.progress.names.iter().map(|name| name.trim_start_matches("*.")).collect();
        names.dedup();
        let policy = |name: &str| {
            let star = self.progress.names.iter().any(|own| own.strip_prefix("*.") == Some(name));
            if star { "; policy=wildcard" } else { "" }
        };
        let line = |name: &str| {
            format!("_validation-persist.{name}. IN TXT \"{authority}; accounturi={account}{}\"\n", policy(name))
        };
        Some(names.into_iter().map(line).collect())
    }
}

/// One line of a block.
pub(super) fn row(head: &str, words: &str) -> String {
    format!("  {head:<11}{words}\n")
}

fn validity(shown: &Shown, now: UnixTime) -> String {
    let end = second(shown.not_after);
    let time = match shown.not_after < now {
        true => format!("EXPIRED {} ago ({end})", span(now.since(shown.not_after))),
        false => format!("valid for {} (until {end})", span(shown.not_after.since(now))),
    };
    format!("{time}, serial {}, by {}", shown.serial, shown.issuer)
}

/// A moment without its milliseconds.
pub fn second(at: UnixTime) -> String {
    UnixTime(at.0 - at.0.rem_euclid(1000)).to_string()
}
