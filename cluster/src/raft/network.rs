//! openraft's network interface over [`crate::net`]. A group of one node has no connections, and each call then returns an error.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::alias::{SnapshotOf, VoteOf, WatchReceiverOf};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::metrics::RaftServerMetrics;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode, RPCTypes};
use panther_proto::v1::{SnapshotHeldCall, SnapshotPiece};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::types::{self, Types};
use super::wire;
use crate::net::{Lane, PeerError, Peers};
use crate::offload::offload;
use crate::storage::SnapshotFile;

/// Size of one piece of a snapshot, in bytes.
const PIECE: usize = 1 << 20;
/// Deadline of the call that asks how many bytes of the snapshot the receiver holds.
const PIECE_TIME: Duration = Duration::from_secs(60);

/// openraft's metrics with the current members. Set once openraft has started.
pub(crate) type KnownMembers = Arc<OnceLock<WatchReceiverOf<Types, RaftServerMetrics<Types>>>>;

/// Creates the connections to other nodes.
pub(crate) struct Network {
    pub(crate) node: u64,
    pub(crate) peers: Option<Peers>,
    pub(crate) members: KnownMembers,
}

/// The connection to one node.
pub(crate) struct Way {
    node: u64,
    target: u64,
    /// Address of the node when the connection was created.
    address: String,
    peers: Option<Peers>,
    members: KnownMembers,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Way {
        Way {
            node: self.node,
            target,
            address: node.addr.clone(),
            peers: self.peers.clone(),
            members: self.members.clone(),
        }
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn network(error: &(impl std::error::Error + 'static)) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(error))
}

impl Way {
    /// Current address of the node. openraft keeps a connection for as long as the node is a member, but a member's address can change.
    fn address(&self) -> String {
        let known = self.members.get().and_then(|members| {
            let members = members.borrow_watched();
            let mut nodes = members.membership_config.nodes();
            nodes.find_map(|(node, at)| (*node == self.target).then(|| at.addr.clone()))
        });
        known.unwrap_or_else(|| self.address.clone())
    }

    fn peers(&self) -> Result<&Peers, RPCError<Types>> {
        self.peers.as_ref().ok_or_else(|| {
            unreachable(&AnyError::error(
                "this node listens to no others, so it has no way to them",
            ))
        })
    }

    /// Runs one call within openraft's deadline for it. Records the result for error texts, and notes if the receiver answers that this node was
    /// removed.
    async fn within<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RPCError<Types>> {
        let time = option.hard_ttl();
        let answer = tokio::time::timeout(time, call).await;
        if let (Some(peers), Ok(answer)) = (&self.peers, &answer) {
            peers.note(self.target, answer.as_ref().err());
        }
        if let (Ok(Err(status)), Some(peers)) = (&answer, &self.peers) {
            peers.heed(self.target, status);
        }
        match answer {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if status.code() == tonic::Code::Unavailable => {
                Err(unreachable(&PeerError::call(self.target, status)))
            }
            Ok(Err(status)) => Err(network(&PeerError::call(self.target, status))),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.node,
                target: self.target,
                timeout: time,
            })),
        }
    }

    async fn ask_for_vote(
        &self,
        request: &VoteRequest<Types>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let peers = self.peers()?;
        let call = wire::vote_call(request, pre_vote, peers.between(self.target));
        let mut client = peers
            .client(Lane::Raft, self.target, &self.address())
            .map_err(|error| unreachable(&error))?;
        let answer = self
            .within(RPCTypes::Vote, option, client.vote(call))
            .await?;
        wire::vote_response(&answer).map_err(|error| network(&error))
    }

    async fn send_snapshot(
        &self,
        vote: &VoteOf<Types>,
        file: &SnapshotFile,
    ) -> Result<SnapshotResponse<Types>, RPCError<Types>> {
        let peers = self.peers()?;
        let mut client = peers
            .client(Lane::Snapshots, self.target, &self.address())
            .map_err(|error| unreachable(&error))?;
        let (name, bytes) = named(file).await.map_err(|error| network(&error))?;
        let between = peers.between(self.target);
        let held = SnapshotHeldCall {
            between: between.clone(),
            name: name.clone(),
            bytes,
        };
        let held = tokio::time::timeout(PIECE_TIME, client.snapshot_held(held))
            .await
            .map_err(|_| late())?
            .map_err(|status| network(&PeerError::call(self.target, status)))?
            .into_inner()
            .held;
        // The last byte is always sent, because its arrival starts the installation.
        let from = held.min(bytes.saturating_sub(1));
        let (pieces, stream) = mpsc::channel(2);
        let path = file.path.clone();
        let template = SnapshotPiece {
            between,
            name,
            bytes,
            vote: Some(types::stored_vote(vote)),
            ..SnapshotPiece::default()
        };
        // The reading ends at the end of the file, or when the receiver is gone.
        let reading = read_pieces(path, from, template, pieces);
        let sending = client.snapshot_send(ReceiverStream::new(stream));
        let (read, sent) = tokio::join!(reading, sending);
        read.map_err(|error| network(&error))?;
        let answer = sent
            .map_err(|status| network(&PeerError::call(self.target, status)))?
            .into_inner();
        let vote = answer
            .vote
            .ok_or_else(|| network(&AnyError::error("a snapshot's answer without a vote")))?;
        Ok(SnapshotResponse::new(types::vote(&vote)))
    }
}

fn late() -> RPCError<Types> {
    network(&AnyError::error(format!("no answer within {PIECE_TIME:?}")))
}

async fn named(file: &SnapshotFile) -> io::Result<(String, u64)> {
    let path = file.path.clone();
    let bytes = offload(move || std::fs::metadata(path)).await??.len();
    let name = file.path.file_name().unwrap_or_default();
    Ok((name.to_string_lossy().into_owned(), bytes))
}

async fn read_pieces(
    path: PathBuf,
    from: u64,
    template: SnapshotPiece,
    pieces: mpsc::Sender<SnapshotPiece>,
) -> io::Result<()> {
    let mut file = offload(move || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        io::Result::Ok(file)
    })
    .await??;
    let mut offset = from;
    while offset < template.bytes {
        let length = (PIECE as u64).min(template.bytes - offset);
        let mut data = vec![0; usize::try_from(length).unwrap_or(PIECE)];
        (file, data) = offload(move || {
            file.read_exact(&mut data)?;
            io::Result::Ok((file, data))
        })
        .await??;
        let piece = SnapshotPiece {
            offset,
            data: data.into(),
            ..template.clone()
        };
        if pieces.send(piece).await.is_err() {
            return Ok(()); // the call to the receiver returns the reason
        }
        offset += length;
    }
    Ok(())
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let peers = self.peers()?;
        let call = wire::append_call(rpc, peers.between(self.target));
        let mut client = peers
            .client(Lane::Raft, self.target, &self.address())
            .map_err(|error| unreachable(&error))?;
        let answer = self
            .within(RPCTypes::AppendEntries, &option, client.append(call))
            .await?;
        wire::append_response(&answer).map_err(|error| network(&error))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(&rpc, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(&rpc, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            sent = self.send_snapshot(&vote, &snapshot.snapshot) => sent.map_err(|error| match error {
                RPCError::Timeout(timeout) => StreamingError::Timeout(timeout),
                RPCError::Unreachable(unreachable) => StreamingError::Unreachable(unreachable),
                other => StreamingError::Network(NetworkError::new(&other)),
            }),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let peers = self.peers()?;
        let call = wire::hand_over_call(&req, peers.between(self.target));
        let mut client = peers
            .client(Lane::Raft, self.target, &self.address())
            .map_err(|error| unreachable(&error))?;
        let answer = self
            .within(RPCTypes::TransferLeader, &option, client.hand_over(call))
            .await?;
        if answer.refused.is_empty() {
            Ok(Ok(()))
        } else {
            Err(network(&AnyError::error(answer.refused)))
        }
    }
}
