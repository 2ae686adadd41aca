//! The types for openraft, and their encoding in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::alias::{EntryOf, LogIdOf, StoredMembershipOf, VoteOf};
use openraft::vote::RaftLeaderId;
use openraft::{BasicNode, EntryPayload};
use panther_proto::v1::{self, LogPosition, NodeAddress, Reply, StoredVote, VoterSet};
use prost::Message;

openraft::declare_raft_types!(
    /// Type configuration of openraft: it replicates encoded entries of commands. Each command has one reply.
    pub(crate) Types:
        D = Proposal,
        R = Replies,
        NodeId = u64,
        Node = BasicNode,
);

/// An encoded [`v1::Entry`]. The leader encodes it once; logs and peers get the same bytes.
#[derive(Clone)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of commands", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The replies of an entry, one per command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replies(pub(crate) Vec<Reply>);

pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type RaftEntry = EntryOf<Types>;
pub(crate) type RaftVoteType = VoteOf<Types>;
pub(crate) type StoredMembership = StoredMembershipOf<Types>;
type CommittedLeader = openraft::alias::CommittedLeaderIdOf<Types>;

const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

pub(crate) fn position(id: &LogId) -> LogPosition {
    let leader = id.committed_leader_id();
    LogPosition {
        term: leader.term,
        node: leader.node_id,
        index: id.index(),
    }
}

pub(crate) fn log_id(at: &LogPosition) -> LogId {
    LogId::new(CommittedLeader::new(at.term, at.node), at.index)
}

pub(crate) fn stored_vote(vote: &RaftVoteType) -> StoredVote {
    let leader = vote.leader_id();
    StoredVote {
        term: leader.term(),
        node: *leader.node_id(),
        committed: vote.is_committed(),
    }
}

pub(crate) fn vote(stored: &StoredVote) -> RaftVoteType {
    if stored.committed {
        RaftVoteType::new_committed(stored.term, stored.node)
    } else {
        RaftVoteType::new(stored.term, stored.node)
    }
}

pub(crate) fn membership(stored: Option<&v1::Membership>) -> io::Result<StoredMembership> {
    let Some(stored) = stored else {
        return Ok(StoredMembership::default());
    };
    Ok(StoredMembership::new(
        stored.at.as_ref().map(log_id),
        plain_membership(stored)?,
    ))
}

fn plain_membership(stored: &v1::Membership) -> io::Result<openraft::Membership<u64, BasicNode>> {
    let configs: Vec<BTreeSet<u64>> = stored
        .configs
        .iter()
        .map(|config| config.ids.iter().copied().collect())
        .collect();
    let nodes: BTreeMap<u64, BasicNode> = stored
        .nodes
        .iter()
        .map(|(id, node)| (*id, BasicNode::new(&node.address)))
        .collect();
    openraft::Membership::new(configs, nodes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a stored membership makes no sense: {error}"),
        )
    })
}

pub(crate) fn proto_membership(
    at: Option<LogPosition>,
    membership: &openraft::Membership<u64, BasicNode>,
) -> v1::Membership {
    v1::Membership {
        at,
        configs: membership
            .get_joint_config()
            .iter()
            .map(|config| VoterSet {
                ids: config.iter().copied().collect(),
            })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| {
                (
                    *id,
                    NodeAddress {
                        address: node.addr.clone(),
                    },
                )
            })
            .collect(),
    }
}

pub(crate) fn encode_payload(payload: &EntryPayload<Proposal, u64, BasicNode>) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::from_static(&[BLANK]),
        EntryPayload::Normal(proposal) => {
            let mut out = BytesMut::with_capacity(proposal.0.len() + 1);
            out.put_u8(COMMANDS);
            out.put_slice(&proposal.0);
            out.freeze()
        }
        EntryPayload::Membership(membership) => {
            let mut out = vec![MEMBERSHIP];
            out.extend(proto_membership(None, membership).encode_to_vec());
            out.into()
        }
    }
}

pub(crate) fn decode_entry(at: &LogPosition, bytes: &Bytes) -> io::Result<RaftEntry> {
    let bad = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("log entry {} {what}", at.index),
        )
    };
    let payload = match bytes.first() {
        Some(&BLANK) => EntryPayload::Blank,
        Some(&COMMANDS) => EntryPayload::Normal(Proposal(bytes.slice(1..))),
        Some(&MEMBERSHIP) => {
            let stored = v1::Membership::decode(bytes.slice(1..))
                .map_err(|_| bad("holds a membership that does not decode"))?;
            EntryPayload::Membership(plain_membership(&stored)?)
        }
        _ => {
            return Err(bad(
                "is of a kind that this build does not know: upgrade this node",
            ));
        }
    };
    Ok(RaftEntry {
        log_id: log_id(at),
        payload,
    })
}
