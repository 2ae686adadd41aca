//! Communication between the nodes of a cluster: gRPC with mutual TLS. Raft, snapshots and the doors' work have separate connections, so that a flood
//! of commands never delays a heartbeat.
//!
//! * [`listener`]: the source of peers' connections
//! * [`certificates`]: identity of a node, and the CAs that it trusts
//! * [`entrance`]: the path from a connection to a call
//! * [`gate`]: access control
//! * [`peers`]: connections to other nodes, created on first use
//! * [`removal`]: the answer to a node that was removed
//! * [`server`]: handlers of other nodes' calls

mod certificates;
mod entrance;
mod gate;
mod listener;
mod peers;
mod removal;
mod server;

pub(crate) use certificates::calling_as_stranger;
pub use certificates::{Authority, CertificateError, Certificates};
pub use entrance::EntranceCounts;
pub(crate) use gate::Place;
pub use gate::{Callers, METHODS};
pub use listener::Listener;
#[cfg(feature = "simulation")]
pub use listener::{Connection, Connector};
pub use peers::Peers;
pub(crate) use peers::{Lane, PeerError};
pub use removal::Removal;
pub use server::Admits;
pub(crate) use server::{Behind, Refusal, serve};
