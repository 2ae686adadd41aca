//! Who takes part in the group: nodes that follow, and nodes that vote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};

use super::group::{Group, ProposeError};
use super::types::Types;

/// How often it is looked at least how far a new node has come.
pub(super) const CATCHING_UP: Duration = Duration::from_millis(200);

impl Group {
    /// Takes a node in as one that follows and does not vote; returns once it has caught up.
    ///
    /// # Errors
    /// This node does not lead, or another change of membership is under way.
    pub async fn take_in(&self, node: u64, address: &str) -> Result<(), ProposeError> {
        let added = self
            .raft
            .add_learner(node, BasicNode::new(address), false)
            .await;
        // openraft would call a node caught up that is thousands of entries behind, or was never reached.
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

    /// Takes a node in as one that follows and does not vote; returns once that is decided.
    ///
    /// # Errors
    /// As [`Group::take_in`].
    pub async fn let_follow(&self, node: u64, address: &str) -> Result<(), ProposeError> {
        let added = self
            .raft
            .add_learner(node, BasicNode::new(address), false)
            .await;
        changed_membership(added.map(drop))
    }

    /// Writes down that a node is reached elsewhere from now on.
    ///
    /// # Errors
    /// As [`Group::take_in`].
    pub async fn set_address(&self, node: u64, address: &str) -> Result<(), ProposeError> {
        // Calls name their receiver and its certificate, so that another node at this address would take none of them.
        let nodes = BTreeMap::from([(node, BasicNode::new(address))]);
        let changed = self
            .raft
            .change_membership(ChangeMembers::SetNodes(nodes), true)
            .await;
        changed_membership(changed.map(drop))
    }

    /// Takes out a node that does not vote.
    ///
    /// # Errors
    /// As [`Group::take_in`]; or it votes.
    pub async fn let_go(&self, node: u64) -> Result<(), ProposeError> {
        let changed = self
            .raft
            .change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node])), true)
            .await;
        changed_membership(changed.map(drop))
    }

    /// Makes exactly these nodes vote; all are members already. The others stay as followers.
    ///
    /// # Errors
    /// As [`Group::take_in`]; or their number is even, so that half of them could decide nothing.
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
