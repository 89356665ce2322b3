//! What do people see of the fleet? All nodes, all names, who serves which certificate, whose duty it is and who lags: the
//! same on every node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::fleet::{NodeId, Subject};
use crate::peer::Call;
use crate::plan::certificate::CertId;
use crate::words::FleetKey;

use super::core::Core;
use super::report::{Report, Serves};
use super::turns::ranked;

/// The fleet as one node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    /// Why it takes no part, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// This node's id.
    pub id: String,
    /// The names of the fleet keys that it holds.
    pub keys: Vec<String>,
    /// How it stands with etcd, where it is shared through etcd too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<String>,
    /// All nodes, this one included.
    pub nodes: Vec<Node>,
    /// Peers of the configuration that do not answer, and why.
    pub unreachable: Vec<(String, String)>,
    /// All certificates of the fleet.
    pub certificates: Vec<Certificate>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// It is the one that answers.
    pub is_this: bool,
    /// It is linked with this node.
    pub linked: bool,
    /// Where it is.
    pub at: Option<String>,
    /// Its release.
    pub release: String,
    /// A digest of the text of its configuration.
    pub configuration: String,
    /// Whether that differs from this node's.
    pub differs: bool,
    /// When it took that configuration.
    pub loaded_at: UnixTime,
    /// What of it cannot be used.
    pub faults: Vec<String>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Which.
    pub id: CertId,
    /// For which names; the first few.
    pub names: Vec<String>,
    /// The node that renews it.
    pub duty: Option<String>,
    /// Which serial number is served until when, and by whom.
    pub served: Vec<Served>,
    /// Nodes that serve an older one, or none, and why as far as it is known.
    pub lagging: Vec<(String, String)>,
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The serial number.
    pub serial: String,
    /// In force until then.
    pub until: UnixTime,
    /// By whom.
    pub by: Vec<String>,
}

/// What `core` knows.
pub(super) fn of(core: &Core, keys: &[Arc<FleetKey>]) -> FleetView {
    let mut reports: BTreeMap<NodeId, Report> = BTreeMap::new();
    let mut serving: BTreeMap<CertId, Vec<(NodeId, Serves)>> = BTreeMap::new();
    let state = core.sync.state();
    for claim in state.all().filter(|claim| !claim.is_tombstone()) {
        match claim.subject() {
            Subject::Report(node) if !state.is_removed(*node) => {
                reports.insert(*node, serde_json::from_slice(claim.body().as_bytes()).unwrap_or_default());
            }
            Subject::Serving(node, _) if !state.is_removed(*node) => {
                let lines: Vec<Serves> = serde_json::from_slice(claim.body().as_bytes()).unwrap_or_default();
                for line in lines {
                    serving.entry(line.id.clone()).or_default().push((*node, line));
                }
            }
            _ => {}
        }
    }
    for node in core.live() {
        reports.entry(node).or_default();
    }
    let own = reports.get(&core.me).map(|report| report.configuration.clone()).unwrap_or_default();
    let standing = core.links.standing();
    let node = |(id, report): (&NodeId, &Report)| {
        let link = standing.iter().find(|link| link.node == *id.as_bytes());
        Node {
            id: id.to_string(),
            is_this: *id == core.me,
            linked: link.is_some(),
            at: link.map(|link| link.at.to_string()),
            release: report.release.clone(),
            configuration: report.configuration.clone(),
            differs: report.configuration != own,
            loaded_at: report.loaded_at,
            faults: report.faults.clone(),
        }
    };
    let live = core.live();
    let unreachable = core.links.calls().into_iter().filter_map(|(peer, call)| match call {
        Call::Failed { why, .. } => Some((peer.to_string(), why)),
        _ => None,
    });
    FleetView {
        trouble: None,
        id: core.me.to_string(),
        keys: keys.iter().map(|key| key.name()).collect(),
        etcd: core.etcd.as_ref().map(|etcd| etcd.standing()),
        nodes: reports.iter().map(node).collect(),
        unreachable: unreachable.collect(),
        certificates: serving.into_iter().map(|(id, lines)| certificate(id, &lines, &live)).collect(),
    }
}

fn certificate(id: CertId, lines: &[(NodeId, Serves)], live: &[NodeId]) -> Certificate {
    let mut served: Vec<Served> = Vec::new();
    for (node, line) in lines {
        let (Some(serial), Some(until)) = (&line.serial, line.until) else { continue };
        match served.iter_mut().find(|one| one.serial == *serial) {
            Some(one) => one.by.push(node.short()),
            None => served.push(Served { serial: serial.clone(), until, by: vec![node.short()] }),
        }
    }
    served.sort_by_key(|one| std::cmp::Reverse(one.until));
    let newest = served.first().map(|one| one.serial.clone());
    let why = |node: &NodeId, line: &Serves| match (live.contains(node), &line.serial) {
        (false, _) => "it is not linked".to_owned(),
        (true, None) => "it has none yet".to_owned(),
        (true, Some(serial)) => format!("it still serves {serial}"),
    };
    let lagging = lines.iter().filter(|(_, line)| newest.is_some() && line.serial != newest);
    let lagging = lagging.map(|(node, line)| (node.short(), why(node, line))).collect();
    let having: Vec<NodeId> = lines.iter().map(|(node, _)| *node).filter(|node| live.contains(node)).collect();
    let names = lines.iter().map(|(_, line)| line.names.clone()).next().unwrap_or_default();
    Certificate { duty: ranked(&id, &having).first().map(NodeId::short), id, names, served, lagging }
}

impl FleetView {
    /// What should not be so: (about whom, what).
    pub fn wrong(&self) -> Vec<(String, String)> {
        let trouble = self.trouble.iter().map(|why| ("fleet".to_owned(), format!("this node takes no part: {why}")));
        let away = self.unreachable.iter();
        let away = away.map(|(peer, why)| (format!("node at {peer}"), format!("it cannot be reached: {why}")));
        let lagging = self.certificates.iter().flat_map(|one| one.lagging.iter().map(move |lag| (one, lag)));
        let lagging = lagging.map(|(one, (node, why))| (one.names.join(" "), format!("node {node} lags: {why}")));
        trouble.chain(away).chain(lagging).collect()
    }

    /// For people.
    pub fn text(&self, now: UnixTime, out: &mut String) {
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(out, "fleet: this node takes no part: {trouble}");
            return;
        }
        let keys = self.keys.join(", before ");
        let _ = writeln!(out, "fleet: {} nodes, fleet key {keys}", self.nodes.len());
        if let Some(etcd) = &self.etcd {
            let _ = writeln!(out, "  etcd: {etcd}");
        }
        for node in &self.nodes {
            let place = match (node.is_this, &node.at) {
                (true, _) => "this node".to_owned(),
                (_, Some(at)) => format!("linked, {at}"),
                (_, None) => "NOT LINKED".to_owned(),
            };
            let short: String = node.id.chars().take(8).collect();
            let configuration: String = node.configuration.chars().take(8).collect();
            let differs = if node.differs { " (differs)" } else { "" };
            let ago = span(now.since(node.loaded_at));
            let faults = match node.faults.len() {
                0 => String::new(),
                count => format!(", {count} faults: {}", node.faults[0]),
            };
            let release = &node.release;
            let _ = writeln!(
                out,
                "  node {short}: {place}, semper {release}, configuration {configuration}{differs} taken {ago} ago{faults}"
            );
        }
        for (peer, why) in &self.unreachable {
            let _ = writeln!(out, "  {peer} cannot be reached: {why}");
        }
        for certificate in &self.certificates {
            let names = certificate.names.join(" ");
            let duty = certificate.duty.as_deref().unwrap_or("nobody that is there");
            let _ = writeln!(out, "  {names}: renewed by {duty}");
            for one in &certificate.served {
                let left = span(one.until.since(now));
                let _ = writeln!(out, "    {} for {left} more: {}", one.serial, one.by.join(" "));
            }
            for (node, why) in &certificate.lagging {
                let _ = writeln!(out, "    {node} lags: {why}");
            }
        }
    }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
