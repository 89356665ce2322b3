//! Which link to a node counts, when there are two? Both may have called each other at once, or one came back before the
//! other noticed that it had gone. Both ends come to the same answer without a word about it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::identity::NodeId;
use super::link::Queue;

/// A link that counts.
#[derive(Debug)]
pub(super) struct Entry {
    /// Counted up: tells a link from one before it to the same node.
    pub(super) number: u64,
    pub(super) queue: Queue,
    pub(super) face: Face,
    pub(super) key: String,
    pub(super) release: String,
    pub(super) at: SocketAddr,
    pub(super) since: Instant,
    pub(super) task: Option<AbortHandle>,
}

/// What of a link decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Face {
    /// The run of the other process; a later one has a larger number.
    pub(super) life: u64,
    /// Whether we called.
    pub(super) called: bool,
}

/// Whether a new link takes the place of the one that is there.
pub(super) fn replaces(me: &NodeId, them: &NodeId, old: Face, new: Face) -> bool {
    if old.life != new.life {
        // It was started again. While one binary takes another's place both run: the later one counts.
        return new.life > old.life;
    }
    if old.called == new.called {
        // Whoever called before does so once more: the old link is dead.
        return true;
    }
    // Both called: the call of the smaller id stays.
    new.called == (me < them)
}

/// All links that count, by node.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) links: HashMap<NodeId, Entry>,
    /// Who is no member any more.
    pub(super) banned: HashSet<NodeId>,
}

impl Table {
    /// Takes a link away, unless another one stands in its place.
    pub(super) fn remove(&mut self, node: &NodeId, number: u64) {
        if self.links.get(node).is_some_and(|entry| entry.number == number) {
            self.links.remove(node);
        }
    }

    /// Ends every link for which `keep` is false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&NodeId, &Entry) -> bool) {
        for (node, entry) in &self.links {
            if !keep(node, entry)
                && let Some(task) = &entry.task
            {
                task.abort();
            }
        }
        self.links.retain(|node, entry| keep(node, entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_both_called_both_ends_keep_the_same_link() {
        let (small, large) = ([1; 32], [2; 32]);
        let face = |called| Face { life: 7, called };
        for first_is_by_small in [true, false] {
            // As the smaller sees it, and as the larger does, whichever came first.
            let at_small = replaces(&small, &large, face(first_is_by_small), face(!first_is_by_small));
            let at_large = replaces(&large, &small, face(!first_is_by_small), face(first_is_by_small));
            let kept_is_by_small = |replaced: bool| if replaced { !first_is_by_small } else { first_is_by_small };
            assert!(kept_is_by_small(at_small) && kept_is_by_small(at_large));
        }
    }

    #[test]
    fn who_was_started_again_or_calls_again_is_not_held_to_a_dead_link() {
        let (me, them) = ([1; 32], [2; 32]);
        let old = Face { life: 7, called: true };
        assert!(replaces(&me, &them, old, Face { life: 8, called: false }));
        assert!(!replaces(&me, &them, old, Face { life: 6, called: true }), "the one that goes does not come back");
        assert!(replaces(&me, &them, old, old));
    }
}
