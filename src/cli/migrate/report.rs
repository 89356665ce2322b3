//! How is the survey told? As text for a person, as JSON for scripts. Plain functions of what was found.

use super::names::{Challenge, ServedName};
use crate::watch::renewers::Renewers;
use std::fmt::Write;

/// Everything that `semper migrate` says.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// The configuration that was read.
    pub conf: String,
    /// What `semper -t` would refuse: nginx's words with file and line. Empty: it would be accepted.
    pub refused: Vec<String>,
    /// What it would warn about or not honour.
    pub noted: Vec<String>,
    /// Names served over TLS.
    pub names: Vec<ServedName>,
    /// Who renews today.
    pub renewers: Renewers,
    /// Lines for `semper.conf` beside the main file.
    pub semper_conf: Vec<String>,
    /// Commands that switch to semper, in order.
    pub switch: Vec<String>,
    /// Commands that switch back, in order.
    pub switch_back: Vec<String>,
}

impl Report {
    /// Whether the configuration could be run as it is.
    pub fn ready(&self) -> bool {
        self.refused.is_empty()
    }

    /// The commands that switch to semper and back, from what is there today.
    pub fn with_commands(mut self, conf: &str) -> Report {
        let timers = self.renewers.triggers.iter().filter(|t| t.kind == "systemd timer");
        let timers: Vec<String> = timers.map(|t| t.says.clone()).collect();
        self.switch = vec![
            format!("semper -t -c {conf}"),
            "systemctl disable --now nginx".to_owned(),
            "systemctl enable --now semper".to_owned(),
        ];
        self.switch.extend(timers.iter().map(|timer| format!("systemctl disable --now {timer}")));
        self.switch_back = vec!["systemctl disable --now semper".to_owned(), "systemctl enable --now nginx".to_owned()];
        self.switch_back.extend(timers.iter().map(|timer| format!("systemctl enable --now {timer}")));
        self
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "configuration {}", self.conf);
        match self.refused.as_slice() {
            [] => out.push_str("  semper -t accepts it\n"),
            refused => {
                for line in refused {
                    let _ = writeln!(out, "  refused: {line}");
                }
            }
        }
        for line in &self.noted {
            let _ = writeln!(out, "  {line}");
        }
        self.names_text(&mut out);
        self.renewers_text(&mut out);
        section(&mut out, "\nlines for semper.conf beside it", &self.semper_conf);
        section(&mut out, "\nto switch", &self.switch);
        section(&mut out, "\nto switch back", &self.switch_back);
        out.push_str("\nnothing was changed\n");
        out
    }

    fn names_text(&self, out: &mut String) {
        let _ = writeln!(out, "\nnames served over TLS: {}", self.names.len());
        for name in &self.names {
            let _ = writeln!(out, "  {}  ({})", name.name, name.servers.join(", "));
            for file in &name.files {
                let who = match self.renewers.lineage_of(file) {
                    Some(l) => {
                        format!("certbot, {} ({})", l.authenticator.as_deref().unwrap_or("?"), l.file.display())
                    }
                    None => "nobody that was found".to_owned(),
                };
                let _ = writeln!(out, "    file {}  renewed by {who}", file.display());
            }
            if let Some(issuer) = &name.issuer {
                let _ = writeln!(out, "    kept by semper through acme_issuer {issuer}");
            }
            let _ = writeln!(out, "    {}", told(&name.challenge));
        }
    }

    fn renewers_text(&self, out: &mut String) {
        let _ = writeln!(out, "\nwhat renews certificates here today");
        for lineage in &self.renewers.lineages {
            let _ = writeln!(
                out,
                "  certbot {}: {} through {} ({})",
                lineage.name,
                lineage.server.as_deref().unwrap_or("its default CA"),
                lineage.authenticator.as_deref().unwrap_or("?"),
                lineage.file.display()
            );
            for hook in &lineage.hooks {
                let _ = writeln!(out, "    {hook}");
            }
        }
        for trigger in &self.renewers.triggers {
            let _ = writeln!(out, "  {}: {} ({})", trigger.kind, trigger.says, trigger.file.display());
        }
        if self.renewers.lineages.is_empty() && self.renewers.triggers.is_empty() {
            out.push_str("  nothing that was found\n");
        }
    }
}

fn told(challenge: &Challenge) -> String {
    match challenge {
        Challenge::Http01 { listener: true } => "can be proved by http-01 (a listener on port 80 stands)".to_owned(),
        Challenge::Http01 { listener: false } => {
            "can be proved by http-01 (semper opens port 80 for challenges alone) or tls-alpn-01".to_owned()
        }
        Challenge::Dns01 => "needs a DNS record (dns-01), which semper cannot place yet: keep the files".to_owned(),
        Challenge::None { why } => format!("keep the files: {why}"),
    }
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(out, "{title}");
        for line in lines {
            let _ = writeln!(out, "  {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::renewers::Trigger;

    #[test]
    fn a_running_timer_is_switched_off_and_on_again() {
        let mut renewers = Renewers::default();
        let file = "/etc/systemd/system/timers.target.wants/certbot.timer".into();
        renewers.triggers.push(Trigger { file, kind: "systemd timer", says: "certbot.timer".into() });
        let report = Report {
            conf: "/etc/nginx/nginx.conf".into(),
            refused: vec![],
            noted: vec![],
            names: vec![],
            renewers,
            semper_conf: vec![],
            switch: vec![],
            switch_back: vec![],
        }
        .with_commands("/etc/nginx/nginx.conf");
        assert!(report.ready());
        assert_eq!(report.switch.last().unwrap(), "systemctl disable --now certbot.timer");
        assert_eq!(report.switch_back.last().unwrap(), "systemctl enable --now certbot.timer");
        assert!(report.text().contains("semper -t accepts it") && report.text().contains("nothing was changed"));
    }
}
