//! A door of a cluster member: calls from other nodes, heartbeats to the leader, and the leader's care for sessions.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use panther_proto::v1::{
    Command, EndSession, ForwardAnswer, ForwardCall, HeardAnswer, HeardNode, HelloAnswer,
    KeepAliveAnswer, KeepAliveCall, LeadAnswer, Moved, OpenSession, ReadIndexAnswer, Reply,
    command, reply,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::alive::{HeardNode as HeardOf, Sign};
use super::clock::{Stamp, SystemTimeSource, TimeSource};
use super::compare::Differs;
use super::lead::{ASK_AGAIN, HAND_OVER};
use super::local::{self, Local};
use super::route::KeptAlive;
use super::{Door, DoorError, Inner};
use crate::log::Files;
use crate::net::{Admits, Behind, Listener, Refusal, Removal};
use crate::offload::offload;
use crate::raft::{Group, GroupStatus, Membership};
use crate::state::{limits, read};

/// How a node takes part in its cluster, and what it uses of its machine. The default is a node without peers.
pub struct Among {
    /// This node's membership in its group.
    pub membership: Membership,
    /// Listener for calls from other nodes.
    pub listener: Option<Listener>,
    /// Handler of join requests.
    pub gate: Option<Arc<dyn Admits>>,
    /// Storage of the log; `None`: files in the node's folder.
    pub log_files: Option<Arc<dyn Files>>,
    /// The machine's clocks.
    pub time: Arc<dyn TimeSource>,
    /// Receives the node's local view long before the door is open: a door opens only once there is a leader.
    pub early: Option<oneshot::Sender<Local>>,
}

impl Default for Among {
    fn default() -> Self {
        Self {
            membership: Membership::default(),
            listener: None,
            gate: None,
            log_files: None,
            time: Arc::new(SystemTimeSource::default()),
            early: None,
        }
    }
}

/// Handler of calls from other nodes. Before the door is open it refuses most of them.
pub(super) struct Backstage {
    group: Group,
    inner: OnceLock<Weak<Inner>>,
}

impl Backstage {
    pub(super) fn of(group: Group) -> Self {
        Self {
            group,
            inner: OnceLock::new(),
        }
    }

    pub(super) fn open(&self, inner: &Arc<Inner>) {
        let _ = self.inner.set(Arc::downgrade(inner)); // set only once
    }

    fn inner(&self) -> Result<Arc<Inner>, Refusal> {
        let inner = self.inner.get().and_then(Weak::upgrade);
        inner.ok_or_else(|| Refusal::Unavailable("the node is not ready".to_owned()))
    }
}

impl From<DoorError> for Refusal {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Busy { .. } => Self::Busy,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl Behind for Backstage {
    async fn forward(&self, call: ForwardCall) -> Result<ForwardAnswer, Refusal> {
        let inner = self.inner()?;
        let mut admitted = Vec::with_capacity(call.commands.len());
        for command in &call.commands {
            // The sender's door has checked the limits. This door is responsible for what it proposes, so it checks
            // them too.
            limits::check(command)
                .map_err(|refused| Refusal::Unavailable(DoorError::Refused(refused).to_string()))?;
            admitted.push(inner.admission.admit(command)?);
        }
        Ok(inner.route.for_peer(&call.commands).await?)
    }

    async fn read_index(&self) -> Result<ReadIndexAnswer, Refusal> {
        Ok(self.inner()?.route.own_read_index().await?)
    }

    async fn keep_alive(&self, from: u64, call: KeepAliveCall) -> Result<KeepAliveAnswer, Refusal> {
        let inner = self.inner()?;
        let status = inner.group.status();
        if !status.leads {
            return Ok(KeepAliveAnswer {
                not_leader: Some(status.leader.unwrap_or(0)),
                ..KeepAliveAnswer::default()
            });
        }
        let (theirs, mine) = (i128::from(call.wall_ms), i128::from(inner.clock.wall_ms()));
        let off_ms = i64::try_from(theirs - mine).unwrap_or(i64::MAX);
        let ahead_ms = off_ms.saturating_add(inner.clock.offset_ms());
        let sign = Sign {
            applied: call.applied,
            hash: call.hash,
            ahead_ms,
        };
        inner.heard.from(from, sign);
        let differs = inner.compare(&status, from, call.applied, call.hash);
        let store = inner.group.store().clone();
        let sessions = offload(move || read::sessions(&store))
            .await
            .flatten()
            .map_err(DoorError::Store)?;
        let Stamp { era, time_ms } = inner.clock.stamp();
        Ok(KeepAliveAnswer {
            in_force: sessions.get(&from) == Some(&call.session),
            time_ms,
            era,
            not_leader: None,
            clock_off_ms: off_ms - inner.middle_ms(&status.voters),
            heard: inner.heard_here().unwrap_or_default().nodes,
            differs,
        })
    }

    async fn heard(&self) -> Result<HeardAnswer, Refusal> {
        let inner = self.inner()?;
        Ok(inner.heard_here().unwrap_or_else(|leader| HeardAnswer {
            not_leader: Some(leader.unwrap_or(0)),
            ..HeardAnswer::default()
        }))
    }

    async fn hello(&self, from: u64, address: String) -> Result<HelloAnswer, Refusal> {
        if let Ok(inner) = self.inner() {
            inner.local.is_reached_at(from, address);
        }
        let members = self.inner().map(|inner| inner.local.known_addresses());
        let group = self.group.clone();
        let answer = offload(move || local::hello(&group)).await;
        let answer = answer.map(|said| HelloAnswer {
            members: members.unwrap_or_default(),
            ..said
        });
        answer.map_err(|error| Refusal::Unavailable(error.to_string()))
    }

    async fn lead(&self, node: u64) -> Result<LeadAnswer, Refusal> {
        let inner = self.inner()?;
        let status = inner.group.status();
        if !status.leads {
            return Ok(LeadAnswer {
                not_leader: Some(status.leader.unwrap_or(0)),
                ..LeadAnswer::default()
            });
        }
        let asked = inner.group.hand_over(node).await;
        asked.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        Ok(LeadAnswer::default())
    }
}

impl Inner {
    /// How far the median of the voters' clocks is ahead of this node's clock, in ms, over the voters with a heartbeat.
    /// 0 with fewer than three clocks: two clocks have no median.
    fn middle_ms(&self, voters: &[u64]) -> i64 {
        let mut offs: Vec<i64> = self.offs(voters);
        offs.push(0);
        offs.sort_unstable();
        if offs.len() < 3 {
            return 0;
        }
        offs.get(offs.len() / 2).copied().unwrap_or(0)
    }

    /// How far a node's clock is ahead of this node's clock, in ms.
    fn off_ms(&self, sign: &Sign) -> i64 {
        sign.ahead_ms.saturating_sub(self.clock.offset_ms())
    }

    /// How far the clocks of the other voters are ahead of this node's clock, in ms, for each voter with a heartbeat.
    pub(super) fn offs(&self, voters: &[u64]) -> Vec<i64> {
        let signs = self.heard.signs();
        let others = signs
            .iter()
            .filter(|(node, _)| voters.contains(node) && **node != self.node);
        others.map(|(_, (_, sign))| self.off_ms(sign)).collect()
    }

    /// The leader's health data of all nodes, including itself. `Err` with the leader, if known, when this node does
    /// not lead.
    pub(super) fn heard_here(&self) -> Result<HeardAnswer, Option<u64>> {
        let status = self.group.status();
        if !status.leads {
            return Err(status.leader);
        }
        let signs = self.heard.signs();
        let own = self.sign();
        let differing = self.compared.differing();
        // A node without a heartbeat: its state is unknown, and its clock counts as correct.
        let own_clock = Sign {
            ahead_ms: own.ahead_ms,
            ..Sign::default()
        };
        let nodes = status.members.keys().map(|node| {
            let (silent, sign) = match signs.get(node) {
                _ if *node == self.node => (Some(Duration::ZERO), own),
                Some((silent, sign)) => (Some(*silent), *sign),
                None => (None, own_clock),
            };
            HeardNode {
                node: *node,
                silent_ms: silent.and_then(|silent| u64::try_from(silent.as_millis()).ok()),
                applied: sign.applied,
                hash: sign.hash,
                matched: if *node == self.node {
                    status.last_log
                } else {
                    status.matched.get(node).copied()
                },
                clock_off_ms: self.off_ms(&sign),
                differs: differing
                    .iter()
                    .find(|differs| differs.node == *node)
                    .map(|differs| differs.what.clone())
                    .unwrap_or_default(),
            }
        });
        Ok(HeardAnswer {
            nodes: nodes.collect(),
            not_leader: None,
        })
    }

    /// This node's heartbeat payload.
    fn sign(&self) -> Sign {
        let said = local::hello(&self.group);
        Sign {
            applied: said.applied,
            hash: said.hash,
            ahead_ms: self.clock.offset_ms(),
        }
    }

    /// Compares a node's state hash with this node's. Returns the reason why that node must stop; empty if it need not.
    fn compare(&self, status: &GroupStatus, node: u64, applied: u64, hash: u64) -> String {
        if let Some(own) = self.group.hashes().at(applied) {
            self.compared.note(node, applied, own, hash);
        }
        let off = self.compared.off(self.node, &status.voters);
        let why = |off: &Differs| {
            format!(
                "its state differs from that of a majority of the voters: {}",
                off.what
            )
        };
        if let Some(own) = off.iter().find(|off| off.node == self.node) {
            let _ = self.differs.set(why(own)); // keeps the first reason
        }
        let theirs = off.iter().find(|off| off.node == node);
        theirs.map(why).unwrap_or_default()
    }
}

/// The heartbeat task: reports this node's session to the leader, and opens a new session when it has ended.
pub(super) async fn stay_alive(inner: Weak<Inner>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let session = inner.session.load(Ordering::Relaxed);
        if let Ok(heard) = inner.heard_here() {
            inner.local.remember(&heard.nodes);
        }
        match inner
            .route
            .keep_alive(session, inner.sign(), &inner.local)
            .await
        {
            Ok(KeptAlive::No) => renew(&inner, session).await,
            Ok(KeptAlive::Yes) => {}
            Ok(KeptAlive::Differs(reason)) => {
                let _ = inner.differs.set(reason); // keeps the first reason
            }
            Err(error) => {
                tracing::debug!(%error, "the leader could not be told that this node is alive")
            }
        }
    }
}

/// Opens a new session in place of an ended one, unless a concurrent call has done so.
pub(super) async fn renew(inner: &Inner, ended: u64) {
    let _one_at_a_time = inner.renewing.lock().await;
    if inner.session.load(Ordering::Relaxed) != ended {
        return;
    }
    let session = rand::random::<u64>().max(1);
    let open = command::Kind::OpenSession(OpenSession {
        node: inner.node,
        session,
    });
    match in_steps(inner, &open).await {
        Ok(_) => {
            inner.session.store(session, Ordering::Relaxed);
            tracing::warn!(
                ended = format!("{ended:016x}"),
                session = format!("{session:016x}"),
                "this node was silent for too long: what it held was given back, and it goes on with a new session"
            );
        }
        Err(error) => {
            tracing::warn!(%error, "no new session could be opened; trying again");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// Repeats a command until it has nothing left to do. Returns how many messages it moved.
pub(super) async fn in_steps(inner: &Inner, kind: &command::Kind) -> Result<u32, DoorError> {
    let mut count = 0;
    loop {
        let command = Command {
            kind: Some(kind.clone()),
        };
        let Reply { kind } = inner.merger.submit(command).await?;
        match kind {
            Some(reply::Kind::Moved(Moved {
                finished,
                count: moved,
                ..
            })) => {
                count += moved;
                if finished {
                    return Ok(count);
                }
            }
            Some(other) => return Err(super::unexpected(other)),
            None => {
                return Err(DoorError::Unavailable(
                    "an answer that this build does not know".to_owned(),
                ));
            }
        }
    }
}

impl Door {
    /// The leader's health data of all nodes, by node id.
    ///
    /// # Errors
    /// No leader can be asked.
    pub async fn heard(&self) -> Result<BTreeMap<u64, HeardOf>, DoorError> {
        let answer = match self.inner.heard_here() {
            Ok(answer) => answer,
            Err(_) => self.inner.route.heard().await?,
        };
        let of = |node: HeardNode| HeardOf {
            silent: node.silent_ms.map(Duration::from_millis),
            applied: node.applied,
            hash: node.hash,
            matched: node.matched,
            clock_off_ms: node.clock_off_ms,
            differs: Some(node.differs).filter(|differs| !differs.is_empty()),
        };
        Ok(answer
            .nodes
            .into_iter()
            .map(|node| (node.node, of(node)))
            .collect())
    }

    /// True if a node exceeded the session timeout. Always false on a node that does not lead, or has not led that
    /// long.
    #[must_use]
    pub fn is_silent(&self, node: u64) -> bool {
        node != self.inner.node && self.inner.heard.silent(node)
    }

    /// Transfers leadership to another voter. Returns once that voter leads.
    ///
    /// # Errors
    /// No leader can be asked, or it still leads after some seconds.
    pub async fn let_lead(&self, node: u64) -> Result<(), DoorError> {
        let group = &self.inner.group;
        let until = Instant::now() + HAND_OVER * 2;
        let mut reason = "is it up, and has it caught up?".to_owned();
        let mut changes = group.changes();
        let mut asked = None;
        loop {
            let status = group.status();
            if status.leader == Some(node) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(DoorError::Unavailable(format!(
                    "node {node} does not lead {} s after it was asked to: {reason}",
                    (HAND_OVER * 2).as_secs()
                )));
            }
            // Ask again only if the leader has changed, or if the first request had no effect.
            let due = asked.is_none_or(|(leader, at): (Option<u64>, Instant)| {
                leader != status.leader || at.elapsed() >= ASK_AGAIN
            });
            if due && status.leader.is_some() {
                let answer = if status.leads {
                    group.hand_over(node).await.map_err(DoorError::from)
                } else {
                    self.inner.route.lead(node).await
                };
                if let Err(error) = answer {
                    reason = error.to_string();
                }
                asked = Some((status.leader, Instant::now()));
            }
            changes.next(ASK_AGAIN).await;
        }
    }

    /// Ends the session of another node, so that its messages can be received elsewhere.
    ///
    /// # Errors
    /// There is no leader, or the state cannot be read.
    pub async fn end_session_of(&self, node: u64) -> Result<(), DoorError> {
        let sessions = self.read(|store| read::sessions(store)).await?;
        if let Some(session) = sessions.get(&node) {
            let end = command::Kind::EndSession(EndSession {
                node,
                session: *session,
            });
            in_steps(&self.inner, &end).await?;
        }
        Ok(())
    }

    /// Ends the sessions of all other nodes.
    ///
    /// # Errors
    /// There is no leader, or the state cannot be read.
    pub async fn end_other_sessions(&self) -> Result<(), DoorError> {
        let sessions = self.read(|store| read::sessions(store)).await?;
        for node in sessions.into_keys().filter(|node| *node != self.node()) {
            self.end_session_of(node).await?;
        }
        Ok(())
    }

    /// How this node's state differs from the others', if it does. The node must then stop.
    #[must_use]
    pub fn differs(&self) -> Option<String> {
        self.inner.differs.get().cloned()
    }

    /// Returns once another node has reported that this node was removed from the cluster.
    pub async fn removed(&self) -> Removal {
        self.inner.local.removed().await
    }
}

/// Ends the sessions of nodes without a heartbeat for the session timeout, so that their messages are received
/// elsewhere.
pub(super) async fn end_silent_sessions(inner: &Inner) {
    let store = inner.group.store().clone();
    let sessions = match offload(move || read::open_sessions(&store)).await {
        Ok(Ok(sessions)) => sessions,
        Ok(Err(error)) => {
            tracing::warn!(%error, "sessions cannot be read");
            return;
        }
        Err(_) => return, // the node is stopping
    };
    let now = inner.clock.now_ms();
    for (node, (session, opened_ms)) in sessions {
        // A node whose session is younger than the timeout was alive then, even if this leader has had no heartbeat
        // from it.
        let young = now.saturating_sub(opened_ms) < inner.heard.silence_ms();
        if node == inner.node || young || !inner.heard.silent(node) {
            continue;
        }
        let end = command::Kind::EndSession(EndSession { node, session });
        match in_steps(inner, &end).await {
            Ok(count) => tracing::warn!(
                node,
                count,
                "a node was silent for too long: its session has ended, and what it held was given back"
            ),
            Err(error) => {
                tracing::warn!(%error, node, "a silent node's session could not be ended; trying again")
            }
        }
    }
}
