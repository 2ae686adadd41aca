//! What other nodes call here. Every call is checked for whom it is meant before anything of it counts.

use std::future::Future;
use std::sync::Arc;

use panther_proto::v1::joining_server::{Joining, JoiningServer};
use panther_proto::v1::peers_server::{Peers as Service, PeersServer};
use panther_proto::v1::{
    AppendAnswer, AppendCall, Between, ForwardAnswer, ForwardCall, HandOverAnswer, HandOverCall,
    HeardAnswer, HeardCall, JoinAnswer, JoinCall, KeepAliveAnswer, KeepAliveCall, LeadAnswer,
    LeadCall, ReadIndexAnswer, ReadIndexCall, SnapshotHeldAnswer, SnapshotHeldCall, SnapshotPiece,
    SnapshotSentAnswer, VoteAnswer, VoteCall,
};
use rustls_pki_types::CertificateDer;
use tokio_stream::StreamExt;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::certificates::is_of;
use super::listener::Listener;
use super::peers::{GROUP, MESSAGE_BYTES, Peers};
use crate::raft::Group;

/// Why a door does not serve a peer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not now.
    Unavailable(String),
    /// Too much waits already.
    Busy,
    /// The caller is none of the cluster's nodes.
    NotOurs(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable(reason) => Self::unavailable(reason),
            Refusal::NotOurs(reason) => Self::permission_denied(reason),
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

    /// Lets another voter lead, if this node does.
    fn lead(&self, node: u64) -> impl Future<Output = Result<LeadAnswer, Refusal>> + Send;
}

/// Takes in machines that show an invitation.
#[tonic::async_trait]
pub trait Admits: Send + Sync + 'static {
    /// Makes the caller a node, if its secret is that of an open invitation.
    async fn admit(&self, call: JoinCall) -> Result<JoinAnswer, Status>;
}

/// Secrets that are shown at one time: whoever guesses is not let guess fast.
const ADMISSIONS: usize = 4;

struct JoiningService {
    cluster: String,
    gate: Arc<dyn Admits>,
    places: tokio::sync::Semaphore,
}

#[tonic::async_trait]
impl Joining for JoiningService {
    async fn join(&self, request: Request<JoinCall>) -> Result<Response<JoinAnswer>, Status> {
        let call = request.into_inner();
        if call.cluster != self.cluster {
            return Err(Status::failed_precondition(format!(
                "this is a node of cluster {}, the invitation is one of cluster {}",
                self.cluster, call.cluster
            )));
        }
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("others join at this moment; try again"))?;
        Ok(Response::new(self.gate.admit(call).await?))
    }
}

struct PeerService<B> {
    peers: Peers,
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
    let tls = peers.certificates().called();
    let joining = gate.map(|gate| {
        JoiningServer::new(JoiningService {
            cluster: peers.certificates().cluster().to_owned(),
            gate,
            places: tokio::sync::Semaphore::new(ADMISSIONS),
        })
    });
    let service = PeersServer::new(PeerService {
        peers,
        group,
        behind,
    })
    .max_decoding_message_size(MESSAGE_BYTES)
    .max_encoding_message_size(MESSAGE_BYTES);
    let builder = match Server::builder().tls_config(tls) {
        Ok(builder) => builder,
        Err(error) => {
            tracing::error!(%error, "this node's certificate cannot be used: other nodes cannot call it");
            return;
        }
    };
    let router = builder
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(service)
        .add_optional_service(joining);
    if let Err(error) = listener.serve(router).await {
        tracing::error!(%error, "other nodes can no longer call this one");
    }
}

impl<B> PeerService<B> {
    /// The caller, once it is proved that the call is its own and meant for this node.
    fn check(&self, caller: &Caller, between: Option<&Between>) -> Result<u64, Status> {
        let between =
            between.ok_or_else(|| Status::invalid_argument("the call does not say whose it is"))?;
        let (me, cluster) = (self.group.node(), self.peers.certificates().cluster());
        if between.cluster != cluster || between.group != GROUP {
            return Err(Status::failed_precondition(format!(
                "node {} belongs to cluster {}, group {}; this is node {me} of cluster {cluster}: one of the two has a wrong address for the other",
                between.from, between.cluster, between.group
            )));
        }
        if between.to != me {
            return Err(Status::failed_precondition(format!(
                "node {} calls node {}; this is node {me}: the address belongs to another node by now",
                between.from, between.to
            )));
        }
        let proved = caller
            .iter()
            .flat_map(|certificates| certificates.first())
            .any(|certificate| is_of(certificate, cluster, between.from));
        if !proved {
            return Err(Status::permission_denied(format!(
                "the caller says that it is node {}, and its certificate says something else",
                between.from
            )));
        }
        Ok(between.from)
    }
}

/// The certificates that a caller has shown; the authority's signature on them was checked when it connected.
type Caller = Option<Arc<Vec<CertificateDer<'static>>>>;

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl<B: Behind> Service for PeerService<B> {
    async fn append(&self, request: Request<AppendCall>) -> Result<Response<AppendAnswer>, Status> {
        let caller = request.peer_certs();
        let call = request.into_inner();
        self.check(&caller, call.between.as_ref())?;
        let answer = self.group.append(call).await.map_err(unavailable)?;
        Ok(Response::new(answer))
    }

    async fn vote(&self, request: Request<VoteCall>) -> Result<Response<VoteAnswer>, Status> {
        let caller = request.peer_certs();
        let call = request.into_inner();
        self.check(&caller, call.between.as_ref())?;
        let answer = self.group.vote(&call).await.map_err(unavailable)?;
        Ok(Response::new(answer))
    }

    async fn hand_over(
        &self,
        request: Request<HandOverCall>,
    ) -> Result<Response<HandOverAnswer>, Status> {
        let caller = request.peer_certs();
        let call = request.into_inner();
        self.check(&caller, call.between.as_ref())?;
        let refused = self.group.take_over(&call).await.map_err(unavailable)?;
        Ok(Response::new(HandOverAnswer { refused }))
    }

    async fn snapshot_held(
        &self,
        request: Request<SnapshotHeldCall>,
    ) -> Result<Response<SnapshotHeldAnswer>, Status> {
        let caller = request.peer_certs();
        let call = request.into_inner();
        let from = self.check(&caller, call.between.as_ref())?;
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
        let caller = request.peer_certs();
        let mut pieces = request.into_inner();
        let first = pieces
            .next()
            .await
            .ok_or_else(|| Status::invalid_argument("a snapshot without a piece"))??;
        let from = self.check(&caller, first.between.as_ref())?;
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
        let caller = request.peer_certs();
        let call = request.into_inner();
        self.check(&caller, call.between.as_ref())?;
        Ok(Response::new(self.behind.forward(call).await?))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexCall>,
    ) -> Result<Response<ReadIndexAnswer>, Status> {
        let caller = request.peer_certs();
        self.check(&caller, request.into_inner().between.as_ref())?;
        Ok(Response::new(self.behind.read_index().await?))
    }

    async fn keep_alive(
        &self,
        request: Request<KeepAliveCall>,
    ) -> Result<Response<KeepAliveAnswer>, Status> {
        let caller = request.peer_certs();
        let call = request.into_inner();
        let from = self.check(&caller, call.between.as_ref())?;
        Ok(Response::new(self.behind.keep_alive(from, call).await?))
    }

    async fn heard(&self, request: Request<HeardCall>) -> Result<Response<HeardAnswer>, Status> {
        let caller = request.peer_certs();
        self.check(&caller, request.into_inner().between.as_ref())?;
        Ok(Response::new(self.behind.heard().await?))
    }

    async fn lead(&self, request: Request<LeadCall>) -> Result<Response<LeadAnswer>, Status> {
        let caller = request.peer_certs();
        let call = request.into_inner();
        self.check(&caller, call.between.as_ref())?;
        Ok(Response::new(self.behind.lead(call.node).await?))
    }
}
