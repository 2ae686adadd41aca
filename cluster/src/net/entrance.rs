//! From a connection to a call: who calls is known, and whether it may, before anything of the call's body is read.
//!
//! A node shows a certificate, and membership in this node's state decides about each of its calls. A machine without a certificate may show an
//! invitation: it has one call at one time, of a few kilobytes and a few seconds, and its connection gives way to newer ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use panther_listen::{
    Budget, Http, Metered, Place as Seat, PlaceCounts, PlaceLimits, Places, Protocol, deadline,
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::Status;

use super::certificates::{CertificateError, Certificates, node_of};
use super::gate::{self, Place, Receiver};
use super::listener::Entrance;
use super::peers::{MESSAGE_BYTES, Peers};
use crate::membership::Roll;
use crate::raft::Group;

/// How long the handshake of TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may take for its first call.
const FIRST: Duration = Duration::from_secs(10);
/// How long a call's body may pause.
const PAUSE: Duration = Duration::from_secs(10);
/// How often a silent caller is asked whether it is there.
const PING: Duration = Duration::from_secs(20);
/// How long a connection that has just come keeps its place, while its handshake or its first call is on the way.
const GRACE: Duration = Duration::from_millis(250);
/// Connections at one time, and those of one address. A node has three to each other node.
const CONNECTIONS: PlaceLimits = PlaceLimits {
    total: 512,
    per_address: 256,
    grace: GRACE,
};
/// The same for machines without a certificate.
const STRANGERS: PlaceLimits = PlaceLimits {
    total: 32,
    per_address: 8,
    grace: GRACE,
};
/// Calls of one node's connection at one time.
const CALLS: u32 = 256;
/// Bytes of one node's calls that are under way: what its door lets wait at one time, and some more for Raft.
const NODE_BYTES: usize = 96 << 20;
/// How long a machine without a certificate may stay connected.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// Bytes of an invitation that is shown.
pub(super) const INVITATION_BYTES: usize = 8 << 10;
/// Bytes of a connection of HTTP/2 that come before they are read; it is the least that the protocol allows.
const LEAST_WINDOW: u32 = 65_535;

const MEMBERS: Http = Http {
    protocol: Protocol::Http2 {
        calls: CALLS,
        call_window: 4 << 20,
        connection_window: 8 << 20,
        ping: PING,
    },
    first: FIRST,
    life: None,
};

const OF_STRANGERS: Http = Http {
    protocol: Protocol::Http2 {
        calls: 1,
        call_window: LEAST_WINDOW,
        connection_window: LEAST_WINDOW,
        ping: PING,
    },
    first: HANDSHAKE,
    life: Some(STRANGER_LIFE),
};

/// What happens where other nodes connect.
#[derive(Clone)]
pub(crate) struct EntranceState {
    places: Places,
    strangers: Places,
    refused: Arc<AtomicU64>,
}

/// What has happened where other nodes connect, since this node started.
#[derive(Debug, Clone, Copy, Default)]
pub struct EntranceCounts {
    /// Connections.
    pub connections: PlaceCounts,
    /// Of these, connections without a certificate.
    pub strangers: PlaceCounts,
    /// Invitations that were shown and refused.
    pub refused_invitations: u64,
}

impl Default for EntranceState {
    fn default() -> Self {
        Self {
            places: Places::new(CONNECTIONS),
            strangers: Places::new(STRANGERS),
            refused: Arc::default(),
        }
    }
}

impl EntranceState {
    pub(super) fn places(&self) -> Places {
        self.places.clone()
    }

    /// Counts an invitation that was refused; how many there were.
    pub(super) fn refuse_invitation(&self) -> u64 {
        self.refused.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn counts(&self) -> EntranceCounts {
        EntranceCounts {
            connections: self.places.counts(),
            strangers: self.strangers.counts(),
            refused_invitations: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// The node that calls, by its certificate. Membership was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller(pub(super) u64);

/// The entrance of one node.
pub(super) struct PeerEntrance {
    /// The certificates that TLS is set up for.
    tls: Mutex<Option<(Arc<Certificates>, TlsAcceptor)>>,
    gate: Arc<CallGate>,
    state: EntranceState,
    nodes: Router,
    /// `None` where no invitation can be shown.
    strangers: Option<Router>,
    /// The budget of each member that has called.
    budgets: Mutex<BTreeMap<u64, Budget>>,
}

/// Decides about each call of a node.
pub(super) struct CallGate {
    pub(super) peers: Peers,
    pub(super) group: Group,
    pub(super) roll: Roll,
}

impl CallGate {
    pub(super) fn receiver(&self) -> Receiver<'_> {
        Receiver {
            cluster: self.peers.cluster(),
            node: self.group.node(),
            term: self.group.term(),
        }
    }

    /// Whether a node may call a method.
    async fn admit(&self, from: u64, path: &str) -> Result<(), Status> {
        let callers = gate::callers_of(path)
            .ok_or_else(|| Status::unimplemented("this method has no callers"))?;
        let receiver = self.receiver();
        receiver.is_another(from)?;
        let place = self.roll.place(from).await;
        let place = place.map_err(|error| Status::unavailable(error.to_string()))?;
        let member_leads =
            matches!(place, Place::Newer | Place::Joining) && self.roll.member_leads();
        receiver.admit(callers, from, place, member_leads)
    }
}

impl PeerEntrance {
    pub(super) fn new(
        gate: Arc<CallGate>,
        state: EntranceState,
        nodes: Router,
        strangers: Option<Router>,
    ) -> Self {
        let nodes = nodes.layer(from_fn_with_state(gate.clone(), guard));
        let strangers = strangers.map(|router| router.layer(from_fn(guard_stranger)));
        Self {
            tls: Mutex::default(),
            gate,
            state,
            nodes,
            strangers,
            budgets: Mutex::default(),
        }
    }

    /// TLS by the certificates of now.
    fn tls(&self) -> Result<TlsAcceptor, CertificateError> {
        let now = self.gate.peers.certificates();
        let mut tls = self.tls.lock();
        match &*tls {
            Some((of, acceptor)) if Arc::ptr_eq(of, &now) => Ok(acceptor.clone()),
            _ => {
                let acceptor = TlsAcceptor::from(Arc::new(now.called()?));
                *tls = Some((now, acceptor.clone()));
                Ok(acceptor)
            }
        }
    }

    /// The caller has shown the certificate of a node.
    async fn serve_node(
        &self,
        node: u64,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        seat: &Seat,
    ) {
        let stands = self.gate.roll.place(node).await;
        let known = matches!(stands, Ok(Place::Member | Place::Joining | Place::Newer));
        // A connection of a node of the cluster makes room for no other one, also while it is silent.
        let _kept = known.then(|| seat.handle().work());
        let budget = match known {
            true => {
                let mut budgets = self.budgets.lock();
                let budget = budgets
                    .entry(node)
                    .or_insert_with(|| Budget::new(NODE_BYTES));
                budget.clone()
            }
            // Not kept: numbers that never were of the cluster would fill the memory.
            false => Budget::new(INVITATION_BYTES),
        };
        let router = self
            .nodes
            .clone()
            .layer(axum::Extension(Caller(node)))
            .layer(axum::Extension(budget));
        // What was shown under another authority is shown again, once the calls under way have ended.
        let mut certificates = self.gate.peers.certificates_over_time();
        let (close, closed) = watch::channel(false);
        let mut served = std::pin::pin!(MEMBERS.serve(stream, seat, router, closed));
        tokio::select! {
            () = &mut served => return,
            _ = certificates.changed() => {}
        }
        close.send_replace(true);
        let _ = tokio::time::timeout(PAUSE, served).await; // what has not ended by then is cut off
    }
}

impl Entrance for PeerEntrance {
    async fn serve(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        seat: Seat,
    ) {
        let (_open, closed) = watch::channel(false); // the listener ends its connections by dropping them
        let tls = match self.tls() {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(%error, "this node's certificate cannot be used: other nodes cannot call it");
                return;
            }
        };
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => shaken,
            () = seat.evicted() => return,
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return;
            }
            Err(_) => return seat.note_late(),
        };
        let cluster = self.gate.peers.cluster();
        let shown = stream.get_ref().1.peer_certificates();
        match shown.and_then(<[_]>::first) {
            Some(certificate) => match node_of(certificate, cluster) {
                Some(node) => self.serve_node(node, stream, &seat).await,
                None => tracing::debug!("a certificate that names no node was shown"),
            },
            None => {
                let Some(router) = self.strangers.clone() else {
                    return;
                };
                let Some(stranger) = self.state.strangers.enter(seat.handle().address()).await
                else {
                    return;
                };
                // From here on the places of strangers decide.
                let _kept = seat.handle().work();
                tokio::select! {
                    () = OF_STRANGERS.serve(stream, &stranger, router, closed) => {}
                    () = seat.evicted() => {}
                }
            }
        }
    }
}

/// Lets a node's call in by who calls and by how many bytes of its calls are under way. The body is read after that.
async fn guard(State(gate): State<Arc<CallGate>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (caller, budget) = (extensions.get::<Caller>(), extensions.get::<Budget>());
    let (Some(Caller(from)), Some(budget)) = (caller.copied(), budget.cloned()) else {
        return Status::unauthenticated("no certificate was shown").into_http();
    };
    let path = request.uri().path();
    if let Err(refused) = gate.admit(from, path).await {
        return refused.into_http();
    }
    // The pieces of a stream are taken one after the other: one message is in memory, and the next one may come.
    let streams = path.ends_with("/SnapshotSend");
    let taken = match streams.then(|| budget.take(2 * MESSAGE_BYTES)).transpose() {
        Ok(taken) => taken,
        Err(refused) => return refused.into_http(),
    };
    let (parts, body) = request.into_parts();
    let body = Metered::new(body, (!streams).then_some(budget), PAUSE);
    let _held = (taken, body.held());
    next.run(Request::from_parts(parts, Body::new(body))).await
}

/// A machine that shows an invitation has little time and room.
async fn guard_stranger(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = Metered::new(body, Some(Budget::new(2 * INVITATION_BYTES)), HANDSHAKE);
    let request = Request::from_parts(parts, Body::new(body));
    deadline::within(STRANGER_LIFE, request, next).await
}
