//! Handlers of the Raft calls of other nodes.

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

    /// Handles the leader's AppendEntries call: heartbeats and entries.
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

    /// Handles a candidate's request for a vote, or for a pre-vote.
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

    /// Handles the leader's announcement that this or another node takes over the leadership. Returns the reason for a refusal; empty if accepted.
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

    /// The store for snapshots that the leader sends.
    pub(crate) fn incoming(&self) -> Incoming {
        Incoming::below(self.store.root())
    }

    /// Installs a snapshot of the leader.
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
        // The state has a copy of its own by now, or has refused the snapshot.
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::warn!(%error, path = %path.display(), "a snapshot that was taken over is left lying");
        }
        Ok(types::stored_vote(&response.vote))
    }
}
