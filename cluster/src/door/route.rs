//! Routes commands and reads to this node's group member if it leads, else to the leader.
//!
//! A call that a node rejects because it does not lead goes to the next leader. A call that was sent and not answered
//! is not retried here, because it may have taken effect: only the caller knows whether it is idempotent.

use std::sync::Arc;
use std::time::Duration;

use panther_proto::trace::{TRACEPARENT, TraceContext};
use panther_proto::v1::peers_client::PeersClient;
use panther_proto::v1::{
    Between, Command, Entry, ForwardAnswer, ForwardCall, HeardAnswer, HeardCall, KeepAliveCall,
    LeadCall, ReadIndexAnswer, ReadIndexCall, Reply, command,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;
use tracing::Instrument as _;

use super::alive::Sign;
use super::clock::{ClusterClock, Stamp, Trust};
use super::local::Local;
use super::{DEADLINE, DoorError};
use crate::net::{Lane, PeerError, Peers};
use crate::raft::{Changes, Group, ProposeError};
use crate::state::Globals;

/// Longest interval between checks which node leads.
const LOOK: Duration = Duration::from_millis(100);
/// Deadline of one call to the leader.
const CALL: Duration = Duration::from_secs(8);
/// Maximum number of reads that wait for the current read-index round.
const READS: usize = 16_384;

/// Routing of commands and reads. Clones share it.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) group: Group,
    pub(super) peers: Option<Peers>,
    pub(super) clock: Arc<ClusterClock>,
}

/// The leader, as far as this node knows.
enum Leader {
    Me,
    Other(u64, String),
    Nobody,
}

/// Outcome of one attempt.
enum Attempt<T> {
    Done(T),
    /// No effect: the node that was asked does not lead.
    Elsewhere,
}

impl Route {
    fn leader(&self) -> Leader {
        let status = self.group.status();
        match status.leader {
            Some(leader) if leader == self.group.node() => Leader::Me,
            Some(leader) => match status.members.get(&leader) {
                Some(address) => Leader::Other(leader, address.clone()),
                None => Leader::Nobody,
            },
            None => Leader::Nobody,
        }
    }

    /// Waits for a change of the group's status before the caller checks again which node leads.
    ///
    /// # Errors
    /// The deadline passed, or the group has stopped on this node.
    async fn look_again(&self, changes: &mut Changes, until: Instant) -> Result<(), DoorError> {
        let status = self.group.status();
        if let Some(fault) = status.fault {
            return Err(DoorError::Unavailable(format!(
                "the group has stopped on this node: {fault}"
            )));
        }
        if Instant::now() >= until {
            return Err(DoorError::Unavailable(format!(
                "no node leads: nothing can be read or changed while fewer than a majority of the voters {:?} are up and reach each other",
                status.voters
            )));
        }
        changes.next(LOOK).await;
        Ok(())
    }

    /// Sends commands to the leader. Returns one reply for each.
    pub(super) async fn carry(&self, commands: Vec<Command>) -> Result<Vec<Reply>, DoorError> {
        let span = in_trace!("propose", cause(&commands), commands = commands.len());
        self.carry_within(commands).instrument(span).await
    }

    async fn carry_within(&self, commands: Vec<Command>) -> Result<Vec<Reply>, DoorError> {
        let until = Instant::now() + DEADLINE;
        let mut changes = self.group.changes();
        loop {
            let attempt = match self.leader() {
                Leader::Me => self.propose(&commands).await?,
                Leader::Other(node, address) => self.forward(node, &address, &commands).await?,
                Leader::Nobody => Attempt::Elsewhere,
            };
            match attempt {
                Attempt::Done(replies) if replies.len() == commands.len() => return Ok(replies),
                Attempt::Done(replies) => {
                    return Err(DoorError::Unavailable(format!(
                        "{} answers came for {} commands",
                        replies.len(),
                        commands.len()
                    )));
                }
                Attempt::Elsewhere => self.look_again(&mut changes, until).await?,
            }
        }
    }

    async fn forward(
        &self,
        node: u64,
        address: &str,
        commands: &[Command],
    ) -> Result<Attempt<Vec<Reply>>, DoorError> {
        if self.peers.is_none() {
            return Ok(Attempt::Elsewhere);
        }
        let traceparent = cause(commands).and_then(|cause| cause.to_string().parse().ok());
        let commands = commands.to_vec();
        let call = self.call_leader(node, address, |mut leader, between| async move {
            let mut call = tonic::Request::new(ForwardCall { between, commands });
            if let Some(traceparent) = traceparent {
                call.metadata_mut().insert(TRACEPARENT, traceparent);
            }
            unless_unsent(leader.forward(call)).await
        });
        let Some(answer) = self.while_it_leads(node, call).await? else {
            return Ok(Attempt::Elsewhere);
        };
        if answer.not_leader.is_none() {
            self.clock.follow_leader(Stamp {
                era: answer.era,
                time_ms: answer.time_ms,
            });
        }
        Ok(match answer.not_leader {
            Some(_) => Attempt::Elsewhere,
            None => Attempt::Done(answer.replies),
        })
    }

    /// One call of the node that leads: the connection, the deadline and the meaning of its errors. On an error it is
    /// unknown whether the call took effect.
    async fn call_leader<T, A>(
        &self,
        node: u64,
        address: &str,
        call: impl FnOnce(PeersClient<Channel>, Option<Between>) -> A,
    ) -> Result<T, DoorError>
    where
        A: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let no_way = |reason: String| DoorError::Unavailable(reason);
        let peers = self.peers.as_ref().ok_or_else(|| {
            no_way("this node has no cluster port, and calls no other node".to_owned())
        })?;
        let client = peers
            .client(Lane::Work, node, address)
            .map_err(|error| no_way(error.to_string()))?;
        let call = call(client, peers.between(node));
        match tokio::time::timeout(CALL, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => {
                peers.heed(node, &status);
                Err(if status.code() == tonic::Code::ResourceExhausted {
                    DoorError::Busy {
                        retry_after: super::admission::RETRY_AFTER,
                    }
                } else {
                    no_way(format!(
                        "the leader gave no answer: {}; the command may still take effect",
                        PeerError::call(node, status)
                    ))
                })
            }
            Err(_) => Err(DoorError::Deadline { after: CALL }),
        }
    }

    /// The answer to a call of the node that leads, unless another node takes over before the answer comes.
    async fn while_it_leads<T>(
        &self,
        node: u64,
        call: impl Future<Output = Result<T, DoorError>>,
    ) -> Result<T, DoorError> {
        tokio::select! {
            answer = call => answer,
            () = self.another_leads(node) => Err(DoorError::Unavailable(format!(
                "node {node} led and gave no answer before another did; the command may still take effect"
            ))),
        }
    }

    /// Returns once another node than `asked` leads, and after a short grace period for a late answer. A paused node
    /// would never answer.
    async fn another_leads(&self, asked: u64) {
        let mut changes = self.group.changes();
        while self
            .group
            .status()
            .leader
            .is_none_or(|leader| leader == asked)
        {
            changes.next(CALL).await;
        }
        tokio::time::sleep(LOOK).await;
    }

    /// Proposes commands as one entry on this node.
    async fn propose(&self, commands: &[Command]) -> Result<Attempt<Vec<Reply>>, DoorError> {
        let globals = self.group.hashes().globals();
        self.clock.follow(Stamp::from(&globals));
        let Stamp { era, time_ms } = self.clock.stamp();
        let entry = Entry {
            group: 1,
            format: format_of(&globals, commands),
            time_ms,
            commands: commands.to_vec(),
            era,
        };
        match self.group.propose(&entry).await {
            Ok(replies) => Ok(Attempt::Done(replies)),
            // The entry may have been appended before leadership was lost, and the next leader may keep it.
            Err(error @ ProposeError::NotLeader { .. }) => Err(DoorError::Unavailable(format!(
                "{error}; the command may still take effect"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// Executes commands that another node has forwarded, if this node leads.
    pub(super) async fn for_peer(&self, commands: &[Command]) -> Result<ForwardAnswer, DoorError> {
        let status = self.group.status();
        let Stamp { era, time_ms } = self.clock.stamp();
        let mut answer = ForwardAnswer {
            time_ms,
            era,
            ..ForwardAnswer::default()
        };
        if !status.leads {
            answer.not_leader = Some(status.leader.unwrap_or(0));
        } else if let Attempt::Done(replies) = self.propose(commands).await? {
            answer.replies = replies;
        }
        Ok(answer)
    }

    /// The read index, if this node leads.
    pub(super) async fn own_read_index(&self) -> Result<ReadIndexAnswer, DoorError> {
        match self.group.read_index().await {
            Ok(index) => Ok(ReadIndexAnswer {
                index,
                not_leader: None,
            }),
            Err(ProposeError::NotLeader { leader }) => Ok(ReadIndexAnswer {
                index: 0,
                not_leader: Some(leader.unwrap_or(0)),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns once the local state holds everything that was committed when this was called.
    pub(super) async fn caught_up(&self) -> Result<(), DoorError> {
        let until = Instant::now() + DEADLINE;
        let mut changes = self.group.changes();
        loop {
            let answer = match self.leader() {
                Leader::Me => Some(self.own_read_index().await?),
                Leader::Other(node, address) => self.ask_read_index(node, &address).await,
                Leader::Nobody => None,
            };
            match answer {
                Some(ReadIndexAnswer {
                    index,
                    not_leader: None,
                }) => return Ok(self.group.applied(index, DEADLINE).await?),
                _ => self.look_again(&mut changes, until).await?,
            }
        }
    }

    /// Asks the leader for its read index. The call is idempotent, so the caller retries on any error; the error is not
    /// returned.
    async fn ask_read_index(&self, node: u64, address: &str) -> Option<ReadIndexAnswer> {
        let call = self.call_leader(node, address, |mut leader, between| async move {
            leader.read_index(ReadIndexCall { between }).await
        });
        self.while_it_leads(node, call)
            .await
            .inspect_err(|error| tracing::debug!(%error, "no read index"))
            .ok()
    }

    /// Sends a heartbeat of a session to the leader.
    pub(super) async fn keep_alive(
        &self,
        session: u64,
        sign: Sign,
        local: &Local,
    ) -> Result<KeptAlive, DoorError> {
        let Ok((node, address)) = self.other_leader() else {
            return Ok(KeptAlive::Yes); // the leader is alive
        };
        let offset_ms = self.clock.offset_ms();
        let wall_ms = self.clock.wall_ms();
        let call = self.call_leader(node, &address, |mut leader, between| async move {
            let call = KeepAliveCall {
                between,
                session,
                wall_ms,
                applied: sign.applied,
                hash: sign.hash,
            };
            leader.keep_alive(call).await
        });
        let answer = call.await?;
        if answer.not_leader.is_some() {
            return Ok(KeptAlive::Yes); // the next heartbeat goes to the new leader
        }
        local.remember(&answer.heard);
        self.clock.follow_leader(Stamp {
            era: answer.era,
            time_ms: answer.time_ms,
        });
        self.clock
            .trust(Trust::told(answer.clock_off_ms), offset_ms);
        if !answer.differs.is_empty() {
            return Ok(KeptAlive::Differs(answer.differs));
        }
        Ok(if answer.in_force {
            KeptAlive::Yes
        } else {
            KeptAlive::No
        })
    }

    /// The leader, if it is another node that can be called.
    fn other_leader(&self) -> Result<(u64, String), DoorError> {
        match self.leader() {
            Leader::Other(node, address) if self.peers.is_some() => Ok((node, address)),
            _ => Err(DoorError::Unavailable(
                "no leader can be asked at this moment".to_owned(),
            )),
        }
    }

    /// The leader's health data of all nodes.
    pub(super) async fn heard(&self) -> Result<HeardAnswer, DoorError> {
        let (node, address) = self.other_leader()?;
        let call = self.call_leader(node, &address, |mut leader, between| async move {
            leader.heard(HeardCall { between }).await
        });
        call.await
    }

    /// Asks the leader to transfer leadership to another voter.
    pub(super) async fn lead(&self, heir: u64) -> Result<(), DoorError> {
        let (node, address) = self.other_leader()?;
        let call = self.call_leader(node, &address, |mut leader, between| async move {
            let node = heir;
            leader.lead(LeadCall { between, node }).await
        });
        let answer = call.await?;
        if answer.refused.is_empty() {
            Ok(())
        } else {
            Err(DoorError::Unavailable(answer.refused))
        }
    }
}

/// The trace and the span of the first command that has one: an entry of several commands is shown in one of their traces.
fn cause(commands: &[Command]) -> Option<TraceContext> {
    commands.iter().find_map(|command| match &command.kind {
        Some(command::Kind::Transact(transact)) => {
            TraceContext::of(&transact.trace_id, transact.span_id)
        }
        _ => None,
    })
}

/// The format of an entry: the one in force, or a newer one that its commands put in force. A node that does not know
/// the format stops at this entry.
fn format_of(globals: &Globals, commands: &[Command]) -> u32 {
    let raised = commands.iter().filter_map(|command| match &command.kind {
        Some(command::Kind::RaiseFormat(raise)) => Some(raise.format),
        _ => None,
    });
    raised.fold(globals.format.max(1), u32::max)
}

/// The leader's answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeptAlive {
    /// The session is in force.
    Yes,
    /// The session has ended.
    No,
    /// The node's state differs from that of the others, with the reason.
    Differs(String),
}

/// `None` if the call never left this node because its connection was closing. It is then safe to call again.
async fn unless_unsent<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<tonic::Response<Option<T>>, tonic::Status> {
    match call.await {
        Ok(answer) => Ok(answer.map(Some)),
        Err(status) if was_not_sent(&status) => Ok(tonic::Response::new(None)),
        Err(status) => Err(status),
    }
}

fn was_not_sent(status: &tonic::Status) -> bool {
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_canceled();
        }
        next = error.source();
    }
    false
}

/// Batches linearizable reads: all waiting reads share one read-index round, which begins after they arrived.
pub(super) struct Reads {
    waiting: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

impl Reads {
    pub(super) fn start(route: Route) -> (Self, JoinHandle<()>) {
        let (waiting, mut receiver) = mpsc::channel::<oneshot::Sender<_>>(READS);
        let task = tokio::spawn(async move {
            while let Some(first) = receiver.recv().await {
                let mut round = vec![first];
                while let Ok(more) = receiver.try_recv() {
                    round.push(more);
                }
                let result = route.caught_up().await.map_err(|error| error.to_string());
                for caller in round {
                    let _ = caller.send(result.clone()); // the caller may have stopped waiting
                }
            }
        });
        (Self { waiting }, task)
    }

    pub(super) async fn caught_up(&self) -> Result<(), DoorError> {
        let stopped = || DoorError::Unavailable("the node is stopping".to_owned());
        let (sender, receiver) = oneshot::channel();
        self.waiting.send(sender).await.map_err(|_| stopped())?;
        receiver
            .await
            .map_err(|_| stopped())?
            .map_err(DoorError::Unavailable)
    }
}
