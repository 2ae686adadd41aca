//! Membership of the group: learners, which only replicate, and voters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};

use super::group::{Group, ProposeError};
use super::types::Types;

/// Longest interval between checks of a new node's replication progress.
pub(super) const CATCHING_UP: Duration = Duration::from_millis(200);

impl Group {
    /// Adds a node as a learner. Returns once the node has caught up with the entry that added it.
    ///
    /// # Errors
    /// This node is not the leader, or another membership change is in progress.
    pub async fn take_in(&self, node: u64, address: &str) -> Result<(), ProposeError> {
        let added = self
            .raft
            .add_learner(node, BasicNode::new(address), false)
            .await;
        // openraft would count a node as caught up that is thousands of entries behind, or that was never reached.
        let upto = changed_membership(added.map(|done| done.log_id.index()))?;
        let mut data_metrics = self.raft.data_metrics();
        loop {
            let metrics = self.raft.metrics().borrow_watched().clone();
            let Some(replication) = metrics.replication else {
                return Err(ProposeError::NotLeader {
                    leader: metrics.current_leader,
                });
            };
            let matched = replication.get(&node).and_then(Option::as_ref);
            if matched.is_some_and(|at| at.index() >= upto) {
                return Ok(());
            }
            let _ = tokio::time::timeout(CATCHING_UP, data_metrics.changed()).await;
        }
    }

    /// Adds a node as a learner. Returns once the change is committed, without waiting for the node to catch up.
    ///
    /// # Errors
    /// Same as [`Group::take_in`].
    pub async fn let_follow(&self, node: u64, address: &str) -> Result<(), ProposeError> {
        let added = self
            .raft
            .add_learner(node, BasicNode::new(address), false)
            .await;
        changed_membership(added.map(drop))
    }

    /// Changes the address of a member.
    ///
    /// # Errors
    /// Same as [`Group::take_in`].
    pub async fn set_address(&self, node: u64, address: &str) -> Result<(), ProposeError> {
        // Calls name their receiver and check its certificate, so another node at this address would refuse them.
        let nodes = BTreeMap::from([(node, BasicNode::new(address))]);
        let changed = self
            .raft
            .change_membership(ChangeMembers::SetNodes(nodes), true)
            .await;
        changed_membership(changed.map(drop))
    }

    /// Removes a learner.
    ///
    /// # Errors
    /// Same as [`Group::take_in`]; or the node is a voter.
    pub async fn let_go(&self, node: u64) -> Result<(), ProposeError> {
        let changed = self
            .raft
            .change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node])), true)
            .await;
        changed_membership(changed.map(drop))
    }

    /// Makes exactly these nodes the voters. All of them must be members. The other members stay as learners.
    ///
    /// # Errors
    /// Same as [`Group::take_in`]; or the number of voters is even, which survives no more failures than one voter less.
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), ProposeError> {
        if voters.len().is_multiple_of(2) {
            return Err(ProposeError::Stopped(format!(
                "{} voters survive no more losses than {}: take one more or one less",
                voters.len(),
                voters.len().saturating_sub(1)
            )));
        }
        let changed = self.raft.change_membership(voters, true).await;
        changed_membership(changed.map(drop))
    }
}

fn changed_membership<T>(
    changed: Result<T, RaftError<Types, ClientWriteError<Types>>>,
) -> Result<T, ProposeError> {
    changed.map_err(|error| match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader {
                leader: forward.leader_id,
            }
        }
        other => ProposeError::Stopped(other.to_string()),
    })
}
