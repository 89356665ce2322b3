//! What does a node say of itself? Its release, its configuration, and which certificate it serves of each name: claims
//! that all nodes have, so that `semper status` on any of them shows all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::fleet::{NodeId, Subject};
use crate::plan::certificate::CertId;

use super::bundles::Bundles;

/// Names of one certificate that are told; the rest follows from the identity.
const NAMES: usize = 5;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its release.
    pub release: String,
    /// A digest of the text of its configuration.
    pub configuration: String,
    /// When it took that configuration.
    pub loaded_at: UnixTime,
    /// What of it cannot be used.
    #[serde(default)]
    pub faults: Vec<String>,
    /// `hold all`.
    #[serde(default)]
    pub holds_all: bool,
    /// Since when its process runs.
    pub since: UnixTime,
}

/// One certificate that a node wants, and what it serves of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serves {
    /// Which.
    pub id: CertId,
    /// For which names: the first few.
    pub names: Vec<String>,
    /// The serial number; none: nothing yet.
    #[serde(default)]
    pub serial: Option<String>,
    /// In force until then.
    #[serde(default)]
    pub until: Option<UnixTime>,
}

/// What is still to be said.
#[derive(Debug, Default)]
pub struct Reports {
    report: Report,
    unsaid: bool,
    buckets: BTreeSet<u8>,
    said: BTreeSet<u8>,
}

impl Reports {
    /// What is to be said of this node from now on.
    pub fn is(&mut self, report: Report) {
        self.unsaid |= self.report != report;
        self.report = report;
    }

    /// What is said of this node.
    pub fn own(&self) -> &Report {
        &self.report
    }

    /// Another generation of this certificate is served, or it is wanted now, or no longer.
    pub fn serves_other(&mut self, id: &CertId) {
        self.buckets.insert(bucket(id));
    }

    /// Everything is said once more.
    pub fn say_again(&mut self) {
        self.unsaid = true;
        self.buckets.extend(&self.said);
    }

    /// What has changed since the last call, as claims to be.
    pub fn due(&mut self, me: NodeId, bundles: &Bundles) -> Vec<(Subject, Vec<u8>)> {
        let mut due = Vec::new();
        if std::mem::take(&mut self.unsaid) {
            due.push((Subject::Report(me), json(&self.report)));
        }
        let buckets = std::mem::take(&mut self.buckets);
        if buckets.is_empty() {
            return due;
        }
        let mut all: Vec<&CertId> = bundles.wanted().filter(|id| buckets.contains(&bucket(id))).collect();
        all.sort();
        for at in buckets {
            let of_bucket = all.iter().filter(|id| bucket(id) == at);
            let lines: Vec<Serves> = of_bucket.map(|id| serves(id, bundles)).collect();
            self.said.insert(at);
            due.push((Subject::Serving(me, at), json(&lines)));
        }
        due
    }
}

fn serves(id: &CertId, bundles: &Bundles) -> Serves {
    let names = bundles.spec(id).map(|spec| spec.identifiers.iter().take(NAMES).map(ToString::to_string).collect());
    let shown = bundles.shows(id);
    Serves {
        id: id.clone(),
        names: names.unwrap_or_default(),
        serial: shown.map(|shown| shown.serial.clone()),
        until: shown.map(|shown| shown.not_after),
    }
}

/// In which part of what a node says of its certificates this one stands.
fn bucket(id: &CertId) -> u8 {
    Subject::Bundle(id.clone()).key().bucket()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("reports are plain data with text keys")
}
