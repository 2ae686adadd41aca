//! Where commands and reads go: to this node's own part in the group if it leads, else to the node that does.
//!
//! What a leader says it did not do goes to the next one. What was sent and not answered is never sent again here, since it
//! may have taken effect: only the caller knows whether a second time does harm.

use std::sync::Arc;
use std::time::Duration;

use panther_proto::v1::{
    Command, Entry, ForwardAnswer, ForwardCall, HeardAnswer, HeardCall, KeepAliveCall, LeadCall,
    ReadIndexAnswer, ReadIndexCall, Reply, command,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::alive::Sign;
use super::clock::{ClusterClock, Stamp, Trust};
use super::local::Local;
use super::{DEADLINE, DoorError};
use crate::net::{Lane, PeerError, Peers};
use crate::raft::{Changes, Group, ProposeError};
use crate::state::{Globals, read};

/// How long is waited for a change before it is looked again who leads.
const LOOK: Duration = Duration::from_millis(100);
/// How long one call of the leader may take.
const CALL: Duration = Duration::from_secs(8);
/// Reads that may wait for the round that is under way.
const READS: usize = 16_384;

/// The way of commands and reads; clones share it.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) group: Group,
    pub(super) peers: Option<Peers>,
    pub(super) clock: Arc<ClusterClock>,
}

/// Who leads, as far as this node knows.
enum Leader {
    Me,
    Other(u64, String),
    Nobody,
}

/// What one attempt came to.
enum Attempt<T> {
    Done(T),
    /// Nothing was done: the one that was asked does not lead.
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

    /// Waits for a change before it is looked again who leads.
    ///
    /// # Errors
    /// It has taken too long, or this node takes no part any more.
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

    /// Carries commands to the leader; one reply for each.
    pub(super) async fn carry(&self, commands: Vec<Command>) -> Result<Vec<Reply>, DoorError> {
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
        let Some(peers) = &self.peers else {
            return Ok(Attempt::Elsewhere);
        };
        let call = ForwardCall {
            between: peers.between(node),
            commands: commands.to_vec(),
        };
        let mut client = peers.client(Lane::Work, node, address).map_err(no_way)?;
        let answer: Option<ForwardAnswer> = tokio::select! {
            answer = answered(node, unless_unsent(client.forward(call))) => answer?,
            () = self.another_leads(node) => return Err(DoorError::Unavailable(format!(
                "node {node} led and gave no answer before another did; the command may still take effect"
            ))),
        };
        let Some(answer) = answer else {
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

    /// Returns once another node leads than the one that was asked, and that one has had a moment more to answer: it may be held still, and would
    /// be waited for in vain.
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

    /// Proposes commands as one entry here.
    async fn propose(&self, commands: &[Command]) -> Result<Attempt<Vec<Reply>>, DoorError> {
        let globals = read::globals(self.group.store())?;
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
            // It may have been appended before the leadership was lost, and the next leader may keep it.
            Err(error @ ProposeError::NotLeader { .. }) => Err(DoorError::Unavailable(format!(
                "{error}; the command may still take effect"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// What a peer forwards: done only if this node leads now.
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

    /// Returns once the state here holds what was committed when this was called.
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

    /// The read index of the node that leads; a question does no harm twice, so why there is no answer does not matter.
    async fn ask_read_index(&self, node: u64, address: &str) -> Option<ReadIndexAnswer> {
        let peers = self.peers.as_ref()?;
        let call = ReadIndexCall {
            between: peers.between(node),
        };
        let mut client = peers.client(Lane::Work, node, address).ok()?;
        let answer = tokio::select! {
            answer = answered(node, client.read_index(call)) => answer,
            () = self.another_leads(node) => return None,
        };
        answer
            .inspect_err(|error| tracing::debug!(%error, "no read index"))
            .ok()
    }

    /// Tells the leader that a session is alive.
    pub(super) async fn keep_alive(
        &self,
        session: u64,
        sign: Sign,
        local: &Local,
    ) -> Result<KeptAlive, DoorError> {
        let (Leader::Other(node, address), Some(peers)) = (self.leader(), &self.peers) else {
            return Ok(KeptAlive::Yes); // who leads is alive
        };
        let offset_ms = self.clock.offset_ms();
        let call = KeepAliveCall {
            between: peers.between(node),
            session,
            wall_ms: self.clock.wall_ms(),
            applied: sign.applied,
            hash: sign.hash,
        };
        let mut client = peers.client(Lane::Work, node, &address).map_err(no_way)?;
        let answer = tokio::time::timeout(CALL, client.keep_alive(call)).await;
        if let Ok(Err(status)) = &answer {
            peers.heed(node, status);
        }
        let answer = match answer {
            Ok(answer) => answered(node, async { answer }).await?,
            Err(_) => return Err(DoorError::Deadline { after: CALL }),
        };
        if answer.not_leader.is_some() {
            return Ok(KeptAlive::Yes); // the next time, of whoever leads then
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

    /// The leader, as one that can be called.
    fn other_leader(&self) -> Result<(u64, String, &Peers), DoorError> {
        match (self.leader(), &self.peers) {
            (Leader::Other(node, address), Some(peers)) => Ok((node, address, peers)),
            _ => Err(DoorError::Unavailable(
                "no leader can be asked at this moment".to_owned(),
            )),
        }
    }

    /// What the leader has heard of all nodes.
    pub(super) async fn heard(&self) -> Result<HeardAnswer, DoorError> {
        let (node, address, peers) = self.other_leader()?;
        let call = HeardCall {
            between: peers.between(node),
        };
        let mut client = peers.client(Lane::Work, node, &address).map_err(no_way)?;
        answered(node, client.heard(call)).await
    }

    /// Asks the leader to let another voter lead.
    pub(super) async fn lead(&self, heir: u64) -> Result<(), DoorError> {
        let (node, address, peers) = self.other_leader()?;
        let call = LeadCall {
            between: peers.between(node),
            node: heir,
        };
        let mut client = peers.client(Lane::Work, node, &address).map_err(no_way)?;
        let answer = answered(node, client.lead(call)).await?;
        if answer.refused.is_empty() {
            Ok(())
        } else {
            Err(DoorError::Unavailable(answer.refused))
        }
    }
}

/// The format in force, or the one that the commands put in force: nodes that do not know it stop at this entry.
fn format_of(globals: &Globals, commands: &[Command]) -> u32 {
    let raised = commands.iter().filter_map(|command| match &command.kind {
        Some(command::Kind::RaiseFormat(raise)) => Some(raise.format),
        _ => None,
    });
    raised.fold(globals.format.max(1), u32::max)
}

/// What a leader says of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeptAlive {
    /// It is in force.
    Yes,
    /// It has ended.
    No,
    /// Its node's state is another than the others'.
    Differs(String),
}

fn no_way(error: PeerError) -> DoorError {
    DoorError::Unavailable(error.to_string())
}

/// Nothing, if the call never left this node: its connection was closing. It does no harm to call again then.
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

/// The answer of one call, or that it is not known whether it took effect.
async fn answered<T>(
    node: u64,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, DoorError> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if status.code() == tonic::Code::ResourceExhausted => {
            Err(DoorError::Busy {
                retry_after: super::admission::RETRY_AFTER,
            })
        }
        Ok(Err(status)) => Err(DoorError::Unavailable(format!(
            "the leader gave no answer: {}; the command may still take effect",
            PeerError::call(node, status)
        ))),
        Err(_) => Err(DoorError::Deadline { after: CALL }),
    }
}

/// Reads that wait share one question to the group: each begins after all of them came.
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
                    let _ = caller.send(result.clone()); // a caller may have given up waiting
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
