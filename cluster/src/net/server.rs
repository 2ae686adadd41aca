//! What other nodes call here. The entrance has let the caller in; each call is checked for whom it is meant before anything of it counts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use panther_listen::PlaceHandle;
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

use super::entrance::{CallGate, Caller, EntranceState, INVITATION_BYTES, PeerEntrance};
use super::listener::Listener;
use super::peers::{MESSAGE_BYTES, Peers};
use crate::membership::Roll;
use crate::raft::Group;

/// Why a door does not serve a peer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not now.
    Unavailable(String),
    /// Too much waits already.
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

/// What stands behind the server besides Raft: the door, once it is open.
pub(crate) trait Behind: Send + Sync + 'static {
    /// Carries out commands, if this node leads.
    fn forward(
        &self,
        call: ForwardCall,
    ) -> impl Future<Output = Result<ForwardAnswer, Refusal>> + Send;

    /// The read index, if this node leads.
    fn read_index(&self) -> impl Future<Output = Result<ReadIndexAnswer, Refusal>> + Send;

    /// A node's session is alive.
    fn keep_alive(
        &self,
        from: u64,
        call: KeepAliveCall,
    ) -> impl Future<Output = Result<KeepAliveAnswer, Refusal>> + Send;

    /// What was heard of all nodes, if this node leads.
    fn heard(&self) -> impl Future<Output = Result<HeardAnswer, Refusal>> + Send;

    /// What this node knows of itself. The caller is reached at `address`, if it says so.
    fn hello(
        &self,
        from: u64,
        address: String,
    ) -> impl Future<Output = Result<HelloAnswer, Refusal>> + Send;

    /// Lets another voter lead, if this node does.
    fn lead(&self, node: u64) -> impl Future<Output = Result<LeadAnswer, Refusal>> + Send;
}

/// Takes in machines that show an invitation.
#[tonic::async_trait]
pub trait Admits: Send + Sync + 'static {
    /// Makes the caller a node, if its secret is that of an open invitation.
    async fn admit(&self, call: JoinCall) -> Result<JoinAnswer, Status>;
}

/// Secrets that are looked up at one time.
const ADMISSIONS: usize = 4;
/// How long a machine waits for the answer that its secret is wrong: guesses are slow, and cost no place of those that are looked up meanwhile.
const WRONG: Duration = Duration::from_secs(1);
/// Refused invitations are logged: each of the first ones, then one of so many.
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
        // A caller that guesses holds its place for one lookup only, so an honest one comes to its turn.
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
    /// The caller, once it is proved that the call is its own and meant for this node. `terms` are those that the call names.
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

/// The terms of a vote and of positions in the log.
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

/// The node that the entrance has let in.
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
        let call = request.into_inner();
        self.check(caller, call.between.as_ref(), &[])?;
        Ok(Response::new(self.behind.forward(call).await?))
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
