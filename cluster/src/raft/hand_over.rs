//! Leadership transfer to another voter.
//!
//! As soon as a transfer is requested, openraft's leader accepts no writes and sends no heartbeats: it waits for the election of the heir. So the
//! heir must be electable, and a transfer that does not complete must be reverted.

use std::time::Duration;

use panther_proto::v1::{StoredVote, VoteCall};
use tokio::time::Instant;

use super::group::{Group, ProposeError};

/// How long the heir has to win its election. Other voters campaign earlier, because the old leader sends no heartbeats; they may all lose because
/// they lack entries.
const LATE: Duration = Duration::from_secs(5);

impl Group {
    /// Requests the transfer of leadership to another voter. Returns at once; [`Group::status`] shows when the transfer is complete. If no other node
    /// leads after 5 s, [`Group::take_back_lead`] makes this node campaign again.
    ///
    /// # Errors
    /// This node is not the leader, the heir cannot be elected, or the group has stopped on this node.
    pub async fn hand_over(&self, to: u64) -> Result<(), ProposeError> {
        let status = self.status();
        if !status.leads {
            return Err(ProposeError::NotLeader {
                leader: status.leader,
            });
        }
        if to == self.node || !status.voters.contains(&to) {
            return Err(ProposeError::NoHeir { node: to });
        }
        self.ask_heir(to, status.term).await
    }

    async fn ask_heir(&self, to: u64, term: u64) -> Result<(), ProposeError> {
        // If a transfer is requested several times, the time of the first request counts: the leader has been idle since then.
        self.note_hand_over(term, to);
        let asked = self.raft.trigger().transfer_leader(to).await;
        asked.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }

    fn note_hand_over(&self, term: u64, heir: u64) {
        let mut handing_over = self.handing_over.lock();
        let since = match *handing_over {
            Some((of, _, since)) if of == term => since,
            _ => Instant::now(),
        };
        *handing_over = Some((term, heir, since));
    }

    /// Reverts a leadership transfer: if the heir has not been elected within 5 s, this node steps down and campaigns again. Returns true if it did
    /// so. The caller repeats this call about once per second.
    ///
    /// # Errors
    /// The group has stopped on this node.
    pub(crate) async fn take_back_lead(&self) -> Result<bool, ProposeError> {
        let Some((term, heir, asked)) = *self.handing_over.lock() else {
            return Ok(false);
        };
        let status = self.status();
        if !status.leads || status.term != term {
            *self.handing_over.lock() = None;
            return Ok(false);
        }
        if asked.elapsed() < LATE {
            return Ok(false);
        }
        *self.handing_over.lock() = None;
        // openraft's leader does not campaign. So this node gives the heir the vote for the next term, which the heir was about to request. This node
        // thereby becomes a follower without a leader, and campaigns as one.
        let call = VoteCall {
            vote: Some(StoredVote {
                term: term + 1,
                node: heir,
                committed: false,
            }),
            last: self.last(),
            hand_over: true,
            ..VoteCall::default()
        };
        let given = self.vote(&call).await;
        given.map_err(|error| ProposeError::Stopped(error.to_string()))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::{Door, DoorSettings};

    /// A group of one node. Each call gets a request id of its own.
    async fn alone(folder: &std::path::Path) -> Door {
        Door::open(folder, 1, 7, DoorSettings::default())
            .await
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_that_cannot_be_elected_is_no_heir_and_the_leader_leads_on() {
        let folder = tempfile::tempdir().unwrap();
        let door = alone(folder.path()).await;
        for heir in [0, 1, 2, 99] {
            let refused = door.group().hand_over(heir).await.unwrap_err();
            assert!(matches!(refused, ProposeError::NoHeir { node } if node == heir));
        }
        door.read(|_| Ok(())).await.unwrap();
        door.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hand_over_to_an_heir_that_never_comes_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let door = alone(folder.path()).await;
        let before = door.group().status().term;
        door.group().ask_heir(99, before).await.unwrap();
        // The door checks once per second. No other node could be elected.
        let read = async {
            while door.group().status().term == before || door.read(|_| Ok(())).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LATE * 4, read).await.unwrap();
        door.close().await.unwrap();
    }
}
