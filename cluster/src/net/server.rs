//! Handlers of other nodes' calls. The entrance has admitted the caller; each handler checks that the call is meant for this node before it acts on
//! the call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use panther_listen::PlaceHandle;
use panther_proto::trace::TRACEPARENT;
use panther_proto::v1::joining_server::{Joining, JoiningServer};
use panther_proto::v1::peers_server::{Peers as Service, PeersServer};
use panther_proto::v1::{
    AppendAnswer, AppendCall, Between, ForwardAnswer, ForwardCall, HandOverAnswer, HandOverCall,
    HeardAnswer, HeardCall, HelloAnswer, HelloCall, JoinAnswer, JoinCall, KeepAliveAnswer,
    KeepAliveCall, LeadAnswer, LeadCall, LogPosition, ReadIndexAnswer, ReadIndexCall,
    SnapshotHeldAnswer, SnapshotHeldCall, SnapshotPiece, SnapshotSentAnswer, StoredVote,
    VoteAnswer, VoteCall,
};
use tokio_stream::StreamExt;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::entrance::{CallGate, Caller, EntranceState, INVITATION_BYTES, PeerEntrance};
use super::listener::Listener;
use super::peers::{MESSAGE_BYTES, Peers};
use crate::membership::Roll;
use crate::raft::Group;

/// Why a door does not serve a peer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The call cannot be served now. The text gives the reason.
    Unavailable(String),
    /// Too many commands are waiting.
    Busy,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable(reason) => Self::unavailable(reason),
            Refusal::Busy => Self::resource_exhausted("the leader's door is full"),
        }
    }
}

/// Handler of the peer calls that are not part of Raft. All of them except [`Behind::hello`] fail until the door is open.
pub(crate) trait Behind: Send + Sync + 'static {
    /// Executes commands, if this node is the leader.
    fn forward(
        &self,
        call: ForwardCall,
    ) -> impl Future<Output = Result<ForwardAnswer, Refusal>> + Send;

    /// The read index, if this node is the leader.
    fn read_index(&self) -> impl Future<Output = Result<ReadIndexAnswer, Refusal>> + Send;

    /// Handles a heartbeat of the session of node `from`.
    fn keep_alive(
        &self,
        from: u64,
        call: KeepAliveCall,
    ) -> impl Future<Output = Result<KeepAliveAnswer, Refusal>> + Send;

    /// The leader's view of all nodes' heartbeats, if this node is the leader.
    fn heard(&self) -> impl Future<Output = Result<HeardAnswer, Refusal>> + Send;

    /// This node's own data. The caller is reachable at `address`, unless that is empty.
    fn hello(
        &self,
        from: u64,
        address: String,
    ) -> impl Future<Output = Result<HelloAnswer, Refusal>> + Send;

    /// Transfers leadership to the voter `node`, if this node is the leader.
    fn lead(&self, node: u64) -> impl Future<Output = Result<LeadAnswer, Refusal>> + Send;
}

/// Handler of machines that show an invitation.
#[tonic::async_trait]
pub trait Admits: Send + Sync + 'static {
    /// Makes the caller a node, if its secret is the secret of an open invitation.
    async fn admit(&self, call: JoinCall) -> Result<JoinAnswer, Status>;
}

/// Concurrent lookups of secrets.
const ADMISSIONS: usize = 4;
/// Delay of the answer that a secret is wrong. It slows down guessing, and does not occupy a lookup slot.
const WRONG: Duration = Duration::from_secs(1);
/// Log rate of refused invitations: each of the first 100, then one of every 100.
const SAY_EACH: u64 = 100;

struct JoiningService {
    cluster: String,
    gate: Arc<dyn Admits>,
    entrance: EntranceState,
    places: tokio::sync::Semaphore,
}

#[tonic::async_trait]
impl Joining for JoiningService {
    async fn join(&self, request: Request<JoinCall>) -> Result<Response<JoinAnswer>, Status> {
        let seat = request.extensions().get::<PlaceHandle>().cloned();
        let address = seat.as_ref().and_then(PlaceHandle::address);
        let call = request.into_inner();
        if call.cluster != self.cluster {
            return Err(Status::failed_precondition(format!(
                "this is a node of cluster {}, the invitation is one of cluster {}",
                self.cluster, call.cluster
            )));
        }
        let address = address.map_or_else(String::new, |address| address.to_string());
        // A guessing caller occupies a slot for one lookup only, so that an honest caller gets its turn.
        let place = self.places.acquire().await;
        let place = place.map_err(|_| Status::unavailable("the node is stopping"))?;
        let admitted = self.gate.admit(call).await;
        drop(place);
        if let Err(refused) = &admitted
            && refused.code() == Code::PermissionDenied
        {
            let times = self.entrance.refuse_invitation();
            if times <= SAY_EACH || times.is_multiple_of(SAY_EACH) {
                tracing::warn!(
                    address,
                    times,
                    reason = refused.message(),
                    "a machine was not admitted"
                );
            }
            if let Some(seat) = seat {
                seat.give_way();
            }
            tokio::time::sleep(WRONG).await;
        }
        Ok(Response::new(admitted?))
    }
}

struct PeerService<B> {
    gate: Arc<CallGate>,
    group: Group,
    behind: Arc<B>,
}

/// Serves peers until the future is dropped.
pub(crate) async fn serve<B: Behind>(
    listener: Listener,
    peers: Peers,
    group: Group,
    behind: Arc<B>,
    gate: Option<Arc<dyn Admits>>,
) {
    let state = peers.entrance();
    let strangers = gate.map(|gate| {
        let service = JoiningServer::new(JoiningService {
            cluster: peers.cluster().to_owned(),
            gate,
            entrance: state.clone(),
            places: tokio::sync::Semaphore::new(ADMISSIONS),
        });
        let service = service.max_decoding_message_size(INVITATION_BYTES);
        Routes::new(service).prepare().into_axum_router()
    });
    let gate = Arc::new(CallGate {
        peers,
        roll: Roll::of(group.clone()),
        group: group.clone(),
    });
    let service = PeersServer::new(PeerService {
        gate: gate.clone(),
        group,
        behind,
    })
    .max_decoding_message_size(MESSAGE_BYTES)
    .max_encoding_message_size(MESSAGE_BYTES);
    let nodes = Routes::new(service).prepare().into_axum_router();
    let entrance = PeerEntrance::new(gate, state.clone(), nodes, strangers);
    listener.serve(state.places(), Arc::new(entrance)).await;
}

impl<B: Behind> PeerService<B> {
    /// Checks that the call is from the node it names, and meant for this node, and that its `terms` are possible. Returns the caller's id.
    fn check(
        &self,
        caller: Option<Caller>,
        between: Option<&Between>,
        terms: &[u64],
    ) -> Result<u64, Status> {
        let receiver = self.gate.receiver();
        let from = receiver.caller(caller, between)?;
        receiver.terms(from, terms)?;
        Ok(from)
    }
}

/// The terms of a vote and of log positions.
fn terms<const N: usize>(
    vote: Option<&StoredVote>,
    positions: [&Option<LogPosition>; N],
) -> Vec<u64> {
    let positions = positions.into_iter().flatten().map(|at| at.term);
    vote.iter().map(|vote| vote.term).chain(positions).collect()
}

fn terms_of_append(call: &AppendCall) -> Vec<u64> {
    let mut all = terms(call.vote.as_ref(), [&call.previous, &call.committed]);
    let entries = call.entries.iter().filter_map(|entry| entry.at.as_ref());
    all.extend(entries.map(|at| at.term).max());
    all
}

/// The caller that the entrance has admitted.
fn caller<T>(request: &Request<T>) -> Option<Caller> {
    request.extensions().get::<Caller>().copied()
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl<B: Behind> Service for PeerService<B> {
    async fn append(&self, request: Request<AppendCall>) -> Result<Response<AppendAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        self.check(caller, call.between.as_ref(), &terms_of_append(&call))?;
        let answer = self.group.append(call).await.map_err(unavailable)?;
        Ok(Response::new(answer))
    }

    async fn vote(&self, request: Request<VoteCall>) -> Result<Response<VoteAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        let terms = terms(call.vote.as_ref(), [&call.last]);
        self.check(caller, call.between.as_ref(), &terms)?;
        let answer = self.group.vote(&call).await.map_err(unavailable)?;
        Ok(Response::new(answer))
    }

    async fn hand_over(
        &self,
        request: Request<HandOverCall>,
    ) -> Result<Response<HandOverAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        let terms = terms(call.vote.as_ref(), [&call.last]);
        self.check(caller, call.between.as_ref(), &terms)?;
        let refused = self.group.take_over(&call).await.map_err(unavailable)?;
        Ok(Response::new(HandOverAnswer { refused }))
    }

    async fn snapshot_held(
        &self,
        request: Request<SnapshotHeldCall>,
    ) -> Result<Response<SnapshotHeldAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        let from = self.check(caller, call.between.as_ref(), &[])?;
        let held = self
            .group
            .incoming()
            .held(from, &call.name, call.bytes)
            .await
            .map_err(unavailable)?;
        Ok(Response::new(SnapshotHeldAnswer { held }))
    }

    async fn snapshot_send(
        &self,
        request: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<SnapshotSentAnswer>, Status> {
        let caller = caller(&request);
        let mut pieces = request.into_inner();
        let first = pieces
            .next()
            .await
            .ok_or_else(|| Status::invalid_argument("a snapshot without a piece"))??;
        let terms = terms(first.vote.as_ref(), []);
        let from = self.check(caller, first.between.as_ref(), &terms)?;
        let (name, bytes) = (first.name.clone(), first.bytes);
        let vote = first
            .vote
            .ok_or_else(|| Status::invalid_argument("a snapshot without its sender's vote"))?;
        let mut incoming = self
            .group
            .incoming()
            .open(from, &name, bytes)
            .await
            .map_err(unavailable)?;
        let mut next = Some(first);
        while let Some(piece) = next {
            incoming
                .take(piece.offset, piece.data)
                .await
                .map_err(unavailable)?;
            next = pieces.next().await.transpose()?;
        }
        let file = incoming.finish().await.map_err(unavailable)?;
        let vote = self.group.install(vote, file).await.map_err(unavailable)?;
        Ok(Response::new(SnapshotSentAnswer { vote: Some(vote) }))
    }

    async fn forward(
        &self,
        request: Request<ForwardCall>,
    ) -> Result<Response<ForwardAnswer>, Status> {
        let caller = caller(&request);
        let cause = request.metadata().get(TRACEPARENT);
        let cause = cause.and_then(|cause| cause.to_str().ok()?.parse().ok());
        let call = request.into_inner();
        self.check(caller, call.between.as_ref(), &[])?;
        let span = in_trace!("forwarded", cause, commands = call.commands.len());
        let answer = self.behind.forward(call).instrument(span).await?;
        Ok(Response::new(answer))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexCall>,
    ) -> Result<Response<ReadIndexAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        self.check(caller, call.between.as_ref(), &[])?;
        Ok(Response::new(self.behind.read_index().await?))
    }

    async fn keep_alive(
        &self,
        request: Request<KeepAliveCall>,
    ) -> Result<Response<KeepAliveAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        let from = self.check(caller, call.between.as_ref(), &[])?;
        Ok(Response::new(self.behind.keep_alive(from, call).await?))
    }

    async fn heard(&self, request: Request<HeardCall>) -> Result<Response<HeardAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        self.check(caller, call.between.as_ref(), &[])?;
        Ok(Response::new(self.behind.heard().await?))
    }

    async fn lead(&self, request: Request<LeadCall>) -> Result<Response<LeadAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        self.check(caller, call.between.as_ref(), &[])?;
        Ok(Response::new(self.behind.lead(call.node).await?))
    }

    async fn hello(&self, request: Request<HelloCall>) -> Result<Response<HelloAnswer>, Status> {
        let caller = caller(&request);
        let call = request.into_inner();
        let from = self.check(caller, call.between.as_ref(), &[])?;
        Ok(Response::new(self.behind.hello(from, call.address).await?))
    }
}
