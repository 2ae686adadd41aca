//! Raft's calls of other nodes, answered by this node's part in the group.

use std::io;
use std::sync::atomic::Ordering;

use openraft::storage::Snapshot;
use panther_proto::v1::{
    AppendAnswer, AppendCall, HandOverCall, StoredVote, VoteAnswer, VoteCall, append_answer,
};

use super::apply;
use super::group::Group;
use super::{types, wire};
use crate::storage::{Incoming, SnapshotFile};

impl Group {
    fn still_takes_part(&self) -> io::Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(io::Error::other("the node is stopping"));
        }
        Ok(())
    }

    /// Entries of the leader.
    pub(crate) async fn append(&self, call: AppendCall) -> io::Result<AppendAnswer> {
        self.still_takes_part()?;
        let request = wire::append_request(&call)?;
        let response = self.raft.append_entries(request).await;
        let answer = wire::append_answer(response.map_err(io::Error::other)?);
        if !matches!(answer.kind, Some(append_answer::Kind::HigherVote(_))) {
            self.leader_was_heard();
        }
        Ok(answer)
    }

    /// A candidate asks for a vote, or whether it would be given one.
    pub(crate) async fn vote(&self, call: &VoteCall) -> io::Result<VoteAnswer> {
        self.still_takes_part()?;
        let request = wire::vote_request(call)?;
        let response = if call.pre_vote {
            self.raft.pre_vote(request).await
        } else {
            self.raft.vote(request).await
        };
        Ok(wire::vote_answer(&response.map_err(io::Error::other)?))
    }

    /// The leader hands over to this node or another; why it cannot, or nothing.
    pub(crate) async fn take_over(&self, call: &HandOverCall) -> io::Result<String> {
        self.still_takes_part()?;
        let request = wire::hand_over_request(call)?;
        match self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(io::Error::other)?
        {
            Ok(()) => Ok(String::new()),
            Err(refused) => Ok(refused.to_string()),
        }
    }

    /// Where snapshots of the leader arrive.
    pub(crate) fn incoming(&self) -> Incoming {
        Incoming::below(self.store.root())
    }

    /// Takes over from a snapshot of the leader.
    pub(crate) async fn install(
        &self,
        vote: StoredVote,
        file: SnapshotFile,
    ) -> io::Result<StoredVote> {
        let path = file.path.clone();
        let snapshot = Snapshot {
            meta: apply::meta(&file)?,
            snapshot: file,
        };
        let response = self
            .raft
            .install_full_snapshot(types::vote(&vote), snapshot)
            .await
            .map_err(io::Error::other)?;
        // The state has a copy of its own by now, or did not want it.
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::warn!(%error, path = %path.display(), "a snapshot that was taken over is left lying");
        }
        Ok(types::stored_vote(&response.vote))
    }
}
