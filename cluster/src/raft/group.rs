//! A running Raft group: propose entries, wait for a read index, take snapshots by bytes of log.

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

/// Bytes of log that are kept for the sake of a large state: a start reads them.
const LONGEST_LOG: u64 = 1 << 30;
/// After so many heartbeats that are missed a leader does not count as there: others elect after four to eight.
const SIGNS_MISSED: u32 = 10;
/// Entries that take some seconds to be applied again.
const MANY_ENTRIES: u64 = 10_000;
/// The state's folder, below a node's.
pub(super) const STATE: &str = "state";
/// The log's folder, below a node's.
pub(super) const LOG: &str = "log";
/// After this a snapshot that failed is tried again: each try writes as much as there is room for.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a new node waits for a snapshot to be taken.
const SNAPSHOT_TAKES: Duration = Duration::from_secs(60);

/// How a group runs.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// The log.
    pub log: LogSettings,
    /// The applied state.
    pub store: StoreSettings,
    /// Bytes of log ([`Log::replay_cost`]) after which a snapshot is taken and the log cut; or half of what the last snapshot holds, if that is more: each
    /// writes the whole state. A node whose state is damaged applies that much again before it takes part.
    pub snapshot_log_bytes: u64,
    /// How often the log's size is looked at.
    pub snapshot_check: Duration,
    /// Entries that a new node may be left to apply one by one: where the log behind the last snapshot has more, the leader takes a snapshot first.
    pub newcomer_replays: u64,
    /// The newest format that this node applies: its build's, but for tests of two releases side by side.
    pub format: u32,
    /// How often the leader shows that it lives; after four to eight times of silence another is elected.
    pub heartbeat: Duration,
}

/// How a node stands to its group when it starts.
#[derive(Clone, Default)]
pub struct Membership {
    /// The way to other nodes; `None` for a node that knows no others.
    pub peers: Option<Peers>,
    /// This node's own address, as others reach it.
    pub address: String,
    /// Waits to be taken in. Otherwise a folder that has never been part of a group becomes a group of one.
    pub joins: bool,
    /// It has taken part before, so its log cannot be empty.
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

/// Why an entry was not applied, as far as this node knows.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads.
    #[error("this node does not lead{}", leader.map(|id| format!("; node {id} does")).unwrap_or_default())]
    NotLeader {
        /// The node that does, if it is known.
        leader: Option<u64>,
    },
    /// A node that should lead does not vote, or is this node.
    #[error("node {node} cannot be made the leader: it is not another voter")]
    NoHeir {
        /// The node.
        node: u64,
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
    /// The term of that entry.
    pub last_term: Option<u64>,
    /// The last applied entry.
    pub applied: Option<u64>,
    /// The last entry in a snapshot.
    pub snapshot: Option<u64>,
    /// Up to where the log is cut.
    pub purged: Option<u64>,
    /// Nodes that vote.
    pub voters: Vec<u64>,
    /// A change of the voters is under way: a majority of those before has to agree as well.
    pub changing: bool,
    /// All nodes that take part, voters and learners, with their addresses.
    pub members: BTreeMap<u64, String>,
    /// The last entry that each other node is known to have; known to the leader alone.
    pub matched: BTreeMap<u64, u64>,
    /// True while this node leads.
    pub leads: bool,
    /// A leader was heard of within the time of an election; of a leader: a majority was.
    pub in_contact: bool,
    /// Why the group stopped here, if it has.
    pub fault: Option<String>,
}

impl GroupStatus {
    /// The node that leads and was heard of lately; a leader that has gone silent is not one.
    #[must_use]
    pub fn live_leader(&self) -> Option<u64> {
        self.leader.filter(|_| self.in_contact)
    }
}

/// A handle on the group; clones share it.
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
    /// Set when it stops: calls of others that still come are turned away before Raft sees them.
    pub(super) stopping: Arc<AtomicBool>,
    snapshots: Arc<AbortOnDrop>,
    snapshotting: Snapshotting,
    /// The term in which this node was to let another one lead, that one, and since when.
    pub(super) handing_over: Arc<Mutex<Option<(u64, u64, tokio::time::Instant)>>>,
    /// When the leader was heard of last, as a follower.
    heard_leader: Arc<Mutex<Option<tokio::time::Instant>>>,
    /// How long a leader may be silent and still count as there.
    contact_time: Duration,
}

/// How snapshots are taken, and why the last one failed.
#[derive(Clone)]
struct Snapshotting {
    raft: Raft<Types, StateMachine>,
    machine: StateMachine,
    fault: Arc<parking_lot::Mutex<Option<String>>>,
}

impl Snapshotting {
    /// Takes a snapshot and lets openraft cut the log. A disk that does not take it changes nothing.
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

/// Tells of changes of leadership and membership.
pub struct Changes(WatchReceiverOf<Types, RaftServerMetrics<Types>>);

impl Changes {
    /// Returns when something has changed since the last time (the first time at once), or after `at_most`.
    pub async fn next(&mut self, at_most: Duration) {
        let until = tokio::time::Instant::now() + at_most;
        if let Ok(Err(_)) = tokio::time::timeout_at(until, self.0.changed()).await {
            // The group has stopped and nothing changes any more: whoever looks again and again must not spin.
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
    /// Opens the log and the state below `folder` (the log in `log_files`, if they are given) and starts taking part.
    ///
    /// # Errors
    /// The log or the state cannot be read.
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
            // A node that was cut off must not drive up the term and unseat a leader that works.
            enable_pre_vote: Some(true),
            // A leader that lost its power may lack what the others have synced and it had not yet; if it led on in the same term, it would write other entries under the same numbers.
            enable_leader_restore: Some(false),
            // Snapshots are taken by bytes of log, below.
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
        let _ = members.set(raft.server_metrics()); // set once
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
            // Nobody else could be elected, so nothing is to be waited for.
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

    /// This node's number.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.node
    }

    /// What is to be waited on for changes of leadership and membership. Made before the status is looked at, so that none is missed.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.raft.server_metrics())
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

    /// Up to where a node must have applied for a read to see what was committed when this was called.
    ///
    /// # Errors
    /// This node does not lead, or the group has stopped here.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader {
                    leader: forward.leader_id,
                })
            }
            // No majority confirms that it leads: another node may lead already.
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ProposeError::NotLeader { leader: None })
            }
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// Returns once an entry is applied here.
    ///
    /// # Errors
    /// It is not within `at_most`, or the group has stopped here.
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

    /// Bytes of the log that no snapshot covers yet.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.entry_bytes()
    }

    /// How long this node's disk takes for a write to the log, and its state for a few entries, at this moment.
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

    /// The running hashes of the state behind the last applied entries.
    #[must_use]
    pub fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// Why this build can go no further, once it has met what only a newer one knows.
    #[must_use]
    pub fn outdated(&self) -> Option<String> {
        self.outdated.get().cloned()
    }

    /// The last entry in the log.
    pub(crate) fn last(&self) -> Option<LogPosition> {
        self.log.state().last
    }

    /// The term of the last vote that this node knows.
    pub(crate) fn term(&self) -> u64 {
        self.raft
            .server_metrics()
            .borrow_watched()
            .vote
            .leader_id()
            .term
    }

    /// Whether a node takes part: by the newest membership in the log, or by the last one that is known to be committed.
    pub(crate) fn has(&self, node: u64) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let of = |membership: &StoredMembership| membership.nodes().any(|(id, _)| *id == node);
        of(&metrics.membership_config) || of(&metrics.committed_membership_config)
    }

    /// The leader has given a sign of life.
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

    /// Whether the loop that all of the group's work passes through goes round, with a majority or without; an error says why it has ended.
    ///
    /// # Errors
    /// The group has stopped here.
    pub async fn goes_round(&self) -> Result<(), ProposeError> {
        let asked = self.raft.with_raft_state(|_| ()).await;
        asked.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))
    }

    /// What the group is doing.
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

    /// Takes a snapshot now and cuts the log.
    ///
    /// # Errors
    /// The disk does not take it, and all is as before; or the group has stopped here.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        self.snapshotting.take().await
    }

    /// Why the last snapshot was not written, if it was not; it is tried again.
    #[must_use]
    pub fn snapshot_fault(&self) -> Option<String> {
        self.snapshotting.fault.lock().clone()
    }

    /// Before a node is let in that has nothing: a snapshot, if it would have to apply a long log otherwise. If that takes too long, the log has to do.
    ///
    /// # Errors
    /// The group has stopped here.
    pub async fn snapshot_for_newcomer(&self) -> Result<(), ProposeError> {
        let status = self.status();
        let (last, covered) = (status.applied.unwrap_or(0), status.snapshot.unwrap_or(0));
        if last.saturating_sub(covered) < self.newcomer_replays {
            return Ok(());
        }
        if self.snapshot().await.is_err() {
            return Ok(()); // what went wrong is an alarm; the log has to do
        }
        let (mut changes, until) = (self.changes(), Instant::now() + SNAPSHOT_TAKES);
        while self.status().snapshot.unwrap_or(0) < last && Instant::now() < until {
            changes.next(CATCHING_UP).await;
        }
        Ok(())
    }

    /// Stops taking part and moves everything to disk.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn stop(&self) -> io::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.snapshots.0.abort();
        self.raft.shutdown().await.map_err(io::Error::other)?;
        // A log that cannot be written shows below: the state is not written ahead of it.
        let _ = durable(|told| self.log.settled(told)).await;
        let store = self.store.clone();
        offload(move || store.close()).await?
    }
}

/// What a log must hold of a node that has taken part.
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
    // A node votes in a term before it takes an entry of that term.
    if state.vote.is_none_or(|vote| vote.term < last.term) {
        return Err(Loss::Vote {
            found: describe_vote(state.vote.as_ref()),
            known: format!("its last entry is of term {}", last.term),
        });
    }
    Ok(())
}

/// What is seen behind the log's end belongs to what is said of it.
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

/// Bytes of the newest snapshot; none, if there is no whole one.
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
