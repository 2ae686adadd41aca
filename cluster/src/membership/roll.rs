//! Who stands where, as far as this node's own state says: what the gate for calls of other nodes decides by.

use std::io;

use super::MEMBERS;
use super::rows::{self, Member, Standing};
use crate::door::change::{RowExt, key};
use crate::net::Place;
use crate::offload::offload;
use crate::raft::Group;
use crate::state::read;
use crate::storage::StateStore;

/// The roll of the cluster's nodes in this node's state.
#[derive(Clone)]
pub(crate) struct Roll {
    group: Group,
}

impl Roll {
    pub(crate) fn of(group: Group) -> Self {
        Self { group }
    }

    /// Where a node stands.
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

    /// Whether a member of the cluster leads, as far as this node knows.
    pub(crate) fn member_leads(&self) -> bool {
        let status = self.group.status();
        status
            .live_leader()
            .is_some_and(|leader| self.group.has(leader))
    }
}

/// Where a node stands that Raft does not have.
fn written(store: &StateStore, node: u64) -> io::Result<Place> {
    let row = |name: &str| match read::row(store, MEMBERS, &key(name)) {
        // Before the table is declared.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        row => row,
    };
    if let Some(row) = row(&node.to_string())? {
        let member = Member::of(node, &row);
        return Ok(match member.standing {
            Standing::Removed => Place::Removed(member.removed_ms),
            Standing::Joining => Place::Joining,
            // Raft has it in entries that are not applied here, or has it no more and the row follows.
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
