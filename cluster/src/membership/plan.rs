//! The next step from the membership that Raft has to the one that is wanted. Pure functions of what the leader sees.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Member, Standing};
use super::voters::{Candidate, choose};
use crate::door::{HeardNode, UNAPPLIED};
use crate::state::Globals;

/// Entries that a node may lack and still count as caught up: what the leader writes while it is asked.
const BEHIND: u64 = 500;

/// What the leader sees.
pub(super) struct View<'a> {
    /// The leader.
    pub(super) me: u64,
    /// What is written down of the nodes.
    pub(super) members: &'a BTreeMap<u64, Member>,
    /// How many should vote.
    pub(super) voters_wanted: u64,
    /// Who votes, and of a change under way both who did and who will.
    pub(super) voters: &'a [u64],
    /// A change of the voters is under way. A leader that died in the middle of one leaves it so.
    pub(super) changing: bool,
    /// All that take part in Raft, with their addresses.
    pub(super) raft: &'a BTreeMap<u64, String>,
    /// The last entry of the leader's log.
    pub(super) last: u64,
    /// What the leader has heard of the nodes.
    pub(super) heard: &'a BTreeMap<u64, HeardNode>,
    /// Nodes that have answered a question lately, whether or not they have caught up.
    pub(super) answered: &'a BTreeSet<u64>,
    /// Cluster time, and what a leap of it holds back.
    pub(super) now: &'a Globals,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A node is to be given the log.
    TakeIn(u64),
    /// A node that joins has caught up.
    Arrived(u64),
    /// A machine has not come in the time of its invitation.
    Expire(u64),
    /// A node is reached elsewhere.
    Moved(u64),
    /// Exactly these are to vote. Without the leader among them this ends its lead.
    Vote(BTreeSet<u64>),
    /// Another voter is to lead.
    HandOver(u64),
    /// A node that leaves and does not vote is to go.
    Remove(u64),
    /// Nothing.
    Rest,
}

/// Whether a node is to do no work.
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

    /// The voter that has most of the log, of those that are there and fulfil a condition.
    fn heir(&self, may: impl Fn(u64) -> bool) -> Option<u64> {
        let matched = |node: &u64| self.heard.get(node).and_then(|heard| heard.matched);
        let voters = self.voters.iter().copied();
        voters
            .filter(|voter| *voter != self.me && self.is_live(*voter) && may(*voter))
            .max_by_key(matched)
    }

    /// A machine that was admitted and is late: nothing was ever heard of it.
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
                // One that was taken back while it left may be gone from Raft already.
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
            // One that goes on voting leads on, and makes the change. Without such a voter the leader makes it and its lead ends with it.
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

    /// The nodes that do not stand as it is wanted, each with what it waits for.
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

    /// Why no other node can take over a vote or the lead, as far as it is known.
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

    /// A cluster in the small: Raft's part is played by its rules of who has to agree.
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

        /// Does a step, as Raft and the rows would; an error if Raft could never do it.
        fn take(&mut self, step: &Step) -> Result<(), String> {
            match step {
                Step::TakeIn(node) => {
                    let address = self.members[node].address.clone();
                    self.raft.insert(*node, address);
                    // It is given the log, if it is there.
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

    /// Up to seven nodes in any standing, some of them dead, and a majority of the voters there.
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

        /// From any state with a leader every step is one that Raft can do, and they end where all is as wanted, as far as live nodes allow.
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
            // A node that can keep the data: it stays, it is there, and has caught up.
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
            // Whatever does not stand as it is wanted is named with its reason.
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
        // A leap of cluster time is no time in which the machine could have come.
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
