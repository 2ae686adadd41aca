//! Creates a new lineage: a group with a single voter continues from a backup, from the log of one node after the majority is lost for good, or from
//! the state of a voter that has lost a part of its log.
//!
//! The node must not run meanwhile. Nodes of the old lineage must never talk to nodes of the new one, so the caller gives the new lineage another
//! cluster id.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::{BasicNode, EntryPayload};
use panther_proto::v1::{LogPosition, Membership, StoredVote};

use super::group::{GroupSettings, LOG, STATE, check};
use super::log_store::durable;
use super::types;
use crate::log::{DiskFiles, Found, Log, Loss};
use crate::offload::offload;
use crate::state::read;
use crate::storage::{SnapshotFile, StateStore, not_ahead};

/// Result of [`force_new`]: the log from which the node continues without the lost majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forced {
    /// The last entry of the old lineage in the log.
    pub last: LogPosition,
    /// Number of entries behind the last one that the node knew to be committed. These entries may or may not have been acknowledged; they are kept.
    pub uncertain: u64,
}

fn alone(node: u64, address: &str) -> io::Result<openraft::Membership<u64, BasicNode>> {
    let nodes = BTreeMap::from([(node, BasicNode::new(address))]);
    openraft::Membership::new(vec![BTreeSet::from([node])], nodes).map_err(io::Error::other)
}

/// Fills an empty folder with the log and state of a group whose only voter is `node`. The state comes from the snapshot file `backup`. Returns the
/// position at which the backup ends.
///
/// # Errors
/// The file is not a snapshot or is damaged, or the disk refuses a write.
pub async fn restore(
    folder: &Path,
    backup: &Path,
    node: u64,
    address: &str,
    settings: GroupSettings,
) -> io::Result<LogPosition> {
    let (state_folder, log_folder) = (folder.join(STATE), folder.join(LOG));
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
    // The next leader's term is higher than the term of every entry in the backup.
    let vote = StoredVote {
        term: last.term,
        node,
        committed: false,
    };
    durable(|told| log.save_vote(vote, told)).await?;
    durable(|told| log.purge(last, told)).await?;
    Ok(last)
}

/// The last entry of the log in this folder. An operator compares it to choose the node to continue with: the highest term, then the highest index.
///
/// # Errors
/// The log is missing or cannot be read.
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
/// The log is missing, or the disk refuses a write.
pub async fn force_new(
    folder: &Path,
    node: u64,
    address: &str,
    settings: GroupSettings,
) -> io::Result<Forced> {
    let log_folder = folder.join(LOG);
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

/// What is still readable on a node, whatever the condition of its log.
#[derive(Debug, Clone, PartialEq)]
pub struct Remains {
    /// The loss that keeps the node from starting; `None` if nothing is lost.
    pub loss: Option<Loss>,
    /// The last entry in the readable state.
    pub applied: LogPosition,
    /// Cluster time in that state, in milliseconds since 1970.
    pub time_ms: u64,
    /// The voters as of that state.
    pub voters: BTreeSet<u64>,
    /// The snapshot file that contains the state, if the database cannot be read.
    pub snapshot: Option<PathBuf>,
}

/// Reads what is left on a node that has taken part. Changes neither log nor state.
///
/// # Errors
/// Neither the state nor a snapshot of it can be read.
pub async fn remains(folder: &Path, settings: GroupSettings) -> io::Result<Remains> {
    let folder = folder.to_owned();
    offload(move || look(&folder, &settings)).await?
}

fn look(folder: &Path, settings: &GroupSettings) -> io::Result<Remains> {
    let root = folder.join(STATE);
    let mut remains = match StateStore::open_alone(&root, settings.store) {
        Ok(store) => {
            let applied = store.applied();
            let membership = types::membership(applied.membership.as_ref())?;
            Remains {
                loss: None,
                applied: applied.last.unwrap_or_default(),
                time_ms: read::globals(&store)?.clock_ms,
                voters: membership.membership().voter_ids().collect(),
                snapshot: None,
            }
        }
        Err(error) => {
            let newest = SnapshotFile::newest(&root)?.ok_or(error)?;
            let membership = types::membership(newest.header.membership.as_ref())?;
            Remains {
                loss: None,
                applied: newest.header.last.unwrap_or_default(),
                time_ms: newest.clock_ms()?,
                voters: membership.membership().voter_ids().collect(),
                snapshot: Some(newest.path),
            }
        }
    };
    let found = DiskFiles::new(&folder.join(LOG))
        .and_then(|files| Found::read(Arc::new(files), settings.log));
    remains.loss = match found {
        Ok(found) => {
            let (state, at) = (found.state(), remains.applied.index);
            let begins = state.purged.map_or(0, |purged| purged.index);
            let behind = Loss::State {
                state: "it ends before the log begins".to_owned(),
                snapshot: Some(at),
                purged: Some(begins),
            };
            let applied = Some(remains.applied).filter(|applied| applied.index > 0);
            check(&state, true)
                .and_then(|()| not_ahead(applied, state.last))
                .err()
                .or((at < begins).then_some(behind))
        }
        Err(error) => match Loss::of(&error) {
            Some(loss) => Some(loss.clone()),
            None => return Err(error),
        },
    };
    Ok(remains)
}

/// Fills the empty folder `into` with the log and state of a group whose only voter is `node`. The state comes from `folder`, which is not changed.
///
/// # Errors
/// Neither the state nor a snapshot of it can be read, or the disk refuses a write.
pub async fn salvage(
    folder: &Path,
    into: &Path,
    remains: &Remains,
    node: u64,
    address: &str,
    settings: GroupSettings,
) -> io::Result<LogPosition> {
    let file = match &remains.snapshot {
        Some(file) => file.clone(),
        None => {
            let (root, into) = (folder.join(STATE), into.to_owned());
            offload(move || {
                let store = StateStore::open_alone(&root, settings.store)?;
                io::Result::Ok(store.take_snapshot_into(&into)?.path)
            })
            .await??
        }
    };
    let last = restore(into, &file, node, address, settings).await?;
    if remains.snapshot.is_none() {
        std::fs::remove_file(file)?;
    }
    Ok(last)
}
