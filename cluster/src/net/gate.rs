//! Access control: one table of all methods that a node serves, and one check for all calls between nodes.
//!
//! A certificate only proves which node calls. Whether that node is a member of the cluster is decided by this node's own state, at every call.

use panther_proto::v1::Between;
use tonic::Status;

use super::entrance::Caller;
use super::peers::GROUP;
use super::removal;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Members of the Raft group, and in one case nodes that this node does not know yet.
    ///
    /// A node that was offline may lack the entries that added other nodes, and would then reject a leader that is one of them for ever. So a node
    /// that may be such a new member is accepted too, as long as no member that this node knows is the leader.
    Replicas,
    /// Members of the Raft group.
    Members,
    /// Members of the Raft group, and nodes that are admitted but not members yet.
    Admitted,
    /// A machine without a certificate that shows the secret of an open invitation.
    Invited,
    /// Processes on this machine that may open the node's Unix socket: root, and members of the socket's group.
    Socket,
}

/// Every method that a node serves, with its callers.
pub const METHODS: &[(&str, &str, Callers)] = &[
    ("Peers", "Append", Callers::Replicas),
    ("Peers", "Vote", Callers::Replicas),
    ("Peers", "HandOver", Callers::Replicas),
    ("Peers", "SnapshotHeld", Callers::Replicas),
    ("Peers", "SnapshotSend", Callers::Replicas),
    ("Peers", "Forward", Callers::Admitted),
    ("Peers", "ReadIndex", Callers::Admitted),
    ("Peers", "KeepAlive", Callers::Admitted),
    ("Peers", "Heard", Callers::Admitted),
    ("Peers", "Hello", Callers::Admitted),
    ("Peers", "Lead", Callers::Members),
    ("Joining", "Join", Callers::Invited),
    ("Api", "Invoke", Callers::Socket),
    ("Api", "Tail", Callers::Socket),
    ("Api", "Backup", Callers::Socket),
    ("Doors", "Transact", Callers::Socket),
    ("Doors", "Receive", Callers::Socket),
    ("Doors", "Extend", Callers::Socket),
    ("Doors", "GiveBack", Callers::Socket),
    ("Doors", "Get", Callers::Socket),
    ("Doors", "Query", Callers::Socket),
    ("Doors", "Peek", Callers::Socket),
    ("Doors", "Counts", Callers::Socket),
    ("Doors", "Purge", Callers::Socket),
    ("Doors", "Requeue", Callers::Socket),
    ("Doors", "Converse", Callers::Socket),
];

/// A node's membership, by this node's own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A member of the Raft group.
    Member,
    /// Admitted, but not a member of the Raft group yet.
    Joining,
    /// Removed. The time of the removal, in milliseconds since 1970, if it was recorded.
    Removed(Option<u64>),
    /// Possibly a member: this node's state does not know its admission, or not its place in the Raft group. It may lack the newest entries.
    Newer,
    /// Not a node of the cluster: its id is not new, and no row names it.
    Outside,
}

/// Largest difference between a term in a call and this node's own term. An election raises the term by one, so no cluster reaches this difference. A
/// term near the largest number would leave no room for further elections.
const TERMS_AHEAD: u64 = 1 << 32;

/// Identity of the node that receives a call.
pub(super) struct Receiver<'a> {
    pub(super) cluster: &'a str,
    pub(super) node: u64,
    pub(super) term: u64,
}

impl Receiver<'_> {
    /// Rejects a call from this node's own id: such a caller has a copy of this node's key.
    pub(super) fn is_another(&self, from: u64) -> Result<(), Status> {
        if from == self.node {
            return Err(Status::permission_denied(format!(
                "the caller says that it is node {from}, which is this node; a node does not call itself"
            )));
        }
        Ok(())
    }

    /// Checks that the call is from the node it names, and meant for this node. `shown` is the node in the caller's certificate. Returns the caller's
    /// id.
    pub(super) fn caller(
        &self,
        shown: Option<Caller>,
        between: Option<&Between>,
    ) -> Result<u64, Status> {
        let between =
            between.ok_or_else(|| Status::invalid_argument("the call does not say whose it is"))?;
        let (me, cluster) = (self.node, self.cluster);
        if between.cluster != cluster || between.group != GROUP {
            return Err(Status::failed_precondition(format!(
                "node {} belongs to cluster {}, group {}; this is node {me} of cluster {cluster}: one of the two has a wrong address for the other",
                between.from, between.cluster, between.group
            )));
        }
        if between.to != me {
            return Err(Status::failed_precondition(format!(
                "node {} calls node {}; this is node {me}: the address belongs to another node by now",
                between.from, between.to
            )));
        }
        self.is_another(between.from)?;
        if shown != Some(Caller(between.from)) {
            return Err(Status::permission_denied(format!(
                "the caller says that it is node {}, and its certificate says something else",
                between.from
            )));
        }
        Ok(between.from)
    }

    /// Checks that a node with this membership may call a method. `member_leads` is true if a member that this node knows is the leader.
    pub(super) fn admit(
        &self,
        callers: Callers,
        from: u64,
        place: Place,
        member_leads: bool,
    ) -> Result<(), Status> {
        let admitted = match place {
            Place::Member => matches!(
                callers,
                Callers::Replicas | Callers::Members | Callers::Admitted
            ),
            // A node that lags behind may know the present leader only as a joining node. It would reject the leader and never catch up.
            Place::Joining => {
                callers == Callers::Admitted || callers == Callers::Replicas && !member_leads
            }
            Place::Newer => callers == Callers::Replicas && !member_leads,
            Place::Removed(at_ms) => return Err(removal::refusal(from, self.cluster, at_ms)),
            Place::Outside => false,
        };
        if admitted {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "node {from} is not a member of cluster {} by the state of node {}",
            self.cluster, self.node
        )))
    }

    /// Rejects a call that names an impossible term.
    pub(super) fn terms(&self, from: u64, terms: &[u64]) -> Result<(), Status> {
        let highest = terms.iter().copied().max().unwrap_or(0);
        if highest.saturating_sub(self.term) > TERMS_AHEAD {
            return Err(Status::invalid_argument(format!(
                "node {from} names term {highest}, and this node is in term {}: no election leads there",
                self.term
            )));
        }
        Ok(())
    }
}

/// Who may call the method with this path; `None` if the table does not contain the method.
pub(super) fn callers_of(path: &str) -> Option<Callers> {
    let (service, method) = path.strip_prefix("/panther.v1.")?.split_once('/')?;
    METHODS
        .iter()
        .find(|(of, name, _)| (*of, *name) == (service, method))
        .map(|(_, _, callers)| *callers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_of_the_services_stands_in_the_table_once_and_no_other_does() {
        let listed: Vec<(&str, &str)> = METHODS
            .iter()
            .map(|(service, method, _)| (*service, *method))
            .collect();
        let served: BTreeSet<(&str, &str)> = panther_proto::METHODS.iter().copied().collect();
        assert_eq!(listed.len(), served.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), served);
    }

    #[test]
    fn each_standing_may_call_what_the_table_says_and_nothing_else() {
        let receiver = Receiver {
            cluster: "c",
            node: 1,
            term: 7,
        };
        let admitted = |place, member_leads| -> Vec<&str> {
            let peers = METHODS.iter().filter(|(service, ..)| *service == "Peers");
            peers
                .filter(|(_, _, callers)| receiver.admit(*callers, 2, place, member_leads).is_ok())
                .map(|(_, method, _)| *method)
                .collect()
        };
        let raft = ["Append", "Vote", "HandOver", "SnapshotHeld", "SnapshotSend"];
        let work = ["Forward", "ReadIndex", "KeepAlive", "Heard", "Hello"];
        let all: Vec<&str> = raft.iter().chain(&work).chain(&["Lead"]).copied().collect();
        let none: [&str; 0] = [];
        for leads in [true, false] {
            assert_eq!(admitted(Place::Member, leads), all);
            assert_eq!(admitted(Place::Removed(Some(1)), leads), none);
            assert_eq!(admitted(Place::Outside, leads), none);
        }
        let raft_and_work: Vec<&str> = raft.iter().chain(&work).copied().collect();
        assert_eq!(admitted(Place::Joining, true), work);
        assert_eq!(admitted(Place::Joining, false), raft_and_work);
        assert_eq!(admitted(Place::Newer, true), none);
        assert_eq!(admitted(Place::Newer, false), raft);
        // Methods for other kinds of callers are closed to nodes.
        for callers in [Callers::Invited, Callers::Socket] {
            assert!(receiver.admit(callers, 2, Place::Member, true).is_err());
        }
    }

    #[test]
    fn a_term_may_be_far_ahead_and_not_out_of_reach() {
        let receiver = Receiver {
            cluster: "c",
            node: 1,
            term: 7,
        };
        for fits in [0, 7, 8, 7 + TERMS_AHEAD] {
            assert!(receiver.terms(2, &[1, fits]).is_ok(), "{fits}");
        }
        for beyond in [8 + TERMS_AHEAD, 1 << 63, u64::MAX] {
            assert!(receiver.terms(2, &[beyond, 1]).is_err(), "{beyond}");
        }
    }
}
