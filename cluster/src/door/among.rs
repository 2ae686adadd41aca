//! A door among others: what other nodes call here, what this one tells the leader, and what a leader does for all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use panther_proto::v1::{
    Command, EndSession, ForwardAnswer, ForwardCall, KeepAliveAnswer, KeepAliveCall, Moved,
    OpenSession, ReadIndexAnswer, Reply, command, reply,
};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{DoorError, Inner};
use crate::net::{Behind, Refusal};
use crate::raft::Membership;
use crate::state::{limits, read};

/// How long a leader that stops waits for another to lead.
const HAND_OVER: Duration = Duration::from_secs(2);

/// A node's place among others. The default knows none.
#[derive(Default)]
pub struct Among {
    /// How it stands to its group.
    pub membership: Membership,
    /// Where others call it.
    pub listener: Option<TcpListener>,
}

/// What other nodes call: nothing before the door is open.
#[derive(Default)]
pub(super) struct Backstage {
    inner: OnceLock<Weak<Inner>>,
}

impl Backstage {
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
        inner.heard.from(from);
        let store = inner.group.store().clone();
        let sessions = tokio::task::spawn_blocking(move || read::sessions(&store))
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(DoorError::Store)?;
        Ok(KeepAliveAnswer {
            in_force: sessions.get(&from) == Some(&call.session),
            time_ms: inner.clock.now_ms(),
            not_leader: None,
        })
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
        match inner.route.keep_alive(session, inner.clock.wall_ms()).await {
            Ok(Some(answer)) if !answer.in_force => {
                tracing::warn!(
                    session = format!("{session:016x}"),
                    "this node was silent for too long: its session has ended, and what it held was given back"
                );
                renew(&inner).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the leader could not be told that this node is alive")
            }
        }
    }
}

async fn renew(inner: &Inner) {
    let session = rand::random::<u64>().max(1);
    let open = command::Kind::OpenSession(OpenSession {
        node: inner.node,
        session,
    });
    match in_steps(inner, &open).await {
        Ok(_) => inner.session.store(session, Ordering::Relaxed),
        Err(error) => tracing::warn!(%error, "no new session could be opened; trying again"),
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

/// Ends the sessions of nodes that the leader has not heard of for too long, so that what they held is received elsewhere.
pub(super) async fn end_silent_sessions(inner: &Inner) {
    let store = inner.group.store().clone();
    let sessions = match tokio::task::spawn_blocking(move || read::sessions(&store)).await {
        Ok(Ok(sessions)) => sessions,
        Ok(Err(error)) => {
            tracing::warn!(%error, "sessions cannot be read");
            return;
        }
        Err(_) => return, // the node is stopping
    };
    for (node, session) in sessions {
        if node == inner.node || !inner.heard.silent(node) {
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

/// A leader that stops lets another voter lead first, so that nobody has to wait for an election.
pub(super) async fn hand_over(inner: &Inner) {
    let until = Instant::now() + HAND_OVER;
    let status = inner.group.status();
    let others = status.voters.iter().filter(|voter| **voter != inner.node);
    for to in others.cycle() {
        let status = inner.group.status();
        if !status.leads || Instant::now() >= until {
            return;
        }
        if let Err(error) = inner.group.hand_over(*to).await {
            tracing::warn!(%error, "the lead could not be handed over; the others elect");
            return;
        }
        inner.group.changed(Duration::from_millis(500)).await;
    }
}
