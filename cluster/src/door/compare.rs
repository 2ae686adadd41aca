//! Detects diverged replicas. Each heartbeat carries the index of the last applied entry and the running hash there.
//! The leader compares that hash with its own at the same entry.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Number of differing heartbeats in a row that count as divergence. A single one can come from an older build, which
/// does not read index and hash atomically.
const TIMES: u32 = 2;

/// Results of the comparisons since this node leads.
#[derive(Debug, Default)]
pub(super) struct Compared {
    nodes: Mutex<BTreeMap<u64, Seen>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    applied: u64,
    own: u64,
    theirs: u64,
    times: u32,
}

/// A node whose state differs from the leader's at the same entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Differs {
    pub(super) node: u64,
    /// The entry, and the hashes of the leader and of the node there.
    pub(super) what: String,
}

impl Seen {
    fn agrees(&self) -> bool {
        self.own == self.theirs
    }

    fn differs(&self) -> bool {
        !self.agrees() && self.times >= TIMES
    }
}

impl Compared {
    /// Drops all results: this node has lost or gained leadership.
    pub(super) fn forget(&self) {
        self.nodes.lock().clear();
    }

    /// Records that a node has applied up to `applied` with hash `theirs`, where this node has hash `own`.
    pub(super) fn note(&self, node: u64, applied: u64, own: u64, theirs: u64) {
        let mut nodes = self.nodes.lock();
        let mut seen = Seen {
            applied,
            own,
            theirs,
            times: 1,
        };
        if let Some(before) = nodes.get(&node)
            && before.agrees() == seen.agrees()
        {
            seen.times = before.times.saturating_add(1);
        }
        nodes.insert(node, seen);
    }

    /// The nodes whose state differs from this node's.
    pub(super) fn differing(&self) -> Vec<Differs> {
        let nodes = self.nodes.lock();
        let differing = nodes.iter().filter(|(_, seen)| seen.differs());
        differing
            .map(|(node, seen)| Differs {
                node: *node,
                what: format!(
                    "at entry {} the leader's state has hash {:016x}, and that of node {node} {:016x}",
                    seen.applied, seen.own, seen.theirs
                ),
            })
            .collect()
    }

    /// The nodes that must stop because a majority of the voters holds another state. Without such a majority the
    /// result is empty: then only the alarm is raised.
    pub(super) fn off(&self, leader: u64, voters: &[u64]) -> Vec<Differs> {
        let differing = self.differing();
        let nodes = self.nodes.lock();
        let count = |holds: &dyn Fn(&Seen) -> bool| {
            let others = voters.iter().filter(|voter| **voter != leader);
            others
                .filter(|voter| nodes.get(voter).is_some_and(holds))
                .count()
        };
        let agree = 1 + count(&Seen::agrees);
        if agree * 2 > voters.len() {
            differing
        } else if count(&Seen::differs) * 2 > voters.len() {
            let what = differing.into_iter().map(|differs| differs.what);
            vec![Differs {
                node: leader,
                what: what.collect::<Vec<_>>().join("; "),
            }]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(compared: &Compared) -> Vec<u64> {
        let off = compared.off(1, &[1, 2, 3]);
        off.into_iter().map(|differs| differs.node).collect()
    }

    #[test]
    fn the_node_that_differs_from_a_majority_is_off_also_if_it_leads() {
        let compared = Compared::default();
        for _ in 0..3 {
            compared.note(2, 10, 7, 8);
        }
        assert_eq!(compared.differing().len(), 1);
        // With two nodes that differ there is no third one to decide which is right.
        assert!(off(&compared).is_empty());
        compared.note(3, 10, 7, 7);
        assert_eq!(off(&compared), [2]);
        // The two others differ from the leader.
        compared.note(3, 11, 7, 9);
        assert!(off(&compared).is_empty(), "once is not enough");
        compared.note(3, 12, 7, 9);
        assert_eq!(off(&compared), [1]);
        // A learner is compared, but its state does not count towards a majority.
        let compared = Compared::default();
        compared.note(4, 10, 7, 8);
        compared.note(4, 11, 7, 8);
        assert!(off(&compared).is_empty());
        compared.note(2, 11, 7, 7);
        assert_eq!(off(&compared), [4]);
        compared.forget();
        assert!(compared.differing().is_empty());
    }
}
