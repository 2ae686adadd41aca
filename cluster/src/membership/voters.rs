//! Choice of the voters. A pure function of the nodes' state.

use std::collections::BTreeSet;

/// A node with the properties that matter for the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) node: u64,
    pub(super) votes: bool,
    /// It is in contact: its last heartbeat is recent.
    pub(super) live: bool,
    /// It is live, has caught up with the leader, and may become a voter.
    pub(super) fit: bool,
    /// It should be a voter only if no other node can.
    pub(super) draining: bool,
    /// It must not be a voter.
    pub(super) leaving: bool,
}

/// Chooses the voters: an odd number, at most `wanted`, with a live majority. As many of the present voters as possible stay. Empty if there is no
/// such set, or if too few voters are known to be live; then nothing is changed.
pub(super) fn choose(nodes: &[Candidate], wanted: u64, leader: u64) -> BTreeSet<u64> {
    // A new leader has no heartbeats of other nodes yet, although a majority is live. It must not remove votes of nodes that it does not know.
    let voters: Vec<&Candidate> = nodes.iter().filter(|node| node.votes).collect();
    if !live_majority(&voters) {
        return BTreeSet::new();
    }
    // A voter stays even if it is silent: without its vote, the loss of one more node could be fatal.
    let can = |node: &&Candidate| !node.leaving && (node.votes || node.fit);
    let mut ranked: Vec<&Candidate> = nodes.iter().filter(can).collect();
    ranked.sort_by_key(|node| {
        (
            node.draining,
            !node.votes,
            !node.live,
            node.node != leader,
            node.node,
        )
    });
    let most = usize::try_from(wanted)
        .unwrap_or(usize::MAX)
        .min(ranked.len());
    let sizes = (1..=most).rev().filter(|size| !size.is_multiple_of(2));
    let mut sets = sizes.filter_map(|size| alive(&ranked, size));
    sets.next().unwrap_or_default()
}

fn live_majority(nodes: &[&Candidate]) -> bool {
    nodes.iter().filter(|node| node.live).count() * 2 > nodes.len()
}

/// The first `size` nodes. Silent ones are replaced by live ones until a majority is live, because a set without a live majority cannot decide
/// anything.
fn alive(ranked: &[&Candidate], size: usize) -> Option<BTreeSet<u64>> {
    let (first, rest) = ranked.split_at_checked(size)?;
    let mut chosen = first.to_vec();
    let mut spare = rest.iter().filter(|node| node.live);
    while !live_majority(&chosen) {
        let silent = chosen.iter().rposition(|node| !node.live)?;
        chosen[silent] = spare.next()?;
    }
    Some(chosen.iter().map(|node| node.node).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(node: u64, what: &str) -> Candidate {
        Candidate {
            node,
            votes: what.contains('v'),
            live: what.contains('f') || what.contains('h'),
            fit: what.contains('f'),
            draining: what.contains('d'),
            leaving: what.contains('l'),
        }
    }

    fn chosen(nodes: &[(u64, &str)], wanted: u64, leader: u64) -> Vec<u64> {
        let nodes: Vec<Candidate> = nodes.iter().map(|(id, what)| node(*id, what)).collect();
        choose(&nodes, wanted, leader).into_iter().collect()
    }

    #[test]
    fn one_becomes_three_in_one_step_and_never_two() {
        assert_eq!(chosen(&[(1, "vf")], 3, 1), [1]);
        assert_eq!(chosen(&[(1, "vf"), (2, "f")], 3, 1), [1]);
        assert_eq!(chosen(&[(1, "vf"), (2, "f"), (3, "")], 3, 1), [1]);
        assert_eq!(chosen(&[(1, "vf"), (2, "f"), (3, "f")], 3, 1), [1, 2, 3]);
        let four = [(1, "vf"), (2, "vf"), (3, "vf"), (4, "f")];
        assert_eq!(chosen(&four, 3, 1), [1, 2, 3]);
    }

    #[test]
    fn a_silent_voter_keeps_its_vote_until_it_is_replaced() {
        let silent = [(1, "vf"), (2, "vf"), (3, "v"), (4, "f")];
        assert_eq!(chosen(&silent, 3, 1), [1, 2, 3]);
        let replaced = [(1, "vf"), (2, "vf"), (3, "vl"), (4, "f")];
        assert_eq!(chosen(&replaced, 3, 1), [1, 2, 4]);
    }

    #[test]
    fn a_drained_voter_votes_only_as_long_as_nobody_else_can() {
        assert_eq!(chosen(&[(1, "vfd"), (2, "vf"), (3, "vf")], 3, 2), [1, 2, 3]);
        let four = [(1, "vfd"), (2, "vf"), (3, "vf"), (4, "f")];
        assert_eq!(chosen(&four, 3, 2), [2, 3, 4]);
    }

    #[test]
    fn of_two_that_remain_the_leader_votes() {
        assert_eq!(chosen(&[(1, "vfl"), (2, "vf"), (3, "vf")], 3, 3), [3]);
    }

    #[test]
    fn votes_are_left_only_to_nodes_of_which_a_majority_is_there() {
        // The leader leaves; one of the two remaining nodes is silent.
        let two = [(1, "vfl"), (2, "v"), (3, "vf")];
        assert_eq!(chosen(&two, 3, 1), [3]);
        // A silent node's vote goes to a live node if necessary.
        let five = [(1, "vfl"), (2, "v"), (3, "vfl"), (4, "f"), (5, "vfl")];
        assert_eq!(chosen(&five, 1, 1), [4]);
        // No other node can take over.
        assert_eq!(chosen(&[(1, "vfl"), (2, "")], 3, 1), [0; 0]);
    }

    #[test]
    fn a_leader_that_has_heard_nobody_yet_changes_nothing() {
        assert_eq!(chosen(&[(1, "vf"), (2, "v"), (3, "v")], 3, 1), [0; 0]);
        assert_eq!(chosen(&[(1, "vfl"), (2, "v"), (3, "v")], 3, 1), [0; 0]);
    }

    #[test]
    fn the_only_voter_leaves_or_is_drained_once_another_can_vote() {
        for standing in ["vfl", "vhd"] {
            assert_eq!(chosen(&[(1, standing), (2, "f")], 3, 1), [2]);
        }
        assert_eq!(chosen(&[(1, "vhd"), (2, "")], 3, 1), [1]);
    }

    proptest! {
        #[test]
        fn the_number_is_odd_and_whoever_leaves_or_lags_is_not_made_a_voter(
            nodes in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 0..8),
            wanted in prop::sample::select(vec![1_u64, 3, 5]),
            leader in 0_u64..8,
        ) {
            let nodes: Vec<Candidate> = nodes
                .into_iter()
                .zip(0..)
                .map(|((votes, live, fit, draining, leaving), node)| Candidate { node, votes, live: live || fit, fit, draining, leaving })
                .collect();
            let chosen = choose(&nodes, wanted, leader);
            prop_assert!(chosen.is_empty() || !chosen.len().is_multiple_of(2));
            prop_assert!(chosen.len() as u64 <= wanted);
            let live = nodes.iter().filter(|node| node.live && chosen.contains(&node.node)).count();
            prop_assert!(chosen.is_empty() || live * 2 > chosen.len());
            for node in &nodes {
                if chosen.contains(&node.node) {
                    prop_assert!(!node.leaving && (node.votes || node.fit));
                }
            }
            // The choice is stable: applied to its own result it returns the same voters.
            let after: Vec<Candidate> = nodes
                .iter()
                .map(|node| Candidate { votes: chosen.contains(&node.node), ..*node })
                .collect();
            if !chosen.is_empty() {
                prop_assert_eq!(choose(&after, wanted, leader), chosen);
            }
        }
    }
}
