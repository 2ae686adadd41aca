//! Connections to other nodes. One is made at its first use and kept; tonic mends a broken one at the next call.

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

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How often an idle connection is asked whether it stands, and how long the answer may take.
const ASK: Duration = Duration::from_secs(5);
/// Largest message that is taken: an entry has 1 MB, an append gathers up to 2 MB and may end in one more.
pub(super) const MESSAGE_BYTES: usize = 16 << 20;
/// The group's number: there is one.
pub(super) const GROUP: u32 = 1;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Votes and entries.
    Raft,
    /// Snapshots, which may fill a connection for minutes.
    Snapshots,
    /// Commands and reads.
    Work,
}

/// Why a peer gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// Its address is none.
    #[error("node {node} is said to be at {address:?}, which is no address: {reason}")]
    Address {
        node: u64,
        address: String,
        reason: String,
    },
    /// The call failed; whether it had an effect is not known.
    #[error("node {node}: {status}", status = .status.message())]
    Call { node: u64, status: Box<Status> },
}

/// The way to the other nodes of a cluster; clones share connections.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    certificates: Certificates,
    #[cfg(feature = "simulation")]
    connector: Option<super::Connector>,
    channels: Mutex<BTreeMap<(Lane, u64), (String, Channel)>>,
    /// Where the others connect to this node.
    entrance: EntranceState,
    removal: watch::Sender<Option<Removal>>,
    /// Why the last call to each node failed.
    failed: Mutex<BTreeMap<u64, String>>,
}

impl Peers {
    /// For the node that these certificates are of.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        Self {
            inner: Arc::new(Inner {
                certificates,
                #[cfg(feature = "simulation")]
                connector: None,
                channels: Mutex::default(),
                entrance: EntranceState::default(),
                removal: watch::Sender::default(),
                failed: Mutex::default(),
            }),
        }
    }

    /// The same over connections that are no sockets.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn over(certificates: Certificates, connector: super::Connector) -> Self {
        Self {
            inner: Arc::new(Inner {
                certificates,
                connector: Some(connector),
                channels: Mutex::default(),
                entrance: EntranceState::default(),
                removal: watch::Sender::default(),
                failed: Mutex::default(),
            }),
        }
    }

    /// What this node shows of itself.
    pub(super) fn certificates(&self) -> &Certificates {
        &self.inner.certificates
    }

    /// Where the others connect to this node.
    pub(crate) fn entrance(&self) -> EntranceState {
        self.inner.entrance.clone()
    }

    /// Takes note of a refusal: it may say that this node was removed. The connection was made to that node's certificate, and what is removed stays so,
    /// however old the state of the node that says it.
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

    /// That this node was removed, once another node has said so.
    pub(crate) fn removal(&self) -> Option<Removal> {
        self.inner.removal.borrow().clone()
    }

    /// Returns once another node has said that this one was removed.
    pub(crate) async fn removed(&self) -> Removal {
        let mut said = self.inner.removal.subscribe();
        loop {
            let known = said.borrow_and_update().clone();
            match known {
                Some(removal) => return removal,
                // The sender is this one's own, and lives as long.
                None => drop(said.changed().await),
            }
        }
    }

    /// What a call to `node` says of itself.
    pub(crate) fn between(&self, node: u64) -> Option<Between> {
        Some(Between {
            cluster: self.inner.certificates.cluster().to_owned(),
            group: GROUP,
            from: self.inner.certificates.node(),
            to: node,
        })
    }

    /// Notes how a call to a node ended.
    pub(crate) fn note(&self, node: u64, failure: Option<&Status>) {
        let mut failed = self.inner.failed.lock();
        match failure {
            None => drop(failed.remove(&node)),
            Some(status) => drop(failed.insert(node, reasons(status))),
        }
    }

    /// What the other nodes answer instead, for one that waits for them; empty if nothing went wrong.
    pub(crate) fn failures(&self) -> String {
        let failed = self.inner.failed.lock();
        let each = failed
            .iter()
            .map(|(node, reason)| format!("node {node}: {reason}"));
        each.collect::<Vec<_>>().join("; ")
    }

    /// A client of a node at an address. Nothing is sent yet.
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
                let tls = self.inner.certificates.calling(node);
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
    /// Nothing is sent yet.
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

/// A status with what lies below it: that a certificate is of another authority stands there.
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
