//! How nodes of one cluster speak to each other: gRPC with mutual TLS, one connection for Raft and one for the work of doors, so that a flood
//! of commands never keeps a heartbeat from its turn.
//!
//! * [`listener`]: what peers connect to
//! * [`certificates`]: who a node is, and whom it believes
//! * [`entrance`]: from a connection to a call
//! * [`gate`]: who may call what
//! * [`peers`]: connections to other nodes, made when they are needed
//! * [`removal`]: what a node that was removed is answered
//! * [`server`]: what other nodes call here

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
