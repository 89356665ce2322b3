//! Whose turn is it to order? Rank 0 acts when a certificate is due, rank 1 only if with a quarter of its life left nothing
//! newer was seen, rank 2 at a fifth. However many sides a partition has, at most three nodes order for a name set within a
//! week: every node takes one of three lanes, and within a lane turns are a week apart.
//!
//! - All nodes that have the name are seen: rank among them; lanes 0, 1, 2, then 0 a week later, and so on.
//! - More than half are seen (or half, and the first of all among them): no other side can say so. Rank among the seen;
//!   lanes 0 and 1.
//! - Fewer are seen: rank among all; lane 2 alone, first turn first, each next one a week later.
//!
//! Fleets of up to three nodes need no lanes. Who acts looks first at what the public addresses of the name serve.

use std::time::Duration;

use super::{NodeId, rank};
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Before a first order a node listens for so long who else has the name, and whether somebody has its certificate.
pub const SETTLE: Duration = Duration::from_secs(20);
/// Between two ranks when nothing valid is held, or not for long.
const URGENT: Duration = Duration::from_secs(60);
/// An order of another node is waited for no longer, whatever it says.
const LONGEST_ORDER: Duration = Duration::from_secs(2 * 3600);

/// A node whose configuration has the certificate and which counts: neither removed nor gone for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub node: NodeId,
    /// Whether it is seen now.
    pub live: bool,
}

/// The newest generation that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// In force from then on.
    pub not_before: UnixTime,
    /// And up to then.
    pub not_after: UnixTime,
    /// When it shall be renewed: chosen within the authority's window, or by its life.
    pub due: UnixTime,
}

/// An order under way elsewhere, as its claim says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Who placed it.
    pub by: NodeId,
    /// Its deadline.
    pub until: UnixTime,
}

/// All that decides whose turn it is.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Which certificate.
    pub cert: &'a CertId,
    /// Who asks; counts as a live holder, listed or not.
    pub me: NodeId,
    /// All that count, this node among them or not.
    pub holders: &'a [Holder],
    /// What is held; `None`: nothing was ever issued, or nothing that may be served.
    pub newest: Option<Newest>,
    /// Since when this node wants it and hears its fleet: the later of the first sight of the name in its configuration
    /// and the start of the process.
    pub since: UnixTime,
    /// An order under way elsewhere.
    pub ordering: Option<Elsewhere>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// This node's, now. It first looks at what the public addresses serve.
    Act,
    /// This node's, but not before this moment.
    WaitUntil(UnixTime),
    /// Another's.
    NotMine {
        /// Whose.
        whose: NodeId,
        /// If nothing newer was seen by then, it is this node's turn.
        until: UnixTime,
    },
}

/// Decides.
pub fn duty(now: UnixTime, question: &Question<'_>) -> Duty {
    let me = question.me;
    let task = question.cert.as_str().as_bytes();
    let mut all: Vec<NodeId> = question.holders.iter().map(|holder| holder.node).collect();
    let mut live: Vec<NodeId> =
        question.holders.iter().filter(|holder| holder.live).map(|holder| holder.node).collect();
    for list in [&mut all, &mut live] {
        list.push(me);
        list.sort();
        list.dedup();
    }
    if let Some(order) = question.ordering
        && order.by != me
        && now < order.until
        && live.contains(&order.by)
    {
        return Duty::NotMine { whose: order.by, until: order.until.min(now + LONGEST_ORDER) };
    }
    let order = rank::order(task, &live);
    let (lane, weeks) = turn(task, me, &all, &live);
    let start = Start::of(question);
    let at = start.of_lane(lane) + WEEK.saturating_mul(weeks);
    match order.first() {
        _ if at <= now => Duty::Act,
        Some(first) if *first != me => Duty::NotMine { whose: *first, until: at },
        _ => Duty::WaitUntil(at),
    }
}

/// The lane of a node and its turn within it.
fn turn(task: &[u8], me: NodeId, all: &[NodeId], live: &[NodeId]) -> (u8, u32) {
    let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    let among_live = number(rank::place(task, me, live));
    let among_all = number(rank::place(task, me, all));
    let lane = |place: u32, lanes: u32| (u8::try_from(place % lanes).unwrap_or(0), place / lanes);
    let half = live.len() * 2 == all.len();
    let first_is_here = rank::order(task, all).first().is_some_and(|first| live.contains(first));
    let most = live.len() * 2 > all.len() || (half && first_is_here);
    match (all.len(), most) {
        (_, true) if live.len() == all.len() => lane(among_live, 3),
        (..=3, true) => lane(among_live, 3),
        (..=3, false) => lane(among_all, 3),
        (_, true) => lane(among_live, 2),
        // The other half has the first of all: this half is one side, so its turns are counted within it.
        (_, false) if half => (2, among_live),
        (_, false) => (2, among_all),
    }
}

/// When the three lanes begin.
struct Start([UnixTime; 3]);

impl Start {
    fn of(question: &Question<'_>) -> Start {
        // Even who knows of nobody: others may have got the same configuration this moment, or not be met yet.
        let settled = question.since + SETTLE;
        let Some(newest) = question.newest else {
            return Start([settled, settled + URGENT, settled + URGENT * 2]);
        };
        let life = newest.not_after.since(newest.not_before);
        // Due long ago (all slept): one after the other all the same.
        let first = if newest.due < question.since { settled } else { newest.due };
        let left = newest.not_after.since(first);
        let gap = if left < life / 16 { URGENT.min(life / 48) } else { life / 48 };
        let second = (newest.not_after - life / 4).max(first + gap);
        let third = (newest.not_after - life / 5).max(second + gap);
        Start([first, second, third])
    }

    fn of_lane(&self, lane: u8) -> UnixTime {
        self.0[usize::from(lane.min(2))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const T: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn nodes(count: u8) -> Vec<NodeId> {
        (0..count).map(|n| NodeId::of_key(&[n])).collect()
    }

    fn cert(n: u32) -> CertId {
        CertId::try_from(format!("a.example~{n:016x}")).unwrap()
    }

    fn newest(life: Duration, due: Duration) -> Newest {
        Newest { not_before: T, not_after: T + life, due: T + due }
    }

    fn ask(cert: &CertId, me: NodeId, all: &[NodeId], live: &[NodeId], newest: Option<Newest>, now: UnixTime) -> Duty {
        let holders: Vec<Holder> = all.iter().map(|node| Holder { node: *node, live: live.contains(node) }).collect();
        duty(now, &Question { cert, me, holders: &holders, newest, since: T, ordering: None })
    }

    /// When `me` acts if nothing newer is ever seen.
    fn acts(cert: &CertId, me: NodeId, all: &[NodeId], live: &[NodeId], newest: Option<Newest>) -> UnixTime {
        let mut now = T;
        loop {
            match ask(cert, me, all, live, newest, now) {
                Duty::Act => return now,
                Duty::WaitUntil(at) | Duty::NotMine { until: at, .. } => now = at,
            }
        }
    }

    #[test]
    fn rank_0_acts_when_due_rank_1_at_a_quarter_rank_2_at_a_fifth() {
        let (all, cert, newest) = (nodes(5), cert(1), newest(DAY * 90, DAY * 60));
        let order = rank::order(cert.as_str().as_bytes(), &all);
        let at: Vec<UnixTime> = order.iter().map(|me| acts(&cert, *me, &all, &all, Some(newest))).collect();
        assert_eq!(at[..3], [T + DAY * 60, T + DAY * 90 - DAY * 90 / 4, T + DAY * 72]);
        assert!(at[3] >= at[0] + WEEK && at[4] >= at[1] + WEEK);
        let whose = ask(&cert, order[1], &all, &all, Some(newest), T);
        assert_eq!(whose, Duty::NotMine { whose: order[0], until: at[1] });
        assert_eq!(ask(&cert, order[0], &all, &all, Some(newest), T), Duty::WaitUntil(at[0]));
    }

    #[test]
    fn of_three_nodes_any_may_be_alone_and_acts_before_the_end_whatever_the_life() {
        for life in [Duration::from_secs(60), DAY * 6, DAY * 45, DAY * 90] {
            let newest = newest(life, life / 2);
            for n in 0..20 {
                for (all, live) in [(nodes(2), 1), (nodes(3), 1), (nodes(3), 2), (nodes(4), 2), (nodes(4), 3)] {
                    for at in 0..all.len() {
                        let live: Vec<NodeId> = (0..live).map(|k| all[(at + k) % all.len()]).collect();
                        let first = live.iter().map(|me| acts(&cert(n), *me, &all, &live, Some(newest))).min();
                        assert!(first.unwrap() < newest.not_after, "{life:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_first_order_waits_until_others_can_be_heard_and_then_for_minutes_at_most() {
        let (all, cert) = (nodes(4), cert(1));
        let order = rank::order(cert.as_str().as_bytes(), &all);
        assert_eq!(acts(&cert, all[0], &all[..1], &all[..1], None), T + SETTLE);
        let at: Vec<UnixTime> = order.iter().map(|me| acts(&cert, *me, &all, &all, None)).collect();
        assert_eq!(at[..3], [T + SETTLE, T + SETTLE + URGENT, T + SETTLE + URGENT * 2]);
        // Two of four are down, whichever they are: it is ordered within minutes.
        for down in 0..6 {
            let live = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)][down];
            let live = [order[live.0], order[live.1]];
            let first = live.iter().map(|me| acts(&cert, *me, &all, &live, None)).min().unwrap();
            assert!(first <= T + Duration::from_secs(180));
        }
    }

    #[test]
    fn an_order_under_way_elsewhere_is_waited_for_while_its_node_lives_and_not_for_ever() {
        let (all, cert) = (nodes(3), cert(1));
        let order = rank::order(cert.as_str().as_bytes(), &all);
        let live = |node| Holder { node, live: true };
        let mut holders = [live(order[0]), live(order[1]), live(order[2])];
        let ordering = Some(Elsewhere { by: order[2], until: T + DAY * 999 });
        let now = T + DAY;
        let asked = |holders: &[Holder]| {
            duty(now, &Question { cert: &cert, me: order[0], holders, newest: None, since: T, ordering })
        };
        assert_eq!(asked(&holders), Duty::NotMine { whose: order[2], until: now + LONGEST_ORDER });
        holders[2].live = false;
        assert_eq!(asked(&holders), Duty::Act);
    }

    #[test]
    fn a_fleet_that_slept_through_the_end_does_not_order_all_at_once() {
        let (all, cert, newest) = (nodes(12), cert(1), newest(DAY * 10, DAY * 5));
        let woke = T + DAY * 40;
        let holders: Vec<Holder> = all.iter().map(|node| Holder { node: *node, live: true }).collect();
        let acting = |now| {
            let question =
                |me| Question { cert: &cert, me, holders: &holders, newest: Some(newest), since: woke, ordering: None };
            all.iter().filter(|me| duty(now, &question(**me)) == Duty::Act).count()
        };
        assert_eq!(acting(woke), 0);
        assert_eq!(acting(woke + SETTLE), 1);
        assert_eq!(acting(woke + DAY), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// Any number of nodes on any number of sides, all with the same certificate: within any week at most three order.
        #[test]
        fn at_most_three_nodes_order_in_any_week_however_many_sides_there_are(
            count in 2..40_u8,
            sides in proptest::collection::vec(0..12_u8, 40),
            apart in 1..12_u8,
            name in any::<u32>(),
            days in 1..200_u32,
            part in 1..6_u32,
            first in any::<bool>(),
        ) {
            let (all, cert) = (nodes(count), cert(name));
            let life = DAY * days;
            let newest = (!first).then(|| newest(life, life - life / (part + 1)));
            let side = |at: usize| sides[at] % apart;
            let mut at: Vec<UnixTime> = (0..all.len()).map(|me| {
                let live: Vec<NodeId> =
                    (0..all.len()).filter(|other| side(*other) == side(me)).map(|other| all[other]).collect();
                acts(&cert, all[me], &all, &live, newest)
            }).collect();
            at.sort();
            for (n, time) in at.iter().enumerate() {
                let within = at[n..].iter().take_while(|other| **other < *time + WEEK).count();
                prop_assert!(within <= 3, "{within} within a week: {at:?}");
            }
        }
    }
}
