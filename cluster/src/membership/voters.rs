//! Who should vote, given who is there. A pure function.

use std::collections::BTreeSet;

/// A node, as far as voting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) node: u64,
    pub(super) votes: bool,
    /// It was heard of lately.
    pub(super) live: bool,
    /// It is live, has what the leader has, and may be made a voter.
    pub(super) fit: bool,
    /// It should not vote if another can in its stead.
    pub(super) draining: bool,
    /// It must not vote any more.
    pub(super) leaving: bool,
}

/// The voters there should be: an odd number of at most `wanted`, of those that vote now as many as can stay, and more than half of them live.
/// Empty if there is no such set, or if too little was heard to tell: then nothing is changed.
pub(super) fn choose(nodes: &[Candidate], wanted: u64, leader: u64) -> BTreeSet<u64> {
    // A leader that is new has heard no other node yet, though a majority is there. It must not take away the votes of nodes that it does not know.
    let voters: Vec<&Candidate> = nodes.iter().filter(|node| node.votes).collect();
    if !live_majority(&voters) {
        return BTreeSet::new();
    }
    // A voter stays though it is silent for now: taking its vote away would make the loss of the next one fatal.
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

/// The first `size` nodes, with live ones in the place of silent ones as far as it takes for a majority: a set whose majority is gone could decide nothing.
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
        // The leader leaves; of the two that stay one is silent.
        let two = [(1, "vfl"), (2, "v"), (3, "vf")];
        assert_eq!(chosen(&two, 3, 1), [3]);
        // The vote of a silent node goes to one that is there, if it has to.
        let five = [(1, "vfl"), (2, "v"), (3, "vfl"), (4, "f"), (5, "vfl")];
        assert_eq!(chosen(&five, 1, 1), [4]);
        // Nobody can take over.
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
            // It comes to rest: with its own choice in force it chooses the same.
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
