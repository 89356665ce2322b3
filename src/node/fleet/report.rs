//! What does this node say of itself? Its release, its configuration, and which certificate it serves of each name: claims
//! that all nodes have, so that `semper status` on any of them shows all.

use std::collections::BTreeSet;

use crate::fleet::report::Report;
use crate::fleet::serving::{self, Row, Short};
use crate::fleet::{Body, NodeId, Subject};
use crate::plan::certificate::CertId;

use super::bundles::Bundles;

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
        self.buckets.insert(Short::of(id).bucket());
    }

    /// Everything is said once more.
    pub fn say_again(&mut self) {
        self.unsaid = true;
        self.buckets.extend(&self.said);
    }

    /// What has changed since the last call, as claims to be.
    pub fn due(&mut self, me: NodeId, bundles: &Bundles) -> Vec<(Subject, Body)> {
        let mut due = Vec::new();
        if std::mem::take(&mut self.unsaid) {
            due.push((Subject::Report(me), self.report.to_body()));
        }
        let buckets = std::mem::take(&mut self.buckets);
        if buckets.is_empty() {
            return due;
        }
        let all = bundles.wanted().map(|id| row(id, bundles));
        let mut all: Vec<Row> = all.filter(|row| buckets.contains(&row.cert.bucket())).collect();
        all.sort_by_key(|row| row.cert);
        for at in buckets {
            let rows: Vec<Row> = all.iter().filter(|row| row.cert.bucket() == at).copied().collect();
            self.said.insert(at);
            due.push((Subject::Serving(me, at), serving::to_body(&rows)));
        }
        due
    }
}

fn row(id: &CertId, bundles: &Bundles) -> Row {
    let shown = bundles.shows(id);
    Row {
        cert: Short::of(id),
        shows: shown.map_or([0; 8], |shown| serving::head(&shown.rank.1)),
        until: shown.map(|shown| shown.not_after).unwrap_or_default(),
    }
}
