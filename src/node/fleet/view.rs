//! What do people see of the fleet? All nodes, all names, who serves which certificate, whose duty it is and who lags: the
//! same on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cert::bundle::Bundle;
use crate::clock::UnixTime;
use crate::fleet::members::{Difference, Standing};
use crate::fleet::serving::{Row, head};
use crate::fleet::{NodeId, Subject, rank};
use crate::peer::Call;
use crate::plan::certificate::CertId;
use crate::words::FleetKey;

use super::core::Core;

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
    /// All nodes, this one first.
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
    /// How its machine is called.
    pub name: String,
    /// It is the one that answers.
    pub is_this: bool,
    /// It is there.
    pub live: bool,
    /// How it stands: `here`, `live`, `silent`, `left`, `replaced`, `gone` or `removed`.
    pub standing: String,
    /// It is linked with this node.
    pub linked: bool,
    /// Where it is, if it is linked.
    pub at: Option<String>,
    /// Its release.
    pub release: String,
    /// A digest of the text of its configuration.
    pub configuration: String,
    /// In what it differs from this node.
    pub differs: Vec<String>,
    /// When it took that configuration.
    pub loaded_at: UnixTime,
    /// What of it cannot be used.
    pub complaint: String,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Which.
    pub id: CertId,
    /// For which names.
    pub names: Vec<String>,
    /// The node that renews it.
    pub duty: Option<String>,
    /// Which certificate is served until when, and by whom.
    pub served: Vec<Served>,
    /// Nodes that are there and serve an older one, or none, and why as far as it is known.
    pub lagging: Vec<(String, String)>,
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The serial number; of one that this node does not hold, the beginning of its fingerprint.
    pub serial: String,
    /// In force until then.
    pub until: UnixTime,
    /// By whom.
    pub by: Vec<String>,
}

/// What `core` knows.
pub(super) fn of(core: &Core, keys: &[Arc<FleetKey>]) -> FleetView {
    let links = core.links.standing();
    let node = |member: &crate::fleet::members::Member| {
        let report = member.report.clone().unwrap_or_default();
        let link = links.iter().find(|link| link.node == *member.node.as_bytes());
        Node {
            id: member.node.to_string(),
            name: report.name,
            is_this: member.node == core.me,
            live: member.standing.is_live(),
            standing: standing(member.standing).to_owned(),
            linked: link.is_some(),
            at: link.map(|link| link.at.to_string()),
            release: link.map_or(report.release, |link| link.release.clone()),
            configuration: report.configuration.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            differs: member.differs.iter().map(|difference| words(*difference).to_owned()).collect(),
            loaded_at: report.reloaded,
            complaint: report.complaint,
        }
    };
    let unreachable = core.links.calls().into_iter().filter_map(|(peer, call)| match call {
        Call::Failed { why, .. } => Some((peer.to_string(), why)),
        _ => None,
    });
    let held = core.sync.state().all().filter_map(|claim| match claim.subject() {
        Subject::Bundle(id) if !claim.is_tombstone() => Some(id.clone()),
        _ => None,
    });
    let ids: BTreeSet<CertId> = held.chain(core.bundles.wanted().cloned()).collect();
    let live = core.live();
    FleetView {
        trouble: None,
        id: core.me.to_string(),
        keys: keys.iter().map(|key| key.name()).collect(),
        etcd: core.etcd.as_ref().map(|etcd| etcd.standing()),
        nodes: core.members().iter().map(node).collect(),
        unreachable: unreachable.collect(),
        certificates: ids.into_iter().map(|id| certificate(core, id, &live)).collect(),
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Here => "here",
        Standing::Live => "live",
        Standing::Silent { .. } => "silent",
        Standing::Left => "left",
        Standing::Replaced { .. } => "replaced",
        Standing::Gone { .. } => "gone",
        Standing::Removed => "removed",
    }
}

fn words(difference: Difference) -> &'static str {
    match difference {
        Difference::Release => "release",
        Difference::Configuration => "configuration",
        Difference::Reload => "last reload",
        Difference::Knowledge => "not all is told yet",
    }
}

fn certificate(core: &Core, id: CertId, live: &[NodeId]) -> Certificate {
    let claims = core.sync.state().alive(&Subject::Bundle(id.clone()));
    let bundles = claims.iter().filter_map(|claim| Bundle::from_text(claim.body().as_bytes()).ok());
    let mut serials: BTreeMap<[u8; 8], String> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for bundle in bundles {
        serials.insert(head(&bundle.leaf.fingerprint), bundle.leaf.serial_text());
    }
    if let Some(spec) = core.bundles.spec(&id) {
        names = spec.identifiers.iter().map(ToString::to_string).collect();
    }
    if let Some(shown) = core.bundles.shows(&id) {
        serials.insert(head(&shown.rank.1), shown.serial.clone());
    }
    if names.is_empty() {
        names = vec![id.as_str().split('~').next().unwrap_or_default().to_owned()];
    }
    let rows: Vec<(NodeId, Row)> = core.served(&id);
    let serial = |row: &Row| {
        let known = serials.get(&row.shows).cloned();
        known.unwrap_or_else(|| row.shows.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "…")
    };
    let mut served: Vec<Served> = Vec::new();
    for (node, row) in rows.iter().filter(|(_, row)| row.shows != [0; 8]) {
        match served.iter_mut().find(|one| one.serial == serial(row)) {
            Some(one) => one.by.push(node.short()),
            None => served.push(Served { serial: serial(row), until: row.until, by: vec![node.short()] }),
        }
    }
    served.sort_by_key(|one| std::cmp::Reverse(one.until));
    let newest = served.first().map(|one| one.serial.clone());
    let late = rows.iter().filter(|(node, row)| {
        live.contains(node) && newest.is_some() && (row.shows == [0; 8] || Some(serial(row)) != newest)
    });
    let why = |row: &Row| match row.shows {
        [0, 0, 0, 0, 0, 0, 0, 0] => "it has none yet".to_owned(),
        _ => format!("it still serves {}", serial(row)),
    };
    let lagging = late.map(|(node, row)| (node.short(), why(row))).collect();
    let having: Vec<NodeId> = rows.iter().map(|(node, _)| *node).filter(|node| live.contains(node)).collect();
    let duty = rank::order(id.as_str().as_bytes(), &having).first().map(NodeId::short);
    Certificate { duty, id, names, served, lagging }
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
        self.nodes.iter().for_each(|node| node.text(now, out));
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

impl Node {
    fn text(&self, now: UnixTime, out: &mut String) {
        let place = match (self.is_this, &self.at) {
            (true, _) => "this node".to_owned(),
            (_, Some(at)) => format!("linked, {at}"),
            (_, None) => self.standing.to_uppercase(),
        };
        let cut = |text: &str| text.chars().take(8).collect::<String>();
        let (short, release, configuration) = (cut(&self.id), &self.release, cut(&self.configuration));
        let _ = write!(out, "  node {short} {}: {place}, semper {release}, configuration {configuration}", self.name);
        let _ = write!(out, " taken {} ago", span(now.since(self.loaded_at)));
        if !self.differs.is_empty() {
            let _ = write!(out, "; differs: {}", self.differs.join(", "));
        }
        if !self.complaint.is_empty() {
            let _ = write!(out, "; {}", self.complaint);
        }
        out.push('\n');
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
