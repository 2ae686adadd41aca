//! What one node knows by itself, for the time when there is no leader to ask: its own log and state, and what it last heard of the others.

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

/// Bytes of an address that is taken.
const ADDRESS_BYTES: usize = 512;
/// How often the other nodes are greeted while no leader is heard.
const GREET: Duration = Duration::from_secs(1);
/// How long one of them may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How long counts what a node says of its address: it greets again and again until it hears a leader.
const ADDRESS_HOLDS: Duration = Duration::from_secs(10);
/// Addresses of one answer that are tried: more than a cluster has nodes.
const ADDRESSES: usize = 32;

/// What one node knows without a question to another; clones share it.
#[derive(Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

struct Inner {
    group: Group,
    peers: Option<Peers>,
    heard: Mutex<BTreeMap<u64, (Instant, LastHeard)>>,
    without_leader: Mutex<Option<Instant>>,
    /// Where other nodes reach this one.
    address: String,
    /// Where members say that they are reached, if the group knows another address, and when they said it.
    addresses: Mutex<BTreeMap<u64, (Instant, String)>>,
}

/// What was last heard of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastHeard {
    /// How long ago that was.
    pub ago: Duration,
    /// The last entry in its log.
    pub last_log: Option<u64>,
    /// The term of that entry, if the node itself said it.
    pub last_term: Option<u64>,
    /// The last write that it had applied.
    pub applied: u64,
    /// The running hash of all writes up to it.
    pub hash: u64,
}

/// What a node says of its log and state.
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

    /// A member without a leader says where it is reached. The leader calls it at the address that is written down, so a node whose address
    /// has changed while it was down would never hear the leader and could write down nothing.
    pub(super) fn is_reached_at(&self, node: u64, address: String) {
        let known = self.status().members.remove(&node);
        if known.is_some_and(|known| known != address)
            && (1..=ADDRESS_BYTES).contains(&address.len())
        {
            let mut addresses = self.inner.addresses.lock();
            addresses.insert(node, (Instant::now(), address));
        }
    }

    /// What members have said lately of their addresses.
    pub(crate) fn said_addresses(&self) -> BTreeMap<u64, String> {
        let mut addresses = self.inner.addresses.lock();
        addresses.retain(|_, (at, _)| at.elapsed() < ADDRESS_HOLDS);
        let said = addresses.iter();
        said.map(|(node, (_, address))| (*node, address.clone()))
            .collect()
    }

    /// Where the members are reached, as far as this node knows: it may know it before the group does.
    pub(super) fn known_addresses(&self) -> BTreeMap<u64, String> {
        let mut known = self.status().members;
        for (node, address) in self.said_addresses() {
            if let Some(known) = known.get_mut(&node) {
                *known = address;
            }
        }
        known
    }

    /// What has happened where other nodes connect; nothing on a node without a cluster port.
    #[must_use]
    pub fn entrance(&self) -> EntranceCounts {
        let peers = self.inner.peers.as_ref();
        peers.map_or_else(EntranceCounts::default, |peers| peers.entrance().counts())
    }

    /// This node's number.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.inner.group.node()
    }

    /// This node's part in the group.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.inner.group
    }

    /// What the group is doing, as this node sees it.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        self.inner.group.status()
    }

    /// How long no leader has been heard, and why nothing can be changed; `None` while a leader is there.
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

    /// What was last heard of the other nodes, and what this one knows of itself.
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

    /// Takes note of what the leader has heard of the nodes.
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

    /// Reads the state as this node has it, which may be behind what others acknowledged.
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

    /// That this node was removed, once another node has said so.
    #[must_use]
    pub fn removal(&self) -> Option<Removal> {
        self.inner.peers.as_ref()?.removal()
    }

    /// Returns once another node has said that this one was removed.
    pub(super) async fn removed(&self) -> Removal {
        match &self.inner.peers {
            Some(peers) => peers.removed().await,
            None => std::future::pending().await,
        }
    }

    /// Whether a node answers now at an address.
    pub(crate) async fn answers(&self, node: u64, address: &str) -> bool {
        match self.inner.peers.clone() {
            Some(peers) => self.ask(&peers, node, address).await.is_some(),
            None => false,
        }
    }

    /// Greets a node at an address. Its answer says where it believes that the members are reached.
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

    /// Asks all other nodes for what they know of themselves. A node that does not answer where the group knows it is then asked where the others
    /// know it. Only a node itself changes what is written down of its address, and the certificate at an address shows which node is there.
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

    /// Greets nodes at addresses, all at a time. Returns what those that answered said of the members' addresses.
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

/// Greets the other nodes again and again while no leader is heard: so this node knows who is there, and hears it if it was removed.
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
