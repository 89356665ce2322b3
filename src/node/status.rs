//! What is served, until when, and what happens next? The words of `semper status`, asked over the admin socket.

use serde::{Deserialize, Serialize};

use crate::cert::concern::Concern;
use crate::clock::UnixTime;

use super::fleet::view::FleetView;
use super::served::Served;

/// The state of a running semper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// semper's version.
    pub version: String,
    /// The process id of the server process.
    pub pid: u32,
    /// When the server process began.
    pub since: UnixTime,
    /// Now, by the server's clock.
    pub now: UnixTime,
    /// Plans taken since then; 1 is the first.
    pub epoch: u64,
    /// Worker threads.
    pub workers: usize,
    /// Connections open now.
    pub connections: u64,
    /// Requests since the server process began.
    pub requests: u64,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Every certificate.
    pub certificates: Vec<Certificate>,
    /// What of the configuration cannot be used at present, in nginx's words.
    pub faults: Vec<String>,
    /// What needs eyes, the worst first.
    #[serde(default)]
    pub concerns: Vec<Concern>,
    /// What clients get, as far as it can be seen from here.
    #[serde(default)]
    pub served: Served,
    /// Other programs that still renew what semper looks after.
    #[serde(default)]
    pub rivals: Vec<String>,
    /// The other nodes, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetView>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The names it is wanted for.
    pub names: Vec<String>,
    /// Where it comes from: `issuer NAME`, or the path of its file.
    pub source: String,
    /// What is shown; `None`: the placeholder.
    pub shown: Option<Shown>,
    /// What happens next, and when.
    pub next: Next,
    /// The last failures since something went well, in words.
    pub trouble: Option<String>,
    /// Somebody said that it is to be left alone.
    #[serde(default)]
    pub paused: bool,
}

/// A certificate that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Who signed it.
    pub issuer: String,
    /// In force from then on.
    pub not_before: UnixTime,
    /// In force until then.
    pub not_after: UnixTime,
    /// SHA-256 of the leaf.
    pub fingerprint: String,
}

/// What happens next to a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// It is renewed.
    Renewal(UnixTime),
    /// It is ordered for the first time, or again after a failure.
    Attempt(UnixTime),
    /// An order is under way; it is given up then.
    OrderUntil(UnixTime),
    /// Its files are watched; somebody else renews it.
    Watched,
}

impl Status {
    fn served_text(&self, out: &mut String) {
        use std::fmt::Write as _;
        let served = &self.served;
        if served.looks == 0 {
            return;
        }
        let _ = writeln!(
            out,
            "served truth: {} right, {} not reachable from here, {} elsewhere, {} wrong",
            served.right,
            served.unreachable.len(),
            served.elsewhere.len(),
            served.wrong.len()
        );
    }

    /// For people: one line for each thing, the worst first.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        let _ = writeln!(
            out,
            "semper {} (pid {}), up {}, {} workers, {} connections, {} requests, configuration no. {}",
            self.version,
            self.pid,
            span(self.since, self.now),
            self.workers,
            self.connections,
            self.requests,
            self.epoch
        );
        let _ = writeln!(out, "listening on {}", self.listeners.join(" "));
        for fault in &self.faults {
            let _ = writeln!(out, "FAULT {fault}");
        }
        for concern in &self.concerns {
            let _ = writeln!(out, "CONCERN {concern} (for {})", span(concern.since, self.now));
        }
        self.served_text(&mut out);
        for rival in &self.rivals {
            let _ = writeln!(out, "NOTE {rival}");
        }
        let mut certificates: Vec<&Certificate> = self.certificates.iter().collect();
        certificates.sort_by_key(|certificate| certificate.shown.as_ref().map(|shown| shown.not_after));
        for certificate in certificates {
            let shown = match &certificate.shown {
                None => "NOTHING YET: a placeholder is shown".to_owned(),
                Some(shown) if shown.not_after < self.now => {
                    format!("EXPIRED {} ago, serial {}", span(shown.not_after, self.now), shown.serial)
                }
                Some(shown) => format!("valid for {}, serial {}", span(self.now, shown.not_after), shown.serial),
            };
            let next = match certificate.next {
                _ if certificate.paused => format!("PAUSED, `semper resume {}`", certificate.names[0]),
                Next::Renewal(at) => format!("renewal in {}", span(self.now, at)),
                Next::Attempt(at) => format!("next attempt in {}", span(self.now, at)),
                Next::OrderUntil(at) => format!("an order is under way, given up in {}", span(self.now, at)),
                Next::Watched => "its files are watched".to_owned(),
            };
            let _ = writeln!(out, "{}: {shown}; {next} ({})", certificate.names.join(" "), certificate.source);
            if let Some(trouble) = &certificate.trouble {
                let _ = writeln!(out, "  {trouble}");
            }
        }
        if let Some(fleet) = &self.fleet {
            fleet.text(self.now, &mut out);
        }
        out
    }
}

/// `3d 4h`, `12m 5s`: the two largest units.
pub fn span(from: UnixTime, to: UnixTime) -> String {
    crate::cert::rehearse::span(to.since(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        let at = UnixTime::from_seconds;
        for (seconds, words) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h"), (86_405, "1d")]
        {
            assert_eq!(span(at(0), at(seconds)), words);
        }
        assert_eq!(span(at(10), at(0)), "0s");
    }

    #[test]
    fn the_worst_certificate_comes_first() {
        let shown = |until| Shown {
            serial: "01".into(),
            issuer: "x".into(),
            not_before: UnixTime(0),
            not_after: UnixTime::from_seconds(until),
            fingerprint: String::new(),
        };
        let one = |name: &str, shown| Certificate {
            names: vec![name.to_owned()],
            source: "f".into(),
            shown,
            next: Next::Watched,
            trouble: None,
            paused: false,
        };
        let status = Status {
            version: "0".into(),
            pid: 1,
            since: UnixTime(0),
            now: UnixTime::from_seconds(100),
            epoch: 1,
            workers: 1,
            connections: 0,
            requests: 0,
            listeners: vec![],
            certificates: vec![one("later", Some(shown(9999))), one("none", None), one("gone", Some(shown(50)))],
            faults: vec![],
            concerns: vec![],
            served: Served::default(),
            rivals: vec!["certbot still renews x too".into()],
            fleet: None,
        };
        let text = status.text();
        let at = |name: &str| text.find(&format!("\n{name}: ")).unwrap();
        assert!(at("none") < at("gone") && at("gone") < at("later"), "{text}");
        assert!(text.contains("EXPIRED 50s ago") && text.contains("NOTE certbot still renews x"));
    }
}
