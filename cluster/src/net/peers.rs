//! Connections to other nodes. A connection is created at its first use and kept; tonic reconnects at the next call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use panther_proto::v1::Between;
use panther_proto::v1::peers_client::PeersClient;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::certificates::Certificates;
use super::entrance::EntranceState;
use super::removal::{self, Removal};

/// Deadline of connection setup.
const CONNECT: Duration = Duration::from_secs(1);
/// Interval of keep-alive pings on an idle connection, and deadline of the answer.
const ASK: Duration = Duration::from_secs(5);
/// Largest accepted message, in bytes. An entry has up to 1 MB; an append gathers up to 2 MB of entries and may exceed that by one entry.
pub(super) const MESSAGE_BYTES: usize = 16 << 20;
/// Number of the Raft group. There is one.
pub(super) const GROUP: u32 = 1;

/// Purpose of a connection. Each purpose has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Votes and entries.
    Raft,
    /// Snapshots, which may use the whole bandwidth of a connection for minutes.
    Snapshots,
    /// Commands and reads.
    Work,
}

/// Why a call to a peer failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The address does not parse.
    #[error("node {node} is said to be at {address:?}, which is no address: {reason}")]
    Address {
        node: u64,
        address: String,
        reason: String,
    },
    /// The call failed. It is unknown whether it had an effect.
    #[error("node {node}: {status}", status = .status.message())]
    Call { node: u64, status: Box<Status> },
}

/// Connections to the other nodes of a cluster. Clones share them.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: String,
    node: u64,
    /// This node's certificates and trusted CAs. They change during a CA rotation.
    certificates: watch::Sender<Arc<Certificates>>,
    #[cfg(feature = "simulation")]
    connector: Option<super::Connector>,
    channels: Mutex<BTreeMap<(Lane, u64), (String, Channel)>>,
    /// State of the entrance for other nodes.
    entrance: EntranceState,
    removal: watch::Sender<Option<Removal>>,
    /// Error of the last call to each node; absent if that call succeeded.
    failed: Mutex<BTreeMap<u64, String>>,
}

impl Peers {
    /// Connections of the node that owns these certificates.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        Self {
            inner: Arc::new(Inner {
                cluster: certificates.cluster().to_owned(),
                node: certificates.node(),
                certificates: watch::Sender::new(Arc::new(certificates)),
                #[cfg(feature = "simulation")]
                connector: None,
                channels: Mutex::default(),
                entrance: EntranceState::default(),
                removal: watch::Sender::default(),
                failed: Mutex::default(),
            }),
        }
    }

    /// Like [`Peers::new`], but over connections of a simulation.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn over(certificates: Certificates, connector: super::Connector) -> Self {
        Self {
            inner: Arc::new(Inner {
                cluster: certificates.cluster().to_owned(),
                node: certificates.node(),
                certificates: watch::Sender::new(Arc::new(certificates)),
                connector: Some(connector),
                channels: Mutex::default(),
                entrance: EntranceState::default(),
                removal: watch::Sender::default(),
                failed: Mutex::default(),
            }),
        }
    }

    /// The cluster's name.
    pub(super) fn cluster(&self) -> &str {
        &self.inner.cluster
    }

    /// This node's certificates and trusted CAs.
    pub(crate) fn certificates(&self) -> Arc<Certificates> {
        self.inner.certificates.borrow().clone()
    }

    /// Subscribes to changes of the certificates.
    pub(super) fn certificates_over_time(&self) -> watch::Receiver<Arc<Certificates>> {
        self.inner.certificates.subscribe()
    }

    /// Replaces this node's certificates and trusted CAs. Existing connections are created again.
    pub(crate) fn renew(&self, certificates: Certificates) {
        self.inner.certificates.send_replace(Arc::new(certificates));
        self.inner.channels.lock().clear();
    }

    /// State of the entrance for other nodes.
    pub(crate) fn entrance(&self) -> EntranceState {
        self.inner.entrance.clone()
    }

    /// Checks if a refusal means that this node was removed, and records it. The answer is trusted, because the connection verified that node's
    /// certificate. A removal is final, so an outdated state of that node does no harm.
    pub(crate) fn heed(&self, node: u64, refused: &Status) {
        let Some(removal) = removal::of(node, refused) else {
            return;
        };
        self.inner.removal.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(removal);
            first
        });
    }

    /// The removal of this node, once another node has reported it.
    pub(crate) fn removal(&self) -> Option<Removal> {
        self.inner.removal.borrow().clone()
    }

    /// Waits until another node reports that this node was removed.
    pub(crate) async fn removed(&self) -> Removal {
        let mut said = self.inner.removal.subscribe();
        loop {
            let known = said.borrow_and_update().clone();
            match known {
                Some(removal) => return removal,
                // The sender belongs to `self` and outlives this wait.
                None => drop(said.changed().await),
            }
        }
    }

    /// Header of a call to `node`: cluster, group, sender and receiver.
    pub(crate) fn between(&self, node: u64) -> Option<Between> {
        Some(Between {
            cluster: self.inner.cluster.to_owned(),
            group: GROUP,
            from: self.inner.node,
            to: node,
        })
    }

    /// Records the result of a call to a node.
    pub(crate) fn note(&self, node: u64, failure: Option<&Status>) {
        let mut failed = self.inner.failed.lock();
        match failure {
            None => drop(failed.remove(&node)),
            Some(status) => drop(failed.insert(node, reasons(status))),
        }
    }

    /// Errors of the last calls to other nodes, for the error text of a caller that waits for them; empty without errors.
    pub(crate) fn failures(&self) -> String {
        let failed = self.inner.failed.lock();
        let each = failed
            .iter()
            .map(|(node, reason)| format!("node {node}: {reason}"));
        each.collect::<Vec<_>>().join("; ")
    }

    /// A client for a node at an address. Connects at the first call.
    pub(crate) fn client(
        &self,
        lane: Lane,
        node: u64,
        address: &str,
    ) -> Result<PeersClient<Channel>, PeerError> {
        let mut channels = self.inner.channels.lock();
        let channel = match channels.get(&(lane, node)) {
            Some((known, channel)) if known == address => channel.clone(),
            _ => {
                let no_address = |error: tonic::transport::Error| PeerError::Address {
                    node,
                    address: address.to_owned(),
                    reason: error.to_string(),
                };
                let tls = self.certificates().calling(node);
                let endpoint = Endpoint::from_shared(format!("https://{address}"))
                    .and_then(|endpoint| endpoint.tls_config(tls))
                    .map_err(no_address)?;
                let endpoint = endpoint
                    .connect_timeout(CONNECT)
                    .tcp_nodelay(true)
                    .http2_keep_alive_interval(ASK)
                    .keep_alive_timeout(ASK)
                    .keep_alive_while_idle(true)
                    .initial_stream_window_size(4 << 20)
                    .initial_connection_window_size(8 << 20);
                let channel = self.connect(&endpoint);
                channels.insert((lane, node), (address.to_owned(), channel.clone()));
                channel
            }
        };
        Ok(PeersClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES))
    }
}

impl Peers {
    /// Creates a channel that connects at the first call.
    fn connect(&self, endpoint: &Endpoint) -> Channel {
        #[cfg(feature = "simulation")]
        if let Some(connector) = self.inner.connector.clone() {
            return endpoint.connect_with_connector_lazy(tower::service_fn(
                move |to: tonic::transport::Uri| {
                    let connecting =
                        connector(to.authority().map_or_else(String::new, ToString::to_string));
                    async move { connecting.await.map(hyper_util::rt::TokioIo::new) }
                },
            ));
        }
        endpoint.connect_lazy()
    }
}

/// The status message with its chain of causes. A certificate of another CA, for example, is named only in a cause.
fn reasons(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut below = std::error::Error::source(status);
    while let Some(error) = below {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        below = error.source();
    }
    text
}

impl PeerError {
    pub(crate) fn call(node: u64, status: Status) -> Self {
        Self::Call {
            node,
            status: Box::new(status),
        }
    }
}
