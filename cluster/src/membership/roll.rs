//! A node's membership as this node's own state has it. The access control of other nodes' calls uses it.

use std::io;

use super::MEMBERS;
use super::rows::{self, Member, Standing};
use crate::door::change::{RowExt, key};
use crate::net::Place;
use crate::offload::offload;
use crate::raft::Group;
use crate::state::read;
use crate::storage::StateStore;

/// The membership of all nodes, by this node's state.
#[derive(Clone)]
pub(crate) struct Roll {
    group: Group,
}

impl Roll {
    pub(crate) fn of(group: Group) -> Self {
        Self { group }
    }

    /// The membership of a node.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(crate) async fn place(&self, node: u64) -> io::Result<Place> {
        if self.group.has(node) {
            return Ok(Place::Member);
        }
        let store = self.group.store().clone();
        offload(move || written(&store, node)).await?
    }

    /// True if the leader is a member and in contact, as far as this node knows.
    pub(crate) fn member_leads(&self) -> bool {
        let status = self.group.status();
        status
            .live_leader()
            .is_some_and(|leader| self.group.has(leader))
    }
}

/// The membership of a node that is not in the Raft group, from its row.
fn written(store: &StateStore, node: u64) -> io::Result<Place> {
    let row = |name: &str| match read::row(store, MEMBERS, &key(name)) {
        // The table is not declared yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        row => row,
    };
    if let Some(row) = row(&node.to_string())? {
        let member = Member::of(node, &row);
        return Ok(match member.standing {
            Standing::Removed => Place::Removed(member.removed_ms),
            Standing::Joining => Place::Joining,
            // Raft's membership and the row differ for a while: an entry is not applied here yet, or the node was removed from Raft and its row
            // follows.
            _ => Place::Newer,
        });
    }
    let next = row(rows::CLUSTER)?.and_then(|row| row.int(rows::NEXT));
    let given = next.and_then(|next| u64::try_from(next).ok());
    Ok(match given {
        Some(next) if node < next => Place::Outside,
        _ => Place::Newer,
    })
}
