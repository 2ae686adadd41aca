//! The path from a connection to a call: caller and permission are known before any byte of the call's body is read.
//!
//! A node shows a certificate, and its membership in this node's state is checked for each call. A machine without a certificate may show an
//! invitation. It gets one call at a time with a few kilobytes and a few seconds, and its connection is evicted in favour of newer ones.

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

/// Deadline of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Deadline for the first call of a connection.
const FIRST: Duration = Duration::from_secs(10);
/// Longest pause within a call's body.
const PAUSE: Duration = Duration::from_secs(10);
/// Interval of HTTP/2 pings to an idle caller.
const PING: Duration = Duration::from_secs(20);
/// Minimum time for which a new connection keeps its place, during its handshake and its first call.
const GRACE: Duration = Duration::from_millis(250);
/// Limits of concurrent connections, in total and per address. A node has three connections to each other node.
const CONNECTIONS: PlaceLimits = PlaceLimits {
    total: 512,
    per_address: 256,
    grace: GRACE,
};
/// Limits of concurrent connections without a certificate.
const STRANGERS: PlaceLimits = PlaceLimits {
    total: 32,
    per_address: 8,
    grace: GRACE,
};
/// Concurrent calls on one node's connection.
const CALLS: u32 = 256;
/// Bytes of one node's concurrent calls: the limit of what its door lets wait, and a margin for Raft.
const NODE_BYTES: usize = 96 << 20;
/// Longest life of a connection without a certificate.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// Largest size of a call that shows an invitation, in bytes.
pub(super) const INVITATION_BYTES: usize = 8 << 10;
/// Flow-control window of an HTTP/2 connection in bytes: the smallest that the protocol allows.
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

/// State of the entrance for other nodes. Clones share it.
#[derive(Clone)]
pub(crate) struct EntranceState {
    places: Places,
    strangers: Places,
    refused: Arc<AtomicU64>,
}

/// Counters of the entrance for other nodes, since this node started.
#[derive(Debug, Clone, Copy, Default)]
pub struct EntranceCounts {
    /// All connections.
    pub connections: PlaceCounts,
    /// Connections without a certificate; they are part of `connections` too.
    pub strangers: PlaceCounts,
    /// Invitations that were refused.
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

    /// Counts a refused invitation. Returns the number of refused invitations so far.
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

/// The calling node, by its certificate. The entrance has checked its membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller(pub(super) u64);

/// The entrance of one node.
pub(super) struct PeerEntrance {
    /// The TLS acceptor, and the certificates that it was created from.
    tls: Mutex<Option<(Arc<Certificates>, TlsAcceptor)>>,
    gate: Arc<CallGate>,
    state: EntranceState,
    nodes: Router,
    /// `None` if this node accepts no invitations.
    strangers: Option<Router>,
    /// The byte budget of each member that has called.
    budgets: Mutex<BTreeMap<u64, Budget>>,
}

/// Checks each call of a node.
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

    /// Checks that a node may call a method.
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

    /// The TLS acceptor for the current certificates.
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

    /// Serves the connection of a caller that has shown a node's certificate.
    async fn serve_node(
        &self,
        node: u64,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        seat: &Seat,
    ) {
        let stands = self.gate.roll.place(node).await;
        let known = matches!(stands, Ok(Place::Member | Place::Joining | Place::Newer));
        // A connection of a node of the cluster is never evicted, not even while it is idle.
        let _kept = known.then(|| seat.handle().work());
        let budget = match known {
            true => {
                let mut budgets = self.budgets.lock();
                let budget = budgets
                    .entry(node)
                    .or_insert_with(|| Budget::new(NODE_BYTES));
                budget.clone()
            }
            // This budget is not kept: ids that were never part of the cluster would fill the memory.
            false => Budget::new(INVITATION_BYTES),
        };
        let router = self
            .nodes
            .clone()
            .layer(axum::Extension(Caller(node)))
            .layer(axum::Extension(budget));
        // After a CA rotation the caller must show its certificate again, so the connection is closed once its current calls have ended.
        let mut certificates = self.gate.peers.certificates_over_time();
        let (close, closed) = watch::channel(false);
        let mut served = std::pin::pin!(MEMBERS.serve(stream, seat, router, closed));
        tokio::select! {
            () = &mut served => return,
            _ = certificates.changed() => {}
        }
        close.send_replace(true);
        let _ = tokio::time::timeout(PAUSE, served).await; // calls that have not ended by then are aborted
    }
}

impl Entrance for PeerEntrance {
    async fn serve(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        seat: Seat,
    ) {
        let (_open, closed) = watch::channel(false); // never set: the listener drops its connections to end them
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
                // From here on the limits of connections without a certificate apply.
                let _kept = seat.handle().work();
                tokio::select! {
                    () = OF_STRANGERS.serve(stream, &stranger, router, closed) => {}
                    () = seat.evicted() => {}
                }
            }
        }
    }
}

/// Admits a node's call by its caller, and by the bytes of the caller's concurrent calls. The body is read after these checks.
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
    // The pieces of a stream are processed one after the other: one message is in memory, and the next one may arrive.
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

/// Limits time and bytes of a call that shows an invitation.
async fn guard_stranger(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = Metered::new(body, Some(Budget::new(2 * INVITATION_BYTES)), HANDSHAKE);
    let request = Request::from_parts(parts, Body::new(body));
    deadline::within(STRANGER_LIFE, request, next).await
}
