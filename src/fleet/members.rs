//! Who belongs to the fleet, and how does each stand? Put together from reports, links and facts. A node that was removed
//! stays so; one that was not seen for two weeks, said that it stops, or was replaced at its address does not count when
//! duty is given out, but is still shown.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duty::Holder;
use super::report::Report;
use super::serving::Served;
use super::{NodeId, State, Subject, Sync};
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;

/// A node that was heard within this lives.
pub const LIVE: Duration = Duration::from_secs(15);
/// A node that was not seen for so long does not count any more.
pub const FORGET: Duration = Duration::from_secs(14 * 86_400);

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is this one.
    Here,
    /// It is heard.
    Live,
    /// It is not heard.
    Silent {
        /// When it was seen last, by our clock.
        since: UnixTime,
    },
    /// It said that it stops.
    Left,
    /// Another node stands at its address: its state was lost, or it was set up anew.
    Replaced {
        /// Which one.
        by: NodeId,
    },
    /// It was not seen for two weeks.
    Gone {
        /// When it was seen last, by our clock.
        since: UnixTime,
    },
    /// It was removed.
    Removed,
}

impl Standing {
    /// Whether it is seen now.
    pub fn is_live(self) -> bool {
        matches!(self, Standing::Here | Standing::Live)
    }

    /// Whether it counts when duty is given out.
    pub fn counts(self) -> bool {
        matches!(self, Standing::Here | Standing::Live | Standing::Silent { .. })
    }
}

/// One node of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// How it stands.
    pub standing: Standing,
    /// What it said of itself last; `None`: nothing yet.
    pub report: Option<Report>,
    /// In what it differs from this node.
    pub differs: Vec<Difference>,
}

/// In what a node differs from this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Its release is another.
    Release,
    /// Its configuration is another.
    Configuration,
    /// Its last reload was refused.
    Reload,
    /// It is heard, but knows other things than this node does.
    Knowledge,
}

/// When each node was seen last, by our civil clock; kept over restarts by `node`, so that what is gone stays gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sightings(BTreeMap<String, UnixTime>);

impl Sightings {
    /// Notes who is heard now; who is known and was never seen counts as seen now.
    pub fn note(&mut self, sync: &Sync, mono: Duration, now: UnixTime) {
        for node in reported(sync.state()).into_keys() {
            let heard = sync.heard(node).is_some_and(|heard| mono.saturating_sub(heard) <= LIVE);
            let last = self.0.entry(node.to_string()).or_insert(now);
            // A clock that was set back leaves no sighting in the future.
            *last = if heard { now } else { (*last).min(now) };
        }
        self.0.retain(|node, _| node.parse().is_ok_and(|node| !sync.state().is_removed(node)));
    }

    fn last(&self, node: NodeId) -> Option<UnixTime> {
        self.0.get(&node.to_string()).copied()
    }
}

/// What each node has said of itself, removed ones included.
pub fn reported(state: &State) -> BTreeMap<NodeId, Report> {
    let mut reports = BTreeMap::new();
    for claim in state.all() {
        if let Subject::Report(node) = claim.subject()
            && let Ok(report) = Report::from_body(claim.body())
        {
            reports.insert(*node, report);
        }
    }
    reports
}

/// Everybody, this node first, then by name.
pub fn members(sync: &Sync, sightings: &Sightings, mono: Duration, now: UnixTime) -> Vec<Member> {
    let reports = reported(sync.state());
    let mut all: BTreeMap<NodeId, Option<Report>> =
        reports.iter().map(|(node, report)| (*node, Some(report.clone()))).collect();
    all.entry(sync.me()).or_default();
    let links: BTreeMap<NodeId, bool> = sync.links().map(|link| (link.peer, link.differs)).collect();
    for node in links.keys().copied().chain(removed(sync.state())) {
        all.entry(node).or_default();
    }
    let ours = reports.get(&sync.me()).cloned();
    let mut list: Vec<Member> = all
        .into_iter()
        .map(|(node, report)| {
            let standing = standing(sync, sightings, &reports, node, mono, now);
            let differs = differences(ours.as_ref(), report.as_ref(), links.get(&node).copied().unwrap_or(false));
            Member { node, standing, report, differs }
        })
        .collect();
    let name = |member: &Member| member.report.as_ref().map(|report| report.name.clone());
    list.sort_by_key(|member| (member.standing != Standing::Here, name(member), member.node));
    list
}

fn removed(state: &State) -> Vec<NodeId> {
    let nodes = state.all().filter_map(|claim| match claim.subject() {
        Subject::Removed(node) => Some(*node),
        _ => None,
    });
    nodes.collect()
}

fn standing(
    sync: &Sync,
    sightings: &Sightings,
    reports: &BTreeMap<NodeId, Report>,
    node: NodeId,
    mono: Duration,
    now: UnixTime,
) -> Standing {
    if sync.state().is_removed(node) {
        return Standing::Removed;
    }
    if node == sync.me() {
        return Standing::Here;
    }
    let report = reports.get(&node);
    if sync.has_left(node) {
        return Standing::Left;
    }
    if sync.heard(node).is_some_and(|heard| mono.saturating_sub(heard) <= LIVE) {
        return Standing::Live;
    }
    if report.is_some_and(|report| report.left) {
        return Standing::Left;
    }
    let later = |other: &Report, report: &Report| {
        other.started > report.started && other.addresses.iter().any(|address| report.addresses.contains(address))
    };
    let heir = report.and_then(|report| reports.iter().find(|(other, said)| **other != node && later(said, report)));
    if let Some((by, _)) = heir {
        return Standing::Replaced { by: *by };
    }
    let since = sightings.last(node).unwrap_or(now);
    if now.since(since) > FORGET { Standing::Gone { since } } else { Standing::Silent { since } }
}

fn differences(ours: Option<&Report>, theirs: Option<&Report>, knowledge: bool) -> Vec<Difference> {
    let mut list = Vec::new();
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let cases = [
            (ours.release != theirs.release, Difference::Release),
            (ours.configuration != theirs.configuration, Difference::Configuration),
            (!theirs.complaint.is_empty(), Difference::Reload),
        ];
        list.extend(cases.into_iter().filter(|(differs, _)| *differs).map(|(_, difference)| difference));
    }
    if knowledge {
        list.push(Difference::Knowledge);
    }
    list
}

/// The nodes among which duty for a certificate lies.
pub fn holders(members: &[Member], served: &Served, cert: &CertId) -> Vec<Holder> {
    let having: Vec<NodeId> = served.of(cert).map(|(node, _)| node).collect();
    let counted = members.iter().filter(|member| member.standing.counts() && having.contains(&member.node));
    counted.map(|member| Holder { node: member.node, live: member.standing.is_live() }).collect()
}

/// The nodes that are expected to answer challenges: live ones, and those silent for less than `patience`.
pub fn expected(members: &[Member], patience: Duration, now: UnixTime) -> Vec<NodeId> {
    let counts = |member: &&Member| match member.standing {
        Standing::Live => true,
        Standing::Silent { since } => now.since(since) <= patience,
        _ => false,
    };
    members.iter().filter(counts).map(|member| member.node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Dice;
    use crate::fleet::message::{Hello, Message};
    use crate::fleet::sync::{Event, Now, Terms};
    use crate::fleet::{Body, Claim};
    use std::sync::Arc;

    struct Half;
    impl Dice for Half {
        fn draw(&self) -> f64 {
            0.5
        }
    }

    const T: UnixTime = UnixTime::from_seconds(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn node(n: u8) -> NodeId {
        NodeId::of_key(&[n])
    }

    fn tell(sync: &mut Sync, mono: Duration, event: Event) {
        sync.on(Now { mono, civil: T + mono }, event, &Half);
    }

    fn report(n: u8, started: i64, address: &str, left: bool) -> Event {
        let report = Report {
            name: format!("node{n}"),
            started: UnixTime::from_seconds(started),
            addresses: vec![address.into()],
            left,
            ..Report::default()
        };
        Event::Claim(Arc::new(Claim::new(Subject::Report(node(n)), 1, node(n), report.to_body())))
    }

    #[test]
    fn each_node_stands_as_links_reports_and_facts_say() {
        let mut sync = Sync::new(node(0), Terms::new("1", 1));
        let mut seen = Sightings::default();
        let at = Duration::from_secs;
        for (n, started, address, left) in [
            (0, 1, "a:1", false),
            (1, 1, "b:1", false),
            (2, 1, "c:1", false),
            (3, 5, "c:1", false),
            (4, 1, "d:1", true),
        ] {
            tell(&mut sync, at(0), report(n, started, address, left));
        }
        tell(&mut sync, at(0), report(5, 1, "e:1", false));
        tell(
            &mut sync,
            at(0),
            Event::Claim(Arc::new(Claim::new(Subject::Removed(node(5)), 1, node(0), Body::empty()))),
        );
        for n in [1, 3] {
            tell(&mut sync, at(1), Event::Connected(node(n)));
        }
        seen.note(&sync, at(1), T);
        let standings = |sync: &Sync, seen: &Sightings, mono| {
            let mut list = members(sync, seen, mono, T + mono);
            list.sort_by_key(|member| (0..6).position(|n| node(n) == member.node));
            list.into_iter().map(|member| member.standing).collect::<Vec<_>>()
        };
        use Standing::{Gone, Here, Left, Live, Removed, Replaced, Silent};
        let by = node(3);
        assert_eq!(standings(&sync, &seen, at(5)), [Here, Live, Replaced { by }, Live, Left, Removed]);
        seen.note(&sync, at(10), T + at(10));
        let since = T + at(10);
        assert_eq!(standings(&sync, &seen, at(60))[1], Silent { since });
        assert_eq!(standings(&sync, &seen, DAY * 15)[1], Gone { since });
        tell(&mut sync, DAY * 15, Event::Received(node(1), Message::Leaving));
        assert_eq!(standings(&sync, &seen, DAY * 15)[1], Left);
        let hello = Hello { features: 0, incarnation: 2, release: "1".into(), holds_all: true };
        tell(&mut sync, DAY * 15, Event::Received(node(1), Message::Hello(hello)));
        assert_eq!(standings(&sync, &seen, DAY * 15)[1], Live);
    }

    #[test]
    fn what_differs_is_named() {
        let ours = Report { release: "1".into(), ..Report::default() };
        let theirs = Report { release: "2".into(), complaint: "x".into(), ..Report::default() };
        assert_eq!(differences(Some(&ours), Some(&ours), false), []);
        let expected = [Difference::Release, Difference::Reload, Difference::Knowledge];
        assert_eq!(differences(Some(&ours), Some(&theirs), true), expected);
    }
}
