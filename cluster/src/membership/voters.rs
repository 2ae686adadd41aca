//! Who should vote, given who is there. A pure function.

use std::collections::BTreeSet;

/// A node, as far as voting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) node: u64,
    pub(super) votes: bool,
    /// It has what the leader has, and was heard of lately.
    pub(super) fit: bool,
    /// It should not vote if another can in its stead.
    pub(super) draining: bool,
    /// It must not vote any more.
    pub(super) leaving: bool,
}

/// The voters there should be: an odd number of at most `wanted`, of those that vote now as many as can stay.
/// Empty if nobody could vote, which changes nothing.
pub(super) fn choose(nodes: &[Candidate], wanted: u64, leader: u64) -> BTreeSet<u64> {
    // A voter stays though it is silent for now: taking its vote away would make the loss of the next one fatal.
    let can = |node: &&Candidate| !node.leaving && (node.votes || node.fit);
    let mut ranked: Vec<&Candidate> = nodes.iter().filter(can).collect();
    ranked.sort_by_key(|node| (node.draining, !node.votes, node.node != leader, node.node));
    let most = usize::try_from(wanted)
        .unwrap_or(usize::MAX)
        .min(ranked.len());
    let odd = if most.is_multiple_of(2) {
        most.saturating_sub(1)
    } else {
        most
    };
    ranked.iter().take(odd).map(|node| node.node).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(node: u64, what: &str) -> Candidate {
        Candidate {
            node,
            votes: what.contains('v'),
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

    proptest! {
        #[test]
        fn the_number_is_odd_and_whoever_leaves_or_lags_is_not_made_a_voter(
            nodes in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 0..8),
            wanted in prop::sample::select(vec![1_u64, 3, 5]),
            leader in 0_u64..8,
        ) {
            let nodes: Vec<Candidate> = nodes
                .into_iter()
                .zip(0..)
                .map(|((votes, fit, draining, leaving), node)| Candidate { node, votes, fit, draining, leaving })
                .collect();
            let chosen = choose(&nodes, wanted, leader);
            prop_assert!(chosen.is_empty() || !chosen.len().is_multiple_of(2));
            prop_assert!(chosen.len() as u64 <= wanted);
            for node in &nodes {
                if chosen.contains(&node.node) {
                    prop_assert!(!node.leaving && (node.votes || node.fit));
                }
            }
            // It comes to rest: with its own choice in force it chooses the same.
            let after: Vec<Candidate> = nodes
                .iter()
                .map(|node| Candidate { votes: chosen.contains(&node.node), fit: node.fit || chosen.contains(&node.node), ..*node })
                .collect();
            if !chosen.is_empty() {
                prop_assert_eq!(choose(&after, wanted, leader), chosen);
            }
        }
    }
}
