//! A running Raft group: propose entries, wait for a read index, take snapshots by bytes of log.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use openraft::{BasicNode, Config, Raft, ServerState, SnapshotPolicy};
use panther_proto::v1::{Entry, Reply};
use prost::Message;
use tokio::task::JoinHandle;

use super::apply::{AfterApply, StateMachine};
use super::log_store::LogStore;
use super::network::NoPeers;
use super::types::{Proposal, Types};
use crate::log::{DiskFiles, Log, LogSettings};
use crate::storage::{StateStore, StoreSettings};

/// How a group runs.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// The log.
    pub log: LogSettings,
    /// The applied state.
    pub store: StoreSettings,
    /// Bytes of log after which a snapshot is taken and the log cut.
    pub snapshot_log_bytes: u64,
    /// How often the log's size is looked at.
    pub snapshot_check: Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            log: LogSettings::default(),
            store: StoreSettings::default(),
            snapshot_log_bytes: 128 << 20,
            snapshot_check: Duration::from_secs(5),
        }
    }
}

/// Why an entry was not applied, as far as this node knows.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads.
    #[error("this node does not lead{}", leader.map(|id| format!("; node {id} does")).unwrap_or_default())]
    NotLeader {
        /// The node that does, if it is known.
        leader: Option<u64>,
    },
    /// The group cannot go on here.
    #[error("the group has stopped on this node: {0}")]
    Stopped(String),
}

/// What a group is doing.
#[derive(Debug, Clone)]
pub struct GroupStatus {
    /// This node.
    pub node: u64,
    /// The node that leads, if it is known.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// The last entry in the log.
    pub last_log: Option<u64>,
    /// The last applied entry.
    pub applied: Option<u64>,
    /// The last entry in a snapshot.
    pub snapshot: Option<u64>,
    /// Nodes that vote.
    pub voters: Vec<u64>,
    /// True while this node leads.
    pub leads: bool,
    /// Why the group stopped here, if it has.
    pub fault: Option<String>,
}

/// A handle on the group; clones share it.
#[derive(Clone)]
pub struct Group {
    raft: Raft<Types, StateMachine>,
    store: StateStore,
    log: Log,
    node: u64,
    snapshots: Arc<AbortOnDrop>,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Group {
    /// Opens the log and the state below `folder` and starts taking part. A folder that has never been part of a group
    /// becomes a group of one.
    ///
    /// # Errors
    /// The log or the state cannot be read.
    pub async fn start(
        folder: &Path,
        node: u64,
        settings: GroupSettings,
        after: AfterApply,
    ) -> io::Result<Self> {
        let (log_folder, state_folder) = (folder.join("log"), folder.join("state"));
        let (log_settings, store_settings) = (settings.log, settings.store);
        let (log, store) = tokio::task::spawn_blocking(move || {
            let log = Log::open(Arc::new(DiskFiles::new(&log_folder)?), log_settings)?;
            let state = log.state();
            let store = StateStore::open(&state_folder, store_settings, state.purged, state.last)?;
            io::Result::Ok((log, store))
        })
        .await
        .map_err(io::Error::other)??;
        let machine = StateMachine::start(store.clone(), after)?;
        let config = Config {
            cluster_name: "panther".to_owned(),
            heartbeat_interval: 250,
            election_timeout_min: 1_000,
            election_timeout_max: 2_000,
            // Snapshots are taken by bytes of log, below.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 1_000,
            ..Config::default()
        }
        .validate()
        .map_err(io::Error::other)?;
        let raft = Raft::new(
            node,
            Arc::new(config),
            NoPeers,
            LogStore::new(log.clone()),
            machine,
        )
        .await
        .map_err(io::Error::other)?;
        if !raft.is_initialized().await.map_err(io::Error::other)? {
            raft.initialize(BTreeMap::from([(node, BasicNode::new(""))]))
                .await
                .map_err(io::Error::other)?;
        }
        let snapshots = Arc::new(AbortOnDrop(tokio::spawn(take_snapshots(
            raft.clone(),
            log.clone(),
            settings,
        ))));
        Ok(Self {
            raft,
            store,
            log,
            node,
            snapshots,
        })
    }

    /// Waits until some node leads and this node has applied what was committed before.
    ///
    /// # Errors
    /// That did not happen in time.
    pub async fn wait_ready(&self, timeout: Duration) -> io::Result<()> {
        let ready = async {
            loop {
                if self.read_index().await.is_ok() {
                    return;
                }
                let mut metrics = self.raft.server_metrics();
                let _ = tokio::time::timeout(Duration::from_millis(50), metrics.changed()).await;
            }
        };
        tokio::time::timeout(timeout, ready).await.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no leader within {timeout:?}: {:?}", self.status()),
            )
        })
    }

    /// Proposes one entry; its replies once it is applied here.
    ///
    /// # Errors
    /// This node does not lead, or the group has stopped here. The entry may still be applied later in both cases.
    pub async fn propose(&self, entry: &Entry) -> Result<Vec<Reply>, ProposeError> {
        let proposal = Proposal(Bytes::from(entry.encode_to_vec()));
        match self.raft.client_write(proposal).await {
            Ok(response) => Ok(response.data.0),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader {
                    leader: forward.leader_id,
                })
            }
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// Returns once what was committed when this was called is applied here: a read of the state is linearizable then.
    ///
    /// # Errors
    /// This node does not lead, or the group has stopped here.
    pub async fn read_index(&self) -> Result<(), ProposeError> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader {
                    leader: forward.leader_id,
                })
            }
            Err(RaftError::APIError(error)) => Err(ProposeError::Stopped(error.to_string())),
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// The applied state.
    #[must_use]
    pub fn store(&self) -> &StateStore {
        &self.store
    }

    /// Bytes of the log that no snapshot covers yet.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.entry_bytes()
    }

    /// What the group is doing.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics().borrow_watched().clone();
        GroupStatus {
            node: self.node,
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index()),
            snapshot: metrics.snapshot.map(|id| id.index()),
            voters: metrics.membership_config.voter_ids().collect(),
            leads: metrics.state == ServerState::Leader,
            fault: metrics.running_state.err().map(|fatal| fatal.to_string()),
        }
    }

    /// Takes a snapshot now and cuts the log.
    ///
    /// # Errors
    /// The group has stopped here.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        self.raft
            .trigger()
            .snapshot()
            .await
            .map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }

    /// Stops taking part and moves everything to disk.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn stop(&self) -> io::Result<()> {
        self.snapshots.0.abort();
        self.raft.shutdown().await.map_err(io::Error::other)?;
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.close())
            .await
            .map_err(io::Error::other)?
    }
}

async fn take_snapshots(raft: Raft<Types, StateMachine>, log: Log, settings: GroupSettings) {
    let mut ticks = tokio::time::interval(settings.snapshot_check);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let log = log.clone();
        let Ok(bytes) = tokio::task::spawn_blocking(move || log.entry_bytes()).await else {
            return;
        };
        if bytes >= settings.snapshot_log_bytes && raft.trigger().snapshot().await.is_err() {
            return; // the group has stopped; its status says why
        }
    }
}
