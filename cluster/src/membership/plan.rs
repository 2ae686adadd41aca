//! The next step from Raft's membership to the desired one. Pure functions of the leader's view.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Member, Standing};
use super::voters::{Candidate, choose};
use crate::door::{HeardNode, UNAPPLIED};
use crate::state::Globals;

/// Entries that a node may lack and still count as caught up: the leader writes that many while it reads the node's progress.
const BEHIND: u64 = 500;

/// The leader's view.
pub(super) struct View<'a> {
    /// Id of the leader.
    pub(super) me: u64,
    /// The rows of the nodes.
    pub(super) members: &'a BTreeMap<u64, Member>,
    /// The desired number of voters.
    pub(super) voters_wanted: u64,
    /// The voters. During a change, the old and the new voters.
    pub(super) voters: &'a [u64],
    /// True while a change of the voters is in progress. If the leader dies during the change, it remains in progress.
    pub(super) changing: bool,
    /// All members of the Raft group, with their addresses.
    pub(super) raft: &'a BTreeMap<u64, String>,
    /// Index of the last entry in the leader's log.
    pub(super) last: u64,
    /// The leader's data from the nodes' heartbeats.
    pub(super) heard: &'a BTreeMap<u64, HeardNode>,
    /// Nodes that have answered a call within the last 5 s, caught up or not.
    pub(super) answered: &'a BTreeSet<u64>,
    /// Cluster time, and the clock jump that delays deadlines.
    pub(super) now: &'a Globals,
}

/// The next step of the reconciliation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Add the node to the Raft group as a learner.
    TakeIn(u64),
    /// The joining node has caught up: make it a member.
    Arrived(u64),
    /// The admitted machine has missed its deadline: remove the node.
    Expire(u64),
    /// The node's address has changed: change it in Raft.
    Moved(u64),
    /// Make exactly these nodes the voters. If the leader is not among them, its leadership ends.
    Vote(BTreeSet<u64>),
    /// Transfer leadership to this voter.
    HandOver(u64),
    /// Remove the leaving node, which is not a voter.
    Remove(u64),
    /// The desired state is reached, or cannot be reached at present.
    Rest,
}

/// True if a node in this state must receive no messages.
pub(super) fn leaves(standing: Standing) -> bool {
    matches!(
        standing,
        Standing::Draining | Standing::Leaving | Standing::Removed
    )
}

impl View<'_> {
    fn standing(&self, node: u64) -> Standing {
        let member = self.members.get(&node);
        member.map_or(Standing::Member, |member| member.standing)
    }

    fn is_live(&self, node: u64) -> bool {
        node == self.me || self.heard.get(&node).is_some_and(HeardNode::lately)
    }

    fn caught_up(&self, node: u64) -> bool {
        let heard = self.heard.get(&node);
        node == self.me
            || heard.is_some_and(|heard| {
                heard.lately()
                    && heard.matched.is_some_and(|has| has + BEHIND >= self.last)
                    && heard.applied + UNAPPLIED >= self.last
            })
    }

    fn candidates(&self) -> Vec<Candidate> {
        let nodes = self.raft.keys();
        nodes
            .map(|node| {
                let standing = self.standing(*node);
                Candidate {
                    node: *node,
                    votes: self.voters.contains(node),
                    live: self.is_live(*node),
                    fit: standing == Standing::Member && self.caught_up(*node),
                    draining: standing == Standing::Draining,
                    leaving: matches!(standing, Standing::Leaving | Standing::Removed),
                }
            })
            .collect()
    }

    fn wanted(&self) -> BTreeSet<u64> {
        choose(&self.candidates(), self.voters_wanted, self.me)
    }

    /// The voter with the most replicated log entries, among the live voters that fulfil the condition `may`.
    fn heir(&self, may: impl Fn(u64) -> bool) -> Option<u64> {
        let matched = |node: &u64| self.heard.get(node).and_then(|heard| heard.matched);
        let voters = self.voters.iter().copied();
        voters
            .filter(|voter| *voter != self.me && self.is_live(*voter) && may(*voter))
            .max_by_key(matched)
    }

    /// True if the admitted machine has missed its deadline: the deadline has passed and the node was never in contact.
    fn is_overdue(&self, member: &Member) -> bool {
        let heard = self.heard.get(&member.node);
        let known = heard.is_some_and(|heard| heard.lately() || heard.matched.is_some());
        let over = member.join_by_ms.is_some_and(|by| self.now.is_past(by));
        over && !known && !self.answered.contains(&member.node)
    }

    /// The next step.
    pub(super) fn next(&self) -> Step {
        for member in self.members.values() {
            let node = member.node;
            match (member.standing, self.raft.get(&node)) {
                (Standing::Removed, _) => {}
                (Standing::Joining, _) if self.is_overdue(member) => return Step::Expire(node),
                // If the removal of a node was cancelled, Raft may have removed the node already.
                (Standing::Joining | Standing::Member | Standing::Draining, None)
                    if !member.address.is_empty() =>
                {
                    return Step::TakeIn(node);
                }
                (Standing::Joining, Some(_)) if self.caught_up(node) => {
                    return Step::Arrived(node);
                }
                (_, Some(known)) if !member.address.is_empty() && *known != member.address => {
                    return Step::Moved(node);
                }
                _ => {}
            }
        }
        let wanted = self.wanted();
        if !wanted.is_empty() && (self.changing || !wanted.iter().eq(self.voters)) {
            if wanted.contains(&self.me) {
                return Step::Vote(wanted);
            }
            // A voter of the new set should lead and make the change. If no such voter is live, the leader makes the change and loses its leadership
            // by it.
            return match self.heir(|voter| wanted.contains(&voter)) {
                Some(heir) => Step::HandOver(heir),
                None => Step::Vote(wanted),
            };
        }
        let mine = self.members.get(&self.me).map(|member| member.standing);
        if mine.is_some_and(leaves)
            && let Some(heir) = self.heir(|voter| !leaves(self.standing(voter)))
        {
            return Step::HandOver(heir);
        }
        let gone = self.members.values().find(|member| {
            member.standing == Standing::Leaving && !self.voters.contains(&member.node)
        });
        gone.map_or(Step::Rest, |member| Step::Remove(member.node))
    }

    /// The nodes whose desired state is not reached, each with what it waits for.
    pub(super) fn unmet(&self) -> BTreeMap<u64, String> {
        let mut unmet = BTreeMap::new();
        for member in self.members.values() {
            let node = member.node;
            let votes = self.voters.contains(&node);
            let reason = match member.standing {
                Standing::Joining => self.joins(member),
                Standing::Leaving if votes => format!("it still votes: {}", self.no_successor()),
                Standing::Leaving => "it is being taken out".to_owned(),
                Standing::Draining if node == self.me => {
                    format!("it still leads: {}", self.no_successor())
                }
                _ => continue,
            };
            unmet.insert(node, reason);
        }
        unmet
    }

    fn joins(&self, member: &Member) -> String {
        let heard = self.heard.get(&member.node);
        let has = heard.and_then(|heard| heard.matched);
        match has {
            Some(has) => format!("it has {has} of {} entries of the log", self.last),
            None if self.answered.contains(&member.node) => {
                "it answers, and is being given the state".to_owned()
            }
            None => format!(
                "nothing is heard of its machine at {}: is pantherd started there, and is that address open to the nodes? `pantherctl cluster remove {}` gives it up",
                member.address, member.node
            ),
        }
    }

    /// Why no other node can take over a vote or the leadership, as far as the leader knows.
    fn no_successor(&self) -> String {
        let others = self
            .candidates()
            .into_iter()
            .filter(|other| other.node != self.me && !other.leaving);
        let others: Vec<String> = others
            .map(|other| {
                let how = match other {
                    Candidate { live: false, .. } => "is silent",
                    Candidate { draining: true, .. } => "is drained",
                    Candidate {
                        fit: false,
                        votes: false,
                        ..
                    } => "has not caught up",
                    _ => "is taking over",
                };
                format!("node {} {how}", other.node)
            })
            .collect();
        match others.as_slice() {
            [] => "there is no other node that could take over".to_owned(),
            others => others.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LAST: u64 = 10_000;
    /// Cluster time, in milliseconds.
    const NOW_MS: u64 = 1_000;

    /// A model of a cluster. Raft is modelled by its rules about required majorities.
    #[derive(Debug, Clone)]
    struct Model {
        leader: u64,
        members: BTreeMap<u64, Member>,
        voters: BTreeSet<u64>,
        raft: BTreeMap<u64, String>,
        live: BTreeSet<u64>,
        caught_up: BTreeSet<u64>,
        voters_wanted: u64,
    }

    fn majority(of: &BTreeSet<u64>, live: &BTreeSet<u64>) -> bool {
        of.intersection(live).count() * 2 > of.len()
    }

    impl Model {
        fn heard(&self) -> BTreeMap<u64, HeardNode> {
            let heard = |node: &u64| HeardNode {
                silent: self.live.contains(node).then_some(Duration::ZERO),
                applied: if self.caught_up.contains(node) {
                    LAST
                } else {
                    0
                },
                matched: self.caught_up.contains(node).then_some(LAST),
                ..HeardNode::default()
            };
            self.raft.keys().map(|node| (*node, heard(node))).collect()
        }

        fn with_view<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
            let voters: Vec<u64> = self.voters.iter().copied().collect();
            look(&View {
                me: self.leader,
                members: &self.members,
                voters_wanted: self.voters_wanted,
                voters: &voters,
                changing: false,
                raft: &self.raft,
                last: LAST,
                heard: &self.heard(),
                answered: &BTreeSet::new(),
                now: &Globals {
                    clock_ms: NOW_MS,
                    ..Globals::default()
                },
            })
        }

        fn next(&self) -> Step {
            self.with_view(|view| view.next())
        }

        fn unmet(&self) -> BTreeMap<u64, String> {
            self.with_view(|view| view.unmet())
        }

        fn stand(&mut self, node: u64, standing: Standing) {
            self.members.get_mut(&node).unwrap().standing = standing;
        }

        /// Executes a step as Raft and the rows would. An error means that Raft could never complete the step.
        fn take(&mut self, step: &Step) -> Result<(), String> {
            match step {
                Step::TakeIn(node) => {
                    let address = self.members[node].address.clone();
                    self.raft.insert(*node, address);
                    // A live node replicates the log at once.
                    if self.live.contains(node) {
                        self.caught_up.insert(*node);
                    }
                }
                Step::Arrived(node) => {
                    let old = self.members[node].replaces;
                    self.stand(*node, Standing::Member);
                    if let Some(old) = old
                        && self.standing_of(old) != Standing::Removed
                    {
                        self.stand(old, Standing::Leaving);
                    }
                }
                Step::Moved(node) => {
                    let address = self.members[node].address.clone();
                    self.raft.insert(*node, address);
                }
                Step::Vote(wanted) => {
                    if !majority(&self.voters, &self.live) || !majority(wanted, &self.live) {
                        return Err(format!("{wanted:?} could never be agreed on: {self:?}"));
                    }
                    if wanted.len().is_multiple_of(2) {
                        return Err(format!("{wanted:?} is even"));
                    }
                    self.voters = wanted.clone();
                    if !wanted.contains(&self.leader) {
                        let elected = wanted.intersection(&self.live).next();
                        self.leader = *elected.unwrap();
                    }
                }
                Step::HandOver(to) => {
                    if !self.voters.contains(to) || !self.live.contains(to) {
                        return Err(format!("{to} cannot lead: {self:?}"));
                    }
                    self.leader = *to;
                }
                Step::Remove(node) | Step::Expire(node) => {
                    if self.voters.contains(node) || *node == self.leader {
                        return Err(format!("{node} is needed: {self:?}"));
                    }
                    self.raft.remove(node);
                    self.stand(*node, Standing::Removed);
                }
                Step::Rest => {}
            }
            Ok(())
        }

        fn standing_of(&self, node: u64) -> Standing {
            self.members[&node].standing
        }
    }

    fn member(node: u64, standing: Standing) -> Member {
        Member {
            address: format!("h{node}"),
            standing,
            ..Member::unwritten(node, "")
        }
    }

    /// Up to seven nodes in any state, some of them dead; a majority of the voters is live.
    fn model() -> impl Strategy<Value = Model> {
        let standing = prop::sample::select(vec![
            Standing::Member,
            Standing::Member,
            Standing::Member,
            Standing::Joining,
            Standing::Draining,
            Standing::Leaving,
            Standing::Removed,
        ]);
        let node = (
            standing,
            any::<bool>(),
            prop::bool::weighted(0.75),
            any::<bool>(),
        );
        let nodes = prop::collection::vec(node, 1..8);
        let wanted = prop::sample::select(vec![1_u64, 3, 5]);
        (
            nodes,
            wanted,
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
        )
            .prop_filter_map(
                "a majority of the voters lives",
                |(nodes, voters_wanted, leader, replaced)| {
                    let mut model = Model {
                        leader: 0,
                        members: BTreeMap::new(),
                        voters: BTreeSet::new(),
                        raft: BTreeMap::new(),
                        live: BTreeSet::new(),
                        caught_up: BTreeSet::new(),
                        voters_wanted,
                    };
                    let count = nodes.len() as u64;
                    for ((standing, votes, live, moved), node) in nodes.into_iter().zip(1_u64..) {
                        let mut member = member(node, standing);
                        if standing == Standing::Joining && moved {
                            member.replaces = Some(1 + replaced.index(count as usize) as u64)
                                .filter(|old| *old != node);
                        }
                        model.members.insert(node, member);
                        if live {
                            model.live.insert(node);
                        }
                        let in_raft = !matches!(standing, Standing::Removed | Standing::Joining);
                        if in_raft {
                            let address = if moved { "elsewhere" } else { "" };
                            model.raft.insert(node, format!("h{node}{address}"));
                            if votes {
                                model.voters.insert(node);
                            }
                            if live {
                                model.caught_up.insert(node);
                            }
                        }
                    }
                    let lead: Vec<u64> = model.voters.intersection(&model.live).copied().collect();
                    if lead.is_empty() || !majority(&model.voters, &model.live) {
                        return None;
                    }
                    model.leader = lead[leader.index(lead.len())];
                    Some(model)
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// From any state with a leader, every step is possible in Raft, and the steps end in the desired state, as far as live nodes allow.
        #[test]
        fn what_is_wanted_is_reached_wherever_it_began(mut model in model()) {
            let began = model.clone();
            let mut rests = false;
            for _ in 0..60 {
                let step = model.next();
                prop_assert!(majority(&model.voters, &model.live), "the majority was given away: {began:?}");
                if step == Step::Rest {
                    rests = true;
                    break;
                }
                if let Err(why) = model.take(&step) {
                    prop_assert!(false, "{step:?}: {why}; it began as {began:?}");
                }
            }
            prop_assert!(rests, "it never comes to rest: {model:?}; it began as {began:?}");
            // A node that can keep the data: it stays, is live and has caught up.
            let keeps = |node: &u64| model.standing_of(*node) == Standing::Member && model.live.contains(node);
            let successors = model.raft.keys().filter(|node| keeps(node)).count();
            for member in model.members.values() {
                let (node, live) = (member.node, model.live.contains(&member.node));
                match member.standing {
                    Standing::Leaving => prop_assert!(successors == 0, "{node} never leaves: {model:?}; it began as {began:?}"),
                    Standing::Joining => prop_assert!(!live, "{node} never arrives: {model:?}"),
                    Standing::Draining if node == model.leader => prop_assert!(successors == 0, "{node} leads though it is drained: {model:?}"),
                    _ => {}
                }
            }
            // Every node that has not reached its desired state is listed with a reason.
            let unmet = model.unmet();
            for member in model.members.values() {
                if matches!(member.standing, Standing::Leaving | Standing::Joining) {
                    prop_assert!(unmet.get(&member.node).is_some_and(|reason| !reason.is_empty()));
                }
            }
        }
    }

    fn of(nodes: &[(u64, Standing)], voters: &[u64]) -> Model {
        let members: BTreeMap<u64, Member> = nodes
            .iter()
            .map(|(node, standing)| (*node, member(*node, *standing)))
            .collect();
        let all: BTreeSet<u64> = members.keys().copied().collect();
        Model {
            leader: voters[0],
            raft: all.iter().map(|node| (*node, format!("h{node}"))).collect(),
            live: all.clone(),
            caught_up: all,
            members,
            voters: voters.iter().copied().collect(),
            voters_wanted: 3,
        }
    }

    #[test]
    fn the_only_voter_gives_its_vote_to_the_node_that_stays() {
        let model = of(&[(1, Standing::Leaving), (2, Standing::Member)], &[1]);
        assert_eq!(model.next(), Step::Vote([2].into()));
    }

    #[test]
    fn a_vote_goes_to_no_node_that_is_silent() {
        let mut model = of(
            &[
                (1, Standing::Leaving),
                (2, Standing::Member),
                (3, Standing::Member),
            ],
            &[1, 2, 3],
        );
        model.live.remove(&2);
        assert_eq!(model.next(), Step::HandOver(3));
        model.leader = 3;
        assert_eq!(model.next(), Step::Vote([3].into()));
        let mut alone = of(&[(1, Standing::Leaving), (2, Standing::Member)], &[1]);
        alone.live.remove(&2);
        assert_eq!(alone.next(), Step::Rest);
        let unmet = alone.unmet();
        assert!(unmet[&1].contains("node 2 is silent"), "{unmet:?}");
    }

    #[test]
    fn a_change_of_voters_that_a_leader_left_unfinished_is_finished() {
        let stands = (1..=3).map(|node| (node, Standing::Member));
        let model = of(&stands.collect::<Vec<_>>(), &[1, 2, 3]);
        assert_eq!(model.next(), Step::Rest);
        let next = model.with_view(|view| {
            View {
                changing: true,
                heard: view.heard,
                ..*view
            }
            .next()
        });
        assert_eq!(next, Step::Vote([1, 2, 3].into()));
    }

    #[test]
    fn a_machine_that_never_came_expires_with_its_invitation_and_one_that_answers_does_not() {
        let mut model = of(&[(1, Standing::Member), (2, Standing::Joining)], &[1]);
        model.live.remove(&2);
        model.caught_up.remove(&2);
        model.members.get_mut(&2).unwrap().join_by_ms = Some(1_001);
        assert_eq!(model.next(), Step::Rest);
        model.members.get_mut(&2).unwrap().join_by_ms = Some(999);
        assert_eq!(model.next(), Step::Expire(2));
        // The machine could not have joined during a jump of cluster time, so the jump does not count.
        let leapt = Globals {
            clock_ms: NOW_MS,
            leap_from_ms: 900,
            leap_to_ms: NOW_MS,
            ..Globals::default()
        };
        let next = model.with_view(|view| {
            View {
                now: &leapt,
                heard: view.heard,
                ..*view
            }
            .next()
        });
        assert_eq!(next, Step::Rest);
        let answered = [2].into();
        let next = model.with_view(|view| {
            View {
                answered: &answered,
                heard: view.heard,
                ..*view
            }
            .next()
        });
        assert_eq!(next, Step::Rest);
    }
}
