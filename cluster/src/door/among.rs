//! A door among others: what other nodes call here, what this one tells the leader, and what a leader does for all.

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

/// A node's place among others, and what it has of its machine. The default knows no others.
pub struct Among {
    /// How it stands to its group.
    pub membership: Membership,
    /// Where others call it.
    pub listener: Option<Listener>,
    /// Where others ask to be taken in.
    pub gate: Option<Arc<dyn Admits>>,
    /// Where the log lies; `None`: in the node's folder.
    pub log_files: Option<Arc<dyn Files>>,
    /// The machine's clocks.
    pub time: Arc<dyn TimeSource>,
    /// Given what this node knows by itself, long before the door is open: a door opens only once there is a leader.
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

/// What other nodes call: hardly anything before the door is open.
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
        let _ = self.inner.set(Arc::downgrade(inner)); // opened once
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
            // The other door has looked; this one answers for what it proposes.
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
    /// How far the middle of the voters' clocks is from this node's, as far as they were heard; of two, none is the middle.
    fn middle_ms(&self, voters: &[u64]) -> i64 {
        let mut offs: Vec<i64> = self.offs(voters);
        offs.push(0);
        offs.sort_unstable();
        if offs.len() < 3 {
            return 0;
        }
        offs.get(offs.len() / 2).copied().unwrap_or(0)
    }

    /// How far a node's clock is from this one's.
    fn off_ms(&self, sign: &Sign) -> i64 {
        sign.ahead_ms.saturating_sub(self.clock.offset_ms())
    }

    /// How far the clocks of other voters are from this node's.
    pub(super) fn offs(&self, voters: &[u64]) -> Vec<i64> {
        let signs = self.heard.signs();
        let others = signs
            .iter()
            .filter(|(node, _)| voters.contains(node) && **node != self.node);
        others.map(|(_, (_, sign))| self.off_ms(sign)).collect()
    }

    /// What this node has heard of all, itself among them, if it leads; else who does.
    pub(super) fn heard_here(&self) -> Result<HeardAnswer, Option<u64>> {
        let status = self.group.status();
        if !status.leads {
            return Err(status.leader);
        }
        let signs = self.heard.signs();
        let own = self.sign();
        let differing = self.compared.differing();
        // Of a node that has said nothing nothing is known, and no clock is off.
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

    /// What this node says of itself.
    fn sign(&self) -> Sign {
        let said = local::hello(&self.group);
        Sign {
            applied: said.applied,
            hash: said.hash,
            ahead_ms: self.clock.offset_ms(),
        }
    }

    /// Holds what a node says of its state against this one's; why it must stop, if it must.
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
            let _ = self.differs.set(why(own)); // the first is the reason
        }
        let theirs = off.iter().find(|off| off.node == node);
        theirs.map(why).unwrap_or_default()
    }
}

/// Tells the leader again and again that this node's session is alive, and opens another when it has ended.
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
                let _ = inner.differs.set(reason); // the first is the reason
            }
            Err(error) => {
                tracing::debug!(%error, "the leader could not be told that this node is alive")
            }
        }
    }
}

/// Opens another session in place of one that has ended, unless somebody was faster.
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

/// A command again and again until it has nothing left to do; how much it moved.
async fn in_steps(inner: &Inner, kind: &command::Kind) -> Result<u32, DoorError> {
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
    /// What the leader has heard of all nodes.
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

    /// Whether a node has been silent for too long, as far as this one can know: if it has led for long enough.
    #[must_use]
    pub fn is_silent(&self, node: u64) -> bool {
        node != self.inner.node && self.inner.heard.silent(node)
    }

    /// Lets another voter lead; returns once it is seen to.
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
            // Asked again only of another leader, or when the first asking has come to nothing.
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

    /// Ends the session of another node, so that what it holds is received elsewhere.
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

    /// How this node's state differs from the others', if it has been told so: it must not go on.
    #[must_use]
    pub fn differs(&self) -> Option<String> {
        self.inner.differs.get().cloned()
    }

    /// Returns once another node has said that this one is no longer of its cluster.
    pub async fn removed(&self) -> Removal {
        self.inner.local.removed().await
    }
}

/// Ends the sessions of nodes that the leader has not heard of for too long, so that what they held is received elsewhere.
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
        // Whoever has opened a session lately was alive then, whether or not it has said so to this leader.
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
