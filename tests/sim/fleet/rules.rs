//! What must never happen in a fleet, and what must happen in time? Nothing here knows how the machine decides.

use super::world::World;
use semper::fleet::{Claim, Mark, Message, NodeId, Subject, SubjectKey};
use std::sync::Arc;

/// Something that a node said, and that all shall know.
#[derive(Clone, Debug)]
pub struct News {
    pub from: usize,
    pub said: i64,
    pub mark: Option<Mark>,
    pub token: Option<String>,
}

/// No node says more in a second, however much there is to say.
const MOST_IN_A_SECOND: u32 = 4_000;

impl World {
    pub fn breaks(&mut self, rule: &str, detail: String) {
        let minutes = self.now.rem_euclid(1_800_000_000_000) / 60_000;
        self.broken.get_or_insert_with(|| format!("`{rule}` after {minutes} minutes: {detail}"));
    }

    /// Something leaves a node.
    pub fn check_sent(&mut self, node: usize, to: NodeId, message: &Message) {
        // By our own record of what the node knows, not by its own.
        if self.nodes[node].knew.contains_key(&Subject::Removed(to).key()) {
            return self.breaks("nothing is said to a node that was removed", format!("{message:?}"));
        }
        let second = self.now / 1_000;
        let of = &mut self.nodes[node];
        if of.second.0 != second {
            of.second = (second, 0);
        }
        of.second.1 += 1;
        if of.second.1 > MOST_IN_A_SECOND {
            self.breaks("a fleet makes no storm", format!("{MOST_IN_A_SECOND} messages of one node in a second"));
        }
    }

    /// Something goes to a disk: no node ever knows less than it did, and what ended stays so.
    pub fn check_stored(&mut self, node: usize, key: SubjectKey, claims: &[Arc<Claim>]) {
        let top = claims.iter().map(|claim| (claim.epoch(), claim.is_tombstone())).max().unwrap_or((0, false));
        let knew = self.nodes[node].knew.get(&key).copied().unwrap_or((0, false));
        if top < knew {
            let detail = format!("{knew:?} became {top:?} on node {node}");
            return self.breaks("what ended, or is older, does not come back", detail);
        }
        self.nodes[node].knew.insert(key, top);
    }

    /// A process began: what its disk ever took it knows.
    pub fn check_started(&mut self, node: usize) {
        let of = &self.nodes[node];
        let Some(sync) = &of.sync else { return };
        let forgot = of.knew.iter().find(|(key, (epoch, end))| {
            let now = sync.state().epoch(key).unwrap_or(0);
            now < *epoch || (now == *epoch && *end && sync.state().claims(key).any(|claim| !claim.is_tombstone()))
        });
        if let Some(forgot) = forgot.map(|forgot| format!("node {node}: {forgot:?}")) {
            self.breaks("what was known is known after a start", forgot);
        }
    }

    /// Whether a node was up and could hear everybody since a moment.
    fn could_hear(&self, node: usize, since: i64) -> bool {
        let of = &self.nodes[node];
        !of.removed && of.sync.is_some() && of.since < since - 5_000
    }

    /// Ten seconds after something was said nearly all know it, after a minute all, if nothing was in the way.
    pub fn check_news(&mut self, number: u64) {
        let Some(news) = self.news.get(&number).cloned() else { return };
        let rough = self.stormy() && (self.scenario.lost > 0.0 || self.scenario.late > 0.0);
        if rough || self.disturbed > news.said - 5_000 || !self.could_hear(news.from, news.said) {
            return;
        }
        let heard: Vec<usize> = (0..self.nodes.len()).filter(|at| self.could_hear(*at, news.said)).collect();
        let knows = |at: &&usize| match (&news.mark, &news.token) {
            (Some(mark), _) => self.nodes[**at].sync.as_ref().is_some_and(|sync| {
                let newer = sync.state().epoch(&mark.key) > Some(mark.epoch);
                newer || sync.state().knows(mark) || sync.state().claims(&mark.key).any(|claim| claim.is_tombstone())
            }),
            (None, Some(token)) => **at == news.from || self.nodes[**at].tokens.contains_key(token),
            (None, None) => true,
        };
        let count = heard.iter().filter(knows).count();
        let at_once = self.now - news.said < 30_000;
        let enough = if at_once { count * 100 >= heard.len() * 99 } else { count == heard.len() };
        if !enough {
            let rule = if at_once { "ten seconds are enough for news" } else { "a minute is enough for everybody" };
            self.breaks(rule, format!("{count} of {} know {:?}", heard.len(), news));
        }
    }

    /// A minute after everything is well again all members know the same, and each knows what it ever knew.
    pub fn check_agreement(&mut self) {
        let members: Vec<usize> = (0..self.nodes.len()).filter(|at| !self.nodes[*at].removed).collect();
        let Some((first, rest)) = members.split_first() else { return };
        for other in rest {
            let (Some(one), Some(two)) = (&self.nodes[*first].sync, &self.nodes[*other].sync) else { continue };
            if one.state() != two.state() {
                let (a, b) = (one.state().len(), two.state().len());
                let differs = one.state().marks().find(|mark| !two.state().knows(mark));
                return self.breaks("all agree a minute later", format!("{first}: {a}, {other}: {b}, {differs:?}"));
            }
        }
        for node in members {
            self.check_started(node);
            let Some(sync) = &self.nodes[node].sync else { continue };
            for cert in &self.certs {
                let subject = Subject::Bundle(cert.clone());
                let alive = sync.state().alive(&subject);
                if !alive.is_empty() && sync.state().ended(&subject).is_some() {
                    return self.breaks("what ended is not shown", format!("{cert} on node {node}"));
                }
            }
        }
    }
}
