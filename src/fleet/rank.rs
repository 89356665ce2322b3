//! In which order do nodes stand for a task? By rendezvous hashing: each node draws a number from the task's name and its
//! own; the largest is first. All nodes compute the same order, each task has another, and when a node comes or goes
//! nobody else changes places.

use super::NodeId;
use crate::words::Fingerprint;

/// The nodes in the order in which they stand for `task`; each once.
pub fn order(task: &[u8], nodes: &[NodeId]) -> Vec<NodeId> {
    let mut drawn: Vec<([u8; 32], NodeId)> = nodes.iter().map(|node| (draw(task, node), *node)).collect();
    drawn.sort_by(|a, b| b.cmp(a));
    drawn.dedup();
    drawn.into_iter().map(|(_, node)| node).collect()
}

/// The place of `me` among `nodes` for `task`, 0 is first; `me` counts whether it is listed or not.
pub fn place(task: &[u8], me: NodeId, nodes: &[NodeId]) -> usize {
    let own = (draw(task, &me), me);
    let mut before: Vec<NodeId> =
        nodes.iter().filter(|node| **node != me && (draw(task, node), **node) > own).copied().collect();
    before.sort();
    before.dedup();
    before.len()
}

fn draw(task: &[u8], node: &NodeId) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(task.len() + 40);
    bytes.extend_from_slice(b"semper duty 1\0");
    bytes.extend_from_slice(node.as_bytes());
    bytes.extend_from_slice(task);
    Fingerprint::of(&bytes).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_spread_over_nodes_and_only_those_of_a_lost_node_move() {
        let nodes: Vec<NodeId> = (0..5_u8).map(|n| NodeId::of_key(&[n])).collect();
        let mut first = std::collections::BTreeMap::new();
        for task in 0..1000_u32 {
            let task = task.to_be_bytes();
            let all = order(&task, &nodes);
            *first.entry(all[0]).or_insert(0) += 1;
            let fewer: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != nodes[2]).collect();
            let rest: Vec<NodeId> = all.iter().copied().filter(|node| *node != nodes[2]).collect();
            assert_eq!(order(&task, &fewer), rest);
            for (at, node) in all.iter().enumerate() {
                assert_eq!(place(&task, *node, &nodes), at);
            }
        }
        assert!(first.values().all(|count| (130..280).contains(count)), "{first:?}");
    }
}
