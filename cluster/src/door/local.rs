//! The local view of one node, for times without a leader: its own log and state, and what it last knew of the other
//! nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use panther_proto::v1::{HeardNode, HelloAnswer, HelloCall, LogPosition};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::net::{EntranceCounts, Lane, Peers, Removal};
use crate::offload::offload;
use crate::raft::{Group, GroupStatus};
use crate::storage::StateStore;

/// Maximum bytes of an address that is accepted.
const ADDRESS_BYTES: usize = 512;
/// Interval at which a node greets the other nodes while it hears no leader.
const GREET: Duration = Duration::from_secs(1);
/// Deadline of one greeting.
const ANSWER: Duration = Duration::from_secs(1);
/// How long an address that a node has reported is valid. The node reports it in each greeting until it hears a leader.
const ADDRESS_HOLDS: Duration = Duration::from_secs(10);
/// Maximum number of addresses of one answer that are tried: more than a cluster has nodes.
const ADDRESSES: usize = 32;

/// What one node knows without asking another. Clones share it.
#[derive(Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

struct Inner {
    group: Group,
    peers: Option<Peers>,
    heard: Mutex<BTreeMap<u64, (Instant, LastHeard)>>,
    without_leader: Mutex<Option<Instant>>,
    /// The address at which other nodes reach this one.
    address: String,
    /// Addresses that members have reported and that differ from the group's record, with the time of the report.
    addresses: Mutex<BTreeMap<u64, (Instant, String)>>,
}

/// The last known position of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastHeard {
    /// The age of this information.
    pub ago: Duration,
    /// The last entry in its log.
    pub last_log: Option<u64>,
    /// The term of that entry; only known if the node itself reported it.
    pub last_term: Option<u64>,
    /// Index of the last entry that it had applied.
    pub applied: u64,
    /// The running hash of all writes up to it.
    pub hash: u64,
}

/// This node's log position and state hash.
pub(super) fn hello(group: &Group) -> HelloAnswer {
    let (applied, hash) = group.hashes().latest();
    HelloAnswer {
        last: group.last(),
        applied,
        hash,
        members: BTreeMap::new(),
    }
}

impl Local {
    pub(super) fn of(group: Group, peers: Option<Peers>, address: String) -> Self {
        Self {
            inner: Arc::new(Inner {
                group,
                peers,
                heard: Mutex::default(),
                without_leader: Mutex::default(),
                address,
                addresses: Mutex::default(),
            }),
        }
    }

    /// Records the address that a member without a leader reports. The leader calls a member at its recorded address.
    /// If a member's address changed while it was down, it would otherwise never hear the leader, and could not have
    /// the new address recorded.
    pub(super) fn is_reached_at(&self, node: u64, address: String) {
        let known = self.status().members.remove(&node);
        if known.is_some_and(|known| known != address)
            && (1..=ADDRESS_BYTES).contains(&address.len())
        {
            let mut addresses = self.inner.addresses.lock();
            addresses.insert(node, (Instant::now(), address));
        }
    }

    /// Addresses that members have reported recently.
    pub(crate) fn said_addresses(&self) -> BTreeMap<u64, String> {
        let mut addresses = self.inner.addresses.lock();
        addresses.retain(|_, (at, _)| at.elapsed() < ADDRESS_HOLDS);
        let said = addresses.iter();
        said.map(|(node, (_, address))| (*node, address.clone()))
            .collect()
    }

    /// Addresses of the members as far as this node knows. It may know an address before it is recorded in the group.
    pub(super) fn known_addresses(&self) -> BTreeMap<u64, String> {
        let mut known = self.status().members;
        for (node, address) in self.said_addresses() {
            if let Some(known) = known.get_mut(&node) {
                *known = address;
            }
        }
        known
    }

    /// Counters of the cluster port; all zero on a node without one.
    #[must_use]
    pub fn entrance(&self) -> EntranceCounts {
        let peers = self.inner.peers.as_ref();
        peers.map_or_else(EntranceCounts::default, |peers| peers.entrance().counts())
    }

    /// This node's id.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.inner.group.node()
    }

    /// This node's member of the Raft group.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.inner.group
    }

    /// Status of the Raft group, as this node sees it.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        self.inner.group.status()
    }

    /// How long no leader has been heard, and why nothing can be changed; `None` while there is contact with a leader.
    pub fn without_leader(&self) -> Option<(Duration, String)> {
        let status = self.status();
        let mut since = self.inner.without_leader.lock();
        if status.in_contact {
            *since = None;
            return None;
        }
        let since = since.get_or_insert_with(Instant::now).elapsed();
        let voters = match status.voters.as_slice() {
            [] => "this node was not yet given the cluster's log".to_owned(),
            voters => {
                format!(
                    "fewer than a majority of the voters {voters:?} are up and reach each other"
                )
            }
        };
        Some((
            since,
            format!(
                "no leader is heard: {voters}; nothing can be changed until a majority is back"
            ),
        ))
    }

    /// The last known positions of the other nodes, and this node's own.
    #[must_use]
    pub fn heard(&self) -> BTreeMap<u64, LastHeard> {
        let heard = self.inner.heard.lock();
        let mut known: BTreeMap<u64, LastHeard> = heard
            .iter()
            .map(|(node, (at, heard))| {
                let ago = at.elapsed();
                (
                    *node,
                    LastHeard {
                        ago,
                        ..heard.clone()
                    },
                )
            })
            .collect();
        drop(heard);
        known.insert(self.node(), last_heard(&hello(&self.inner.group)));
        known
    }

    /// Stores what the leader knows of the nodes.
    pub(super) fn remember(&self, nodes: &[HeardNode]) {
        let now = Instant::now();
        for node in nodes.iter().filter(|node| node.node != self.node()) {
            let Some(silent) = node.silent_ms.map(Duration::from_millis) else {
                continue;
            };
            let Some(at) = now.checked_sub(silent) else {
                continue;
            };
            let said = LastHeard {
                ago: Duration::ZERO,
                last_log: node.matched,
                last_term: None,
                applied: node.applied,
                hash: node.hash,
            };
            self.note(node.node, at, said);
        }
    }

    fn note(&self, node: u64, at: Instant, said: LastHeard) {
        let mut heard = self.inner.heard.lock();
        let known = heard.entry(node).or_insert_with(|| (at, said.clone()));
        if known.0 <= at {
            *known = (at, said);
        }
    }

    /// Reads the local state, which may be older than what other nodes have acknowledged.
    ///
    /// # Errors
    /// `read` fails, or the node is stopping.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StateStore) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let store = self.inner.group.store().clone();
        offload(move || read(&store)).await?
    }

    /// The notice that this node was removed, if another node has sent one.
    #[must_use]
    pub fn removal(&self) -> Option<Removal> {
        self.inner.peers.as_ref()?.removal()
    }

    /// Returns once another node has reported that this node was removed.
    pub(super) async fn removed(&self) -> Removal {
        match &self.inner.peers {
            Some(peers) => peers.removed().await,
            None => std::future::pending().await,
        }
    }

    /// True if a node answers at an address now.
    pub(crate) async fn answers(&self, node: u64, address: &str) -> bool {
        match self.inner.peers.clone() {
            Some(peers) => self.ask(&peers, node, address).await.is_some(),
            None => false,
        }
    }

    /// Greets a node at an address. The answer holds the members' addresses as that node knows them.
    async fn ask(&self, peers: &Peers, node: u64, address: &str) -> Option<BTreeMap<u64, String>> {
        let mut client = peers.client(Lane::Work, node, address).ok()?;
        let call = HelloCall {
            between: peers.between(node),
            address: self.inner.address.clone(),
        };
        match tokio::time::timeout(ANSWER, client.hello(call)).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                self.note(node, Instant::now(), last_heard(&answer));
                Some(answer.members)
            }
            Ok(Err(status)) => {
                peers.heed(node, &status);
                None
            }
            Err(_) => None,
        }
    }

    /// Greets all other nodes. A node that does not answer at its recorded address is then greeted at the addresses
    /// that the others report for it. This changes no record: only a node itself changes its recorded address. The
    /// certificate at an address proves which node is there.
    async fn greet(&self, peers: &Peers) {
        let known: BTreeSet<(u64, String)> = self.status().members.into_iter().collect();
        let answers = self.greet_all(peers, known.clone()).await;
        let answered: BTreeSet<u64> = answers.iter().map(|(node, _)| *node).collect();
        let told = answers
            .into_iter()
            .flat_map(|(_, members)| members.into_iter().take(ADDRESSES));
        let elsewhere = told.filter(|at| !answered.contains(&at.0) && !known.contains(at));
        let elsewhere: BTreeSet<(u64, String)> = elsewhere
            .filter(|(_, address)| (1..=ADDRESS_BYTES).contains(&address.len()))
            .collect();
        self.greet_all(peers, elsewhere).await;
    }

    /// Greets nodes at addresses, concurrently. Returns the members' addresses as reported by each node that answered.
    async fn greet_all(
        &self,
        peers: &Peers,
        places: BTreeSet<(u64, String)>,
    ) -> Vec<(u64, BTreeMap<u64, String>)> {
        let mut greeting = JoinSet::new();
        for (node, address) in places {
            if node == self.node() {
                continue;
            }
            let (local, peers) = (self.clone(), peers.clone());
            greeting.spawn(async move {
                let members = local.ask(&peers, node, &address).await?;
                Some((node, members))
            });
        }
        greeting.join_all().await.into_iter().flatten().collect()
    }
}

fn last_heard(said: &HelloAnswer) -> LastHeard {
    LastHeard {
        ago: Duration::ZERO,
        last_log: said.last.map(|at: LogPosition| at.index),
        last_term: said.last.map(|at| at.term),
        applied: said.applied,
        hash: said.hash,
    }
}

/// Greets the other nodes at an interval while no leader is heard, to learn which nodes are up and whether this node
/// was removed.
pub(super) async fn greet(local: Local) {
    let Some(peers) = local.inner.peers.clone() else {
        return;
    };
    let mut ticks = tokio::time::interval(GREET);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if local.without_leader().is_some() {
            local.greet(&peers).await;
        }
    }
}
