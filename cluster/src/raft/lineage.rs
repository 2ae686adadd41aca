//! How a group goes on as one of a single voter under a new lineage: from a backup, or from what one of its nodes has when the majority is gone for good.
//!
//! Nothing runs meanwhile. The nodes of the old lineage must never speak with the new one: whoever calls this gives it another cluster id.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use openraft::{BasicNode, EntryPayload};
use panther_proto::v1::{LogPosition, Membership, StoredVote};

use super::group::GroupSettings;
use super::log_store::durable;
use super::types;
use crate::log::{DiskFiles, Log};
use crate::storage::{SnapshotFile, StateStore};

/// What a node goes on from whose majority is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forced {
    /// The last entry that it has.
    pub last: LogPosition,
    /// Entries behind the last one that it knew to be committed: they may or may not have been acknowledged, and are kept.
    pub uncertain: u64,
}

fn alone(node: u64, address: &str) -> io::Result<openraft::Membership<u64, BasicNode>> {
    let nodes = BTreeMap::from([(node, BasicNode::new(address))]);
    openraft::Membership::new(vec![BTreeSet::from([node])], nodes).map_err(io::Error::other)
}

/// Fills an empty folder with the log and state of a group whose only voter is `node`, and whose state is a backup's. Where the backup ends.
///
/// # Errors
/// The file is no snapshot or is damaged, or the disk does not take it.
pub async fn restore(
    folder: &Path,
    backup: &Path,
    node: u64,
    address: &str,
    settings: GroupSettings,
) -> io::Result<LogPosition> {
    let (state_folder, log_folder) = (folder.join("state"), folder.join("log"));
    let (backup, address) = (backup.to_owned(), address.to_owned());
    let filling = tokio::task::spawn_blocking(move || {
        let file = SnapshotFile::open(backup)?;
        let last = file.header.last.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the snapshot holds no entry")
        })?;
        std::fs::create_dir_all(&state_folder)?;
        let membership: Membership = types::proto_membership(Some(last), &alone(node, &address)?);
        let store = StateStore::open(&state_folder, settings.store, None, None)?;
        let file = file.with_membership(&state_folder, membership)?;
        store.install(&file)?;
        store.close()?;
        let log = Log::open(Arc::new(DiskFiles::new(&log_folder)?), settings.log)?;
        io::Result::Ok((log, last))
    });
    let (log, last) = filling.await.map_err(io::Error::other)??;
    // The next leader's term is above that of every entry in the backup.
    let vote = StoredVote {
        term: last.term,
        node,
        committed: false,
    };
    durable(|told| log.save_vote(vote, told)).await?;
    durable(|told| log.purge(last, told)).await?;
    Ok(last)
}

/// The last entry of the log in this folder, by which an operator chooses the node to go on with: the one with the highest term, and of those the highest index.
///
/// # Errors
/// There is no log, or it cannot be read.
pub async fn last(folder: &Path, settings: GroupSettings) -> io::Result<LogPosition> {
    let log_folder = folder.join("log");
    let opening = tokio::task::spawn_blocking(move || {
        Log::open(Arc::new(DiskFiles::new(&log_folder)?), settings.log)
    });
    let log = opening.await.map_err(io::Error::other)??;
    log.state().last.ok_or_else(no_log)
}

fn no_log() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "this node has no log to go on from",
    )
}

/// Makes `node` the only voter of the group whose log is in this folder.
///
/// # Errors
/// There is no log, or the disk does not take it.
pub async fn force_new(
    folder: &Path,
    node: u64,
    address: &str,
    settings: GroupSettings,
) -> io::Result<Forced> {
    let log_folder = folder.join("log");
    let opening = tokio::task::spawn_blocking(move || {
        Log::open(Arc::new(DiskFiles::new(&log_folder)?), settings.log)
    });
    let log = opening.await.map_err(io::Error::other)??;
    let state = log.state();
    let last = state.last.ok_or_else(no_log)?;
    let vote = state.vote.unwrap_or_default();
    let term = vote.term.max(last.term) + 1;
    let mine = StoredVote {
        term,
        node,
        committed: false,
    };
    let at = LogPosition {
        term,
        node,
        index: last.index + 1,
    };
    let entry = types::encode_payload(&EntryPayload::Membership(alone(node, address)?));
    durable(|told| log.save_vote(mine, told)).await?;
    durable(|told| log.append(vec![(at, entry)], told)).await?;
    let committed = state.committed.map_or(0, |at| at.index);
    Ok(Forced {
        last,
        uncertain: last.index.saturating_sub(committed),
    })
}
