//! A running Raft group: proposes entries, waits for a read index, takes snapshots when the log has grown by enough bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
use openraft::raft::ReadPolicy;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{BasicNode, Config, Raft, ServerState, SnapshotPolicy};
use panther_proto::v1::{Entry, LogPosition, Reply};
use parking_lot::Mutex;
use prost::Message;
use tokio::task::JoinHandle;

use super::apply::{AfterApply, StateMachine};
use super::hashes::Hashes;
use super::log_store::{LogStore, durable};
use super::membership::CATCHING_UP;
use super::network::{KnownMembers, Network};
use super::types::{Proposal, StoredMembership, Types};
use crate::log::{DiskFiles, Files, Found, Log, LogSettings, LogState, Loss, Pace, describe_vote};
use crate::net::Peers;
use crate::offload::offload;
use crate::state::FORMAT;
use crate::storage::{SnapshotFile, StateStore, StoreSettings};

/// Upper limit, in bytes, of the log that is kept because the state is large. A start may have to replay that much.
const LONGEST_LOG: u64 = 1 << 30;
/// Missed heartbeats after which a leader counts as unreachable. The election timeout is four to eight heartbeats.
const SIGNS_MISSED: u32 = 10;
/// Number of entries whose replay takes some seconds. A longer replay at a start is logged.
const MANY_ENTRIES: u64 = 10_000;
/// Name of the state's folder inside the node's folder.
pub(super) const STATE: &str = "state";
/// Name of the log's folder inside the node's folder.
pub(super) const LOG: &str = "log";
/// Delay before a failed snapshot is retried. The delay is long because each attempt writes as much as the disk has room for.
const AGAIN: Duration = Duration::from_secs(30);
/// How long the leader waits for its own snapshot before it admits a new node without one.
const SNAPSHOT_TAKES: Duration = Duration::from_secs(60);

/// Settings of a group.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// Settings of the log.
    pub log: LogSettings,
    /// Settings of the applied state.
    pub store: StoreSettings,
    /// Snapshot threshold: bytes of log ([`Log::replay_cost`]) after which a snapshot is taken and the log is purged. Half of the last snapshot's
    /// size applies instead if that is larger (up to 1 GiB), because each snapshot writes the whole state. A node whose state is damaged replays that
    /// much before it takes part.
    pub snapshot_log_bytes: u64,
    /// Interval between checks of the log's size.
    pub snapshot_check: Duration,
    /// Largest number of entries that a new node may have to replay. If the log behind the last snapshot has more, the leader takes a snapshot first.
    pub newcomer_replays: u64,
    /// The newest format that this node applies. It is the format of the build, except in tests of two releases.
    pub format: u32,
    /// Interval between the leader's heartbeats. The election timeout is four to eight times as long.
    pub heartbeat: Duration,
}

/// A node's relation to its group when it starts.
#[derive(Clone, Default)]
pub struct Membership {
    /// Connections to other nodes; `None` for a node without other nodes.
    pub peers: Option<Peers>,
    /// This node's own address, under which other nodes reach it.
    pub address: String,
    /// True: the node waits until the leader adds it. False: a node that was never part of a group creates a group of one.
    pub joins: bool,
    /// True if the node has taken part before. Its log then cannot be empty.
    pub started: bool,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            log: LogSettings::default(),
            store: StoreSettings::default(),
            snapshot_log_bytes: 128 << 20,
            snapshot_check: Duration::from_secs(5),
            newcomer_replays: 20_000,
            format: FORMAT,
            heartbeat: Duration::from_millis(250),
        }
    }
}

/// Error of a request to the group. After a failed proposal the entry may still be applied later.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Another node is the leader.
    #[error("this node does not lead{}", leader.map(|id| format!("; node {id} does")).unwrap_or_default())]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<u64>,
    },
    /// Leadership cannot be transferred to this node: it is not a voter, or it is the leader itself.
    #[error("node {node} cannot be made the leader: it is not another voter")]
    NoHeir {
        /// The node that was requested.
        node: u64,
    },
    /// The group cannot continue on this node, or it refused the request. The text gives the reason.
    #[error("the group has stopped on this node: {0}")]
    Stopped(String),
}

/// Status of the group as this node sees it.
#[derive(Debug, Clone)]
pub struct GroupStatus {
    /// Id of this node.
    pub node: u64,
    /// The leader, if it is known.
    pub leader: Option<u64>,
    /// The current term.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last_log: Option<u64>,
    /// The term of that entry.
    pub last_term: Option<u64>,
    /// Index of the last applied entry.
    pub applied: Option<u64>,
    /// Index of the last entry that the newest snapshot includes.
    pub snapshot: Option<u64>,
    /// Index of the last purged entry.
    pub purged: Option<u64>,
    /// The voters.
    pub voters: Vec<u64>,
    /// True while a change of the voters is in progress (joint consensus): a majority of the old voters must agree as well.
    pub changing: bool,
    /// All members (voters and learners) with their addresses.
    pub members: BTreeMap<u64, String>,
    /// Index of the last entry that each other member is known to have. Only the leader knows it; empty on other nodes.
    pub matched: BTreeMap<u64, u64>,
    /// True while this node is the leader.
    pub leads: bool,
    /// On a follower: the leader has sent a message within ten heartbeats. On the leader: a majority of the voters has acknowledged within ten
    /// heartbeats.
    pub in_contact: bool,
    /// Reason why the group has stopped on this node, if it has.
    pub fault: Option<String>,
}

impl GroupStatus {
    /// The leader, if it is in contact with this node. A leader that has been silent for ten heartbeats is left out.
    #[must_use]
    pub fn live_leader(&self) -> Option<u64> {
        self.leader.filter(|_| self.in_contact)
    }
}

/// Handle of the group. Clones share the group.
#[derive(Clone)]
pub struct Group {
    pub(super) raft: Raft<Types, StateMachine>,
    pub(super) store: StateStore,
    log: Log,
    applying: Arc<Pace>,
    outdated: Arc<OnceLock<String>>,
    hashes: Arc<Hashes>,
    newest_format: u32,
    newcomer_replays: u64,
    pub(super) node: u64,
    /// Set when the group stops. Calls of other nodes are then refused before they reach Raft.
    pub(super) stopping: Arc<AtomicBool>,
    snapshots: Arc<AbortOnDrop>,
    snapshotting: Snapshotting,
    /// The leadership transfer in progress: its term, the heir, and the time at which it was requested.
    pub(super) handing_over: Arc<Mutex<Option<(u64, u64, tokio::time::Instant)>>>,
    /// When this node, as a follower, last received a message of the leader.
    heard_leader: Arc<Mutex<Option<tokio::time::Instant>>>,
    /// How long the leader may be silent and still count as in contact.
    contact_time: Duration,
}

/// Takes snapshots, and keeps the error of the last attempt.
#[derive(Clone)]
struct Snapshotting {
    raft: Raft<Types, StateMachine>,
    machine: StateMachine,
    fault: Arc<parking_lot::Mutex<Option<String>>>,
}

impl Snapshotting {
    /// Takes a snapshot and lets openraft purge the log. If the disk refuses the snapshot, nothing changes.
    async fn take(&self) -> Result<(), ProposeError> {
        let prepared = self.machine.prepare_snapshot().await;
        let fault = prepared.err().map(|error| {
            format!(
                "no snapshot can be written: {error}; the log grows until one is. Is the disk full?"
            )
        });
        self.fault.lock().clone_from(&fault);
        if let Some(fault) = fault {
            return Err(ProposeError::Stopped(fault));
        }
        let asked = self.raft.trigger().snapshot().await;
        asked.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }
}

/// Notifications about changes of leadership and membership.
pub struct Changes(WatchReceiverOf<Types, RaftServerMetrics<Types>>);

impl Changes {
    /// Waits for a change since the last call, at most for `at_most`. The first call returns at once.
    pub async fn next(&mut self, at_most: Duration) {
        let until = tokio::time::Instant::now() + at_most;
        if let Ok(Err(_)) = tokio::time::timeout_at(until, self.0.changed()).await {
            // The group has stopped, so no further change comes. The wait keeps callers from spinning.
            tokio::time::sleep_until(until).await;
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Group {
    /// Opens the log and the state inside `folder`, and starts to take part. The log is in `log_files` if they are given.
    ///
    /// # Errors
    /// The log or the state cannot be read, or holds less than this node has acknowledged ([`Loss`]).
    pub async fn start(
        folder: &Path,
        node: u64,
        membership: Membership,
        settings: GroupSettings,
        log_files: Option<Arc<dyn Files>>,
        after: AfterApply,
    ) -> io::Result<Self> {
        let (log_folder, state_folder) = (folder.join(LOG), folder.join(STATE));
        let (log_settings, store_settings) = (settings.log, settings.store);
        let started = membership.started;
        let (log, store) = offload(move || {
            let files = match log_files {
                Some(files) => files,
                None => Arc::new(DiskFiles::new(&log_folder)?),
            };
            let found = Found::read(files, log_settings)?;
            let state = found.state();
            check(&state, started)?;
            let store = StateStore::open(&state_folder, store_settings, state.purged, state.last)
                .map_err(|error| with_torn(error, &found))?;
            io::Result::Ok((found.open()?, store))
        })
        .await??;
        let behind = |at: Option<LogPosition>| at.map_or(0, |at| at.index);
        let again = behind(log.state().committed).saturating_sub(behind(store.applied().last));
        if again > MANY_ENTRIES {
            tracing::info!(
                entries = again,
                "entries of the log are applied again before this node takes part"
            );
        }
        let machine = StateMachine::start(store.clone(), log.clone(), settings.format, after)?;
        let (applying, outdated) = (machine.pace().clone(), machine.outdated().clone());
        let (hashes, taking) = (machine.hashes().clone(), machine.clone());
        let (newest_format, newcomer_replays) = (settings.format, settings.newcomer_replays);
        let heartbeat_time = settings.heartbeat;
        let heartbeat = u64::try_from(settings.heartbeat.as_millis()).unwrap_or(250);
        let config = Config {
            cluster_name: "panther".to_owned(),
            heartbeat_interval: heartbeat,
            election_timeout_min: heartbeat * 4,
            election_timeout_max: heartbeat * 8,
            // A node that was isolated must not raise the term and unseat a working leader.
            enable_pre_vote: Some(true),
            // A leader that lost power may lack entries that its followers have synced and it had not synced yet. If it resumed its leadership in the
            // same term, it would write other entries at the same indexes.
            enable_leader_restore: Some(false),
            // Snapshots are taken by bytes of log, in `take_snapshots`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 1_000,
            ..Config::default()
        }
        .validate()
        .map_err(io::Error::other)?;
        let members = KnownMembers::default();
        let raft = Raft::new(
            node,
            Arc::new(config),
            Network {
                node,
                peers: membership.peers,
                members: members.clone(),
            },
            LogStore::new(log.clone()),
            machine,
        )
        .await
        .map_err(io::Error::other)?;
        let _ = members.set(raft.server_metrics()); // this is the only call of `set`
        if !membership.joins && !raft.is_initialized().await.map_err(io::Error::other)? {
            raft.initialize(BTreeMap::from([(
                node,
                BasicNode::new(&membership.address),
            )]))
            .await
            .map_err(io::Error::other)?;
        }
        let voters: Vec<u64> = raft
            .metrics()
            .borrow_watched()
            .membership_config
            .voter_ids()
            .collect();
        if voters == [node] {
            // No other node could be elected, so the election timeout need not pass.
            raft.trigger()
                .elect(false)
                .await
                .map_err(io::Error::other)?;
        }
        let snapshotting = Snapshotting {
            raft: raft.clone(),
            machine: taking,
            fault: Arc::default(),
        };
        let snapshots = Arc::new(AbortOnDrop(tokio::spawn(take_snapshots(
            snapshotting.clone(),
            log.clone(),
            folder.join(STATE),
            settings,
        ))));
        Ok(Self {
            raft,
            store,
            log,
            applying,
            outdated,
            hashes,
            newest_format,
            newcomer_replays,
            node,
            stopping: Arc::default(),
            handing_over: Arc::default(),
            snapshots,
            heard_leader: Arc::default(),
            contact_time: heartbeat_time * SIGNS_MISSED,
            snapshotting,
        })
    }

    /// Id of this node.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.node
    }

    /// Notifications about leadership and membership. Subscribe before you read the status, so that no change is missed.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.raft.server_metrics())
    }

    /// Proposes one entry. Returns its replies once the entry is applied on this node.
    ///
    /// # Errors
    /// This node is not the leader, or the group has stopped on this node. In both cases the entry may still be applied later.
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

    /// The read index: a node that has applied up to this index sees everything that was committed when this call began.
    ///
    /// # Errors
    /// This node is not the leader, or the group has stopped on this node.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader {
                    leader: forward.leader_id,
                })
            }
            // No majority confirms the leadership: another node may be the leader already.
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ProposeError::NotLeader { leader: None })
            }
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// Waits until the entry `index` is applied on this node.
    ///
    /// # Errors
    /// The entry is not applied within `at_most`, or the group has stopped on this node.
    pub async fn applied(&self, index: u64, at_most: Duration) -> Result<(), ProposeError> {
        let waited = self
            .raft
            .wait(Some(at_most))
            .applied_index_at_least(Some(index), "a read")
            .await;
        match waited {
            Ok(_) => Ok(()),
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// The applied state.
    #[must_use]
    pub fn store(&self) -> &StateStore {
        &self.store
    }

    /// Bytes of the entries in the log that are not purged.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.entry_bytes()
    }

    /// Current latency of a write to the log, and of applying a chunk of entries, on this node.
    #[must_use]
    pub fn takes(&self) -> (Duration, Duration) {
        let now = Instant::now();
        (self.log.pace().takes(now), self.applying.takes(now))
    }

    /// The newest format that this node applies.
    #[must_use]
    pub fn newest_format(&self) -> u32 {
        self.newest_format
    }

    /// The running hashes of the state after each of the newest applied entries.
    #[must_use]
    pub fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// Why this build can apply no further entries, if it has found an entry or a snapshot of a newer format.
    #[must_use]
    pub fn outdated(&self) -> Option<String> {
        self.outdated.get().cloned()
    }

    /// The last entry in the log.
    pub(crate) fn last(&self) -> Option<LogPosition> {
        self.log.state().last
    }

    /// The term of the newest vote that this node knows.
    pub(crate) fn term(&self) -> u64 {
        self.raft
            .server_metrics()
            .borrow_watched()
            .vote
            .leader_id()
            .term
    }

    /// True if the node is a member: by the newest membership in the log, or by the newest one that is known to be committed.
    pub(crate) fn has(&self, node: u64) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let of = |membership: &StoredMembership| membership.nodes().any(|(id, _)| *id == node);
        of(&metrics.membership_config) || of(&metrics.committed_membership_config)
    }

    /// Records that the leader has sent a message.
    pub(super) fn leader_was_heard(&self) {
        *self.heard_leader.lock() = Some(tokio::time::Instant::now());
    }

    fn in_contact(&self, metrics: &RaftMetrics<Types>) -> bool {
        if metrics.state != ServerState::Leader {
            let heard = *self.heard_leader.lock();
            return metrics.current_leader.is_some()
                && heard.is_some_and(|at| at.elapsed() <= self.contact_time);
        }
        let mut voters = metrics.membership_config.voter_ids();
        voters.all(|voter| voter == self.node)
            || metrics
                .last_quorum_acked
                .as_ref()
                .is_some_and(|at| at.elapsed() <= self.contact_time)
    }

    /// Checks the liveness of the Raft core loop, which does all work of the group. The check needs no quorum.
    ///
    /// # Errors
    /// The group has stopped on this node; the text gives the reason.
    pub async fn goes_round(&self) -> Result<(), ProposeError> {
        let asked = self.raft.with_raft_state(|_| ()).await;
        asked.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }

    /// Current status of the group.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let in_contact = self.in_contact(&metrics);
        GroupStatus {
            in_contact,
            last_term: self.log.state().last.map(|at| at.term),
            node: self.node,
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index()),
            snapshot: metrics.snapshot.map(|id| id.index()),
            purged: metrics.purged.map(|id| id.index()),
            voters: metrics.membership_config.voter_ids().collect(),
            changing: metrics.membership_config.get_joint_config().len() > 1,
            members: metrics
                .membership_config
                .nodes()
                .map(|(id, node)| (*id, node.addr.clone()))
                .collect(),
            matched: metrics
                .replication
                .iter()
                .flatten()
                .filter_map(|(id, at)| Some((*id, at.as_ref()?.index())))
                .collect(),
            leads: metrics.state == ServerState::Leader,
            fault: metrics.running_state.err().map(|fatal| fatal.to_string()),
        }
    }

    /// Takes a snapshot now and purges the log.
    ///
    /// # Errors
    /// The disk refuses the snapshot, and nothing has changed; or the group has stopped on this node.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        self.snapshotting.take().await
    }

    /// Why the last snapshot was not written, if it failed. Snapshots are retried.
    #[must_use]
    pub fn snapshot_fault(&self) -> Option<String> {
        self.snapshotting.fault.lock().clone()
    }

    /// Prepares the admission of a new node: takes a snapshot if the new node would have to replay a long log otherwise. If the snapshot fails or
    /// takes more than 60 s, the new node replays the log.
    ///
    /// # Errors
    /// No error at present: a failed snapshot is not an error of this call.
    pub async fn snapshot_for_newcomer(&self) -> Result<(), ProposeError> {
        let status = self.status();
        let (last, covered) = (status.applied.unwrap_or(0), status.snapshot.unwrap_or(0));
        if last.saturating_sub(covered) < self.newcomer_replays {
            return Ok(());
        }
        if self.snapshot().await.is_err() {
            return Ok(()); // the failed snapshot raises an alarm; the new node replays the log
        }
        let (mut changes, until) = (self.changes(), Instant::now() + SNAPSHOT_TAKES);
        while self.status().snapshot.unwrap_or(0) < last && Instant::now() < until {
            changes.next(CATCHING_UP).await;
        }
        Ok(())
    }

    /// Stops taking part and writes everything to disk.
    ///
    /// # Errors
    /// The disk refuses a write, or a task of Raft has panicked.
    pub async fn stop(&self) -> io::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.snapshots.0.abort();
        self.raft.shutdown().await.map_err(io::Error::other)?;
        // An error of the log shows up below: the state is not written ahead of the log.
        let _ = durable(|told| self.log.settled(told)).await;
        let store = self.store.clone();
        offload(move || store.close()).await?
    }
}

/// Checks the log of a node that has taken part (`started`): the log is not empty, and its vote is not older than its last entry.
pub(super) fn check(state: &LogState, started: bool) -> Result<(), Loss> {
    let Some(last) = state.last else {
        return if started {
            Err(Loss::EmptyLog {
                known: "this node has taken part in its cluster".to_owned(),
            })
        } else {
            Ok(())
        };
    };
    // A node votes in a term before it accepts an entry of that term.
    if state.vote.is_none_or(|vote| vote.term < last.term) {
        return Err(Loss::Vote {
            found: describe_vote(state.vote.as_ref()),
            known: format!("its last entry is of term {}", last.term),
        });
    }
    Ok(())
}

/// Adds the description of the log's torn tail to the error.
fn with_torn(error: io::Error, found: &Found) -> io::Error {
    match Loss::of(&error) {
        Some(Loss::StateAhead { applied, last, .. }) => Loss::StateAhead {
            applied: *applied,
            last: *last,
            torn: found.torn(),
        }
        .into(),
        _ => error,
    }
}

async fn take_snapshots(
    snapshotting: Snapshotting,
    log: Log,
    state: PathBuf,
    settings: GroupSettings,
) {
    let mut ticks = tokio::time::interval(settings.snapshot_check);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (log, state) = (log.clone(), state.clone());
        let Ok((cost, last)) = offload(move || (log.replay_cost(), last_snapshot(&state))).await
        else {
            return;
        };
        let due = settings.snapshot_log_bytes.max((last / 2).min(LONGEST_LOG));
        if cost >= due
            && let Err(error) = snapshotting.take().await
        {
            tracing::error!(%error, "no snapshot was taken; it is tried again");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Size of the newest complete snapshot in bytes; 0 without a snapshot.
fn last_snapshot(state: &Path) -> u64 {
    let newest = SnapshotFile::newest(state).ok().flatten();
    newest.map_or(0, |snapshot| {
        std::fs::metadata(&snapshot.path).map_or(0, |of| of.len())
    })
}

#[cfg(test)]
mod tests {
    use panther_proto::v1::StoredVote;

    use super::*;

    fn state(term: u64, vote: Option<u64>) -> LogState {
        LogState {
            last: Some(LogPosition {
                term,
                node: 1,
                index: 9,
            }),
            vote: vote.map(|term| StoredVote {
                term,
                node: 1,
                committed: true,
            }),
            ..LogState::default()
        }
    }

    #[test]
    fn a_vote_older_than_the_last_entry_is_a_loss() {
        for forgotten in [None, Some(4)] {
            let found = check(&state(5, forgotten), true).expect_err("a loss");
            assert_eq!(found.code(), "vote-forgotten", "{found}");
        }
        for whole in [5, 6] {
            assert_eq!(check(&state(5, Some(whole)), true), Ok(()));
        }
    }

    #[test]
    fn an_empty_log_is_a_loss_where_a_node_has_taken_part() {
        assert_eq!(check(&LogState::default(), false), Ok(()));
        let found = check(&LogState::default(), true).expect_err("a loss");
        assert_eq!(found.code(), "log-empty");
    }
}
