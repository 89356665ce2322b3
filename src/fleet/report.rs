//! What does a node say of itself? Its release, its configuration, how the last reload went, where it listens. People read
//! it in `semper status`; duty and readiness count whom it names. Reads and writes the body of
//! [`Subject::Report`](super::Subject::Report).

use super::wire::{BadBytes, Reader, Writer};
use super::{Body, Digest};
use crate::clock::UnixTime;

/// Addresses at most.
const MOST_ADDRESSES: usize = 16;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// Its name for people: the host name, unless the configuration says another.
    pub name: String,
    /// Its release.
    pub release: String,
    /// The digest of its configuration.
    pub configuration: Digest,
    /// Since when the process runs, by its own clock.
    pub started: UnixTime,
    /// When the configuration was loaded or refused last.
    pub reloaded: UnixTime,
    /// The first complaint of that reload; empty: it was taken.
    pub complaint: String,
    /// Where it listens for other nodes, as told to them: `host:port`.
    pub addresses: Vec<String>,
    /// `hold all`.
    pub holds_all: bool,
    /// It stopped on purpose. It says otherwise when it starts again.
    pub left: bool,
}

impl Report {
    /// The body of the claim.
    pub fn to_body(&self) -> Body {
        let mut w = Writer::with_room(512);
        w.u8(1);
        w.text(&cut(&self.name, 128));
        w.text(&cut(&self.release, 128));
        w.raw(&self.configuration.0);
        w.u64(self.started.0.cast_unsigned());
        w.u64(self.reloaded.0.cast_unsigned());
        w.text(&cut(&self.complaint, 512));
        let addresses = &self.addresses[..self.addresses.len().min(MOST_ADDRESSES)];
        w.count(addresses.len());
        addresses.iter().for_each(|address| w.text(&cut(address, 300)));
        w.u8(u8::from(self.holds_all));
        w.u8(u8::from(self.left));
        Body::new(w.finish())
    }

    /// Reads [`Report::to_body`]; fields of a later release are passed over.
    ///
    /// # Errors
    /// [`BadBytes`].
    pub fn from_body(body: &Body) -> Result<Report, BadBytes> {
        let mut r = Reader::new(body.as_bytes());
        if r.u8()? != 1 {
            return Err(BadBytes::Version);
        }
        Ok(Report {
            name: r.text(128)?.to_owned(),
            release: r.text(128)?.to_owned(),
            configuration: Digest(r.array()?),
            started: UnixTime(r.u64()?.cast_signed()),
            reloaded: UnixTime(r.u64()?.cast_signed()),
            complaint: r.text(512)?.to_owned(),
            addresses: r.list(MOST_ADDRESSES, |r| r.text(300).map(str::to_owned))?,
            holds_all: r.flag()?,
            left: r.flag()?,
        })
    }
}

/// A text without control characters, cut to what the reader takes.
fn cut(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > most {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_what_it_writes_and_lies_about_no_length() {
        let mut report = Report {
            name: "edge-1".into(),
            release: "0.1.0".into(),
            complaint: "unknown directive \"x\"\nin nginx.conf:3".into(),
            addresses: vec!["[::1]:7443".into()],
            holds_all: true,
            ..Report::default()
        };
        let read = Report::from_body(&report.to_body()).unwrap();
        assert_eq!(read.complaint, "unknown directive \"x\" in nginx.conf:3");
        report.complaint = read.complaint.clone();
        assert_eq!(read, report);
        report.complaint = "é".repeat(5000);
        report.addresses = vec!["a".repeat(1000); 100];
        let read = Report::from_body(&report.to_body()).unwrap();
        assert!(read.complaint.len() <= 512 && read.addresses.len() == MOST_ADDRESSES);
        let body = report.to_body();
        for end in 0..body.as_bytes().len() {
            assert!(Report::from_body(&Body::copy(&body.as_bytes()[..end])).is_err());
        }
    }
}
